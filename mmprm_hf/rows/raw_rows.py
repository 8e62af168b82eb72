"""Rows of a file or a dataset as they are, each read when it is asked for, figures undecoded.

A figure stays `{"bytes", "path"}`, or a path: published rows keep a file's own bytes, and a figure that cannot be read
is the failure of its own row. ``datasets`` is imported only where a dataset is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_jsonl

HUB_PREFIX = "hub:"
_LONGEST_PATH = 300  # a longer text that names no file is a figure in Base64
FIGURE_COLUMNS = ("images", "image", "decoded_image", "figures", "figure")


class RawRows(Sequence[dict[str, Any]]):
    """The rows of a ``.jsonl`` file or of one split of a dataset.

    Args:
        data: A ``.jsonl`` file, whose figures are paths beside it; a dataset's folder; a hub id, with or without
            ``hub:`` before it, and with ``@revision`` behind it where one is meant.
        split: Of a dataset.
        subset: Name of a dataset's configuration; None for its only or default one.
        num_rows: The first so many; None takes all.
        figure_columns: Columns of a file that hold figures.

    Raises:
        ValueError: if a line of the file is no object.
        OSError: if there is no such file, and whatever `datasets.load_dataset` raises.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        split: str = "train",
        *,
        subset: str | None = None,
        num_rows: int | None = None,
        figure_columns: Sequence[str] = FIGURE_COLUMNS,
    ) -> None:
        self._figure_columns = tuple(figure_columns)
        name = str(data).removeprefix(HUB_PREFIX)
        self._folder = Path(name).parent if name.endswith(".jsonl") else None
        if self._folder is not None:
            self._rows: Any = read_jsonl(Path(name))[:num_rows]
            for index, row in enumerate(self._rows):
                if not isinstance(row, Mapping):
                    raise ValueError(
                        f"Row {index} of {data} is a {type(row).__name__}. A line is one problem's object."
                    )
            self.columns = tuple(dict.fromkeys(column for row in self._rows for column in row))
            return
        self._rows = _open_dataset(name, split, subset, is_on_hub=str(data).startswith(HUB_PREFIX))
        self._rows = self._rows.select(range(len(self) if num_rows is None else min(num_rows, len(self))))
        self.columns = tuple(self._rows.features)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self._rows[index])
        if self._folder is not None:
            names = [name for name in self._figure_columns if row.get(name) is not None]
            row |= {name: _beside(self._folder, row[name]) for name in names}
        return row

    def column(self, name: str) -> list[Any]:
        """One column of all rows, None where a row of a file lacks it."""
        if self._folder is not None:
            return [row.get(name) for row in self._rows]
        return list(self._rows.select_columns([name])[name])


def _open_dataset(name: str, split: str, subset: str | None, is_on_hub: bool) -> Any:
    """The split, its figures undecoded."""
    import datasets

    revision = None
    if is_on_hub or not Path(name).exists():
        name, _, revision = name.partition("@")
    rows = datasets.load_dataset(name, subset, split=split, revision=revision or None)
    for column, feature in rows.features.items():
        if (undecoded := _undecoded(feature)) is not feature:
            rows = rows.cast_column(column, undecoded)
    return rows


def _undecoded(feature: Any) -> Any:
    """An image feature, or a list of them, that gives bytes and path."""
    import datasets

    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    is_list = isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image)
    return datasets.List(datasets.Image(decode=False)) if is_list else feature


def _beside(folder: Path, figures: Any) -> Any:
    """Paths as seen from the file that names them; addresses, Base64 and figures themselves as they are."""
    if isinstance(figures, (list, tuple)):
        return [_beside(folder, figure) for figure in figures]
    if not isinstance(figures, str) or figures.startswith(("http://", "https://", "data:")):
        return figures
    path = os.path.join(folder, figures)
    return figures if len(figures) > _LONGEST_PATH and not os.path.isfile(path) else path


__all__ = ["FIGURE_COLUMNS", "HUB_PREFIX", "RawRows"]
