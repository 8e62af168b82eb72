"""When a run must stop: too much is undecided, or nothing gives a tree. Failure never becomes data.

Counts come from `driver`, which also records single failed problems; here only the run as a whole is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..data import Rollout
from ..errors import RunStoppedError
from .engine_gate import RequestFailedError
from .journal import ProblemJournal
from .omegaprm import NothingJudgedError

# The share of undecided rollouts is not judged on fewer than this while the run goes on (it is at its end).
MIN_FOR_SHARE = 200
# So many problems without one tree (an engine's faults apart), and the run stops: something is wrong in all of them.
MAX_FAILURES_BEFORE_TREE = 20
_MAX_SAMPLE_CHARS = 300


class TooManyUndecidedError(RunStoppedError):
    """The verifier leaves more undecided than the run allows: labels from the rest would be a biased choice."""


class NothingLabelledError(RunStoppedError):
    """Not one problem gave a tree."""


class JudgeSilentError(RuntimeError):
    """A step judge said nothing on most solutions of one problem: it gets no tree, and is judged again next time."""


class ProblemUndecidedError(RuntimeError):
    """Too large a share of one problem's rollouts has no verdict: it gets no tree, and is tried again by the next run.

    Args:
        problem_id: The problem.
        num_undecided, num_complete: Its complete rollouts without a verdict, and all of them.
        max_undecided: The share allowed.
    """

    def __init__(self, problem_id: str, num_undecided: int, num_complete: int, max_undecided: float) -> None:
        super().__init__(
            f"Problem {problem_id!r}: {num_undecided} of {num_complete} complete rollouts have no verdict, above "
            f"max_undecided={max_undecided}. Labels from the rest would be a biased choice; check its gold answer and "
            "the verifier."
        )
        self.num_undecided, self.num_complete = num_undecided, num_complete


def undecided_counts(error: Exception) -> tuple[int, int]:
    """``(undecided, complete)`` rollouts of a problem that failed with `error`."""
    if isinstance(error, ProblemUndecidedError):
        return error.num_undecided, error.num_complete
    if isinstance(error, NothingJudgedError):
        return error.num_undecided, error.num_undecided
    return 0, 0


class RunHealth:
    """Counts undecided rollouts and failed problems, and raises when the run should not go on.

    Args:
        shares: ``(undecided, complete)`` rollouts of the folder's trees, by problem key.
        max_undecided: The share allowed.
    """

    def __init__(self, shares: Mapping[str, tuple[int, int]], max_undecided: float) -> None:
        self.max_undecided = max_undecided
        self._has_tree = bool(shares)
        self._shares = dict(shares)
        self._num_undecided = sum(undecided for undecided, _ in shares.values())
        self._num_complete = sum(complete for _, complete in shares.values())
        self._judged: dict[str, tuple[int, int]] = {}  # (left open, all) solutions by problem key
        self._num_judged = self._num_judged_undecided = 0
        self._errors: dict[str, Exception] = {}  # by problem id, the last one
        self._num_incomplete = 0
        self._incomplete: Rollout | None = None
        self._undecided: str | None = None

    def add_tree(self, key: str, num_undecided: int, num_complete: int) -> None:
        """Count a tree.

        Raises:
            TooManyUndecidedError: if the run's share is too large.
        """
        self._has_tree = True
        self._count(key, num_undecided, num_complete)

    def add_failure(self, problem_id: str, key: str | None, error: Exception, journal: ProblemJournal | None) -> None:
        """Count a problem without a tree.

        Raises:
            TooManyUndecidedError: if the run's share is too large.
            NothingLabelledError: if many problems failed and none gave a tree.
        """
        self._errors[problem_id] = error
        if journal is not None:
            self._num_incomplete += journal.costs["num_incomplete"]
            self._incomplete = self._incomplete or journal.incomplete_sample
            self._undecided = self._undecided or journal.undecided_sample
        if key is not None:
            self._count(key, *undecided_counts(error))
        num_failed = sum(not isinstance(error, RequestFailedError) for error in self._errors.values())
        if not self._has_tree and num_failed >= MAX_FAILURES_BEFORE_TREE:
            raise self.nothing_labelled()

    def note_judged(self, key: str, num_undecided: int, num_judged: int) -> None:
        """Count a problem's solutions that a step judge looked at, and those on which it said nothing."""
        before = self._judged.get(key, (0, 0))
        self._judged[key] = (num_undecided, num_judged)
        self._num_judged_undecided += num_undecided - before[0]
        self._num_judged += num_judged - before[1]

    def check_problem_judged(self, problem_id: str, costs: Mapping[str, int]) -> None:
        """Raise if the step judge said nothing on most of a problem's solutions: it is judged again by the next run.

        Raises:
            JudgeSilentError: if that is the case, and more than `max_undecided`.
        """
        num_undecided, num_judged = costs["num_solutions_undecided"], costs["num_solutions_judged"]
        if num_undecided > max(self.max_undecided, 0.5) * num_judged:
            raise JudgeSilentError(
                f"Problem {problem_id!r}: the step judge said nothing on {num_undecided} of {num_judged} solutions."
            )

    def check_judged(self, min_solutions: int = 1) -> None:
        """Raise if the step judge said nothing on too large a share of at least `min_solutions` solutions."""
        num_judged, num_undecided = self._num_judged, self._num_judged_undecided
        if num_judged >= min_solutions and num_undecided > self.max_undecided * num_judged:
            raise TooManyUndecidedError(
                f"The step judge said nothing on {num_undecided} of {num_judged} solutions, above "
                f"max_undecided={self.max_undecided}: its labels would be unchecked. Look at its replies. A "
                "judge with more tokens or another model makes another run, in a folder of its own; with max_undecided "
                "raised this one goes on."
            )

    def check_undecided(self, min_rollouts: int = 1) -> None:
        """Raise if too large a share of at least `min_rollouts` complete rollouts has no verdict."""
        if self._num_complete >= min_rollouts and self._num_undecided > self.max_undecided * self._num_complete:
            raise TooManyUndecidedError(
                f"{self._num_undecided} of {self._num_complete} complete rollouts have no verdict, above "
                f"max_undecided={self.max_undecided}. Labels from the rest would be a biased choice; check the "
                f"verifier and the gold answers (reasons in failures.jsonl{self._undecided_example()}), or raise "
                "max_undecided, then start the run again: no rollout is paid for twice."
            )

    def nothing_labelled(self) -> NothingLabelledError:
        """The error that says why no problem gave a tree: reasons counted, with an example of each."""
        examples = {type(error).__name__: error for error in reversed(self._errors.values())}
        counts = Counter(type(error).__name__ for error in self._errors.values())
        num_undecided = sum(undecided_counts(error)[0] for error in self._errors.values())
        parts = [
            f"None of {len(self._errors)} problems gave a tree "
            f"({', '.join(f'{count} x {name}' for name, count in counts.most_common())}); of their rollouts "
            f"{self._num_incomplete} are incomplete and {num_undecided} undecided{self._undecided_example()}."
        ]
        if self._incomplete is not None:
            text, reason = _shortened(self._incomplete.text), self._incomplete.finish_reason
            parts.append(f"An incomplete rollout (finish reason {reason!r}): {text!r}.")
        parts += [f"{name}: {_shortened(str(examples[name]))}" for name, _ in counts.most_common()]
        parts.append("Correct what they share, then start the run again: no rollout is paid for twice.")
        return NothingLabelledError(" ".join(parts))

    def _count(self, key: str, num_undecided: int, num_complete: int) -> None:
        before = self._shares.get(key, (0, 0))
        self._shares[key] = (num_undecided, num_complete)
        self._num_undecided += num_undecided - before[0]
        self._num_complete += num_complete - before[1]
        self.check_undecided(MIN_FOR_SHARE)

    def _undecided_example(self) -> str:
        return "" if self._undecided is None else f"; an undecided answer: {_shortened(self._undecided)!r}"


def _shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= _MAX_SAMPLE_CHARS:
        return text
    half = _MAX_SAMPLE_CHARS // 2
    return f"{text[:half]} ... {text[-half:]}"
