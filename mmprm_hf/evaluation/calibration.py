"""Scores against what is right: reliability bins, and mean scores by position or length. Pure: no I/O, no model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

NUM_BINS = 10


def reliability(scores: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Return the bins of a reliability diagram and the expected calibration error (Guo et al., 2017, eq. 3).

    Args:
        scores: In [0, 1].
        right: Whether each was right.

    Returns:
        ``bins``: for each tenth of [0, 1] that holds scores ``low``, ``high``, ``mean_score``, ``share_right`` and
        ``num``; ``ece``: mean over scores of the distance of the two in their bin.

    Raises:
        ValueError: for no scores.

    Example:
        >>> reliability([0.1, 0.9, 0.9], [False, True, False])["ece"]
        0.3
    """
    if not scores:
        raise ValueError("Found 0 scores. A reliability diagram needs at least one.")
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for score, is_right in zip(scores, right, strict=True):
        bins[min(int(score * NUM_BINS), NUM_BINS - 1)].append((score, is_right))
    rows, distance = [], 0.0
    for index in sorted(bins):
        found = bins[index]
        mean_score = math.fsum(score for score, _ in found) / len(found)
        share = sum(is_right for _, is_right in found) / len(found)
        distance += abs(mean_score - share) * len(found)
        low, high = index / NUM_BINS, (index + 1) / NUM_BINS
        rows.append({"low": low, "high": high, "mean_score": mean_score, "share_right": share, "num": len(found)})
    return {"bins": rows, "ece": round(distance / len(scores), 12)}


def score_profile(name: str, entries: Iterable[tuple[int, float, bool]]) -> list[dict[str, Any]]:
    """Return mean scores of what is right and of what is wrong, by a whole number such as a step's position.

    Args:
        name: What the number is: the key it gets in the rows.
        entries: Number, score and whether it is right.

    Returns:
        By ascending number: it, ``right`` and ``wrong`` (mean scores, None where there are none), ``num_right`` and
        ``num_wrong``.

    Example:
        >>> score_profile("step_index", [(0, 0.5, True), (0, 1.0, True), (1, 0.25, False)])[0]
        {'step_index': 0, 'right': 0.75, 'wrong': None, 'num_right': 2, 'num_wrong': 0}
    """
    scores: dict[int, dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
    for number, score, is_right in entries:
        scores[number][bool(is_right)].append(score)
    return [
        {
            name: number,
            "right": _mean(scores[number][True]),
            "wrong": _mean(scores[number][False]),
            "num_right": len(scores[number][True]),
            "num_wrong": len(scores[number][False]),
        }
        for number in sorted(scores)
    ]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


__all__ = ["NUM_BINS", "reliability", "score_profile"]
