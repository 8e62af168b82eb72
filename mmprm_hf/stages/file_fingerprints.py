"""Fingerprints of checkpoints and data by what their files contain, not by sizes and times.

A file of up to 64 MiB is hashed whole. Of a larger one the length, both ends and evenly spaced blocks are, of a
safetensors file a block of every tensor (small tensors whole, such as a PRM's head): a checkpoint that was trained,
merged or quantised again differs there, and 16 GB cost under a second. One changed bit of a large file may be missed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data import content_hash

_WHOLE_BYTES = 64 << 20  # the longest file that is hashed whole
_BLOCK_BYTES = 16 << 10
_NUM_BLOCKS = 512
# What a model's answers depend on; they do not depend on a README, logs or the trainer's states.
_CHECKPOINT_SUFFIXES = {".safetensors", ".bin", ".pt", ".json", ".jinja", ".txt", ".model", ".py"}
_NOT_THE_MODEL = {
    *("trainer", "trainer_state.json", "checksums.json"),
    *("train_config.json", "train_metrics.json", "dry_run.json"),
}


def checkpoint_fingerprint(checkpoint: Any) -> str | None:
    """Return a hash of what the files of a local checkpoint contain; None for anything but a folder.

    Example:
        >>> checkpoint_fingerprint("some-org/on-the-hub") is None
        True
    """
    if not isinstance(checkpoint, (str, Path)) or not Path(checkpoint).is_dir():
        return None
    folder = Path(checkpoint)
    return _files_hash(
        folder,
        [
            path
            for path in folder.rglob("*")
            if path.suffix in _CHECKPOINT_SUFFIXES and not _NOT_THE_MODEL & set(path.relative_to(folder).parts)
        ],
    )


def data_fingerprint(data: Any) -> str | None:
    """Return a hash of what a local data file, or the files of a folder, contain; None for anything else.

    Names inside a folder count; the name of a file or of the folder itself, hidden files and texts about the data
    (.md) do not.
    """
    if not isinstance(data, (str, Path)) or not Path(data).exists():
        return None
    path = Path(data)
    if path.is_file():
        return content_hash(_file_hash(path))
    files = [
        file
        for file in path.rglob("*")
        if file.suffix != ".md" and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    return _files_hash(path, files)


def _files_hash(folder: Path, paths: list[Path]) -> str:
    files = sorted(path for path in paths if path.is_file())
    return content_hash([[path.relative_to(folder).as_posix(), _file_hash(path)] for path in files])


def _file_hash(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            for start, length in _blocks(path, size):
                file.seek(start)
                digest.update(file.read(length))
    return digest.hexdigest()


def _blocks(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """(start, length) of the blocks of a large file that are hashed."""
    yield 0, _BLOCK_BYTES
    step = size // _NUM_BLOCKS
    yield from ((start, _BLOCK_BYTES) for start in range(step, size - _BLOCK_BYTES, step))
    yield size - _BLOCK_BYTES, _BLOCK_BYTES
    if path.suffix == ".safetensors":
        yield from _tensor_blocks(path, size)


def _tensor_blocks(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """The header, and of each tensor its middle; nothing of a file whose header cannot be read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            return
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return
    yield 0, 8 + length
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            middle = max(start, (start + end - _BLOCK_BYTES) // 2)
            yield 8 + length + middle, min(_BLOCK_BYTES, end - middle)
