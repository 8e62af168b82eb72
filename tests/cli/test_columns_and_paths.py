"""Data of other people on the command line: their columns, and paths that are not there."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import pytest
from support.layout import ROOT
from support.stub_server import StubServer
from typer.testing import CliRunner

from mmprm_hf import curation, files, labelling, rows, stages
from mmprm_hf.cli import app
from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.nano import load_nano

ROWS = [{"problem": "What is 1 + 1?", "solved": "1 + 1 = 2. The answer is 2.", "gold": "2", "pic": []}] * 2


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "mine.jsonl", ROWS)
    return "mine.jsonl"


def test_a_column_that_is_not_there_is_told_before_any_model_is_loaded(data):
    for words in (
        ("rerank", "--data", data, "-o", "out", "--policy", "no/such"),
        ("label", "--data", data, "-o", "out", "--policy", "no/such"),
        ("evaluate", "answers", "--benchmark", "mm_k12", "--data", data, "-o", "out/r.json", "--policy", "no/such"),
        ("restructure", "--data", data, "-o", "out", "--engine", "http://127.0.0.1:9"),
    ):
        result = run(*words)
        assert result.exit_code == 1, words
        assert "mine.jsonl has no column question; found problem, solved, gold, pic." in result.stderr, result.stderr
        result = run(*words, "--columns", "question=text")
        assert result.exit_code == 1 and "has no column text; found problem, solved, gold, pic" in result.stderr


def test_problems_in_columns_of_other_names_are_solved(data):
    (words := ["rerank", "--data", data, "-o", "out", "--num-candidates", 2, "--max-new-tokens", 12])
    result = run(*words, "--columns", "question=problem,answer=gold")
    assert result.exit_code == 0, result.output
    row = read_jsonl("out/candidates.jsonl")[0]
    assert (row["question"], row["answer"]) == ("What is 1 + 1?", "2")
    with open("columns.yaml", "w") as file:
        file.write("columns: {question: problem, answer: gold}\n")
    result = run(*words, "--config", "columns.yaml")
    assert result.exit_code == 0, "a mapping in YAML says the same"
    assert "note: Resuming out/candidates.jsonl: 2 of 2 problems are solved there." in result.stderr
    result = run(*words, "--config", "columns.yaml", "--seed", 1)
    assert result.exit_code == 1 and "(seed: None there, 1 now; see config.json)" in result.stderr


def test_a_run_in_which_no_row_is_usable_ends_with_exit_code_1(data):
    write_jsonl("blank.jsonl", [{"question": "", "solution": "", "answer": "2"}] * 2)
    assert run("rerank", "--data", "blank.jsonl", "-o", "a").exit_code == 1
    assert run("label", "--data", "blank.jsonl", "-o", "b").exit_code == 1
    assert run("evaluate", "answers", "--benchmark", "mm_k12", "--data", "blank.jsonl", "-o", "c/r.json").exit_code == 1
    with StubServer(lambda *_: "") as server:
        result = run("restructure", "--data", "blank.jsonl", "-o", "d", "--engine", server.url)
    assert result.exit_code == 1 and "None of the 2 rows of blank.jsonl could be used: no_question 2." in result.stderr
    write_jsonl("none.jsonl", [])
    result = run("rerank", "--data", "none.jsonl", "-o", "e")
    assert result.exit_code == 1 and "none.jsonl has no rows" in result.stderr


def test_a_name_that_is_neither_here_nor_on_the_hub_is_told_so(data):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "mmprm_hf", "rerank", "--data", "a/b/c", "-o", "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "mmprm: There is no file or folder 'a/b/c' here." in done.stderr and " torch\n" not in done.stderr
    for words, message in (
        (("rerank", "--data", "no/such", "-o", "out"), "There is no file or folder 'no/such' here, and as a hub id"),
        (("rerank", "--data", "out/no/such", "-o", "out"), "There is no file or folder 'out/no/such' here. Correct"),
        (("rerank", "--question", "q", "--policy", "no/such"), "it is not a folder here, and the Hub does not give it"),
    ):
        result = run(*words)
        assert result.exit_code == 1 and message in result.stderr, result.output


def test_labels_are_checked_by_a_verb(tmp_path):
    result = run("label", "--num-problems", 3, "-o", tmp_path / "labels", "--config", _tiny(tmp_path))
    assert result.exit_code == 0, result.output
    counts = labelling.check_label_dataset(str(tmp_path / "labels"))
    result = run("check", "labels", tmp_path / "labels")
    assert result.exit_code == 0 and f"{counts['paths']} paths, {counts['trees']} trees" in result.stdout
    assert json.loads(run("check", "labels", tmp_path / "labels", "--json").stdout) == counts
    again = run("label", "--num-problems", 3, "-o", tmp_path / "labels", "--config", _tiny(tmp_path))
    assert f"note: Resuming {tmp_path / 'labels'}: its 3 searched problems are not searched again." in again.stderr
    load_nano("test", 1).to_parquet(tmp_path / "labels" / "problems" / "train.parquet")
    result = run("check", "labels", tmp_path / "labels")
    assert result.exit_code == 1 and "has no problem" in result.stderr and result.stdout == ""
    result = run("check", "labels", tmp_path / "none")
    assert result.exit_code == 1 and "There is no folder" in result.stderr


def _tiny(folder):
    path = folder / "tiny.yaml"
    path.write_text("num_rollouts: 2\nmax_rollouts: 6\nnum_searches: 1\nkeep: all\n")
    return path


def test_a_path_is_a_text_or_a_path_everywhere():
    functions = [getattr(stages, name) for name in stages.__all__]
    functions += [labelling.check_label_dataset, labelling.write_label_dataset, labelling.TreeFile]
    functions += [rows.read_candidate_rows, curation.curate, *filter(inspect.isfunction, vars(files).values())]
    for function in functions:
        if callable(function) and not function.__name__.startswith("_"):
            for parameter in inspect.signature(function).parameters.values():
                assert "Path" not in str(parameter.annotation) or "str" in str(parameter.annotation), function
