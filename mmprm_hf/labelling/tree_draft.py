"""A search tree while it grows: one record per distinct prefix, every rollout drawn, the budget kept.

Failure never becomes data: rollouts that are cut, malformed or that no verifier can judge are recorded and counted, and
enter no estimate. A rollout also is a sample of every prefix that it passes through.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Protocol

from ..data import Node, Problem, Rollout, SearchTree, Verdict, content_hash
from ..engines import RolloutEngine, RolloutRequest
from .stopping import EstimateConfig

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
        sample: Text of an incomplete rollout, "" if there is none.
    """

    def __init__(self, problem_id: str, num_undecided: int, num_incomplete: int, sample: str = "") -> None:
        shown = f" One of them: {sample[:200]!r}." if sample else ""
        super().__init__(
            f"Problem {problem_id!r}: none of the {num_undecided + num_incomplete} rollouts from the start could be "
            f"judged ({num_undecided} undecided, {num_incomplete} incomplete).{shown} A search needs at least one "
            "decided rollout; check the gold answer, the verifier, `max_new_tokens` and the policy's step format."
        )
        self.num_undecided, self.num_incomplete, self.sample = num_undecided, num_incomplete, sample


@dataclasses.dataclass
class PrefixRecord:
    """What is known of one prefix.

    Args:
        drawn_correct, drawn_decided: Of the rollouts drawn *from* it.
        num_drawn: All rollouts drawn from it, without verdict too.
        passed: ``[num_correct, num_decided]`` of the rollouts that pass through it, by the length of the prefix they
            were drawn from.
        biased: Lengths whose rollouts do not count here: one of them went wrong, and so the search came here. Of
            rollouts among which one is wrong for certain too many are wrong, of the others too few.
        leaf_correct, leaf_decided: Whole solutions that end exactly here; they stand in where nothing was estimated.
        num_visits: How often the search selected it.
        is_reached: A right rollout passes through it, wherever it was drawn from: its success probability is above 0,
            whatever its own samples say.
        is_estimated: True once an estimate was made.
    """

    drawn_correct: int = 0
    drawn_decided: int = 0
    num_drawn: int = 0
    passed: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    biased: set[int] = dataclasses.field(default_factory=set)
    leaf_correct: int = 0
    leaf_decided: int = 0
    num_visits: int = 0
    is_reached: bool = False
    is_estimated: bool = False

    @property
    def free_counts(self) -> tuple[int, int]:
        """``(num_correct, num_decided)`` of the free samples."""
        counted = [counts for length, counts in self.passed.items() if length not in self.biased]
        return sum(num_correct for num_correct, _ in counted), sum(num_decided for _, num_decided in counted)

    def counts(self, reuse_rollouts: bool) -> tuple[int, int]:
        """``(num_correct, num_decided)`` for the tree's node."""
        if not self.is_estimated:
            return self.leaf_correct, self.leaf_decided
        num_correct, num_decided = self.free_counts if reuse_rollouts else (0, 0)
        return self.drawn_correct + num_correct, self.drawn_decided + num_decided


