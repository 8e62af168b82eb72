"""Mean scores of what is right and of what is wrong, by position or length. Pure: no I/O, no model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from .. import metrics


def score_profile(name: str, entries: Iterable[tuple[int, float, bool]]) -> list[dict[str, Any]]:
    """Return mean scores of what is right and of what is wrong, by a whole number such as a step's position.

    Args:
        name: What the number is: its key in the rows.
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
            "right": metrics.mean_or_none(scores[number][True]),
            "wrong": metrics.mean_or_none(scores[number][False]),
            "num_right": len(scores[number][True]),
            "num_wrong": len(scores[number][False]),
        }
        for number in sorted(scores)
    ]
