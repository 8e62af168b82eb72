"""The train problems of a dataset, or of the nano world, each read when it is asked for.

Figures stay undecoded (`{"bytes", "path"}`): published rows keep a file's own bytes, and a figure that cannot be read
is the failure of its own problem.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from .data import Problem
from .nano.world import problems as nano_problems


class ProblemSource(Sequence[Problem]):
    """The first train problems, as a lazy sequence.

    Args:
        data: Dataset in MM-K12's schema, a folder or hub id; None for the nano world.
        num_problems: The most problems.

    Example:
        >>> source = ProblemSource(None, 3)
        >>> len(source), source[0].id == source.ids[0]
        (3, True)
    """

    def __init__(self, data: str | os.PathLike[str] | None, num_problems: int) -> None:
        if data is None:
            self._nano = nano_problems("train", num_problems)
            self.ids = [problem.id for problem in self._nano]
            return
        self._nano = None
        rows = datasets.load_dataset(str(data), split="train")
        for name in ("images", "image"):
            if name in rows.features:
                rows = rows.cast_column(name, _undecoded(rows.features[name]))
        self._rows = rows.select(range(min(num_problems, len(rows))))
        self.ids = list(self._rows.select_columns(["id"])["id"])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Problem:
        return problem_from_row(self._rows[index]) if self._nano is None else self._nano[index].to_problem()


def _undecoded(feature: Any) -> Any:
    """An image feature, or a list of them, that gives bytes and path."""
    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    return datasets.List(datasets.Image(decode=False)) if isinstance(feature, datasets.List) else feature


def problem_from_row(row: Mapping[str, Any]) -> Problem:
    """One row of MM-K12's schema (`images`, or one `image`) as a `Problem`."""
    meta = {name: row[name] for name in ("subject", "grade", "source", "license", "split_group") if name in row}
    images = row.get("images")
    if images is None:
        images = [] if row.get("image") is None else [row["image"]]
    return Problem(
        id=row["id"],
        question=row["question"],
        images=tuple(images),
        answer=row.get("answer"),
        answer_type=row.get("answer_type") or "text",
        options=tuple(row.get("options") or ()),
        meta=meta,
    )
