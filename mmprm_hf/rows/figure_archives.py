"""Figures in zip archives beside a data file, read from there one by one: nothing is unpacked to disk.

``OpenGVLab/VisualProcessBench`` is one such dataset: ``test.jsonl`` and ``images.zip``. Standard library only.
"""

from __future__ import annotations

import functools
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

MAX_MEMBER = 256 * 2**20
"""The most bytes of a figure in an archive."""
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)  # of zipfile on damaged files


def find_in_archives(archives: Iterable[Path], name: str, where: str) -> dict[str, Any] | None:
    """Return a figure as ``{"bytes", "path"}`` from the first archive that has it; None if none has.

    An archive may lack the folders that rows name: the longest ending of the name that it has is the figure.

    Raises:
        ValueError: if no archive has it and one cannot be read, or as `read_member`.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
    endings = ["/".join(parts[start:]) for start in range(len(parts))]
    fault = None
    for archive in archives:
        try:
            members = _opened(archive).NameToInfo
        except _FAULTS as error:
            fault = f"{where} names the figure {name!r:.200}, and {archive} cannot be read ({error}). Fetch it again."
            continue
        member = next((ending for ending in endings if ending in members), None)
        if member is not None:
            return read_member(archive, member, where)
    if fault is not None:
        raise ValueError(fault)
    return None


def read_member(archive: Path, member: str, where: str) -> dict[str, Any]:
    """Return a member of an archive as ``{"bytes", "path"}``.

    Args:
        archive: A zip archive.
        member: Its name there.
        where: Which row names it, for errors.

    Raises:
        ValueError: if there is none, or it is encrypted, damaged or larger than `MAX_MEMBER`.
    """
    subject = f"{where} names the figure {member!r:.200} of {archive}, which"
    try:
        opened = _opened(archive)
        entry = opened.getinfo(member)
        if entry.flag_bits & 1:
            raise ValueError(f"{subject} is encrypted. Unpack the archive by hand, beside the rows.")
        if entry.file_size > MAX_MEMBER:  # no more is unpacked than an archive declares
            raise ValueError(f"{subject} has {entry.file_size} bytes; the most are {MAX_MEMBER}. Make it smaller.")
        return {"bytes": opened.read(entry), "path": PurePosixPath(member).name}
    except KeyError as error:
        raise ValueError(f"{subject} is not in there. Correct the name.") from error
    except _FAULTS as error:
        raise ValueError(f"{subject} cannot be read ({error}). Fetch the archive again.") from error


def _opened(archive: Path) -> zipfile.ZipFile:
    facts = archive.stat()
    return _open(archive, facts.st_size, facts.st_mtime_ns, os.getpid())


@functools.lru_cache(16)
def _open(archive: Path, size: int, changed: int, process: int) -> zipfile.ZipFile:
    """An archive as it is now; a forked process, which would share the position in the file, opens its own."""
    return zipfile.ZipFile(archive)
