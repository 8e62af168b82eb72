"""The training stage: checkpoint folders, dry runs, and best-of-N on what `mmprm rerank` wrote."""

from __future__ import annotations

import json

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.nano import PRM_PATH

QUICK = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 2, "save_strategy": "no"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of rows without figures: two solutions of each of six problems."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "prompt": f"What is {index} + x?",
            "completions": [f"Begin {index}", end],
            "labels": [0.9, float(end == "right")],
            "problem_id": f"p{index}",
        }
        for index in range(6)
        for end in ("right", "wrong.")
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return folder


def run(*words):
    """`mmprm` with these words; returns what it printed."""
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_training_selects_among_the_candidates_that_rerank_wrote(tmp_path):
    """At learning rate 0 the shipped PRM selects what it selected for `mmprm rerank`."""
    sizes = ("--num-problems", 4, "--num-candidates", 3, "--max-new-tokens", 100)
    run("rerank", "--data", "nano", "--output", tmp_path / "reranked", *sizes)
    candidates = tmp_path / "reranked" / "candidates.jsonl"
    rows = read_jsonl(candidates)
    verdicts = [[candidate["verdict"] for candidate in row["candidates"]] for row in rows]
    is_right = [[verdict == "correct" for verdict in row] for row in verdicts]
    assert all(row["chosen"] is not None for row in rows) and any(map(any, is_right)) and not all(map(all, is_right))
    labelled = [{"prompt": row["question"], "completions": row["candidates"][0]["steps"]} for row in rows]
    labelled = [{**row, "labels": [1.0] * len(row["completions"])} for row in labelled]
    for split in ("train", "validation"):
        datasets.Dataset.from_list(labelled).to_parquet(tmp_path / "data" / f"{split}.parquet")
    (tmp_path / "prm.yaml").write_text(yaml.safe_dump({**QUICK, "max_steps": 1, "learning_rate": 0.0}))
    flags = ("--model", PRM_PATH, "--data", tmp_path / "data", "--config", tmp_path / "prm.yaml")
    printed = run("train", *flags, "--candidates", candidates, "--output", tmp_path / "prm", "--json")
    metrics = json.loads(printed)
    assert metrics == read_json(tmp_path / "prm" / "train_metrics.json")
    assert metrics["eval_best_of_n"] == sum(row[r["chosen"]] for row, r in zip(is_right, rows, strict=True)) / 4
    assert metrics["eval_mean_pass_at_1"] == pytest.approx(sum(map(sum, is_right)) / 12)
    assert metrics["eval_oracle"] == sum(map(any, is_right)) / 4
    assert read_json(tmp_path / "prm" / "train_config.json")["candidates"] == str(candidates)


def test_candidates_are_scored_at_evaluations(tmp_path, tiny_prm_dir, data):
    candidates = tmp_path / "candidates.jsonl"
    judged = [{"steps": ["a", "b"], "answer": "1", "verdict": "correct"}, {"steps": ["c"], "verdict": "incorrect"}]
    candidates.write_text(json.dumps({"problem_id": "p", "question": "What?", "candidates": judged}) + "\n")
    options = {"config": QUICK, "candidates": candidates}
    report = stages.train(tiny_prm_dir, data, tmp_path / "a", eval_share=0.3, dry_run=True, **options)
    assert "The hours do not include scoring the candidates at each evaluation." in report["notes"]
    with pytest.raises(ValueError, match="Found no eval rows in .*candidates are scored at evaluations"):
        stages.train(tiny_prm_dir, data, tmp_path / "b", eval_share=0.0, **options)


def test_a_dry_run_writes_only_its_report(tmp_path, tiny_prm_dir, data):
    output = tmp_path / "out"
    report = stages.train(tiny_prm_dir, data, output, config=QUICK, eval_share=0.3, dry_run=True)
    assert [path.relative_to(output).as_posix() for path in output.rglob("*")] == ["dry_run.json"]
    assert read_json(output / "dry_run.json") == report
    assert report["counted"]["num_steps"] == 2


def test_the_verb_prints_a_dry_run_as_text_or_json(tmp_path, tiny_prm_dir, data):
    (tmp_path / "prm.yaml").write_text(yaml.safe_dump(QUICK))
    flags = ("--model", tiny_prm_dir, "--data", data, "--config", tmp_path / "prm.yaml", "--output", tmp_path / "out")
    assert "  num steps                 2\n" in run("train", *flags, "--dry-run")
    assert json.loads(run("train", *flags, "--dry-run", "--json"))["counted"]["num_steps"] == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dry_run.json"]


def test_a_run_is_resumed_and_one_on_other_data_is_refused(tmp_path, tiny_prm_dir, data):
    config = {**QUICK, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
    for max_steps in (1, 2):
        stages.train(tiny_prm_dir, data, tmp_path / "prm", config={**config, "max_steps": max_steps})
    state = read_json(tmp_path / "prm" / "trainer" / "checkpoint-2" / "trainer_state.json")
    assert [log["step"] for log in state["log_history"] if "loss" in log] == [1, 2]
    assert read_json(tmp_path / "prm" / "train_config.json")["num_train_rows"] == 12
    with pytest.raises(ValueError, match=r"made with other settings \(eval_share: "):
        stages.train(tiny_prm_dir, data, tmp_path / "prm", config=config, eval_share=0.5)


def test_rows_that_name_no_problem_are_split_by_their_prompt(tmp_path, tiny_text_policy_dir):
    rows = [{"prompt": f"q{i}", "completions": ["good", "bad"], "labels": [True, False]} for i in range(8)]
    datasets.Dataset.from_list(rows * 4).to_parquet(tmp_path / "data" / "train.parquet")
    metrics = stages.train(
        tiny_text_policy_dir, tmp_path / "data", tmp_path / "out", config={**QUICK, "max_steps": 1}, eval_share=0.5
    )
    assert metrics["eval_num_steps"] > 0
    counts = read_json(tmp_path / "out" / "train_config.json")
    assert counts["num_train_rows"] % 4 == counts["num_eval_rows"] % 4 == 0
