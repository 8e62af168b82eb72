"""Why does a PRM not beat the majority vote? Numbers about its scores, the candidates, and what could be won at all.

Works on the rows of `best_of_n_report`. Imports level 0, `metrics` and its own room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import metrics
from ..answers import group_answers
from ..data import Verdict
from ..selection import aggregate, best_of_n, majority_vote
from .calibration import reliability, score_profile
from .evaluators import lack_scores

SATURATED = 0.01
"""A step score this close to 0 or 1 is saturated: it ranks nothing."""

Row = Mapping[str, Any]


def diagnose(rows: Sequence[Row], *, aggregation: str = "min") -> dict[str, Any]:
    """Return what limits best-of-N selection, in numbers.

    Args:
        rows: As `evaluators.best_of_n_report` takes them.
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        - ``room``: shares of problems. ``no_right_candidate`` (nobody can win), ``all_right`` (nobody can lose),
          ``mixed`` (selection matters); on mixed ones how often ``best_of_n`` and ``majority_vote`` are right, and how
          often just one of them is.
        - ``ranking``: AUROC of a candidate's score for being right: ``pooled`` over all problems, and ``within`` (mean
          over mixed problems). Selection needs the second; a high first and a low second say that the PRM knows hard
          problems from easy ones, not right solutions from wrong ones.
        - ``saturation``: share of step scores within 0.01 of 0 and of 1; share of mixed problems whose two best
          different candidates score the same.
        - ``length``: mean over problems of the rank correlation of score and number of steps (``score``), and of being
          right and number of steps (``truth``, mixed problems only): a PRM that likes short solutions more than truth
          does is biased.
        - ``diversity``: distinct answers per problem, mean; share of the candidates with an answer that have the
          commonest one.
        - ``calibration``: ``bins`` (mean score, share right, candidates) and ``ece``, the expected calibration error of
          the aggregated score, where it lies in [0, 1]; None for aggregations beyond.
        - ``by_step``: mean step score by position among candidates that are right and that are wrong, see
          `score_profile`.
        - ``by_num_steps``: the same of the aggregated score, by the number of steps.

        A number is None where nothing is there to be measured. Undecided candidates count nowhere (nor are they chosen,
        unlike in `best_of_n_report`), incomplete ones as wrong; candidates without step scores leave all but ``room``
        and ``diversity``.

    Raises:
        ValueError: for no rows, or an unknown aggregation.
    """
    if not rows:
        raise ValueError("Found 0 rows. A diagnosis needs candidates; check the candidates file.")
    aggregate((), aggregation)
    problems = [_problem(row, aggregation) for row in rows]
    return {
        "num_problems": len(rows),
        "aggregation": aggregation,
        "room": _room(problems, lack_scores(rows)),
        "ranking": _ranking(problems),
        "saturation": _saturation(problems),
        "length": _length(problems),
        "diversity": _diversity(problems),
        "calibration": _calibration(problems),
        "by_step": _by_step(problems),
        "by_num_steps": _by_num_steps(problems),
    }


def _problem(row: Row, aggregation: str) -> dict[str, Any]:
    """Outcomes, scores and lengths of a row's decided candidates."""
    candidates = [c for c in row["candidates"] if not c["complete"] or Verdict(c["verdict"]) is not Verdict.UNDECIDED]
    steps = [tuple(c.get("step_scores") or ()) if c["complete"] else () for c in candidates]
    return {
        "right": [c["complete"] and Verdict(c["verdict"]) is Verdict.CORRECT for c in candidates],
        "step_scores": steps,
        "scores": [aggregate(values, aggregation) if values else -math.inf for values in steps],
        "ties": [aggregate(values, "mean") if values else -math.inf for values in steps],
        "num_steps": [len(c["steps"]) for c in candidates],
        "texts": [(tuple(c["steps"]), c["answer"]) for c in candidates],
        "groups": group_answers([c["answer"] if c["complete"] else None for c in candidates]),
    }


def _is_mixed(problem: Mapping[str, Any]) -> bool:
    return any(problem["right"]) and not all(problem["right"])


def _room(problems: Sequence[Mapping[str, Any]], is_unscored: bool) -> dict[str, Any]:
    judged = [problem for problem in problems if problem["right"]]
    mixed = [problem for problem in judged if _is_mixed(problem)]
    chosen = []
    for problem in mixed:
        by_prm, by_vote = best_of_n(problem["scores"], tie_breakers=problem["ties"]), majority_vote(problem["groups"])
        chosen.append((problem["right"][by_prm], by_vote is not None and problem["right"][by_vote]))
    by_vote_alone = _mean(vote for _, vote in chosen)
    if is_unscored:
        chosen = []  # there is no PRM to speak of
    return {
        "no_right_candidate": _mean(not any(problem["right"]) for problem in judged),
        "all_right": _mean(all(problem["right"]) for problem in judged),
        "mixed": _mean(_is_mixed(problem) for problem in judged),
        "num_mixed": len(mixed),
        "best_of_n_on_mixed": _mean(prm for prm, _ in chosen),
        "majority_vote_on_mixed": by_vote_alone,
        "only_best_of_n": _mean(prm and not vote for prm, vote in chosen),
        "only_majority_vote": _mean(vote and not prm for prm, vote in chosen),
    }


