"""What goes into a run, and what becomes of it. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..rows import row_images
from .checks import Rejection


@dataclasses.dataclass(frozen=True)
class FreeFormRow:
    """One row of the source: a problem and a solution in free form, either of which may turn out blank.

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

    @classmethod
    def from_row(cls, row: Mapping[str, Any], index: int) -> FreeFormRow:
        """A row of MM-K12's schema with a column `solution`; a row without an id has its index."""
        row_id, answer = row.get("id"), row.get("answer")
        return cls(
            id=str(index if row_id is None else row_id),
            question=row.get("question") or "",
            solution=row.get("solution") or "",
            images=tuple(row_images(row)),
            answer=None if answer is None else str(answer),
            answer_type=row.get("answer_type") or "text",
            options=tuple(row.get("options") or ()),
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one row.

    Args:
        rejection: None if a reply was taken; otherwise why the first (greedy) one was not.
        reply_key: The taken reply's key in the journal.
        has_figure: True if the row has figures.
        num_attempts: Replies it took.
        num_steps: Of the taken reply, else 0.
        steps_hash: Of the taken reply's steps and answer, else "".
        tokens_in, tokens_out: Of all its replies, whenever they were paid for.
    """

    rejection: Rejection | None
    reply_key: str = ""
    has_figure: bool = False
    num_attempts: int = 0
    num_steps: int = 0
    steps_hash: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
