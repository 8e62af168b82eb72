"""Step scores against exact step labels: how well they rank and call steps, and whether they find false positives.

A *false positive* is a solution whose answer is right though one of its steps is wrong. Pure; imports `metrics` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import metrics


def step_level_report(
    labels: Sequence[int],
    scores: Sequence[float],
    *,
    train_labels: Sequence[int],
    train_scores: Sequence[float],
) -> dict[str, Any]:
    """Return AUROC, macro-F1 and accuracy of step scores against exact step labels.

    The threshold is the one with the best macro-F1 on train problems; it never sees the reported steps.

    Args:
        labels: 1 (step right) or 0 (wrong) of the reported steps, flat over problems; without the unparsable ones.
        scores: P(step right) in [0, 1] of the same steps.
        train_labels, train_scores: The same for steps of train problems.

    Returns:
        ``auroc``, ``macro_f1``, ``accuracy``, ``threshold``, ``train_macro_f1``, ``majority_accuracy`` (of always
        calling the commoner class), ``num_steps``, ``num_positive``, ``num_negative``, ``num_train_steps``, and
        ``calibration`` (`metrics.reliability`).

    Raises:
        ValueError: if `labels` holds one class only, or lists are malformed.
    """
    threshold, train_macro_f1 = metrics.best_threshold(train_labels, train_scores)
    num_positive = sum(int(label) for label in labels)
    num_negative = len(labels) - num_positive
    return {
        "auroc": metrics.auroc(labels, scores),
        "macro_f1": metrics.macro_f1(labels, scores, threshold),
        "accuracy": metrics.step_accuracy(labels, scores, threshold),
        "threshold": threshold,
        "train_macro_f1": train_macro_f1,
        "majority_accuracy": max(num_positive, num_negative) / len(labels),
        "num_steps": len(labels),
        "num_positive": num_positive,
        "num_negative": num_negative,
        "num_train_steps": len(train_labels),
        "calibration": metrics.reliability(scores, labels),
    }


def false_positive_report(
    solutions: Sequence[tuple[Sequence[int], Sequence[float]]],
    *,
    threshold: float,
    chosen: Sequence[Sequence[int]] = (),
    drawn_from: Sequence[Sequence[Sequence[int]]] = (),
) -> dict[str, Any]:
    """Return how well step scores find solutions with a right answer and a wrong step.

    A solution is flagged if its lowest step score is below the threshold.

    Args:
        solutions: Step labels (1 right, 0 wrong) and step scores of each distinct solution with a right answer.
        threshold: In [0, 1], chosen on other problems.
        chosen: Step labels of the solutions with a right answer that the PRM chose, one per problem; empty where none
            was chosen.
        drawn_from: For each of `chosen` the step labels of all candidates of its problem with a right answer, copies
            included: what one of them drawn at random would have been.

    Returns:
        ``num_right_answers`` (solutions), ``num_false_positives`` and their share, ``share_false_positives``;
        ``auroc`` of the lowest score for telling sound solutions from false positives (None unless there are both);
        ``flagged_false_positives``, ``flagged_sound``: shares flagged; ``first_error_found``: share of the flagged
        false positives whose first step below the threshold is the first wrong one; ``threshold``; ``num_chosen``,
        ``share_false_positives_chosen`` and, on the same problems, ``share_false_positives_random``. A share of no
        solutions is None.

    Raises:
        ValueError: if labels and scores differ in number, or `chosen` and `drawn_from`.

    Example:
        >>> report = false_positive_report([([1, 0, 1], [0.9, 0.2, 0.3]), ([1, 1], [0.9, 0.8])], threshold=0.5)
        >>> report["auroc"], report["flagged_false_positives"], report["first_error_found"], report["flagged_sound"]
        (1.0, 1.0, 1.0, 0.0)
    """
    for labels, scores in solutions:
        if len(labels) != len(scores) or not labels:
            raise ValueError(f"Found {len(labels)} labels and {len(scores)} scores of a solution. Give one per step.")
    if len(drawn_from) != len(chosen):
        raise ValueError(f"Found {len(chosen)} chosen solutions and {len(drawn_from)} lists that they come from.")
    return {
        **_flagged(solutions, threshold),
        "threshold": threshold,
        "num_chosen": len(chosen),
        "share_false_positives_chosen": metrics.mean_or_none(not all(labels) for labels in chosen),
        "share_false_positives_random": metrics.mean_or_none(
            metrics.mean_or_none(not all(labels) for labels in right_answers) for right_answers in drawn_from
        ),
    }


def _flagged(solutions: Sequence[tuple[Sequence[int], Sequence[float]]], threshold: float) -> dict[str, Any]:
    """Which solutions have a step below the threshold, and whether the first such step is the first wrong one."""
    is_sound = [int(all(labels)) for labels, _ in solutions]
    lowest = [min(scores) for _, scores in solutions]
    lucky = [(labels, scores) for labels, scores in solutions if not all(labels)]
    predicted = [metrics.predict_first_error(scores, threshold) for _, scores in lucky]
    return {
        "num_right_answers": len(solutions),
        "num_false_positives": len(lucky),
        "share_false_positives": metrics.mean_or_none(not sound for sound in is_sound),
        "auroc": metrics.auroc(is_sound, lowest) if 0 < sum(is_sound) < len(is_sound) else None,
        "flagged_false_positives": metrics.mean_or_none(step_index >= 0 for step_index in predicted),
        "flagged_sound": metrics.mean_or_none(min(scores) < threshold for labels, scores in solutions if all(labels)),
        "first_error_found": metrics.mean_or_none(
            labels.index(0) == step_index
            for (labels, _), step_index in zip(lucky, predicted, strict=True)
            if step_index >= 0
        ),
    }
