"""Every way in which a run can fail, each with who is at fault and what becomes of the work done so far.

| error | at fault | what follows |
| --- | --- | --- |
| `UnknownNameError` | a name the user gave | nothing was done |
| `SettingsDifferError`, `FolderInUseError` | the choice of output folder | nothing was done |
| `CheckpointError` | a checkpoint the user named | nothing was done |
| `ProblemInputError` | one problem | the others continue |
| `RequestRefusedError` | one request to a server | the others continue |
| `EngineUnavailableError`, `RunStoppedError` | server, disk, too many failures | the run stops, resumable |

A batch in which one item may be at fault goes through `each_or_error`. Standard library only.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_LISTED = 16  # names that a message lists beside close matches


class UnknownNameError(ValueError):
    """An unknown name; the message lists close matches, and all known names if there are few.

    Args:
        what: What the name names, such as "aggregation".
        name: The name as it was given.
        known: The names there are.
        where: Words for where it was found, such as " in prm.yaml".
    """

    def __init__(self, what: str, name: object, known: Iterable[str], where: str = "") -> None:
        self.what, self.name, self.known, self.where = what, str(name), list(known), where
        super().__init__(self.message())

    def message(self, more_known: Iterable[str] = ()) -> str:
        """The message if the names of `more_known` are known as well."""
        known = list(dict.fromkeys([*self.known, *more_known]))
        matches = difflib.get_close_matches(self.name, known, n=3, cutoff=0.6)
        hints = [f"Did you mean {' or '.join(map(repr, matches))}?"] if matches else []
        if not matches or len(known) <= _MAX_LISTED:
            hints.append(f"Choose one of {', '.join(known)}.")
        return f"Unknown {self.what} {self.name!r}{self.where}. {' '.join(hints)}"


class SettingsDifferError(ValueError):
    """An output folder was made with other settings, so that old and new results would not belong together."""


class FolderInUseError(ValueError):
    """Another process is writing to the same folder."""


class CheckpointError(ValueError):
    """A checkpoint is missing, broken, or not what was asked for."""


class ProblemInputError(ValueError):
    """One problem cannot be shown to a model (missing or corrupt figure, or one without a place; control token).

    Args:
        problem_id: The problem at fault; the others of the same call are not.
        reason: What was found, the rule and the remedy.
    """

    def __init__(self, problem_id: str, reason: str) -> None:
        super().__init__(f"Problem {problem_id!r}: {reason}")
        self.problem_id = problem_id


class RequestRefusedError(ValueError):
    """A server that works refuses this one request (HTTP 400, 413 or 422).

    Args:
        status: The HTTP status.
        message: What the server says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The server refused the request with HTTP {status}: {message}")
        self.status, self.message = status, message


class EngineUnavailableError(RuntimeError):
    """The engine itself failed (server gone, retries used up, out of memory): no problem is at fault.

    A run stops, keeps what it has, and resumes from there when it is started again.
    """


class RunStoppedError(RuntimeError):
    """The run cannot continue; what it has paid for is kept, and starting the same run again resumes it."""


class StorageFailedError(RunStoppedError):
    """A file of the run could not be written (disk full, quota, permissions)."""


def check_values(config: object, **rules: tuple[bool, str]) -> None:
    """Raise a ValueError that names the first option whose value breaks its rule.

    Args:
        config: The object that holds the options.
        rules: By option, whether its value is allowed, and the rule in words, such as "at least 1".
    """
    for name, (is_allowed, rule) in rules.items():
        if not is_allowed:
            raise ValueError(f"Found {name}={getattr(config, name)!r} in {type(config).__name__}; it must be {rule}.")


def is_number(value: object) -> bool:
    """Whether a value is a number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


MAX_COUNT = 100_000
"""The most of anything that is drawn, kept or run at a time for one problem; more is a slip of the pen."""
MAX_NEW_TOKENS = 1_000_000
COUNT_RULE = f"a whole number, at least 1 and at most {MAX_COUNT}"
TOKENS_RULE = f"a whole number, at least 1 and at most {MAX_NEW_TOKENS}"


def is_count(value: object, most: int | None = None) -> bool:
    """Whether a value is a whole number, at least 1 and at most `most`; True is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (most is None or value <= most)


@contextlib.contextmanager
def loading(kind: str, name: object) -> Iterator[None]:
    """Turn whatever loading a checkpoint raises into one sentence that names it.

    Args:
        kind: What is loaded, such as "PRM".
        name: The path or hub id that was given.

    Raises:
        CheckpointError: for any failure but one that is our own sentence about this checkpoint already.

    Example:
        >>> try:
        ...     with loading("PRM", "no/such"):
        ...         raise OSError("it is not there")
        ... except CheckpointError as error:
        ...     print(str(error).split(":")[0])
        The PRM 'no/such' cannot be loaded
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 (a broken checkpoint raises anything)
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if isinstance(error, MemoryError) or (isinstance(error, ValueError) and repr(str(name)) in str(error)):
            raise
        absent = "" if os.path.exists(str(name)) else "it is not a folder here, and the Hub does not give it: "
        raise CheckpointError(
            f"The {kind} {str(name)!r} cannot be loaded: {absent}{reason.rstrip('.'):.300}. Give the folder or "
            f"hub id of a whole checkpoint of a {kind}."
        ) from error


def each_or_error(
    call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | ValueError]:
    """Return the results of ``call(items)``; where that is a ValueError, of each item alone, or its own error.

    So one bad item costs only itself. Any other exception passes.

    Args:
        call: Takes items and returns one result per item, in their order.
        items: Maybe none; then nothing is called.

    Example:
        >>> def halves(numbers):
        ...     if any(number % 2 for number in numbers):
        ...         raise ValueError("odd")
        ...     return [number // 2 for number in numbers]
        >>> each_or_error(halves, [4, 3, 2])
        [2, ValueError('odd'), 1]
    """
    if not items:
        return []
    try:
        return list(call(items))
    except ValueError as error:
        if len(items) == 1:
            return [error]
    return [result for item in items for result in each_or_error(call, [item])]
