"""The replies that were paid for, by what was asked: a killed run loses those in flight and no other.

Replies are kept as they came, not what the checks made of them, so that other thresholds cost nothing. Standard
library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from ..files import append_line, drop_torn_line, lock_folder, read_lines


@dataclasses.dataclass(frozen=True)
class Reply:
    """One reply: its text, "stop" or "length", and the tokens read and written (0 where the server does not say)."""

    text: str
    finish_reason: str
    tokens_in: int = 0
    tokens_out: int = 0


class ReplyJournal:
    """An append-only JSON-lines file of replies; close it (or leave its `with` block) to give it back.

    Only where each reply stands is held in memory.

    Args:
        path: Made if absent; a line that a crash tore is cut off.

    Raises:
        FolderInUseError: if another process writes to its folder.
        ValueError: if a line inside is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock_folder(path.parent))
            drop_torn_line(path)
            self._places = {row["key"]: (start, length) for start, length, row in read_lines(path)}
            self._file = stack.enter_context(path.open("rb"))
            self._held = stack.pop_all()
        self.added: list[Reply] = []
        """What this session asked for, without the texts."""

    def __enter__(self) -> ReplyJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Reply | None:
        """The reply to what was asked under `key`, None if it was not asked."""
        place = self._places.get(key)
        if place is None:
            return None
        start, length = place
        self._file.seek(start)
        row = json.loads(self._file.read(length))
        return Reply(row["text"], row["finish_reason"], row["tokens_in"], row["tokens_out"])

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply for good.

        Raises:
            StorageFailedError: if it cannot be written.
        """
        start = self.path.stat().st_size
        length = append_line(self.path, {"key": key, **dataclasses.asdict(reply)})
        self._places[key] = (start, length)
        self.added.append(dataclasses.replace(reply, text=""))
