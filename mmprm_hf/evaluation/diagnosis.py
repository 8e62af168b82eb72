"""Why does a PRM not beat the majority vote? Numbers about its scores, the candidates, and what could be won at all.

Works on the rows of `best_of_n_report`. Imports level 0 and its own room.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .. import metrics
from ..rows import candidate_outcome
from ..selection import aggregate, outcome_by_selection
from .evaluators import JudgedProblem, are_unscored, judged_problem
from .profiles import score_profile

SATURATED = 0.01
"""A step score this close to 0 or 1 is saturated: it ranks nothing."""


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A candidate with step scores."""

    content: tuple[tuple[str, ...], str | None]
    step_scores: tuple[float, ...]
    score: float
    is_right: bool


@dataclasses.dataclass(frozen=True)
class _Problem:
    """The decided candidates of a problem, and those of them that have step scores."""

    judged: JudgedProblem
    scored: list[_Scored]

    @property
    def is_mixed(self) -> bool:
        return any(self.judged.outcomes) and not all(self.judged.outcomes)


def diagnose(rows: Sequence[Mapping[str, Any]], *, aggregation: str = "min") -> dict[str, Any]:
    """Return what limits best-of-N selection, in numbers.

    Args:
        rows: As `evaluators.best_of_n_report` takes them; problems may have different numbers of candidates.
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        - ``headroom``: shares of problems. ``no_right_candidate`` (nobody can win), ``all_right`` (nobody can lose),
          ``mixed`` (selection matters); on mixed ones how often ``best_of_n`` and ``majority_vote`` are right, and how
          often just one of them is.
        - ``ranking``: AUROC of a candidate's score for being right: ``pooled`` over all problems, and ``within`` (mean
          over mixed problems). Selection needs the second; a high first and a low second say that the PRM knows hard
          problems from easy ones, not right solutions from wrong ones.
        - ``saturation``: share of step scores within 0.01 of 0 and of 1; share of mixed problems whose two best
          different candidates score the same.
        - ``length``: mean over problems of the rank correlation of score and number of steps (``score``), and of being
          right and number of steps (``truth``): a PRM that likes short solutions more than truth does is biased.
        - ``diversity``: distinct answers per problem, mean; share of the answered candidates with the commonest one.
        - ``calibration``: `metrics.reliability` of the aggregated score; None if a score lies outside [0, 1].
        - ``by_step``, ``by_num_steps``: `score_profile` of step scores by position among candidates that are right and
          that are wrong, and of the aggregated score by the number of steps.

        A number is None where nothing can be measured. Undecided candidates count nowhere (nor are they chosen, unlike
        in `best_of_n_report`), incomplete ones as wrong; unscored ones count in ``headroom`` and ``diversity`` alone.

    Raises:
        ValueError: for no rows, or an unknown aggregation.
    """
    if not rows:
        raise ValueError("Found 0 rows. A diagnosis needs candidates; check the candidates file.")
    aggregate((), aggregation)  # raises for an unknown one
    problems = [_decided_problem(row, aggregation) for row in rows]
    return {
        "num_problems": len(rows),
        "aggregation": aggregation,
        "headroom": _headroom(problems, aggregation),
        "ranking": _ranking(problems),
        "saturation": _saturation(problems),
        "length": _length(problems),
        "diversity": _diversity(problems),
        "calibration": _calibration(problems),
        "by_step": _by_step(problems),
        "by_num_steps": _by_num_steps(problems),
    }


def _decided_problem(row: Mapping[str, Any], aggregation: str) -> _Problem:
    decided = [candidate for candidate in row["candidates"] if candidate_outcome(candidate) is not None]
    judged = judged_problem({"candidates": decided})
    columns = zip(judged.contents, judged.step_scores, judged.outcomes, strict=True)
    scored = [_Scored(content, s, aggregate(s, aggregation), outcome == 1.0) for content, s, outcome in columns if s]
    return _Problem(judged, scored)


