"""Which wrong rollout OmegaPRM bisects next: the one with the highest Q + U, without scoring all of them again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data import Rollout, Verdict
from .protocols import Prefix

if TYPE_CHECKING:
    from .omegaprm import OmegaPRMConfig


class CandidatePool:
    """Wrong rollouts that are still to be bisected.

    ``Q = alpha ** (1 - MC) * beta ** (words / L)`` and ``U = c_puct * sqrt(all visits) / (1 + visits of the prefix)``.

    U depends on a prefix only through its visit count. Prefixes therefore lie in one heap per count, ordered by the Q
    of their best rollout: a selection compares one top per distinct count and pushes one entry. v distinct counts take
    v (v - 1) / 2 visits, so that one selection among n candidates costs O(log n + sqrt(selections)).

    Args:
        config: Holds `c_puct`, `alpha`, `beta` and L (`length_scale`).
    """

    def __init__(self, config: OmegaPRMConfig) -> None:
        self._config = config
        self._num_visits_in_all = 0
        self._solutions: set[Prefix] = set()  # all that were ever added
        self._size = 0
        self._rollouts: dict[Prefix, list[tuple[float, int, Prefix]]] = {}  # heaps of (-Q, order, solution)
        self._by_visits: dict[int, list[tuple[float, int, Prefix]]] = {}  # heaps of (-best Q, order, prefix)

    def add(self, prefix: Prefix, estimate: float, num_visits: int, rollouts: Sequence[Rollout]) -> None:
        """Add the wrong ones among the rollouts drawn from `prefix`.

        Args:
            prefix: The steps they continue.
            estimate: Its MC estimate, above 0.
            num_visits: How often it was selected before.
            rollouts: Rollouts with verdicts.
        """
        config, heap = self._config, []
        for rollout in rollouts:
            solution = prefix + rollout.steps
            # Differs from MM-PRM: undecided and empty rollouts are never selected, and equal solutions only once.
            if rollout.verdict is not Verdict.INCORRECT or not rollout.steps or solution in self._solutions:
                continue
            self._solutions.add(solution)
            # Differs from MM-PRM: only words of steps count; there the answer counts too, as the last step.
            num_words = sum(len(step.split()) for step in rollout.steps)
            quality = config.alpha ** (1 - estimate) * config.beta ** (num_words / config.length_scale)
            heap.append((-quality, self._size, solution))
            self._size += 1
        if heap:
            heapq.heapify(heap)
            self._rollouts[prefix] = heap
            self._push(prefix, num_visits)

    def _push(self, prefix: Prefix, num_visits: int) -> None:
        quality, order, _ = self._rollouts[prefix][0]
        heapq.heappush(self._by_visits.setdefault(num_visits, []), (quality, order, prefix))

    # Differs from MM-PRM: there every selection computes every priority anew, each from a walk over the whole tree.
    def pop(self) -> tuple[Prefix, Prefix] | None:
        """Remove and return the best ``(prefix, wrong solution)``, and count the visit; None if the pool is empty."""
        if not self._by_visits:
            return None
        exploration = self._config.c_puct * math.sqrt(self._num_visits_in_all)
        num_visits = min(self._by_visits, key=lambda n: (self._by_visits[n][0][0] - exploration / (1 + n), n))
        _, _, prefix = heapq.heappop(self._by_visits[num_visits])
        if not self._by_visits[num_visits]:
            del self._by_visits[num_visits]
        _, _, solution = heapq.heappop(self._rollouts[prefix])
        self._num_visits_in_all += 1
        if self._rollouts[prefix]:
            self._push(prefix, num_visits + 1)
        return prefix, solution
