"""Evaluators: candidate rows to the best-of-N table, step scores to step-level figures, and the table as text.

Rows are plain dicts as the rerank stage writes them. Every selection is made over all candidates of a problem; what
is not decided leaves numerator and denominator and is counted. Imports level 0 and `metrics` only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import metrics
from ..answers import group_answers
from ..data import Verdict
from ..rows import check_candidate_row
from ..selection import outcome_by_selection

METRIC_NAMES: dict[str, str] = {
    "greedy": "greedy accuracy",
    "random_distinct": "random among distinct",
    "mean_pass_at_1": "mean pass@1",
    "majority_vote": "majority vote@{n}",
    "best_of_n": "PRM best-of-{n}",
    "weighted_vote": "PRM-weighted vote@{n}",
    "oracle": "oracle pass@{n}",
}
"""Metric keys of `best_of_n_report` in table order, with their names in words."""

BY_PRM: tuple[str, ...] = ("best_of_n", "weighted_vote")
"""Metrics that step scores make; None where no complete candidate of any problem is scored."""


def best_of_n_report(rows: Sequence[Mapping[str, Any]], *, aggregation: str = "min") -> dict[str, Any]:
    """Return the best-of-N table: baselines, PRM selections and oracle, each with a 95 % bootstrap interval.

    Each metric is a mean over problems of a value in [0, 1]:

    - ``greedy``: whether the greedy response is right.
    - ``random_distinct``: share of right ones among the distinct (steps and answer) complete candidates: what a PRM
      that knows nothing gets. Incomplete candidates are left out, as no selection takes them; 0 if all are.
    - ``mean_pass_at_1``: share of right ones among all decided candidates.
    - ``majority_vote``, ``weighted_vote``: whether the winning answer is right; 0 if nobody votes. Weights are
      `vote_weight` of the aggregated score.
    - ``best_of_n``: whether the candidate with the highest aggregated score is right (ties: higher mean step score,
      then the first; where none of a problem's candidates is scored the first one stands). Not measured, like the
      weighted vote, where no candidate of any problem is scored.
    - ``oracle``: whether any candidate is right.

    An incomplete candidate is wrong, whatever its verdict field says, and is never selected. An undecided one leaves
    numerator and denominator: it drops out of the shares, and a problem leaves a metric if the chosen candidate is
    undecided. A problem of which no complete response is decided (no gold, say) leaves every metric.

    Args:
        rows: One mapping per problem: ``problem_id``; ``candidates``, a non-empty list, equally long in all rows;
            ``greedy``, a candidate or None. A candidate has ``steps``, ``answer``, ``complete``, ``verdict``
            ("correct", "incorrect" or "undecided") and, among the candidates, ``step_scores`` (one number in [0, 1]
            per step; None or empty where it was not scored, which never wins over a scored one).
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        ``num_problems``, ``num_candidates`` (per problem), ``num_undecided``, ``num_incomplete`` and ``num_unscored``
        (candidates; complete ones without step scores),
        ``num_problems_undecided``, ``aggregation``, ``metrics`` (per metric ``value``, ``ci_low``, ``ci_high``; None
        where no problem is decided) and ``num_decided`` (problems behind each metric).

    Raises:
        ValueError: for no rows, rows without or with different numbers of candidates, an unknown verdict or
            aggregation, or step scores that do not match the steps.
    """
    rows = checked_rows(rows)
    by_prm = BY_PRM if lack_scores(rows) else ()
    values: dict[str, list[float]] = {name: [] for name in METRIC_NAMES}
    num_problems_undecided = 0
    for row in rows:
        responses = [*row["candidates"], *([row["greedy"]] if row.get("greedy") else [])]
        complete = [response for response in responses if response["complete"]]
        if complete and all(outcome_of_response(response) is None for response in complete):
            num_problems_undecided += 1
            continue
        for name, value in _problem_values(row, aggregation).items():
            if value is not None and name not in by_prm:
                values[name].append(value)
    candidates = [candidate for row in rows for candidate in row["candidates"]]
    return {
        "num_problems": len(rows),
        "num_candidates": len(rows[0]["candidates"]),
        "num_undecided": sum(outcome_of_response(candidate) is None for candidate in candidates),
        "num_incomplete": sum(not candidate["complete"] for candidate in candidates),
        "num_unscored": sum(c["complete"] and not c.get("step_scores") for c in candidates),
        "num_problems_undecided": num_problems_undecided,
        "aggregation": aggregation,
        "metrics": {name: mean_with_interval(values[name]) for name in METRIC_NAMES},
        "num_decided": {name: len(values[name]) for name in METRIC_NAMES},
    }


def format_table(report: Mapping[str, Any], cost: Mapping[str, Any] | None = None) -> str:
    """Return a `best_of_n_report` as an aligned plain-text table: names in words, percent, 95 % intervals.

    With a `cost` (`results.answer_costs`) two columns say how many tokens and seconds one answer takes, and a line how
    long the stages took. A metric without a decided problem reads "not measured".
    """
    n = report["num_candidates"]
    width = max(len(name.format(n=n)) for name in METRIC_NAMES.values())
    header = f"{'':<{width}}  {'value':>7}   {'95 % interval':<15}"
    header += f"{'tokens':>9}{'seconds':>10}  an answer" if cost else ""
    header = header.rstrip()
    lines = [
        f"{report['num_problems']} problems, {n} candidates each, step scores aggregated by {report['aggregation']}",
        "",
        header,
        "-" * len(header),
    ]
    for key, name in METRIC_NAMES.items():
        entry = report["metrics"][key]
        if entry["value"] is None:
            lines.append(f"{name.format(n=n):<{width}}  not measured")
            continue
        interval = f"{100 * entry['ci_low']:5.1f} to {100 * entry['ci_high']:5.1f}"
        line = f"{name.format(n=n):<{width}}  {100 * entry['value']:5.1f} %   {interval:<15}"
        line += _cost_columns(cost["answers"].get(key)) if cost else ""
        if report["num_decided"][key] != report["num_problems"]:
            line += f"   of {report['num_decided'][key]} problems"
        lines.append(line.rstrip())
    lines.append("-" * len(header))
    counts = f"left out as undecided: {report['num_undecided']} candidates, {report['num_problems_undecided']} problems"
    lines.append(f"{counts}; incomplete, counted as wrong: {report['num_incomplete']} candidates")
    if report.get("num_unscored"):
        lines.append(f"complete but without step scores: {report['num_unscored']} candidates")
    if cost and cost["seconds"]:
        lines.append(", ".join(f"{stage}: {seconds:.1f} s" for stage, seconds in cost["seconds"].items()))
    return "\n".join(lines)


def _cost_columns(answer: Mapping[str, float | None] | None) -> str:
    """Tokens and seconds of one answer; "-" where they are not known."""
    tokens, seconds = (answer or {}).get("tokens"), (answer or {}).get("seconds")
    return ("-" if tokens is None else f"{tokens:.0f}").rjust(9) + ("-" if seconds is None else f"{seconds:.3f}").rjust(
        10
    )


def checked_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as `check_candidate_row` returns them, after checking that all have equally many candidates."""
    if not rows:
        raise ValueError("Found 0 rows. A best-of-N report needs at least one problem; check the candidates file.")
    rows = [check_candidate_row(row, f"row {number}", need_verdicts=True) for number, row in enumerate(rows, start=1)]
    sizes = {len(row["candidates"]) for row in rows}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"Found problems with {sorted(sizes)} candidates. Every problem needs the same number, at least 1; "
            "keep incomplete candidates in the rows (they count as wrong), or subsample to the smallest number."
        )
    return rows