def _headroom(problems: Sequence[_Problem], aggregation: str) -> dict[str, Any]:
    outcomes = [problem.judged.outcomes for problem in problems if problem.judged.outcomes]
    mixed = [problem.judged for problem in problems if problem.is_mixed]
    chosen = [outcome_by_selection(p.outcomes, p.step_scores, p.groups, aggregation) for p in mixed]
    by_vote = [values["majority_vote"] for values in chosen]
    # Without any score there is no PRM to compare with.
    by_prm = [] if are_unscored([p.judged for p in problems]) else [values["best_of_n"] for values in chosen]
    pairs = list(zip(by_prm, by_vote, strict=False))
    return {
        "no_right_candidate": metrics.mean_or_none(not any(values) for values in outcomes),
        "all_right": metrics.mean_or_none(all(values) for values in outcomes),
        "mixed": metrics.mean_or_none(any(values) and not all(values) for values in outcomes),
        "num_mixed": len(mixed),
        "best_of_n_on_mixed": metrics.mean_or_none(by_prm),
        "majority_vote_on_mixed": metrics.mean_or_none(by_vote),
        "only_best_of_n": metrics.mean_or_none(prm > vote for prm, vote in pairs),
        "only_majority_vote": metrics.mean_or_none(vote > prm for prm, vote in pairs),
    }


def _ranking(problems: Sequence[_Problem]) -> dict[str, Any]:
    within = [auroc for problem in problems if (auroc := _auroc(problem.scored)) is not None]
    return {
        "pooled": _auroc([candidate for problem in problems for candidate in problem.scored]),
        "within": metrics.mean_or_none(within),
        "num_problems_within": len(within),
    }


def _auroc(candidates: Sequence[_Scored]) -> float | None:
    """AUROC of the scores for being right; None unless there are right and wrong ones."""
    labels = [int(candidate.is_right) for candidate in candidates]
    return metrics.auroc(labels, [c.score for c in candidates]) if 0 < sum(labels) < len(labels) else None


def _saturation(problems: Sequence[_Problem]) -> dict[str, Any]:
    steps = [score for problem in problems for candidate in problem.scored for score in candidate.step_scores]
    ties = []
    for problem in problems:
        score_of_content = {candidate.content: candidate.score for candidate in problem.scored}
        best = sorted(score_of_content.values(), reverse=True)[:2]
        if problem.is_mixed and len(best) == 2:
            ties.append(best[0] == best[1])
    return {
        "near_0": metrics.mean_or_none(score <= SATURATED for score in steps),
        "near_1": metrics.mean_or_none(score >= 1 - SATURATED for score in steps),
        "ties_at_the_top": metrics.mean_or_none(ties),
        "num_steps": len(steps),
    }


def _length(problems: Sequence[_Problem]) -> dict[str, Any]:
    by_score, by_truth = [], []
    for problem in problems:
        lengths = [len(candidate.step_scores) for candidate in problem.scored]
        by_score.append(metrics.rank_correlation([candidate.score for candidate in problem.scored], lengths))
        by_truth.append(metrics.rank_correlation([candidate.is_right for candidate in problem.scored], lengths))
    return {"score": metrics.mean_or_none(by_score), "truth": metrics.mean_or_none(by_truth)}


def _diversity(problems: Sequence[_Problem]) -> dict[str, Any]:
    answered = [[group for group in problem.judged.groups if group is not None] for problem in problems]
    commonest = [max(map(groups.count, groups)) / len(groups) for groups in answered if groups]
    return {
        "distinct_answers": metrics.mean_or_none(len(set(groups)) for groups in answered if groups),
        "share_of_the_commonest": metrics.mean_or_none(commonest),
    }


def _calibration(problems: Sequence[_Problem]) -> dict[str, Any] | None:
    candidates = [candidate for problem in problems for candidate in problem.scored]
    scores = [candidate.score for candidate in candidates]
    if not scores or not all(0.0 <= score <= 1.0 for score in scores):
        return None
    return metrics.reliability(scores, [candidate.is_right for candidate in candidates])


def _by_step(problems: Sequence[_Problem]) -> list[dict[str, Any]]:
    entries = [
        (step_index, score, candidate.is_right)
        for problem in problems
        for candidate in problem.scored
        for step_index, score in enumerate(candidate.step_scores)
    ]
    return score_profile("step_index", entries)


def _by_num_steps(problems: Sequence[_Problem]) -> list[dict[str, Any]]:
    candidates = [candidate for problem in problems for candidate in problem.scored]
    return score_profile("num_steps", [(len(c.step_scores), c.score, c.is_right) for c in candidates])
