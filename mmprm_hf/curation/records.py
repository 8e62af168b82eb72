"""A raw problem on its way through the rules. Standard library only."""

from __future__ import annotations

import dataclasses
from typing import Any


class RowError(ValueError):
    """A row that gives no problem; it is dropped under `reason`.

    Args:
        reason: A name of `criteria.CRITERIA`.
        detail: What was seen.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True)
class RawProblem:
    """What an adapter reads of a row; texts as the source has them.

    Args:
        id: As the source has it.
        question, answer: Texts.
        images: Undecoded figures in reading order.
        options: Choices in letter order.
        subject, grade, license, split_group: As the source tells, None where it does not.
        repairs: Names of `repairs.REPAIRS` that were made.
    """

    id: str
    question: str
    answer: str
    images: tuple[Any, ...] = ()
    options: tuple[str, ...] = ()
    subject: str | None = None
    grade: int | None = None
    license: str | None = None
    split_group: str | None = None
    repairs: tuple[str, ...] = ()


__all__ = ["RawProblem", "RowError"]
