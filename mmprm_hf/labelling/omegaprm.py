"""OmegaPRM: Monte Carlo step estimates by tree search with bisection for the first error (Luo et al., 2024).

`search` is pure: no I/O, threads, clock or global randomness; the same problem, engine, verifier, config and
seeded generator give the same tree. Failure never becomes data: rollouts that are cut, malformed or that no
verifier can judge are recorded and counted, and enter no estimate.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

from mmprm_hf.data import Node, Problem, Rollout, SearchTree, Verdict, content_hash
from mmprm_hf.engines import RolloutEngine, RolloutRequest

Prefix = tuple[str, ...]


class Verifier(Protocol):
    """What judges answers, see `mmprm_hf.answers.RuleVerifier`."""

    async def judge(self, problem: Problem, answer: str | None) -> Verdict: ...


class NothingJudgedError(RuntimeError):
    """Not one rollout of the empty prefix could be judged, so nothing can be learned of the problem.

    Args:
        problem_id: The problem.
        num_undecided: Complete rollouts that no verifier could judge.
        num_incomplete: Rollouts that were cut or malformed.
    """

    def __init__(self, problem_id: str, num_undecided: int, num_incomplete: int) -> None:
        super().__init__(
            f"Problem {problem_id!r}: none of the {num_undecided + num_incomplete} rollouts from the start could be "
            f"judged ({num_undecided} undecided, {num_incomplete} incomplete). A search needs at least one decided "
            "rollout; check the gold answer, the verifier, `max_new_tokens` and the policy's step format."
        )
        self.num_undecided, self.num_incomplete = num_undecided, num_incomplete


@dataclasses.dataclass(frozen=True)
class OmegaPRMConfig:
    """How much to search and how to choose.

    The MM-PRM runs used 200 searches, 1,000 rollouts and L = 2,000 words; the defaults here are those of its Python
    code (20 searches, 200 rollouts, L = 500). Both use 16 rollouts, c_puct 0.125, alpha 0.5, beta 0.9.

    Args:
        num_rollouts: k, rollouts per estimated prefix.
        max_rollouts: The budget: never more rollouts than this for one problem.
        num_searches: The most (node, wrong rollout) pairs to bisect.
        c_puct: Weight of exploration U, at least 0.
        alpha: In (0, 1]; the lower, the more a node with a high MC estimate is preferred.
        beta: In (0, 1]; the lower, the more a short rollout is preferred.
        length_scale: L, the length in words at which the length factor is `beta`.

    Raises:
        ValueError: if a value is out of its range, or the budget does not pay for one estimate.
    """

    num_rollouts: int = 16
    max_rollouts: int = 200
    num_searches: int = 20
    c_puct: float = 0.125
    alpha: float = 0.5
    beta: float = 0.9
    length_scale: float = 500.0

    def __post_init__(self) -> None:
        rules = {
            "num_rollouts": (self.num_rollouts >= 1, "at least 1"),
            "max_rollouts": (self.max_rollouts >= self.num_rollouts, "at least num_rollouts"),
            "num_searches": (self.num_searches >= 0, "at least 0"),
            "c_puct": (self.c_puct >= 0, "at least 0"),
            "alpha": (0 < self.alpha <= 1, "in (0, 1]"),
            "beta": (0 < self.beta <= 1, "in (0, 1]"),
            "length_scale": (self.length_scale > 0, "above 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in OmegaPRMConfig; it must be {rule}.")


@dataclasses.dataclass
class PrefixRecord:
    """What is known of one prefix.

    `num_correct` of `num_decided` rollouts were drawn *from* it; `leaf_*` count whole solutions that end exactly
    here, and stand in only where nothing was drawn.
    """

    num_correct: int = 0
    num_decided: int = 0
    leaf_correct: int = 0
    leaf_decided: int = 0
    num_visits: int = 0
    is_estimated: bool = False

    @property
    def counts(self) -> tuple[int, int]:
        """``(num_correct, num_decided)`` for the tree's node."""
        if self.num_decided:
            return self.num_correct, self.num_decided
        return self.leaf_correct, self.leaf_decided


