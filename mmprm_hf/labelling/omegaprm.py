"""OmegaPRM: Monte Carlo step estimates by tree search with bisection for the first error (Luo et al., 2024).

`search` is pure: no I/O, threads, clock or global randomness; the same problem, engine, verifier, config and
seeded generator give the same tree. Where it departs from published MM-PRM a comment says so;
`omegaprm_reference.py` is the published search, step by step.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Sequence

from ..data import Problem, Rollout, SearchTree, Verdict
from ..engines import RolloutEngine
from .stopping import EstimateConfig
from .tree_draft import NothingJudgedError, Prefix, TreeDraft, Verifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class OmegaPRMConfig(EstimateConfig):
    """How much to search and how to choose; how an estimate is made is inherited.

    The MM-PRM runs used 200 searches, 1,000 rollouts and L = 2,000 words; the defaults here are those of its Python
    code (20 searches, 200 rollouts, L = 500). Both use 16 rollouts, c_puct 0.125, alpha 0.5, beta 0.9.

    Args:
        max_rollouts: The budget: never more rollouts than this for one problem.
        num_searches: The most (node, wrong rollout) pairs to bisect.
        c_puct: Weight of exploration U, at least 0.
        alpha: In (0, 1]; the lower, the more a node with a high MC estimate is preferred.
        beta: In (0, 1]; the lower, the more a short rollout is preferred.
        length_scale: L, the length in words at which the length factor is `beta`.
        estimate_every_step: When the searches are done, estimate the steps that bisection passed over on the paths of
            the tree as well, shortest prefixes first, as far as the budget pays.

    Raises:
        ValueError: if a value is out of its range, or the budget does not pay for one estimate.
    """

    max_rollouts: int = 200
    num_searches: int = 20
    c_puct: float = 0.125
    alpha: float = 0.5
    beta: float = 0.9
    length_scale: float = 500.0
    estimate_every_step: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(
            max_rollouts=(self.max_rollouts >= self.num_rollouts, "at least num_rollouts"),
            num_searches=(self.num_searches >= 0, "at least 0"),
            c_puct=(self.c_puct >= 0, "at least 0"),
            alpha=(0 < self.alpha <= 1, "in (0, 1]"),
            beta=(0 < self.beta <= 1, "in (0, 1]"),
            length_scale=(self.length_scale > 0, "above 0"),
        )


class _CandidatePool:
    """Wrong rollouts still to be bisected; `pop` gives the pair with the highest Q + U.

    U depends on a prefix only through its visit count, so prefixes are kept in one heap per count, ordered by the Q
    of their best rollout: a selection compares one top per distinct count and pushes one entry. v distinct counts
    take v (v - 1) / 2 visits, so that with n candidates one selection costs O(log n + sqrt(selections)).
    """

    def __init__(self, config: OmegaPRMConfig) -> None:
        self.config = config
        self.num_visits_in_all = 0
        self._added: set[Prefix] = set()
        self._size = 0
        self._rollouts: dict[Prefix, list[tuple[float, int, Prefix]]] = {}  # heaps of (-Q, order, solution)
        self._by_visits: dict[int, list[tuple[float, int, Prefix]]] = {}  # heaps of (-best Q, order, prefix)

    def add(self, prefix: Prefix, estimate: float, num_visits: int, rollouts: Sequence[Rollout]) -> None:
        """Offer the wrong rollouts drawn from `prefix`, which has this MC estimate above 0."""
        config = self.config
        heap = []
        for rollout in rollouts:
            solution = prefix + rollout.steps
            # Differs from MM-PRM: undecided and empty rollouts are never selected, equal solutions once.
            if rollout.verdict is not Verdict.INCORRECT or not rollout.steps or solution in self._added:
                continue
            self._added.add(solution)
            num_words = len(" ".join(rollout.steps).split())
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
        """The best ``(prefix, wrong solution)``, removed, its prefix's visit counted; None if the pool is empty."""
        if not self._by_visits:
            return None
        exploration = self.config.c_puct * math.sqrt(self.num_visits_in_all)
        num_visits = min(self._by_visits, key=lambda n: (self._by_visits[n][0][0] - exploration / (1 + n), n))
        _, _, prefix = heapq.heappop(self._by_visits[num_visits])
        if not self._by_visits[num_visits]:
            del self._by_visits[num_visits]
        _, _, solution = heapq.heappop(self._rollouts[prefix])
        self.num_visits_in_all += 1
        if self._rollouts[prefix]:
            self._push(prefix, num_visits + 1)
        return prefix, solution


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
) -> SearchTree:
    """Return the search tree of one problem.

    Selection takes the (prefix, wrong rollout) pair with the highest
    ``alpha^(1 - MC) * beta^(words / L) + c_puct * sqrt(all visits) / (1 + visits)``; bisection over the rollout's
    steps then finds its first error within ``ceil(log2 T)`` estimates for T steps. The search stops when the budget
    does not pay for the next estimate.

    Whole solutions are leaves: a right one counts (1, 1), a bisected wrong one (0, 1).

    A prefix is looked at because some rollout through it went wrong: the rollouts drawn together with that one do not
    count as free samples of it (with them estimates are off by up to 0.04 at 16 rollouts); those drawn from prefixes
    in between do.

    Args:
        problem: The problem, with a gold answer.
        engine, verifier: What writes and what judges.
        config: Budget and weights.
        rng: Seeded generator; the only source of randomness.

    Raises:
        NothingJudgedError: if not one rollout from the start could be judged.
    """
    draft = TreeDraft(problem, engine, verifier, rng, config, config.max_rollouts)
    pool = _CandidatePool(config)
    # The root is never stopped early: its wrong rollouts are what the search starts from.
    (rollouts,) = await draft.draw([((), config.num_rollouts)])
    _harvest(draft, pool, (), rollouts)
    for _ in range(config.num_searches):
        selected = pool.pop()
        if selected is None:
            break
        draft.choose(*selected)
        if not await _bisect(draft, pool, *selected):
            break
    if config.estimate_every_step:
        await _estimate_every_step(draft)
    return draft.finish("omegaprm")


