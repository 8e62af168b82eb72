"""From an engine's rollouts to scored candidates and a winner.

Generation and scoring stay apart, so that candidates can be generated once and scored by many PRMs.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ..answers import group_answers
from ..data import Candidate, Problem, Rollout, content_hash
from ..engines import RolloutEngine, RolloutRequest, run_async
from ..errors import RunStoppedError, UnknownNameError
from ..progress import progress_bar
from ..selection import aggregate, best_of_n, majority_vote, vote_weight, weighted_vote

SELECTIONS: tuple[str, ...] = ("best_of_n", "majority_vote", "weighted_vote")
"""Strategies that draw whole solutions and then choose."""

GUIDED_SEARCHES: tuple[str, ...] = ("beam_search", "dvts", "beam_annealing")
"""Strategies that choose after every step (`guided_search`); of their complete solutions the best-scored one wins."""

STRATEGIES: tuple[str, ...] = SELECTIONS + GUIDED_SEARCHES


def generate_candidates(
    engine: RolloutEngine,
    problems: Sequence[Problem],
    num_candidates: int,
    *,
    seed: int = 0,
    problems_per_call: int = 32,
    progress: bool = False,
) -> list[list[Candidate]]:
    """Return `num_candidates` unscored candidates per problem, in the order of the problems.

    Args:
        engine: Writes the solutions; its sampling settings decide the temperature.
        problems: What to solve.
        num_candidates: Samples per problem, at least 1.
        seed: Equal seeds give equal candidates of a problem, whatever else is in the list.
        problems_per_call: Problems handed to the engine together.
        progress: Show a bar.

    Raises:
        ValueError: if `num_candidates` is below 1.
    """
    if num_candidates < 1:
        raise ValueError(f"Found num_candidates={num_candidates}. At least one candidate is needed; 16 is usual.")
    requests = [
        RolloutRequest(problem, num_samples=num_candidates, seed=int(content_hash(seed, problem.id, length=8), 16))
        for problem in problems
    ]
    candidates: list[list[Candidate]] = []
    total = len(problems) * num_candidates
    with progress_bar(total=total, desc="generating", unit="candidate", is_shown=progress) as bar:
        for start in range(0, len(problems), problems_per_call):
            for rollouts in run_async(engine.generate(requests[start : start + problems_per_call])):
                candidates.append(list(map(_candidate, rollouts)))
                bar.update(num_candidates)
    return candidates


def _candidate(rollout: Rollout) -> Candidate:
    costs = {"num_tokens": rollout.num_tokens, "fault": rollout.fault}
    return Candidate(rollout.steps, rollout.answer, rollout.complete, rollout.text, **costs)


def scored_candidates(candidates: Sequence[Candidate], aggregation: str) -> list[Candidate]:
    """Return the candidates with `score`, the aggregate of their step scores; ``-inf`` if unscored or incomplete."""
    step_scores = [c.step_scores if c.complete and c.step_scores else () for c in candidates]
    return [
        dataclasses.replace(candidate, score=aggregate(scores, aggregation))
        for candidate, scores in zip(candidates, step_scores, strict=True)
    ]


def check_step_scores(step_scores: Iterable[Sequence[float]]) -> None:
    """Stop the run at a score that is NaN: the PRM is at fault, whatever problem it was shown.

    Raises:
        RunStoppedError: for a NaN.
    """
    if any(math.isnan(score) for scores in step_scores for score in scores):
        raise RunStoppedError("The PRM gives NaN as a step score. Check its weights, or load it in float32.")


def answer_votes(candidates: Sequence[Candidate]) -> list[int]:
    """Return for each candidate how many have its answer (its own vote included); 0 for an incomplete one."""
    groups = _answer_groups(candidates)
    sizes = Counter(groups)
    return [0 if group is None else sizes[group] for group in groups]


def _answer_groups(candidates: Sequence[Candidate]) -> list[int | None]:
    return group_answers([candidate.answer if candidate.complete else None for candidate in candidates])


def winner_index(candidates: Sequence[Candidate], strategy: str, aggregation: str) -> int | None:
    """Return the index of the winner among candidates that carry `score`; None if none of them is complete.

    Args:
        candidates: With `score` filled by `scored_candidates`.
        strategy: One of `STRATEGIES`. Votes count answers that are mathematically equal as one; a guided search has
            done its choosing before, and its best-scored solution wins.
        aggregation: What `score` was made with; maps scores to vote weights.

    Raises:
        UnknownNameError: for an unknown strategy.
        ValueError: for no candidates.
    """
    if strategy not in STRATEGIES:
        raise UnknownNameError("strategy", strategy, STRATEGIES)
    if not candidates:
        raise ValueError("Found 0 candidates. Selection needs at least one; check num_candidates.")
    eligible = [index for index, candidate in enumerate(candidates) if candidate.complete and candidate.steps]
    if not eligible:
        return None
    scores = [-math.inf if candidate.score is None else candidate.score for candidate in candidates]
    if strategy == "majority_vote":
        return majority_vote(_answer_groups(candidates))
    if strategy == "weighted_vote":
        return weighted_vote(_answer_groups(candidates), [vote_weight(score, aggregation) for score in scores])
    means = [sum(c.step_scores) / len(c.step_scores) if c.step_scores else 0.0 for c in candidates]
    best = best_of_n([scores[index] for index in eligible], tie_breakers=[means[index] for index in eligible])
    return eligible[best]
