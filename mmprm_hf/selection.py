"""Pure maths of selection: step scores to one number, scored candidates to a winner, verdicts to pass@k.

Each aggregation is implemented here and nowhere else. Log and odds forms are computed from scores clamped away
from 0 and 1, so that both ends are ordinary values. An empty candidate scores ``-inf`` under every aggregation.

Standard library only; imports no model, no I/O, no randomness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from .errors import UnknownNameError

AGGREGATIONS: tuple[str, ...] = ("min", "last", "product", "mean", "max", "sum_logprob", "sum_logit", "mean_odds")

SCORE_EPSILON = 1e-9
"""Log and odds aggregations clamp step scores to [1e-9, 1 - 1e-9]: logits in +-20.7, beyond what a float32
softmax resolves next to 1."""


def aggregate(step_scores: Sequence[float], method: str) -> float:
    """Return one number for a candidate's step scores; higher is better.

    ``min``, ``last``, ``mean``, ``max`` and ``product`` are in [0, 1]. ``sum_logprob`` is sum(log p), ``sum_logit``
    sum(log(p / (1 - p))), ``mean_odds`` mean(p / (1 - p)), with p clamped to [1e-9, 1 - 1e-9] (log p: from below).
    Sums are exact up to one rounding, so the order of steps never makes a difference (but for ``last``).

    Args:
        step_scores: P(step correct) in [0, 1], in step order; empty where nothing could be scored.
        method: One of `AGGREGATIONS`.

    Returns:
        The aggregate; ``-inf`` for no step scores.

    Raises:
        ValueError: for an unknown method, or a score that is NaN or outside [0, 1].

    Example:
        >>> aggregate([0.9, 0.5, 0.8], "min")
        0.5
        >>> aggregate([], "sum_logprob")
        -inf
    """
    if method not in AGGREGATIONS:
        raise UnknownNameError("aggregation", method, AGGREGATIONS)
    scores = [float(score) for score in step_scores]
    for step_index, score in enumerate(scores):
        if not 0.0 <= score <= 1.0:  # also catches NaN
            raise ValueError(
                f"Step score {step_index} is {score}. Step scores are probabilities in [0, 1]; "
                "apply the softmax or sigmoid first, or check the model for NaN weights."
            )
    if not scores:
        # Differs from MM-PRM: an empty candidate scores 0 there, the best possible sum of log-probabilities, and wins.
        return -math.inf
    return _aggregate_valid(scores, method)


def _aggregate_valid(scores: list[float], method: str) -> float:
    """`aggregate` of checked, non-empty scores."""
    if method == "min":
        return min(scores)
    if method == "last":
        return scores[-1]
    if method == "product":
        return math.prod(sorted(scores))
    if method == "mean":
        return math.fsum(scores) / len(scores)
    if method == "max":
        return max(scores)
    # Differs from MM-PRM: clamped, where there log(0) is -9999, logit(1) and odds(1) are 9999 (so that 1.0 ranks below
    # 0.99991 under mean odds), and logit(0) aborts the whole evaluation.
    if method == "sum_logprob":
        return math.fsum(math.log(max(score, SCORE_EPSILON)) for score in scores)
    clamped = [min(max(score, SCORE_EPSILON), 1.0 - SCORE_EPSILON) for score in scores]
    if method == "sum_logit":
        return math.fsum(math.log(score) - math.log1p(-score) for score in clamped)
    return math.fsum(score / (1.0 - score) for score in clamped) / len(clamped)


def vote_weight(score: float, method: str) -> float:
    """Return the non-negative weight of an aggregated score in `weighted_vote`.

    ``sum_logprob`` is mapped by exp and ``sum_logit`` by the sigmoid to [0, 1]; the others are weights already.
    ``-inf`` (an empty or incomplete candidate) weighs 0.

    Raises:
        ValueError: for an unknown method.
    """
    if method not in AGGREGATIONS:
        aggregate((), method)  # raises with the list of close matches
    if score == -math.inf:
        return 0.0
    if method == "sum_logprob":
        return math.exp(score)
    if method == "sum_logit":
        return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else math.exp(score) / (1.0 + math.exp(score))
    return score


def best_of_n(scores: Sequence[float], *, tie_breakers: Sequence[float] | None = None) -> int:
    """Return the index of the highest score; ties go to the higher tie-breaker, then to the first.

    If every score is ``-inf`` (no candidate is complete) the first index is returned: there is a winner to show,
    though not one to trust. Check the winner's score or `complete` before using it.

    Args:
        scores: One aggregated score per candidate; ``-inf`` for empty or incomplete ones.
        tie_breakers: Usually the mean step score per candidate; None leaves ties to the order.

    Raises:
        ValueError: for no scores, a NaN, or tie-breakers of another length.

    Example:
        >>> best_of_n([0.2, 0.7, 0.7], tie_breakers=[0.9, 0.7, 0.8])
        2
    """
    # Differs from MM-PRM: ties go to the first candidate there; an order that carries no meaning decides then.
    if not scores:
        raise ValueError("Found 0 scores. best_of_n needs at least one candidate; check num_candidates.")
    seconds = [0.0] * len(scores) if tie_breakers is None else list(tie_breakers)
    if len(seconds) != len(scores):
        raise ValueError(f"Found {len(scores)} scores but {len(seconds)} tie-breakers. Pass one per candidate or None.")
    if any(math.isnan(value) for value in (*scores, *seconds)):
        raise ValueError(f"Found NaN among the scores {list(scores)} or tie-breakers. Use -inf for empty candidates.")
    return max(range(len(scores)), key=lambda index: (scores[index], seconds[index], -index))


def majority_vote(groups: Sequence[Hashable | None]) -> int | None:
    """Return the index of the first candidate of the largest group; ties go to the group that appears first.

    Args:
        groups: The answer group of each candidate, see `answers.group_answers`; None does not vote.

    Returns:
        A candidate index; None if nobody votes.

    Example:
        >>> majority_vote([0, 1, None, 1])
        1
    """
    counts = Counter(group for group in groups if group is not None)
    if not counts:
        return None
    largest = max(counts.values())
    return next(index for index, group in enumerate(groups) if group is not None and counts[group] == largest)


def weighted_vote(groups: Sequence[Hashable | None], weights: Sequence[float]) -> int | None:
    """Return the highest-weight candidate's index of the group with the largest sum of weights.

    Ties between groups go to the larger group, then to the one that appears first; within the group to the first.

    Args:
        groups: The answer group of each candidate; None does not vote.
        weights: One weight in [0, inf) per candidate, see `vote_weight`.

    Returns:
        A candidate index; None if nobody votes.

    Raises:
        ValueError: for another number of weights, or a weight that is negative, infinite or NaN.

    Example:
        >>> weighted_vote([0, 1, 1], [0.9, 0.2, 0.3])
        0
    """
    if len(weights) != len(groups):
        raise ValueError(f"Found {len(groups)} groups but {len(weights)} weights. Pass one weight per candidate.")
    for index, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"Weight {index} is {weight}. Vote weights are finite and at least 0; map scores with vote_weight."
            )
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(index)
    if not members:
        return None
    winner = max(members.values(), key=lambda indices: (math.fsum(weights[i] for i in indices), len(indices)))
    return max(winner, key=lambda index: weights[index])


def outcome_by_selection(
    outcomes: Sequence[float | None],
    step_scores: Sequence[Sequence[float]],
    groups: Sequence[Hashable | None],
    aggregation: str,
) -> dict[str, float | None]:
    """Return what each way of choosing one of a problem's candidates gets; None where it chooses an undecided one.

    Args:
        outcomes: Per candidate 1.0 (right), 0.0 (wrong or incomplete) or None (undecided).
        step_scores: Per candidate; empty where it was not scored, which never wins over a scored one.
        groups: The answer group of each candidate, see `answers.group_answers`; None does not vote.
        aggregation: One of `AGGREGATIONS`.

    Returns:
        ``mean_pass_at_1`` (mean of the decided outcomes), ``majority_vote``, ``best_of_n``, ``weighted_vote`` (0.0
        where nobody votes) and ``oracle``.

    Example:
        >>> values = outcome_by_selection([1.0, 0.0, 0.0], [[0.9], [0.2], [0.3]], ["4", "5", "5"], "min")
        >>> values["best_of_n"], values["majority_vote"]
        (1.0, 0.0)
    """
    scores = [aggregate(values, aggregation) for values in step_scores]
    tie_breakers = [aggregate(values, "mean") for values in step_scores]
    weights = [vote_weight(score, aggregation) for score in scores]
    decided = [outcome for outcome in outcomes if outcome is not None]

    def outcome_of(index: int | None) -> float | None:
        return 0.0 if index is None else outcomes[index]

    return {
        "mean_pass_at_1": math.fsum(decided) / len(decided) if decided else None,
        "majority_vote": outcome_of(majority_vote(groups)),
        "best_of_n": outcome_of(best_of_n(scores, tie_breakers=tie_breakers)),
        "weighted_vote": outcome_of(weighted_vote(groups, weights)),
        "oracle": max(decided) if decided else None,
    }


def pass_at_k(num_correct: int, num_samples: int, k: int) -> float:
    """Return the exact probability that k of the samples, drawn without replacement, hold a correct one.

    ``1 - C(n - c, k) / C(n, k)`` (Chen et al. 2021, arXiv 2107.03374, eq. 1), in integer arithmetic.

    Raises:
        ValueError: unless 0 <= num_correct <= num_samples and 1 <= k <= num_samples.

    Example:
        >>> pass_at_k(1, 4, 2)
        0.5
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"Found {num_correct} correct of {num_samples} samples. The count must lie in 0..num_samples.")
    if not 1 <= k <= num_samples:
        raise ValueError(f"Found k={k} with {num_samples} samples. k must lie in 1..num_samples; draw more samples.")
    # Differs from MM-PRM: exact, where there one unseeded subset is drawn per problem.
    total = math.comb(num_samples, k)
    return (total - math.comb(num_samples - num_correct, k)) / total
