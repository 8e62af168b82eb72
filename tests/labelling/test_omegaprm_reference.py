"""The reference search against recorded runs of published MM-PRM: calls, selections, trees and rows, byte for byte."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from support.layout import SHARED
from support.published_files import published_prm_rows, published_rows, to_published_tree
from support.scripted_engine import ScriptedEngine

from mmprm_hf.data import Problem, Rollout, SearchTree, Verdict
from mmprm_hf.labelling.failures import UndecidedAnswerError
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.labelling.omegaprm_reference import ReferencePool, ReferenceState, search

GOLDEN = SHARED / "golden" / "omegaprm"


def golden(name):
    if not (GOLDEN / name).is_file():
        pytest.skip(f"{name} is not there: the recorded runs are not part of the repository")
    text = (GOLDEN / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith("jsonl") else json.loads(text)


class Recorded:
    """Engine and verifier that answer from a recorded run and remember what they were asked."""

    identity = {"engine": "recorded"}

    def __init__(self, events):
        self.calls = [event for event in events if event["event"] == "generate"]
        self.asked = []
        self.verdicts = []  # of the current call's rollouts, in order

    async def generate(self, requests):
        (request,) = requests
        call = self.calls.pop(0)
        self.asked.append({"event": "generate", "prefix": list(request.prefix), "n": request.num_samples})
        self.verdicts = list(call["correct"])
        return [tuple(Rollout(tuple(steps), None, complete=bool(steps)) for steps in call["rollouts"])]

    async def judge(self, problem, answer):
        if self.verdicts:
            return Verdict.CORRECT if self.verdicts.pop(0) else Verdict.INCORRECT
        self.asked.append({"event": "final_check", "solution": answer})
        return Verdict.CORRECT if answer.strip().endswith(f"answer is {problem.answer}.") else Verdict.INCORRECT


@pytest.fixture(scope="module")
def runs():
    """By problem: recorded events, what our search asked and selected, and our tree in published form."""
    params = golden("trees.json")["params"]
    config = OmegaPRMConfig(
        num_rollouts=params["num_rollouts"],
        max_rollouts=params["rollout_budget"],
        num_searches=params["max_search_count"],
        c_puct=params["c_puct"],
        alpha=params["alpha"],
        beta=params["beta"],
        length_scale=params["length_scale"],
    )
    events = golden("calls.jsonl")
    runs = {}
    original_pop = ReferencePool.pop
    for row in golden("problems.json"):
        own = [event for event in events if event["problem"] == row["id"]]
        recorded = Recorded(own)

        def pop(pool, recorded=recorded):
            size, before = len(pool.priorities), dict(pool.priorities)
            state, solution = original_pop(pool)
            selection = {"event": "select", "prefix": list(state.prefix), "rollout": list(solution), "pool_size": size}
            recorded.asked.append({**selection, "priority": before[id(state), solution]})
            return state, solution

        problem = Problem(row["id"], row["question"], answer=row["correct_answer"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReferencePool, "pop", pop)
            tree = asyncio.run(search(problem, recorded, recorded, config, random.Random(0)))
        assert SearchTree.from_dict(json.loads(json.dumps(tree.to_dict()))) == tree
        runs[row["id"]] = (own, recorded, to_published_tree(tree, problem, row["image_path"]))
    return runs


def test_calls_and_selections_are_the_published_ones(runs):
    assert len(runs) == 30
    num_selections = 0
    for events, recorded, _ in runs.values():
        assert not recorded.calls
        expected = [event for event in events if event["event"] != "mc"]
        assert [event["event"] for event in expected] == [asked["event"] for asked in recorded.asked]
        for event, asked in zip(expected, recorded.asked, strict=True):
            if asked["event"] == "select":
                num_selections += 1
                # float64: a few operations on numbers below 3, and room
                assert asked.pop("priority") == pytest.approx(event["priority"], abs=1e-12)
            assert {key: event[key] for key in asked} == asked
    assert num_selections == 354


def test_trees_are_the_published_ones_byte_for_byte(runs):
    expected = golden("trees.json")["trees"]
    assert json.dumps([tree for _, _, tree in runs.values()]) == json.dumps(expected)


def test_rows_are_the_published_ones_byte_for_byte(runs):
    recorded = golden("traverse.json")
    for (_, _, tree), expected in zip(runs.values(), recorded["per_tree"], strict=True):
        rng = random.Random(recorded["seed_per_tree"])
        rows = published_rows(tree, rng)
        if expected["kept_by_main"]:
            assert json.dumps(rows) == json.dumps(expected["rows"])
            assert rng.random() == expected["random_after"]
    trees = [tree for _, _, tree in runs.values()]
    rows = published_prm_rows(trees, random.Random(recorded["seed_main"]))
    assert len(rows) == 471
    assert json.dumps(rows) == json.dumps(golden("prm_rows.jsonl"))


def test_answers_close_a_solution_and_undecided_ones_fail_the_problem():
    class Verifier:
        async def judge(self, problem, answer):
            return Verdict.UNDECIDED if answer == "?" else Verdict("correct" if answer == "7" else "incorrect")

    def policy(problem, prefix, call, sample):
        return Rollout(("good", "end")[len(prefix) :] if sample else ("bad",), "7" if sample else "8")

    problem, config = Problem("p", "q", answer="7"), OmegaPRMConfig(num_rollouts=2, max_rollouts=20)
    tree = asyncio.run(search(problem, ScriptedEngine(policy), Verifier(), config, random.Random(0)))
    assert tree.nodes[1].steps == ("good", "end", "7")
    assert tree.nodes[0].mc_estimate == 0.5
    engine = ScriptedEngine(lambda *args: Rollout(("a",), "?"))
    with pytest.raises(UndecidedAnswerError, match="'p': no verdict on the answer '\\?'.*omegaprm search"):
        asyncio.run(search(problem, engine, Verifier(), config, random.Random(0)))


def test_equal_priorities_go_to_the_state_with_fewer_visits():
    root = ReferenceState((), None, 1, 2)
    pool = ReferencePool(root, OmegaPRMConfig(c_puct=0.0))
    often, seldom = (root.add_child((name,), 1, 2) for name in "ab")
    often.num_visits = 1
    for state in (often, seldom):
        pool.push(state, ("x",))
    assert [pool.pop()[0] for _ in range(2)] == [seldom, often]
