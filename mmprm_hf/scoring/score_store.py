"""Stores of step scores, so that no solution is scored twice by the same model.

A key is a hash of everything that a score depends on. A store is in memory, or an append-only JSON-lines file that
survives a crash in the middle of a line. Standard library only.
"""

from __future__ import annotations

import collections
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import is_number
from ..files import append_line, checksum, drop_torn_line, read_lines

logger = logging.getLogger(__name__)


class ScoreStore:
    """Step scores by key.

    Args:
        path: JSON-lines file to read and append to; None keeps scores in memory only.

    Raises:
        ValueError: if a line is not a score, or was changed; a last line that was cut off is dropped.

    Example:
        >>> store = ScoreStore()
        >>> store.put("key", (0.9, 0.2))
        >>> store.get("key"), store.get("other")
        ((0.9, 0.2), None)
    """

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = None if path is None else Path(path)
        self._scores: dict[str, tuple[float, ...]] = {}
        if self.path is None or not self.path.exists():
            return
        if drop_torn_line(self.path):  # the process died while it wrote; the score is computed again
            logger.warning("The last line of %s was cut off; it is dropped.", self.path)
        for _, _, row in read_lines(self.path):
            if not _is_score(row):
                raise ValueError(
                    f"{self.path} contains {str(row)[:60]!r}, which is not a score, or no longer the one that was "
                    "written. Every line is [key, [scores], checksum]: delete the line, or choose another file."
                )
            self._scores[row[0]] = tuple(row[1])

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: str) -> tuple[float, ...] | None:
        """Return the step scores under a key, None if there are none."""
        return self._scores.get(key)

    def put(self, key: str, scores: Sequence[float]) -> None:
        """Store step scores under a key; a key that exists already keeps its scores."""
        if key in self._scores:
            return
        self._scores[key] = tuple(scores)
        if self.path is not None:
            append_line(self.path, [key, list(scores), checksum([key, list(scores)])])


def _is_score(row: Any) -> bool:
    """Whether a line is ``[key, [scores], checksum]``; earlier versions wrote no checksum."""
    if not (isinstance(row, list) and len(row) in (2, 3) and isinstance(row[0], str) and isinstance(row[1], list)):
        return False
    return all(map(is_number, row[1])) and row[2:] in ([], [checksum(row[:2])])


class RecentScores(ScoreStore):
    """A `ScoreStore` in memory that keeps the `max_solutions` most recently used scores."""

    def __init__(self, max_solutions: int):
        super().__init__()
        self.max_solutions = max_solutions
        self._scores = collections.OrderedDict()

    def get(self, key: str) -> tuple[float, ...] | None:
        if key in self._scores:
            self._scores.move_to_end(key)
        return self._scores.get(key)

    def put(self, key: str, scores: Sequence[float]) -> None:
        super().put(key, scores)
        while len(self._scores) > self.max_solutions:
            self._scores.popitem(last=False)
