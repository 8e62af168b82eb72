"""A search tree while it grows: one record per distinct prefix, every rollout drawn, the budget kept.

Failure never becomes data: rollouts that are cut, malformed or undecided are recorded and counted, but enter no
estimate. A rollout is also a sample of every prefix that it passes through.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence

from ..data import Node, Problem, Rollout, SearchTree, Verdict, content_hash
from ..engines import RolloutEngine, RolloutRequest
from .failures import NothingJudgedError
from .protocols import Prefix, Verifier
from .stopping import EstimateConfig


@dataclasses.dataclass
class PrefixRecord:
    """What a search knows of one prefix."""

    drawn_correct: int = 0  # of the rollouts drawn *from* it
    drawn_decided: int = 0
    num_drawn: int = 0  # undecided ones included
    # [num_correct, num_decided] of the rollouts that pass through it, by the length of the prefix they were drawn from.
    passed: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    # Lengths whose rollouts do not count here: the search came here because one of them was wrong, so too many are.
    biased: set[int] = dataclasses.field(default_factory=set)
    leaf_correct: int = 0  # of the whole solutions that end here, which count if nothing was estimated
    leaf_decided: int = 0
    num_visits: int = 0  # how often the search selected it
    is_reached: bool = False  # a correct rollout passes through it, so that its success probability is above 0
    is_estimated: bool = False

    @property
    def free_counts(self) -> tuple[int, int]:
        """``(num_correct, num_decided)`` of the free samples."""
        counted = [counts for length, counts in self.passed.items() if length not in self.biased]
        return sum(num_correct for num_correct, _ in counted), sum(num_decided for _, num_decided in counted)

    def counts(self, reuse_rollouts: bool) -> tuple[int, int]:
        """``(num_correct, num_decided)`` for the tree's node, with or without free samples."""
        if not self.is_estimated:
            return self.leaf_correct, self.leaf_decided
        num_correct, num_decided = self.free_counts if reuse_rollouts else (0, 0)
        return self.drawn_correct + num_correct, self.drawn_decided + num_decided


