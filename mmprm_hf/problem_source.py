"""The problems of a file, of a dataset, or of the nano world, each read when it is asked for; figures undecoded."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .data import Problem
from .nano.world import problems as nano_problems
from .problem_rows import problem_from_row
from .raw_rows import RawRows

_NANO_SIZES = {"train": 10_000, "test": 500}


class ProblemSource(Sequence[Problem]):
    """The first problems, as a lazy sequence; a row that is no problem is a ValueError when it is asked for.

    Args:
        data: A dataset in MM-K12's schema, a folder or hub id; a ``.jsonl`` file with the same columns, whose figures
            are paths beside it; None for the nano world.
        num_problems: The most problems; None takes all.
        split: Of a dataset or of the nano world.

    Example:
        >>> source = ProblemSource(None, 3)
        >>> len(source), source[0].id == source.ids[0]
        (3, True)
    """

    def __init__(
        self, data: str | os.PathLike[str] | None, num_problems: int | None = None, split: str = "train"
    ) -> None:
        self._nano = None
        if data is None:
            if split not in _NANO_SIZES:
                raise ValueError(f"Found split={split!r} of the nano world. It has {' and '.join(_NANO_SIZES)}.")
            self._nano = nano_problems(split, _NANO_SIZES[split] if num_problems is None else num_problems)
            self.ids = [problem.id for problem in self._nano]
            return
        self._rows = RawRows(data, split, num_rows=num_problems)
        ids = self._rows.column("id") if "id" in self._rows.columns else [None] * len(self._rows)
        self.ids = [str(index if name is None else name) for index, name in enumerate(ids)]

    def __len__(self) -> int:
        return len(self._rows if self._nano is None else self._nano)

    def __getitem__(self, index: int) -> Problem:
        if self._nano is not None:
            return self._nano[index].to_problem()
        return problem_from_row({**self._rows[index], "id": self.ids[index]})


__all__ = ["ProblemSource"]
