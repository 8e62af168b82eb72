"""`mmprm train` as somebody who fine-tunes meets it: flags, LoRA, slips, notes, and what --options lists."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import yaml
from support.layout import ROOT
from transformers import TrainingArguments
from typer.testing import CliRunner

from mmprm_hf import PRMTrainer
from mmprm_hf.cli import app
from mmprm_hf.files import read_json, write_jsonl
from mmprm_hf.stages import format_options
from mmprm_hf.training import PRMConfig, trainer_options, training_options

QUICK = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 1, "save_strategy": "no"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with rows.jsonl, whose columns have names of their own, and quick.yaml."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"problem": f"What is {index} + x?", "steps": [f"Begin {index}", "right"], "labels": [0.9, 1.0], "group": index}
        for index in range(6)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_what_everybody_sets_are_flags_and_other_columns_are_named(folder, tiny_text_policy_dir):
    words = ("train", "--model", tiny_text_policy_dir, "--data", "rows.jsonl", "--config", "quick.yaml", "-o", "prm")
    result = run(*words)
    assert result.exit_code == 1 and "has no column prompt; found problem, steps, labels, group" in result.stderr
    result = run(*words, "--columns", "prompt=question")
    assert result.exit_code == 1 and "has no column question; found problem, steps, labels, group" in result.stderr
    result = run(*words, "--columns", "question")
    assert result.exit_code == 2 and "is not of the form question=problem" in " ".join(result.stderr.split())
    words += ("--columns", "prompt=problem,completions=steps,problem_id=group")
    flags = ("--learning-rate", "1e-3", "--batch-size", 2, "--epochs", 2, "--eval-share", 0.5, "--lora-r", 2)
    result = run(*words, *flags)
    assert result.exit_code == 0, result.output
    settings = read_json(folder / "prm" / "train_config.json")
    names = ("learning_rate", "per_device_train_batch_size", "num_train_epochs", "eval_share")
    assert [settings[name] for name in names] == [1e-3, 2, 2, 0.5] and settings["adapter"]["r"] == 2
    assert (folder / "prm" / "adapter_config.json").exists()
    assert "rows of 50 % of the problems, chosen by hash, are held out for evaluation" in result.stderr


def test_few_problems_of_which_none_is_held_out_are_trained_on_without_evaluation(folder, tiny_text_policy_dir, caplog):
    (folder / "quick.yaml").write_text(yaml.safe_dump({**QUICK, "eval_strategy": "steps", "eval_steps": 1}))
    words = ("train", "--model", tiny_text_policy_dir, "--data", "rows.jsonl", "--config", "quick.yaml", "-o", "prm")
    for message in ("Nothing is evaluated, because no rows are held out.", "is already finished"):
        result = run(*words, "--columns", "prompt=problem,completions=steps")
        assert result.exit_code == 0 and "no evaluation rows" in result.stdout
        assert message in result.stderr + caplog.text
    result = run(*words[:-1], "other", "--columns", "prompt=problem,completions=steps", "--dry-run")
    assert "rows to train on; none are held out for evaluation: the hash chose none of these" in result.stderr


def test_the_share_that_is_held_out_stands_in_the_help():
    text = " ".join(run("train", "--help").output.split())
    assert "Share of the problems, chosen by hash, that is held out for evaluation. [default: 0.02" in text


def test_an_unknown_key_is_named_with_its_file_within_a_second(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words, key, meant in (
        (("train", "--model", "x/y", "--data", "rows.jsonl", "-o", "out"), "learning_rat", "learning_rate"),
        (("label",), "c_pukt", "c_puct"),
    ):
        (folder / "run.yaml").write_text(f"{key}: 1\n")
        command = [sys.executable, "-X", "importtime", "-m", "mmprm_hf", *words, "--config", "run.yaml"]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        assert f"mmprm: Unknown option '{key}' in run.yaml. Did you mean '{meant}'" in done.stderr
        assert done.returncode == 2 and not any(f" {name}\n" in done.stderr for name in ("torch", "transformers"))
        assert seconds < 5, "0.5 s on an idle machine"


def test_a_path_of_the_wrong_kind_is_told_before_anything_heavy(folder):
    (folder / "empty").mkdir()
    for model, data, more, message in (
        ("a/b/c", "rows.jsonl", (), "There is no folder 'a/b/c' here. Give the folder of a model, or its hub id."),
        ("rows.jsonl", "rows.jsonl", (), "'rows.jsonl' is a file. Give the folder of a model, or its hub id."),
        ("empty", "rows.jsonl", (), "The folder 'empty' has no config.json: it is not a model."),
        ("x/y", "none.jsonl", (), "There is no file 'none.jsonl' here."),
        ("x/y", "out/labels/paths", (), "There is no file or folder 'out/labels/paths' here."),
        ("x/y", "rows.jsonl", ("--candidates", "empty"), "'empty' is a folder, and a file is needed there."),
    ):
        result = run("train", "--model", model, "--data", data, "-o", "out", *more)
        assert result.exit_code == 1 and message in result.stderr, (model, data, result.output)


def test_options_lists_every_key_with_its_default(folder):
    for verb, key in (
        ("train", "lora_r (0): Rank"),
        ("label", "c_puct (0.125): Weight"),
        ("restructure", "min_steps ("),
    ):
        result = run(verb, "--options")
        assert result.exit_code == 0 and f"\n  {key}" in result.stdout
    assert "\n  max_aspect_ratio (20): Greatest ratio" in format_options("curate")
    known = {*training_options(), *trainer_options()}
    assert known == {field.name for field in PRMConfig.__dataclass_fields__.values() if field.init}
    for name in known - {"output_dir"}:
        assert name in format_options("train")


def test_training_arguments_are_answered_by_a_sentence(folder, tiny_prm_dir):
    with pytest.raises(ValueError, match="Found args=TrainingArguments. PRMTrainer takes a PRMConfig, which has the"):
        PRMTrainer(tiny_prm_dir, TrainingArguments("out", use_cpu=True, report_to="none"), train_dataset=[])


def test_of_several_processes_the_first_one_alone_prints(folder, tiny_text_policy_dir, monkeypatch):
    words = ("train", "--model", tiny_text_policy_dir, "--data", "rows.jsonl", "--config", "quick.yaml", "--json")
    words += ("--columns", "prompt=problem,completions=steps")
    for rank, is_first in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        result = run(*words, "-o", f"prm{rank}")
        assert result.exit_code == 0 and (result.stdout != "") == is_first
        assert ("rows to train on" in result.stderr) == is_first
