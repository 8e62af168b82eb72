"""Metrics of step scores on the evaluation split of a training: arrays in, a flat dict of floats out.

A metric that cannot be computed (only one class, no such rows, scores that are not finite) is left out. It is never
NaN, which would be logged, averaged and compared. Imports no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import auroc, best_threshold, first_error_accuracy, predict_first_error, reliability, step_accuracy
from .targets import IGNORE_LABEL

THRESHOLD = 0.5  # a step with a lower score is called wrong


def step_metrics(prediction: Any, *, right_above: float = 0.5) -> dict[str, float]:
    """Return the metrics of the labelled steps.

    - ``num_steps``: labelled steps; ``num_nonfinite_scores``: only if there are any, and then no metric follows.
    - ``step_accuracy``: share of steps where ``score >= 0.5`` agrees with the label.
    - ``auroc``: probability that a right step scores above a wrong one, ties count half. Needs both classes.
    - ``macro_f1``, ``macro_f1_threshold``: see `metrics.best_threshold`. The threshold is chosen on the steps that it
      is reported on, which is slightly too good: compare checkpoints by it, not models. Needs both classes.
    - ``first_error_accuracy``: share of rows where the first labelled step with ``score < 0.5`` is the first
      labelled wrong step, or neither exists. ``first_error_f1``: see `metrics.first_error_accuracy`. Needs rows with
      and without an error.
    - ``ece``: expected calibration error, see `metrics.reliability`. ``brier``: mean squared difference of score and
      target. Both use the targets as they are, soft or hard.

    A step is right if its target is greater than `right_above`. Ignored steps are left out everywhere, so evaluate on
    all labels: targets that are banded or cut at the first error flatter every metric here.

    Args:
        prediction: Has `predictions`, the step scores in [0, 1], and `label_ids`, the targets in [0, 1], both of shape
            (rows, max steps); a target of -100 is padding or an ignored step (such as `transformers.EvalPrediction`).
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
    scores, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"Found predictions of shape {scores.shape} and label_ids of shape {targets.shape}. Both must be (rows, "
            "max steps), padded with -100."
        )
    if not 0.0 <= right_above < 1.0:
        raise ValueError(f"Found right_above={right_above}. It must be in [0, 1); greater targets count as right.")
    is_labelled = targets != IGNORE_LABEL
    metrics = {"num_steps": float(is_labelled.sum())}
    if not is_labelled.any():
        return metrics
    is_right = targets > right_above  # before any widening: a float32 0.3 is not greater than 0.3
    flat_scores, flat_targets, flat_right = scores[is_labelled], targets[is_labelled], is_right[is_labelled]
    if num_nonfinite := int((~np.isfinite(flat_scores)).sum()):
        return {**metrics, "num_nonfinite_scores": float(num_nonfinite)}
    metrics["step_accuracy"] = step_accuracy(flat_right, flat_scores, THRESHOLD)
    if flat_right.any() and not flat_right.all():
        metrics["auroc"] = auroc(flat_right, flat_scores)
        metrics["macro_f1_threshold"], metrics["macro_f1"] = best_threshold(flat_right, flat_scores)
    metrics |= _first_error_metrics(scores, is_right, is_labelled)
    metrics["ece"] = reliability(flat_scores, flat_targets)["ece"]
    differences = flat_scores.astype(np.float64) - flat_targets.astype(np.float64)
    metrics["brier"] = float(np.mean(differences**2))
    return metrics


def _first_error_metrics(scores: np.ndarray, is_right: np.ndarray, is_labelled: np.ndarray) -> dict[str, float]:
    """Accuracy and F1 of the first error, over rows with a labelled step; all arrays are (rows, max steps)."""
    rows = np.flatnonzero(is_labelled.any(axis=1))
    predicted = [predict_first_error(scores[row][is_labelled[row]], THRESHOLD) for row in rows]
    truth = [predict_first_error(is_right[row][is_labelled[row]], 1) for row in rows]  # a wrong step is 0
    metrics = {"first_error_accuracy": float(np.mean(np.equal(predicted, truth)))}
    f1 = first_error_accuracy(truth, predicted)["f1"]
    return metrics if f1 is None else {**metrics, "first_error_f1": f1}
