"""The problems of a file or a dataset, each read when it is asked for; figures stay as bytes or paths until then."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..data import Problem
from .problem_rows import problem_from_row
from .raw_rows import RawRows


class ProblemSource(Sequence[Problem]):
    """The first problems of a file or dataset in MM-K12's schema; reading a row that is not a problem is a ValueError.

    Args:
        data: Whatever `RawRows` opens.
        num_problems: The most problems; None takes all.
        split: Split of a dataset.

    Attributes:
        ids: The problems' ids, read without their figures; a row without one has its index.
    """

    def __init__(self, data: str | os.PathLike[str], num_problems: int | None = None, split: str = "train") -> None:
        self._rows = RawRows(data, split, num_rows=num_problems)
        ids = self._rows.column("id") if "id" in self._rows.columns else [None] * len(self._rows)
        self.ids = [str(index if row_id is None else row_id) for index, row_id in enumerate(ids)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Problem:
        return problem_from_row({**self._rows[index], "id": self.ids[index]})