def _scored(problem: Mapping[str, Any]) -> list[int]:
    """Candidates with a score."""
    return [index for index, values in enumerate(problem["step_scores"]) if values]


def _ranking(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    within, labels, scores = [], [], []
    for problem in problems:
        indices = _scored(problem)
        right = [int(problem["right"][index]) for index in indices]
        values = [problem["scores"][index] for index in indices]
        labels += right
        scores += values
        if 0 < sum(right) < len(right):
            within.append(metrics.auroc(right, values))
    is_both = 0 < sum(labels) < len(labels)
    return {
        "pooled": metrics.auroc(labels, scores) if is_both else None,
        "within": _mean(within),
        "num_problems_within": len(within),
    }


def _saturation(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    steps = [score for problem in problems for values in problem["step_scores"] for score in values]
    ties = []
    for problem in problems:
        distinct = {problem["texts"][index]: problem["scores"][index] for index in _scored(problem)}
        best = sorted(distinct.values(), reverse=True)[:2]
        if _is_mixed(problem) and len(best) == 2:
            ties.append(best[0] == best[1])
    return {
        "near_0": _mean(score <= SATURATED for score in steps),
        "near_1": _mean(score >= 1 - SATURATED for score in steps),
        "ties_at_the_top": _mean(ties),
        "num_steps": len(steps),
    }


def _length(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_score, by_truth = [], []
    for problem in problems:
        indices = _scored(problem)
        lengths = [problem["num_steps"][index] for index in indices]
        by_score.append(rank_correlation([problem["scores"][index] for index in indices], lengths))
        by_truth.append(rank_correlation([float(problem["right"][index]) for index in indices], lengths))
    return {
        "score": _mean(value for value in by_score if value is not None),
        "truth": _mean(value for value in by_truth if value is not None),
    }


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None if a side does not vary.

    Example:
        >>> rank_correlation([1, 2, 3], [10, 30, 20]), rank_correlation([1, 1], [1, 2])
        (0.5, None)
    """
    if len(first) < 2:
        return None
    ranks = []
    for values in (first, second):
        _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2.0)[inverse])
    if any(float(side.std()) == 0.0 for side in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _diversity(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    distinct, commonest = [], []
    for problem in problems:
        answered = [group for group in problem["groups"] if group is not None]
        if answered:
            distinct.append(len(set(answered)))
            commonest.append(max(answered.count(group) for group in set(answered)) / len(answered))
    return {"distinct_answers": _mean(distinct), "share_of_the_commonest": _mean(commonest)}


def _calibration(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    pairs = [(problem["scores"][i], problem["right"][i]) for problem in problems for i in _scored(problem)]
    if not pairs or not all(0.0 <= score <= 1.0 for score, _ in pairs):
        return None
    return reliability([score for score, _ in pairs], [right for _, right in pairs])


def _by_step(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return score_profile(
        "step_index",
        (
            (index, score, is_right)
            for problem in problems
            for values, is_right in zip(problem["step_scores"], problem["right"], strict=True)
            for index, score in enumerate(values)
        ),
    )


def _by_num_steps(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return score_profile(
        "num_steps",
        (
            (problem["num_steps"][index], problem["scores"][index], problem["right"][index])
            for problem in problems
            for index in _scored(problem)
        ),
    )


def _mean(values: Iterable[float]) -> float | None:
    """Mean; None for no values."""
    found = [float(value) for value in values]
    return math.fsum(found) / len(found) if found else None


def format_diagnosis(found: Mapping[str, Any]) -> str:
    """Return a diagnosis as a few lines for people, with what each number means."""

    def percent(value: float | None) -> str:
        return "not measured" if value is None else f"{100 * value:.1f} %"

    def plain(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.3f}"

    room, ranking, saturation = found["room"], found["ranking"], found["saturation"]
    length, diversity, calibration = found["length"], found["diversity"], found["calibration"]
    lines = [
        f"{found['num_problems']} problems, step scores aggregated by {found['aggregation']}",
        "",
        f"room         no candidate is right: {percent(room['no_right_candidate'])}; all are: "
        f"{percent(room['all_right'])}; selection matters on {percent(room['mixed'])} ({room['num_mixed']} problems)",
        "             there nothing is to be chosen"
        if not room["num_mixed"]
        else f"             there the PRM is right on {percent(room['best_of_n_on_mixed'])}, the majority vote on "
        f"{percent(room['majority_vote_on_mixed'])}; only the PRM on {percent(room['only_best_of_n'])}, only the vote "
        f"on {percent(room['only_majority_vote'])}",
        f"ranking      AUROC within problems {plain(ranking['within'])} (what selection needs), pooled "
        f"{plain(ranking['pooled'])}",
        f"saturation   step scores within {SATURATED} of 0: {percent(saturation['near_0'])}, of 1: "
        f"{percent(saturation['near_1'])}; two best scores equal on {percent(saturation['ties_at_the_top'])}",
        f"length       correlation of number of steps with the score {plain(length['score'])}, with being right "
        f"{plain(length['truth'])}",
        f"diversity    {plain(diversity['distinct_answers'])} distinct answers a problem, the commonest has "
        f"{percent(diversity['share_of_the_commonest'])} of the candidates",
        f"calibration  expected error {plain(None if calibration is None else calibration['ece'])}",
    ]
    return "\n".join(lines)


__all__ = ["diagnose", "format_diagnosis", "rank_correlation"]
