"""The problems of a file or a dataset, each read when it is asked for; figures stay as bytes or paths until then."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence

from ..data import Problem
from ..models import split_question
from .cells import is_absent
from .figure_rules import FigureRules
from .problem_rows import problem_from_row
from .raw_rows import RawRows


class ProblemSource(Sequence[Problem]):
    """The first problems of a file or dataset in MM-K12's schema; reading a row that is not a problem is a ValueError.

    Args:
        data: Whatever `RawRows` opens.
        num_problems: The most problems; None takes all.
        split: Split of a dataset.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Raises:
        ValueError: if there is no column with questions, or no row.

    Attributes:
        ids: The problems' ids, read without their figures; a row without one has its index.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        num_problems: int | None = None,
        split: str = "train",
        rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
        columns: Mapping[str, str] | None = None,
    ) -> None:
        self._rows = RawRows(data, split, num_rows=num_problems, rules=rules, columns=columns)
        self._rows.need("question", "text")
        ids = self._rows.column("id") if "id" in self._rows.columns else [None] * len(self._rows)
        self.ids = [str(index if is_absent(row_id) else row_id) for index, row_id in enumerate(ids)]

        self._indices: Sequence[int] = range(len(self._rows))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Problem:
        return problem_from_row({**self._rows[self._indices[index]], "id": self.ids[index]})

    def readable(self) -> tuple[ProblemSource, dict[str, str]]:
        """Return the source without the rows that are not problems, and by id why each of those is not.

        A row whose placeholders and figures do not go together is none of them.
        """
        faults: dict[str, str] = {}
        kept = []
        for index in range(len(self)):
            try:
                problem = self[index]
                split_question(problem.question, len(problem.images))
            except ValueError as error:
                faults[self.ids[index]] = str(error)
            else:
                kept.append(index)
        source = copy.copy(self)
        source._indices, source.ids = [self._indices[i] for i in kept], [self.ids[i] for i in kept]
        return source, faults
