"""Aggregations against published MM-PRM's golden values, their edges, and the selection rules."""

import itertools
import json
import math
import random

import pytest
from support.layout import SHARED

from mmprm_hf.selection import (
    AGGREGATIONS,
    aggregate,
    best_of_n,
    majority_vote,
    outcome_by_selection,
    pass_at_k,
    vote_weight,
    weighted_vote,
)

GOLDEN = SHARED / "golden" / "aggregation.json"
PUBLISHED_NAMES = {"mean": "average", "mean_odds": "mean_odd"}
LOG_METHODS = ("sum_logprob", "sum_logit", "mean_odds")


@pytest.fixture(scope="module")
def pools():
    if not GOLDEN.is_file():
        pytest.skip(f"golden file {GOLDEN.name} is not there: shared/ is absent beside the repository")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))["pools"]


def is_defined_alike(step_scores: list[float], method: str) -> bool:
    """Whether published code and ours mean the same: no empty list, and no 0.0 or 1.0 under log and odds forms."""
    return bool(step_scores) and (method not in LOG_METHODS or not {0.0, 1.0} & set(step_scores))


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_values_equal_published_ones(pools, method):
    num_compared = 0
    for pool in pools:
        values = pool["values"][PUBLISHED_NAMES.get(method, method)] or [None] * len(pool["prm_scores"])
        for step_scores, value in zip(pool["prm_scores"], values, strict=True):
            if value is not None and is_defined_alike(step_scores, method):
                assert aggregate(step_scores, method) == pytest.approx(value, rel=1e-12, abs=1e-12)
                num_compared += 1
    assert num_compared > 1500


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_choices_equal_published_ones(pools, method):
    name = PUBLISHED_NAMES.get(method, method)
    num_equal, num_compared = 0, 0
    for pool in pools:
        # Differs from MM-PRM: empty candidates never win, and 0.0 and 1.0 are clamped rather than +-9999 or a crash.
        if not all(is_defined_alike(step_scores, method) for step_scores in pool["prm_scores"]):
            continue
        scores = [aggregate(step_scores, method) for step_scores in pool["prm_scores"]]
        means = [aggregate(step_scores, "mean") for step_scores in pool["prm_scores"]]
        published, values = pool["chosen"][name], pool["values"][name]
        first, chosen = best_of_n(scores), best_of_n(scores, tie_breakers=means)
        assert values[first] == pytest.approx(values[published], rel=1e-12)  # but for rounding, the same maximum
        # Differs from MM-PRM: the first maximum wins there; with tie-breakers a tie goes to the higher mean.
        assert values[chosen] == pytest.approx(values[published], rel=1e-12)
        assert means[chosen] >= means[first]
        num_equal += first == published
        num_compared += 1
    assert num_compared >= 95
    assert num_equal >= num_compared - 2


def test_empty_candidates_never_win_where_published_ones_do(pools):
    # Differs from MM-PRM: 35 golden pools are won by an empty candidate under sum_logprob.
    num_published_wins = 0
    for pool in pools:
        step_scores = pool["prm_scores"]
        if not any(step_scores):
            continue
        num_published_wins += step_scores[pool["chosen"]["sum_logprob"]] == []
        for method in AGGREGATIONS:
            assert step_scores[best_of_n([aggregate(scores, method) for scores in step_scores])] != []
    assert num_published_wins == 35


@pytest.mark.parametrize("method", ["min", "last", "product", "mean", "max"])
def test_choices_equal_published_ones_beside_empty_candidates(pools, method):
    """Zero, which an empty candidate scores there, is below every score in (0, 1]: the winner is the same."""
    name = PUBLISHED_NAMES.get(method, method)
    num_compared = 0
    for pool in pools:
        values = pool["values"][name]
        if all(pool["prm_scores"]) or max(values) <= 1e-9:
            continue
        chosen = best_of_n([aggregate(step_scores, method) for step_scores in pool["prm_scores"]])
        assert values[chosen] == pytest.approx(max(values), rel=1e-12)
        num_compared += 1
    assert num_compared >= 30


def test_a_zero_aborts_published_evaluation_and_is_the_worst_step_here(pools):
    # Differs from MM-PRM: logit(0) raises there, in 60 golden pools.
    aborted = [pool["prm_scores"] for pool in pools if pool["values"]["sum_logit"] is None]
    assert len(aborted) == 60
    for prm_scores in aborted:
        assert any(0.0 in step_scores for step_scores in prm_scores)
        scores = [aggregate(step_scores, "sum_logit") for step_scores in prm_scores]
        assert all(math.isfinite(score) == bool(steps) for score, steps in zip(scores, prm_scores, strict=True))
        worse = [aggregate([*step_scores, 0.0], "sum_logit") for step_scores in prm_scores]
        assert all(low < high for low, high in zip(worse, scores, strict=True) if high != -math.inf)


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_ends_are_ordinary_values_and_empty_is_the_lowest(method):
    values = [aggregate([score] * 3, method) for score in (0.0, 1e-6, 0.5, 0.999, 1.0)]
    assert values == sorted(values)
    assert all(math.isfinite(value) for value in values)
    assert len(set(values)) == 5
    assert aggregate([], method) == -math.inf < aggregate([0.0] * 100, method)


