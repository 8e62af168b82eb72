"""Step metrics by hand and against plain loops: random scores, ties, only one class, no labels at all."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from transformers import EvalPrediction

from mmprm_hf.training.step_metrics import step_metrics


def metrics_of(scores, targets, **options):
    return step_metrics(EvalPrediction(predictions=np.array(scores), label_ids=np.array(targets)), **options)


def random_split(seed, num_rows=40, max_steps=6, *, dtype=np.float64):
    """Scores on a grid of 11 (ties, 0, 0.5 and 1 among them) and soft targets with ignored steps and padding."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 11, (num_rows, max_steps)) / 10
    targets = rng.integers(0, 5, (num_rows, max_steps)) / 4
    targets[rng.random(targets.shape) < 0.2] = -100
    targets[np.arange(max_steps)[None, :] >= rng.integers(0, max_steps + 1, (num_rows, 1))] = -100
    scores[targets == -100] = -100
    return scores.astype(dtype), targets.astype(dtype)


def looped_metrics(scores, targets, right_above):
    """One step, one pair, one row, one bin at a time; macro-F1 apart."""
    steps = [(s, t) for row in zip(scores, targets, strict=True) for s, t in zip(*row, strict=True) if t != -100]
    right, wrong = [s for s, t in steps if t > right_above], [s for s, t in steps if t <= right_above]
    is_found = {True: [], False: []}  # by whether the row has an error
    for row_scores, row_targets in zip(scores, targets, strict=True):
        labelled = [(i, s, t) for i, (s, t) in enumerate(zip(row_scores, row_targets, strict=True)) if t != -100]
        if labelled:
            truth = next((i for i, _, t in labelled if t <= right_above), -1)
            guess = next((i for i, s, _ in labelled if s < 0.5), -1)
            is_found[truth >= 0].append(truth == guess)
    ece = 0.0
    for index in range(10):
        inside = [(s, t) for s, t in steps if min(int(s * 10), 9) == index]
        if inside:
            ece += len(inside) / len(steps) * abs(np.mean([s for s, _ in inside]) - np.mean([t for _, t in inside]))
    on_wrong, on_right = np.mean(is_found[True]), np.mean(is_found[False])
    return {
        "num_steps": len(steps),
        "step_accuracy": np.mean([(s >= 0.5) == (t > right_above) for s, t in steps]),
        "auroc": np.mean([(a > b) + (a == b) / 2 for a in right for b in wrong]),
        "first_error_accuracy": np.mean(is_found[True] + is_found[False]),
        "first_error_f1": 2 * on_wrong * on_right / (on_wrong + on_right),
        "ece": ece,
        "brier": np.mean([(s - t) ** 2 for s, t in steps]),
    }


def looped_f1(scores, is_right, threshold):
    """Macro-F1 at one threshold, from the four cells."""
    called = [score >= threshold for score in scores]
    cells = {cell: sum(pair == cell for pair in zip(called, is_right, strict=True)) for cell in CELLS}
    mixed = cells[True, False] + cells[False, True]
    hits = (cells[True, True], cells[False, False])
    return sum(2 * hit / (2 * hit + mixed) if hit else 0.0 for hit in hits) / 2


CELLS = [(True, True), (True, False), (False, True), (False, False)]


def test_by_hand():
    scores = [[0.9, 0.4, -100.0], [0.4, 0.2, 0.7]]
    targets = [[1.0, 0.0, -100.0], [1.0, -100.0, 0.0]]
    metrics = metrics_of(scores, targets)
    # right: 0.9, 0.4; wrong: 0.4, 0.7. Pairs won: 0.9 > 0.4, 0.9 > 0.7, 0.4 = 0.4 (half), 0.4 < 0.7 -> 2.5 of 4
    assert (metrics["num_steps"], metrics["step_accuracy"], metrics["auroc"]) == (4.0, 0.5, 0.625)
    # called right from 0.9 on: F1 of right 2/3 (1 of 2 found, none false), of wrong 4/5
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics["macro_f1_threshold"] == pytest.approx(0.8)
    assert metrics["first_error_accuracy"] == 0.5  # row 0: step 1, found; row 1: step 2, but step 0 is low
    assert "first_error_f1" not in metrics  # no row without an error
    # bins: 0.9 of 1; 0.4 and 0.4 of 0 and 1 (0.2 too low on the whole); 0.7 of 0
    assert metrics["ece"] == pytest.approx((0.1 + 0.2 + 0.7) / 4)
    assert metrics["brier"] == pytest.approx((0.01 + 0.16 + 0.36 + 0.49) / 4)


