"""Candidates from an engine, their scores, and who wins."""

import dataclasses
import math

import pytest
from support.scripted_engine import ScriptedEngine

from mmprm_hf.data import Candidate, Problem, Rollout
from mmprm_hf.errors import UnknownNameError
from mmprm_hf.rerank.candidates import generate_candidates, scored_candidates, winner_index

PROBLEM = Problem(id="p", question="What is A?")


def write(problem, prefix, call_index, sample_index) -> Rollout:
    return Rollout(steps=(f"A={sample_index}",), answer=str(sample_index), text=f"{problem.id}/{sample_index}")


def candidate(scores, answer="1", complete=True) -> Candidate:
    return Candidate(
        steps=tuple(f"step {i}" for i in range(len(scores))),
        answer=answer,
        complete=complete,
        step_scores=tuple(scores) if scores else None,
    )


def test_candidates_come_in_the_order_of_problems_and_samples():
    engine = ScriptedEngine(write, identity={"engine": "test"})
    problems = [dataclasses.replace(PROBLEM, id=name) for name in "abc"]
    candidates = generate_candidates(engine, problems, 2, problems_per_call=2)
    assert [[c.text for c in row] for row in candidates] == [["a/0", "a/1"], ["b/0", "b/1"], ["c/0", "c/1"]]


def test_no_candidates_is_refused():
    with pytest.raises(ValueError, match="Found num_candidates=0"):
        generate_candidates(ScriptedEngine(write, identity={}), [PROBLEM], 0)


def test_incomplete_and_unscored_candidates_score_minus_infinity_and_never_win():
    scored = scored_candidates([candidate([0.99], complete=False), candidate([]), candidate([0.1, 0.3])], "min")
    assert [c.score for c in scored] == [-math.inf, -math.inf, 0.1]
    assert winner_index(scored, "best_of_n", "min") == 2


def test_nothing_wins_where_nothing_is_complete():
    scored = scored_candidates([candidate([0.99], complete=False)], "min")
    for strategy in ("best_of_n", "majority_vote", "weighted_vote"):
        assert winner_index(scored, strategy, "min") is None


def test_strategies_differ_as_they_should():
    """One confident loner, three doubtful ones that agree (written differently), two good ones that agree."""
    pool = [
        candidate([0.95], answer="7"),
        candidate([0.1], answer="3"),
        candidate([0.1], answer="3.0"),
        candidate([0.1], answer="6/2"),
        candidate([0.8], answer="5"),
        candidate([0.7], answer="5"),
    ]
    for strategy, winner in (("best_of_n", 0), ("majority_vote", 1), ("weighted_vote", 4)):
        assert winner_index(scored_candidates(pool, "min"), strategy, "min") == winner


def test_ties_go_to_the_higher_mean():
    pool = scored_candidates([candidate([0.5, 0.5]), candidate([0.5, 0.9])], "min")
    assert winner_index(pool, "best_of_n", "min") == 1


def test_unknown_strategy_and_empty_pool_are_refused():
    with pytest.raises(UnknownNameError, match="Unknown strategy 'best'. Did you mean 'best_of_n'"):
        winner_index([candidate([0.5])], "best", "min")
    with pytest.raises(ValueError, match="Found 0 candidates"):
        winner_index([], "best_of_n", "min")


def test_an_incomplete_candidate_never_wins_over_one_that_could_not_be_scored():
    scored = scored_candidates([candidate([0.9], complete=False), candidate([])], "min")
    scored[1] = dataclasses.replace(scored[1], steps=("<prm>",))
    for strategy in ("best_of_n", "majority_vote", "weighted_vote", "beam_search"):
        assert winner_index(scored, strategy, "min") == 1