@pytest.mark.parametrize("method", sorted(set(AGGREGATIONS) - {"last"}))
def test_the_order_of_steps_does_not_matter(method):
    scores = [0.1, 0.7, 0.3, 0.9]
    assert len({aggregate(order, method) for order in itertools.permutations(scores)}) == 1


def test_aggregate_by_hand():
    scores = [0.5, 0.8]
    expected = {
        "min": 0.5,
        "last": 0.8,
        "product": 0.4,
        "mean": 0.65,
        "max": 0.8,
        "sum_logprob": math.log(0.4),
        "sum_logit": math.log(4.0),
        "mean_odds": 2.5,
    }
    assert {method: aggregate(scores, method) for method in AGGREGATIONS} == pytest.approx(expected)


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan, math.inf])
def test_scores_outside_the_unit_interval_are_errors(score):
    with pytest.raises(ValueError, match=r"Step score 1 is .*probabilities in \[0, 1\]"):
        aggregate([0.5, score], "min")


def test_unknown_aggregation_lists_close_matches():
    with pytest.raises(ValueError, match="Unknown aggregation 'mean_odd'. Did you mean 'mean_odds'"):
        aggregate([0.5], "mean_odd")
    with pytest.raises(ValueError, match="Choose one of min, last"):
        vote_weight(0.5, "zzz")


def test_vote_weights_are_finite_and_keep_the_order():
    for method in AGGREGATIONS:
        weights = [
            vote_weight(aggregate(scores, method), method) for scores in ([], [0.0] * 40, [0.4, 0.5], [1.0] * 40)
        ]
        assert weights[0] == 0.0
        assert all(math.isfinite(weight) and weight >= 0 for weight in weights)
        assert weights == sorted(weights)
    assert vote_weight(math.log(0.4), "sum_logprob") == pytest.approx(0.4)
    assert vote_weight(math.log(4.0), "sum_logit") == pytest.approx(0.8)


def test_best_of_n_breaks_ties_by_tie_breaker_then_order():
    assert best_of_n([0.2, 0.7, 0.7]) == 1
    assert best_of_n([0.2, 0.7, 0.7], tie_breakers=[0.9, 0.1, 0.2]) == 2
    assert best_of_n([-math.inf, -math.inf]) == 0
    assert best_of_n([-math.inf, -50.0]) == 1


def test_best_of_n_refuses_no_scores_nan_and_unequal_lengths():
    with pytest.raises(ValueError, match="Found 0 scores"):
        best_of_n([])
    with pytest.raises(ValueError, match="Found NaN"):
        best_of_n([0.1, math.nan])
    with pytest.raises(ValueError, match="2 scores but 1 tie-breakers"):
        best_of_n([0.1, 0.2], tie_breakers=[0.5])


def test_majority_vote():
    assert majority_vote([0, 1, None, 1]) == 1
    assert majority_vote([None, 3, 1, 1, 3]) == 1
    assert majority_vote([None, None]) is None
    assert majority_vote([]) is None


def test_weighted_vote():
    assert weighted_vote([0, 1, 1], [0.9, 0.2, 0.3]) == 0
    assert weighted_vote([0, 1, 1], [0.4, 0.2, 0.3]) == 2
    assert weighted_vote([0, None, 1], [0.4, 5.0, 0.3]) == 0
    assert weighted_vote([0, 1, 1], [0.0, 0.0, 0.0]) == 1
    assert weighted_vote([None], [1.0]) is None
    with pytest.raises(ValueError, match="Weight 1 is -0.1"):
        weighted_vote([0, 0], [0.1, -0.1])
    with pytest.raises(ValueError, match="2 groups but 1 weights"):
        weighted_vote([0, 0], [0.1])


def test_equal_weights_vote_like_the_majority():
    rng = random.Random(1)
    for _ in range(200):
        groups = [rng.choice([None, 0, 1, 2]) for _ in range(8)]
        assert weighted_vote(groups, [0.5] * 8) == majority_vote(groups)


def test_pass_at_k_equals_the_share_of_subsets():
    labels = [1, 0, 0, 1, 0]
    for k in range(1, 6):
        subsets = list(itertools.combinations(labels, k))
        assert pass_at_k(2, 5, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)
    assert pass_at_k(0, 1000, 500) == 0.0
    assert pass_at_k(1000, 1000, 1) == 1.0


def test_pass_at_k_refuses_impossible_counts():
    with pytest.raises(ValueError, match="6 correct of 5 samples"):
        pass_at_k(6, 5, 1)
    with pytest.raises(ValueError, match="k=6 with 5 samples"):
        pass_at_k(1, 5, 6)


def test_every_selection_sees_the_same_candidates():
    groups, scores = ["4", "5", "5", None], [[0.9], [0.2], [0.3], []]
    values = outcome_by_selection([1.0, 0.0, 0.0, 0.0], scores, groups, "min")
    assert values == {
        "mean_pass_at_1": 0.25,
        "majority_vote": 0.0,
        "best_of_n": 1.0,
        "weighted_vote": 1.0,
        "oracle": 1.0,
    }


def test_undecided_outcomes_leave_numerator_and_denominator():
    values = outcome_by_selection([None, 0.0], [[0.9], [0.2]], ["4", "5"], "min")
    assert values["best_of_n"] is None and values["mean_pass_at_1"] == 0.0 and values["oracle"] == 0.0
    values = outcome_by_selection([None], [[]], [None], "min")
    assert values["oracle"] is None and values["mean_pass_at_1"] is None and values["majority_vote"] == 0.0
