"""Best-of-N curves: what every smaller N would have given, from candidates generated once at the largest N.

A value at N is the expectation over all subsets of N of the problem's M candidates, not one draw. Single candidates
and the best score have closed forms; votes need the subsets themselves, all of them where they are few, else seeded
ones with their Monte Carlo error. At N = M every value is that of `best_of_n_report`.

Invariant: what is not decided leaves numerator and denominator. Imports `metrics` and its own room only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import metrics
from .evaluators import BY_PRM, checked_rows, lack_scores, mean_with_interval
from .subsets import all_subsets, drawn_subsets, expectations, pool_of

CURVE_METRICS: tuple[str, ...] = (
    "random_distinct",
    "mean_pass_at_1",
    "majority_vote",
    "best_of_n",
    "weighted_vote",
    "oracle",
)
"""Metrics of `best_of_n_curves`: those of `best_of_n_report` but for greedy, which is none of the candidates."""

COMPARED: tuple[str, ...] = ("best_of_n", "weighted_vote")
"""Metrics compared with majority vote at every N."""

MAX_SUBSETS = 20_000
"""Subsets of one problem are enumerated up to this many (all sizes of 16 candidates), and drawn beyond."""

NUM_DRAWN = 1_000
"""Subsets drawn for each problem where there are too many to enumerate."""


def best_of_n_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    aggregation: str = "min",
    sizes: Sequence[int] | None = None,
    max_subsets: int = MAX_SUBSETS,
    num_drawn: int = NUM_DRAWN,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every metric of the best-of-N table at each N, with 95 % bootstrap intervals over problems.

    The value of a problem at N is the mean over all subsets of N candidates of what the metric says of the subset,
    over those subsets that it decides: the chosen candidate is not undecided (oracle, shares: some candidate is not).
    A problem of which no subset is decided leaves the metric at that N. Which problems count at all is asked of the
    whole row, as in `best_of_n_report`: one whose complete responses are all undecided leaves every metric.

    - ``best_of_n`` and ``oracle`` are exact for every N, ``mean_pass_at_1`` does not depend on N.
    - ``random_distinct``, ``majority_vote`` and ``weighted_vote`` are exact where C(M, N) <= `max_subsets`. Else
      `num_drawn` subsets are drawn for each problem, and ``monte_carlo_error`` is the standard error that this adds.
    - Answers are grouped once, over all M candidates; ties go to the group that appears first in the subset.
    - Where no candidate of a subset is scored the first one stands, with its own verdict (incomplete: wrong); where
      none of any problem is scored `evaluators.BY_PRM` are None.

    Args:
        rows: One mapping per problem as `best_of_n_report` takes them, M candidates each.
        aggregation: One of `selection.AGGREGATIONS`.
        sizes: Values of N; None for the powers of two below M, and M.
        max_subsets: Largest number of subsets of a problem to enumerate.
        num_drawn: Subsets to draw for each problem where there are more, at least 2.
        seed: Seed of the subsets, each problem and N having a stream of its own.

    Returns:
        ``num_problems``, ``num_candidates`` (M), ``num_undecided``, ``num_incomplete``, ``num_problems_undecided``,
        ``aggregation``, ``seed``; ``sizes``, one dict per N of ``n``, ``num_subsets`` (of each problem) and
        ``is_exact``; ``curves``, per metric one dict per N of ``n``, ``value``, ``ci_low``, ``ci_high``,
        ``num_decided`` (problems) and ``monte_carlo_error``; ``against_majority_vote``, for each of `COMPARED` one
        dict per N as `compare` returns it, with ``n``.

    Raises:
        ValueError: for rows that `best_of_n_report` refuses, an N outside 1..M, or too few subsets to draw.

    Example:
        >>> verdicts = ["correct", "incorrect", "incorrect", "incorrect"]
        >>> candidates = [{"steps": [], "answer": None, "complete": True, "verdict": verdict} for verdict in verdicts]
        >>> result = best_of_n_curves([{"problem_id": "p", "candidates": candidates}])
        >>> [(point["n"], point["value"]) for point in result["curves"]["oracle"]]
        [(1, 0.25), (2, 0.5), (4, 1.0)]
    """
    rows = checked_rows(rows)
    num_candidates = len(rows[0]["candidates"])
    by_prm = BY_PRM if lack_scores(rows) else ()
    sizes = _check_sizes(sizes, num_candidates, num_drawn)
    pools = [pool_of(row, aggregation) for row in rows]
    counted = [(index, pool) for index, pool in enumerate(pools) if not pool.is_undecided]
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in CURVE_METRICS}
    comparisons: dict[str, list[dict[str, Any]]] = {name: [] for name in COMPARED}
    size_facts = []
    for size in sizes:
        is_exact = math.comb(num_candidates, size) <= max_subsets
        everything = all_subsets(num_candidates, size) if is_exact else None
        values: dict[str, list[float | None]] = {name: [] for name in CURVE_METRICS}
        variances: dict[str, list[float]] = {name: [] for name in CURVE_METRICS}
        for index, pool in counted:
            subsets = everything if is_exact else drawn_subsets(num_candidates, size, num_drawn, (seed, size, index))
            for name, (value, variance) in expectations(pool, size, subsets).items():
                value = None if name in by_prm else value
                values[name].append(value)
                variances[name].append(0.0 if is_exact or value is None else variance)
        for name in CURVE_METRICS:
            decided = [value for value in values[name] if value is not None]
            error = math.sqrt(math.fsum(variances[name])) / len(decided) if decided else None
            point = {"n": size, **mean_with_interval(decided)}
            curves[name].append(point | {"num_decided": len(decided), "monte_carlo_error": error})
        for name in COMPARED:
            comparisons[name].append({"n": size} | compare(values[name], values["majority_vote"]))
        num_subsets = math.comb(num_candidates, size) if is_exact else num_drawn
        size_facts.append({"n": size, "num_subsets": num_subsets, "is_exact": is_exact})
    return {
        "num_problems": len(rows),
        "num_candidates": num_candidates,
        "num_undecided": sum(outcome is None for pool in pools for outcome in pool.outcomes),
        "num_incomplete": sum(not candidate["complete"] for row in rows for candidate in row["candidates"]),
        "num_problems_undecided": len(rows) - len(counted),
        "aggregation": aggregation,
        "seed": seed,
        "sizes": size_facts,
        "curves": curves,
        "against_majority_vote": comparisons,
    }


