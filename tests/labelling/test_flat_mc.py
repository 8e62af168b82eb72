"""Flat Monte Carlo: each inner step estimated, last steps known, budget kept."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from support.scripted_engine import ScriptedEngine

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Rollout
from mmprm_hf.labelling.failures import NothingJudgedError
from mmprm_hf.labelling.flat_mc import FlatMCConfig, search

PROBLEM = Problem("p", "question", answer="7")


def policy(problem, prefix, call_index, sample_index):
    """Even samples are right; odd ones take a wrong second step, after which nothing is right."""
    is_right = "bad" not in prefix and sample_index % 2 == 0
    steps = ("start", "good", "end") if is_right else ("start", "bad", "end")
    return Rollout(steps[len(prefix) :], "7" if is_right else "8")


def run(config, policy=policy):
    return asyncio.run(search(PROBLEM, ScriptedEngine(policy), RuleVerifier(), config, random.Random(0)))


def test_every_step_has_an_estimate_of_its_own():
    tree = run(FlatMCConfig(num_responses=4, num_rollouts=6, reuse_rollouts=False))
    counts = {tree.prefix(i): (node.num_correct, node.num_decided) for i, node in enumerate(tree.nodes)}
    assert counts == {
        (): (2, 4),
        ("start",): (3, 6),
        ("start", "good"): (3, 6),
        ("start", "bad"): (0, 6),
        ("start", "good", "end"): (2, 2),
        ("start", "bad", "end"): (0, 2),
    }
    assert tree.num_rollouts == 4 + 3 * 6, "the shared prefix is estimated once"


def test_rollouts_are_free_samples_of_the_prefixes_they_pass():
    """Four responses pass "start", two each of the longer prefixes; what is drawn after "start" counts there too."""
    tree = run(FlatMCConfig(num_responses=4, num_rollouts=6))
    drawn = Counter(tree.prefix(index) for index, _ in tree.rollouts)
    counts = {tree.prefix(i): (node.num_correct, node.num_decided) for i, node in enumerate(tree.nodes)}
    assert drawn == {(): 4, ("start",): 2, ("start", "good"): 3, ("start", "bad"): 3}
    assert counts[("start",)] == (2 + 1, 4 + 2)
    assert counts[("start", "good")] == (2 + 1 + 2, 2 + 1 + 3)
    assert counts[("start", "bad")] == (0, 2 + 1 + 3)


def test_the_budget_is_kept():
    for max_rollouts, expected in [(4, 4), (9, 4), (10, 10), (17, 16), (100, 22)]:
        config = FlatMCConfig(num_responses=4, num_rollouts=6, max_rollouts=max_rollouts, reuse_rollouts=False)
        assert run(config).num_rollouts == expected


def test_responses_that_nobody_can_judge_and_bad_settings_are_errors():
    with pytest.raises(NothingJudgedError, match="none of the 2 rollouts"):
        run(FlatMCConfig(num_responses=2, num_rollouts=6), lambda *args: Rollout(("a",), None, complete=False))
    with pytest.raises(ValueError, match="num_rollouts=0"):
        FlatMCConfig(num_rollouts=0)
    with pytest.raises(ValueError, match="max_rollouts=3"):
        FlatMCConfig(num_responses=4, max_rollouts=3)
