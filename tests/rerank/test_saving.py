"""A pipeline as one repo folder: what is in it, and that it solves alike after loading, in a fresh process too."""

import json
import subprocess
import sys

import pytest
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.data import Candidate
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.served_policy import ServedPolicy

TASK = "generate-and-rerank"
NANO = make_problem("rectangle", 4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    options = {"num_candidates": 3, "strategy": "weighted_vote", "aggregation": "product"}
    rerank = pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH), **options)
    rerank.save_pretrained(folder)
    output = rerank(images=NANO.figure(), text=NANO.question, return_candidates=True)
    return folder, options, output


def test_the_folder_holds_policy_processor_prm_and_options(saved):
    folder, options, _ = saved
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"model.safetensors", "processor_config.json", "tokenizer.json", "generate_and_rerank.py"} <= files
    assert {"prm/model.safetensors", "prm/processor_config.json", "prm/config.json"} <= files
    assert json.loads((folder / "rerank_config.json").read_text()) == options
    assert TASK in json.loads((folder / "config.json").read_text())["custom_pipelines"]
    assert str(POLICY_PATH) not in "".join(path.read_text() for path in folder.rglob("*.json"))


def test_the_loaded_pipeline_solves_alike_and_takes_other_options(saved):
    folder, _, expected = saved
    rerank = pipeline(TASK, model=str(folder))
    output = rerank(images=NANO.figure(), text=NANO.question, return_candidates=True)
    for name in ("answer", "steps", "chosen"):
        assert output[name] == expected[name]
    assert output["step_scores"] == pytest.approx(expected["step_scores"], abs=1e-6)
    assert (
        len(rerank(images=NANO.figure(), text=NANO.question, num_candidates=2, return_candidates=True)["candidates"])
        == 2
    )
    other = pipeline(TASK, model=str(folder), num_candidates=1)
    assert len(other(images=NANO.figure(), text=NANO.question, return_candidates=True)["candidates"]) == 1


FRESH = """
import sys
{first}
from transformers import pipeline
rerank = pipeline({arguments})
from mmprm_hf.nano.world import make_problem
nano = make_problem("rectangle", 4)
print(type(rerank).__name__, rerank(images=nano.figure(), text=nano.question)["answer"])
"""


@pytest.mark.parametrize(
    ("first", "arguments"),
    [
        ("import mmprm_hf", 'task="generate-and-rerank", model=sys.argv[1]'),
        ("assert 'mmprm_hf' not in sys.modules", "model=sys.argv[1], trust_remote_code=True"),
    ],
    ids=["with the package", "by remote code"],
)
def test_it_loads_in_a_fresh_process(first, arguments, saved):
    folder, _, expected = saved
    code = FRESH.format(first=first, arguments=arguments)
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == ["GenerateAndRerankPipeline", expected["answer"]]


def test_what_has_no_checkpoint_is_not_saved(tmp_path):
    class Constant:
        """A scorer of someone's own."""

        def score_many(self, problems, candidates):
            return [[Candidate(c.steps, c.answer, c.complete) for c in row] for row in candidates]

    rerank = pipeline(TASK, model=str(POLICY_PATH), prm=Constant())
    with pytest.raises(ValueError, match="A Constant has no checkpoint to be saved"):
        rerank.save_pretrained(tmp_path / "scorer")
    served = pipeline(TASK, model=ServedPolicy("http://127.0.0.1:9"), prm=str(PRM_PATH))
    with pytest.raises(ValueError, match="The policy runs behind a server"):
        served.save_pretrained(tmp_path / "served")
    assert not list(tmp_path.iterdir())