class TreeDraft:
    """A tree while it grows: one record per distinct prefix, the rollouts drawn, the budget left.

    Args:
        problem, engine, verifier: What is searched, what writes, what judges.
        rng: Source of the requests' seeds.
        max_rollouts: The budget.
    """

    def __init__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, rng: random.Random, max_rollouts: int
    ) -> None:
        self.problem, self.engine, self.verifier, self.rng = problem, engine, verifier, rng
        self.max_rollouts = max_rollouts
        # Differs from MM-PRM: identical prefixes share one record, so none is estimated twice.
        self.records: dict[Prefix, PrefixRecord] = {(): PrefixRecord()}
        self.rollouts: list[tuple[Prefix, Rollout]] = []
        self._verdicts: dict[str | None, Verdict] = {}

    def can_afford(self, num_rollouts: int) -> bool:
        """True if `num_rollouts` more stay within the budget."""
        return len(self.rollouts) + num_rollouts <= self.max_rollouts

    async def draw(self, prefixes: Sequence[Prefix], num_rollouts: int) -> list[list[Rollout]]:
        """Draw and judge `num_rollouts` from each prefix, add them to its counts, return the judged rollouts.

        Raises:
            ValueError: if that breaks the budget (ask `can_afford` first).
            NothingJudgedError: if the empty prefix is among them and none of its rollouts was decided.
        """
        if not self.can_afford(num_rollouts * len(prefixes)):
            raise ValueError(
                f"{num_rollouts * len(prefixes)} rollouts after {len(self.rollouts)} would break the budget of "
                f"{self.max_rollouts} for problem {self.problem.id!r}; ask can_afford first."
            )
        requests = [RolloutRequest(self.problem, prefix, num_rollouts, self.rng.getrandbits(31)) for prefix in prefixes]
        drawn = []
        for prefix, rollouts in zip(prefixes, await self.engine.generate(requests), strict=True):
            judged = [dataclasses.replace(rollout, verdict=await self._judge(rollout)) for rollout in rollouts]
            record = self.records.setdefault(prefix, PrefixRecord())
            record.is_estimated = True
            # Differs from MM-PRM: only decided rollouts are counted; a judge that is down does not make an MC of 0.
            record.num_correct += sum(rollout.verdict is Verdict.CORRECT for rollout in judged)
            record.num_decided += sum(rollout.verdict is not Verdict.UNDECIDED for rollout in judged)
            self.rollouts.extend((prefix, rollout) for rollout in judged)
            drawn.append(judged)
        if () in prefixes and not self.records[()].num_decided:
            raise NothingJudgedError(self.problem.id, self.num_undecided, self.num_incomplete)
        return drawn

    async def _judge(self, rollout: Rollout) -> Verdict:
        """Verdict on a rollout; one question to the verifier per distinct answer, none for incomplete rollouts."""
        # Differs from MM-PRM: a cut or malformed text is not judged (there its last block passed for the answer).
        if not rollout.complete:
            return Verdict.UNDECIDED
        if rollout.answer not in self._verdicts:
            self._verdicts[rollout.answer] = await self.verifier.judge(self.problem, rollout.answer)
        return self._verdicts[rollout.answer]

    def add_leaf(self, solution: Prefix, is_correct: bool) -> None:
        """Note that a whole solution with these steps had a right or a wrong answer."""
        record = self.records.setdefault(solution, PrefixRecord())
        record.leaf_correct += is_correct
        record.leaf_decided += 1

    @property
    def num_incomplete(self) -> int:
        """Rollouts that were cut or malformed."""
        return sum(not rollout.complete for _, rollout in self.rollouts)

    @property
    def num_undecided(self) -> int:
        """Complete rollouts without a verdict."""
        return sum(rollout.complete and rollout.verdict is Verdict.UNDECIDED for _, rollout in self.rollouts)

    def finish(self, config: dict[str, Any]) -> SearchTree:
        """The tree in canonical form: a node's parent is its longest proper prefix among the records."""
        order = sorted(self.records, key=len)  # stable: prefixes of one length stay in order of discovery
        index_of = {prefix: index for index, prefix in enumerate(order)}
        nodes = []
        for prefix in order:
            record = self.records[prefix]
            start = next((n for n in range(len(prefix) - 1, -1, -1) if prefix[:n] in index_of), 0)
            nodes.append(
                Node(
                    id=content_hash(self.problem.id, list(prefix)),
                    parent=index_of[prefix[:start]] if prefix else None,
                    steps=prefix[start:],
                    num_correct=record.counts[0],
                    num_decided=record.counts[1],
                    num_visits=record.num_visits,
                )
            )
        return SearchTree(
            problem_id=self.problem.id,
            nodes=tuple(nodes),
            rollouts=tuple((index_of[prefix], rollout) for prefix, rollout in self.rollouts),
            config=config,
            engine=dict(self.engine.identity),
            num_undecided=self.num_undecided,
            num_incomplete=self.num_incomplete,
        )


