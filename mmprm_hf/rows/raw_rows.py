"""The one way to open a file, a dataset's folder or a dataset of the Hub: rows as they are, figures undecoded.

A figure stays `{"bytes", "path"}` or a path: published rows keep a file's own bytes, and a figure that cannot be read
is the failure of its own row. Each row is made when it is asked for. ``datasets`` is imported only where it is needed.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .column_names import check_columns, missing_column, without_rows
from .figure_rules import FigureFinder, FigureRules
from .input_paths import check_data_path
from .table_files import HUB_PREFIX, check_json_files, is_data_file, is_saved_dataset, read_table, table_kind

FIGURE_COLUMNS = ("images", "image", "decoded_image", "figures", "figure")


class RawRows(Sequence[dict[str, Any]]):
    """The rows of a file, or of one split of a dataset, in order.

    A figure that is given as a relative path is taken to lie beside the file that names it, or in the dataset's folder.
    Reading a row whose figure lies elsewhere is a ValueError, unless `rules` allow it.

    Args:
        data: A ``.jsonl``, ``.json`` (a list of objects, one object per line, a table of pandas), ``.csv``, ``.tsv`` or
            ``.parquet`` file, all but the last perhaps compressed; a dataset's folder, also one of `save_to_disk`; or
            a hub id, with or without ``hub:`` before it, and perhaps with ``@revision`` behind it.
        split: Split of a dataset; a file has none.
        subset: Name of a dataset's configuration; None for its only or default one.
        num_rows: The most rows, from the first; None takes all.
        figure_columns: Columns that hold figures.
        rules: Which figures may be read and fetched besides.
        columns: Names that rows shall have -> the data's own names, where they differ.

    Attributes:
        columns: Names of all columns, those of `columns` in place of the data's own.
        info: What `datasets` knows of the dataset, such as its name; None for a file of rows.
        hub_id: The repository of a dataset of the Hub; None for files and folders.

    Raises:
        ValueError: if a file cannot be read, one of its rows is not an object, the dataset has no such split, or as
            `check_columns`.
        OSError: if there is no such file or dataset.

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
        rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
        columns: Mapping[str, str] | None = None,
    ) -> None:
        path = Path(str(data).removeprefix(HUB_PREFIX))
        if is_data_file(data) and table_kind(path) is not None:
            rows, own = read_table(path, num_rows)
        else:
            rows = _open(str(data), split, subset)
            rows, own = rows.select(range(len(rows))[:num_rows]), tuple(rows.features)
        self._take(rows, own, _finder(data, rules), figure_columns, columns or {}, data)

    @classmethod
    def splits(
        cls,
        data: str | os.PathLike[str],
        rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
        columns: Mapping[str, str] | None = None,
    ) -> dict[str, RawRows]:
        """Return all splits of a dataset by name; a file is the split "train". Arguments and errors as of the class."""
        if is_data_file(data):
            return {"train": cls(data, rules=rules, columns=columns)}
        finder, splits = _finder(data, rules), {}
        for name, rows in _open(str(data)).items():
            splits[name] = cls.__new__(cls)
            splits[name]._take(rows, tuple(rows.features), finder, FIGURE_COLUMNS, columns or {}, data)
        return splits

    def _take(
        self,
        rows: Any,
        own: tuple[str, ...],
        finder: FigureFinder,
        figure_columns: Sequence[str],
        columns: Mapping[str, str],
        data: str | os.PathLike[str],
    ) -> None:
        if not isinstance(rows, list):
            for column, feature in rows.features.items():
                if (undecoded := _undecoded(feature)) is not feature:
                    rows = rows.cast_column(column, undecoded)
        check_columns(data, columns, own)
        self._data, self._own, self._own_names = data, own, dict(columns)
        self.columns = tuple(self._named(dict.fromkeys(own)))
        self._rows, self._finder, self._figure_columns = rows, finder, tuple(figure_columns)
        self.info = getattr(rows, "info", None)
        is_local = not str(data).startswith(HUB_PREFIX) and Path(data).exists()
        self.hub_id = None if is_local else str(data).removeprefix(HUB_PREFIX).partition("@")[0]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.written(index)
        names = [name for name in self._figure_columns if row.get(name) is not None]
        return row | {name: self._finder.find(row[name]) for name in names}

    def written(self, index: int) -> dict[str, Any]:
        """Return a row as its file has it: names of figures stay names, and nothing is fetched."""
        return self._named(self._rows[index])

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row under the names that were asked for; a column whose name another one takes is left out."""
        if not self._own_names:
            return dict(row)
        taken = {*self._own_names, *self._own_names.values()}
        others = {name: value for name, value in row.items() if name not in taken}
        return {**{name: row.get(own) for name, own in self._own_names.items()}, **others}

    def select(self, indices: Sequence[int]) -> RawRows:
        """Return some of the rows, in this order."""
        rows = copy.copy(self)
        is_list = isinstance(self._rows, list)
        rows._rows = [self._rows[index] for index in indices] if is_list else self._rows.select(indices)
        return rows

    def need(self, *names: str) -> None:
        """Raise unless there are rows, and one of these columns.

        Raises:
            ValueError: naming the first of them, and those that there are.
        """
        if not len(self):
            raise without_rows(self._data, self._own)
        if not set(names) & set(self.columns):
            raise missing_column(self._data, names[0], self._own, self._own_names)

    def column(self, name: str) -> list[Any]:
        """Return one column of all rows as it is, None where a row lacks it; other columns are not read."""
        name = self._own_names.get(name, name)
        if isinstance(self._rows, list):
            return [row.get(name) for row in self._rows]
        return list(self._rows.select_columns([name])[name])


def _finder(data: str | os.PathLike[str], rules: FigureRules) -> FigureFinder:
    """A finder of figures beside a file or in a dataset's folder; a dataset of the Hub has none."""
    path = Path(data)
    is_folder = not is_data_file(data) and path.is_dir()
    return FigureFinder(path.parent if is_data_file(data) else path if is_folder else None, rules, is_folder)


