"""Metrics of step scores on the evaluation split of a training run: arrays in, a flat dict of floats out.

A metric that cannot be computed (one class only, no such rows, scores that are not finite) is left out, never NaN: a
NaN would be logged, averaged and compared. Numpy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import auroc, best_threshold, step_accuracy
from .targets import IGNORE_LABEL

_NUM_BINS = 10  # of the expected calibration error, equal width (Guo et al. 2017, arXiv 1706.04599, use 15)


def step_metrics(prediction: Any, *, threshold: float = 0.5, right_above: float = 0.5) -> dict[str, float]:
    """Return the metrics of the labelled steps; pass ``functools.partial(step_metrics, ...)`` to change an option.

    - ``num_steps``: labelled steps; ``num_nonfinite_scores``: only if there are any, and then no metric follows.
    - ``step_accuracy``: share of steps where ``score >= threshold`` agrees with the label.
    - ``auroc``: probability that a right step scores above a wrong one, ties count half. Needs both classes.
    - ``macro_f1``, ``macro_f1_threshold``: highest mean of the F1 of right and of wrong steps over all thresholds, a
      step being called right if ``score >= macro_f1_threshold``. Chosen on the very steps it is reported on, so too
      good by a little: compare checkpoints by it, not models. Needs both classes. See `metrics.best_threshold`.
    - ``first_error_accuracy``: share of rows where the first labelled step with ``score < threshold`` is the first
      labelled wrong step, or neither exists. ``first_error_f1``: harmonic mean of that share over rows with an error
      and over rows without (ProcessBench, arXiv 2412.06559, section 3). Needs rows of both kinds.
    - ``ece``: expected calibration error, how far mean score and mean target lie apart in each of 10 bins of equal
      width, weighted by steps. ``brier``: mean squared difference. Both against the targets as they are, soft or hard.

    A step is right if its target is greater than `right_above`. Ignored steps are left out everywhere, so evaluate on
    all labels: targets banded or cut at the first error flatter every metric here.

    Args:
        prediction: Has `predictions`, the step scores in [0, 1], and `label_ids`, the targets in [0, 1], both of shape
            (rows, max steps); a target of -100 is padding or an ignored step (such as `transformers.EvalPrediction`).
        threshold: In (0, 1), of `step_accuracy` and the predicted first error.
        right_above: In [0, 1); 0 if a step is right once a single rollout succeeds.

    Raises:
        ValueError: if the shapes differ or are not (rows, max steps), or an option is out of range.

    Example:
        >>> from types import SimpleNamespace
        >>> scores, targets = np.array([[0.9, 0.2], [0.8, 0.6]]), np.array([[1.0, 0.0], [1.0, -100.0]])
        >>> metrics = step_metrics(SimpleNamespace(predictions=scores, label_ids=targets))
        >>> metrics["num_steps"], metrics["auroc"], metrics["first_error_f1"]
        (3.0, 1.0, 1.0)
    """
    scores, targets = _checked(prediction, threshold, right_above)
    is_labelled = targets != IGNORE_LABEL
    metrics = {"num_steps": float(is_labelled.sum())}
    if not is_labelled.any():
        return metrics
    num_nonfinite = int((~np.isfinite(scores[is_labelled])).sum())
    if num_nonfinite:
        return {**metrics, "num_nonfinite_scores": float(num_nonfinite)}
    is_right = targets > right_above  # before any widening: a float32 0.3 is not greater than 0.3
    flat_scores, flat_right = scores[is_labelled], is_right[is_labelled]
    metrics["step_accuracy"] = step_accuracy(flat_right, flat_scores, threshold)
    if flat_right.any() and not flat_right.all():
        metrics["auroc"] = auroc(flat_right, flat_scores)
        metrics["macro_f1_threshold"], metrics["macro_f1"] = best_threshold(flat_right, flat_scores)
    metrics |= _first_error_metrics(scores < threshold, ~is_right, is_labelled)
    metrics["ece"] = _calibration_error(flat_scores, targets[is_labelled])
    differences = flat_scores.astype(np.float64) - targets[is_labelled].astype(np.float64)
    metrics["brier"] = float(np.mean(differences**2))
    return metrics


def _checked(prediction: Any, threshold: float, right_above: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets, (rows, max steps) each."""
    scores, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"Found predictions of shape {scores.shape} and label_ids of shape {targets.shape}; both are (rows, max "
            "steps), padded with -100."
        )
    if not 0.0 < threshold < 1.0 or not 0.0 <= right_above < 1.0:
        raise ValueError(
            f"Found threshold={threshold}, right_above={right_above}; use a threshold in (0, 1) for scores and a "
            "right_above in [0, 1) for targets."
        )
    return scores, targets


def _first_error_metrics(is_low: np.ndarray, is_wrong: np.ndarray, is_labelled: np.ndarray) -> dict[str, float]:
    """Accuracy and F1 of the first error, over rows with a labelled step; all of shape (rows, max steps)."""
    has_label = is_labelled.any(axis=1)
    predicted, truth = (_first(mask & is_labelled)[has_label] for mask in (is_low, is_wrong))
    is_found, has_error = predicted == truth, truth >= 0
    metrics = {"first_error_accuracy": float(is_found.mean())}
    if has_error.any() and not has_error.all():
        on_wrong, on_right = is_found[has_error].mean(), is_found[~has_error].mean()
        total = on_wrong + on_right
        metrics["first_error_f1"] = float(2 * on_wrong * on_right / total) if total else 0.0
    return metrics


def _first(mask: np.ndarray) -> np.ndarray:
    """(rows,) index of the first True of each row, -1 if there is none."""
    return np.where(mask.any(axis=1), mask.argmax(axis=1), -1)


def _calibration_error(scores: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error; a score of 1 falls into the last bin."""
    scores, targets = scores.astype(np.float64), targets.astype(np.float64)
    bins = np.clip((scores * _NUM_BINS).astype(np.int64), 0, _NUM_BINS - 1)
    # Bin size times |mean score - mean target| is |sum of differences|.
    return float(np.abs(np.bincount(bins, weights=scores - targets)).sum() / len(scores))


__all__ = ["step_metrics"]