def compare(values: Sequence[float | None], baseline: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean difference of two metrics over the problems that both decide, paired by problem.

    Args:
        values, baseline: One value per problem, in one order; None where it is undecided.

    Returns:
        ``difference`` (values minus baseline) with its 95 % bootstrap interval ``ci_low``, ``ci_high``; ``p_value``
        of `metrics.sign_flip_p_value`; ``num_problems``, ``num_better``, ``num_worse``. None without a problem.

    Example:
        >>> compare([1.0, 1.0, None], [1.0, 0.0, 1.0])["difference"]
        0.5
    """
    pairs = zip(values, baseline, strict=True)
    differences = [value - base for value, base in pairs if value is not None and base is not None]
    mean = mean_with_interval(differences)
    return {
        "difference": mean["value"],
        "ci_low": mean["ci_low"],
        "ci_high": mean["ci_high"],
        "p_value": metrics.sign_flip_p_value(differences) if differences else None,
        "num_problems": len(differences),
        "num_better": sum(difference > 0 for difference in differences),
        "num_worse": sum(difference < 0 for difference in differences),
    }


def _check_sizes(sizes: Sequence[int] | None, num_candidates: int, num_drawn: int) -> list[int]:
    """The values of N, ascending and each once."""
    if num_drawn < 2:
        raise ValueError(f"Found num_drawn={num_drawn}. A Monte Carlo error needs at least 2 subsets; draw more.")
    if sizes is None:
        sizes = [2**power for power in range(num_candidates.bit_length()) if 2**power < num_candidates]
        sizes.append(num_candidates)
    wrong = [size for size in sizes if not 1 <= size <= num_candidates]
    if wrong or not sizes:
        raise ValueError(
            f"Found the sizes {list(sizes)} with {num_candidates} candidates per problem. Every N must lie in "
            f"1..{num_candidates}; generate more candidates for a larger N."
        )
    return sorted(set(sizes))
