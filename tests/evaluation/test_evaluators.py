"""The best-of-N table by hand, and its rules for incomplete and undecided candidates."""

import random

import pytest

from mmprm_hf.evaluation.evaluators import METRICS, best_of_n_report
from mmprm_hf.evaluation.exact_truth import step_level_report


def candidate(answer, scores=(0.5,), verdict=None, *, complete=True, steps=None):
    """A candidate row; right if its answer is "7" unless told otherwise."""
    return {
        "steps": list(steps or [f"s{index}" for index in range(len(scores))]),
        "answer": answer,
        "complete": complete,
        "step_scores": list(scores),
        "verdict": verdict or ("correct" if answer == "7" else "incorrect"),
    }


def values_of(*candidates, greedy=None, aggregation="min"):
    row = {"problem_id": "p", "greedy": greedy or candidate("7"), "candidates": list(candidates)}
    report = best_of_n_report([row], aggregation=aggregation)
    return {name: entry["value"] for name, entry in report["metrics"].items()}


def test_one_problem_by_hand():
    values = values_of(
        candidate("8", [0.6, 0.5]),
        candidate("8", [0.6, 0.5]),
        candidate("7", [0.9, 0.8]),
        candidate("7", [0.9, 0.4], steps=["t0", "t1"]),
        candidate("9", [0.1]),
        greedy=candidate("8"),
    )
    assert values == {
        "greedy": 0.0,
        "random_distinct": 0.5,  # 8; 7; 7 by other steps; 9
        "mean_pass_at_1": 0.4,
        "majority_vote": 0.0,  # 8 and 7 tie, 8 stands first
        "best_of_n": 1.0,
        "weighted_vote": 1.0,  # 1.0 for 8, 1.2 for 7
        "oracle": 1.0,
    }


def test_aggregation_decides_the_winner():
    candidates = [candidate("7", [0.6, 0.6]), candidate("8", [0.95, 0.5])]
    assert values_of(*candidates, aggregation="min")["best_of_n"] == 1.0
    assert values_of(*candidates, aggregation="max")["best_of_n"] == 0.0
    assert values_of(*candidates, aggregation="sum_logit")["weighted_vote"] == 0.0


def test_ties_go_to_the_higher_mean():
    assert values_of(candidate("8", [0.5, 0.5]), candidate("7", [0.9, 0.5]))["best_of_n"] == 1.0


def test_incomplete_candidates_are_wrong_and_never_selected():
    cut = candidate("7", [1.0], "correct", complete=False)
    values = values_of(cut, cut, candidate("8", [0.1]), candidate("7", [0.2]))
    assert values["mean_pass_at_1"] == 0.25
    assert values["random_distinct"] == 0.5
    assert values["best_of_n"] == 1.0
    assert values["majority_vote"] == 0.0  # 8 and 7 tie; the cut ones do not vote
    only_cut = values_of(cut, cut)
    assert [only_cut[name] for name in METRICS if name != "greedy"] == [0.0] * 6


def test_unscored_candidates_are_not_selected():
    unscored = {**candidate("7"), "step_scores": None}
    assert values_of(unscored, candidate("8", [0.01]))["best_of_n"] == 0.0


def test_undecided_candidates_leave_numerator_and_denominator():
    unknown = candidate("x", [0.9], "undecided")
    values = values_of(unknown, candidate("7", [0.5]), candidate("8", [0.4]))
    assert values["mean_pass_at_1"] == values["random_distinct"] == 0.5
    assert values["best_of_n"] is None
    assert values["oracle"] == 1.0


def test_a_problem_without_decided_responses_leaves_every_metric_and_is_counted():
    unknown = candidate("x", [0.9], "undecided")
    cut = candidate(None, complete=False)
    rows = [
        {"problem_id": "a", "greedy": candidate("7"), "candidates": [candidate("7"), candidate("8")]},
        {"problem_id": "b", "greedy": unknown, "candidates": [unknown, cut]},
    ]
    report = best_of_n_report(rows)
    assert (report["num_problems"], report["num_candidates"]) == (2, 2)
    assert (report["num_undecided"], report["num_incomplete"], report["num_problems_undecided"]) == (1, 1, 1)
    assert set(report["num_decided"].values()) == {1}
    assert report["metrics"]["mean_pass_at_1"]["value"] == 0.5


def test_incomplete_candidates_are_counted_by_their_faults():
    right, cut = candidate("7"), candidate(None, complete=False)
    rows = [{"problem_id": "a", "candidates": [right, {**cut, "fault": "no final answer"}, cut]}]
    assert best_of_n_report(rows)["faults"] == {"no final answer": 1, "reason not recorded": 1}
    assert "faults" not in best_of_n_report([{"problem_id": "a", "candidates": [right, cut]}])
    with pytest.raises(ValueError, match="fault=3. Why it is incomplete is a text"):
        best_of_n_report([{"problem_id": "a", "candidates": [{**cut, "fault": 3}]}])


def test_intervals_hold_the_value_over_many_problems():
    rng = random.Random(0)
    rows = []
    for index in range(80):
        candidates = [candidate(rng.choice(["7", "8", "9"]), [rng.random(), rng.random()]) for _ in range(4)]
        rows.append({"problem_id": str(index), "greedy": candidates[0], "candidates": candidates})
    report = best_of_n_report(rows)
    for entry in report["metrics"].values():
        assert 0.0 <= entry["ci_low"] < entry["value"] < entry["ci_high"] <= 1.0
    metrics = {name: entry["value"] for name, entry in report["metrics"].items()}
    assert metrics["oracle"] >= max(metrics.values())
    assert report == best_of_n_report(rows)


def test_malformed_rows_are_refused():
    row = {"problem_id": "a", "greedy": candidate("7"), "candidates": [candidate("7")]}
    with pytest.raises(ValueError, match="Found 0 rows"):
        best_of_n_report([])
    with pytest.raises(ValueError, match=r"problems with \[1, 2\] candidates"):
        best_of_n_report([row, {**row, "candidates": [candidate("7")] * 2}])
    with pytest.raises(ValueError, match="Candidate 0 of problem 'a', row 1 has 2 steps but step_scores="):
        best_of_n_report([{**row, "candidates": [candidate("7", [0.5], steps=["a", "b"])]}])
    with pytest.raises(ValueError, match="Did you mean 'product'"):
        best_of_n_report([row], aggregation="produkt")


def test_step_level_report_uses_the_threshold_of_the_train_steps():
    report = step_level_report(
        [1, 1, 0, 0], [0.9, 0.35, 0.32, 0.1], train_labels=[1, 1, 0, 0], train_scores=[0.8, 0.5, 0.1, 0.2]
    )
    assert report["threshold"] == pytest.approx(0.35)
    assert report["auroc"] == report["macro_f1"] == report["accuracy"] == report["train_macro_f1"] == 1.0
    assert (report["num_steps"], report["num_positive"], report["num_negative"]) == (4, 2, 2)
    assert report["majority_accuracy"] == 0.5
    shifted = step_level_report([1, 1, 0, 0], [0.9, 0.35, 0.32, 0.1], train_labels=[1, 0], train_scores=[0.9, 0.4])
    assert shifted["accuracy"] == 0.75
