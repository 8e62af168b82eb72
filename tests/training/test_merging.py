"""Merging a LoRA adapter: every way that its user or a user of peft would try, and the advice that we print."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
import torch
from support.training_runs import make_args, problem_rows
from transformers import AutoModel, AutoProcessor
from typer.testing import CliRunner

from mmprm_hf import MMPRMModel, PRMScorer, PRMTrainer
from mmprm_hf.cli import app
from mmprm_hf.publish.hub import PushRefusedError, push

peft = pytest.importorskip("peft")
STARTS = ("policy", "prm")


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_policy_dir, tiny_prm_dir, figures):
    """A project with ``policy`` and ``prm``, and ``lora_policy`` and ``lora_prm``, which were trained there."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny_policy_dir, folder / "policy")
    shutil.copytree(tiny_prm_dir, folder / "prm")
    config = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for start in STARTS:
            args = make_args(folder / "trainer" / start, max_steps=2, learning_rate=1e-1)
            trainer = PRMTrainer(start, args, train_dataset=problem_rows("a", figures[0], 0), peft_config=config)
            trainer.train()
            trainer.save_model(f"lora_{start}")
    return folder


@pytest.fixture
def here(project, tmp_path, monkeypatch):
    """A copy of the project, moved to another place, as the working directory."""
    shutil.copytree(project, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    return tmp_path / "moved"


@torch.no_grad()
def scores_of(model, figure):
    row = problem_rows("a", figure, 0)[0]
    batch = AutoProcessor.from_pretrained("lora_policy")(images=figure, text=row["prompt"], steps=row["completions"])
    return model.eval()(**batch).step_scores()[0].tolist()


def merges_of(adapter):
    """Every way to merge, as users write it."""
    yield AutoModel.from_pretrained(adapter).merge_and_unload()
    yield MMPRMModel.from_pretrained(adapter).merge_and_unload()
    yield peft.AutoPeftModel.from_pretrained(adapter).merge_and_unload()
    yield peft.PeftModel.from_pretrained(AutoModel.from_pretrained(adapter), adapter).merge_and_unload()
    start = adapter.removeprefix("lora_")
    base = (MMPRMModel.from_policy if start == "policy" else MMPRMModel.from_pretrained)(start)
    yield peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # AutoModel has attached it before
def test_every_way_to_merge_gives_a_whole_prm_with_the_same_scores(here, figures):
    for start in STARTS:
        adapter = f"lora_{start}"
        scores = scores_of(AutoModel.from_pretrained(adapter), figures[0])
        for number, merged in enumerate(merges_of(adapter)):
            merged.save_pretrained(here / f"{start}{number}")
            whole = MMPRMModel.from_pretrained(here / f"{start}{number}")
            assert scores_of(whole, figures[0]) == pytest.approx(scores, abs=1e-5), (start, number)  # float32
            assert whole.config.policy is None and not hasattr(whole, "peft_config")


def test_the_advice_for_training_on_an_adapter_works_as_it_is_printed(here, figures):
    (here / "rows.jsonl").write_text(json.dumps({"prompt": "q", "completions": ["a"], "labels": [1.0]}))
    train = ["train", "--data", "rows.jsonl", "--output", "out", "--eval-share", "0", "--model"]
    refused = CliRunner().invoke(app, [*train, "lora_policy"])
    message = " ".join(refused.stderr.split())
    command, code = re.search(r"`mmprm (convert .*?)`, in Python (.*\))\.", message).groups()
    merged = CliRunner().invoke(app, shlex.split(command))
    assert merged.exit_code == 0 and "wrote lora_policy-merged" in merged.stdout, merged.output
    scores = scores_of(AutoModel.from_pretrained("lora_policy"), figures[0])
    shutil.move("lora_policy-merged", "by_command")
    exec(f"import mmprm_hf.training; {code}")
    shutil.move("policy", "gone")
    for folder in ("by_command", "lora_policy-merged"):
        scorer = PRMScorer.from_pretrained(folder)
        assert scores_of(scorer.model, figures[0]) == pytest.approx(scores, abs=1e-5)  # float32
    (here / "quick.yaml").write_text("{max_steps: 1, use_cpu: true, report_to: none, disable_tqdm: true}")
    result = CliRunner().invoke(app, [*train, "by_command", "--config", "quick.yaml"])
    assert result.exit_code == 0, result.output


def test_a_prm_that_carries_an_adapter_says_how_to_merge_it_when_it_is_saved_or_trained(here, figures):
    model = AutoModel.from_pretrained("lora_policy")
    with pytest.raises(ValueError, match=r"Merge it, .*: model.merge_and_unload\(\).save_pretrained\('whole'\)"):
        model.save_pretrained("whole")
    assert not (here / "whole").exists()
    processor, rows = AutoProcessor.from_pretrained("lora_policy"), problem_rows("a", figures[0], 0)
    args = make_args(here / "again", max_steps=1)
    with pytest.raises(ValueError, match=r"carries an adapter. Merge it first, and give model.merge_and_unload\(\)"):
        PRMTrainer(model, args, train_dataset=rows, processing_class=processor)
    trainer = PRMTrainer(model.merge_and_unload(), args, train_dataset=rows, processing_class=processor)
    trainer.train()
    assert all(parameter.requires_grad for name, parameter in trainer.model.named_parameters() if "tower" not in name)
    with pytest.raises(ValueError, match="carries no adapter, so there is nothing to merge"):
        MMPRMModel.from_pretrained("prm").merge_and_unload()


def test_an_adapter_on_a_local_prm_moves_with_it_and_is_pushed_with_its_hub_id_only(here, figures, monkeypatch):
    for path in here.glob("lora_*/*.json"):
        assert str(here.parent) not in path.read_text() and "/tmp/" not in path.read_text()
    settings = json.loads((here / "lora_prm" / "config.json").read_text())
    assert settings["policy"] == "./../prm"
    scores = scores_of(AutoModel.from_pretrained("lora_prm"), figures[0])
    with pytest.raises(PushRefusedError, match="belongs to the folder './../prm'.*write its hub id"):
        push(here / "lora_prm", "me/lora", kind="model", dry_run=True)
    for name in ("prm", "out/prm/x"):  # neither is there from where it is pushed, and neither is an id of the Hub
        (here / "lora_prm" / "config.json").write_text(json.dumps({**settings, "policy": name}))
        monkeypatch.chdir(here / "policy")
        with pytest.raises(PushRefusedError, match=f"belongs to the folder '{name}'"):
            push(here / "lora_prm", "me/lora", kind="model", dry_run=True)
    (here / "lora_prm" / "config.json").write_text(json.dumps({**settings, "policy": "me/prm"}))
    push(here / "lora_prm", "me/lora", kind="model", dry_run=True)
    monkeypatch.chdir(here)
    assert scores_of(AutoModel.from_pretrained("prm"), figures[0]) != pytest.approx(scores, abs=1e-3)
