"""Files that survive a kill: documents written whole or not at all, logs that lose at most a torn last line, and
folders that one run at a time may write to.

A process that is killed loses nothing that `append_line` has returned from: the operating system has it. What must also
outlive a power cut asks for `sync`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from .errors import FolderInUseError, SettingsDifferError, StorageFailedError

_BLOCK = 65536  # bytes that are read at a time in search of a line's end
_CHECKSUM = "_checksum"  # the last key of a sealed row


def to_json(content: Any, indent: int | None = None) -> str:
    """Return JSON text that UTF-8 can hold: a lone surrogate, legal in JSON alone, becomes its escape.

    Raises:
        ValueError: for NaN and infinities.
    """
    text = json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, indent=indent, allow_nan=False)
    return text


def write_atomically(path: Path, content: str | Iterable[bytes]) -> None:
    """Replace a file as a whole, its folder made if absent: readers see the old content or the new one.

    Raises:
        StorageFailedError: if it could not be written; the old content stays.
    """
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.writelines([content.encode("utf-8")] if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise StorageFailedError(
            f"{path.name} could not be written ({error}); its old content stays. Make room or correct the permissions, "
            "then start the run again."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, indented, keys in the given order. NaN and infinities are refused (ValueError)."""
    write_atomically(path, to_json(content, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON document per line. NaN and infinities are refused (ValueError)."""
    write_atomically(path, (json_line(row) for row in rows))


def read_json(path: Path) -> Any:
    """Return the document in a JSON file.

    Raises:
        ValueError: naming the file, if it is not JSON.
        OSError: naming the file and the remedy, if it cannot be read.
    """
    try:
        with _errors_in_words(path, "read"):
            return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}). Was its writing cut short? Restore it, or delete it and start again."
        ) from error


def json_line(row: Any) -> bytes:
    """A row as one line of a JSON-lines file."""
    return (to_json(row) + "\n").encode("utf-8")


def sealed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with a checksum of its content, which `read_lines` checks and takes off again.

    Example:
        >>> sealed({"verdict": "correct"})
        {'verdict': 'correct', '_checksum': 'aeb57a8a724c2453'}
    """
    content = {name: value for name, value in row.items() if name != _CHECKSUM}
    return {**content, _CHECKSUM: _checksum(content)}


def unsealed(row: Any, where: str) -> Any:
    """Return a row without its checksum; one that has none, as of earlier versions, is not checked.

    Args:
        row: A parsed line.
        where: Where it is from, such as "Line 3 of trees.jsonl".

    Raises:
        ValueError: if the row is not what was sealed.
    """
    if not isinstance(row, dict) or _CHECKSUM not in row:
        return row
    content = {name: value for name, value in row.items() if name != _CHECKSUM}
    if row[_CHECKSUM] != _checksum(content):
        raise ValueError(
            f"{where} was changed after it was written: its checksum differs. Restore the file; or delete this line "
            "and those below it, and start the run again: what they held is made again."
        )
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def append_line(path: Path, *rows: Any, sync: bool = False) -> int:
    """Append rows as JSON lines in one write, and return how many bytes that were.

    Raises:
        StorageFailedError: if they could not be written; a torn line may stay, which `drop_torn_line` removes.
    """
    content = b"".join(map(json_line, rows))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            rest = content
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageFailedError(
            f"{path.name} could not be written ({error}). Make room or correct the permissions, then start the run "
            "again: it resumes from what is written."
        ) from error
    return len(content)


def drop_torn_line(path: Path) -> bool:
    """Cut a last line that an interrupted write left without its end; make the file if absent.

    Returns:
        Whether there was one.
    """
    with _errors_in_words(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        opened = path.open("rb+")
    with opened as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:  # backwards, a block at a time: the file may be large, a line too
            start = max(0, end - _BLOCK)
            file.seek(start)
            line_end = file.read(end - start).rfind(b"\n")
            if line_end >= 0:
                end = start + line_end + 1
                break
            end = start
        if end < size:
            file.truncate(end)
    return end < size


def read_lines(path: Path) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(start, length, row)``, in bytes, of each line of a JSON-lines file; blank lines are passed over.

    Raises:
        ValueError: naming the line that is not JSON, or that was changed after it was `sealed`.
    """
    start = 0
    with _errors_in_words(path, "read"):
        file = path.open("rb")
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(
                        f"Line {number} of {path} is not JSON ({error}). Only the last line may be torn; remove the "
                        "broken line, or write the file again."
                    ) from error
                yield start, len(line), unsealed(row, f"Line {number} of {path}")
            start += len(line)


def iter_jsonl(path: Path) -> Iterator[Any]:
    """Yield the rows of a JSON-lines file; see `read_lines`."""
    return (row for _, _, row in read_lines(path))


def read_jsonl(path: Path) -> list[Any]:
    """Return all rows of a JSON-lines file; see `read_lines`."""
    return list(iter_jsonl(path))


def read_records(path: Path, *names: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file of a run, each an object that has these names.

    Raises:
        ValueError: naming the line that is something else.
    """
    for number, row in enumerate(iter_jsonl(path), start=1):
        missing = [name for name in names if not isinstance(row, dict) or name not in row]
        if missing:
            raise ValueError(
                f"Line {number} of {path} is {str(row)[:60]!r}, without {missing[0]!r}: no run wrote it. Restore the "
                "file, or delete the line."
            )
        yield row


@contextlib.contextmanager
def _errors_in_words(path: Path, action: str) -> Iterator[None]:
    """Let an error of the operating system, of the same type, name the file and the remedy."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise type(error)(
            f"{str(path):.300} cannot be {action}: {reason}. Correct the path or the permissions, or restore it, and "
            "start again."
        ) from error


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, made if absent, so that no other process writes to it; a killed process lets go of it.

    Raises:
        FolderInUseError: if another process holds it.
    """
    lock = filelock.FileLock(folder / ".lock", blocking=False, thread_local=False)
    try:
        with _errors_in_words(folder, "written to"):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except filelock.Timeout as error:
        raise FolderInUseError(
            f"The folder {str(folder)!r} is in use by another run. One process writes to a folder at a time; wait for "
            "it to end, or choose another output folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_same_settings(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to add to a folder what was made with other settings.

    Args:
        folder: The folder, for the message.
        before, now: The settings of what is in it, and of what would be added; compared as JSON. A setting that only
            one of them has is a difference, unless it is None.

    Raises:
        SettingsDifferError: naming each setting that differs, with both values.
    """
    if not isinstance(before, Mapping):
        raise SettingsDifferError(
            f"The settings of the folder {str(folder)!r} are {str(before)[:60]!r}, not an object. Restore the file "
            "that has them, or choose another output folder."
        )
    before, now = (json.loads(to_json(dict(settings))) for settings in (before, now))
    differing = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if differing:
        details = "; ".join(f"{name}: {before.get(name)!r} there, {now.get(name)!r} now" for name in differing)
        raise SettingsDifferError(
            f"The folder {str(folder)!r} was made with other settings ({details}). Results of different settings are "
            "not mixed; choose another output folder, or the same settings."
        )
