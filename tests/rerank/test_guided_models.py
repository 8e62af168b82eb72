"""Guided search with the shipped nano models: the scores are those of whole solutions, for a fraction of the tokens."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.data import Problem
from mmprm_hf.engines import SamplingConfig, TransformersEngine
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.candidates import GUIDED_SEARCHES
from mmprm_hf.rerank.guided_search import guided_search, search_plan
from mmprm_hf.scoring.scorer import PRMScorer

PROBLEMS = [make_problem(family, 1).to_problem() for family in ("bar_chart", "rectangle", "triangle_angle")]


class CountingScorer(PRMScorer):
    """Counts the tokens that the model sees, and notes every solution that a session scores."""

    def __init__(self, model: MMPRMModel, processor: MMPRMProcessor) -> None:
        super().__init__(model, processor)
        self.num_seen = 0
        self.asked: list[tuple[Problem, tuple[str, ...]]] = []
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, model, args, kwargs) -> None:
        self.num_seen += kwargs["input_ids"].numel()

    def session(self, problem: Problem):
        session = super().session(problem)
        score = session.score

        def noting(solutions):
            self.asked.extend((problem, steps) for steps in solutions)
            return score(solutions)

        session.score = noting
        return session

    def num_tokens(self, problem: Problem, steps: tuple[str, ...]) -> int:
        """Of the problem's prompt and these steps as one row."""
        row = self.processor(images=list(problem.images), text=problem.question, steps=list(steps))
        return row["input_ids"].shape[1]


@pytest.fixture(scope="module")
def engine():
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    sampling = SamplingConfig(max_new_tokens=64, stop_strings=("</step>",))
    return TransformersEngine(
        policy, AutoProcessor.from_pretrained(POLICY_PATH), sampling=sampling, step_format="tagged"
    )


@pytest.fixture
def scorer():
    return CountingScorer(MMPRMModel.from_pretrained(PRM_PATH), MMPRMProcessor.from_pretrained(PRM_PATH))


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
def test_scores_are_exact_and_computed_step_by_step(engine, scorer, strategy):
    assert scorer.layout == "auto"
    searched, _, _ = guided_search(engine, scorer, PROBLEMS, search_plan(strategy, 4))
    num_seen, num_in_full = scorer.num_seen, sum(scorer.num_tokens(*pair) for pair in scorer.asked)
    distinct = {(problem.id, steps): problem for problem, steps in scorer.asked}
    num_distinct = sum(scorer.num_tokens(problem, ()) for problem in PROBLEMS)
    for (_, steps), problem in distinct.items():
        num_distinct += scorer.num_tokens(problem, steps) - scorer.num_tokens(problem, steps[:-1])
    assert 0 < num_seen <= num_distinct, "a prompt or a prefix was run again"
    assert num_seen < num_in_full / 2
    num_scored = 0
    for problem, solutions in zip(PROBLEMS, searched, strict=True):
        bare = [dataclasses.replace(candidate, step_scores=None) for candidate in solutions.candidates]
        for candidate, whole in zip(solutions.candidates, scorer.score(problem, bare), strict=True):
            assert (candidate.step_scores is None) == (whole.step_scores is None)
            if whole.step_scores is not None:
                # float32, step by step against in one go: a hundred roundings of numbers below 1.
                assert candidate.step_scores == pytest.approx(whole.step_scores, abs=1e-5)
                num_scored += 1
    assert num_scored >= 6
