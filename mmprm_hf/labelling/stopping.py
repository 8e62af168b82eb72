"""How many rollouts one estimate gets: a fixed number, or fewer where the Beta posterior is settled early.

With a uniform prior and k correct rollouts out of n decided ones, the policy's success probability is distributed as
Beta(k + 1, n - k + 1). No torch.
"""

from __future__ import annotations

import dataclasses
import math

from scipy.special import betaincc

from ..errors import COUNT_RULE, MAX_COUNT, check_values, is_count


def posterior_std(num_correct: int, num_decided: int) -> float:
    """Return the standard deviation of Beta(k + 1, n - k + 1), in (0, 0.29].

    Example:
        >>> round(posterior_std(0, 5), 3), round(posterior_std(8, 16), 3)
        (0.124, 0.115)
    """
    a, b = num_correct + 1, num_decided - num_correct + 1
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


def prob_above(threshold: float, num_correct: int, num_decided: int) -> float:
    """Return the posterior probability that the success probability is above `threshold`, in [0, 1].

    Example:
        >>> round(prob_above(0.1, 0, 16), 3)
        0.167
    """
    return float(betaincc(num_correct + 1, num_decided - num_correct + 1, threshold))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """How one prefix is estimated.

    Without `max_posterior_std` and `sign_confidence`, every estimate draws `num_rollouts` at once. With one of them,
    rollouts are drawn in rounds until its condition holds or `num_rollouts` are drawn.

    Stopping early biases the estimate, because the last rollouts decide when to stop. At a success probability of 0.15
    the expected estimate is 0.15 without it, 0.21 with `sign_confidence` = 0.9 (0.33 with rounds of one), and 0.11 to
    0.13 with `max_posterior_std` = 0.15 to 0.1. Use `sign_confidence` for hard labels only, which need the sign alone.

    Args:
        num_rollouts: k, the rollouts per estimated prefix, or the most of them where an estimate stops early.
        reuse_rollouts: Count the rollouts from shorter prefixes that pass through this one as free samples of it, and
            draw that many fewer.
        max_posterior_std: Stop once the posterior's standard deviation is at most this. None: no such rule.
        sign_confidence: Stop once the posterior puts at least this much on one side of `sign_threshold`. At a threshold
            of 0, one correct rollout settles it. None: no such rule.
        sign_threshold: In [0, 1); a step with a success probability above it counts as right.
        round_size: Rollouts per round.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_rollouts: int = 16
    reuse_rollouts: bool = True
    max_posterior_std: float | None = None
    sign_confidence: float | None = None
    sign_threshold: float = 0.0
    round_size: int = 4

    def __post_init__(self) -> None:
        check_values(
            self,
            num_rollouts=(is_count(self.num_rollouts, MAX_COUNT), COUNT_RULE),
            max_posterior_std=(self.max_posterior_std is None or 0 < self.max_posterior_std < 0.29, "in (0, 0.29)"),
            sign_confidence=(self.sign_confidence is None or 0.5 < self.sign_confidence < 1, "in (0.5, 1)"),
            sign_threshold=(0 <= self.sign_threshold < 1, "in [0, 1)"),
            round_size=(is_count(self.round_size, MAX_COUNT), COUNT_RULE),
        )

    def is_settled(self, num_correct: int, num_decided: int) -> bool:
        """Return whether k correct rollouts out of n decided ones are enough to stop early."""
        if self.max_posterior_std is not None and posterior_std(num_correct, num_decided) <= self.max_posterior_std:
            return True
        if self.sign_confidence is None:
            return False
        if self.sign_threshold == 0:
            return num_correct > 0
        above = prob_above(self.sign_threshold, num_correct, num_decided)
        # The prior alone puts most of its mass above a low threshold: that is no evidence without a correct rollout.
        return 1 - above >= self.sign_confidence or (num_correct > 0 and above >= self.sign_confidence)

    def num_to_draw(self, *, num_fresh: int, num_free: int, num_correct: int, num_decided: int) -> int:
        """Return how many rollouts to draw next.

        Args:
            num_fresh: Rollouts drawn from the prefix, undecided ones included.
            num_free: Decided rollouts that pass through it.
            num_correct, num_decided: Counts of both together.
        """
        num_missing = max(0, self.num_rollouts - num_free - num_fresh)
        if self.max_posterior_std is None and self.sign_confidence is None:
            return num_missing
        return 0 if self.is_settled(num_correct, num_decided) else min(self.round_size, num_missing)
