"""The journal of one problem: every answer that was paid for, before the search sees it.

A search is pure, so resuming it means running it again with an engine and a verifier that answer from the journal
first. Only what was in flight at a kill is asked again. One line per request and per verdict; undecided verdicts are
counted but asked again, since the reason (a judge that is down) may have gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..data import Problem, Rollout, Verdict
from ..engines import RolloutRequest
from ..errors import RunStoppedError
from ..files import append_line
from .omegaprm import Verifier

logger = logging.getLogger(__name__)

Solution = tuple[str, ...]

# prefix, number of samples, seed, how often this search asked the same before
RequestKey = tuple[tuple[str, ...], int, int, int]


class StepJudge(Protocol):
    """What judges steps: for each solution one verdict per step, of that step by itself."""

    identity: dict[str, Any]

    async def judge_steps(self, problem: Problem, solutions: Sequence[Solution]) -> list[tuple[Verdict, ...]]: ...


class ProblemJournal:
    """What was asked and answered about one problem, on disk line by line.

    Args:
        path: Its file, made with the first line.
        header: What the answers belong to (problem, run). A file with another header is set aside, not read.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = path, dict(header)
        self.answers: dict[RequestKey, tuple[Rollout, ...]] = {}
        self.verdicts: dict[str | None, Verdict] = {}
        self.step_verdicts: dict[Solution, tuple[Verdict, ...]] = {}
        self._left_open: set[Solution] = set()  # by the step judge so far
        self.costs: Counter[str] = Counter()
        self.num_replayed = 0
        self.incomplete_sample: Rollout | None = None
        self.undecided_sample: str | None = None
        self._seconds_before = 0.0
        self._is_new = True
        if path.exists():
            self._load()
        self._started = time.monotonic()

    def add_answer(self, key: RequestKey, rollouts: tuple[Rollout, ...]) -> None:
        """Put the answer to a request on disk."""
        self._append({"request": key, "rollouts": [rollout.to_dict() for rollout in rollouts]})
        self._take_answer(key, rollouts)

    def add_verdict(self, answer: str | None, verdict: Verdict, usage: Mapping[str, int]) -> None:
        """Put a verdict on disk, with what it cost."""
        self._append({"answer": answer, "verdict": str(verdict), "usage": dict(usage)})
        self._take_verdict(answer, verdict, usage)

    def add_step_verdicts(self, solution: Solution, verdicts: Sequence[Verdict], usage: Mapping[str, int]) -> None:
        """Put a step judge's verdicts on a solution on disk, with what they cost."""
        self._append({"solution": list(solution), "verdicts": [str(v) for v in verdicts], "usage": dict(usage)})
        self._take_step_verdicts(solution, verdicts, usage)

    @property
    def seconds(self) -> float:
        """Time spent on the problem, over all sessions as far as journaled."""
        return self._seconds_before + time.monotonic() - self._started

    def delete(self) -> None:
        """Forget it: the tree is safe."""
        self.path.unlink(missing_ok=True)

    def _append(self, row: dict[str, Any]) -> None:
        rows = [{**row, "seconds": round(self.seconds, 3)}]
        append_line(self.path, *([self.header, *rows] if self._is_new else rows))
        self._is_new = False

    def _take_answer(self, key: RequestKey, rollouts: tuple[Rollout, ...]) -> None:
        self.answers[key] = rollouts
        incomplete = [rollout for rollout in rollouts if not rollout.complete]
        self.incomplete_sample = self.incomplete_sample or next(iter(incomplete), None)
        self.costs.update(
            num_requests=1,
            num_rollouts=len(rollouts),
            num_incomplete=len(incomplete),
            tokens_in=rollouts[0].num_prompt_tokens,
            tokens_out=sum(rollout.num_tokens for rollout in rollouts),
        )

    def _take_verdict(self, answer: str | None, verdict: Verdict, usage: Mapping[str, int]) -> None:
        if verdict is Verdict.UNDECIDED:
            self.undecided_sample = answer
        else:
            self.verdicts[answer] = verdict
        self.costs.update({"verifier_calls": 1, **usage})

    def _take_step_verdicts(self, solution: Solution, verdicts: Sequence[Verdict], usage: Mapping[str, int]) -> None:
        if all(verdict is Verdict.UNDECIDED for verdict in verdicts):
            self._left_open.add(solution)
        else:
            self._left_open.discard(solution)
            self.step_verdicts[solution] = tuple(verdicts)
        self.costs["num_solutions_undecided"] = len(self._left_open)
        self.costs["num_solutions_judged"] = len(self._left_open) + len(self.step_verdicts)
        self.costs.update(usage)

    def _load(self) -> None:
        """Read what is whole; cut what an interrupted write left torn."""
        content = self.path.read_bytes()
        position = 0
        for line in content.split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                if position == 0 and row != json.loads(json.dumps(self.header)):
                    self._set_aside(row)
                    return
                if position > 0:
                    self._take(row)
            except (ValueError, KeyError, TypeError):
                break
            position += len(line) + 1
        self._is_new = position == 0
        if position < len(content):
            logger.info("Journal %s: cut %d torn bytes.", self.path.name, len(content) - position)
            os.truncate(self.path, position)

    def _take(self, row: Mapping[str, Any]) -> None:
        """One line as it was written."""
        if "request" in row:
            prefix, num_samples, seed, occurrence = row["request"]
            rollouts = tuple(Rollout.from_dict(rollout) for rollout in row["rollouts"])
            self._take_answer((tuple(prefix), num_samples, seed, occurrence), rollouts)
        elif "solution" in row:
            verdicts = tuple(map(Verdict, row["verdicts"]))
            self._take_step_verdicts(tuple(row["solution"]), verdicts, row["usage"])
        else:
            self._take_verdict(row["answer"], Verdict(row["verdict"]), row["usage"])
        self._seconds_before = row["seconds"]

    def _set_aside(self, found: Any) -> None:
        """Keep a journal that belongs to something else, under another name."""
        aside = self.path.with_name(self.path.name + ".stale")
        os.replace(self.path, aside)
        logger.warning(
            "Journal %s belongs to another run or problem (%s there, %s now): it is not used, and kept as %s.",
            self.path.name,
            found,
            self.header,
            aside.name,
        )


