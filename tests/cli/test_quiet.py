"""Quiet and loud: `--quiet`, `-h`, `--version`, completion, and the variables that silence bars."""

import logging
import os
import warnings

import pytest
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app

SOLVE = ("rerank", "--data", "nano", "--num-problems", "1", "--num-candidates", "1")
VARIABLES = (
    *("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"),
    "PYTHONWARNINGS",
)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What the program sets is for its process; here it is put back."""
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in VARIABLES})
    level = logging.getLogger().level
    with warnings.catch_warnings():
        yield
    logging.getLogger().setLevel(level)


def run(*words, **options):
    return CliRunner().invoke(app, [*map(str, words)], **options)


def test_a_bar_is_shown_unless_quiet_is_asked_for_before_or_behind_the_verb(tmp_path):
    def bars(name, *words):
        result = run(*words, "--output", tmp_path / name)
        assert result.exit_code == 0 and "1 problems" in result.stdout, result.output
        return "solving" in result.stderr

    assert bars("loud", *SOLVE)
    assert not bars("before", "-q", *SOLVE)


@pytest.mark.parametrize("words", [("--quiet", *SOLVE), (*SOLVE, "-q"), (*SOLVE, "--debug", "--quiet")])
def test_quiet_reaches_the_libraries_and_our_own_warnings(words, monkeypatch):
    found = {}

    def solve(*_, **__):
        found.update({name: os.environ.get(name) for name in VARIABLES})
        found["logs"] = logging.getLogger("mmprm_hf.stages").isEnabledFor(logging.WARNING)
        raise ValueError("errors are shown")

    monkeypatch.setattr(stages, "rerank_problems", solve)
    result = run(*words, "--output", "never")
    assert found == {**dict.fromkeys(VARIABLES[:3], "1"), VARIABLES[3]: "error", VARIABLES[4]: "ignore", "logs": False}
    assert "errors are shown" in (result.stderr or str(result.exception))


def test_tqdms_own_variable_silences_the_program(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "TQDM_DISABLE", "1")
    assert "solving" not in run(*SOLVE, "--output", tmp_path).stderr


def test_the_short_help_is_the_help():
    for verb in ((), ("label",), ("evaluate",), ("evaluate", "answers")):
        assert run(*verb, "-h").output == run(*verb, "--help").output != ""


def test_a_shell_completes_verbs():
    result = run(
        prog_name="mmprm", env={"_MMPRM_COMPLETE": "complete_bash", "COMP_WORDS": "mmprm re", "COMP_CWORD": "1"}
    )
    assert result.output.split() == ["rerank", "restructure", "report"]


def test_quiet_hides_the_notes_of_a_stage(monkeypatch):
    def solve(*_, **__):
        logging.getLogger("mmprm_hf.notes").info("resumed at problem 3")
        raise ValueError("an error")

    monkeypatch.setattr(stages, "rerank_problems", solve)
    assert "resumed at problem 3" in run(*SOLVE, "--output", "never").stderr
    result = run(*SOLVE, "--output", "never", "-q")
    assert "resumed" not in result.stderr and "an error" in result.stderr
