"""OmegaPRM exactly as published MM-PRM has it, defects included: for comparisons, not for labels to train on.

From the same rollouts and verdicts in the same order it makes the same calls, selections and trees, byte for byte
(`tests/labelling/test_omegaprm_reference.py` compares it with recorded runs of that code). `omegaprm.search` marks what
it does differently, and why. A published step list ends with the answer, so a *solution* here is a rollout's steps
followed by its answer if it has one.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Iterator

from ..data import Node, Problem, Rollout, SearchTree, Verdict, content_hash
from ..engines import RolloutEngine, RolloutRequest
from .failures import UndecidedAnswerError
from .omegaprm import OmegaPRMConfig
from .protocols import Verifier

Solution = tuple[str, ...]


@dataclasses.dataclass(eq=False)
class ReferenceState:
    """A node while the tree grows. Siblings may repeat a prefix, as in the published code."""

    steps: Solution
    parent: ReferenceState | None
    num_correct: int = 0
    num_decided: int = 0
    num_visits: int = 0
    children: list[ReferenceState] = dataclasses.field(default_factory=list)
    rollouts: list[Rollout] = dataclasses.field(default_factory=list)

    @property
    def mc_estimate(self) -> float:
        return self.num_correct / self.num_decided if self.num_decided else 0.0

    @property
    def prefix(self) -> Solution:
        return (*(self.parent.prefix if self.parent else ()), *self.steps)

    def add_child(self, steps: Solution, num_correct: int = 0, num_decided: int = 0) -> ReferenceState:
        self.children.append(ReferenceState(steps, self, num_correct, num_decided))
        return self.children[-1]

    def preorder(self) -> Iterator[ReferenceState]:
        yield self
        for child in self.children:
            yield from child.preorder()

    def __lt__(self, other: ReferenceState) -> bool:  # breaks ties between equal priorities in the heap
        return self.num_visits < other.num_visits


class ReferencePool:
    """Candidates in a heap of ``(-priority, state, solution)``; outdated entries stay until they reach the top."""

    def __init__(self, root: ReferenceState, config: OmegaPRMConfig) -> None:
        self.root, self.config = root, config
        self.priorities: dict[tuple[int, Solution], float] = {}  # the valid entry of each live candidate
        self.heap: list[tuple[float, ReferenceState, Solution]] = []

    def push(self, state: ReferenceState, solution: Solution) -> None:
        config = self.config
        num_visits_in_all = sum(other.num_visits for other in self.root.preorder())
        num_words = len("\n".join(solution).split())
        quality = config.alpha ** (1 - state.mc_estimate) * config.beta ** (num_words / config.length_scale)
        priority = quality + config.c_puct * math.sqrt(num_visits_in_all) / (1 + state.num_visits)
        self.priorities[id(state), solution] = priority
        heapq.heappush(self.heap, (-priority, state, solution))

    def pop(self) -> tuple[ReferenceState, Solution]:
        while True:
            negative, state, solution = heapq.heappop(self.heap)
            if self.priorities.get((id(state), solution)) == -negative:
                del self.priorities[id(state), solution]
                return state, solution

    def push_all_again(self) -> None:
        for state in self.root.preorder():
            if state.num_correct:
                for solution in _distinct(state, Verdict.INCORRECT):
                    if (id(state), solution) in self.priorities:
                        self.push(state, solution)


class _ReferenceSearch:
    """One search as published."""

    def __init__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
    ) -> None:
        self.problem, self.engine, self.verifier, self.config, self.rng = problem, engine, verifier, config, rng
        self.root = ReferenceState((), None)
        self.pool = ReferencePool(self.root, config)
        self.states = [self.root]
        self.rollouts: list[tuple[ReferenceState, Rollout]] = []

    async def judge(self, answer: str) -> Verdict:
        verdict = await self.verifier.judge(self.problem, answer)
        if verdict is Verdict.UNDECIDED:
            raise UndecidedAnswerError(
                f"Problem {self.problem.id!r}: no verdict on the answer {answer[:80]!r}. The reference search needs "
                "every answer decided; use the omegaprm search, or a verifier that decides every answer."
            )
        return verdict

    def add_child(
        self, parent: ReferenceState, steps: Solution, num_correct: int = 0, num_decided: int = 0
    ) -> ReferenceState:
        self.states.append(parent.add_child(steps, num_correct, num_decided))
        return self.states[-1]

    async def estimate(self, state: ReferenceState) -> None:
        """Draw and judge k rollouts: correct ones become leaves, wrong ones candidates if any was correct."""
        prefix = tuple(step.strip() for step in state.prefix)
        request = RolloutRequest(self.problem, prefix, self.config.num_rollouts, self.rng.getrandbits(31))
        (rollouts,) = await self.engine.generate([request])
        for rollout in rollouts:
            solution = _solution(rollout)
            rollout = dataclasses.replace(rollout, verdict=await self.judge(solution[-1] if solution else ""))
            state.rollouts.append(rollout)
            self.rollouts.append((state, rollout))
        state.num_correct = sum(rollout.verdict is Verdict.CORRECT for rollout in state.rollouts)
        state.num_decided = len(state.rollouts)
        for solution in _distinct(state, Verdict.CORRECT):
            self.add_child(state, solution, 1, 1)
        if state.num_correct:
            for solution in _distinct(state, Verdict.INCORRECT):
                self.pool.push(state, solution)

    async def bisect(self, parent: ReferenceState, solution: Solution) -> None:
        """Look for the first error of a wrong solution below `parent`; the last step alone is judged."""
        low, high = 0, len(solution) - 1
        while low <= high:
            middle = (low + high) // 2
            child = self.add_child(parent, solution[low : middle + 1])
            if low == high == len(solution) - 1:
                child.num_correct = int(await self.judge(solution[-1]) is Verdict.CORRECT)
                child.num_decided = 1
                return
            await self.estimate(child)
            if child.num_correct:
                parent, low = child, middle + 1
            else:
                high = middle - 1

    def tree(self) -> SearchTree:
        indices = {id(state): index for index, state in enumerate(self.states)}
        nodes = tuple(
            Node(
                id=content_hash(self.problem.id, list(state.prefix), index),  # a prefix may occur twice
                parent=None if state.parent is None else indices[id(state.parent)],
                steps=state.steps,
                num_correct=state.num_correct,
                num_decided=state.num_decided,
                num_visits=state.num_visits,
            )
            for index, state in enumerate(self.states)
        )
        return SearchTree(
            problem_id=self.problem.id,
            nodes=nodes,
            rollouts=tuple((indices[id(state)], rollout) for state, rollout in self.rollouts),
            config={"search": "omegaprm_reference", **dataclasses.asdict(self.config)},
            engine=dict(self.engine.identity),
            num_incomplete=sum(not rollout.complete for _, rollout in self.rollouts),
        )


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
) -> SearchTree:
    """Return the tree that published MM-PRM builds from these rollouts.

    Kept on purpose: the last element of every rollout is judged, also of cut and empty ones; equal prefixes are sampled
    again; the budget is checked between searches only; unparsable rollouts are selected first. Options of
    `OmegaPRMConfig` that the published code does not have, such as `reuse_rollouts`, are ignored.

    Raises:
        UndecidedAnswerError: if the verifier leaves an answer undecided.
    """
    run = _ReferenceSearch(problem, engine, verifier, config, rng)
    await run.estimate(run.root)
    for _ in range(config.num_searches):
        if len(run.rollouts) >= config.max_rollouts or not run.pool.priorities:
            break
        state, solution = run.pool.pop()
        await run.bisect(state, solution)
        state.num_visits += 1
        run.pool.push_all_again()
    return run.tree()


def _solution(rollout: Rollout) -> Solution:
    return rollout.steps if rollout.answer is None else (*rollout.steps, rollout.answer)


def _distinct(state: ReferenceState, verdict: Verdict) -> list[Solution]:
    """Distinct solutions drawn from a state with this verdict, in order."""
    return list(dict.fromkeys(_solution(rollout) for rollout in state.rollouts if rollout.verdict is verdict))