def test_equals_plain_loops():
    for seed in range(5):
        scores, targets = random_split(seed)
        for right_above in (0.5, 0.0, 0.25):
            metrics = metrics_of(scores, targets, right_above=right_above)
            is_right = (targets > right_above)[targets != -100]
            f1_threshold, macro_f1 = metrics.pop("macro_f1_threshold"), metrics.pop("macro_f1")
            assert metrics == pytest.approx(looped_metrics(scores, targets, right_above))
            flat = scores[targets != -100]
            assert looped_f1(flat, is_right, f1_threshold) == pytest.approx(macro_f1)
            assert max(looped_f1(flat, is_right, cut) for cut in np.arange(-0.05, 1.1, 0.1)) == pytest.approx(macro_f1)


def test_rows_with_and_without_an_error():
    scores = [[0.9, 0.1, 0.9], [0.9, 0.9, 0.1], [0.9, 0.8, 0.7], [0.9, 0.2, -100], [0.1, 0.1, 0.1]]
    targets = [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, -100, -100], [-100, -100, -100]]
    metrics = metrics_of(scores, targets)  # found, missed, right, right (the low step has no label), left out
    assert metrics["first_error_accuracy"] == 0.75
    assert metrics["first_error_f1"] == pytest.approx(2 * 0.5 * 1.0 / 1.5)
    none_metrics = metrics_of([[0.1, 0.9], [0.1, 0.9]], [[1.0, 0.0], [1.0, 1.0]])
    assert (none_metrics["first_error_accuracy"], none_metrics["first_error_f1"]) == (0.0, 0.0)


def test_scores_equal_to_soft_targets_are_calibrated():
    scores = [[0.0, 0.25, 0.75, 1.0]]
    metrics = metrics_of(scores, scores)
    assert metrics["ece"] == 0.0 and metrics["brier"] == 0.0
    assert metrics_of([[0.31, 0.39]], [[0.0, 0.7]])["ece"] == pytest.approx(0.0)  # one bin: calibrated, not exact


def test_right_above_reads_stored_targets_as_they_are():
    scores, targets = np.array([[0.9, 0.1]], np.float32), np.array([[0.5, 0.3]], np.float32)
    assert metrics_of(scores, targets, right_above=0.3)["step_accuracy"] == 1.0


def test_one_class_leaves_out_what_needs_two():
    for target in (0.0, 1.0):
        metrics = metrics_of([[0.9, 0.8], [0.7, -100.0]], [[target, target], [target, -100.0]])
        assert set(metrics) == {"num_steps", "step_accuracy", "first_error_accuracy", "ece", "brier"}
        assert metrics["first_error_accuracy"] == target


def test_nothing_labelled():
    for shape in ((0, 0), (0, 3), (2, 0), (2, 3)):
        assert metrics_of(np.full(shape, 0.5), np.full(shape, -100.0)) == {"num_steps": 0.0}


def test_scores_that_are_not_finite_are_counted_and_give_no_metric():
    scores, targets = random_split(0)
    rows, columns = np.nonzero(targets != -100)
    scores[targets == -100] = np.nan  # no labelled step: no matter
    assert "num_nonfinite_scores" not in metrics_of(scores, targets)
    scores[rows[:2], columns[:2]] = [np.nan, np.inf]
    assert metrics_of(scores, targets) == {"num_steps": float(len(rows)), "num_nonfinite_scores": 2.0}


def test_every_metric_is_a_finite_python_float():
    metrics = metrics_of(*random_split(1, dtype=np.float32))
    assert len(metrics) == 9
    assert all(type(number) is float and np.isfinite(number) for number in metrics.values())


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"predictions of shape \(1, 2\) and label_ids of shape \(1, 1\)"):
        metrics_of([[0.5, 0.5]], [[1.0]])
    with pytest.raises(ValueError, match="Both must be .rows, max steps."):
        metrics_of([0.5], [1.0])
    with pytest.raises(ValueError, match="right_above=1.0"):
        metrics_of([[0.5]], [[1.0]], right_above=1.0)


def test_examples_run():
    assert doctest.testmod(importlib.import_module("mmprm_hf.training.step_metrics")).failed == 0
