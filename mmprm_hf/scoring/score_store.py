"""Step scores that are kept, so that no solution is scored twice by the same model.

A key names all that a score depends on (`fingerprints.py`). A store lives in memory, or in an append-only JSON Lines
file that survives a crash in the middle of a line. Standard library only.
"""

from __future__ import annotations

import collections
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ..files import append_line, drop_torn_line, read_lines

logger = logging.getLogger(__name__)


class ScoreStore:
    """Step scores by key.

    Args:
        path: JSON Lines file to read and append to; None keeps scores in memory only.

    Raises:
        ValueError: if a line other than the last is not whole.

    Example:
        >>> store = ScoreStore()
        >>> store.put("key", (0.9, 0.2))
        >>> store.get("key"), store.get("other")
        ((0.9, 0.2), None)
    """

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = None if path is None else Path(path)
        self._scores: dict[str, tuple[float, ...]] = {}
        if self.path is not None and self.path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: str) -> tuple[float, ...] | None:
        """Step scores under a key, None if there are none."""
        return self._scores.get(key)

    def put(self, key: str, scores: Sequence[float]) -> None:
        """Keeps step scores under a key; a key that is there already stays as it is."""
        if key in self._scores:
            return
        self._scores[key] = tuple(scores)
        if self.path is not None:
            append_line(self.path, [key, list(scores)])

    def _read(self) -> None:
        if drop_torn_line(self.path):  # of a process that died while it wrote: the score is computed again
            logger.warning("The last line of %s was cut off; it is dropped.", self.path)
        for _, _, row in read_lines(self.path):
            is_score = isinstance(row, list) and len(row) == 2 and isinstance(row[1], list)
            if not is_score:
                raise ValueError(
                    f"{self.path} holds {str(row)[:60]!r}, which is not a score. Every line is [key, [scores]]; give "
                    "another file."
                )
            self._scores[row[0]] = tuple(row[1])


class RecentScores(ScoreStore):
    """A `ScoreStore` in memory that forgets the scores not asked for the longest."""

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


__all__ = ["RecentScores", "ScoreStore"]
