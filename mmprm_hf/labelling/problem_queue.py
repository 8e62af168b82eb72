"""Which problems of a run need a search: known by content, each content once, finished ones passed over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ..data import Problem
from ..errors import ProblemInputError
from ..rows import problem_key
from .progress import Progress
from .run_folder import RunFolder

logger = logging.getLogger(__name__)


class ProblemQueue:
    """Hands out problems one by one, in their order, when they are needed.

    Problems that equal an earlier one, and those whose tree is in the folder, are counted and passed over.

    Args:
        problems: Problems with distinct ids.
        folder: The run folder.
        progress: Is told of problems that are passed over.
        on_unreadable: Called with a problem whose figure cannot be read, and the error.
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        folder: RunFolder,
        progress: Progress,
        on_unreadable: Callable[[Problem, Exception], None],
    ) -> None:
        self._folder, self._progress, self._on_unreadable = folder, progress, on_unreadable
        self._problems = iter(problems)
        self.keys: dict[str, str | None] = {}  # by problem id, in order; None if a figure cannot be read
        self._first_ids: dict[str, str] = {}  # by key, of equal problems the first one's
        self.num_resumed = self.num_duplicates = 0
        self._taking = asyncio.Lock()

    @property
    def distinct_keys(self) -> Collection[str]:
        """Keys of the distinct problems that were handed out or passed over, in order."""
        return self._first_ids.keys()

    async def take(self) -> Problem | None:
        """Return the next problem that needs a search, None after the last one.

        Raises:
            ValueError: if its id was there before.
        """
        async with self._taking:  # in order, so that the first of equal problems is labelled
            while True:
                problem, key, error = await asyncio.to_thread(_next_with_key, self._problems)  # decodes figures
                if problem is None:
                    return None
                if problem.id in self.keys:
                    raise _repeated_id(problem.id)
                self.keys[problem.id] = key
                if key is None:
                    self._on_unreadable(problem, error)
                elif self._needs_search(problem, key):
                    return problem

    def _needs_search(self, problem: Problem, key: str) -> bool:
        if key in self._first_ids:
            self.num_duplicates += 1
            self._progress.skip()
            logger.info("Problem %s equals %s: labelled once.", problem.id, self._first_ids[key])
            return False
        self._first_ids[key] = problem.id
        if key in self._folder.trees:
            self.num_resumed += 1
            self._progress.skip()
            self._folder.journal_path(key).unlink(missing_ok=True)  # a kill came between tree and deletion
            return False
        return True


def check_distinct_ids(problems: Iterable[Problem]) -> None:
    """Raise a ValueError if ids of a sequence repeat, before anything is paid for; an iterator is left alone."""
    ids: set[str] = set()
    for problem in problems if isinstance(problems, Sequence) else ():
        if problem.id in ids:
            raise _repeated_id(problem.id)
        ids.add(problem.id)


def _repeated_id(problem_id: str) -> ValueError:
    return ValueError(
        f"Problem id {problem_id!r} appears twice. Trees name their problem by id; make the ids distinct."
    )


def _next_with_key(problems: Iterator[Problem]) -> tuple[Problem | None, str | None, Exception | None]:
    """The next problem with its key, or with what is wrong with its figures."""
    problem = next(problems, None)
    if problem is None:
        return None, None, None
    try:
        return problem, problem_key(problem), None
    except Exception as error:  # noqa: BLE001 (recorded like a failed search: one odd file must not end a long run)
        return problem, None, ProblemInputError(problem.id, str(error))
