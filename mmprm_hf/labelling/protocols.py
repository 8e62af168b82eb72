"""What a search works with: the protocols of verifiers, step judges and searches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

from ..data import Problem, SearchTree, Verdict
from ..engines import RolloutEngine

Prefix = tuple[str, ...]
"""The first steps of a solution, or all of them."""


class Verifier(Protocol):
    """Checks answers, such as `mmprm_hf.answers.RuleVerifier`."""

    async def judge(self, problem: Problem, answer: str | None) -> Verdict: ...


class StepJudge(Protocol):
    """Gives every step of every solution a verdict of its own; `identity` names all that the verdicts depend on."""

    identity: dict[str, Any]

    async def judge_steps(self, problem: Problem, solutions: Sequence[Prefix]) -> list[tuple[Verdict, ...]]: ...


class Search(Protocol):
    """A labelling search: pure, so that the same arguments give the same tree."""

    async def __call__(
        self, problem: Problem, engine: RolloutEngine, verifier: Verifier, config: Any, rng: random.Random
    ) -> SearchTree: ...
