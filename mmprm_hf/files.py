"""Result files: JSON and JSON lines, written whole or not at all; and files of runs, to which lines are appended.

Appended lines are whole, or torn at the very end. A process that is killed loses nothing that `append_line` has
returned from: the operating system has it. What must also outlive a power cut asks for `sync`. Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def _replace(path: Path, text: str) -> None:
    """Write `text` beside `path`, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, indented, keys in the given order. NaN and infinities are refused (ValueError)."""
    _replace(path, dump(content, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON document a line. NaN and infinities are refused (ValueError)."""
    _replace(path, "".join(dump(row) + "\n" for row in rows))


def iter_jsonl(path: Path) -> Iterator[Any]:
    """Rows of a JSON-lines file, one at a time.

    Raises:
        ValueError: naming the line that is no JSON.
    """
    # Not str.splitlines: it also breaks lines at U+0085, U+2028 and U+2029, which JSON leaves as they are in texts.
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"Line {number} of {path} is no JSON ({error}). Write the file again.") from error


def read_jsonl(path: Path) -> list[Any]:
    """All rows of a JSON-lines file; see `iter_jsonl`."""
    return list(iter_jsonl(path))


class RunStoppedError(RuntimeError):
    """The run cannot go on; what it has paid for is kept, and the same run started again goes on from there."""


class StorageFailedError(RunStoppedError):
    """A file of the run folder could not be written (disk full, quota, permissions)."""


def dump(row: Any, indent: int | None = None) -> str:
    """JSON text that UTF-8 can hold: a lone surrogate, legal in JSON alone, becomes its escape.

    Raises:
        ValueError: for NaN and infinities.
    """
    text = json.dumps(row, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row, indent=indent, allow_nan=False)
    return text


def append_line(path: Path, *rows: Any, sync: bool = False) -> int:
    """Append rows as JSON lines in one write, and return how many bytes that were.

    Raises:
        StorageFailedError: if they could not be written; a torn line may stay, which reading drops.
    """
    data = "".join(dump(row) + "\n" for row in rows).encode("utf-8")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            rest = data
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageFailedError(
            f"{path.name} could not be written ({error}). Make room or correct the permissions, then start the run "
            "again: it goes on from what is written."
        ) from error
    return len(data)


def drop_torn_line(path: Path) -> None:
    """Cut a last line that an interrupted write left without its end; make the file if absent."""
    path.touch()
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:  # backwards, a block at a time: the file may be large, a line too
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def read_lines(path: Path) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(start, length, row)`` in bytes for each line of a JSON-lines file.

    Raises:
        ValueError: naming the line that is no JSON.
    """
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"Line {number} of {path.name} is no JSON ({error}). Only the last line may be torn; remove the "
                    "broken line and start the run again."
                ) from error
            yield start, len(line), row
            start += len(line)


def write_atomically(path: Path, content: str | Iterable[bytes]) -> None:
    """Replace a file as a whole: readers see the old content or the new one.

    Raises:
        StorageFailedError: if it could not be written; the old content stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines([content.encode("utf-8")] if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageFailedError(
            f"{path.name} could not be written ({error}); its old content stays. Make room or correct the permissions, "
            "then start the run again."
        ) from error
