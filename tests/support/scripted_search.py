"""An engine that writes by a function, and a scorer that looks scores up: guided search without a model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mmprm_hf.data import Problem, Rollout
from mmprm_hf.engines import RolloutRequest
from mmprm_hf.engines.requests import Written, parse_rollout
from mmprm_hf.steps import TAGGED

Steps = tuple[str, ...]
STOP, LENGTH, CONTROL = "stop", "length", "control_token"
PROBLEM = Problem("p", "What is A?")


class WritingEngine:
    """Writes what ``write(request, sample_index)`` says: a text, with its finish reason where that is not "stop".

    `rounds` holds the requests of each call, `drawn` every rollout with the prefix that it continues. A rollout has a
    token per character, and one for its end.
    """

    def __init__(self, write: Callable[[RolloutRequest, int], str | tuple[str, str]]) -> None:
        self.write, self.identity = write, {"engine": "writing"}
        self.rounds: list[list[RolloutRequest]] = []
        self.drawn: list[tuple[Steps, Rollout]] = []

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        self.rounds.append(list(requests))
        return [tuple(self._rollout(request, index) for index in range(request.num_samples)) for request in requests]

    def _rollout(self, request: RolloutRequest, index: int) -> Rollout:
        written = self.write(request, index)
        text, reason = (written, STOP) if isinstance(written, str) else written
        rollout = parse_rollout(Written(text, reason, len(text) + 1), TAGGED, request)
        self.drawn.append((request.prefix, rollout))
        return rollout


class TableScorer:
    """Scores the last step of a prefix by ``value(prefix)``; a step that holds "unreadable" cannot be scored.

    `scored` holds the solutions of every call of a session, `kept` those that a session was told to keep.
    """

    def __init__(self, value: Callable[[Steps], float]) -> None:
        self.value = value
        self.scored: list[list[Steps]] = []
        self.kept: list[list[Steps]] = []

    def can_score(self, steps: Sequence[str]) -> bool:
        return bool(steps) and not any("unreadable" in step for step in steps)

    def session(self, problem: Problem) -> TableSession:
        return TableSession(self)


class TableSession:
    """A session of `TableScorer`."""

    def __init__(self, scorer: TableScorer) -> None:
        self.scorer = scorer

    def score(self, solutions: Sequence[Steps]) -> list[tuple[float, ...]]:
        self.scorer.scored.append(list(solutions))
        value = self.scorer.value
        return [tuple(value(steps[: end + 1]) for end in range(len(steps))) for steps in solutions]

    def keep(self, solutions: Sequence[Steps]) -> None:
        self.scorer.kept.append(list(solutions))


def from_table(table: dict[Steps, Sequence[str]]) -> Callable[[RolloutRequest, int], str]:
    """Continuations of each prefix, taken in turn: a step's bare text, or an answer as "=7"."""

    def write(request: RolloutRequest, index: int) -> str:
        choices = table[request.prefix]
        text = choices[index % len(choices)]
        return f"<answer>{text[1:]}</answer>" if text.startswith("=") else f"<step>{text}"

    return write


def at_random(request: RolloutRequest, index: int) -> str | tuple[str, str]:
    """Any of what an engine may write, by the request's seed and the sample's index."""
    rng = random.Random(f"{request.seed}/{request.problem.id}/{request.prefix}/{index}")
    step = rng.choice("abc") * rng.randint(1, 2)
    answer = rng.choice("12")
    return rng.choices(
        [
            f"<step>{step}",
            f"<answer>{answer}</answer>",
            f"<step>{step}</step><answer>{answer}</answer>",
            f"<step>{step}unreadable",
            "words before <step>it",
            (f"<step>{step}", LENGTH),
            (f"<step>{step}", CONTROL),
        ],
        weights=[12, 4, 1, 1, 1, 1, 1],
    )[0]
