"""The diagnosis: each number on rows made so that it is known."""

from __future__ import annotations

import math

import pytest

from mmprm_hf.evaluation.diagnosis import diagnose
from mmprm_hf.metrics import reliability


def candidate(answer, is_right, scores, num_steps=None, complete=True, verdict=None):
    steps = [f"s{n}" for n in range(num_steps or len(scores))]
    words = verdict or ("correct" if is_right else "incorrect")
    return {"steps": steps, "answer": answer, "complete": complete, "verdict": words, "step_scores": list(scores)}


def row(*candidates):
    return {"problem_id": "p", "candidates": list(candidates), "greedy": None}


RIGHT, WRONG = candidate("5", True, [0.9, 0.8]), candidate("6", False, [0.9, 0.2])


def test_headroom():
    rows = [
        row(RIGHT, WRONG, WRONG),  # only the PRM
        row(candidate("5", True, [0.1]), candidate("5", True, [0.1]), WRONG),  # only the vote
        row(RIGHT, RIGHT, RIGHT),
        row(WRONG, WRONG, WRONG),
    ]
    headroom = diagnose(rows)["headroom"]
    assert (headroom["no_right_candidate"], headroom["all_right"], headroom["mixed"], headroom["num_mixed"]) == (
        0.25,
        0.25,
        0.5,
        2,
    )
    assert headroom["best_of_n_on_mixed"] == 0.5 == headroom["majority_vote_on_mixed"]
    assert headroom["only_best_of_n"] == 0.5 == headroom["only_majority_vote"]


def test_ranking_within_and_pooled():
    """Scores that know easy problems from hard ones and nothing else: pooled high, within one half."""
    easy = row(candidate("5", True, [0.9]), candidate("5", True, [0.9]), candidate("6", False, [0.9]))
    hard = row(candidate("5", True, [0.1]), candidate("6", False, [0.1]), candidate("7", False, [0.1]))
    ranking = diagnose([easy, hard])["ranking"]
    assert ranking["within"] == 0.5 and ranking["num_problems_within"] == 2
    assert ranking["pooled"] == pytest.approx(2 / 3)
    assert diagnose([row(RIGHT, WRONG)])["ranking"] == {"pooled": 1.0, "within": 1.0, "num_problems_within": 1}
    assert diagnose([row(RIGHT, RIGHT)])["ranking"]["within"] is None


def test_saturation_and_ties():
    rows = [
        row(candidate("5", True, [1.0, 0.995]), candidate("6", False, [0.0, 1.0]), candidate("7", False, [0.5, 0.995]))
    ]
    found = diagnose(rows, aggregation="last")["saturation"]
    assert found["near_1"] == 4 / 6 and found["near_0"] == 1 / 6 and found["num_steps"] == 6
    assert found["ties_at_the_top"] == 0.0
    tied = [row(candidate("5", True, [0.7]), candidate("6", False, [0.7]))]
    assert diagnose(tied)["saturation"]["ties_at_the_top"] == 1.0
    copies = [row(candidate("5", True, [0.7]), candidate("5", True, [0.7]), candidate("6", False, [0.1]))]
    assert diagnose(copies)["saturation"]["ties_at_the_top"] == 0.0  # copies of one candidate are no tie


def test_length_bias():
    rows = [row(candidate("5", True, [0.2] * 4), candidate("6", False, [0.9]), candidate("7", False, [0.5] * 2))]
    found = diagnose(rows)["length"]
    assert found["score"] == -1.0 and found["truth"] == pytest.approx(math.sqrt(3) / 2)
    assert diagnose([row(RIGHT, WRONG)])["length"] == {"score": None, "truth": None}


def test_diversity_counts_answers_by_value():
    rows = [row(candidate("0.5", True, [0.9]), candidate("1/2", True, [0.9]), candidate("3", False, [0.9]), WRONG)]
    assert diagnose(rows)["diversity"] == {"distinct_answers": 3.0, "share_of_the_commonest": 0.5}


def test_undecided_and_incomplete_candidates():
    undecided = candidate("8", False, [0.99], verdict="undecided")
    cut = {**candidate(None, True, [0.99]), "complete": False}
    found = diagnose([row(RIGHT, WRONG, undecided, cut)])
    assert found["headroom"]["best_of_n_on_mixed"] == 1.0  # neither the undecided nor the cut one is chosen
    assert found["saturation"]["num_steps"] == 4
    assert found["calibration"]["bins"][-1]["num"] == 1
    only = diagnose([row(undecided)])
    assert only["headroom"]["mixed"] is None and only["calibration"] is None


def test_calibration_is_of_scores_in_0_to_1_only():
    rows = [row(RIGHT, WRONG)]
    assert diagnose(rows)["calibration"] == reliability([0.8, 0.2], [True, False])
    assert diagnose(rows, aggregation="sum_logit")["calibration"] is None


def test_scores_by_step():
    found = diagnose([row(RIGHT, WRONG)])["by_step"]
    assert found[1] == {"step_index": 1, "right": 0.8, "wrong": 0.2, "num_right": 1, "num_wrong": 1}


def test_scores_by_number_of_steps():
    """The aggregated score, so that a PRM that likes short solutions shows it."""
    short, long = candidate("6", False, [0.9]), candidate("5", True, [0.9, 0.9, 0.2])
    incomplete = candidate("5", True, [0.9, 0.9, 0.9], complete=False)
    found = diagnose([row(short, long, incomplete), row(candidate("5", True, [0.5]), short)])["by_num_steps"]
    assert found == [
        {"num_steps": 1, "right": 0.5, "wrong": 0.9, "num_right": 1, "num_wrong": 2},
        {"num_steps": 3, "right": 0.2, "wrong": None, "num_right": 1, "num_wrong": 0},
    ]


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(ValueError, match="Found 0 rows"):
        diagnose([])
    with pytest.raises(ValueError, match="Unknown aggregation 'mim'. Did you mean 'min'"):
        diagnose([row(RIGHT)], aggregation="mim")
