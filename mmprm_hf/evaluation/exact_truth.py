"""Step scores against exact step labels: how well they rank and call steps, and whether they find lucky solutions.

A *false positive* is a solution whose answer is right though one of its steps is wrong. Pure; imports `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import metrics
from .calibration import reliability


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
        labels: 1 (step right) or 0 (wrong) of the reported steps, flat over problems; leave unparsable steps out.
        scores: P(step right) in [0, 1] of the same steps.
        train_labels, train_scores: The same for steps of train problems.

    Returns:
        ``auroc``, ``macro_f1``, ``accuracy``, ``threshold``, ``train_macro_f1``, ``majority_accuracy`` (of always
        calling the commoner class), ``num_steps``, ``num_positive``, ``num_negative``, ``num_train_steps``, and
        ``calibration`` (`calibration.reliability`).

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
        "calibration": reliability(scores, [bool(label) for label in labels]),
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
        ``share_false_positives_chosen`` and, on the same problems, ``share_false_positives_random``. Shares are None
        where there is nothing to take them of.

    Raises:
        ValueError: if labels and scores differ in number, or `chosen` and `drawn_from`.

    Example:
        >>> found = false_positive_report([([1, 0, 1], [0.9, 0.2, 0.3]), ([1, 1], [0.9, 0.8])], threshold=0.5)
        >>> found["auroc"], found["flagged_false_positives"], found["first_error_found"], found["flagged_sound"]
        (1.0, 1.0, 1.0, 0.0)
    """
    for labels, scores in solutions:
        if len(labels) != len(scores) or not labels:
            raise ValueError(f"Found {len(labels)} labels and {len(scores)} scores of a solution. Give one per step.")
    if len(drawn_from) != len(chosen):
        raise ValueError(f"Found {len(chosen)} chosen solutions and {len(drawn_from)} lists that they come from.")
    sound = [int(all(labels)) for labels, _ in solutions]
    lowest = [min(scores) for _, scores in solutions]
    flagged = [score < threshold for score in lowest]
    found = [
        labels.index(0) == next(index for index, score in enumerate(scores) if score < threshold)
        for (labels, scores), is_sound, is_flagged in zip(solutions, sound, flagged, strict=True)
        if is_flagged and not is_sound
    ]
    return {
        "num_right_answers": len(solutions),
        "num_false_positives": sound.count(0),
        "share_false_positives": _share(not is_sound for is_sound in sound),
        "auroc": metrics.auroc(sound, lowest) if 0 < sum(sound) < len(sound) else None,
        "flagged_false_positives": _share(flag for flag, is_sound in zip(flagged, sound, strict=True) if not is_sound),
        "flagged_sound": _share(flag for flag, is_sound in zip(flagged, sound, strict=True) if is_sound),
        "first_error_found": _share(found),
        "threshold": threshold,
        "num_chosen": len(chosen),
        "share_false_positives_chosen": _share(not all(labels) for labels in chosen),
        "share_false_positives_random": sum(
            sum(not all(labels) for labels in right) / len(right) for right in drawn_from
        )
        / len(drawn_from)
        if drawn_from
        else None,
    }


def _share(values: Iterable[bool]) -> float | None:
    """Share of true ones; None for none at all."""
    found = [bool(value) for value in values]
    return sum(found) / len(found) if found else None


__all__ = ["false_positive_report", "step_level_report"]
