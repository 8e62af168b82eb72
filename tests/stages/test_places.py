"""Outputs on top of what is there: somebody else's files stay, and what the same verb made is replaced aloud."""

import json

import pytest
from support.result_documents import best_of_n_document, candidate_rows
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.files import write_jsonl


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of somebody else, `mine`, in the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("train.parquet", "config.json", "facts.json", "README.md", "index.html", "app.py"):
        (tmp_path / "mine" / name).write_text("{}")
    return tmp_path


def test_no_verb_writes_into_a_folder_of_something_else(folder):
    write_jsonl("rows.jsonl", [{"question": "1 + 1?", "answer": "2", "solution": "2", "image": "a.png"}])
    for words in (
        ("data", "-o", "mine"),
        ("demo", "-o", "mine"),
        ("rerank", "--data", "nano", "-o", "mine"),
        ("label", "-o", "mine"),
        ("curate", "--source", "rows.jsonl", "-o", "mine"),
        ("restructure", "--data", "rows.jsonl", "--engine", "http://127.0.0.1:9", "-o", "mine"),
        ("convert", "rows.jsonl", "-o", "mine"),
        ("app", "--space", "mine"),
    ):
        result = run(*words)
        assert result.exit_code == 1 and "mine holds README.md, app.py, config.json ... and is not " in result.stderr, (
            words
        )
        assert len(list((folder / "mine").iterdir())) == 6 and (folder / "mine" / "facts.json").read_text() == "{}"
    result = run("evaluate", "answers", "--benchmark", "own", "--data", "rows.jsonl", "-o", "mine/results.json")
    assert result.exit_code == 1 and "the settings of the run would replace it" in result.stderr


def test_the_nano_dataset_is_replaced_by_another_one_aloud(folder):
    words = ("data", "-o", "nano", "--num-test", 1, "--num-train")
    assert "note" not in run(*words, 2).stderr
    assert "note: nano is a nano dataset, which is replaced; -o names another folder." in run(*words, 1).stderr


def test_a_demo_is_known_by_its_files(folder):
    (folder / "demo").mkdir()
    (folder / "demo" / "results.json").write_text(json.dumps(best_of_n_document()))
    write_jsonl("demo/candidates.jsonl", candidate_rows())
    with pytest.raises(ValueError, match="demo holds candidates.jsonl, results.json and is not a demo"):
        stages.check_demo_folder("demo")
    (folder / "demo" / "index.html").write_text("<p>")
    stages.check_demo_folder("demo")


def test_results_replace_results_aloud_and_nothing_else(folder):
    write_jsonl("candidates.jsonl", candidate_rows())
    words = ("evaluate", "candidates", "candidates.jsonl", "-o")
    assert run(*words, "r.json").stderr == ""
    assert "note: r.json is replaced; -o names another file." in run(*words, "r.json").stderr
    for path, message in (
        ("mine/config.json", "config.json is there and does not hold results, so it is not replaced"),
        ("mine", "'mine' is a folder. Name the results file, such as mine/results.json"),
    ):
        result = run(*words, path)
        assert result.exit_code == 1 and message in result.stderr
    assert (folder / "mine" / "config.json").read_text() == "{}"


def test_results_of_fewer_problems_than_are_solved_are_noted(folder):
    assert run("data", "-o", "nano", "--num-train", 1, "--num-test", 2).exit_code == 0
    words = ("evaluate", "answers", "--benchmark", "own", "--data", "nano", "--num-candidates", 2, "--num-problems")
    assert run(*words, 2).exit_code == 0
    result = run(*words, 1)
    assert result.exit_code == 0, result.output
    path = "out/evaluate/own/candidates.jsonl"
    assert f"note: Resuming {path}: 1 of 1 problems are solved there." in result.stderr
    assert f"note: {path} has 2 problems; the results are now those of the first 1." in result.stderr


def test_a_folder_where_a_file_is_wanted_and_files_that_are_swapped_are_answered_in_a_sentence(folder):
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_text(json.dumps(best_of_n_document()))
    write_jsonl("run/candidates.jsonl", candidate_rows())
    for words, message in (
        (("report", "run"), "'run' is a folder. Give the file in it: run/results.json."),
        (("report", "mine"), "'mine' is a folder, and a file is needed there."),
        (("report", "run/results.json", "-o", "mine"), "'mine' is a folder, and a file is written."),
        (("report", "run/candidates.jsonl"), "`mmprm evaluate candidates run/candidates.jsonl` makes results of them"),
        (
            ("evaluate", "candidates", "run/results.json"),
            "`mmprm report run/results.json` shows them; candidates are in",
        ),
        (("card", "mine"), "'mine' is a folder. Give the file in it: mine/facts.json."),
        (("card", "mine/facts.json", "-o", "run"), "'run' is a folder, and a file is written."),
        (("data", "-o", "mine/app.py"), "'mine/app.py' is a file, and a folder is needed there."),
        (("check", "labels", "mine/app.py"), "'mine/app.py' is a file. Give the folder of a label run"),
    ):
        result = run(*words)
        assert result.exit_code == 1 and message in result.stderr, (words, result.output)
