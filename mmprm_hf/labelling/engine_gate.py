"""The one way to the engine: retries what may pass, and tells a problem at fault from an engine at fault.

Differs from MM-PRM in kind: there an error of the engine becomes an empty rollout or ends the problem in silence.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from ..data import Rollout
from ..engines import RolloutEngine, RolloutRequest
from ..errors import COUNT_RULE, MAX_COUNT, EngineUnavailableError, ProblemInputError, check_values, is_count
from .failures import EngineFailedError, RequestFailedError

_MAX_PAUSE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class FaultTolerance:
    """How many failures of the engine a run tolerates.

    Args:
        request_attempts: How often a request is sent before it counts as failed, apart from the client's own retries.
        pause_seconds: Pause before the second attempt. It doubles before each further one, up to 60 s.
        max_engine_failures: Stop the run once requests of this many problems failed without an answer in between.
            Problems that failed so in an earlier session do not count: otherwise a few problems at which the engine
            always fails, the only ones left to ask about, would stop every later session.

    Raises:
        ValueError: if a value is out of its range.
    """

    request_attempts: int = 5
    pause_seconds: float = 2.0
    max_engine_failures: int = 3

    def __post_init__(self) -> None:
        check_values(
            self,
            request_attempts=(is_count(self.request_attempts, MAX_COUNT), COUNT_RULE),
            pause_seconds=(self.pause_seconds >= 0, "at least 0"),
            max_engine_failures=(is_count(self.max_engine_failures, MAX_COUNT), COUNT_RULE),
        )


class EngineGate:
    """Sends single requests to an engine on behalf of all searches.

    Args:
        engine: The engine.
        tolerance: When to retry and when to give up.
        on_answer: Called with the rollouts of each answer.
    """

    def __init__(
        self, engine: RolloutEngine, tolerance: FaultTolerance, on_answer: Callable[[tuple[Rollout, ...]], None]
    ) -> None:
        self._engine, self._tolerance, self._on_answer = engine, tolerance, on_answer
        self._failed_problems: set[str] = set()  # since the last answer
        self._failed_before: set[str] = set()
        self.num_retries = 0  # attempts after the first one, of all requests

    def expect_failure(self, problem_id: str) -> None:
        """Let failures of a problem that failed in an earlier session no longer stop the run."""
        self._failed_before.add(problem_id)

    async def ask(self, request: RolloutRequest) -> tuple[Rollout, ...]:
        """Return the rollouts of one request.

        Raises:
            ProblemInputError: if the engine raises it.
            RequestFailedError: if the engine failed at this request.
            EngineFailedError: if it keeps failing.
        """
        pause = self._tolerance.pause_seconds
        for attempt in range(1, self._tolerance.request_attempts + 1):
            try:
                rollouts = await self._send(request)
            except ProblemInputError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever an engine raises is its fault, and must be told apart)
                may_pass = isinstance(error, (EngineUnavailableError, ConnectionError, TimeoutError))
                if not may_pass or attempt == self._tolerance.request_attempts:
                    raise self._failure(request, error, attempt) from error
                self.num_retries += 1
                await asyncio.sleep(min(pause, _MAX_PAUSE_SECONDS))
                pause *= 2
            else:
                self._failed_problems.clear()
                self._on_answer(rollouts)
                return rollouts
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, request: RolloutRequest) -> tuple[Rollout, ...]:
        answers = await self._engine.generate([request])
        if [len(rollouts) for rollouts in answers] != [request.num_samples]:
            raise ValueError(
                f"asked for {request.num_samples} rollouts of one request and got {[len(a) for a in answers]}; an "
                "engine answers every request in full"
            )
        return tuple(_well_formed(rollout) for rollout in answers[0])

    def _failure(self, request: RolloutRequest, error: Exception, num_attempts: int) -> Exception:
        """The error to raise: of the problem, or of the run."""
        if request.problem.id not in self._failed_before:
            self._failed_problems.add(request.problem.id)
        reason = f"{type(error).__name__}: {error}"
        if len(self._failed_problems) >= self._tolerance.max_engine_failures:
            return EngineFailedError(
                f"The engine failed for {len(self._failed_problems)} problems with no answer in between, last with "
                f"{reason} (attempt {num_attempts}). All its answers are kept: repair the engine, then start the same "
                "run again."
            )
        return RequestFailedError(f"The engine failed at a request of this problem, attempt {num_attempts}: {reason}")


def _well_formed(rollout: Rollout) -> Rollout:
    """A rollout that UTF-8 can hold: halves of surrogate pairs, where a server cut its JSON, become U+FFFD."""
    try:
        "".join((*rollout.steps, rollout.answer or "", rollout.text)).encode("utf-8")
    except UnicodeEncodeError:
        answer = None if rollout.answer is None else _repaired(rollout.answer)
        steps = tuple(map(_repaired, rollout.steps))
        return dataclasses.replace(rollout, steps=steps, answer=answer, text=_repaired(rollout.text))
    return rollout


def _repaired(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