class TreeDraft:
    """A tree while it grows.

    Args:
        problem, engine, verifier: What is searched, what writes, what judges.
        rng: Source of the requests' seeds.
        config: How a prefix is estimated.
        max_rollouts: The budget, never exceeded.
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
        self.problem, self.engine, self.verifier, self.rng = problem, engine, verifier, rng
        self.config, self.max_rollouts = config, max_rollouts
        # Differs from MM-PRM: identical prefixes share one record, so none is estimated twice.
        self.records: dict[Prefix, PrefixRecord] = {(): PrefixRecord()}
        self.rollouts: list[tuple[Prefix, Rollout]] = []
        self._verdicts: dict[str | None, Verdict] = {}

    @property
    def num_left(self) -> int:
        """Rollouts that the budget still pays for."""
        return self.max_rollouts - len(self.rollouts)

    def record(self, prefix: Prefix) -> PrefixRecord:
        """The prefix's record, made if absent."""
        return self.records.setdefault(prefix, PrefixRecord())

    def counts(self, prefix: Prefix) -> tuple[int, int]:
        """``(num_correct, num_decided)`` of a prefix."""
        return self.record(prefix).counts(self.config.reuse_rollouts)

    async def draw(self, wanted: Sequence[tuple[Prefix, int]]) -> list[list[Rollout]]:
        """Draw and judge rollouts from each prefix, note them everywhere they count, return them judged.

        Raises:
            ValueError: if that breaks the budget.
            NothingJudgedError: if the empty prefix is among them and none of its rollouts was decided.
        """
        num_wanted = sum(count for _, count in wanted)
        if num_wanted > self.num_left:
            raise ValueError(
                f"{num_wanted} rollouts after {len(self.rollouts)} would break the budget of {self.max_rollouts} for "
                f"problem {self.problem.id!r}; ask num_left first."
            )
        requests = [RolloutRequest(self.problem, prefix, n, self.rng.getrandbits(31)) for prefix, n in wanted]
        drawn = await self.engine.generate(requests)
        await self._judge_answers([rollout for rollouts in drawn for rollout in rollouts])
        judged = []
        for (prefix, _), rollouts in zip(wanted, drawn, strict=True):
            judged.append([dataclasses.replace(rollout, verdict=self._verdict(rollout)) for rollout in rollouts])
            for rollout in judged[-1]:
                self._note(prefix, rollout)
        if any(prefix == () for prefix, _ in wanted) and not self.records[()].drawn_decided:
            samples = (rollout.text for _, rollout in self.rollouts if not rollout.complete and rollout.text)
            raise NothingJudgedError(self.problem.id, self.num_undecided, self.num_incomplete, next(samples, ""))
        return judged

    def _note(self, prefix: Prefix, rollout: Rollout) -> None:
        """Count a judged rollout at its prefix and at every longer one that it passes through."""
        self.rollouts.append((prefix, rollout))
        record = self.record(prefix)
        record.is_estimated = True
        record.num_drawn += 1
        # Differs from MM-PRM: only decided rollouts are counted; a judge that is down does not make an MC of 0.
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
        """Ask the verifier once for each new answer, none of incomplete rollouts."""
        # Differs from MM-PRM: a cut or malformed text is not judged (there its last block passed for the answer).
        answers = dict.fromkeys(rollout.answer for rollout in rollouts if rollout.complete)
        new = [answer for answer in answers if answer not in self._verdicts]
        verdicts = await asyncio.gather(*(self.verifier.judge(self.problem, answer) for answer in new))
        self._verdicts.update(zip(new, verdicts, strict=True))

    def _verdict(self, rollout: Rollout) -> Verdict:
        return self._verdicts[rollout.answer] if rollout.complete else Verdict.UNDECIDED

    async def estimate(self, prefixes: Sequence[Prefix]) -> list[list[Rollout]]:
        """Estimate prefixes as the configuration says, and return all rollouts drawn from each.

        Where the budget does not pay for what is still wanted, earlier prefixes come first and one that cannot be
        drawn in full (or for its round) is left as it is.
        """
        drawn: dict[Prefix, list[Rollout]] = {prefix: [] for prefix in prefixes}
        while True:
            wanted, num_left = [], self.num_left
            for prefix in drawn:
                record = self.record(prefix)
                free_correct, num_free = record.free_counts if self.config.reuse_rollouts else (0, 0)
                count = self.config.num_wanted(
                    num_fresh=record.num_drawn,
                    num_free=num_free,
                    num_correct=record.drawn_correct + free_correct,
                    num_decided=record.drawn_decided + num_free,
                )
                if count == 0:
                    record.is_estimated = True  # what passes through it may settle it
                elif count <= num_left:
                    wanted.append((prefix, count))
                    num_left -= count
            if not wanted:
                return list(drawn.values())
            for (prefix, _), rollouts in zip(wanted, await self.draw(wanted), strict=True):
                drawn[prefix] += rollouts

    def add_leaf(self, solution: Prefix, is_correct: bool) -> None:
        """Note that a whole solution with these steps had a right or a wrong answer."""
        record = self.record(solution)
        record.leaf_correct += is_correct
        record.leaf_decided += 1

    def choose(self, prefix: Prefix, solution: Prefix) -> None:
        """Note that a wrong solution drawn from `prefix` was selected, which may lead the search to what it passes."""
        self.record(prefix).num_visits += 1
        for length in range(len(prefix) + 1, len(solution) + 1):
            record = self.record(solution[:length])
            if not record.is_estimated:
                record.biased.add(len(prefix))

    @property
    def num_incomplete(self) -> int:
        """Rollouts that were cut or malformed."""
        return sum(not rollout.complete for _, rollout in self.rollouts)

    @property
    def num_undecided(self) -> int:
        """Complete rollouts without a verdict."""
        return sum(rollout.complete and rollout.verdict is Verdict.UNDECIDED for _, rollout in self.rollouts)

    def finish(self, search: str) -> SearchTree:
        """The tree in canonical form: a node's parent is its longest proper prefix among the nodes."""
        kept = [prefix for prefix, record in self.records.items() if record.is_estimated or record.leaf_decided]
        order = sorted(kept, key=len)  # stable: prefixes of one length stay in order of discovery
        index_of = {prefix: index for index, prefix in enumerate(order)}
        nodes = []
        for prefix in order:
            start = next((n for n in range(len(prefix) - 1, -1, -1) if prefix[:n] in index_of), 0)
            num_correct, num_decided = self.counts(prefix)
            nodes.append(
                Node(
                    id=content_hash(self.problem.id, list(prefix)),
                    parent=index_of[prefix[:start]] if prefix else None,
                    steps=prefix[start:],
                    num_correct=num_correct,
                    num_decided=num_decided,
                    num_visits=self.records[prefix].num_visits,
                )
            )
        return SearchTree(
            problem_id=self.problem.id,
            nodes=tuple(nodes),
            rollouts=tuple((index_of[prefix], _without_text(rollout)) for prefix, rollout in self.rollouts),
            config={"search": search, **dataclasses.asdict(self.config)},
            engine=dict(self.engine.identity),
            num_undecided=self.num_undecided,
            num_incomplete=self.num_incomplete,
        )


def _without_text(rollout: Rollout) -> Rollout:
    """Of a complete rollout the steps and the answer say it all; texts would double the size of a tree."""
    return dataclasses.replace(rollout, text="") if rollout.complete else rollout