class TreeDraft:
    """A tree while it grows.

    Args:
        problem, engine, verifier: What is searched, what writes rollouts, what checks their answers.
        rng: Source of the requests' seeds.
        config: How a prefix is estimated.
        max_rollouts: The budget, which is never exceeded.
    """

    def __init__(
        self,
        problem: Problem,
        engine: RolloutEngine,
        verifier: Verifier,
        rng: random.Random,
        config: EstimateConfig,
        max_rollouts: int,
    ) -> None:
        self._problem, self._engine, self._verifier, self._rng = problem, engine, verifier, rng
        self._config, self._max_rollouts = config, max_rollouts
        # Differs from MM-PRM: identical prefixes share one record, so none is estimated twice.
        self._records: dict[Prefix, PrefixRecord] = {(): PrefixRecord()}
        self.rollouts: list[tuple[Prefix, Rollout]] = []
        self._verdicts: dict[str | None, Verdict] = {}

    @property
    def num_left(self) -> int:
        """Rollouts that the budget still covers."""
        return self._max_rollouts - len(self.rollouts)

    def record(self, prefix: Prefix) -> PrefixRecord:
        """The prefix's record, created if absent."""
        return self._records.setdefault(prefix, PrefixRecord())

    def counts(self, prefix: Prefix) -> tuple[int, int]:
        """``(num_correct, num_decided)`` of a prefix."""
        return self.record(prefix).counts(self._config.reuse_rollouts)

    async def draw(self, draws: Sequence[tuple[Prefix, int]]) -> list[list[Rollout]]:
        """Draw and judge rollouts, record them at every prefix where they count, and return them with verdicts.

        Args:
            draws: Prefixes, each with the number of rollouts to draw from it.

        Raises:
            ValueError: if that would exceed the budget.
            NothingJudgedError: if the empty prefix is among them and none of its rollouts was decided.
        """
        num_rollouts = sum(count for _, count in draws)
        if num_rollouts > self.num_left:
            raise ValueError(
                f"{num_rollouts} rollouts after {len(self.rollouts)} would exceed the budget of {self._max_rollouts} "
                f"for problem {self._problem.id!r}; check num_left first."
            )
        requests = [RolloutRequest(self._problem, prefix, n, self._rng.getrandbits(31)) for prefix, n in draws]
        answers = await self._engine.generate(requests)
        await self._judge_answers([rollout for rollouts in answers for rollout in rollouts])
        judged = []
        for (prefix, _), rollouts in zip(draws, answers, strict=True):
            judged.append([dataclasses.replace(rollout, verdict=self._verdict(rollout)) for rollout in rollouts])
            for rollout in judged[-1]:
                self._record(prefix, rollout)
        if any(prefix == () for prefix, _ in draws) and not self._records[()].drawn_decided:
            samples = (rollout.text for _, rollout in self.rollouts if not rollout.complete and rollout.text)
            raise NothingJudgedError(self._problem.id, self._num_undecided, self._num_incomplete, next(samples, ""))
        return judged

    def _record(self, prefix: Prefix, rollout: Rollout) -> None:
        """Count a judged rollout at its prefix and at every longer one that it passes through."""
        self.rollouts.append((prefix, rollout))
        record = self.record(prefix)
        record.is_estimated = True
        record.num_drawn += 1
        # Differs from MM-PRM: only decided rollouts count, so that a judge that is down does not make an MC of 0.
        if rollout.verdict is Verdict.UNDECIDED:
            return
        is_correct = rollout.verdict is Verdict.CORRECT
        record.drawn_correct += is_correct
        record.drawn_decided += 1
        solution = prefix + rollout.steps
        for length in range(len(solution) + 1 if is_correct else 0):
            self.record(solution[:length]).is_reached = True
        for length in range(len(prefix) + 1, len(solution) + 1):
            passed = self.record(solution[:length]).passed.setdefault(len(prefix), [0, 0])
            passed[0] += is_correct
            passed[1] += 1

    async def _judge_answers(self, rollouts: Sequence[Rollout]) -> None:
        """Ask the verifier once for each new answer of a complete rollout."""
        # Differs from MM-PRM: a cut or malformed text is not judged; there its last block passes for the answer.
        answers = dict.fromkeys(rollout.answer for rollout in rollouts if rollout.complete)
        unknown = [answer for answer in answers if answer not in self._verdicts]
        verdicts = await asyncio.gather(*(self._verifier.judge(self._problem, answer) for answer in unknown))
        self._verdicts.update(zip(unknown, verdicts, strict=True))

    def _verdict(self, rollout: Rollout) -> Verdict:
        return self._verdicts[rollout.answer] if rollout.complete else Verdict.UNDECIDED

    async def estimate(self, prefixes: Sequence[Prefix]) -> list[list[Rollout]]:
        """Estimate prefixes as the configuration says, and return all rollouts drawn from each.

        If the budget does not cover all draws, earlier prefixes come first, and a prefix whose draw is not covered in
        full stays as it is.
        """
        drawn: dict[Prefix, list[Rollout]] = {prefix: [] for prefix in prefixes}
        while draws := self._next_draws(drawn):
            for (prefix, _), rollouts in zip(draws, await self.draw(draws), strict=True):
                drawn[prefix] += rollouts
        return list(drawn.values())

    def _next_draws(self, prefixes: Sequence[Prefix]) -> list[tuple[Prefix, int]]:
        """What to draw from each prefix that is not settled, as far as the budget allows."""
        draws, num_left = [], self.num_left
        for prefix in prefixes:
            record = self.record(prefix)
            free_correct, num_free = record.free_counts if self._config.reuse_rollouts else (0, 0)
            count = self._config.num_to_draw(
                num_fresh=record.num_drawn,
                num_free=num_free,
                num_correct=record.drawn_correct + free_correct,
                num_decided=record.drawn_decided + num_free,
            )
            if count == 0:
                record.is_estimated = True  # the rollouts that pass through it may be enough
            elif count <= num_left:
                draws.append((prefix, count))
                num_left -= count
        return draws

    def add_leaf(self, solution: Prefix, is_correct: bool) -> None:
        """Record that a whole solution with these steps had a correct or a wrong answer."""
        record = self.record(solution)
        record.leaf_correct += is_correct
        record.leaf_decided += 1

    def select(self, prefix: Prefix, solution: Prefix) -> None:
        """Record that a wrong solution drawn from `prefix` was selected, which leads the search to its prefixes."""
        self.record(prefix).num_visits += 1
        for length in range(len(prefix) + 1, len(solution) + 1):
            record = self.record(solution[:length])
            if not record.is_estimated:
                record.biased.add(len(prefix))

    @property
    def _num_incomplete(self) -> int:
        return sum(not rollout.complete for _, rollout in self.rollouts)

    @property
    def _num_undecided(self) -> int:
        return sum(rollout.complete and rollout.verdict is Verdict.UNDECIDED for _, rollout in self.rollouts)

    def finish(self, search: str) -> SearchTree:
        """Return the tree of this search in canonical form: a node's parent is its longest proper prefix among nodes.

        Args:
            search: Name of the search, for the tree's `config`.
        """
        kept = [prefix for prefix, record in self._records.items() if record.is_estimated or record.leaf_decided]
        order = sorted(kept, key=len)  # stable: prefixes of one length stay in order of discovery
        indices = {prefix: index for index, prefix in enumerate(order)}
        nodes = []
        for prefix in order:
            start = next((length for length in range(len(prefix) - 1, -1, -1) if prefix[:length] in indices), 0)
            num_correct, num_decided = self.counts(prefix)
            nodes.append(
                Node(
                    id=content_hash(self._problem.id, list(prefix)),
                    parent=indices[prefix[:start]] if prefix else None,
                    steps=prefix[start:],
                    num_correct=num_correct,
                    num_decided=num_decided,
                    num_visits=self._records[prefix].num_visits,
                )
            )
        return SearchTree(
            problem_id=self._problem.id,
            nodes=tuple(nodes),
            rollouts=tuple((indices[prefix], _without_text(rollout)) for prefix, rollout in self.rollouts),
            config={"search": search, **dataclasses.asdict(self._config)},
            engine=dict(self._engine.identity),
            num_undecided=self._num_undecided,
            num_incomplete=self._num_incomplete,
        )


def _without_text(rollout: Rollout) -> Rollout:
    """The rollout without its text if it is complete: steps and answer hold the same, and a tree is half the size."""
    return dataclasses.replace(rollout, text="") if rollout.complete else rollout
