"""Rows to one parquet file per split, and how a dataset card names those files.

``datasets`` is imported where it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets


def write_splits(
    folder: Path,
    rows: Iterable[tuple[str, dict[str, Any]]],
    features: datasets.Features,
    splits: Sequence[str],
    *,
    rows_in_memory: int | None = None,
) -> dict[str, int]:
    """Write rows to ``folder/{split}.parquet`` as they come, figures embedded; each file as a whole or not at all.

    Args:
        folder: Made if absent; parquet files of splits without rows are removed from it.
        rows: Pairs of a split's name and a row.
        features: The rows' features; other columns are dropped.
        splits: Names of all splits, in order.
        rows_in_memory: The most rows of a split that are held before they are written; None leaves that to `datasets`.

    Returns:
        Number of rows per split, in the order of `splits`, without empty splits.
    """
    from datasets.arrow_writer import ParquetWriter

    folder.mkdir(parents=True, exist_ok=True)
    drafts = {split: folder / f"{split}.parquet.part" for split in splits}
    writers: dict[str, ParquetWriter] = {}
    num_rows = dict.fromkeys(splits, 0)
    try:
        with contextlib.ExitStack() as stack:
            for split, row in rows:
                if split not in writers:
                    writer = ParquetWriter(
                        features=features,
                        path=str(drafts[split]),
                        embed_local_files=True,
                        writer_batch_size=rows_in_memory,
                    )
                    writers[split] = stack.enter_context(writer)
                writers[split].write(features.encode_example(row))
                num_rows[split] += 1
            for writer in writers.values():
                writer.finalize()
        for split, draft in drafts.items():
            if split in writers:
                draft.replace(folder / f"{split}.parquet")
            else:
                (folder / f"{split}.parquet").unlink(missing_ok=True)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return {split: count for split, count in num_rows.items() if count}


def hub_configs(folder: Path, configs: Mapping[str, str], splits: Sequence[str]) -> list[dict[str, Any]]:
    """Return the files of a dataset as the Hub's metadata describes them; configs without a file are left out.

    The description holds a hash of the files: where a README names the configs, `load_dataset` (datasets 5.2) keys its
    cache by this metadata and the folder's name alone, and would give the rows of an older file of the same name.

    Args:
        folder: The dataset's folder.
        configs: Name of each config to its folder in there ("" for the folder itself); the first one is the default.
        splits: Names of splits, in order.
    """
    entries: list[dict[str, Any]] = []
    for name, subfolder in configs.items():
        paths = {split: Path(subfolder, f"{split}.parquet").as_posix() for split in splits}
        files = [{"split": split, "path": path} for split, path in paths.items() if (folder / path).exists()]
        if files:
            digest = hashlib.sha256()
            for file in files:
                with (folder / file["path"]).open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
            entry = {"config_name": name, "description": f"sha256:{digest.hexdigest()[:16]}", "data_files": files}
            entries.append(entry if entries else {**entry, "default": True})
    return entries
