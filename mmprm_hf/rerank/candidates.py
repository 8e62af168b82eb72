"""From an engine's rollouts to scored candidates and a winner: the steps that pipeline, demo and CLI share.

Generation and scoring stay apart, so that candidates can be generated once and scored by many PRMs.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from tqdm.auto import tqdm

from ..answers import group_answers
from ..data import Candidate, Problem, Rollout, content_hash
from ..engines import RolloutEngine, RolloutRequest, run_async
from ..errors import RunStoppedError
from ..selection import aggregate, best_of_n, majority_vote, vote_weight, weighted_vote

SELECTIONS: tuple[str, ...] = ("best_of_n", "majority_vote", "weighted_vote")
"""Strategies that draw whole solutions and then choose."""

GUIDED_SEARCHES: tuple[str, ...] = ("beam_search", "dvts", "beam_annealing")
"""Strategies that choose after every step (`guided_search`); of their complete solutions the best-scored one wins."""

STRATEGIES: tuple[str, ...] = SELECTIONS + GUIDED_SEARCHES


def candidate_from_rollout(rollout: Rollout) -> Candidate:
    """The unscored candidate that a rollout from the empty prefix is."""
    return Candidate(
        steps=rollout.steps,
        answer=rollout.answer,
        complete=rollout.complete,
        text=rollout.text,
        num_tokens=rollout.num_tokens,
    )


def generate_candidates(
    engine: RolloutEngine,
    problems: Sequence[Problem],
    num_candidates: int,
    *,
    seed: int = 0,
    problems_per_call: int = 32,
    progress: bool = False,
) -> list[list[Candidate]]:
    """`num_candidates` unscored candidates per problem, in the order of the problems.

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
    found: list[list[Candidate]] = []
    with tqdm(total=len(problems) * num_candidates, desc="generating", unit="candidate", disable=not progress) as bar:
        for start in range(0, len(problems), problems_per_call):
            chunk = problems[start : start + problems_per_call]
            requests = [
                RolloutRequest(
                    problem=problem,
                    num_samples=num_candidates,
                    seed=int(content_hash(seed, problem.id, length=8), 16),
                )
                for problem in chunk
            ]
            for rollouts in run_async(engine.generate(requests)):
                found.append([candidate_from_rollout(rollout) for rollout in rollouts])
            bar.update(len(chunk) * num_candidates)
    return found


def scored_candidates(candidates: Sequence[Candidate], aggregation: str) -> list[Candidate]:
    """The candidates with `score`, the aggregate of their step scores; ``-inf`` for an unscored or incomplete one."""
    return [
        dataclasses.replace(
            candidate,
            score=aggregate(candidate.step_scores, aggregation)
            if candidate.complete and candidate.step_scores
            else aggregate((), aggregation),
        )
        for candidate in candidates
    ]


def check_step_scores(step_scores: Iterable[Sequence[float]]) -> None:
    """Stops at scores that are none: they are the PRM's fault, whatever problem it was shown.

    Raises:
        RunStoppedError: for a NaN.
    """
    if any(math.isnan(score) for scores in step_scores for score in scores):
        raise RunStoppedError("The PRM gives NaN as a step score. Check its weights, or load it in float32.")


def check_strategy(strategy: str) -> None:
    """Refuses an unknown strategy.

    Raises:
        ValueError: with close matches.
    """
    if strategy not in STRATEGIES:
        matches = difflib.get_close_matches(str(strategy), STRATEGIES, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, matches))}? " if matches else ""
        raise ValueError(f"Unknown strategy {strategy!r}. {hint}Choose one of {', '.join(STRATEGIES)}.")


def answer_votes(candidates: Sequence[Candidate]) -> list[int]:
    """For each candidate, how many have its answer (its own vote included); 0 for an incomplete one, which has none."""
    groups = group_answers([candidate.answer if candidate.complete else None for candidate in candidates])
    sizes = Counter(group for group in groups if group is not None)
    return [0 if group is None else sizes[group] for group in groups]


def winner_index(candidates: Sequence[Candidate], strategy: str, aggregation: str) -> int | None:
    """Index of the winner among candidates that carry `score`; None if none of them is complete.

    Args:
        candidates: With `score` filled by `scored_candidates`.
        strategy: One of `STRATEGIES`. Votes count answers that are mathematically equal as one; a guided search has
            done its choosing before, and its best-scored solution wins.
        aggregation: What `score` was made with; maps scores to vote weights.

    Raises:
        ValueError: for an unknown strategy, or no candidates.
    """
    check_strategy(strategy)
    if not candidates:
        raise ValueError("Found 0 candidates. Selection needs at least one; check num_candidates.")
    eligible = [index for index, candidate in enumerate(candidates) if candidate.complete and candidate.steps]
    if not eligible:
        return None
    scores = [-math.inf if candidate.score is None else candidate.score for candidate in candidates]
    if strategy == "best_of_n" or strategy in GUIDED_SEARCHES:
        means = [sum(c.step_scores) / len(c.step_scores) if c.step_scores else 0.0 for c in candidates]
        best = best_of_n([scores[index] for index in eligible], tie_breakers=[means[index] for index in eligible])
        return eligible[best]
    groups = group_answers([candidate.answer if candidate.complete else None for candidate in candidates])
    if strategy == "majority_vote":
        return majority_vote(groups)
    return weighted_vote(groups, [vote_weight(score, aggregation) for score in scores])