class JournaledEngine:
    """Engine of one search: answers from the journal, and asks for the rest one request at a time.

    Requests of one call run side by side and are journaled as they finish, so a kill loses only those in flight.
    If some fail the others are still waited for (they are paid for), then the first error is raised.

    Args:
        journal: The problem's journal.
        identity: Of the engine behind.
        ask: Sends one request to it.
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
        if len(missing) == 1:
            await self._fetch(requests[missing[0]], keys[missing[0]])
        elif missing:
            fetches = [self._fetch(requests[index], keys[index]) for index in missing]
            outcomes = await asyncio.gather(*fetches, return_exceptions=True)
            errors = [outcome for outcome in outcomes if outcome is not None]
            if errors:  # one that stops the run goes before those of this problem alone
                raise next((error for error in errors if isinstance(error, RunStoppedError)), errors[0])
        return [self._journal.answers[key] for key in keys]

    def _key(self, request: RolloutRequest) -> RequestKey:
        asked = (request.prefix, request.num_samples, request.seed)
        self._num_asked[asked] += 1
        return (*asked, self._num_asked[asked] - 1)

    async def _fetch(self, request: RolloutRequest, key: RequestKey) -> None:
        self._journal.add_answer(key, await self._ask(request))


class JournaledVerifier:
    """Verifier of one search: a decided answer is never asked about again, within a session or after it.

    Args:
        journal: The problem's journal.
        verifier: What judges; its optional `usage` (problem id to a `Counter` of judge calls and tokens) is booked.
    """

    def __init__(self, journal: ProblemJournal, verifier: Verifier) -> None:
        self._journal, self._verifier = journal, verifier
        self._booked: Counter[str] | None = None

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        """Return the verdict on an answer."""
        if answer in self._journal.verdicts:
            return self._journal.verdicts[answer]
        if self._booked is None:
            self._booked = usage_of(self._verifier, problem.id)
        verdict = Verdict(await self._verifier.judge(problem, answer))
        usage = usage_of(self._verifier, problem.id)
        self._journal.add_verdict(answer, verdict, usage - self._booked)
        self._booked = usage
        return verdict


class JournaledStepJudge:
    """Step judge of one search: a solution on which it has decided anything is never shown to it again.

    Args:
        journal: The problem's journal.
        judge: What judges. With `one_by_one` solutions are asked about side by side and journaled as they come, else
            together. Its optional `usage` (problem id to a `Counter`) is booked.
    """

    def __init__(self, journal: ProblemJournal, judge: StepJudge) -> None:
        self.identity = judge.identity
        self._journal, self._judge = journal, judge
        self._booked: Counter[str] | None = None

    async def judge_steps(self, problem: Problem, solutions: Sequence[Solution]) -> list[tuple[Verdict, ...]]:
        """Return a verdict for every step of every solution.

        Raises:
            ValueError: if the judge does not answer for every step.
        """
        missing = [s for s in dict.fromkeys(solutions) if s not in self._journal.step_verdicts]
        if self._booked is None:
            self._booked = usage_of(self._judge, problem.id)
        groups = [[s] for s in missing] if getattr(self._judge, "one_by_one", False) else [missing]
        outcomes = await asyncio.gather(
            *(self._fetch(problem, group) for group in groups if group), return_exceptions=True
        )
        found: dict[Solution, tuple[Verdict, ...]] = {}
        for outcome in outcomes:  # all are waited for, since they are paid for
            if isinstance(outcome, BaseException):
                raise outcome
            found.update(outcome)
        return [found.get(s) or self._journal.step_verdicts[s] for s in solutions]

    async def _fetch(self, problem: Problem, solutions: Sequence[Solution]) -> dict[Solution, tuple[Verdict, ...]]:
        found = await self._judge.judge_steps(problem, solutions)
        check_verdicts(problem, solutions, found)
        verdicts = {solution: tuple(row) for solution, row in zip(solutions, found, strict=True)}
        for solution, row in verdicts.items():
            usage = usage_of(self._judge, problem.id)
            self._journal.add_step_verdicts(solution, row, usage - self._booked)
            self._booked = usage
        return verdicts


def check_verdicts(problem: Problem, solutions: Sequence[Solution], verdicts: Sequence[Sequence[Verdict]]) -> None:
    """Raise a ValueError unless a step judge gave a verdict for every step of every solution."""
    found, wanted = [len(row) for row in verdicts], [len(solution) for solution in solutions]
    if found != wanted:
        raise ValueError(
            f"The judge gave {found} verdicts for solutions of {wanted} steps of problem {problem.id!r}. Each step "
            "needs one; say UNDECIDED where there is none."
        )


def usage_of(part: Any, problem_id: str) -> Counter[str]:
    """What a verifier or a judge has used for a problem so far, as far as it counts."""
    return Counter(getattr(part, "usage", {}).get(problem_id, {}))
