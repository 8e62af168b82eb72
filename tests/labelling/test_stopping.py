"""Early stopping: the posterior against known values, the rules, rounds and what they save."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from support.scripted_engine import ScriptedEngine

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Rollout
from mmprm_hf.labelling.flat_mc import FlatMCConfig, search
from mmprm_hf.labelling.stopping import EstimateConfig, posterior_std, prob_above


def test_the_tail_is_that_of_the_binomial():
    """P(Beta(k + 1, n - k + 1) > t) is the probability of at most k successes in n + 1 trials at t."""
    for num_correct, num_decided, threshold in [(0, 16, 0.1), (3, 9, 0.25), (8, 16, 0.5), (16, 16, 0.9), (40, 64, 0.6)]:
        n = num_decided + 1
        tail = sum(math.comb(n, j) * threshold**j * (1 - threshold) ** (n - j) for j in range(num_correct + 1))
        # float64: 65 terms with rounding errors of 1e-16 each, and room
        assert prob_above(threshold, num_correct, num_decided) == pytest.approx(tail, abs=1e-12)


def test_posterior_agrees_with_numerical_integration():
    for k, n in [(0, 4), (3, 9), (8, 16), (16, 16)]:
        grid = [(i + 0.5) / 20_000 for i in range(20_000)]
        density = [x**k * (1 - x) ** (n - k) for x in grid]
        total = sum(density)
        mean = sum(x * d for x, d in zip(grid, density, strict=True)) / total
        variance = sum((x - mean) ** 2 * d for x, d in zip(grid, density, strict=True)) / total
        assert posterior_std(k, n) == pytest.approx(math.sqrt(variance), rel=1e-4)
        above = sum(d for x, d in zip(grid, density, strict=True) if x > 0.1) / total
        assert prob_above(0.1, k, n) == pytest.approx(above, abs=1e-4)
    assert (prob_above(0.0, 0, 4), prob_above(0.0, 2, 4)) == (1.0, 1.0)


def test_when_an_estimate_is_settled():
    std = EstimateConfig(max_posterior_std=0.125)
    assert [n for n in range(1, 17) if std.is_settled(0, n)][0] == 5
    assert [n for n in range(1, 17) if std.is_settled(n // 2, n)][0] == 13
    sign = EstimateConfig(sign_confidence=0.95)
    assert not sign.is_settled(0, 16), "never seen right does not prove never right"
    assert sign.is_settled(1, 3)
    loose = EstimateConfig(sign_confidence=0.8, sign_threshold=0.1)
    assert [n for n in range(1, 33) if loose.is_settled(0, n)][0] == 15
    assert loose.is_settled(1, 2) and not loose.is_settled(1, 12)
    assert not EstimateConfig().is_settled(16, 16)


def num_to_draw(config, num_fresh, num_free, num_correct):
    return config.num_to_draw(
        num_fresh=num_fresh,
        num_free=num_free,
        num_correct=num_correct,
        num_decided=num_fresh + num_free,
    )


def test_how_many_rollouts_are_drawn_next():
    fixed = EstimateConfig(num_rollouts=8)
    assert num_to_draw(fixed, 0, 0, 0) == 8
    assert num_to_draw(fixed, 0, 3, 1) == 5
    assert (num_to_draw(fixed, 0, 7, 1), num_to_draw(fixed, 0, 9, 1), num_to_draw(fixed, 1, 7, 1)) == (1, 0, 0)
    assert num_to_draw(fixed, 4, 7, 5) == 0
    rounds = EstimateConfig(num_rollouts=8, round_size=3, max_posterior_std=0.1)
    assert [num_to_draw(rounds, n, 0, 0) for n in (0, 3, 6, 8)] == [3, 3, 2, 0]
    assert (num_to_draw(rounds, 3, 9, 0), num_to_draw(rounds, 0, 3, 0)) == (0, 3)


def policy(problem, prefix, call_index, sample_index):
    """Solved for certain after "a", never after "b", half of the time from the start and after "c"."""
    rng = random.Random(f"{problem.id} {prefix} {call_index} {sample_index}")
    first = prefix[0] if prefix else rng.choice("abc")
    is_right = {"a": True, "b": False, "c": rng.random() < 0.5}[first]
    return Rollout((first, "end")[len(prefix) :], "7" if is_right else "8")


def label_error(config):
    """Rollouts per estimate and mean absolute error of the labels on 200 problems."""
    errors, num_drawn = [], 0
    for index in range(200):
        engine = ScriptedEngine(policy)
        problem = Problem(f"p{index}", "q", answer="7")
        tree = asyncio.run(search(problem, engine, RuleVerifier(), config, random.Random(index)))
        truths = {("a",): 1.0, ("b",): 0.0, ("c",): 0.5}
        for i, node in enumerate(tree.nodes):
            if tree.prefix(i) in truths and node.num_decided:
                errors.append(abs(node.mc_estimate - truths[tree.prefix(i)]))
        num_drawn += tree.num_rollouts - config.num_responses
    return num_drawn / len(errors), sum(errors) / len(errors)


def test_stopping_early_spends_rollouts_where_they_are_needed():
    fixed = label_error(FlatMCConfig(num_responses=3, num_rollouts=16, reuse_rollouts=False))
    adaptive = label_error(
        FlatMCConfig(num_responses=3, num_rollouts=24, max_posterior_std=0.11, round_size=2, reuse_rollouts=False)
    )
    assert fixed[0] == 16
    assert adaptive[0] < 0.72 * fixed[0]
    assert adaptive[1] < 1.1 * fixed[1]


def test_settings_out_of_range_are_refused():
    for name, value in [("round_size", 0), ("max_posterior_std", 0.3), ("sign_confidence", 0.5), ("sign_threshold", 1)]:
        with pytest.raises(ValueError, match=f"{name}={value}.*EstimateConfig.*must be"):
            EstimateConfig(**{name: value})


def expected_estimate(prob, **options):
    """Exact E[k / n] under the rule, over all ways the rounds can go."""
    config = EstimateConfig(**options)
    states, total = {(0, 0): 1.0}, 0.0
    while states:
        following = {}
        for (k, n), weight in states.items():
            count = config.num_to_draw(num_fresh=n, num_free=0, num_correct=k, num_decided=n)
            if count == 0:
                total += weight * k / n
            for j in range(count + 1 if count else 0):
                share = math.comb(count, j) * prob**j * (1 - prob) ** (count - j)
                following[k + j, n + count] = following.get((k + j, n + count), 0.0) + weight * share
        states = following
    return total


def test_the_bias_of_early_stops_is_as_documented():
    assert expected_estimate(0.15) == pytest.approx(0.15)
    assert expected_estimate(0.15, sign_confidence=0.9) == pytest.approx(0.21, abs=0.005)
    assert expected_estimate(0.15, sign_confidence=0.9, round_size=1) == pytest.approx(0.33, abs=0.005)
    assert expected_estimate(0.15, max_posterior_std=0.15) == pytest.approx(0.11, abs=0.005)
    assert expected_estimate(0.15, max_posterior_std=0.1) == pytest.approx(0.13, abs=0.005)
