"""Files that survive a kill: documents written whole or not at all, logs that lose at most a torn last line, and
folders that one run at a time may write to.

A process that is killed loses nothing that `append_line` has returned from: the operating system has it. What must also
outlive a power cut asks for `sync`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from .errors import FolderInUseError, RunStoppedError, SettingsDifferError, StorageFailedError

_BLOCK = 65536  # bytes that are read at a time in search of a line's end
_CHECKSUM = "_checksum"  # the last key of a sealed row
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries raise instead of an OSError: safetensors cites the system, torch's writer names itself or a position.
_NO_ROOM_WORDS = re.compile("|".join([*map(os.strerror, _NO_ROOM), "PytorchStreamWriter failed", "unexpected pos "]))


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


def write_atomically(path: str | Path, content: str | Iterable[bytes]) -> None:
    """Replace a file as a whole, its folder made if absent: readers see the old content or the new one.

    Raises:
        StorageFailedError: if it could not be written; the old content stays.
    """
    path = Path(path)
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


def write_json(path: str | Path, content: Any) -> None:
    """Write one JSON document, indented, keys in the given order. NaN and infinities are refused (ValueError)."""
    write_atomically(path, to_json(content, indent=2) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Write one JSON document per line. NaN and infinities are refused (ValueError)."""
    write_atomically(path, (json_line(row) for row in rows))


def read_json(path: str | Path) -> Any:
    """Return the document in a JSON file.

    Raises:
        ValueError: naming the file, if it is not JSON.
        OSError: naming the file and the remedy, if it cannot be read.
    """
    path = Path(path)
    try:
        with _errors_in_words(path, "read"):
            return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}). Was its writing cut short? Restore it, or delete it and start again."
        ) from error


