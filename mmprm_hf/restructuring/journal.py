"""The replies of a run, by what was asked: a killed run loses those in flight and no others.

Replies are kept as they came, before any check, so that other thresholds cost nothing. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from pathlib import Path

from ..files import append_line, lock_folder, open_log, read_lines, sealed

notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


@dataclasses.dataclass(frozen=True)
class Reply:
    """One reply: its text, "stop" or "length", and the tokens read and written (0 where the server does not report)."""

    text: str
    finish_reason: str
    tokens_in: int = 0
    tokens_out: int = 0


class ReplyJournal:
    """An append-only JSON-lines file of replies, of which only the positions are held in memory.

    Leave its `with` block to release the file and its folder.

    Args:
        path: Made if absent; a torn last line is cut off.

    Attributes:
        asked_now: Counts of this run's own replies: ``num_replies``, ``tokens_in``, ``tokens_out``.

    Raises:
        FolderInUseError: if another process writes to the folder.
        ValueError: if a line is not JSON, or was changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked_now = {"num_replies": 0, "tokens_in": 0, "tokens_out": 0}
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock_folder(path.parent))
            open_log(path)
            rows = read_lines(path, ("key", "text", "finish_reason"))
            self._positions = {row["key"]: (start, length) for start, length, row in rows}
            if self._positions:
                notes.info("Resuming: the %d replies in %s are not asked for again.", len(self._positions), path)
            self._file = stack.enter_context(path.open("rb"))
            self._resources = stack.pop_all()

    def __enter__(self) -> ReplyJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def __len__(self) -> int:
        return len(self._positions)

    def get(self, key: str) -> Reply | None:
        """Return the reply to what was asked under `key`; None if it was not asked."""
        if key not in self._positions:
            return None
        start, length = self._positions[key]
        self._file.seek(start)
        row = json.loads(self._file.read(length))
        return Reply(row["text"], row["finish_reason"], row["tokens_in"], row["tokens_out"])

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply for good.

        Raises:
            StorageFailedError: if it cannot be written.
        """
        start = self.path.stat().st_size
        length = append_line(self.path, sealed({"key": key, **dataclasses.asdict(reply)}))
        self._positions[key] = (start, length)
        self.asked_now["num_replies"] += 1
        self.asked_now["tokens_in"] += reply.tokens_in
        self.asked_now["tokens_out"] += reply.tokens_out
