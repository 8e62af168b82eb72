"""One problem's candidates over listed subsets: the best-of-N metrics that have no closed form, and the subsets.

Subsets are rows of 0.0 and 1.0, one column per candidate, so that votes are counted on all of them at once. Winners
are those of `selection`, ties and all (`tests/evaluation/test_curves.py` compares every subset).

Imports numpy, level 0 and `evaluators`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..selection import aggregate, vote_weight
from .evaluators import JudgedProblem

ROUNDING = 1e-9  # relative; sums of at most 1,024 weights in double precision differ by 1e-12


@dataclass(frozen=True)
class Pool:
    """What the metrics need of a problem; every tuple has one entry per candidate.

    Args:
        outcomes, groups, is_undecided: As in `JudgedProblem`.
        order: Candidate indices from best to worst.
        weights: Weights of the weighted vote.
        content_numbers: Candidates of equal steps and answer share a number; None for incomplete ones.
    """

    outcomes: tuple[float | None, ...]
    groups: tuple[int | None, ...]
    is_undecided: bool
    order: tuple[int, ...]
    weights: tuple[float, ...]
    content_numbers: tuple[int | None, ...]


def pool_of_problem(problem: JudgedProblem, aggregation: str) -> Pool:
    """The problem with its candidates in the order in which `selection.best_of_n` takes them."""
    ranks = [
        (aggregate(scores, aggregation), aggregate(scores, "mean"), -index)
        for index, scores in enumerate(problem.step_scores)
    ]
    number_of = {content: number for number, content in enumerate(dict.fromkeys(problem.contents))}
    return Pool(
        outcomes=problem.outcomes,
        groups=problem.groups,
        is_undecided=problem.is_undecided,
        order=tuple(sorted(range(len(ranks)), key=ranks.__getitem__, reverse=True)),
        weights=tuple(vote_weight(rank[0], aggregation) for rank in ranks),
        content_numbers=tuple(None if content is None else number_of[content] for content in problem.contents),
    )


def listed_expectations(pool: Pool, subsets: np.ndarray) -> dict[str, tuple[float | None, float]]:
    """``(value, squared Monte Carlo error were these subsets drawn)`` of the metrics that have no closed form."""
    majority, weighted = _majority_winners(pool, subsets), _weighted_winners(pool, subsets)
    outcomes = np.array([np.nan if outcome is None else outcome for outcome in (*pool.outcomes, 0.0)])
    return {
        "random_distinct": _mean_and_error(_random_distinct(pool, subsets)),
        "majority_vote": _mean_and_error(outcomes[majority]),  # -1, nobody votes, is the 0.0 at the end
        "weighted_vote": _mean_and_error(outcomes[weighted]),
    }


def _random_distinct(pool: Pool, subsets: np.ndarray) -> np.ndarray:
    """Share of right ones among each subset's distinct complete candidates; NaN where none is decided."""
    pairs = zip(pool.content_numbers, pool.outcomes, strict=True)
    outcomes = list({number: outcome for number, outcome in pairs if number is not None}.values())
    if not outcomes:
        return np.zeros(len(subsets))
    is_present = subsets @ _one_hot(pool.content_numbers) > 0  # (num_subsets, num_contents)
    num_decided = is_present @ np.array([outcome is not None for outcome in outcomes], dtype=float)
    num_right = is_present @ np.array([outcome or 0.0 for outcome in outcomes])
    shares = np.divide(num_right, num_decided, out=np.full(len(subsets), np.nan), where=num_decided > 0)
    return np.where(is_present.any(axis=1), shares, 0.0)


# --- Votes, on all subsets at once --------------------------------------------------------------------------------


def _majority_winners(pool: Pool, subsets: np.ndarray) -> np.ndarray:
    """Candidate index that `selection.majority_vote` takes of each subset; -1 where nobody votes."""
    members = _one_hot(pool.groups)
    if not members.shape[1]:
        return np.full(len(subsets), -1)
    counts = subsets @ members  # (num_subsets, num_groups)
    # The number of votes of each candidate's own group; 0 for candidates that are not in the subset or do not vote.
    votes = (counts @ members.T) * subsets
    return np.where(counts.any(axis=1), votes.argmax(axis=1), -1)


def _weighted_winners(pool: Pool, subsets: np.ndarray) -> np.ndarray:
    """Candidate index that `selection.weighted_vote` takes of each subset; -1 where nobody votes."""
    members, weights = _one_hot(pool.groups), np.array(pool.weights)
    if not members.shape[1]:
        return np.full(len(subsets), -1)
    counts = subsets @ members  # (num_subsets, num_groups)
    sums = subsets @ (members * weights[:, None])
    # The product rounds in an order of its own: where the two largest sums are close, exact ones decide.
    is_close = (sums >= sums.max(axis=1, keepdims=True) * (1 - ROUNDING)).sum(axis=1) > 1
    for group, column in enumerate(members.T if is_close.any() else ()):
        sums[is_close, group] = _exact_sums(subsets[is_close][:, column > 0], weights[column > 0])
    # Of the groups with the largest sum those with most members; of these the group of the first candidate.
    counts[sums < sums.max(axis=1, keepdims=True)] = 0
    is_best = (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)
    first = (is_best @ members.T * subsets).argmax(axis=1)
    is_of_winner = (members @ members.T)[first] * subsets > 0
    winners = np.where(is_of_winner, weights, -np.inf).argmax(axis=1)
    return np.where(is_best.any(axis=1), winners, -1)


def _exact_sums(chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of each row's chosen weights, rounded once as `math.fsum` does: what ties there must tie here."""
    codes = np.packbits(chosen > 0, axis=1)
    codes = np.ascontiguousarray(codes).view(f"S{codes.shape[1]}").ravel()
    _, rows, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.array([math.fsum(weights[chosen[row] > 0]) for row in rows])[inverse]


def _one_hot(numbers: Sequence[int | None]) -> np.ndarray:
    """Membership of each entry in each class (ascending), shape (len(numbers), num_classes); None is in no class."""
    classes = sorted({number for number in numbers if number is not None})
    members = [[float(number == name) for name in classes] for number in numbers]
    return np.array(members).reshape(len(numbers), len(classes))


def _mean_and_error(values: np.ndarray) -> tuple[float | None, float]:
    """Mean of the values that are decided (not NaN) and its squared standard error; None if no value is."""
    decided = values[~np.isnan(values)]
    if not len(decided):
        return None, 0.0
    return math.fsum(decided) / len(decided), float(decided.var(ddof=1)) / len(decided) if len(decided) > 1 else 0.0


# --- Subsets ------------------------------------------------------------------------------------------------------


def all_subsets(num_candidates: int, size: int) -> np.ndarray:
    """All subsets as rows of 0.0 and 1.0, shape (num_subsets, num_candidates)."""
    chosen = np.array(list(itertools.combinations(range(num_candidates), size)))
    return _as_membership(chosen, num_candidates)


def drawn_subsets(num_candidates: int, size: int, num_subsets: int, seed: Sequence[int]) -> np.ndarray:
    """`num_subsets` independent uniform subsets, as `all_subsets` gives them."""
    noise = np.random.default_rng(list(seed)).random((num_subsets, num_candidates))
    return _as_membership(noise.argsort(axis=1)[:, :size], num_candidates)


def _as_membership(chosen: np.ndarray, num_candidates: int) -> np.ndarray:
    membership = np.zeros((len(chosen), num_candidates))
    np.put_along_axis(membership, chosen, 1.0, axis=1)
    return membership
