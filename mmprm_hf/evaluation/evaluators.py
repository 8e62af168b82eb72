"""The best-of-N table of judged candidates, and how every metric of this room reads a problem's row.

Every selection is made over all candidates of a problem. What is undecided leaves numerator and denominator and is
counted. Imports level 0 only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .. import metrics
from ..answers import group_answers
from ..rows import candidate_outcome, check_candidate_row
from ..selection import outcome_by_selection
from ..steps import count_faults

METRICS = ("greedy", "random_distinct", "mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle")
"""What `best_of_n_report` measures; the value of a problem is in [0, 1].

- ``greedy``: whether the greedy response is right.
- ``random_distinct``: share of right ones among the distinct (steps and answer) complete candidates: what a selector
  that knows nothing gets. Incomplete candidates are left out, as no selection takes them; 0 if all are incomplete.
- ``mean_pass_at_1``: share of right ones among the decided candidates.
- ``majority_vote``, ``weighted_vote``: whether the answer with the most votes is right, or the one with the largest sum
  of `vote_weight`; 0 if nobody votes.
- ``best_of_n``: whether the candidate with the highest aggregated score is right (ties: higher mean step score, then
  the first; the first also where none of a problem's candidates is scored).
- ``oracle``: whether any candidate is right.
"""

PRM_METRICS = ("best_of_n", "weighted_vote")
"""Metrics that depend on step scores; None where no complete candidate of any problem is scored."""


@dataclasses.dataclass(frozen=True)
class JudgedProblem:
    """A problem's candidates as the metrics read them; every tuple has one entry per candidate.

    Args:
        outcomes: 1.0 (right), 0.0 (wrong or incomplete) or None (undecided).
        step_scores: Empty for a candidate that is incomplete or was not scored.
        groups: Number of the group of equal answers; None for a candidate that does not vote.
        contents: Steps and answer; None for an incomplete candidate.
        greedy: Outcome of the greedy response; None also where there is no such response.
        is_undecided: True if no complete response is decided (no gold answer, say): no metric counts the problem.
    """

    outcomes: tuple[float | None, ...]
    step_scores: tuple[tuple[float, ...], ...]
    groups: tuple[int | None, ...]
    contents: tuple[tuple[tuple[str, ...], str | None] | None, ...]
    greedy: float | None
    is_undecided: bool


def best_of_n_report(rows: Sequence[Mapping[str, Any]], *, aggregation: str = "min") -> dict[str, Any]:
    """Return the best-of-N table: the mean of each of `METRICS` over problems with its 95 % bootstrap interval.

    An incomplete candidate is wrong, whatever its verdict, and is never selected before a complete one. An undecided
    candidate leaves the shares, and a problem leaves a metric whose chosen candidate is undecided.

    Args:
        rows: One mapping per problem: ``problem_id``; ``candidates``, a non-empty list, equally long in all rows;
            ``greedy``, a candidate or None. A candidate has ``steps``, ``answer``, ``complete``, ``verdict``
            ("correct", "incorrect" or "undecided") and, among the candidates, ``step_scores`` (one number in [0, 1]
            per step; None or empty where it was not scored).
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        ``num_problems``, ``num_candidates`` (per problem), ``num_undecided``, ``num_incomplete`` and ``num_unscored``
        (candidates; complete ones without step scores), ``faults`` (incomplete candidates by `steps.FAULTS`; absent
        where no reason is recorded), ``num_problems_undecided``, ``aggregation``, ``metrics`` (per metric ``value``,
        ``ci_low``, ``ci_high``; None where no problem is decided) and ``num_decided`` (problems behind each metric).

    Raises:
        ValueError: for no rows, rows without or with different numbers of candidates, an unknown verdict or
            aggregation, or step scores that do not match the steps.
    """
    problems = judged_problems(rows)
    by_problem = [_metric_values(problem, aggregation) for problem in problems if not problem.is_undecided]
    values = {name: [outcomes[name] for outcomes in by_problem if outcomes[name] is not None] for name in METRICS}
    if are_unscored(problems):
        values |= {name: [] for name in PRM_METRICS}
    return {
        **candidate_counts(problems),
        **_faults(rows),
        "aggregation": aggregation,
        "metrics": {name: metrics.mean_with_interval(values[name]) for name in METRICS},
        "num_decided": {name: len(values[name]) for name in METRICS},
    }


def metric_values(rows: Sequence[Mapping[str, Any]], aggregation: str) -> list[dict[str, float | None]]:
    """The value of every metric on each problem that counts; None where it is undecided."""
    return [_metric_values(problem, aggregation) for problem in judged_problems(rows) if not problem.is_undecided]


def judged_problems(rows: Sequence[Mapping[str, Any]]) -> list[JudgedProblem]:
    """The problems of rows, after checking each row and that all have equally many candidates."""
    if not rows:
        raise ValueError("Found 0 rows. A best-of-N report needs at least one problem; check the candidates file.")
    checked = [check_candidate_row(row, f"row {number}", need_verdicts=True) for number, row in enumerate(rows, 1)]
    sizes = {len(row["candidates"]) for row in checked}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"Found problems with {sorted(sizes)} candidates. Every problem needs the same number, at least 1; "
            "keep incomplete candidates in the rows (they count as wrong), or subsample to the smallest number."
        )
    return [judged_problem(row) for row in checked]


def judged_problem(row: Mapping[str, Any]) -> JudgedProblem:
    """One row as the metrics read it."""
    candidates, greedy = row["candidates"], row.get("greedy")
    responses = [*candidates, *([greedy] if greedy else [])]
    of_complete = [candidate_outcome(response) for response in responses if response["complete"]]
    return JudgedProblem(
        outcomes=tuple(candidate_outcome(candidate) for candidate in candidates),
        step_scores=tuple(tuple(c.get("step_scores") or ()) if c["complete"] else () for c in candidates),
        groups=tuple(group_answers([c["answer"] if c["complete"] else None for c in candidates])),
        contents=tuple((tuple(c["steps"]), c["answer"]) if c["complete"] else None for c in candidates),
        greedy=candidate_outcome(greedy) if greedy else None,
        is_undecided=bool(of_complete) and all(outcome is None for outcome in of_complete),
    )


def candidate_counts(problems: Sequence[JudgedProblem]) -> dict[str, int]:
    """How many problems and candidates there are, and how many of them are of which kind."""
    candidates = [entry for problem in problems for entry in zip(problem.contents, problem.step_scores, strict=True)]
    return {
        "num_problems": len(problems),
        "num_candidates": len(problems[0].outcomes),
        "num_undecided": sum(outcome is None for problem in problems for outcome in problem.outcomes),
        "num_incomplete": sum(content is None for content, _ in candidates),
        "num_unscored": sum(content is not None and not scores for content, scores in candidates),
        "num_problems_undecided": sum(problem.is_undecided for problem in problems),
    }


def _faults(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Incomplete candidates by the reason, where one is recorded."""
    candidates = [candidate for row in rows for candidate in row["candidates"]]
    faults = [candidate.get("fault") for candidate in candidates if not candidate.get("complete", True)]
    return {"faults": count_faults(faults)} if any(faults) else {}


def are_unscored(problems: Sequence[JudgedProblem]) -> bool:
    """True if there are complete candidates and none of them, of any problem, has step scores: no PRM read them."""
    has_complete = any(content is not None for problem in problems for content in problem.contents)
    return has_complete and not any(scores for problem in problems for scores in problem.step_scores)


def _metric_values(problem: JudgedProblem, aggregation: str) -> dict[str, float | None]:
    """The value of every metric on one problem; None where it is undecided."""
    contents = zip(problem.contents, problem.outcomes, strict=True)
    distinct = {content: outcome for content, outcome in contents if content is not None}
    return {
        "greedy": problem.greedy,
        "random_distinct": metrics.mean_or_none(distinct.values()) if distinct else 0.0,
        **outcome_by_selection(problem.outcomes, problem.step_scores, problem.groups, aggregation),
    }
