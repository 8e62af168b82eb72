"""Judge consensus: a step judge checks the solutions of any search's tree, and labels keep what both agree on.

Monte Carlo estimates ask whether the answer can still be reached, a judge asks whether the steps are right. Alone, the
first drifts towards outcomes and the second towards plausibility (Zhang et al., 2025, "The Lessons of Developing
PRMs"). The tree keeps both: `Node.judge_verdict` beside the counts. Dropping disagreements is a choice of the
label rows (`consensus="drop"`). A judge that fails is UNDECIDED, which is never a disagreement.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from ..data import Problem, SearchTree, Verdict
from ..engines import RolloutEngine
from .journal import ProblemJournal
from .journaled import JournaledStepJudge, check_verdicts
from .protocols import Prefix, Search, StepJudge, Verifier


@dataclasses.dataclass(frozen=True)
class ConsensusSearch:
    """A search that lets a step judge check every solution of another search's tree once.

    Args:
        search: The search whose tree is judged, such as `flat_mc.search`.
        judge: The step judge.
    """

    search: Search
    judge: StepJudge

    async def prepare(self) -> None:
        """Let the judge find out which model it talks to, so that `identity` names it."""
        if hasattr(self.judge, "prepare"):
            await self.judge.prepare()

    def journaled(self, journal: ProblemJournal) -> ConsensusSearch:
        """Return the same search with a judge that keeps its verdicts in a journal and is never asked twice."""
        return dataclasses.replace(self, judge=JournaledStepJudge(journal, self.judge))

    @property
    def identity(self) -> dict[str, Any]:
        """Search and judge, as `run.json` records them."""
        name = f"{self.search.__module__}.{getattr(self.search, '__qualname__', type(self.search).__name__)}"
        return {"search": name, "judge": self.judge.identity}

    async def __call__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: Any, rng: random.Random
    ) -> SearchTree:
        """Return the tree of `search`, each node with the judge's verdict on all steps up to its last one.

        The verdict is CORRECT if every step is, and INCORRECT from the first wrong step on. It is UNDECIDED where the
        judge is, and where the judge contradicts itself on a prefix that two solutions share.

        Raises:
            ValueError: if the judge does not give a verdict for every step.
        """
        tree = await self.search(problem, engine, verifier, config, rng)
        parents = {node.parent for node in tree.nodes}
        solutions = [tree.prefix(index) for index in range(1, len(tree.nodes)) if index not in parents]
        if not solutions:
            return tree
        verdicts = await self.judge.judge_steps(problem, solutions)
        check_verdicts(problem, solutions, verdicts)
        by_prefix: dict[Prefix, set[Verdict]] = {}
        for solution, step_verdicts in zip(solutions, verdicts, strict=True):
            for length, verdict in enumerate(_prefix_verdicts(step_verdicts), start=1):
                by_prefix.setdefault(solution[:length], set()).add(verdict)
        nodes = list(tree.nodes)
        for index in range(1, len(nodes)):
            verdict, *others = by_prefix[tree.prefix(index)]
            nodes[index] = dataclasses.replace(nodes[index], judge_verdict=Verdict.UNDECIDED if others else verdict)
        return dataclasses.replace(tree, nodes=tuple(nodes))


def _prefix_verdicts(step_verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on the prefixes of a solution from verdicts on its steps."""
    verdict, verdicts = Verdict.CORRECT, []
    for step_verdict in step_verdicts:
        if Verdict.INCORRECT in (step_verdict, verdict):
            verdict = Verdict.INCORRECT  # also behind undecided steps: the prefix contains a wrong one
        elif step_verdict is Verdict.UNDECIDED:
            verdict = Verdict.UNDECIDED
        verdicts.append(verdict)
    return verdicts
