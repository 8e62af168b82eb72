"""Consensus search: verdicts on prefixes, several solutions, failing judges, and a PRM as the judge."""

from __future__ import annotations

import asyncio
import random

import pytest

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Candidate, Problem, Rollout, SearchTree, Verdict
from mmprm_hf.engines import ScriptedEngine
from mmprm_hf.labelling import flat_mc
from mmprm_hf.labelling.consensus import ConsensusSearch, PRMStepJudge
from mmprm_hf.labelling.flat_mc import FlatMCConfig
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring.scorer import PRMScorer

PROBLEM = Problem("p", "question", answer="7")
CONFIG = FlatMCConfig(num_responses=4, num_rollouts=4)
RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED


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
        return [tuple(self.verdicts.get(step, RIGHT) for step in solution) for solution in solutions]


def run(judge):
    search = ConsensusSearch(flat_mc.search, judge)
    return asyncio.run(search(PROBLEM, ScriptedEngine(policy), RuleVerifier(), CONFIG, random.Random(0)))


def verdicts_of(tree):
    return {tree.prefix(i): node.judge_verdict for i, node in enumerate(tree.nodes)}


def test_every_node_has_the_verdict_on_all_steps_up_to_it():
    judge = WordJudge(bad=WRONG)
    tree = run(judge)
    assert judge.asked == [[("start", "good", "end"), ("start", "bad", "end")]], "one look at each solution"
    assert verdicts_of(tree) == {
        (): None,
        ("start",): RIGHT,
        ("start", "good"): RIGHT,
        ("start", "bad"): WRONG,
        ("start", "good", "end"): RIGHT,
        ("start", "bad", "end"): WRONG,
    }
    plain = asyncio.run(flat_mc.search(PROBLEM, ScriptedEngine(policy), RuleVerifier(), CONFIG, random.Random(0)))
    assert [(n.num_correct, n.num_decided) for n in tree.nodes] == [(n.num_correct, n.num_decided) for n in plain.nodes]
    assert SearchTree.from_dict(tree.to_dict()) == tree


def test_undecided_steps_leave_what_follows_undecided_until_a_wrong_one():
    tree = run(WordJudge(start=OPEN, bad=WRONG))
    found = verdicts_of(tree)
    assert (found[("start",)], found[("start", "good", "end")], found[("start", "bad")]) == (OPEN, OPEN, WRONG)


def test_what_follows_a_wrong_step_stays_wrong_whatever_is_said_of_it():
    found = verdicts_of(run(WordJudge(bad=WRONG, end=OPEN)))
    assert (found[("start", "bad", "end")], found[("start", "good", "end")]) == (WRONG, OPEN)


def test_a_judge_that_contradicts_itself_is_undecided():
    class Fickle(WordJudge):
        async def judge_steps(self, problem, solutions):
            return [(RIGHT if "good" in solution else WRONG,) * len(solution) for solution in solutions]

    assert verdicts_of(run(Fickle()))[("start",)] is OPEN


def test_a_judge_answers_for_every_step():
    class Short(WordJudge):
        async def judge_steps(self, problem, solutions):
            return [(RIGHT,)] * len(solutions)

    with pytest.raises(ValueError, match=r"gave \[1, 1\] verdicts for solutions of \[3, 3\] steps of problem 'p'"):
        run(Short())


def test_identity_names_search_and_judge():
    assert ConsensusSearch(flat_mc.search, WordJudge()).identity == {
        "search": "mmprm_hf.labelling.flat_mc.search",
        "judge": {"judge": "words"},
    }


def test_a_prm_is_a_judge(tiny_prm_dir, figures):
    tiny_scorer = PRMScorer(MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir))
    problem = Problem("p", "What is x?", (figures[0],))
    solutions = [("a", "b"), ("a", "c", "d")]
    scored = tiny_scorer.score(problem, [Candidate(steps=solution) for solution in solutions])
    scores = sorted({score for candidate in scored for score in candidate.step_scores})
    low, high = scores[1], scores[-2]
    judge = PRMStepJudge(tiny_scorer, correct_above=high, incorrect_below=low)
    verdicts = asyncio.run(judge.judge_steps(problem, solutions))
    expected = [
        tuple(RIGHT if s > high else WRONG if s < low else OPEN for s in candidate.step_scores) for candidate in scored
    ]
    assert verdicts == expected
    assert {RIGHT, WRONG, OPEN} == {verdict for row in verdicts for verdict in row}
    with pytest.raises(ValueError, match=r"incorrect_below=0\.6 and correct_above=0\.5"):
        PRMStepJudge(tiny_scorer, correct_above=0.5, incorrect_below=0.6)
