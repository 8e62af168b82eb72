"""The problems that a stage works on: those of a file or dataset, or the nano world's."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..nano import NanoProblems
from ..rows import FigureRules, ProblemSource


def open_problems(
    data: str | os.PathLike[str] | None,
    num_problems: int | None = None,
    split: str = "train",
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> ProblemSource | NanoProblems:
    """Return the first problems of `data` as a lazy sequence with ``ids``.

    Args:
        data: File, dataset folder or hub id, as in `ProblemSource`; None or "nano" for the nano world.
        num_problems: The most problems; None takes all.
        split: Split of a dataset or of the nano world.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Example:
        >>> problems = open_problems(None, 3)
        >>> len(problems), problems[0].id == problems.ids[0]
        (3, True)
    """
    if data is None or str(data) == "nano":
        return NanoProblems(num_problems, split)
    return ProblemSource(data, num_problems, split, rules, columns)
