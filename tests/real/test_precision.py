"""SmolLM2 as a PRM in bfloat16, whose channels are as uneven as those of any real model. Run with `make test-real`."""

from __future__ import annotations

import contextlib

import pytest
import torch
from support.conformance import labelled_rows, loss_and_gradient
from support.real_server import word_problems

from mmprm_hf.data import Candidate
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import PRMScorer

pytestmark = pytest.mark.real

STEPS = (
    ("A box holds 12 pencils, and there are 5 boxes.", "So we multiply.", "12 * 5 = 60.", "The answer is 60."),
    ("A box holds 12 pencils, and there are 5 boxes.", "So we multiply.", "12 * 5 = 50.", "The answer is 50."),
    ("A box holds 12 pencils, and there are 5 boxes.", "So we add them: 12 + 5 = 17.", "The answer is 17."),
    ("We do not know how many boxes there are.", "The answer is 12."),
)
# The roundings of each way are its own, so that their mean square over some dozen steps differs by a third at most.
SPREAD = 1.5


@pytest.fixture(scope="module")
def processor(smollm2):
    return MMPRMProcessor.from_policy(smollm2)


@pytest.fixture(scope="module")
def wide(smollm2, processor):
    """In float32."""
    torch.set_num_threads(1)
    return MMPRMModel.from_policy(smollm2, processor, dtype=torch.float32)


@pytest.fixture(scope="module")
def half(smollm2, processor):
    """In bfloat16."""
    return MMPRMModel.from_policy(smollm2, processor, dtype=torch.bfloat16)


def scores_of(model, processor, **options):
    problems = word_problems()[:3]
    candidates = [[Candidate(steps=steps) for steps in STEPS]] * len(problems)
    rows = PRMScorer(model, processor, **options).score_many(problems, candidates)
    return torch.tensor([score for row in rows for candidate in row for score in candidate.step_scores])


def rms(values):
    return values.square().mean().sqrt().item()


def test_tokens_are_shared_in_bfloat16_and_scores_stay_as_near_to_float32(wide, half, processor):
    scorer = PRMScorer(half, processor)
    assert scorer.layout == "auto"
    expected, rows = scores_of(wide, processor), scores_of(half, processor, layout="rows")
    assert expected.std() > 0.02 and rows.unique().numel() > 0.9 * expected.unique().numel()
    for layout in ("packed", "tree", "chain", "auto"):
        assert (scores_of(wide, processor, layout=layout) - expected).abs().max() < 1e-5, layout
        assert rms(scores_of(half, processor, layout=layout) - expected) < SPREAD * rms(rows - expected) < 0.05, layout
    problem = word_problems()[0]
    session = scorer.session(problem)
    session.score([steps[:1] for steps in STEPS])
    session.keep([STEPS[0][:1], STEPS[3][:1]])
    grown = torch.tensor([score for row in session.score(STEPS) for score in row])
    count = len(grown)
    assert rms(grown - expected[:count]) < SPREAD * max(rms(rows[:count] - expected[:count]), rms(rows - expected))


@pytest.mark.parametrize("way", ["weights in bfloat16", "autocast"])
def test_packed_gradients_are_unpacked_ones_in_bfloat16(wide, half, processor, way):
    model = half if way == "weights in bfloat16" else wide
    padded, packed = labelled_rows(wide, processor, word_problems()[0], list(STEPS))
    _, exact = loss_and_gradient(wide, padded)
    _, exact_packed = loss_and_gradient(wide, packed)
    assert (exact_packed - exact).norm() < 1e-4 * exact.norm()
    padded, packed = labelled_rows(model, processor, word_problems()[0], list(STEPS))  # masks have the model's dtype
    with torch.autocast("cpu", torch.bfloat16) if way == "autocast" else contextlib.nullcontext():
        errors = [(loss_and_gradient(model, inputs)[1] - exact).norm().item() for inputs in (padded, packed)]
    assert errors[1] < SPREAD * errors[0] and errors[0] < 0.5 * exact.norm(), (errors, exact.norm())
