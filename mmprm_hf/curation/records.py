"""A raw problem on its way through the rules. Standard library only."""

from __future__ import annotations

import dataclasses
import string
from typing import Any

Failure = tuple[str, str]
"""Why a row is dropped: the name of a criterion, and what was seen."""


class RowError(ValueError):
    """A row that gives no problem; it is dropped under a criterion, with what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True)
class RawProblem:
    """What an adapter reads from a row; None is what the source does not have."""

    id: str
    question: str
    answer: str  # "" where a benchmark hides it
    images: tuple[Any, ...] = ()  # in reading order, not decoded
    options: tuple[str, ...] = ()  # in letter order; empty for a free answer
    subject: str | None = None
    grade: int | None = None
    license: str | None = None
    split_group: str | None = None
    repairs: tuple[str, ...] = ()  # names in `repairs.REPAIRS`

    @property
    def letters(self) -> str:
        """The letters of the options: "ABC" for three."""
        return string.ascii_uppercase[: len(self.options)]

    def option(self, letter: str) -> str | None:
        """Return the text of the option with this letter; None if there is no such option."""
        is_letter = len(letter) == 1 and letter in self.letters
        return self.options[self.letters.index(letter)] if is_letter else None