def _harvest(draft: TreeDraft, pool: _CandidatePool, prefix: Prefix, rollouts: Sequence[Rollout]) -> None:
    """Of rollouts drawn from a prefix the right ones become leaves, the wrong ones candidates if its MC is above 0."""
    for rollout in rollouts:
        if rollout.verdict is Verdict.CORRECT and rollout.steps:
            draft.add_leaf(prefix + rollout.steps, is_correct=True)
    num_correct, num_decided = draft.counts(prefix)
    if num_correct:
        pool.add(prefix, num_correct / num_decided, draft.record(prefix).num_visits, rollouts)


async def _bisect(draft: TreeDraft, pool: _CandidatePool, prefix: Prefix, solution: Prefix) -> bool:
    """Find the first error of a wrong solution that continues `prefix`; False once the budget is spent.

    Invariant: the first `low` steps can still lead to a right answer, the first `high` steps cannot.
    """
    # Differs from MM-PRM: the whole wrong solution is known to be wrong; it is neither sampled nor judged again.
    draft.add_leaf(solution, is_correct=False)
    low, high = len(prefix), len(solution)
    while high - low > 1:
        middle = (low + high) // 2
        target = solution[:middle]
        if not draft.record(target).is_estimated:
            # Differs from MM-PRM: the budget is tested before each estimate, not between searches.
            (rollouts,) = await draft.estimate([target])
            if not draft.record(target).is_estimated:
                return False
            _harvest(draft, pool, target, rollouts)
        num_correct, num_decided = draft.counts(target)
        if not num_decided:
            return True  # nothing known of this prefix: leave the rollout, the budget may serve others
        if num_correct or draft.record(target).is_reached:
            low = middle
        else:
            high = middle
    return True


async def _estimate_every_step(draft: TreeDraft) -> None:
    """Estimate what bisection passed over: all prefixes of the tree's solutions, shortest first."""
    # Differs from MM-PRM: there only ends of segments have labels, while a PRM scores every step.
    # Of all decided rollouts, right or wrong alike: chosen by outcome, what passes a prefix would be no fair sample.
    solutions = [prefix + r.steps for prefix, r in draft.rollouts if r.verdict is not Verdict.UNDECIDED]
    inner = dict.fromkeys(solution[:length] for solution in solutions for length in range(1, len(solution)))
    missing = [prefix for prefix in inner if not draft.record(prefix).is_estimated]
    for prefix in sorted(missing, key=len):  # stable; one at a time, so that each serves the longer ones
        await draft.estimate([prefix])


__all__ = ["NothingJudgedError", "OmegaPRMConfig", "Verifier", "search"]
