"""Figures of the step-level benchmarks by hand: what pools, what is dropped, and what an unscored step costs."""

import random

import pytest

from mmprm_hf import metrics
from mmprm_hf.evaluation.step_metrics import (
    prm_bench_report,
    process_bench_report,
    tuned_threshold,
    visual_process_bench_report,
)

AT = {"threshold": 0.5, "tuned_on": "none"}


def test_class_f1s_by_hand_and_their_mean_is_macro_f1():
    # right: 2 of 3 found, none called in vain -> 4/5; wrong: 1 of 1 found, 1 called in vain -> 2/3
    assert metrics.class_f1s([1, 1, 1, 0], [0.9, 0.8, 0.1, 0.2], 0.5) == (pytest.approx(4 / 5), pytest.approx(2 / 3))
    rng = random.Random(0)
    for _ in range(50):
        labels, scores = [rng.randint(0, 1) for _ in range(9)], [rng.random() for _ in range(9)]
        assert sum(metrics.class_f1s(labels, scores, 0.4)) / 2 == pytest.approx(metrics.macro_f1(labels, scores, 0.4))


def test_overall_pools_steps_and_the_mean_over_sources_does_not():
    sources = ["a", "a", "b"]
    labels = [[1, None, 0], [1, 1], [0, 1]]
    scores = [[0.9, 0.0, 0.1], [0.9, 0.1], [0.9, 0.9]]
    report = visual_process_bench_report(sources, labels, scores, **AT)
    # a: right 2 of 3 found of 2 called (4/5), wrong 1 of 1 of 2 called (2/3). b: right 1 of 1 of 2 (2/3), wrong 0.
    assert report["sources"]["a"]["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert report["sources"]["b"]["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert report["mean_of_sources"] == pytest.approx((11 / 15 + 1 / 3) / 2)
    # pooled: right 3 found of 4, 4 called (6/8); wrong 1 found of 2, 2 called (2/4)
    assert (report["f1_right"], report["f1_wrong"]) == (pytest.approx(3 / 4), pytest.approx(1 / 2))
    assert report["macro_f1"] == pytest.approx(5 / 8)
    assert [report[name] for name in ("num_right", "num_wrong", "num_neutral", "num_unscored")] == [4, 2, 1, 0]
    assert (report["threshold"], report["tuned_on"]) == (0.5, "none")


def test_a_neutral_step_changes_nothing_whatever_its_score():
    reports = [
        visual_process_bench_report(["a"], [[1, None, 0]], [[0.9, score, 0.1]], **AT) for score in (0.0, 0.5, 1.0)
    ]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["macro_f1"] == 1.0


def test_unscored_steps_count_against_both_classes():
    report = visual_process_bench_report(["a", "a"], [[1, 0], [1, 0, None]], [[0.9, 0.1], None], **AT)
    # each class: 1 of 2 found, 2 called
    assert (report["f1_right"], report["f1_wrong"]) == (0.5, 0.5)
    assert (report["num_unscored"], report["num_neutral"]) == (2, 1)
    only_right = visual_process_bench_report(["a", "a"], [[1, 0], [1]], [[0.9, 0.1], None], **AT)
    assert only_right["f1_right"] == pytest.approx(2 / 3)
    assert only_right["f1_wrong"] == pytest.approx(2 / 3)  # a right step without a score hurts this class, too


def test_a_threshold_is_tuned_on_labelled_steps_of_scored_solutions():
    assert tuned_threshold([[1, None, 0], [1]], [[0.9, 0.2, 0.3], None]) == pytest.approx(0.6)


def test_process_bench_by_hand():
    subsets = ["math"] * 4 + ["gsm8k"] * 2
    truth = [1, 0, -1, -1, 0, -1]
    scores = [[0.9, 0.1, 0.0], [0.9, 0.1], [0.9], [0.2], [0.4, 0.9], [0.7, 0.8]]
    report = process_bench_report(subsets, truth, scores, **AT)
    assert report["subsets"]["math"]["error_accuracy"] == 0.5  # found; called one step late
    assert report["subsets"]["math"]["correct_accuracy"] == 0.5
    assert report["subsets"]["math"]["f1"] == 0.5
    assert report["subsets"]["gsm8k"]["f1"] == 1.0
    assert report["average_f1"] == 0.75  # of subsets, not of solutions
    assert report["num_unscored"] == 0


def test_process_bench_counts_an_unscored_solution_as_missed():
    report = process_bench_report(["m"] * 4, [0, 0, -1, -1], [[0.1], None, [0.9], None], **AT)
    assert (report["subsets"]["m"]["error_accuracy"], report["subsets"]["m"]["correct_accuracy"]) == (0.5, 0.5)
    assert report["num_unscored"] == 2


def test_process_bench_without_solutions_of_a_kind_has_no_average():
    assert process_bench_report(["m"], [-1], [[0.9]], **AT)["average_f1"] is None


def test_prm_score_by_hand():
    categories = ["circular", "circular", "multi_solutions", "correct"]
    labels = [[1, 1, 0], [1, 0], [1, 1], [1, 1, 1, 1]]
    scores = [[0.9, 0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.9, 0.9, 0.9, 0.1]]
    report = prm_bench_report(categories, labels, scores, **AT)
    # circular: right 2 of 3 found of 3 called; wrong 1 of 2 found of 2 called
    assert report["categories"]["circular"]["prm_score"] == pytest.approx(0.5 * 2 / 3 + 0.5 * 1 / 2)
    # multi_solutions: F1 of right alone, 1 of 2 found of 1 called
    assert report["categories"]["multi_solutions"]["prm_score"] == pytest.approx(2 / 3)
    # total without the controls: right 3 of 5 found of 4 called; wrong 1 of 2 found of 3 called
    assert report["f1_right"] == pytest.approx(6 / 9)
    assert report["f1_wrong"] == pytest.approx(2 / 5)
    assert report["prm_score"] == pytest.approx((6 / 9 + 2 / 5) / 2)
    assert report["mean_of_categories"] == pytest.approx((7 / 12 + 2 / 3) / 2)
    assert report["control_accuracy"] == 0.75
    assert "correct" not in report["categories"]


def test_prm_score_leaves_unscored_solutions_out_and_counts_them():
    scored = prm_bench_report(["deception"], [[1, 0]], [[0.9, 0.1]], **AT)
    more = prm_bench_report(["deception"] * 2, [[1, 0], [1, 0, 1]], [[0.9, 0.1], None], **AT)
    assert more == {**scored, "num_unscored": 1}


def test_prm_score_of_a_category_without_wrong_steps_is_none():
    report = prm_bench_report(["deception"], [[1]], [[0.9]], **AT)
    assert report["categories"]["deception"]["prm_score"] is None
    assert report["prm_score"] is None
    assert report["mean_of_categories"] is None


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Solution 0 has 2 labels and 1 scores"):
        prm_bench_report(["a"], [[1, 0]], [[0.9]], **AT)
    with pytest.raises(ValueError, match="Found 1 groups, 2 truths and 2 lists of scores"):
        process_bench_report(["a"], [0, 1], [[0.9], [0.1]], **AT)
    with pytest.raises(ValueError, match="at least one solution"):
        visual_process_bench_report([], [], [], **AT)
    with pytest.raises(ValueError, match="without a labelled step"):
        visual_process_bench_report(["a"], [[None]], [[0.9]], **AT)