def _open(name: str, split: str | None = None, subset: str | None = None) -> Any:
    """A dataset by its folder, parquet file or hub id, as `datasets` gives it: a split, or all of them by name."""
    check_data_path(name)
    import datasets
    from pyarrow import ArrowException

    is_on_hub, name = name.startswith(HUB_PREFIX), name.removeprefix(HUB_PREFIX)
    is_local = Path(name).exists() and not is_on_hub
    try:
        if is_data_file(name) and not is_on_hub:
            return datasets.load_dataset("parquet", data_files=name, split="train")
        if is_local and is_saved_dataset(Path(name)):
            saved = datasets.load_from_disk(name)
            saved = saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict({"train": saved})
            if split is not None and split not in saved:
                raise _no_split(name, split, list(saved))
            return saved if split is None else saved[split]
        if is_local:
            check_json_files(Path(name))
            return datasets.load_dataset(name, subset, split=split)
        repository, _, revision = name.partition("@")
        try:
            return datasets.load_dataset(repository, subset, split=split, revision=revision or None)
        except OSError as error:
            reason = str(error).split("\n")[0].rstrip(".")
            here = "" if is_on_hub else f"There is no file or folder {name!r} here, and as a hub id "
            raise FileNotFoundError(f"{here}{repository!r} cannot be read from the Hub: {reason:.300}.") from error
    except ValueError as error:
        splits = re.fullmatch(r"Unknown split .* Should be one of \[(.*)\]\.", str(error))  # of datasets 5.2
        if splits is None or split is None:
            raise
        raise _no_split(name, split, re.findall(r"'([^']+)'", splits[1])) from error
    except (datasets.exceptions.DatasetsError, ArrowException, KeyError, NotImplementedError) as error:
        reason = str(error.__cause__ or error).split("\n")[0]
        raise ValueError(
            f"{name} cannot be read as a dataset ({reason:.300}). Correct its files, or give one file of rows."
        ) from error


def _no_split(name: str, split: str, splits: Sequence[str]) -> ValueError:
    return ValueError(
        f"{name} has no split {split!r}; found {', '.join(splits)}. Choose one of these (--split, where a verb has "
        "it), or give one of its files."
    )


def _undecoded(feature: Any) -> Any:
    """An image feature, or a list of them, as one that gives bytes and path; any other as it is."""
    import datasets

    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    is_list = isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image)
    return datasets.List(datasets.Image(decode=False)) if is_list else feature
