"""From problems to winners by every strategy, with the shipped nano models; and the options that are refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.data import Candidate
from mmprm_hf.engines import SamplingConfig, TransformersEngine
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.candidates import GUIDED_SEARCHES, STRATEGIES, answer_votes, scored_candidates, winner_index
from mmprm_hf.rerank.solving import RerankConfig, solve
from mmprm_hf.scoring.scorer import PRMScorer
from mmprm_hf.selection import aggregate

PROBLEMS = [make_problem(family, 1).to_problem() for family in ("rectangle", "triangle_angle")]
SAMPLING = SamplingConfig(max_new_tokens=64)


def test_options_out_of_range_are_refused():
    for options, message in (
        ({"strategy": "beam_serach"}, "Unknown strategy 'beam_serach'. Did you mean 'beam_search'"),
        ({"strategy": "best-of-n"}, "Did you mean 'best_of_n'"),
        ({"strategy": "zzz"}, "Unknown strategy 'zzz'. Choose one of best_of_n, .*beam_annealing"),
        ({"strategy": None}, "Unknown strategy 'None'"),
        ({"aggregation": "mean_odd"}, "Unknown aggregation 'mean_odd'. Did you mean 'mean_odds'"),
        ({"num_candidates": 0}, "Found num_candidates=0"),
        ({"num_candidates": 2.0}, "Found num_candidates=2.0 in RerankConfig; it must be a whole number"),
        ({"max_steps": 0}, "Found max_steps=0"),
        ({"max_steps": None}, "Found max_steps=None"),
        ({"beam_width": 0}, "Found beam_width=0"),
        ({"beam_width": True}, "Found beam_width=True"),
        ({"strategy": "dvts", "num_candidates": 4, "beam_width": 5}, "Found beam_width=5 with num_candidates=4"),
    ):
        with pytest.raises(ValueError, match=message):
            RerankConfig(**options)


def test_a_guided_strategy_is_told_from_the_others():
    assert [name for name in STRATEGIES if RerankConfig(strategy=name).is_guided] == list(GUIDED_SEARCHES)


class Engines:
    """Makes engines of one policy, and keeps the settings that it was asked for."""

    def __init__(self) -> None:
        self.policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
        self.processor = AutoProcessor.from_pretrained(POLICY_PATH)
        self.asked: list[SamplingConfig] = []

    def __call__(self, sampling: SamplingConfig) -> TransformersEngine:
        self.asked.append(sampling)
        return TransformersEngine(self.policy, self.processor, sampling=sampling, step_format="tagged")


@pytest.fixture(scope="module")
def engines():
    return Engines()


@pytest.fixture(scope="module")
def scorer():
    return PRMScorer(MMPRMModel.from_pretrained(PRM_PATH), MMPRMProcessor.from_pretrained(PRM_PATH))


def results(solved):
    """All but the times; texts and tokens are exact, scores are not where the batch is another one."""
    return [
        (problem.chosen, problem.num_tokens, [(c.text, c.answer, c.complete, c.num_tokens) for c in problem.candidates])
        for problem in solved
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_solves_and_the_winner_is_the_selected_one(engines, scorer, strategy):
    config = RerankConfig(strategy=strategy, num_candidates=4, aggregation="mean")
    engines.asked.clear()
    solved = solve(PROBLEMS, engines, scorer, config, SAMPLING)
    assert engines.asked == [SAMPLING], "one engine, made once"
    for problem in solved:
        assert problem.chosen == winner_index(problem.candidates, strategy, "mean")
        assert problem.candidates[problem.chosen].complete
        assert set(problem.seconds) == {"generate", "score"} and min(problem.seconds.values()) > 0
        num_written = sum(candidate.num_tokens for candidate in problem.candidates)
        if config.is_guided:  # candidates share prefixes, and some prefixes were dropped
            assert max(candidate.num_tokens for candidate in problem.candidates) < problem.num_tokens
        else:
            assert len(problem.candidates) == 4
            assert problem.num_tokens == num_written
        for candidate in problem.candidates:
            expected = aggregate(candidate.step_scores, "mean") if candidate.complete else -math.inf
            assert candidate.score == expected


def test_results_do_not_depend_on_the_problems_per_call(engines, scorer):
    for strategy in ("weighted_vote", "beam_annealing"):
        config = RerankConfig(strategy=strategy, num_candidates=2)
        together = solve(PROBLEMS, engines, scorer, config, SAMPLING)
        one_by_one = solve(PROBLEMS, engines, scorer, config, SAMPLING, problems_per_call=1)
        assert results(one_by_one) == results(together)
        for one, other in zip(one_by_one, together, strict=True):
            for first, second in zip(one.candidates, other.candidates, strict=True):
                # float32 scores in [0, 1] of batches of other sizes: 1e-5 is a hundred roundings.
                assert first.step_scores == (second.step_scores and pytest.approx(second.step_scores, abs=1e-5))


def test_the_seed_and_the_stop_strings_of_the_caller_are_kept(engines, scorer):
    sampling = dataclasses.replace(SAMPLING, stop_strings=("</answer>", "</step>"))
    config = RerankConfig(strategy="beam_search", num_candidates=2, max_steps=1)
    engines.asked.clear()
    (problem,) = solve(PROBLEMS[:1], engines, scorer, config, sampling)
    assert engines.asked == [sampling], "the closing tag is not added twice"
    assert problem.chosen is None, "no answer is ever closed"
    assert {candidate.complete for candidate in problem.candidates} == {False}
    first, again, other = (
        results(solve(PROBLEMS[:1], engines, scorer, RerankConfig(num_candidates=2, seed=seed), SAMPLING))
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_no_problems_no_solutions(engines, scorer):
    for strategy in ("best_of_n", "dvts"):
        assert solve([], engines, scorer, RerankConfig(strategy=strategy)) == []


# --- Votes ---------------------------------------------------------------------------------------------------------


def candidate(answer, score, complete=True):
    return Candidate(("a step",), answer, complete, step_scores=(score,) if complete else None)


POOL = [
    candidate("7", 0.9),
    candidate("0.5", 0.4),
    candidate("7", 0.3, complete=False),
    candidate("1/2", 0.5),
    candidate("\\frac{1}{2}", 0.3),
    candidate(None, 0.2, complete=False),
]


def test_votes_count_equal_answers_as_one():
    assert answer_votes(POOL) == [1, 3, 0, 3, 3, 0]
    assert answer_votes([]) == []
    scored = scored_candidates(POOL, "min")
    assert winner_index(scored, "best_of_n", "min") == 0
    assert winner_index(scored, "majority_vote", "min") == 1
    assert winner_index(scored, "weighted_vote", "min") == 3, "0.4 + 0.5 + 0.3 against 0.9, and the best of the three"
    without_half = scored_candidates([c for c in POOL if c.answer != "1/2"], "min")
    assert winner_index(without_half, "weighted_vote", "min") == 0, "0.4 + 0.3 against 0.9"


def test_of_a_guided_search_the_best_scored_solution_wins():
    tied = [Candidate(("a", "b"), "1", True, step_scores=scores) for scores in ((0.5, 0.6), (0.9, 0.5), (0.5, 0.9))]
    for strategy in GUIDED_SEARCHES:
        assert winner_index(scored_candidates(POOL, "min"), strategy, "min") == 0
        by_mean_then_order = winner_index(scored_candidates(tied, "min"), strategy, "min")
        assert by_mean_then_order == 1
        incomplete = scored_candidates([candidate("1", 0.9, complete=False)], "min")
        assert winner_index(incomplete, strategy, "min") is None
