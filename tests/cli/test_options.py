"""Options that verbs share: columns, lists of keys, paths that are checked early, and errors for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer
from support.layout import ROOT
from typer.testing import CliRunner

from mmprm_hf.cli import app
from mmprm_hf.cli.options import column_names
from mmprm_hf.training import trainer_options


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_columns_may_be_named_in_one_flag_or_in_several():
    names = {"question": "problem", "answer": "gold"}
    assert column_names(["question=problem", "answer=gold"]) == column_names(["question=problem, answer=gold"]) == names
    assert column_names(["question=problem", "question=problem"]) == {"question": "problem"} and not column_names(None)
    for texts, message in (
        (["question=problem", "question=gold"], "names question twice, as problem and as gold. .* OURS=THEIRS"),
        (["question"], "'question' is not of the form question=problem"),
        (["a=b=c"], "is not of the form"),
    ):
        with pytest.raises(typer.BadParameter, match=message):
            column_names(texts)


def test_every_verb_lists_what_its_configuration_takes():
    group = typer.main.get_command(app)
    verbs = [[name] for name, command in group.commands.items() if not hasattr(command, "commands")]
    verbs += [[name, verb] for name in ("evaluate", "check") for verb in group.commands[name].commands]
    for verb in verbs:
        result = run(*verb, "--options")
        assert result.exit_code == 0 and "Every flag is a key, too" in result.stdout, verb
        if verb[0] not in ("train", "label", "curate", "restructure"):
            assert f"`mmprm {' '.join(verb)}` takes no key besides its flags" in result.stdout
    listed = run("train", "--options").stdout
    assert "  num_train_epochs (3.0)\n" in listed and "  output_dir" not in listed
    assert all(trainer_options().values())


def test_a_policy_that_is_not_there_is_told_before_anything_heavy_is_imported():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words in (("rerank", "--question", "q"), ("label",)):
        command = [sys.executable, "-X", "importtime", "-m", "mmprm_hf", *words, "--policy", "./none"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and "mmprm: There is no folder './none' here." in done.stderr
        assert not any(f" {name}\n" in done.stderr for name in ("torch", "transformers"))


def test_the_judge_of_steps_may_be_a_server(tmp_path):
    words = ("label", "--data", tmp_path / "none.jsonl", "-o", tmp_path / "out")
    result = run(*words, "--step-judge", "http://127.0.0.1:9/v1")
    assert "There is no file" in result.stderr and "127.0.0.1" not in result.stderr


def test_an_error_is_one_json_document_too():
    for words, message, code in (
        (("rerank", "--data", "none.jsonl", "-o", "out", "--json"), "There is no file 'none.jsonl' here", 1),
        (("rerank", "--json", "--no-such-flag"), "No such option: --no-such-flag", 2),
        (("rerank", "--json"), "give either --question (one problem) or --data (many).", 2),
        (("report", "none.json", "--json"), "There is no file 'none.json' here", 1),
        (("no-such-verb", "--json"), "No such command 'no-such-verb'", 2),
    ):
        result = run(*words)
        document = json.loads(result.stdout)
        assert result.exit_code == document["exit_code"] == code and message in document["error"], words
        assert message in " ".join(result.stderr.replace("│", " ").split())
    assert run("report", "none.json").stdout == ""
