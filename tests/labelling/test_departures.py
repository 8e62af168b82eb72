"""Where labelling departs from published MM-PRM on purpose, shown beside the published search."""

from __future__ import annotations

import asyncio
import random

import yaml
from support.layout import ROOT
from support.published_files import published_rows, to_published_tree
from support.scripted_engine import ScriptedEngine
from support.trees_by_hand import PROBLEM, TREE, train_rows

from mmprm_hf.data import Problem, Rollout, Verdict
from mmprm_hf.engines import SamplingConfig
from mmprm_hf.labelling import omegaprm, omegaprm_reference
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.training.targets import IGNORE_LABEL, TargetConfig, step_targets


class Verifier:
    """7 is correct."""

    async def judge(self, problem, answer):
        return Verdict.CORRECT if answer == "7" else Verdict.INCORRECT


def searched_prefixes(search, rollouts):
    """Prefixes that one search draws from, in order, if these are the rollouts from the start and all others fail."""
    prefixes = []

    def policy(problem, prefix, call_index, sample_index):
        if sample_index == 0:
            prefixes.append(prefix)
        return Rollout(("fails",), "8") if prefix else rollouts[sample_index]

    config = OmegaPRMConfig(num_rollouts=len(rollouts), max_rollouts=100, num_searches=1)
    asyncio.run(search(Problem("p", "q"), ScriptedEngine(policy), Verifier(), config, random.Random(0)))
    return prefixes


def test_the_midpoint_of_an_odd_number_of_steps_is_rounded_down():
    """There it is rounded up (and the answer is the last step)."""
    correct, steps = Rollout(("c",), "7"), ("w1", "w2", "w3", "w4", "w5")
    assert searched_prefixes(omegaprm.search, [correct, Rollout(steps, "8")])[1] == ("w1", "w2")
    assert searched_prefixes(omegaprm_reference.search, [correct, Rollout(steps[:4], "8")])[1] == ("w1", "w2", "w3")


def test_a_prefix_that_a_correct_rollout_passes_is_not_wrong_even_if_all_its_own_samples_are():
    """There the bisection turns back before such a prefix, where the first error is not."""
    rollouts = [Rollout(("r1", "r2", "r3", "r4"), "7"), Rollout(("r1", "r2", "w3", "w4"), "8")]
    assert searched_prefixes(omegaprm.search, rollouts) == [(), ("r1", "r2"), ("r1", "r2", "w3")]
    rollouts = [Rollout(("r1", "r2", "r3", "r4"), "7"), Rollout(("r1", "r2", "w3"), "8")]
    assert searched_prefixes(omegaprm_reference.search, rollouts) == [(), ("r1", "r2"), ("r1",)]


def test_words_of_the_answer_do_not_count_as_length():
    """There the answer is a step: a solution with a long answer is selected later."""
    correct, short = Rollout(("c",), "7"), Rollout(("short", "short", "short"), "8" + " very long" * 100)
    longer = Rollout(("word " * 20, "word", "word"), "8")
    assert searched_prefixes(omegaprm.search, [correct, short, longer])[1][0] == "short"
    assert searched_prefixes(omegaprm_reference.search, [correct, short, longer])[1][0].startswith("word")


def test_by_default_the_policy_is_sampled_as_it_is():
    """The published script has top-k 50, top-p 0.9 and 4,096 tokens, its Python code a temperature of 0.7, top-k 30."""
    assert SamplingConfig() == SamplingConfig(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=128)
    published = yaml.safe_load((ROOT / "recipes" / "label_at_scale" / "mm_prm.yaml").read_text())
    sampling = {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "max_new_tokens": 4096}
    assert {name: published[name] for name in sampling} == sampling


def test_soft_labels_are_by_default_filled_inside_segments():
    """There only the end of a segment has a label; `fill` = "own" leaves the other steps without one."""

    def targets(**options):
        rows = train_rows([PROBLEM], [TREE], **options)
        return {"".join(row["completions"]): step_targets(row, TargetConfig("soft")).targets for row in rows}

    assert targets()["abcde"] == [0.25, 0.25, 1.0, 1.0, 1.0]
    assert targets(fill="own")["abcde"] == [IGNORE_LABEL, 0.25, IGNORE_LABEL, IGNORE_LABEL, 1.0]
    published = to_published_tree(TREE, PROBLEM, "figure.png")
    lengthen(published)
    assert [0.25, 1.0] in [row["labels"] for row in published_rows(published, random.Random(0))]


def lengthen(node):
    """Make the steps long enough for the published traversal, which drops texts of up to ten words."""
    if "partial_solution" in node:
        node["partial_solution"] = [f"{step} and so on and so on" for step in node["partial_solution"]]
    for child in node["children"]:
        lengthen(child)