class _CandidatePool:
    """Wrong rollouts still to be bisected; `pop` gives the pair with the highest Q + U.

    U depends on a prefix only through its visit count, so prefixes are kept in one heap per count, ordered by the Q
    of their best rollout: a selection compares one top per distinct count and pushes one entry.
    """

    def __init__(self, config: OmegaPRMConfig) -> None:
        self.config = config
        self.num_visits_in_all = 0
        self._added: set[Prefix] = set()
        self._size = 0
        self._rollouts: dict[Prefix, list[tuple[float, int, Prefix]]] = {}  # heaps of (-Q, order, solution)
        self._by_visits: dict[int, list[tuple[float, int, Prefix]]] = {}  # heaps of (-best Q, order, prefix)

    def add(self, prefix: Prefix, record: PrefixRecord, rollouts: Sequence[Rollout]) -> None:
        """Offer the wrong rollouts drawn from `prefix`, which has an MC estimate above 0."""
        config = self.config
        estimate = record.num_correct / record.num_decided
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
            self._push(prefix, record.num_visits)

    def _push(self, prefix: Prefix, num_visits: int) -> None:
        quality, order, _ = self._rollouts[prefix][0]
        heapq.heappush(self._by_visits.setdefault(num_visits, []), (quality, order, prefix))

    def pop(self, records: dict[Prefix, PrefixRecord]) -> tuple[Prefix, Prefix] | None:
        """The best ``(prefix, wrong solution)``, removed, its prefix's visit counted; None if the pool is empty."""
        if not self._by_visits:
            return None
        exploration = self.config.c_puct * math.sqrt(self.num_visits_in_all)
        num_visits = min(self._by_visits, key=lambda n: (self._by_visits[n][0][0] - exploration / (1 + n), n))
        _, _, prefix = heapq.heappop(self._by_visits[num_visits])
        if not self._by_visits[num_visits]:
            del self._by_visits[num_visits]
        _, _, solution = heapq.heappop(self._rollouts[prefix])
        records[prefix].num_visits += 1
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
    steps then finds its first error within ``ceil(log2 T)`` estimates for T steps. Every estimate uses the full k
    rollouts: the search stops when the budget does not pay for another one.

    Whole solutions are leaves: a right one counts (1, 1), a bisected wrong one (0, 1).

    Args:
        problem: The problem, with a gold answer.
        engine, verifier: What writes and what judges.
        config: Budget and weights.
        rng: Seeded generator; the only source of randomness.

    Raises:
        NothingJudgedError: if not one rollout from the start could be judged.
    """
    draft = TreeDraft(problem, engine, verifier, rng, config.max_rollouts)
    pool = _CandidatePool(config)
    await _estimate(draft, pool, (), config)
    for _ in range(config.num_searches):
        selected = pool.pop(draft.records)
        if selected is None or not await _bisect(draft, pool, *selected, config):
            break
    return draft.finish({"search": "omegaprm", **dataclasses.asdict(config)})


async def _estimate(draft: TreeDraft, pool: _CandidatePool, prefix: Prefix, config: OmegaPRMConfig) -> None:
    """Estimate a prefix; its right rollouts become leaves, its wrong ones candidates if its MC is above 0."""
    (rollouts,) = await draft.draw([prefix], config.num_rollouts)
    for rollout in rollouts:
        if rollout.verdict is Verdict.CORRECT and rollout.steps:
            draft.add_leaf(prefix + rollout.steps, is_correct=True)
    record = draft.records[prefix]
    if record.num_correct:
        pool.add(prefix, record, rollouts)


async def _bisect(
    draft: TreeDraft, pool: _CandidatePool, prefix: Prefix, solution: Prefix, config: OmegaPRMConfig
) -> bool:
    """Find the first error of a wrong solution that continues `prefix`; False once the budget is spent.

    Invariant: the first `low` steps can still lead to a right answer, the first `high` steps cannot.
    """
    # Differs from MM-PRM: the whole wrong solution is known to be wrong and is not sampled again.
    draft.add_leaf(solution, is_correct=False)
    low, high = len(prefix), len(solution)
    while high - low > 1:
        middle = (low + high) // 2
        record = draft.records.get(solution[:middle])
        if record is None or not record.is_estimated:
            # Differs from MM-PRM: the budget is tested before each estimate, not between searches.
            if not draft.can_afford(config.num_rollouts):
                return False
            await _estimate(draft, pool, solution[:middle], config)
            record = draft.records[solution[:middle]]
        if not record.num_decided:
            return True  # nothing known of this prefix: leave the rollout, the budget may serve others
        if record.num_correct:
            low = middle
        else:
            high = middle
    return True
