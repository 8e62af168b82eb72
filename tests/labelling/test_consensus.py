"""Consensus search: verdicts on prefixes, several solutions, judges that fail."""

from __future__ import annotations

import asyncio
import random

import pytest
from support.scripted_engine import ScriptedEngine

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Rollout, SearchTree, Verdict
from mmprm_hf.labelling import ConsensusSearch, flat_mc
from mmprm_hf.labelling.flat_mc import FlatMCConfig

PROBLEM = Problem("p", "question", answer="7")
CONFIG = FlatMCConfig(num_responses=4, num_rollouts=4)
CORRECT, INCORRECT, UNDECIDED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED


def policy(problem, prefix, call_index, sample_index):
    is_right = "bad" not in prefix and sample_index % 2 == 0
    steps = ("start", "good", "end") if is_right else ("start", "bad", "end")
    return Rollout(steps[len(prefix) :], "7" if is_right else "8")


class WordJudge:
    """Judges a step by its word."""

    identity = {"judge": "words"}

    def __init__(self, **verdicts):
        self.verdicts = verdicts
        self.asked = []

    async def judge_steps(self, problem, solutions):
        self.asked.append(list(solutions))
        return [tuple(self.verdicts.get(step, CORRECT) for step in solution) for solution in solutions]


def run(judge):
    search = ConsensusSearch(flat_mc.search, judge)
    return asyncio.run(search(PROBLEM, ScriptedEngine(policy), RuleVerifier(), CONFIG, random.Random(0)))


def judge_verdicts(tree):
    return {tree.prefix(i): node.judge_verdict for i, node in enumerate(tree.nodes)}


def test_every_node_has_the_verdict_on_all_steps_up_to_it():
    judge = WordJudge(bad=INCORRECT)
    tree = run(judge)
    assert judge.asked == [[("start", "good", "end"), ("start", "bad", "end")]], "each solution is judged once"
    assert judge_verdicts(tree) == {
        (): None,
        ("start",): CORRECT,
        ("start", "good"): CORRECT,
        ("start", "bad"): INCORRECT,
        ("start", "good", "end"): CORRECT,
        ("start", "bad", "end"): INCORRECT,
    }
    plain = asyncio.run(flat_mc.search(PROBLEM, ScriptedEngine(policy), RuleVerifier(), CONFIG, random.Random(0)))
    assert [(n.num_correct, n.num_decided) for n in tree.nodes] == [(n.num_correct, n.num_decided) for n in plain.nodes]
    assert SearchTree.from_dict(tree.to_dict()) == tree


def test_undecided_steps_leave_what_follows_undecided_until_a_wrong_one():
    tree = run(WordJudge(start=UNDECIDED, bad=INCORRECT))
    verdicts = judge_verdicts(tree)
    assert verdicts["start",] is verdicts["start", "good", "end"] is UNDECIDED
    assert verdicts["start", "bad"] is INCORRECT


def test_what_follows_a_wrong_step_stays_wrong_whatever_its_own_verdict_is():
    verdicts = judge_verdicts(run(WordJudge(bad=INCORRECT, end=UNDECIDED)))
    assert verdicts["start", "bad", "end"] is INCORRECT and verdicts["start", "good", "end"] is UNDECIDED


def test_a_judge_that_contradicts_itself_is_undecided():
    class Fickle(WordJudge):
        async def judge_steps(self, problem, solutions):
            return [(CORRECT if "good" in solution else INCORRECT,) * len(solution) for solution in solutions]

    assert judge_verdicts(run(Fickle()))[("start",)] is UNDECIDED


def test_a_judge_must_give_a_verdict_for_every_step():
    class Short(WordJudge):
        async def judge_steps(self, problem, solutions):
            return [(CORRECT,)] * len(solutions)

    with pytest.raises(ValueError, match=r"gave \[1, 1\] verdicts for solutions of \[3, 3\] steps of problem 'p'"):
        run(Short())


def test_identity_names_search_and_judge():
    assert ConsensusSearch(flat_mc.search, WordJudge()).identity == {
        "search": "mmprm_hf.labelling.flat_mc.search",
        "judge": {"judge": "words"},
    }
