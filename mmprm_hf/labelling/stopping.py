"""How many rollouts one estimate gets: a fixed number, or fewer where the Beta posterior is settled early.

With a uniform prior and k right of n decided rollouts the policy's success probability is distributed as
Beta(k + 1, n - k + 1). Standard library only.
"""

from __future__ import annotations

import dataclasses
import math


def posterior_std(num_correct: int, num_decided: int) -> float:
    """Standard deviation of Beta(k + 1, n - k + 1), in (0, 0.29].

    Example:
        >>> round(posterior_std(0, 5), 3), round(posterior_std(8, 16), 3)
        (0.124, 0.115)
    """
    a, b = num_correct + 1, num_decided - num_correct + 1
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


def prob_above(threshold: float, num_correct: int, num_decided: int) -> float:
    """Posterior probability that the success probability is above `threshold`, in [0, 1].

    The tail of Beta(k + 1, n - k + 1) is the probability of at most k successes in n + 1 trials at `threshold`.

    Example:
        >>> round(prob_above(0.1, 0, 16), 3)
        0.167
    """
    n = num_decided + 1
    terms = (math.comb(n, j) * threshold**j * (1 - threshold) ** (n - j) for j in range(num_correct + 1))
    return min(1.0, sum(terms))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """How one prefix is estimated.

    Without `max_posterior_std` and `sign_confidence` every estimate gets `num_rollouts` at once. With one of them
    rollouts are drawn in rounds until it holds or `num_rollouts` are there.

    An early stop leans, since what has just been drawn decides it. Of a success probability of 0.15 the expected
    estimate is 0.15 without it, 0.21 under `sign_confidence` = 0.9 (0.33 with rounds of one) and 0.11 to 0.13 under
    `max_posterior_std` = 0.15 to 0.1: stopping by sign is for hard labels, whose sign it leaves as sure as it says.

    Args:
        num_rollouts: k, the rollouts per estimated prefix (the most of them when stopping early).
        reuse_rollouts: Count rollouts from shorter prefixes that pass through this one as free samples of it, and draw
            as many fewer.
        max_posterior_std: Stop once the posterior's standard deviation is at most this; None never stops for it.
        sign_confidence: Stop once the posterior puts at least this much on one side of `sign_threshold`; at a
            threshold of 0 one right rollout settles it. None never stops for it.
        sign_threshold: In [0, 1): above it a step is called right.
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
        self._check(
            num_rollouts=(self.num_rollouts >= 1, "at least 1"),
            max_posterior_std=(self.max_posterior_std is None or 0 < self.max_posterior_std < 0.29, "in (0, 0.29)"),
            sign_confidence=(self.sign_confidence is None or 0.5 < self.sign_confidence < 1, "in (0.5, 1)"),
            sign_threshold=(0 <= self.sign_threshold < 1, "in [0, 1)"),
            round_size=(self.round_size >= 1, "at least 1"),
        )

    def _check(self, **rules: tuple[bool, str]) -> None:
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in {type(self).__name__}; it must be {rule}.")

    @property
    def is_adaptive(self) -> bool:
        """True if an estimate may stop early."""
        return self.max_posterior_std is not None or self.sign_confidence is not None

    def is_settled(self, num_correct: int, num_decided: int) -> bool:
        """True if k right of n decided rollouts are enough."""
        if self.max_posterior_std is not None and posterior_std(num_correct, num_decided) <= self.max_posterior_std:
            return True
        if self.sign_confidence is None:
            return False
        if self.sign_threshold == 0:
            return num_correct > 0
        above = prob_above(self.sign_threshold, num_correct, num_decided)
        # The prior alone puts most of its mass above a low threshold: without a right rollout that is no evidence.
        return 1 - above >= self.sign_confidence or (num_correct > 0 and above >= self.sign_confidence)

    def num_wanted(self, *, num_fresh: int, num_free: int, num_correct: int, num_decided: int) -> int:
        """Rollouts to draw next.

        Args:
            num_fresh: Drawn from the prefix so far, undecided ones included.
            num_free: Decided rollouts that pass through it.
            num_correct, num_decided: Of both together.
        """
        missing = max(0, self.num_rollouts - num_free - num_fresh)
        if not self.is_adaptive:
            return missing
        return 0 if self.is_settled(num_correct, num_decided) else min(self.round_size, missing)
