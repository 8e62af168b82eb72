"""Rows of one problem joined into groups, each of which becomes one packed row under a token budget."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from ..data import content_hash
from ..rows import row_images
from ..scoring import num_common
from .rows import TokenCounter, raw_rows, row_prompt

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """Rows that become one packed row.

    Args:
        indices: Of the rows in the dataset.
        num_tokens: Tokens of the packed row: prompt with images, and each distinct prefix of the steps once.
        num_raw_tokens: Tokens of the rows one by one.
    """

    indices: tuple[int, ...]
    num_tokens: int
    num_raw_tokens: int


def problem_of_row(row: Row) -> str | None:
    """What rows of one problem have in common: its id (or the tree's), question and figures; None without an id."""
    name = row.get("tree_id") if row.get("problem_id") is None else row["problem_id"]
    if name is None:
        return None
    return content_hash(name, row_prompt(row), [_image_key(image) for image in row_images(row)])


def _image_key(image: Any) -> str:
    if isinstance(image, dict):
        content = image.get("bytes")
        return content_hash(image.get("path")) if content is None else content_hash(content.hex())
    if isinstance(image, (str, os.PathLike)):
        return content_hash(str(image))
    return content_hash(image.mode, image.size, image.convert("RGBA").tobytes().hex())


def group_rows(dataset: Any, counter: TokenCounter, max_tokens: int, *, quiet: bool = True) -> list[RowGroup]:
    """Groups of a dataset's rows, in the order of their first rows; rows without a problem's id stand alone.

    A problem over the budget gets several groups: its solutions are sorted, so that neighbours share most, and dealt
    out in that order. A single row is never over a budget that is at least the rows' own limit.

    Args:
        dataset: `datasets.Dataset` or a sequence of rows that were checked.
        counter: Counts tokens.
        max_tokens: Most tokens of a packed row.
        quiet: No progress bar.
    """
    members: dict[str, list[int]] = {}
    for index, row in enumerate(tqdm(raw_rows(dataset), "problems", len(dataset), disable=quiet, delay=2)):
        members.setdefault(problem_of_row(row) or f"row {index}", []).append(index)
    groups: list[RowGroup] = []
    for indices in tqdm(members.values(), "packing", disable=quiet, delay=2):
        rows = (
            raw_rows(dataset.select(indices))
            if isinstance(dataset, datasets.Dataset)
            else map(dataset.__getitem__, indices)
        )
        groups += _groups_of_problem(indices, [counter.encode(row) for row in rows], max_tokens)
    return groups


def _groups_of_problem(
    indices: Sequence[int], encoded: Sequence[tuple[int, list[list[int]]]], max_tokens: int
) -> list[RowGroup]:
    """Groups of one problem's rows, given as tokens of the prompt and token ids of every step."""
    num_prompt = encoded[0][0]
    rows = sorted(
        (tuple(i for step in steps for i in step), index) for (_, steps), index in zip(encoded, indices, strict=True)
    )
    groups: list[RowGroup] = []
    chosen: list[int] = []
    num_tokens = num_raw = 0
    previous: tuple[int, ...] = ()
    for ids, index in rows:
        num_new = len(ids) - num_common(previous, ids)
        if chosen and num_tokens + num_new > max_tokens:
            groups.append(RowGroup(tuple(sorted(chosen)), num_tokens, num_raw))
            chosen, num_tokens, num_raw, num_new = [], 0, 0, len(ids)
        num_tokens += num_new + (0 if chosen else num_prompt)
        num_raw += num_prompt + len(ids)
        chosen.append(index)
        previous = ids
    return [*groups, RowGroup(tuple(sorted(chosen)), num_tokens, num_raw)]


def num_split_problems(dataset: Any, groups: Sequence[RowGroup]) -> int:
    """How many problems have rows in more than one group."""
    names = Counter(problem_of_row(dataset[group.indices[0]]) for group in groups)
    return sum(count > 1 for name, count in names.items() if name is not None)


class GroupedRows(Dataset):
    """A dataset whose items are the rows of one group.

    Args:
        rows: The rows.
        groups: Which rows each item has.
    """

    def __init__(self, rows: Any, groups: Sequence[RowGroup]) -> None:
        self.rows, self.groups = rows, list(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[Row]:
        return [self.rows[row] for row in self.groups[index].indices]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each packed row."""
        return [group.num_tokens for group in self.groups]


__all__ = ["GroupedRows", "RowGroup", "group_rows", "num_split_problems", "problem_of_row"]
