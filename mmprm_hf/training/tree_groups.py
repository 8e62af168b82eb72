"""Rows of one problem joined into groups, each of which becomes one packed row within a token budget."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from ..data import content_hash
from ..models import load_image
from ..progress import progress_bar
from ..rows import row_images
from ..scoring import num_common
from .rows import TokenCounter, raw_rows, row_prompt, select_rows


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """Rows of a dataset that become one packed row."""

    key: str  # equal for all groups of one problem
    indices: tuple[int, ...]
    num_tokens: int  # of the packed row: prompt with images, and each distinct prefix of the steps once


def group_key(row: Mapping[str, Any]) -> str | None:
    """Return a hash of the id (of the problem, or else of the tree), question and figures; None without an id."""
    name = row.get("tree_id") if row.get("problem_id") is None else row["problem_id"]
    if name is None:
        return None
    return content_hash(name, row_prompt(row), [_image_key(image) for image in row_images(row)])


def _image_key(image: Any) -> str:
    if isinstance(image, dict) and isinstance(image.get("bytes"), bytes):
        return content_hash(image["bytes"].hex())
    if isinstance(image, dict) and image.get("bytes") is None:
        image = image.get("path")
    if isinstance(image, (str, os.PathLike)):
        return content_hash(str(image))
    image = load_image(image)
    return content_hash(image.size, image.tobytes().hex())


def group_rows(dataset: Any, counter: TokenCounter, max_tokens: int, *, quiet: bool = True) -> list[RowGroup]:
    """Return the groups of a dataset's rows, in the order of their first rows; a row without an id is a group alone.

    A problem over the budget gives several groups: its solutions are sorted, so that neighbours share most, and fill
    one group after the other. A budget that is at least the limit of a single row is always enough.

    Args:
        dataset: Checked rows.
        counter: Counts their tokens.
        max_tokens: The most tokens of a packed row.
        quiet: No progress bar.
    """
    members: dict[str, list[int]] = {}
    shown = {"is_shown": not quiet, "delay": 2}
    for index, row in enumerate(progress_bar(raw_rows(dataset), desc="problems", total=len(dataset), **shown)):
        members.setdefault(group_key(row) or f"row {index}", []).append(index)
    groups: list[RowGroup] = []
    for key, indices in progress_bar(members.items(), desc="packing", **shown):
        encoded = [counter.encode(row) for row in raw_rows(select_rows(dataset, indices))]
        groups += _groups_of_problem(key, indices, encoded, max_tokens)
    return groups


def _groups_of_problem(
    key: str, indices: Sequence[int], encoded: Sequence[tuple[int, list[list[int]]]], max_tokens: int
) -> list[RowGroup]:
    """Groups of the rows of one problem, given as the tokens of the prompt and the token ids of every step."""
    num_prompt = encoded[0][0]
    solutions = sorted(
        (tuple(token for step in steps for token in step), index)
        for (_, steps), index in zip(encoded, indices, strict=True)
    )
    groups: list[RowGroup] = []
    members: list[int] = []
    num_tokens = 0
    previous: tuple[int, ...] = ()
    for ids, index in solutions:
        num_new = len(ids) - num_common(previous, ids)
        if members and num_tokens + num_new > max_tokens:
            groups.append(RowGroup(key, tuple(sorted(members)), num_tokens))
            members, num_tokens, num_new = [], 0, len(ids)
        num_tokens += num_new + (0 if members else num_prompt)
        members.append(index)
        previous = ids
    return [*groups, RowGroup(key, tuple(sorted(members)), num_tokens)]


class GroupedRows(Dataset):
    """A dataset whose items are lists: the rows of one group."""

    def __init__(self, rows: Any, groups: Sequence[RowGroup]) -> None:
        self.rows, self.groups = rows, list(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[Mapping[str, Any]]:
        return [self.rows[row] for row in self.groups[index].indices]

    @property
    def num_split_problems(self) -> int:
        """Number of problems whose rows are in more than one group."""
        return sum(count > 1 for count in Counter(group.key for group in self.groups).values())
