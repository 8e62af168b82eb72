"""Statistics of rows and of the judge, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.trees_by_hand import PROBLEM, TREE, train_rows

from mmprm_hf.data import Node, SearchTree, Verdict
from mmprm_hf.labelling.label_statistics import JudgeCounts, LabelCounts

CORRECT, INCORRECT, UNDECIDED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED


def label_statistics(*problems):
    counts = LabelCounts()
    for rows in problems:
        counts.add_problem(rows)
    return counts.statistics()


def judge_statistics(tree, threshold=0.0):
    counts = JudgeCounts(threshold)
    counts.add(tree)
    return counts.statistics()


def test_statistics_by_hand():
    # a b c d e: 1/4 1/4 1 1 1; a b f g h: 1/4 1/4 0 0 0; i j: unknown 0
    assert label_statistics(train_rows([PROBLEM], [TREE])) == {
        "num_rows": 3,
        "num_problems": 1,
        "num_rows_with_error": 2,
        "num_located_first_errors": 1,  # before j is an unlabelled step
        "num_steps": 12,
        "num_labelled_steps": 11,
        "num_zero_steps": 4,
        "mean_label": pytest.approx((4 * 0.25 + 3) / 11),
        "positive_share": pytest.approx(7 / 11),
        "weighted_positive_share": pytest.approx(5 / 9),
        "open_share": pytest.approx(1 / 12),
        "mean_steps_per_row": 4.0,
        "max_rows_per_problem": 3,
        "num_distinct_labelled_prefixes": 9,
        "copies_per_prefix": pytest.approx(11 / 9),
        "max_copies_per_prefix": 2,
        "weighted_copies_per_prefix": pytest.approx(1.0),
        "labels_by_tenth": [4, 0, 4, 0, 0, 0, 0, 0, 0, 3],
        "labels_by_tenth_of_source": {
            "estimate": [2, 0, 2, 0, 0, 0, 0, 0, 0, 1],
            "bound": [2, 0, 2, 0, 0, 0, 0, 0, 0, 2],
        },
        "num_steps_by_source": {"estimate": 5, "bound": 6, "judge_dropped": 0, "none": 1},
        "first_errors_by_index": {"1": 1, "2": 1},
        "first_errors_by_relative_tenth": [0, 0, 0, 0, 1, 1, 0, 0, 0, 0],  # f at 2 of 5, j at 1 of 2
        "rows_by_num_steps": {"2": 1, "5": 2},
        "problems_by_num_rows": {"3": 1},
    }


def test_no_rows_give_no_means_and_plain_json():
    statistics = label_statistics()
    assert statistics["mean_label"] is None and statistics["copies_per_prefix"] is None
    assert json.loads(json.dumps(statistics, allow_nan=False)) == statistics


def test_tenths_survive_float32():
    for num_correct in range(11):
        label = float(np.float32(num_correct / 10))  # as a dataset has it
        row = {"problem_id": "p", "completions": ["a"], "labels": [label]}
        statistics = label_statistics([{**row, "label_sources": ["estimate"], "label_weights": [1.0]}])
        assert statistics["labels_by_tenth"].index(1) == min(num_correct, 9)


def test_judge_by_hand():
    nodes = (
        Node("r", None, (), 2, 4, judge_verdict=INCORRECT),  # the root has no step
        Node("a", 0, ("a",), 2, 4, judge_verdict=CORRECT),
        Node("b", 1, ("b",), 1, 4, judge_verdict=INCORRECT),
        Node("c", 2, ("c",), 0, 4, judge_verdict=INCORRECT),
        Node("d", 0, ("d",), 0, 4, judge_verdict=CORRECT),
        Node("e", 0, ("e",), 0, 4, judge_verdict=CORRECT),
        Node("f", 0, ("f",), 0, 4, judge_verdict=UNDECIDED),
        Node("g", 0, ("g",), 0, 0, judge_verdict=CORRECT),
        Node("h", 0, ("h",), 0, 4),
    )
    assert judge_statistics(SearchTree("p", nodes)) == {
        "num_compared": 5,
        "num_undecided": 1,
        "num_dropped": 3,
        "num_both_right": 1,
        "num_both_wrong": 1,
        "num_judge_right_mc_wrong": 2,
        "num_judge_wrong_mc_right": 1,
        "agreement": pytest.approx(2 / 5),
        "agreement_on_wrong": pytest.approx(1 / 4),
        "judge_confirms_wrong": pytest.approx(1 / 3),
        "mc_confirms_wrong": pytest.approx(1 / 2),
    }
    with_threshold = judge_statistics(SearchTree("p", nodes), threshold=0.25)  # b is wrong by MC now
    assert (with_threshold["num_both_wrong"], with_threshold["num_judge_wrong_mc_right"]) == (2, 0)
    assert judge_statistics(TREE)["agreement"] is None
