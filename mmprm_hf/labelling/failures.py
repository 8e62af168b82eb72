"""Every way in which a labelling run, or one of its problems, can fail.

A `RunStoppedError` stops the run, which can be resumed. Any other error costs its problem: it is recorded by name in
`failures.jsonl` and the ledger, and the next run tries it again. Failure never becomes data.
"""

from __future__ import annotations

from ..errors import RunStoppedError


class EngineFailedError(RunStoppedError):
    """The engine, or the server of a judge, failed for several problems without an answer in between."""


class TooManyUndecidedError(RunStoppedError):
    """More is undecided than the run allows: labels from the rest would be a biased choice."""


class NothingLabelledError(RunStoppedError):
    """Not a single problem gave a tree."""


class RequestFailedError(RuntimeError):
    """The engine failed at one request, also when it was repeated; its problem is tried again at the end of the run."""


class JudgeSilentError(RuntimeError):
    """A step judge gave no verdict on most solutions of one problem."""


class UndecidedAnswerError(RuntimeError):
    """A verdict is missing. Published MM-PRM counts such an answer as wrong; here the problem fails instead."""


class NothingJudgedError(RuntimeError):
    """Not a single rollout from the start of the problem could be judged, so that nothing is known of it.

    Args:
        problem_id: The problem.
        num_undecided: Complete rollouts without a verdict.
        num_incomplete: Rollouts that were cut or malformed.
        sample: Text of an incomplete rollout, "" if there is none.
    """

    def __init__(self, problem_id: str, num_undecided: int, num_incomplete: int, sample: str = "") -> None:
        example = f" One of them: {sample[:200]!r}." if sample else ""
        super().__init__(
            f"Problem {problem_id!r}: none of the {num_undecided + num_incomplete} rollouts from the start could be "
            f"judged ({num_undecided} undecided, {num_incomplete} incomplete).{example} A search needs at least one "
            "decided rollout; check the gold answer, the verifier, `max_new_tokens` and the policy's step format."
        )
        self.num_undecided = self.num_complete = num_undecided


class ProblemUndecidedError(RuntimeError):
    """Too large a share of one problem's rollouts has no verdict.

    Args:
        problem_id: The problem.
        num_undecided, num_complete: Its complete rollouts without a verdict, and all of them.
        max_undecided: The share that is allowed.
    """

    def __init__(self, problem_id: str, num_undecided: int, num_complete: int, max_undecided: float) -> None:
        super().__init__(
            f"Problem {problem_id!r}: {num_undecided} of {num_complete} complete rollouts have no verdict, above "
            f"max_undecided={max_undecided}. Labels from the rest would be a biased choice; check its gold answer and "
            "the verifier."
        )
        self.num_undecided, self.num_complete = num_undecided, num_complete


def undecided_counts(error: Exception) -> tuple[int, int]:
    """Return a failed problem's complete rollouts without a verdict, and all of them; zeros if it failed otherwise."""
    if isinstance(error, (NothingJudgedError, ProblemUndecidedError)):
        return error.num_undecided, error.num_complete
    return 0, 0
