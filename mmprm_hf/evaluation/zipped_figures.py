"""Benchmarks whose figures lie in zip archives beside their rows: fetched, unpacked once, found by their names.

``OpenGVLab/VisualProcessBench`` is one: ``test.jsonl`` and ``images.zip``. Unpacked files lie in huggingface_hub's
cache of assets, by the archive's name, size and time, so that each archive is unpacked once.
"""

from __future__ import annotations

import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub

from ..data import content_hash
from ..models import holds_image, is_address
from ..rows import HUB_PREFIX, FigureRules, RawRows

MAX_FILES = 200_000
MAX_UNPACKED = 64 * 2**30
MAX_RATIO = 50
"""The most bytes that unpack from one: figures are compressed already."""
_ALWAYS_ALLOWED = 16 * 2**20


def rows_with_figures(
    data: str | os.PathLike[str],
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
) -> Sequence[dict[str, Any]]:
    """Return the rows of a benchmark, with the names in their column ``image`` as paths of the files that they name.

    Args:
        data: A ``.jsonl`` file; a folder that holds ``test.jsonl``; a hub id (perhaps ``@revision`` behind it) of a
            repository that does; or any other dataset, whose split "test" `RawRows` reads. Figures lie beside the rows,
            in folders or in zip archives.
        rules: Which other figures may be read and fetched, where `RawRows` reads the dataset.

    Raises:
        OSError: if there is no such file or repository.
        ValueError: for an archive that cannot be read.
    """
    name = str(data).removeprefix(HUB_PREFIX)
    if name.endswith(".jsonl"):
        path = Path(name)
    else:
        folder = Path(name) if Path(name).is_dir() else _fetched(name)
        path = folder / "test.jsonl"
        if not path.is_file():
            return RawRows(data, "test", rules=rules)
    rows = RawRows(path, figure_columns=())
    folders = [path.parent, *(_unpacked(archive) for archive in sorted(path.parent.glob("*.zip")))]
    return [{**row, "image": _as_paths(row.get("image"), folders)} for row in rows]


def _fetched(name: str) -> Path:
    """The repository's rows and archives; nothing else of it is fetched."""
    repo_id, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": ["*.jsonl", "*.zip"]}
    return Path(huggingface_hub.snapshot_download(repo_id, repo_type="dataset", **options))


def _unpacked(archive: Path) -> Path:
    """Folder of the archive's files, which appears whole or not at all."""
    facts = archive.stat()
    key = content_hash(str(archive.resolve()), facts.st_size, facts.st_mtime_ns)
    folder = huggingface_hub.cached_assets_path("mmprm_hf", namespace="figures", subfolder=key)
    if any(folder.iterdir()):
        return folder
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_archive(opened, archive, facts.st_size)
            opened.extractall(draft)  # keeps members inside the folder, whatever their names
        folder.rmdir()
        draft.rename(folder)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}). Fetch it again, or unpack it by hand.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _check_archive(opened: zipfile.ZipFile, archive: Path, num_bytes: int) -> None:
    """Refuse archives that are encrypted or too large; `zipfile` unpacks no more than an archive declares."""
    members = opened.infolist()
    num_unpacked = sum(member.file_size for member in members)
    if any(member.flag_bits & 1 for member in members):
        raise ValueError(f"{archive} is encrypted. Unpack it by hand, beside the rows.")
    if len(members) > MAX_FILES or num_unpacked > max(_ALWAYS_ALLOWED, min(MAX_UNPACKED, MAX_RATIO * num_bytes)):
        raise ValueError(
            f"{archive} has {len(members)} files that unpack from {num_bytes} to {num_unpacked} bytes; the most are "
            f"{MAX_FILES} files, {MAX_UNPACKED} bytes and {MAX_RATIO} times its size. Unpack it by hand if it is right."
        )


def _as_paths(figures: Any, folders: Sequence[Path]) -> Any:
    """Names as paths of files; anything that is not a name stays as it is."""
    if isinstance(figures, (list, tuple)):
        return [_as_paths(figure, folders) for figure in figures]
    if isinstance(figures, Mapping) and figures.get("bytes") is None and isinstance(figures.get("path"), str):
        return {**figures, "path": _as_paths(figures["path"], folders)}
    if not isinstance(figures, str) or is_address(figures) or figures[:5].lower() == "data:" or holds_image(figures):
        return figures
    figures = figures[7:] if figures[:7].lower() == "file://" else figures
    parts = [part for part in PurePosixPath(figures).parts if part not in ("..", "/")]  # nothing outside the folders
    # An archive may lack the folders that rows name: the longest ending that exists is the file.
    for start in range(len(parts)):
        for folder in folders:
            path = folder.joinpath(*parts[start:])
            if path.is_file():
                return str(path)
    return str(folders[0].joinpath(*parts))
