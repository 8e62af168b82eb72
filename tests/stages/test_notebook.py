"""The stages from Python, as in a notebook: an event loop is running."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import datasets
import pytest
from support.raw_problems import raw_row
from support.restructuring import QUESTION, policy, solution
from support.stub_server import StubServer

import mmprm_hf
from mmprm_hf import stages
from mmprm_hf.errors import UnknownNameError
from mmprm_hf.files import read_json, write_jsonl
from mmprm_hf.nano import PRM_PATH, make_problem
from mmprm_hf.rows import read_results

PROBLEMS = [{"id": f"p{i}", "question": f"What is {i} + 3?", "answer": str(i + 3)} for i in range(2)]


def in_notebook(call):
    """What a call returns where an event loop runs."""

    async def cell():
        return call()

    return asyncio.run(cell())


def add(messages, seed):
    """A policy: right at even seeds."""
    return f"<step>I add.</step><step>That is all.</step><answer>{3 + seed % 2}</answer>"


def test_label_takes_paths_and_the_options_of_the_command_line(tmp_path):
    rows = [{"ask" if name == "question" else name: text for name, text in row.items()} for row in PROBLEMS]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    options = {"search": "flat_mc", "num_rollouts": 4, "num_responses": 2, "prefill": "user", "timeout": 30}
    with StubServer(add) as server:
        served = {"engine": server.url, "columns": {"question": "ask"}, **options}
        report = in_notebook(lambda: mmprm_hf.label(tmp_path / "mine.jsonl", str(tmp_path / "labels"), **served))
    assert report["ledger"]["num_trees"] == 2 and report["labels"]["num_rows"] > 0
    assert set(datasets.load_dataset(str(tmp_path / "labels"), split="train")["problem_id"]) == {"p0", "p1"}


def test_evaluate_problems_of_ones_own_text_and_figures(tmp_path):
    figure = make_problem("clock", 1)
    figure.figure().save(tmp_path / "clock.png")
    rows = [
        {**PROBLEMS[0], "options": ["5", "3"], "answer": "B"},
        {"question": figure.question, "answer": figure.answer, "image": "clock.png"},
        {"question": "no answer", "answer": None},
    ]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    sizes = {"num_candidates": 2, "max_new_tokens": 8}
    with StubServer(add) as server:
        served = {"engine": server.url, "prm": "nano", **sizes}
        call = {"data": tmp_path / "mine.jsonl", "output": tmp_path / "out", **served}
        results = in_notebook(lambda: mmprm_hf.evaluate(**call))
        assert "\n(A) 5\n(B) 3" in str(server.bodies).replace("\\n", "\n")
        again = mmprm_hf.evaluate(**call)
    assert results == again == read_results(tmp_path / "out" / "results.json")
    assert (results["benchmark"], results["prm"]) == ("own", "nano PRM (shipped)")
    assert results["rows"]["num_used"] == 2 and results["rows"]["problems"] == {"answer is empty": 1}
    assert results["best_of_n"]["metrics"]["oracle"]["value"] == 0.5
    candidates = {"candidates": tmp_path / "out" / "candidates.jsonl", "prm": PRM_PATH}
    other = mmprm_hf.evaluate(str(tmp_path / "mine.jsonl"), tmp_path / "other" / "r.json", **candidates)
    assert other["best_of_n"] == results["best_of_n"]


def test_evaluate_step_scores(tmp_path):
    row = {"id": "s", "problem": "1+1?", "steps": ["1+1=2", "So 3"], "label": 1, "final_answer_correct": False}
    write_jsonl(tmp_path / "gsm8k.jsonl", [{**row, "id": f"gsm8k-{i}"} for i in range(2)])
    results = mmprm_hf.evaluate(tmp_path / "gsm8k.jsonl", tmp_path / "out", benchmark="processbench", threshold=0.5)
    assert results["steps"]["threshold"] == 0.5 and (tmp_path / "out" / "results.json").exists()


def test_evaluate_without_an_output_returns_the_results_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "mine.jsonl", PROBLEMS)
    with StubServer(add) as server:
        served = {"engine": server.url, "prm": "nano", "num_candidates": 2, "max_new_tokens": 8}
        results = mmprm_hf.evaluate("mine.jsonl", **served)
        kept = mmprm_hf.evaluate("mine.jsonl", "out", **served)
    assert results["best_of_n"] == kept["best_of_n"]
    again = mmprm_hf.evaluate("mine.jsonl", prm="nano", candidates="out/candidates.jsonl")
    assert again["best_of_n"] == kept["best_of_n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "out"]


def test_evaluate_nano_does_what_the_command_line_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"num_problems": 2, "num_train_problems": 2, "num_candidates": 2}
    results = mmprm_hf.evaluate("nano", **sizes, diagnose=True)
    assert results["benchmark"] == "nano" and {"best_of_n", "exact_truth", "diagnosis"} <= set(results)
    assert (results["policy"], results["prm"]) == ("nano policy (shipped)", "nano PRM (shipped)")
    assert not list(tmp_path.iterdir())
    scorer = mmprm_hf.PRMScorer.from_pretrained("nano")
    named = mmprm_hf.evaluate("nano", "out", "nano", scorer, **sizes)
    assert named["best_of_n"] == results["best_of_n"] and named["prm"] == "PRMScorer"
    assert read_results(tmp_path / "out" / "results.json")["exact_truth"] == results["exact_truth"]


@pytest.mark.trainings
def test_train_takes_the_flags_of_the_command_line_and_returns_what_it_reports(tmp_path):
    mmprm_hf.label("nano", tmp_path / "labels", num_problems=10, num_rollouts=4)
    data = tmp_path / "labels" / "paths"
    options = {"max_steps": 1, "batch_size": 2, "eval_share": 0.3, "report_to": "none", "learning_rate": 1e-4}
    metrics = in_notebook(lambda: mmprm_hf.train(data, str(tmp_path / "prm"), "nano", **options))
    assert metrics == read_json(tmp_path / "prm" / "train_metrics.json") and "eval_auroc" in metrics
    assert read_json(tmp_path / "prm" / "train_config.json")["per_device_train_batch_size"] == 2
    assert mmprm_hf.train(data, tmp_path / "prm", "nano", **options) == metrics  # finished: not trained again
    assert mmprm_hf.PRMScorer.from_pretrained(tmp_path / "prm").processor is not None
    report = mmprm_hf.train(data, tmp_path / "plan", "nano", dry_run=True, epochs=2)
    assert report["counted"]["num_epochs"] == 2 and not (tmp_path / "plan" / "model.safetensors").exists()


def test_train_says_what_is_not_there_before_it_begins(tmp_path):
    (tmp_path / "rows").mkdir()
    for data, model, message in (
        (tmp_path / "rows" / "x", "nano", "There is no file or folder"),
        (tmp_path / "rows", "./no-model", "There is no folder './no-model' here"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            mmprm_hf.train(data, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_curate_asks_a_server_inside_an_event_loop(tmp_path):
    write_jsonl(tmp_path / "raw" / "rows.jsonl", [raw_row(tmp_path / "raw", number) for number in range(3)])
    with StubServer(lambda messages, seed: "I cannot say.\nAnswer: none") as server:
        options = {"engine": server.url, "num_test": 1, "adapter": "mathvision"}
        report = in_notebook(lambda: mmprm_hf.curate(tmp_path / "raw" / "rows.jsonl", tmp_path / "out", **options))
        assert server.bodies
    assert report["splits"] == {"train": 2, "test": 1}
    twice = mmprm_hf.curate([{"path": str(tmp_path / "raw" / "rows.jsonl")}], str(tmp_path / "again"))
    assert twice["splits"]["train"] == 3


def test_restructure_inside_an_event_loop(tmp_path):
    row = {"id": "r", "question": QUESTION, "solution": solution("", 0), "answer": "7"}
    write_jsonl(tmp_path / "rows.jsonl", [row])
    with StubServer(policy) as server:
        servers = stages.Servers(server.url)
        report = in_notebook(lambda: stages.restructure(tmp_path / "rows.jsonl", tmp_path / "out", servers=servers))
    assert report["num_accepted"] == 1


def test_a_misspelt_option_is_named_before_anything_is_written(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", PROBLEMS)
    data, output = tmp_path / "mine.jsonl", tmp_path / "out"
    for call, wrong, right in (
        (lambda: mmprm_hf.label(data, output, num_problem=1), "num_problem", "num_problems"),
        (lambda: mmprm_hf.evaluate(data, output, num_candidate=1), "num_candidate", "num_candidates"),
        (lambda: mmprm_hf.evaluate(data, output, benchmark="mathvison"), "mathvison", "mathvision"),
        (lambda: mmprm_hf.evaluate(data, output, benchmark="prmbench", treshold=1), "treshold", "threshold"),
        (lambda: mmprm_hf.evaluate("nano", output, diagnosis=True), "diagnosis", "diagnose"),
        (lambda: mmprm_hf.train(data, output, "nano", epoch=1), "epoch", "epochs"),
        (lambda: mmprm_hf.train(data, output, "nano", learning_rates=1), "learning_rates", "learning_rate"),
        (lambda: mmprm_hf.curate(data, output, num_tests=1), "num_tests", "num_test"),
    ):
        with pytest.raises(UnknownNameError, match=f"{wrong!r}.*Did you mean {right!r}"):
            call()
    for call in (
        lambda: mmprm_hf.train(data, output, "nano", engine="http://127.0.0.1:9"),
        lambda: mmprm_hf.evaluate("nano", output, engine="http://127.0.0.1:9"),
        lambda: mmprm_hf.evaluate(data, output, benchmark="prmbench", threshold=0.5, engine="http://127.0.0.1:9"),
    ):
        with pytest.raises(UnknownNameError, match="Unknown option 'engine'"):
            call()
    assert not output.exists()


def test_a_notebook_shows_few_arguments_and_what_they_mean():
    for function in (mmprm_hf.label, mmprm_hf.train, mmprm_hf.evaluate, mmprm_hf.curate):
        assert len(inspect.signature(function).parameters) <= 6 and "Args:" in function.__doc__
        assert function.__name__ in dir(mmprm_hf) and not (Path(mmprm_hf.__file__).parent / function.__name__).exists()
