"""The one way to open a file, a dataset's folder or a dataset of the Hub: rows as they are, figures undecoded.

A figure stays `{"bytes", "path"}` or a path: published rows keep a file's own bytes, and a figure that cannot be read
is the failure of its own row. Each row is made when it is asked for. ``datasets`` is imported only where it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, read_jsonl

HUB_PREFIX = "hub:"
FIGURE_COLUMNS = ("images", "image", "decoded_image", "figures", "figure")
_MAX_PATH_CHARS = 300  # a longer text that names no file is a figure in Base64


class RawRows(Sequence[dict[str, Any]]):
    """The rows of a file, or of one split of a dataset, in order.

    A figure that is given as a relative path is taken to lie beside the file that names it, or in the dataset's folder.

    Args:
        data: A ``.jsonl``, ``.json`` (a list of objects, or one object per line) or ``.parquet`` file; a dataset's
            folder; or a hub id, with or without ``hub:`` before it, and perhaps with ``@revision`` behind it.
        split: Split of a dataset; a file has none.
        subset: Name of a dataset's configuration; None for its only or default one.
        num_rows: The most rows, from the first; None takes all.
        figure_columns: Columns that hold figures.

    Attributes:
        columns: Names of all columns.

    Raises:
        ValueError: if a file is not JSON, or one of its rows is not an object.
        OSError: if there is no such file or dataset, and whatever `datasets.load_dataset` raises.

    Example:
        >>> rows = RawRows("problems.jsonl")  # doctest: +SKIP
        >>> rows[0]["images"]  # doctest: +SKIP
        ['data/images/1.png']
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
        path, is_on_hub = Path(name), name != str(data)
        is_file = path.suffix in (".jsonl", ".json", ".parquet")
        if is_file and path.suffix != ".parquet":
            self._rows: Any = _read_objects(path)[:num_rows]
            self.columns = tuple(dict.fromkeys(column for row in self._rows for column in row))
        else:
            rows = _open_dataset(name, split, subset, is_file=is_file, is_on_hub=is_on_hub)
            self._rows = rows.select(range(len(rows))[:num_rows])
            self.columns = tuple(rows.features)
        self._folder = path.parent if is_file else path if path.is_dir() and not is_on_hub else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self._rows[index])
        if self._folder is not None:
            names = [name for name in self._figure_columns if row.get(name) is not None]
            row |= {name: _beside(self._folder, row[name]) for name in names}
        return row

    def column(self, name: str) -> list[Any]:
        """Return one column of all rows as it is, None where a row lacks it; other columns are not read."""
        if isinstance(self._rows, list):
            return [row.get(name) for row in self._rows]
        return list(self._rows.select_columns([name])[name])


def _read_objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file: a list of them, or one per line."""
    with path.open("rb") as file:
        is_list = path.suffix == ".json" and file.read(64).lstrip().startswith(b"[")
    rows = read_json(path) if is_list else read_jsonl(path)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(f"Row {index} of {path} is a {type(row).__name__}. A row is an object with named columns.")
    return rows


def _open_dataset(name: str, split: str, subset: str | None, *, is_file: bool, is_on_hub: bool) -> Any:
    """The split, its figures undecoded."""
    import datasets

    if is_file:
        rows = datasets.load_dataset("parquet", data_files=name, split="train")
    else:
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
    """Relative paths from inside a folder; addresses, Base64 and figures that are no texts as they are."""
    if isinstance(figures, (list, tuple)):
        return [_beside(folder, figure) for figure in figures]
    if not isinstance(figures, str) or figures.startswith(("http://", "https://", "data:")):
        return figures
    path = os.path.join(folder, figures)
    return figures if len(figures) > _MAX_PATH_CHARS and not os.path.isfile(path) else path
