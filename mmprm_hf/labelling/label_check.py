"""Whether every row of a label dataset traces back to its tree and its problem. Streams; holds ids and hashes only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.data import content_hash
from mmprm_hf.labelling.label_files import SPLITS

MAX_SHOWN = 3


def check_label_dataset(folder: Path) -> dict[str, int]:
    """Return how many paths, trees and problems a label folder holds, once all of them fit together.

    Every path names a tree and a problem of its own split, shows that problem's question and figures, byte for byte;
    every tree names a problem of its own split; no problem or tree comes twice.

    Args:
        folder: As `write_label_dataset` leaves it, also one that was downloaded.

    Raises:
        ValueError: naming the first rows that do not trace back, and how many there are.
        OSError: if a file is missing.

    Example:
        >>> check_label_dataset(Path("out/nano/labels"))  # doctest: +SKIP
        {'paths': 3542, 'trees': 1000, 'problems': 1000}
    """
    counts = {"paths": 0, "trees": 0, "problems": 0}
    faults: list[str] = []
    problems: dict[str, tuple[str, str]] = {}  # split and hash of what is shown
    trees: dict[str, tuple[str, str]] = {}  # split and problem
    for split, row in _rows(folder, "problems", ["id", "question", "images"]):
        counts["problems"] += 1
        if row["id"] in problems:
            faults.append(f"problem {row['id']!r} comes twice")
        problems[row["id"]] = split, _shown(row["question"], row["images"])
    for split, row in _rows(folder, "trees", ["tree_id", "problem_id"]):
        counts["trees"] += 1
        if problems.get(row["problem_id"], ("", ""))[0] != split:
            faults.append(f"tree {row['tree_id']!r} has no problem {row['problem_id']!r} in {split}")
        if trees.setdefault(row["tree_id"], (split, row["problem_id"])) != (split, row["problem_id"]):
            faults.append(f"tree {row['tree_id']!r} comes twice")
    for split, row in _rows(folder, "paths", ["path_id", "tree_id", "problem_id", "prompt", "images"]):
        counts["paths"] += 1
        where = f"path {row['path_id']!r}"
        if trees.get(row["tree_id"]) != (split, row["problem_id"]):
            faults.append(f"{where} has no tree {row['tree_id']!r} of problem {row['problem_id']!r} in {split}")
        elif problems.get(row["problem_id"], ("", ""))[1] != _shown(row["prompt"], row["images"]):
            faults.append(f"{where} shows another question or figure than problem {row['problem_id']!r}")
    if faults:
        more = f" and {len(faults) - MAX_SHOWN:,} more" if len(faults) > MAX_SHOWN else ""
        raise ValueError(
            f"In {folder} {'; '.join(faults[:MAX_SHOWN])}{more}. Every row traces back to its tree and its problem; "
            "write the dataset again from its trees."
        )
    return counts


def _rows(folder: Path, config: str, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Split and row of one config, figures undecoded."""
    import pyarrow.parquet as parquet

    files = [(split, folder / config / f"{split}.parquet") for split in SPLITS]
    found = [(split, path) for split, path in files if path.exists()]
    if not found:
        raise FileNotFoundError(f"{folder / config} holds no parquet file. Write the label dataset first.")
    for split, path in found:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=64, columns=list(columns)):
            for row in batch.to_pylist():
                yield split, row


def _shown(question: str, images: Sequence[Mapping[str, Any]]) -> str:
    """Hash of a question and the bytes of its figures."""
    return content_hash(question, [hashlib.sha256(image["bytes"] or b"").hexdigest() for image in images])


__all__ = ["check_label_dataset"]
