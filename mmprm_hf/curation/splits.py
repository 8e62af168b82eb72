"""Which problems must be in one split, and the split of each such group. Pure."""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence

import numpy as np
from scipy import sparse

from ..data import content_hash
from .config import CurationConfig
from .duplicates import Pair
from .sources import Entry


def split_groups(entries: Sequence[Entry], pairs: Sequence[Pair], dropped: Collection[int]) -> dict[str, list[int]]:
    """Return the indices of the kept problems of each split group, by its name.

    A group holds problems that pairs join, directly or in a chain, and those that their source has in one group. A
    dropped problem joins others, too: two variants of it stay together.
    """
    first_member: dict[tuple[str, str], int] = {}
    titles: dict[str, set[str]] = collections.defaultdict(set)
    joined = [(pair.first, pair.second) for pair in pairs]
    for index, entry in enumerate(entries):
        if entry.split_group is not None:
            titles[entry.split_group].add(entry.source.title)
            joined.append((first_member.setdefault((entry.source.title, entry.split_group), index), index))
    members: dict[int, list[int]] = collections.defaultdict(list)
    for index, first in enumerate(first_of_group(len(entries), joined)):
        if index not in dropped:
            members[first].append(index)
    groups: dict[str, list[int]] = {}
    for first, indices in members.items():
        own_names = {entries[index].split_group for index in indices}
        name = own_names.pop() if len(own_names) == 1 else None
        is_unique = name is not None and len(titles[name]) == 1 and name not in groups
        groups[name if is_unique else content_hash("split_group", entries[first].id)] = indices
    return groups


def draw_splits(groups: dict[str, list[int]], entries: Sequence[Entry], config: CurationConfig) -> dict[str, str]:
    """Return the split of every group, groups in the order in which they are drawn.

    A group goes where its source is sent. The others are drawn by a hash of name and seed: to the test split as long as
    they fit, then to the train split.
    """
    splits: dict[str, str] = {}
    for name, indices in groups.items():
        sent = {entries[index].source.config.into for index in indices}
        if sent != {"auto"}:
            splits[name] = "test" if "test" in sent else "train"
    num_test = sum(len(groups[name]) for name, split in splits.items() if split == "test")
    drawn = sorted(groups, key=lambda name: content_hash("split", config.seed, name))
    for name in drawn:
        if name not in splits:
            is_test = config.num_test is not None and num_test + len(groups[name]) <= config.num_test
            splits[name] = "test" if is_test else "train"
            num_test += len(groups[name]) * is_test
    return {name: splits[name] for name in drawn}


def first_of_group(num_problems: int, joined: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each problem the smallest index of its group; pairs join groups, also in chains.

    Example:
        >>> first_of_group(6, [(0, 2), (2, 3), (4, 5)])
        [0, 1, 0, 0, 4, 4]
    """
    firsts, seconds = np.array(joined, dtype=int).reshape(-1, 2).T
    matrix = sparse.coo_array((np.ones(len(joined)), (firsts, seconds)), shape=(num_problems, num_problems))
    _, labels = sparse.csgraph.connected_components(matrix, directed=False)
    first: dict[int, int] = {}
    return [first.setdefault(label, index) for index, label in enumerate(labels)]
