"""Solving by every strategy: what is drawn and counted, and who wins."""

import dataclasses

import pytest

from mmprm_hf import demo
from mmprm_hf.data import Candidate
from mmprm_hf.engines import SamplingConfig, TransformersEngine
from mmprm_hf.nano.world import problems
from mmprm_hf.rerank.candidates import STRATEGIES, answer_votes, select, with_scores
from mmprm_hf.rerank.solving import RerankConfig, solve
from mmprm_hf.scoring import PRMScorer

SAMPLING = SamplingConfig(temperature=1.0, max_new_tokens=96)


@pytest.fixture(scope="module")
def nano():
    return demo.load_models()


@pytest.fixture(scope="module")
def targets():
    return [one.to_problem() for one in problems("test", 2)]


def run(nano, targets, config, **options):
    made = []

    def make_engine(sampling):
        made.append(sampling)
        return TransformersEngine(nano.policy, nano.policy_processor, sampling=sampling)

    solved = solve(targets, make_engine, PRMScorer(nano.prm, nano.prm_processor), config, SAMPLING, **options)
    assert len(made) == 1
    assert ("</step>" in made[0].stop_strings) == config.is_guided
    return solved


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_scores_counts_and_chooses(strategy, nano, targets):
    config = RerankConfig(strategy=strategy, num_candidates=4, aggregation="mean", seed=2)
    solved = run(nano, targets, config)
    for one in solved:
        assert set(one.seconds) == {"generate", "score"} and all(value > 0 for value in one.seconds.values())
        assert one.chosen == select(one.candidates, strategy, "mean") is not None
        for candidate in one.candidates:
            assert candidate.complete == (candidate.score != float("-inf"))
        drawn = sum(candidate.num_tokens for candidate in one.candidates)
        if config.is_guided:
            assert one.num_tokens > 0
        else:
            assert one.num_tokens == drawn and len(one.candidates) == 4
    apart = run(nano, targets, config, problems_per_call=1)
    assert [[c.steps for c in one.candidates] for one in apart] == [[c.steps for c in one.candidates] for one in solved]
    assert [one.chosen for one in apart] == [one.chosen for one in solved]
    again = run(nano, targets, dataclasses.replace(config, seed=3))
    assert [[c.steps for c in one.candidates] for one in again] != [[c.steps for c in one.candidates] for one in solved]


def test_best_of_n_and_votes_share_their_candidates(nano, targets):
    best, majority, weighted = (
        run(nano, targets, RerankConfig(strategy=strategy, num_candidates=4))
        for strategy in ("best_of_n", "majority_vote", "weighted_vote")
    )
    for ones in zip(best, majority, weighted, strict=True):
        assert len({tuple(c.steps for c in one.candidates) for one in ones}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "Unknown strategy 'best'. Did you mean 'best_of_n'|Unknown strategy 'best'"),
        ({"strategy": "beam-search"}, "Unknown strategy 'beam-search'. Did you mean 'beam_search'"),
        ({"aggregation": "average"}, "Unknown aggregation 'average'"),
        ({"num_candidates": 0}, "Found num_candidates=0. It must be a whole number, at least 1"),
        ({"max_steps": 2.5}, "Found max_steps=2.5"),
        ({"beam_width": 0, "strategy": "dvts"}, "Found beam_width=0"),
        ({"beam_width": 17, "strategy": "dvts"}, "Found beam_width=17 with num_candidates=16"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RerankConfig(**options)


def scored(*rows):
    """Candidates of one step with these answers and scores; None is incomplete."""
    return with_scores(
        [Candidate((f"{answer}!",), answer, answer is not None, step_scores=(score,)) for answer, score in rows], "min"
    )


def test_votes_are_for_answers_and_not_for_strings():
    candidates = scored(("7", 0.9), ("0.5", 0.2), ("1/2", 0.3), ("\\frac{1}{2}", 0.25), (None, 0.99))
    assert answer_votes(candidates) == [1, 3, 3, 3, 0]
    assert select(candidates, "best_of_n", "min") == 0
    assert candidates[select(candidates, "majority_vote", "min")].answer in ("0.5", "1/2", "\\frac{1}{2}")
    assert candidates[select(candidates, "weighted_vote", "min")].answer == "7"
    heavier = scored(("7", 0.7), ("0.5", 0.3), ("1/2", 0.3), ("\\frac{1}{2}", 0.25))
    assert heavier[select(heavier, "weighted_vote", "min")].answer != "7", "0.85 of three equal answers outweighs 0.7"
