"""Turns step scores into the one number in [0, 1] that GRPO takes for a completion. No model, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..metrics import predict_first_error
from ..selection import aggregate, vote_weight

Shape = Literal["outcome", "step"]
SHAPES: tuple[Shape, ...] = ("outcome", "step")
PADDING_PROOF = ("min", "product", "sum_logprob")
"""Aggregations that no step added at the end can raise, whatever its score."""


def outcome_reward(step_scores: Sequence[float], aggregation: str) -> float:
    """Return the aggregate of step scores, mapped monotonically to [0, 1] where it is not there already.

    ``sum_logprob`` by exp, ``sum_logit`` by the sigmoid (`selection.vote_weight`), mean odds o by o / (1 + o).

    Example:
        >>> outcome_reward([0.9, 0.5], "mean_odds")  # mean odds of 9 and 1
        0.8333333333333334
    """
    weight = vote_weight(aggregate(step_scores, aggregation), aggregation)
    return weight / (1.0 + weight) if aggregation == "mean_odds" else weight


def step_reward(step_scores: Sequence[float], threshold: float) -> float:
    """Return partial credit in [0, 1]: the share of steps before the first whose score is below `threshold`.

    Raises:
        ValueError: for a score that is NaN, which is never below a threshold.

    Example:
        >>> step_reward([0.9, 0.8, 0.2, 0.9], 0.5)
        0.5
    """
    aggregate(step_scores, "min")  # raises
    first_error = predict_first_error(step_scores, threshold)
    return 1.0 if first_error < 0 else first_error / len(step_scores)
