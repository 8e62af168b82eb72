"""Judge consensus: a step judge looks at the solutions of any search's tree; labels keep what both agree on.

Monte Carlo estimates ask whether the answer can still be reached, a judge whether the steps are right; alone, the first
drifts towards outcomes and the second towards plausibility (Zhang et al., 2025, "The Lessons of Developing PRMs").
The tree keeps both (`Node.judge_verdict` beside the counts); dropping disagreements is a choice made when labels are
(`consensus="drop"`). A judge that fails is UNDECIDED, never a disagreement.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..data import Candidate, Node, Problem, SearchTree, Verdict
from ..engines import RolloutEngine
from .journal import JournaledStepJudge, ProblemJournal, StepJudge, check_verdicts
from .tree_draft import Prefix, Verifier

if TYPE_CHECKING:
    from ..scoring import PRMScorer


class Search(Protocol):
    """The signature that all searches share."""

    async def __call__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: Any, rng: random.Random
    ) -> SearchTree: ...


class PRMStepJudge:
    """A PRM as step judge: CORRECT above `correct_above`, INCORRECT below `incorrect_below`, else UNDECIDED.

    A PRM built from a vision-language model by `MMPRMModel.from_policy`, untrained, is that model's own Yes or No
    about each step.

    Args:
        scorer: Scores the steps.
        correct_above, incorrect_below: Step scores in [0, 1], the second not above the first.

    Raises:
        ValueError: if the thresholds are out of range or order.
    """

    def __init__(self, scorer: PRMScorer, *, correct_above: float = 0.5, incorrect_below: float = 0.5) -> None:
        if not 0 <= incorrect_below <= correct_above <= 1:
            raise ValueError(
                f"Found incorrect_below={incorrect_below} and correct_above={correct_above}; step scores lie in [0, 1] "
                "and what lies between the two thresholds is undecided, so the first cannot be above the second."
            )
        from ..models import model_fingerprint, processor_fingerprint

        self.scorer, self.correct_above, self.incorrect_below = scorer, correct_above, incorrect_below
        self.identity = {
            "judge": "prm",
            "weights": model_fingerprint(scorer.model),
            "processor": processor_fingerprint(scorer.processor),
            "correct_above": correct_above,
            "incorrect_below": incorrect_below,
        }
        self.usage: collections.defaultdict[str, Counter[str]] = collections.defaultdict(Counter)
        self._lock = threading.Lock()  # one scorer, many searches

    async def judge_steps(self, problem: Problem, solutions: Sequence[Prefix]) -> list[tuple[Verdict, ...]]:
        """Return a verdict for every step of every solution."""

        def score() -> list[Candidate]:
            with self._lock:
                return self.scorer.score(problem, [Candidate(steps=solution) for solution in solutions])

        scored = await asyncio.to_thread(score)
        self.usage[problem.id]["step_judge_calls"] += len(solutions)
        return [tuple(map(self._verdict, candidate.step_scores or ())) for candidate in scored]

    def _verdict(self, score: float) -> Verdict:
        if score > self.correct_above:
            return Verdict.CORRECT
        return Verdict.INCORRECT if score < self.incorrect_below else Verdict.UNDECIDED


@dataclasses.dataclass(frozen=True)
class ConsensusSearch:
    """A search with the signature of all others: `search`, then one look of the judge at every solution of the tree.

    Args:
        search: The search whose tree is judged, such as `flat_mc.search`.
        judge: The step judge.
    """

    search: Search
    judge: StepJudge

    async def prepare(self) -> None:
        """Let the judge find out what it talks to, so that `identity` names it."""
        if hasattr(self.judge, "prepare"):
            await self.judge.prepare()

    def journaled(self, journal: ProblemJournal) -> ConsensusSearch:
        """The same search whose judge is asked about a solution once, whatever happens to the run."""
        return dataclasses.replace(self, judge=JournaledStepJudge(journal, self.judge))

    @property
    def identity(self) -> dict[str, Any]:
        """What a run folder notes of it."""
        name = f"{self.search.__module__}.{getattr(self.search, '__qualname__', type(self.search).__name__)}"
        return {"search": name, "judge": self.judge.identity}

    async def __call__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: Any, rng: random.Random
    ) -> SearchTree:
        """Return the tree of `search`, its nodes with the judge's verdict on all steps up to theirs.

        The verdict is CORRECT if every step is, INCORRECT from the first step on that is not, UNDECIDED where the
        judge is, and where it says different things of one prefix in two solutions.

        Raises:
            ValueError: if the judge does not answer for every step.
        """
        tree = await self.search(problem, engine, verifier, config, rng)
        parents = {node.parent for node in tree.nodes}
        solutions = [tree.prefix(index) for index in range(1, len(tree.nodes)) if index not in parents]
        if not solutions:
            return tree
        verdicts = await self.judge.judge_steps(problem, solutions)
        check_verdicts(problem, solutions, verdicts)
        of_prefix: dict[Prefix, set[Verdict]] = {}
        for solution, row in zip(solutions, verdicts, strict=True):
            for length, verdict in enumerate(_cumulative(row), start=1):
                of_prefix.setdefault(solution[:length], set()).add(verdict)
        nodes = (
            _judged(node, of_prefix[tree.prefix(index)]) if index else node for index, node in enumerate(tree.nodes)
        )
        return dataclasses.replace(tree, nodes=tuple(nodes))


def _cumulative(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on prefixes from verdicts on steps."""
    so_far, found = Verdict.CORRECT, []
    for verdict in verdicts:
        if Verdict.INCORRECT in (verdict, so_far):
            so_far = Verdict.INCORRECT  # wherever the undecided ones stand: the prefix holds a wrong step
        elif Verdict.UNDECIDED in (verdict, so_far):
            so_far = Verdict.UNDECIDED
        found.append(so_far)
    return found


def _judged(node: Node, verdicts: set[Verdict]) -> Node:
    return dataclasses.replace(node, judge_verdict=verdicts.pop() if len(verdicts) == 1 else Verdict.UNDECIDED)