def lack_scores(rows: Sequence[Mapping[str, Any]]) -> bool:
    """True if there are complete candidates and none of them, of any problem, has step scores: no PRM read them."""
    complete = [candidate for row in rows for candidate in row["candidates"] if candidate["complete"]]
    return bool(complete) and not any(candidate.get("step_scores") for candidate in complete)


def outcome_of_response(candidate: Mapping[str, Any]) -> float | None:
    """1.0 right, 0.0 wrong or incomplete, None undecided."""
    if not candidate["complete"]:
        return 0.0
    verdict = Verdict(candidate["verdict"])
    return None if verdict is Verdict.UNDECIDED else float(verdict is Verdict.CORRECT)


def _problem_values(row: Mapping[str, Any], aggregation: str) -> dict[str, float | None]:
    """The value of every metric on one problem; None where it is undecided."""
    candidates = row["candidates"]
    outcomes = [outcome_of_response(candidate) for candidate in candidates]
    step_scores = [tuple(c.get("step_scores") or ()) if c["complete"] else () for c in candidates]
    groups = group_answers([c["answer"] if c["complete"] else None for c in candidates])
    distinct = {
        (tuple(c["steps"]), c["answer"]): outcome
        for c, outcome in zip(candidates, outcomes, strict=True)
        if c["complete"]
    }
    return {
        "greedy": outcome_of_response(row["greedy"]) if row.get("greedy") else None,
        "random_distinct": mean_decided(list(distinct.values())) if distinct else 0.0,
        **outcome_by_selection(outcomes, step_scores, groups, aggregation),
    }


def mean_decided(outcomes: Sequence[float | None]) -> float | None:
    """Mean of the decided outcomes; None if there is none."""
    decided = [outcome for outcome in outcomes if outcome is not None]
    return math.fsum(decided) / len(decided) if decided else None


def mean_with_interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean with its 95 % bootstrap interval; None three times for no values."""
    if not values:
        return {"value": None, "ci_low": None, "ci_high": None}
    low, high = metrics.bootstrap_ci(values)
    return {"value": math.fsum(values) / len(values), "ci_low": low, "ci_high": high}
