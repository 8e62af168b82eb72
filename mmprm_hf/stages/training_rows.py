"""The label rows of a training: opened from a folder, file or the Hub, their figures found, divided into two splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from ..data import content_hash
from ..rows import (
    FIGURE_COLUMNS,
    FigureFinder,
    FigureRules,
    RawRows,
    data_folder,
    is_absent,
    is_data_file,
    open_splits,
    undecoded_feature,
)

logger = logging.getLogger(__name__)


def train_and_eval_rows(
    data: Path,
    eval_share: float,
    on_bad_row: str = "raise",
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
) -> tuple[Any, Any]:
    """Return the train and validation rows, or the train rows divided by a hash of problem id or prompt.

    Args:
        data: Folder of label rows, such as ``labels/paths``; a file that `RawRows` reads; or a hub id.
        eval_share: Share of problems whose rows are kept for evaluation, where there is no validation split.
        on_bad_row: What becomes of a row whose figure may not be read: "raise" or "drop".
        rules: Which figures besides those in the data's folder may be read and fetched.

    Raises:
        ValueError: if the data are not label rows, or for a figure that may not be read.
        OSError: if there are no such data.
    """
    if is_data_file(data):
        file_rows = RawRows(data, rules=rules)
        _check_columns(data, file_rows.columns)
        splits: Mapping[str, Any] = {"train": _readable(file_rows, data, on_bad_row)}
    else:
        splits = open_splits(str(data))
        if "train" not in splits:
            raise ValueError(f"{data} has the splits {', '.join(splits)} and no train split. Name one of its files.")
        finder = FigureFinder(data_folder(data), rules)
        for rows in splits.values():
            _check_columns(data, rows.column_names)
        splits = {name: _with_figures(rows, finder, data, on_bad_row) for name, rows in splits.items()}
    if "validation" in splits:
        return splits["train"], splits["validation"]
    rows = splits["train"]
    names = [_name(row) for row in _names(rows)]
    is_eval = [_is_evaluated(name, eval_share) for name in names]
    indices = {held_out: [i for i, is_held in enumerate(is_eval) if is_held == held_out] for held_out in (False, True)}
    return _select(rows, indices[False]), _select(rows, indices[True])


def _is_evaluated(name: Any, eval_share: float) -> bool:
    """Whether the rows of a problem are kept for evaluation; a name that is not one stays with the bad train rows."""
    is_turn = isinstance(name, list) and not any(isinstance(entry, str) for entry in name)
    if not isinstance(name, (str, int)) and not is_turn:
        return False
    try:
        return int(content_hash(name, length=8), 16) % 1000 < 1000 * eval_share
    except UnicodeEncodeError:
        return False


def _check_columns(data: Path, columns: Sequence[str]) -> None:
    missing = [name for name in ("prompt", "completions") if name not in columns]
    missing += [] if {"labels", "label_counts"} & set(columns) else ["labels"]
    if missing:
        raise ValueError(
            f"{str(data)!r} has the columns {', '.join(columns) or '(none)'} and lacks {', '.join(missing)}: these are "
            "not label rows. `mmprm label` writes label rows, into the folder paths of its output."
        )


def _names(rows: Any) -> Any:
    """The columns that decide a row's split."""
    if isinstance(rows, datasets.Dataset):
        kept = [name for name in ("problem_id", "prompt") if name in rows.column_names]
        return rows.select_columns(kept[:1])
    has_ids = any("problem_id" in row for row in rows)
    return [{"id": row.get("problem_id" if has_ids else "prompt")} for row in rows]


def _name(row: Mapping[str, Any]) -> Any:
    return next(iter(row.values()))


def _select(rows: Any, indices: Sequence[int]) -> Any:
    return rows.select(indices) if isinstance(rows, datasets.Dataset) else [rows[index] for index in indices]


def _readable(rows: Sequence[Any], data: Path, on_bad_row: str) -> list[Any]:
    """The rows whose figures may be read."""
    kept = []
    for index in range(len(rows)):
        try:
            kept.append(rows[index])
        except ValueError as error:
            if on_bad_row == "raise":
                raise ValueError(f"Row {index} of {data} {error}") from error
            logger.warning("Row %d of %s is left out: it %s", index, data, error)
    return kept


def _with_figures(rows: datasets.Dataset, finder: FigureFinder, data: Path, on_bad_row: str) -> Any:
    """The rows, figures that are named by a path found; rows that hold their figures' bytes stay as they are."""
    columns = [name for name in FIGURE_COLUMNS if name in rows.column_names and _names_files(rows, name)]
    if not columns:
        return rows
    undecoded = rows
    for name in columns:
        undecoded = undecoded.cast_column(name, undecoded_feature(rows.features[name]))
    return _readable(_Found(undecoded, columns, finder), data, on_bad_row)


class _Found(Sequence[dict[str, Any]]):
    """Rows of a dataset with the figures of some columns found."""

    def __init__(self, rows: datasets.Dataset, columns: Sequence[str], finder: FigureFinder) -> None:
        self._rows, self._columns, self._finder = rows, columns, finder

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        return {**row, **{name: self._finder.find(row[name]) for name in self._columns}}


def _names_files(rows: datasets.Dataset, name: str) -> bool:
    """Whether some figure of a column is not held as bytes."""
    raw = rows.select_columns([name]).cast_column(name, undecoded_feature(rows.features[name]))
    for batch in raw.with_format("arrow").iter(1000):
        for cell in batch[name].to_pylist():
            for figure in cell if isinstance(cell, list) else [cell]:
                if not is_absent(figure) and not (isinstance(figure, Mapping) and figure.get("bytes") is not None):
                    return True
    return False
