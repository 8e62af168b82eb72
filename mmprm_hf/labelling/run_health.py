"""When a run must stop: too much is undecided, a judge is gone, or nothing gives a tree. Failure never becomes data.

`driver` records single failed problems; this module judges the run as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..data import Rollout, SearchTree
from ..errors import EngineUnavailableError
from ..steps import fault_words
from .failures import (
    EngineFailedError,
    JudgeSilentError,
    NothingLabelledError,
    ProblemUndecidedError,
    RequestFailedError,
    TooManyUndecidedError,
    undecided_counts,
)
from .journal import ProblemJournal
from .run_folder import RunFolder

# During the run, shares of fewer than this many are not judged; at its end all are.
_MIN_FOR_SHARE = 200
# The run stops at this many failed problems without one tree (failed requests apart): they share a fault.
MAX_FAILURES_BEFORE_TREE = 20
_MAX_EXAMPLE_CHARS = 300


class _UndecidedShare:
    """Sums of what is undecided and of all, over problems; a problem that is counted again replaces its counts."""

    def __init__(self) -> None:
        self.num_undecided = self.num_in_all = 0
        self._counts: dict[str, tuple[int, int]] = {}

    def count(self, key: str, num_undecided: int, num_in_all: int) -> None:
        before = self._counts.get(key, (0, 0))
        self._counts[key] = (num_undecided, num_in_all)
        self.num_undecided += num_undecided - before[0]
        self.num_in_all += num_in_all - before[1]

    def is_above(self, limit: float, min_in_all: int) -> bool:
        return self.num_in_all >= min_in_all and self.num_undecided > limit * self.num_in_all


class RunHealth:
    """Counts what is undecided and what failed, and raises when the run should stop.

    Args:
        folder: The run folder, whose trees and costs of earlier sessions count too.
        max_undecided: The share that may be undecided.
        max_judge_failures: The most problems in a row that may fail because a judge's server is gone.
    """

    def __init__(self, folder: RunFolder, max_undecided: float, max_judge_failures: int) -> None:
        self._max_undecided, self._max_judge_failures = max_undecided, max_judge_failures
        self._has_tree = bool(folder.trees)
        self._rollouts = _UndecidedShare()  # complete ones, by the verifier
        self._solutions = _UndecidedShare()  # by the step judge
        for key, facts in folder.trees.items():
            self._rollouts.count(key, facts.num_undecided, facts.num_complete)
        for key, cost in folder.costs.items():
            self._count_solutions(key, cost)
        self._errors: dict[str, Exception] = {}  # the last one by problem id
        self._num_judge_failures = 0  # without a tree in between
        self._num_incomplete = 0
        self._faults: Counter[str] = Counter()  # of incomplete rollouts
        self._incomplete_example: Rollout | None = None
        self._undecided_example: str | None = None

    def check_problem(self, problem_id: str, tree: SearchTree, costs: Mapping[str, int]) -> None:
        """Check one searched problem: if too much of it is undecided, it must not give a tree.

        Raises:
            ProblemUndecidedError: if too many of its rollouts have no verdict.
            JudgeSilentError: if the step judge gave no verdict on most of its solutions.
        """
        num_complete = tree.num_rollouts - tree.num_incomplete
        if tree.num_undecided > self._max_undecided * num_complete:
            raise ProblemUndecidedError(problem_id, tree.num_undecided, num_complete, self._max_undecided)
        num_undecided, num_judged = costs["num_solutions_undecided"], costs["num_solutions_judged"]
        if num_undecided > max(self._max_undecided, 0.5) * num_judged:
            raise JudgeSilentError(
                f"Problem {problem_id!r}: the step judge gave no verdict on {num_undecided} of {num_judged} solutions. "
                "The next run asks it again; look at its replies if that does not help."
            )

    def add_tree(self, tree: SearchTree, cost: Mapping[str, Any]) -> None:
        """Count a tree with its ledger row; raise as `check_shares`."""
        self._has_tree, self._num_judge_failures = True, 0
        self._rollouts.count(cost["problem_key"], tree.num_undecided, tree.num_rollouts - tree.num_incomplete)
        self._count_solutions(cost["problem_key"], cost)
        self.check_shares(_MIN_FOR_SHARE)

    def add_failure(self, problem_id: str, key: str | None, error: Exception, journal: ProblemJournal | None) -> None:
        """Count a problem without a tree; key and journal are None if its figure could not be read.

        Raises:
            EngineFailedError: if many problems in a row failed because a judge's server is gone.
            TooManyUndecidedError: if the run's share is too large.
            NothingLabelledError: if many problems failed and none gave a tree.
        """
        if isinstance(error, EngineUnavailableError):  # a judge's: the engine's own failures are told apart
            self._num_judge_failures += 1
            if self._num_judge_failures >= self._max_judge_failures:
                raise EngineFailedError(
                    f"{self._num_judge_failures} problems failed with no tree in between, last with {error} Start the "
                    "run again when the server is back: no rollout is paid for twice."
                ) from error
        self._errors[problem_id] = error
        if journal is not None:
            self._num_incomplete += journal.costs["num_incomplete"]
            self._faults.update(journal.faults)
            self._incomplete_example = self._incomplete_example or journal.incomplete_example
            self._undecided_example = self._undecided_example or journal.undecided_example
        if key is not None:
            self._rollouts.count(key, *undecided_counts(error))
            self._check_rollouts(_MIN_FOR_SHARE)
        num_failed = sum(not isinstance(error, RequestFailedError) for error in self._errors.values())
        if not self._has_tree and num_failed >= MAX_FAILURES_BEFORE_TREE:
            raise self.nothing_labelled()

    def check_shares(self, min_in_all: int = 1) -> None:
        """Check the undecided shares of the run: of rollouts, and of solutions that a step judge looked at.

        Raises:
            TooManyUndecidedError: if one is too large, and of at least `min_in_all`.
        """
        self._check_rollouts(min_in_all)
        if self._solutions.is_above(self._max_undecided, min_in_all):
            raise TooManyUndecidedError(
                f"The step judge gave no verdict on {self._solutions.num_undecided} of {self._solutions.num_in_all} "
                f"solutions, above max_undecided={self._max_undecided}: its labels would be unchecked. Look at its "
                "replies. A judge with more tokens, or another model, needs an output folder of its own; with a higher "
                "max_undecided this run can be resumed."
            )

    def _check_rollouts(self, min_in_all: int) -> None:
        if self._rollouts.is_above(self._max_undecided, min_in_all):
            raise TooManyUndecidedError(
                f"{self._rollouts.num_undecided} of {self._rollouts.num_in_all} complete rollouts have no verdict, "
                f"above max_undecided={self._max_undecided}. Labels from the rest would be a biased choice; check the "
                f"verifier and the gold answers (reasons in failures.jsonl{self._undecided_words()}), or raise "
                "max_undecided, then start the run again: no rollout is paid for twice."
            )

    def nothing_labelled(self) -> NothingLabelledError:
        """Return the error that explains why no problem gave a tree: reasons counted, with an example of each."""
        examples = {type(error).__name__: error for error in reversed(self._errors.values())}
        counts = Counter(type(error).__name__ for error in self._errors.values())
        num_undecided = sum(undecided_counts(error)[0] for error in self._errors.values())
        faults = f" ({fault_words(self._faults)})" if self._faults else ""
        parts = [
            f"None of {len(self._errors)} problems gave a tree "
            f"({', '.join(f'{count} x {name}' for name, count in counts.most_common())}); of their rollouts "
            f"{self._num_incomplete} are incomplete{faults} and {num_undecided} undecided{self._undecided_words()}."
        ]
        if self._incomplete_example is not None:
            text, reason = _shortened(self._incomplete_example.text), self._incomplete_example.finish_reason
            parts.append(f"An incomplete rollout (finish reason {reason!r}): {text!r}.")
        parts += [f"{name}: {_shortened(str(examples[name]))}" for name, _ in counts.most_common()]
        parts.append("Correct what they share, then start the run again: no rollout is paid for twice.")
        return NothingLabelledError(" ".join(parts))

    def _count_solutions(self, key: str, cost: Mapping[str, Any]) -> None:
        self._solutions.count(key, cost.get("num_solutions_undecided", 0), cost.get("num_solutions_judged", 0))

    def _undecided_words(self) -> str:
        example = self._undecided_example
        return "" if example is None else f"; an undecided answer: {_shortened(example)!r}"


def _shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= _MAX_EXAMPLE_CHARS:
        return text
    half = _MAX_EXAMPLE_CHARS // 2
    return f"{text[:half]} ... {text[-half:]}"
