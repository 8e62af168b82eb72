"""The problems of a file, of a dataset, or of the nano world, each read when it is asked for.

Figures stay undecoded (`{"bytes", "path"}`, or a path): published rows keep a file's own bytes, and a figure that
cannot be read is the failure of its own problem.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from .data import Problem
from .files import read_jsonl
from .nano.world import problems as nano_problems
from .problem_rows import problem_from_row

_NANO_SIZES = {"train": 10_000, "test": 500}


class ProblemSource(Sequence[Problem]):
    """The first problems, as a lazy sequence; a row that is no problem is a ValueError when it is asked for.

    Args:
        data: A dataset in MM-K12's schema, a folder or hub id; a ``.jsonl`` file with the same columns, whose figures
            are paths beside it; None for the nano world.
        num_problems: The most problems; None takes all.
        split: Of a dataset or of the nano world.

    Example:
        >>> source = ProblemSource(None, 3)
        >>> len(source), source[0].id == source.ids[0]
        (3, True)
    """

    def __init__(
        self, data: str | os.PathLike[str] | None, num_problems: int | None = None, split: str = "train"
    ) -> None:
        self._nano, self._folder = None, None
        if data is None:
            if split not in _NANO_SIZES:
                raise ValueError(f"Found split={split!r} of the nano world. It has {' and '.join(_NANO_SIZES)}.")
            self._nano = nano_problems(split, _NANO_SIZES[split] if num_problems is None else num_problems)
            self.ids = [problem.id for problem in self._nano]
            return
        if str(data).endswith(".jsonl"):
            self._folder = Path(data).parent
            self._rows: Any = read_jsonl(Path(data))[:num_problems]
            for index, row in enumerate(self._rows):
                if not isinstance(row, Mapping):
                    raise ValueError(
                        f"Row {index} of {data} is a {type(row).__name__}. A line is one problem's object."
                    )
            self.ids = [str(index if row.get("id") is None else row["id"]) for index, row in enumerate(self._rows)]
            return
        rows = datasets.load_dataset(str(data), split=split)
        for name in ("images", "image"):
            if name in rows.features:
                rows = rows.cast_column(name, _undecoded(rows.features[name]))
        self._rows = rows.select(range(len(rows) if num_problems is None else min(num_problems, len(rows))))
        has_ids = "id" in rows.features
        self.ids = [str(name) for name in (self._rows.select_columns(["id"])["id"] if has_ids else range(len(self)))]

    def __len__(self) -> int:
        return len(self._rows if self._nano is None else self._nano)

    def __getitem__(self, index: int) -> Problem:
        if self._nano is not None:
            return self._nano[index].to_problem()
        row = {**self._rows[index], "id": self.ids[index]}
        return problem_from_row(row, self._folder)


def _undecoded(feature: Any) -> Any:
    """An image feature, or a list of them, that gives bytes and path."""
    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    return datasets.List(datasets.Image(decode=False)) if isinstance(feature, datasets.List) else feature


__all__ = ["ProblemSource"]
