"""Whether every row of a label dataset traces back to its tree and its problem. Streams; only ids and hashes are kept.

This module must not trust `write_label_dataset`: it reads the files of a folder, also of one that was downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import content_hash
from .label_files import SPLITS

_MAX_NAMED = 3
_COLUMNS = {
    "problems": ("id", "question", "images"),
    "trees": ("tree_id", "problem_id"),
    "paths": ("path_id", "tree_id", "problem_id", "prompt", "completions", "images"),
}


def check_label_dataset(folder: str | Path) -> dict[str, int]:
    """Return how many paths, trees and problems a label folder contains, once all of them fit together.

    Every path names a tree and a problem of its own split, has that problem's question and figures, byte for byte, and
    has the steps that its id was made from. Every tree names a problem of its own split, and every problem has a tree.
    No problem and no path appears twice, and figures lie in the files. (Trees that differ in counts alone share an id,
    and labels are not compared with their tree's counts.)

    Args:
        folder: As `write_label_dataset` leaves it.

    Raises:
        ValueError: naming the first rows that do not trace back, and their number; or if a column is missing.
        OSError: if a file is missing.

    Example:
        >>> check_label_dataset(Path("out/nano/labels"))  # doctest: +SKIP
        {'paths': 3542, 'trees': 1000, 'problems': 1000}
    """
    folder = Path(folder)
    counts = dict.fromkeys(("paths", "trees", "problems"), 0)
    faults: list[str] = []
    num_faults = 0
    for config, fault in _rows_and_faults(folder):
        if fault is None:
            counts[config] += 1
            continue
        num_faults += 1
        if len(faults) < _MAX_NAMED:
            faults.append(fault)
    if num_faults:
        more = f" and {num_faults - _MAX_NAMED:,} more" if num_faults > _MAX_NAMED else ""
        raise ValueError(
            f"In {folder} {'; '.join(faults)}{more}. Every row must trace back to its tree and its problem; write the "
            "dataset again from its trees."
        )
    return counts


def _rows_and_faults(folder: Path) -> Iterator[tuple[str, str | None]]:
    """For each row its config and None; for each fault its config and what is wrong."""
    problems: dict[str, tuple[str, str]] = {}  # split and hash of question and figures
    trees: dict[str, tuple[str, str]] = {}  # split and problem
    paths: set[str] = set()
    for split, row in _rows(folder, "problems"):
        yield "problems", None
        name = f"problem {row['id']!r}"
        if row["id"] in problems:
            yield "problems", f"{name} appears twice"
        if not _is_embedded(row["images"]):
            yield "problems", f"{name} has a figure without its bytes"
        problems[row["id"]] = split, _content(row["question"], row["images"])
    for split, row in _rows(folder, "trees"):
        yield "trees", None
        name = f"tree {row['tree_id']!r}"
        if problems.get(row["problem_id"], ("", ""))[0] != split:
            yield "trees", f"{name} has no problem {row['problem_id']!r} in {split}"
        if trees.setdefault(row["tree_id"], (split, row["problem_id"])) != (split, row["problem_id"]):
            yield "trees", f"{name} appears twice"
    for split, row in _rows(folder, "paths"):
        yield "paths", None
        name = f"path {row['path_id']!r}"
        if trees.get(row["tree_id"]) != (split, row["problem_id"]):
            yield "paths", f"{name} has no tree {row['tree_id']!r} of problem {row['problem_id']!r} in {split}"
        elif problems.get(row["problem_id"], ("", ""))[1] != _content(row["prompt"], row["images"]):
            yield "paths", f"{name} has another question or figure than problem {row['problem_id']!r}"
        elif row["path_id"] != content_hash(row["problem_id"], row["completions"]):
            yield "paths", f"{name} has other steps than those that its id was made from"
        elif row["path_id"] in paths:
            yield "paths", f"{name} appears twice"
        paths.add(row["path_id"])
    searched = {problem_id for _, problem_id in trees.values()}
    yield from (("problems", f"problem {name!r} has no tree") for name in problems if name not in searched)


def _rows(folder: Path, config: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Split and row of one config, figures undecoded."""
    import pyarrow.parquet as parquet

    if folder.is_file():
        raise ValueError(f"{str(folder)!r} is a file. Give the folder of a label run, which has {', '.join(_COLUMNS)}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r} here. Give the folder of a label run.")
    if folder.name in _COLUMNS and all((folder.parent / name).is_dir() for name in _COLUMNS):
        raise ValueError(f"{folder} is one part of a folder of labels. Give {folder.parent}: the parts are compared.")
    files = [(split, folder / config / f"{split}.parquet") for split in SPLITS]
    files = [(split, path) for split, path in files if path.exists()]
    if not files:
        raise FileNotFoundError(f"{folder / config} contains no parquet file. `mmprm label` writes it.")
    columns = list(_COLUMNS[config])
    for split, path in files:
        with parquet.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise ValueError(
                    f"{path} lacks the column {', '.join(missing)}, without which rows cannot be traced back. Write "
                    "the dataset again from its trees."
                )
            for batch in file.iter_batches(batch_size=64, columns=columns):
                for row in batch.to_pylist():
                    yield split, row


def _is_embedded(images: Sequence[Mapping[str, Any] | None] | None) -> bool:
    """Whether a row's figures contain their bytes; a path alone means nothing on another machine."""
    return images is not None and all(image is not None and image["bytes"] is not None for image in images)


def _content(question: str, images: Sequence[Mapping[str, Any] | None] | None) -> str:
    """Hash of a question and its figures' bytes; without bytes, of their paths."""
    return content_hash(question, None if images is None else [_figure_hash(image) for image in images])


def _figure_hash(image: Mapping[str, Any] | None) -> Any:
    if image is None or image["bytes"] is None:
        return [None if image is None else image["path"]]
    return hashlib.sha256(image["bytes"]).hexdigest()
