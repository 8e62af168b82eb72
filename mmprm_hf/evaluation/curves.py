"""Best-of-N curves: what every smaller N would have given, from candidates generated once at the largest N.

A value at N is the expectation over all subsets of N of the problem's M candidates, not one draw. Single candidates
and the best score have closed forms. For votes the subsets are counted (`counting`) or, of more candidates than that
takes, listed where they are few; else they are drawn, with their Monte Carlo error. At N = M every value is that of
`best_of_n_report`.

Invariant: what is undecided leaves numerator and denominator. Imports `metrics` and its own room only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import metrics
from .counting import MAX_COUNTED, closed_forms, counted_expectations
from .evaluators import PRM_METRICS, are_unscored, candidate_counts, judged_problems
from .subsets import Pool, all_subsets, drawn_subsets, listed_expectations, pool_of_problem

CURVE_METRICS = ("random_distinct", "mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle")
"""Metrics of `best_of_n_curves`: those of `best_of_n_report` but for greedy, which is none of the candidates."""

MAX_SUBSETS = 20_000
"""Subsets of one problem are enumerated up to this many (all sizes of 16 candidates), and drawn beyond."""

NUM_DRAWN = 1_000
"""Subsets drawn for each problem where there are too many to enumerate; at least 2, for the Monte Carlo error."""

Expected = dict[str, list[tuple[float | None, float]]]
"""Per metric, each problem's value at one N, and the squared error that drawing subsets adds to it."""


def best_of_n_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    aggregation: str = "min",
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every metric of the best-of-N table at each N, with 95 % bootstrap intervals over problems.

    The value of a problem at N is the mean of the metric over those subsets of N candidates that it decides; a problem
    of which it decides none leaves the metric at that N. Whether a problem counts at all depends on the whole row, as
    in `best_of_n_report`.

    - ``best_of_n`` and ``oracle`` are exact for every N, ``mean_pass_at_1`` does not depend on N.
    - ``random_distinct``, ``majority_vote`` and ``weighted_vote`` are exact where C(M, N) <= `MAX_SUBSETS`. Else
      `NUM_DRAWN` subsets are drawn for each problem, and ``monte_carlo_error`` is the standard error that this adds.
    - Answers are grouped once, over all M candidates; ties go to the group that appears first in the subset.

    Args:
        rows: One mapping per problem as `best_of_n_report` takes them, M candidates each.
        aggregation: One of `selection.AGGREGATIONS`.
        sizes: Values of N; None for the powers of two below M, and M.
        seed: Seed of the drawn subsets.

    Returns:
        ``num_problems``, ``num_candidates`` (M), ``num_undecided``, ``num_incomplete``, ``num_problems_undecided``,
        ``aggregation``, ``seed``; ``sizes``, one dict per N of ``n``, ``num_subsets`` (of each problem) and
        ``is_exact``; ``curves``, per metric one dict per N of ``n``, ``value``, ``ci_low``, ``ci_high``,
        ``num_decided`` (problems) and ``monte_carlo_error``; ``against_majority_vote``, for each of `PRM_METRICS` one
        dict per N of ``n`` and what `metrics.paired_difference` returns.

    Raises:
        ValueError: for rows that `best_of_n_report` refuses, or an N outside 1..M.
    """
    problems = judged_problems(rows)
    counts = candidate_counts(problems)
    num_candidates = counts["num_candidates"]
    pools = [pool_of_problem(problem, aggregation) for problem in problems]
    unmeasured = PRM_METRICS if are_unscored(problems) else ()
    sizes = _check_sizes(sizes, num_candidates)
    expected_at = _expected(pools, sizes, seed, unmeasured)
    return {
        **{name: count for name, count in counts.items() if name != "num_unscored"},
        "aggregation": aggregation,
        "seed": seed,
        "sizes": [_size_facts(size, num_candidates) for size in sizes],
        "curves": {name: [_point(size, expected_at[size][name]) for size in sizes] for name in CURVE_METRICS},
        "against_majority_vote": {
            name: [{"n": size, **_against_majority_vote(expected_at[size], name)} for size in sizes]
            for name in PRM_METRICS
        },
    }


def _expected(pools: Sequence[Pool], sizes: Sequence[int], seed: int, unmeasured: Sequence[str]) -> dict[int, Expected]:
    """What every metric gets at each N; drawn subsets depend on the seed, the size and the problem's index alone."""
    num_candidates = len(pools[0].outcomes)
    exact = [size for size in sizes if _is_exact(size, num_candidates)]
    counted_sizes = exact if num_candidates <= MAX_COUNTED else []
    every_subset = {size: all_subsets(num_candidates, size) for size in exact if size not in counted_sizes}
    expected: dict[int, Expected] = {size: {name: [] for name in CURVE_METRICS} for size in sizes}
    for index, pool in enumerate(pools):
        if pool.is_undecided:
            continue
        counted = counted_expectations(pool, counted_sizes)
        for size in sizes:
            if size in counted:
                entries = counted[size]
            elif size in exact:
                listed = listed_expectations(pool, every_subset[size])
                entries = {name: (value, 0.0) for name, (value, _) in listed.items()}
            else:
                subsets = drawn_subsets(num_candidates, size, NUM_DRAWN, (seed, size, index))
                entries = listed_expectations(pool, subsets)
            for name, entry in {**closed_forms(pool, size), **entries}.items():
                expected[size][name].append((None, 0.0) if name in unmeasured else entry)
    return expected


def _is_exact(size: int, num_candidates: int) -> bool:
    return math.comb(num_candidates, size) <= MAX_SUBSETS


def _size_facts(size: int, num_candidates: int) -> dict[str, Any]:
    is_exact = _is_exact(size, num_candidates)
    num_subsets = math.comb(num_candidates, size) if is_exact else NUM_DRAWN
    return {"n": size, "num_subsets": num_subsets, "is_exact": is_exact}


def _point(size: int, expected: Sequence[tuple[float | None, float]]) -> dict[str, Any]:
    """One point of a curve."""
    decided = [value for value, _ in expected if value is not None]
    error = math.sqrt(math.fsum(variance for _, variance in expected)) / len(decided) if decided else None
    return {"n": size, **metrics.mean_with_interval(decided), "num_decided": len(decided), "monte_carlo_error": error}


def _against_majority_vote(expected: Expected, name: str) -> dict[str, Any]:
    return metrics.paired_difference(
        [value for value, _ in expected[name]], [value for value, _ in expected["majority_vote"]]
    )


def _check_sizes(sizes: Sequence[int] | None, num_candidates: int) -> list[int]:
    """The values of N, ascending and each once."""
    if sizes is None:
        sizes = [2**power for power in range(num_candidates.bit_length()) if 2**power < num_candidates]
        sizes.append(num_candidates)
    if not sizes or not all(1 <= size <= num_candidates for size in sizes):
        raise ValueError(
            f"Found the sizes {list(sizes)} with {num_candidates} candidates per problem. Every N must lie in "
            f"1..{num_candidates}; generate more candidates for a larger N."
        )
    return sorted(set(sizes))
