"""The rows of a run and their outcomes. Standard library only."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..rows import FigureRules, RawRows, is_absent, row_images, text_cell, texts_cell
from .checks import Rejection


@dataclasses.dataclass(frozen=True)
class FreeFormRow:
    """A problem and a solution in free form, either of which may be blank.

    Args:
        id, question, answer, answer_type, options: See `Problem`.
        images: Figures: paths, Pillow images, or the {"bytes", "path"} form of `datasets`.
        solution: The free-form solution.
    """

    id: str
    question: str
    solution: str
    images: tuple[Any, ...] = ()
    answer: str | None = None
    answer_type: str = "text"
    options: tuple[str, ...] = ()


class FreeFormRows(Sequence[FreeFormRow]):
    """The first rows of a file or dataset in MM-K12's schema with a column `solution`, each read when it is asked for.

    Figures keep their bytes; a row without an id has its index.

    Args:
        data: Whatever `RawRows` opens.
        num_rows: The most rows; None takes all.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Raises:
        ValueError: if there is no column `question` or `solution`.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        num_rows: int | None = None,
        rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
        columns: Mapping[str, str] | None = None,
    ) -> None:
        self._rows = RawRows(data, num_rows=num_rows, rules=rules, columns=columns)
        self._rows.need("question")
        self._rows.need("solution")

    def __len__(self) -> int:
        return len(self._rows)

    def row_id(self, index: int) -> str:
        """Return the id of a row, also of one that cannot be read; its index if it has none."""
        value = self._rows.written(index).get("id")
        return str(index if is_absent(value) else value)

    def __getitem__(self, index: int) -> FreeFormRow:
        row = self._rows[index]
        try:
            return FreeFormRow(
                id=self.row_id(index),
                question=text_cell(row, "question") or "",
                solution=text_cell(row, "solution") or "",
                images=tuple(row_images(row)),
                answer=text_cell(row, "answer"),
                answer_type=text_cell(row, "answer_type") or "text",
                options=texts_cell(row, "options"),
            )
        except ValueError as error:
            raise ValueError(f"Row {index} {error}") from error


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one row.

    Args:
        rejection: None if a reply was accepted; otherwise why the first (greedy) one was not.
        reply_key: Key of the accepted reply in the journal.
        has_figure: True if the row has figures.
        has_inner_figure: True if an accepted row has one behind text of its question.
        num_attempts: Number of replies.
        num_steps: Steps of the accepted reply, else 0.
        steps_hash: Hash of the accepted reply's steps and answer, else "".
        tokens_in, tokens_out: Tokens of all its replies, of earlier runs too.
    """

    rejection: Rejection | None
    reply_key: str = ""
    has_figure: bool = False
    num_attempts: int = 0
    num_steps: int = 0
    steps_hash: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    has_inner_figure: bool = False
