"""Expectations of votes over all subsets of one problem's candidates, counted rather than listed.

A vote is won by the answer group with the greatest key, so that it is enough to count: for each choice of a group's
members, the subsets in which every other group has a smaller key. Counts of subsets by their size are polynomials
whose coefficient of z^n counts those of size n; choices from disjoint sets of candidates multiply. A polynomial is one
integer, its value at z = 2^`_BITS`, so that a product of polynomials is a product of integers.

Values are those of `subsets`, ties and all (`tests/evaluation/test_curves.py` compares both with brute force).
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

from .. import metrics
from ..selection import pass_at_k
from .subsets import ROUNDING, Pool

MAX_COUNTED = 16
"""Most candidates whose subsets are counted: the choices of one group are listed, 2^16 of them at most."""

_BITS = 32  # a coefficient counts some of at most 2^MAX_COUNTED subsets
_SHARES = 2**80  # shares of at most MAX_COUNTED candidates are whole multiples of 1 / _SHARES
Entry = tuple[float | None, float]
"""A metric's value on one problem, and the squared error that drawing subsets adds to it: 0 here."""

Choice = tuple[int, float | None, int]
"""Number of a group, outcome of the candidate that wins if it does, polynomial of the choices of its members."""


def closed_forms(pool: Pool, size: int) -> dict[str, Entry]:
    """The metrics that depend on single candidates at one size, whatever the number of candidates."""
    return {
        "mean_pass_at_1": (metrics.mean_or_none(pool.outcomes), 0.0),
        "best_of_n": (_expected_best(pool, size), 0.0),
        "oracle": (_expected_oracle(pool, size), 0.0),
    }


def counted_expectations(pool: Pool, sizes: Sequence[int]) -> dict[int, dict[str, Entry]]:
    """The other metrics at each size, for at most `MAX_COUNTED` candidates."""
    if not sizes:
        return {}
    values = {
        "random_distinct": _random_distinct(pool, sizes),
        "majority_vote": _expected_vote(pool, sizes, _choices_by_count),
        "weighted_vote": _expected_vote(pool, sizes, _choices_by_weight),
    }
    return {size: {name: (by_size[i], 0.0) for name, by_size in values.items()} for i, size in enumerate(sizes)}


def _expected_best(pool: Pool, size: int) -> float | None:
    """Probability that the best of a random subset is right, given that it is decided.

    A candidate is the best of C(number of those below it, size - 1) subsets.
    """
    num_right = num_decided = 0
    for num_above, index in enumerate(pool.order):
        if pool.outcomes[index] is not None:
            num_wins = math.comb(len(pool.order) - 1 - num_above, size - 1)
            num_decided += num_wins
            num_right += num_wins * int(pool.outcomes[index])
    return num_right / num_decided if num_decided else None


def _expected_oracle(pool: Pool, size: int) -> float | None:
    """Probability that a random subset holds a right candidate, given that it holds a decided one."""
    num_candidates, num_undecided = len(pool.outcomes), pool.outcomes.count(None)
    if num_undecided == num_candidates:
        return None
    num_decided = math.comb(num_candidates, size) - math.comb(num_undecided, size)
    if not num_undecided:
        return pass_at_k(pool.outcomes.count(1.0), num_candidates, size)
    num_without = math.comb(num_candidates - pool.outcomes.count(1.0), size)
    return (math.comb(num_candidates, size) - num_without) / num_decided


def _one_or_none(number: int) -> int:
    """Polynomial of all choices from a number of candidates: (1 + z)^number."""
    return (1 + (1 << _BITS)) ** number


def _count(polynomial: int, size: int) -> int:
    """The coefficient of z^size."""
    return polynomial >> (_BITS * size) & ((1 << _BITS) - 1)


def _random_distinct(pool: Pool, sizes: Sequence[int]) -> list[float | None]:
    """Mean share of right ones among the distinct complete candidates, over the subsets that have a decided one."""
    copies = collections.Counter(number for number in pool.content_numbers if number is not None)
    outcomes = dict(zip(pool.content_numbers, pool.outcomes, strict=True))
    # Entry k is the polynomial of the choices from right (wrong) candidates that have k distinct ones.
    of_outcome = {1.0: [1], 0.0: [1], None: [1]}
    for content, number in copies.items():
        some = _one_or_none(number) - 1
        without = [*of_outcome[outcomes[content]], 0]
        of_outcome[outcomes[content]] = [a + some * b for a, b in zip(without, [0, *without], strict=False)]
    incomplete = _one_or_none(pool.content_numbers.count(None))
    undecided = sum(of_outcome[None])
    totals, decided = [0] * len(sizes), [_count(incomplete, size) for size in sizes]  # without a complete one it is 0
    for num_right, right in enumerate(of_outcome[1.0]):
        for num_wrong, wrong in enumerate(of_outcome[0.0]):
            if num_right + num_wrong:
                share = int(num_right / (num_right + num_wrong) * _SHARES)
                polynomial = right * wrong * undecided * incomplete
                for index, size in enumerate(sizes):
                    count = _count(polynomial, size)
                    decided[index] += count
                    totals[index] += count * share
    return [total / _SHARES / number if number else None for total, number in zip(totals, decided, strict=True)]


