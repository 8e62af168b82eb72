"""An adapter trained straight from a policy is a PRM for whoever loads it: the folder says what it belongs to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from support.training_runs import make_args, problem_rows
from transformers import AutoModel, AutoProcessor, pipeline

from mmprm_hf import MMPRMModel, PRMScorer, PRMTrainer
from mmprm_hf.models import model_fingerprint
from mmprm_hf.publish.hub import PushRefusedError, push

peft = pytest.importorskip("peft")
ADAPTER = {"target_modules": r".*language_model.*\.(q_proj|v_proj)", "r": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_policy_dir, figures):
    """A folder with ``policy`` and ``prm``, which was trained on it; and a row with its scores when it was trained."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_policy_dir, folder / "policy")
    rows = problem_rows("a", figures[0], 0)
    trainer = PRMTrainer(
        str(folder / "policy"),
        make_args(folder / "trainer", max_steps=2, learning_rate=1e-1),
        train_dataset=rows,
        peft_config=peft.LoraConfig(**ADAPTER),
    )
    trainer.train()
    trainer.save_model(str(folder / "prm"))
    inputs = {"images": figures[0], "text": rows[0]["prompt"], "steps": rows[0]["completions"]}
    trainer.model.eval()
    with torch.no_grad():
        scores = trainer.model(**trainer.processing_class(**inputs)).step_scores()[0]
    return folder, inputs, scores.tolist()


def test_every_way_of_loading_gives_the_trained_scores(trained):
    folder, inputs, scores = trained
    prm = str(folder / "prm")
    start = MMPRMModel.from_policy(folder / "policy")
    batch = AutoProcessor.from_pretrained(prm)(**inputs)
    with torch.no_grad():
        assert start(**batch).step_scores()[0].tolist() != pytest.approx(scores, abs=1e-3)
        for load in (AutoModel.from_pretrained, MMPRMModel.from_pretrained):
            assert load(prm)(**batch).step_scores()[0].tolist() == pytest.approx(scores, abs=1e-5)  # float32
        half = AutoModel.from_pretrained(prm, dtype=torch.bfloat16)
        assert half.dtype == torch.bfloat16
    assert pipeline("process-reward", model=prm)(**inputs)["step_scores"] == pytest.approx(scores, abs=1e-5)
    rerank = pipeline("generate-and-rerank", model=str(folder / "policy"), prm=prm)
    assert rerank.shared is not None and type(PRMScorer.from_pretrained(prm).model) is MMPRMModel


def test_the_folder_names_its_policy_and_no_place_of_this_machine(trained, tmp_path, monkeypatch):
    folder, inputs, scores = trained
    for path in (folder / "prm").rglob("*"):
        if path.suffix in (".json", ".md", ".py"):
            assert str(folder) not in path.read_text(), path
    assert json.loads((folder / "prm" / "config.json").read_text())["policy"] == "./../policy"
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    batch = AutoProcessor.from_pretrained(moved / "prm")(**inputs)
    with torch.no_grad():
        assert MMPRMModel.from_pretrained(moved / "prm")(**batch).step_scores()[0].tolist() == pytest.approx(scores)
    shutil.rmtree(moved / "policy")
    monkeypatch.chdir(moved)
    with pytest.raises(ValueError, match="belongs to the model .*elsewhere/policy', which is not there"):
        MMPRMModel.from_pretrained("prm")
    with pytest.raises(ValueError, match="belongs to the model .*elsewhere/policy', which is not there"):
        AutoModel.from_pretrained(moved / "prm")


@pytest.mark.processes
def test_an_adapter_is_pushed_where_its_policy_is_on_the_hub(trained, hub, hub_environment, tmp_path):
    folder, inputs, scores = trained
    prm = shutil.copytree(folder / "prm", tmp_path / "prm")
    with pytest.raises(
        PushRefusedError, match="config.json: unknown base: the adapter belongs to the folder .*Push that"
    ):
        push(prm, "me/adapter", kind="model")
    shutil.copy(prm / "README.md", folder / "policy")
    push(folder / "policy", "me/policy", kind="model")
    config = json.loads((prm / "config.json").read_text())
    (prm / "config.json").write_text(json.dumps({**config, "policy": "me/policy"}))
    push(prm, "me/adapter", kind="model")
    figure = tmp_path / "figure.png"
    inputs["images"].save(figure)
    program = f"""
import mmprm_hf, json
from transformers import AutoModel, pipeline
score = pipeline("process-reward", model="me/adapter")
print(json.dumps(score({str(figure)!r}, {inputs["text"]!r}, {inputs["steps"]!r})))
assert type(AutoModel.from_pretrained("me/adapter")).__name__ == "MMPRMModel"
rerank = pipeline("generate-and-rerank", model="me/policy", prm="me/adapter")
assert rerank.shared is not None
from peft import AutoPeftModel
AutoPeftModel.from_pretrained("me/adapter").merge_and_unload().save_pretrained("merged")
assert type(AutoModel.from_pretrained("merged")).__name__ == "MMPRMModel"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=hub_environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["step_scores"] == pytest.approx(scores, abs=1e-5)


def test_an_adapter_without_a_name_of_its_base_is_not_pushed(trained, tmp_path):
    prm = shutil.copytree(trained[0] / "prm", tmp_path / "prm")
    (prm / "config.json").unlink()
    with pytest.raises(
        PushRefusedError, match="the adapter does not name what it was trained on. Write the hub id .owner.name. of its"
    ):
        push(prm, "me/adapter", kind="model", dry_run=True)


def test_it_is_merged_and_saved_as_a_whole_prm(trained, tmp_path):
    folder, inputs, scores = trained
    loaded = peft.PeftModel.from_pretrained(MMPRMModel.from_policy(folder / "policy"), folder / "prm")
    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path)
    batch = AutoProcessor.from_pretrained(folder / "prm")(**inputs)
    with torch.no_grad():
        whole = AutoModel.from_pretrained(tmp_path)
        assert whole(**batch).step_scores()[0].tolist() == pytest.approx(scores, abs=1e-4)  # merged weights round
    assert whole.config.policy is None
    assert model_fingerprint(whole) == model_fingerprint(merged)
