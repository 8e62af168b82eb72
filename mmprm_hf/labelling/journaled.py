"""Engine, verifier and step judge of one search, which answer from the problem's journal first.

A search is pure: to resume it is to run it again with these three. Only what was in flight at a kill is asked again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..data import Problem, Rollout, Verdict
from ..engines import RolloutRequest
from ..errors import RunStoppedError
from .journal import ProblemJournal, RequestKey
from .protocols import Prefix, StepJudge, Verifier


class JournaledEngine:
    """Engine of one search: answers from the journal, and asks for the rest one request at a time.

    Requests of one call run side by side and are journaled as they finish, so that a kill loses only those in flight.

    Args:
        journal: The problem's journal.
        identity: The identity of the engine behind it.
        ask: Sends one request to that engine.
    """

    def __init__(
        self,
        journal: ProblemJournal,
        identity: dict[str, Any],
        ask: Callable[[RolloutRequest], Awaitable[tuple[Rollout, ...]]],
    ) -> None:
        self.identity = identity
        self._journal, self._ask = journal, ask
        self._num_asked: Counter[tuple[tuple[str, ...], int, int]] = Counter()

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return the rollouts of these requests, in order."""
        keys = [self._key(request) for request in requests]
        missing = [index for index, key in enumerate(keys) if key not in self._journal.answers]
        self._journal.num_replayed += len(keys) - len(missing)
        await _wait_for_all([self._fetch(requests[index], keys[index]) for index in missing])
        return [self._journal.answers[key] for key in keys]

    def _key(self, request: RolloutRequest) -> RequestKey:
        question = (request.prefix, request.num_samples, request.seed)
        self._num_asked[question] += 1
        return (*question, self._num_asked[question] - 1)

    async def _fetch(self, request: RolloutRequest, key: RequestKey) -> None:
        self._journal.add_answer(key, await self._ask(request))


class JournaledVerifier:
    """Verifier of one search: a decided answer is never asked about again, in this session or a later one.

    Args:
        journal: The problem's journal.
        verifier: The verifier behind it. Its optional `usage` (problem id to a `Counter` of judge calls and tokens) is
            journaled with each verdict.
    """

    def __init__(self, journal: ProblemJournal, verifier: Verifier) -> None:
        self._journal, self._verifier = journal, verifier
        self._meter = _UsageMeter(verifier)

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        """Return the verdict on an answer."""
        if answer not in self._journal.verdicts:
            self._meter.open(problem.id)
            verdict = Verdict(await self._verifier.judge(problem, answer))
            self._journal.add_verdict(answer, verdict, self._meter.new_usage(problem.id))
            return verdict
        return self._journal.verdicts[answer]


class JournaledStepJudge:
    """Step judge of one search: a solution on which it has decided anything is never judged again.

    Args:
        journal: The problem's journal.
        judge: The judge behind it. If it has `one_by_one`, solutions are judged side by side and journaled as they
            finish, otherwise together. Its optional `usage` (problem id to a `Counter`) is journaled too.
    """

    def __init__(self, journal: ProblemJournal, judge: StepJudge) -> None:
        self.identity = judge.identity
        self._journal, self._judge = journal, judge
        self._meter = _UsageMeter(judge)

    async def judge_steps(self, problem: Problem, solutions: Sequence[Prefix]) -> list[tuple[Verdict, ...]]:
        """Return a verdict for every step of every solution.

        Raises:
            ValueError: if the judge does not give a verdict for every step.
        """
        self._meter.open(problem.id)
        missing = [s for s in dict.fromkeys(solutions) if s not in self._journal.step_verdicts]
        one_by_one = getattr(self._judge, "one_by_one", False)
        groups = [[solution] for solution in missing] if one_by_one else [missing] if missing else []
        verdicts = dict(self._journal.step_verdicts)
        for fetched in await _wait_for_all([self._fetch(problem, group) for group in groups]):
            verdicts.update(fetched)
        return [verdicts[solution] for solution in solutions]

    async def _fetch(self, problem: Problem, solutions: Sequence[Prefix]) -> dict[Prefix, tuple[Verdict, ...]]:
        judged = await self._judge.judge_steps(problem, solutions)
        check_verdicts(problem, solutions, judged)
        verdicts = {solution: tuple(row) for solution, row in zip(solutions, judged, strict=True)}
        for solution, row in verdicts.items():
            self._journal.add_step_verdicts(solution, row, self._meter.new_usage(problem.id))
        return verdicts


class _UsageMeter:
    """What a verifier or a judge uses for a problem, as far as it counts that."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge
        self._metered: Counter[str] | None = None

    def open(self, problem_id: str) -> None:
        """Begin with what was used before, at the first question."""
        if self._metered is None:
            self._metered = self._usage(problem_id)

    def new_usage(self, problem_id: str) -> Counter[str]:
        """What was used since the last call."""
        usage, counted = self._usage(problem_id), self._metered
        self._metered = usage
        return usage - counted

    def _usage(self, problem_id: str) -> Counter[str]:
        return Counter(getattr(self._judge, "usage", {}).get(problem_id, {}))


async def _wait_for_all(questions: Sequence[Awaitable[Any]]) -> list[Any]:
    """Results of questions that are asked side by side.

    If some fail, the others are still waited for, because they are paid for. Then the first error is raised, one that
    stops the run before those of this problem alone.
    """
    if len(questions) == 1:
        return [await questions[0]]
    results = await asyncio.gather(*questions, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise next((error for error in errors if isinstance(error, RunStoppedError)), errors[0])
    return results


def check_verdicts(problem: Problem, solutions: Sequence[Prefix], verdicts: Sequence[Sequence[Verdict]]) -> None:
    """Raise a ValueError unless a step judge gave a verdict for every step of every solution."""
    num_verdicts, num_steps = [len(row) for row in verdicts], [len(solution) for solution in solutions]
    if num_verdicts != num_steps:
        raise ValueError(
            f"The judge gave {num_verdicts} verdicts for solutions of {num_steps} steps of problem {problem.id!r}. "
            "Each step needs one; use UNDECIDED where the judge has none."
        )
