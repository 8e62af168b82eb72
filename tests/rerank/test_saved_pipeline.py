"""A pipeline as one repo folder: policy, PRM and options saved together, and loaded here and in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from support.layout import ROOT
from transformers import AutoModelForImageTextToText, pipeline

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.saving import saved_options, saved_prm
from mmprm_hf.steps import TaggedFormat

TASK = "generate-and-rerank"
OPTIONS = {"num_candidates": 3, "strategy": "weighted_vote", "aggregation": "mean", "max_new_tokens": 96}
PROBLEM = make_problem("triangle_angle", 1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a saved pipeline with options, and what the pipeline answered before."""
    folder = tmp_path_factory.mktemp("saved")
    rerank = pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH), **OPTIONS)
    figure = folder.with_name("figure.png")
    PROBLEM.figure().save(figure)
    output = rerank(images=str(figure), text=PROBLEM.question, return_candidates=True)
    rerank.save_pretrained(folder)
    return folder, figure, output


def without_times(output):
    return {name: value for name, value in output.items() if name != "seconds"}


def test_the_folder_holds_policy_prm_options_and_code(saved):
    folder, _, output = saved
    assert len(output["candidates"]) == 3, "the pipeline's options are its defaults"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= names
    assert {"processor_config.json", "generate_and_rerank.py", "rerank_config.json"} <= names
    assert {"prm/config.json", "prm/model.safetensors", "prm/tokenizer.json", "prm/processor_config.json"} <= names
    assert json.loads((folder / "rerank_config.json").read_text()) == OPTIONS
    config = json.loads((folder / "config.json").read_text())
    declared = config["custom_pipelines"][TASK]
    assert declared["pt"] == ["AutoModelForImageTextToText"]
    code = compile((folder / "generate_and_rerank.py").read_text(), "generate_and_rerank.py", "exec")
    spelled = {}
    exec(code, spelled)  # noqa: S102 (our own text)
    assert spelled["GenerateAndRerankPipeline"].__name__ in declared["impl"]


def test_a_saved_pipeline_answers_as_before(saved):
    folder, figure, output = saved
    again = pipeline(TASK, model=str(folder))
    assert again.options == OPTIONS
    result = again(images=str(figure), text=PROBLEM.question, return_candidates=True)
    assert without_times(result) == without_times(output)
    other = again(images=str(figure), text=PROBLEM.question, num_candidates=2, strategy="best_of_n")
    assert set(other) == {"text", "answer", "steps", "step_scores", "score"}
    changed = pipeline(TASK, model=str(folder), num_candidates=1)
    assert changed.options == {**OPTIONS, "num_candidates": 1}, "the caller's options go before saved ones"
    assert len(changed(images=str(figure), text=PROBLEM.question, return_candidates=True)["candidates"]) == 1


def test_policy_and_prm_of_the_folder_are_ordinary_checkpoints(saved):
    folder, _, _ = saved
    policy = AutoModelForImageTextToText.from_pretrained(folder)
    for loaded, path in ((policy, POLICY_PATH), (MMPRMModel.from_pretrained(folder / "prm"), PRM_PATH)):
        original = type(loaded).from_pretrained(path).state_dict()
        assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in original.items())
    assert saved_prm(policy) == folder / "prm" and saved_options(policy) == OPTIONS


def test_a_policy_without_a_prm_has_none_saved():
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    assert saved_prm(policy) is None and saved_options(policy) == {}
    policy.name_or_path = ""
    assert saved_prm(policy) is None and saved_options(policy) == {}


def test_tags_of_ones_own_are_saved(tmp_path):
    tags = TaggedFormat("[s]", "[/s]", "[a]", "[/a]")
    pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH), step_format=tags).save_pretrained(tmp_path)
    assert pipeline(TASK, model=str(tmp_path)).step_format == tags
    assert pipeline(TASK, model=str(tmp_path), step_format=TaggedFormat()).step_format == TaggedFormat()


def test_another_prm_can_be_given_to_a_saved_folder(saved, tmp_path):
    folder, _, _ = saved
    prm = MMPRMModel.from_pretrained(PRM_PATH)
    with torch.no_grad():
        prm.score.weight.mul_(0.5)
    prm.save_pretrained(tmp_path)
    MMPRMProcessor.from_pretrained(PRM_PATH).save_pretrained(tmp_path)
    loaded = pipeline(TASK, model=str(folder), prm=str(tmp_path))
    assert torch.equal(loaded.prm.score.weight, prm.score.weight)


SCRIPT = """
import json, sys
from transformers import pipeline
assert "mmprm_hf" not in sys.modules
question = dict(images=sys.argv[2], text=sys.argv[3], return_candidates=True)
rerank = pipeline("generate-and-rerank", model=sys.argv[1], trust_remote_code=True)
print(json.dumps(rerank(**question)))
import mmprm_hf
from transformers import pipeline
print(json.dumps(pipeline("generate-and-rerank", model=sys.argv[1])(**question)))
"""


@pytest.mark.processes
def test_a_new_process_loads_the_folder_by_remote_code_and_after_the_import(saved, tmp_path):
    folder, figure, output = saved
    command = [sys.executable, "-c", SCRIPT, str(folder), str(figure), PROBLEM.question]
    # The same threads and instruction set as here: other ones round other bits.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()[-2:]
    expected = json.loads(json.dumps(without_times(output)))
    assert [without_times(json.loads(line)) for line in lines] == [expected] * 2


def test_what_has_no_checkpoint_is_not_saved(tmp_path, tiny_policy_dir, tiny_scorer):
    served = pipeline(TASK, model="http://127.0.0.1:9", prm=str(PRM_PATH))
    with pytest.raises(ValueError, match="runs behind a server"):
        served.save_pretrained(tmp_path / "served")

    class Foreign:
        processor = tiny_scorer.processor
        score_many = tiny_scorer.score_many

    foreign = pipeline(TASK, model=tiny_policy_dir, prm=Foreign())
    with pytest.raises(ValueError, match="A Foreign has no checkpoint to be saved"):
        foreign.save_pretrained(tmp_path / "foreign")
    assert not any(tmp_path.iterdir()), "nothing is written before the refusal"


def test_an_unknown_option_is_refused_when_the_pipeline_is_made(tiny_policy_dir, tiny_prm_dir):
    with pytest.raises(ValueError, match="Unknown option 'num_candidate'.*Did you mean 'num_candidates'"):
        pipeline(TASK, model=tiny_policy_dir, prm=tiny_prm_dir, num_candidate=2)