def _expected_vote(
    pool: Pool, sizes: Sequence[int], choices_of: Callable[[Pool, dict[Hashable, list[int]]], Iterable[Choice]]
) -> list[float | None]:
    """Probability that the vote's winner is right, given that it is decided; a vote without voters is wrong."""
    members: dict[Hashable, list[int]] = collections.defaultdict(list)
    for index, group in enumerate(pool.groups):
        if group is not None:
            members[group].append(index)
    others = _one_or_none(pool.groups.count(None))  # they do not vote
    outcomes = {pool.outcomes[index] for indices in members.values() for index in indices}
    wins = {1.0: 0, 0.0: 0, None: 0}  # polynomials of the choices from voters
    if len(outcomes) > 1:
        smaller = [1] * len(members)  # per group, of the choices with a smaller key; no member has the smallest
        for group, outcome, choices in choices_of(pool, members):
            wins[outcome] += choices * math.prod(smaller[:group]) * math.prod(smaller[group + 1 :])
            smaller[group] += choices
    elif outcomes:
        wins[outcomes.pop()] = _one_or_none(sum(map(len, members.values()))) - 1
    wins[0.0] += 1
    right, wrong = wins[1.0] * others, wins[0.0] * others
    values = []
    for size in sizes:
        num_right, num_wrong = _count(right, size), _count(wrong, size)
        values.append(num_right / (num_right + num_wrong) if num_right + num_wrong else None)
    return values


def _choices_by_count(pool: Pool, members: dict[Hashable, list[int]]) -> Iterator[Choice]:
    """Choices in the order of `selection.majority_vote`: number of members, then the first member, which wins."""
    choices = [
        (number, -first, group, math.comb(len(indices) - 1 - place, number - 1))
        for group, indices in enumerate(members.values())
        for place, first in enumerate(indices)
        for number in range(1, len(indices) - place + 1)
    ]
    for number, minus_first, group, count in sorted(choices):
        yield group, pool.outcomes[-minus_first], count << (_BITS * number)


def _choices_by_weight(pool: Pool, members: dict[Hashable, list[int]]) -> Iterator[Choice]:
    """Choices in the order of `selection.weighted_vote`: sum of weights, number of members, then the first member.

    Neighbours of one group and one outcome are one choice.
    """
    parts = [_choices_of_group(pool, indices) for indices in members.values()]
    sums, masks, numbers, winners = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    groups = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(sums)
    is_close = sums[order][:-1] >= sums[order][1:] * (1 - ROUNDING)
    is_doubtful = is_close & (groups[order][:-1] != groups[order][1:])
    if is_doubtful.any():
        _settle(order, is_close, is_doubtful, pool.weights, masks)
    codes = {None: 0, 0.0: 1, 1.0: 2}
    kinds = groups * 3 + np.array([codes[outcome] for outcome in pool.outcomes])[winners]
    starts = np.flatnonzero(np.diff(kinds[order], prepend=-1))
    runs = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    width = MAX_COUNTED + 1
    counts = np.bincount(runs * width + numbers[order], minlength=len(starts) * width)
    polynomials = counts.astype("<u4").tobytes()
    for run, event in enumerate(order[starts].tolist()):
        polynomial = int.from_bytes(polynomials[run * width * 4 : (run + 1) * width * 4], "little")
        yield int(groups[event]), pool.outcomes[winners[event]], polynomial


def _choices_of_group(pool: Pool, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All choices of at least one member: sums of weights, bit masks, numbers of members and winners."""
    size = 2 ** len(indices)
    sums, masks, numbers, winners = np.zeros(size), *np.zeros((3, size), dtype=np.int64)
    # Each member wins over those before it: it has a larger weight, or the same and comes first.
    for place, index in enumerate(sorted(indices, key=lambda index: (pool.weights[index], -index))):
        without, with_it = slice(2**place), slice(2**place, 2 ** (place + 1))
        sums[with_it] = sums[without] + pool.weights[index]
        masks[with_it] = masks[without] + (1 << index)
        numbers[with_it] = numbers[without] + 1
        winners[with_it] = index
    return sums[1:], masks[1:], numbers[1:], winners[1:]


def _settle(
    order: np.ndarray, is_close: np.ndarray, is_doubtful: np.ndarray, weights: Sequence[float], masks: np.ndarray
) -> None:
    """Sort anew, by exact sums, each chain of close sums that has two groups: plain addition rounds."""

    def key(choice: int) -> tuple[float, int, int]:
        members = [index for index in range(len(weights)) if masks[choice] >> index & 1]
        return math.fsum(weights[index] for index in members), len(members), -members[0]

    chains = np.cumsum(np.append(False, ~is_close))
    for chain in np.unique(chains[1:][is_doubtful]):
        start, end = np.searchsorted(chains, (chain, chain + 1))
        order[start:end] = sorted(order[start:end], key=key)
