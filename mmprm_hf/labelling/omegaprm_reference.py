"""OmegaPRM exactly as published MM-PRM has it, defects included: for comparisons, not for labels one would train on.

Given the same rollouts in the same order it makes the same calls, selections, trees and training rows, byte for byte
(`tests/labelling/test_omegaprm_reference.py` against recorded runs of that code). What `omegaprm.search` does
differently, and why, is marked there. A published step list ends with the answer, so here a *solution* is a rollout's
steps followed by its answer where it has one.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..data import Node, Problem, Rollout, SearchTree, Verdict, content_hash
from ..engines import RolloutEngine, RolloutRequest
from .omegaprm import OmegaPRMConfig, Verifier

Solution = tuple[str, ...]


class UndecidedAnswerError(RuntimeError):
    """A verdict is missing. Published MM-PRM counts such an answer as wrong; here the problem fails instead."""


@dataclasses.dataclass(eq=False)
class _State:
    """A node while the tree grows; siblings may repeat a prefix, as in the published code."""

    steps: Solution
    parent: _State | None
    num_correct: int = 0
    num_decided: int = 0
    num_visits: int = 0
    children: list[_State] = dataclasses.field(default_factory=list)
    rollouts: list[Rollout] = dataclasses.field(default_factory=list)

    @property
    def mc_estimate(self) -> float:
        return self.num_correct / self.num_decided if self.num_decided else 0.0

    @property
    def prefix(self) -> Solution:
        return (*(self.parent.prefix if self.parent else ()), *self.steps)

    def add_child(self, steps: Solution, num_correct: int = 0, num_decided: int = 0) -> _State:
        self.children.append(_State(steps, self, num_correct, num_decided))
        return self.children[-1]

    def preorder(self) -> Iterator[_State]:
        yield self
        for child in self.children:
            yield from child.preorder()

    def __lt__(self, other: _State) -> bool:  # decides between equal priorities inside the heap
        return self.num_visits < other.num_visits


class _ReferencePool:
    """Candidates in a heap of ``(-priority, state, solution)`` whose outdated entries stay until they come up."""

    def __init__(self, root: _State, config: OmegaPRMConfig) -> None:
        self.root, self.config = root, config
        self.priorities: dict[tuple[int, Solution], float] = {}  # the valid entry of each live candidate
        self.heap: list[tuple[float, _State, Solution]] = []

    def push(self, state: _State, solution: Solution) -> None:
        config = self.config
        num_visits_in_all = sum(other.num_visits for other in self.root.preorder())
        num_words = len("\n".join(solution).split())
        quality = config.alpha ** (1 - state.mc_estimate) * config.beta ** (num_words / config.length_scale)
        priority = quality + config.c_puct * math.sqrt(num_visits_in_all) / (1 + state.num_visits)
        self.priorities[id(state), solution] = priority
        heapq.heappush(self.heap, (-priority, state, solution))

    def pop(self) -> tuple[_State, Solution]:
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


class _Run:
    """One search of the published kind."""

    def __init__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
    ) -> None:
        self.problem, self.engine, self.verifier, self.config, self.rng = problem, engine, verifier, config, rng
        self.root = _State((), None)
        self.pool = _ReferencePool(self.root, config)
        self.states = [self.root]
        self.rollouts: list[tuple[_State, Rollout]] = []

    async def judge(self, answer: str) -> Verdict:
        verdict = await self.verifier.judge(self.problem, answer)
        if verdict is Verdict.UNDECIDED:
            raise UndecidedAnswerError(
                f"Problem {self.problem.id!r}: no verdict on the answer {answer[:80]!r}. The reference search knows "
                "only right and wrong; use the omegaprm search, or a verifier that decides everything."
            )
        return verdict

    def add_child(self, parent: _State, steps: Solution, num_correct: int = 0, num_decided: int = 0) -> _State:
        self.states.append(parent.add_child(steps, num_correct, num_decided))
        return self.states[-1]

    async def estimate(self, state: _State) -> None:
        """Draw and judge k rollouts: right ones become leaves, wrong ones candidates if any was right."""
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

    async def bisect(self, parent: _State, solution: Solution) -> None:
        """Look for the first error of a wrong solution below `parent`; the last step is judged by itself."""
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
        index_of = {id(state): index for index, state in enumerate(self.states)}
        nodes = tuple(
            Node(
                id=content_hash(self.problem.id, list(state.prefix), index),  # a prefix may occur twice
                parent=None if state.parent is None else index_of[id(state.parent)],
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
            rollouts=tuple((index_of[id(state)], rollout) for state, rollout in self.rollouts),
            config={"search": "omegaprm_reference", **dataclasses.asdict(self.config)},
            engine=dict(self.engine.identity),
            num_incomplete=sum(not rollout.complete for _, rollout in self.rollouts),
        )


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
) -> SearchTree:
    """Return the tree that published MM-PRM builds from these rollouts.

    Kept on purpose: the last element of every rollout is judged, also of cut and empty ones (pass answers the rules
    decide); equal prefixes are sampled again; the budget is tested between searches only; unparsable rollouts are
    selected first. Options of `OmegaPRMConfig` that it does not know of (`reuse_rollouts`, ...) are not used.

    Raises:
        UndecidedAnswerError: if the verifier leaves an answer undecided.
    """
    run = _Run(problem, engine, verifier, config, rng)
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


def _distinct(state: _State, verdict: Verdict) -> list[Solution]:
    """Solutions drawn from a state with this verdict, equal ones once, in order."""
    return list(dict.fromkeys(_solution(rollout) for rollout in state.rollouts if rollout.verdict is verdict))


# --- The published files ------------------------------------------------------------------------------------------


def to_published_tree(tree: SearchTree, problem: Problem, image_path: str) -> dict[str, Any]:
    """Return a tree of `search` as the nested dict that published MM-PRM writes to disk."""
    children: dict[int | None, list[int]] = {}
    for index, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(index)
    drawn: dict[int, list[Rollout]] = {}
    for index, rollout in tree.rollouts:
        drawn.setdefault(index, []).append(rollout)

    def solutions(index: int, verdict: Verdict) -> list[list[str]]:
        found = [_solution(rollout) for rollout in drawn.get(index, ()) if rollout.verdict is verdict]
        return [list(solution) for solution in dict.fromkeys(found)]

    def nested(index: int) -> dict[str, Any]:
        node = tree.nodes[index]
        return {
            **({} if node.parent is None else {"partial_solution": list(node.steps)}),
            "mc_value": node.mc_estimate or 0.0,
            "visit_count": node.num_visits,
            "correct_rollouts": solutions(index, Verdict.CORRECT),
            "incorrect_rollouts": solutions(index, Verdict.INCORRECT),
            "children": [nested(child) for child in children.get(index, ())],
        }

    head = {"question": problem.question, "answer": problem.answer, "image_path": image_path}
    return {**head, **nested(0), "id": problem.id}


def published_rows(tree: Mapping[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """Return the rows that the published traversal makes of one published tree.

    Paths end at the first node with an estimate of 0 (negative) or at a leaf (positive); of the positive ones at most
    as many as there are negative ones are kept, chosen by `rng`.
    """
    negative: dict[str, list[float]] = {}
    positive: dict[str, list[float]] = {}

    def walk(node: Mapping[str, Any], process: str, labels: list[float]) -> None:
        if "partial_solution" in node:
            process += "\n\n".join(step.strip() for step in node["partial_solution"]) + "<prm>\n\n"
            labels = [*labels, node["mc_value"]]
        if node["mc_value"] <= 0 or not node["children"]:
            rows = negative if node["mc_value"] <= 0 else positive
            text = process.strip()
            if len(text.split(" ")) > 10:
                rows.setdefault(text, labels)
            return
        for child in node["children"]:
            walk(child, process, labels)

    walk(tree, "", [])
    chosen: Sequence[tuple[str, list[float]]] = list(positive.items())
    if len(positive) >= len(negative):
        chosen = rng.sample(chosen, len(negative))
    head = {name: tree[name] for name in ("question", "answer", "image_path")}
    return [{**head, "process": process, "labels": labels} for process, labels in [*negative.items(), *chosen]]


def published_prm_rows(trees: Sequence[Mapping[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Return the published training file of these trees: problems solved always or never are left out."""
    rows = [row for tree in trees if tree["mc_value"] not in (0, 1) for row in published_rows(tree, rng)]
    return [
        {
            "id": index,
            "image": row["image_path"],
            "conversations": [
                {"from": "human", "value": f"Question: {row['question']}\nProcess: {row['process']}"},
                {"from": "gpt", "value": row["labels"]},
            ],
        }
        for index, row in enumerate(rows)
    ]