def is_out_of_room(error: BaseException) -> bool:
    """Whether an error means that the disk is full, a quota used up, or a file too large, also as libraries say it."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    is_sentence = isinstance(error, (ValueError, RunStoppedError))  # of our own
    return not is_sentence and _NO_ROOM_WORDS.search(str(error)) is not None


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Let a library write a file or folder; if there is no room for it, the error says so.

    Raises:
        StorageFailedError: naming the path. What was written of it stays.
    """
    path = Path(path)
    try:
        yield
    except Exception as error:
        if not is_out_of_room(error):
            raise
        raise StorageFailedError(
            f"{path} could not be written whole: the disk is full, a quota used up, or the file too large. Make room, "
            "then start the run again: it resumes from what is whole."
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
    return {**content, _CHECKSUM: checksum(content)}


def unsealed(row: Any, where: str) -> Any:
    """Return a row without its checksum, which is compared if there is one.

    Args:
        row: A parsed line.
        where: Where it is from, such as "Line 3 of trees.jsonl".

    Raises:
        ValueError: if the row is not what was sealed.
    """
    if not isinstance(row, dict) or _CHECKSUM not in row:
        return row
    content = {name: value for name, value in row.items() if name != _CHECKSUM}
    if row[_CHECKSUM] != checksum(content):
        raise ValueError(
            f"{where} was changed after it was written: its checksum differs. Restore the file; or delete this line "
            "and those below it, and start the run again: what they held is made again."
        )
    return content


def checksum(content: Any) -> str:
    """Return 16 hex digits that depend on everything in a JSON document, and on the order of its keys."""
    text = json.dumps(content, separators=(",", ":"))  # with NaN, which only a changed file can have
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def append_line(path: str | Path, *rows: Any, sync: bool = False) -> int:
    """Append rows as JSON lines in one write, and return how many bytes that were.

    Raises:
        StorageFailedError: if they could not be written; a torn line may stay, which `drop_torn_line` removes.
    """
    path = Path(path)
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


def drop_torn_line(path: str | Path) -> bool:
    """Cut a last line that an interrupted write left without its end; make the file if absent.

    Returns:
        Whether there was one.
    """
    path = Path(path)
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


def open_log(path: str | Path) -> None:
    """Make a log of sealed rows ready for more: absent, it is made; a torn line is cut; lines without seal get one.

    Raises:
        ValueError: if it is of an earlier version, which wrote no checksums, and a line is not an object.
    """
    path = Path(path)
    drop_torn_line(path)
    with path.open("rb") as file:
        first = file.readline()
    if first and f'"{_CHECKSUM}"'.encode() not in first:
        write_jsonl(path, map(sealed, read_records(path)))


def read_lines(path: str | Path, names: Sequence[str] | None = None) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(start, length, row)``, in bytes, of each line of a JSON-lines file; blank lines are passed over.

    Args:
        path: The file.
        names: Every row must be an object with a text or null under each of these names. None: rows of any form.

    Raises:
        ValueError: naming the line that is not JSON, was changed after it was `sealed`, has another form, or has a
            seal where the lines above have none, or none where they have one.
    """
    path = Path(path)
    start, are_sealed = 0, None
    with _errors_in_words(path, "read"):
        file = path.open("rb")
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"Line {number} of {path}"
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(
                        f"{where} is not JSON ({error}). Only the last line may be torn; remove the broken line, or "
                        "write the file again."
                    ) from error
                if isinstance(row, dict):
                    is_sealed = _CHECKSUM in row
                    if are_sealed not in (None, is_sealed):
                        raise ValueError(
                            f"{where} has {'a' if is_sealed else 'no'} checksum, unlike the lines above: some were "
                            "changed after they were written. Restore the file; or delete the lines without a "
                            "checksum, and start the run again."
                        )
                    are_sealed = is_sealed
                row = unsealed(row, where)
                if names is not None and not _has_texts(row, names):
                    raise ValueError(
                        f"{where} is {str(row)[:60]!r}, not an object with texts under {', '.join(names) or 'names'}: "
                        "no run wrote it. Restore the file, or delete the line."
                    )
                yield start, len(line), row
            start += len(line)


def _has_texts(row: Any, names: Sequence[str]) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name, 0), (str, type(None))) for name in names)


def iter_jsonl(path: str | Path) -> Iterator[Any]:
    """Yield the rows of a JSON-lines file; see `read_lines`."""
    return (row for _, _, row in read_lines(path))


def read_jsonl(path: str | Path) -> list[Any]:
    """Return all rows of a JSON-lines file; see `read_lines`."""
    return list(iter_jsonl(path))


def read_records(path: str | Path, *names: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file of a run, objects with texts under these names; see `read_lines`."""
    return (row for _, _, row in read_lines(path, names))


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
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Hold a folder, made if absent, so that no other process writes to it; a killed process lets go of it.

    A folder that was made and in which nothing was written goes again.

    Raises:
        FolderInUseError: if another process holds it.
    """
    folder = Path(folder)
    path, is_new = folder / ".lock", not folder.exists()
    lock = filelock.FileLock(path, blocking=False, thread_local=False)
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
        with contextlib.suppress(OSError):
            if is_new and list(folder.iterdir()) == [path]:
                path.unlink()
                folder.rmdir()
        lock.release()


def check_same_settings(path: str | Path, before: Any, now: Mapping[str, Any]) -> None:
    """Refuse to add to a folder what was made with other settings.

    Args:
        path: The file of the folder's settings, for the message.
        before, now: The settings of what is in it, and of what would be added; compared as JSON. A setting that only
            one of them has is a difference, unless it is None.

    Raises:
        SettingsDifferError: naming each setting that differs, with both values.
    """
    path = Path(path)
    if not isinstance(before, Mapping):
        raise SettingsDifferError(
            f"{path} contains {str(before)[:60]!r}, and not the settings of a run. Restore it, or choose another "
            "output folder."
        )
    before, now = (json.loads(json.dumps(dict(settings))) for settings in (before, now))
    if details := "; ".join(_differences(before, now)):
        raise SettingsDifferError(
            f"The folder {str(path.parent)!r} was made with other settings ({details}; see {path.name}). Results of "
            "different settings are not mixed; choose another output folder, or the same settings."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The values that differ between two mappings, also inside mappings in them."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}: {old!r} there, {new!r} now"


def check_outside(output: str | Path, data: Any) -> None:
    """Refuse to write into a folder of data, where a later start would read the run's own files as data.

    Args:
        output: The folder to write.
        data: What is read: a folder, or anything else, which is not checked.

    Raises:
        ValueError: if the output lies in the data's folder, or is it.
    """
    output = Path(output)
    if isinstance(data, (str, Path)) and Path(data).is_dir() and output.resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(
            f"The output {str(output)!r} lies in the folder of the data, {str(data)!r}: its files would be read as "
            "data at the next start. Choose an output folder outside of it."
        )
