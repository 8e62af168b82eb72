"""How `mmprm label` ends: what was labelled, what it cost, where it is, what comes next."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app

SEARCH = {
    "num_problems": 1200,
    "num_trees": 1198,
    "num_mixed": 1000,
    "num_resumed": 0,
    "num_failed": 0,
    "num_rollouts": 131_000,
    "num_incomplete": 5,
    "num_undecided": 7,
    "tokens_out": 3_806_700,
    "faults": {},
    "seconds": 7211.4,
}
ROWS = {"num_rows": 10_200, "num_labelled_steps": 40_300, "positive_share": 0.5558}


@pytest.fixture
def label(monkeypatch, tmp_path):
    """Run the verb on a report of a search and its rows."""

    def run(search=(), rows=(), more=(), flags=()):
        report = {"ledger": {**SEARCH, **dict(search)}, "labels": {**ROWS, **dict(rows)}, **dict(more)}
        monkeypatch.setattr(stages, "label", lambda options: report)
        result = CliRunner().invoke(app, ["label", "--output", "out/mine", *flags])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_a_run_ends_with_counts_costs_place_and_next_command(label):
    assert label().splitlines() == [
        "1,198 of 1,200 problems are searched; 198 of them came out always right or always wrong and give no labels",
        "131,000 rollouts (5 incomplete, 7 undecided), 3,806,700 tokens written, 2:00:11",
        "10,200 solutions with 40,300 step labels, 56% of them above zero",
        'wrote out/mine: load_dataset("out/mine"); all counters are in its summary.json and statistics.json',
        "next: mmprm train --model nano --data out/mine/paths --output out/prm --dry-run",
    ]


def test_incomplete_rollouts_are_counted_by_their_faults(label):
    lines = label({"faults": {"cut at the token limit": 3, "no final answer": 2}}).splitlines()
    assert lines[2] == "incomplete rollouts: 3 cut at the token limit, 2 no final answer"


def test_what_was_resumed_failed_or_left_out_is_said(label):
    text = label({"num_resumed": 900, "num_failed": 2}, more={"data": {"num_unreadable_rows": 3}})
    assert "900 were there already and were not searched again\n" in text
    assert "2 problems failed, see out/mine/failures.jsonl; the same command tries them again\n" in text
    assert "3 rows of the data are not problems and were left out\n" in text


def test_without_label_rows_there_is_nothing_to_train_on(label):
    text = label(rows={"num_rows": 0, "num_labelled_steps": 0, "positive_share": None})
    assert "0 solutions with 0 step labels, 0% of them above zero\n" in text and "next:" not in text


def test_scripts_get_every_counter(label):
    report = json.loads(label(flags=["--json"]))
    assert report["ledger"] == SEARCH and report["labels"] == ROWS
