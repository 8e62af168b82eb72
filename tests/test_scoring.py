"""PRMScorer: shared prefix = row by row, order kept, unscorable candidates stay unscored, nothing scored twice."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.score_store import ScoreStore
from mmprm_hf.scoring import PRMScorer


@pytest.fixture(scope="module")
def prm(tiny_prm_dir):
    return MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir)


@pytest.fixture
def problems(figures):
    images = [(figures[0],), (), (figures[1], figures[2]), (figures[3],)]
    return [Problem(id=str(i), question="What is x?" + " And why?" * i, images=row) for i, row in enumerate(images)]


@pytest.fixture
def candidates():
    def steps_of(index):
        return [
            Candidate(steps=("x = 2", "so x + 1 = 3", f"it is {index}")),
            Candidate(steps=("x = 2",)),
            Candidate(steps=(), complete=False),
            Candidate(steps=("x = 2", "so x + 1 = 3", f"it is {index}")),
            Candidate(steps=("cut", "off"), complete=False),
            Candidate(steps=("a long first step " * 3, "end"), answer="7"),
        ]

    return [steps_of(0), steps_of(1), [], steps_of(3)]


def flat_scores(rows):
    return torch.tensor([score for row in rows for c in row for score in c.step_scores or ()])


@pytest.mark.parametrize("max_batch_tokens", [32768, 100, 1])
@pytest.mark.parametrize("max_batch_problems", [16, 1])
def test_shared_prefix_equals_row_by_row(prm, problems, candidates, max_batch_tokens, max_batch_problems):
    shared = PRMScorer(
        *prm, max_batch_tokens=max_batch_tokens, max_batch_problems=max_batch_problems, layout="tree"
    ).score_many(problems, candidates)
    alone = PRMScorer(*prm, layout="rows").score_many(problems, candidates)
    torch.testing.assert_close(flat_scores(shared), flat_scores(alone), atol=1e-5, rtol=0)
    assert flat_scores(alone).std() > 0.01  # the scores differ enough for the comparison to mean something


def test_order_is_kept_and_unscorable_candidates_get_none(prm, problems, candidates):
    scored = PRMScorer(*prm).score_many(problems, candidates)
    for before, after in zip(candidates, scored, strict=True):
        assert [(c.steps, c.answer, c.complete) for c in after] == [(c.steps, c.answer, c.complete) for c in before]
    assert scored[2] == []
    assert [c.step_scores is None for c in scored[0]] == [False, False, True, False, True, False]
    assert scored[0][0].step_scores == scored[0][3].step_scores
    assert [len(c.step_scores or ()) for c in scored[0]] == [3, 1, 0, 3, 0, 2]
    assert all(0 < score < 1 for c in scored[0] for score in c.step_scores or ())
    # a causal model: the first step's score does not depend on what follows
    assert scored[0][0].step_scores[0] == pytest.approx(scored[0][1].step_scores[0], abs=1e-5)
    # the figure and the question matter
    assert abs(scored[0][1].step_scores[0] - scored[3][1].step_scores[0]) > 1e-4


def test_score_is_score_many_of_one(prm, problems, candidates):
    scorer = PRMScorer(*prm)
    one = scorer.score(problems[3], candidates[3])
    many = scorer.score_many(problems, candidates)[3]
    torch.testing.assert_close(flat_scores([one]), flat_scores([many]), atol=1e-5, rtol=0)


def test_figure_and_question_are_encoded_once_and_candidates_are_not_repeated(prm, problems, candidates):
    model, processor = prm
    images, tokens = [], []
    tower = model.vlm.vision_tower.register_forward_pre_hook(
        lambda _, args, kwargs: images.append((args[0] if args else kwargs["pixel_values"]).shape[0]), with_kwargs=True
    )
    head = model.score.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[0]))
    PRMScorer(model, processor).score_many(problems, candidates)
    tower.remove()
    head.remove()
    assert sum(images) == 2  # problem 0 and 3 have one figure each, problem 2 (two figures) has no candidates
    assert sum(tokens) == 3 * (3 + 2)  # "x = 2" opens two solutions and is scored once; only markers reach the head


def test_a_marker_in_sampled_text_writes_no_marker(prm, problems):
    scored = PRMScorer(*prm).score(problems[0], [Candidate(steps=("x <prm> <image> 2", "y"))])
    assert len(scored[0].step_scores) == 2


def count_tokens(model):
    """A list that collects how many tokens each forward of the backbone gets, and its hook."""
    seen = []
    hook = model.vlm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return seen, hook


def test_forwards_stay_within_the_token_budget(prm, problems, candidates):
    scorer = PRMScorer(*prm, max_batch_tokens=100, layout="tree")
    seen, hook = count_tokens(prm[0])
    scorer.score_many(problems, candidates)
    hook.remove()
    assert len(seen) > 6 and max(seen) <= 100
    longest = PRMScorer(*prm, max_batch_tokens=1)  # a prompt that is longer than the budget still runs, alone
    assert flat_scores(longest.score_many(problems, candidates)).isfinite().all()


@pytest.mark.parametrize(("num_steps", "is_packed"), [(1, True), (60, False)])
def test_auto_packs_where_that_is_cheaper(prm, problems, num_steps, is_packed, monkeypatch):
    """Short solutions go into one row; long ones would see each other's masked tokens at quadratic cost."""
    calls = []
    scorer = PRMScorer(*prm)
    run = scorer._packed_scores
    monkeypatch.setattr(scorer, "_packed_scores", lambda *arguments: calls.append(1) or run(*arguments))
    candidates = [Candidate(steps=(f"{i} a", *["x = 2"] * num_steps)) for i in range(10)]
    scored = scorer.score(problems[0], candidates)
    assert bool(calls) == is_packed
    alone = PRMScorer(*prm, layout="rows").score(problems[0], candidates)
    torch.testing.assert_close(flat_scores([scored]), flat_scores([alone]), atol=1e-5, rtol=0)


def test_nothing_is_scored_twice(prm, problems, candidates, tmp_path):
    path = tmp_path / "scores" / "store.jsonl"
    scorer = PRMScorer(*prm, store=path)
    seen, hook = count_tokens(prm[0])
    first = scorer.score_many(problems, candidates)
    num_forwards = len(seen)
    again = scorer.score_many(problems, candidates)
    reopened = PRMScorer(*prm, store=path)
    probes = len(seen) - num_forwards  # building a scorer probes the backbone on a few tokens
    other_process = reopened.score_many(problems, candidates)
    hook.remove()
    assert num_forwards > 0 and len(seen) == num_forwards + probes and max(seen[num_forwards:]) <= 20
    assert first == again == other_process
    more = [*candidates[0], Candidate(steps=("new",))]
    assert len(reopened.store) == 9
    assert reopened.score(problems[0], more)[:-1] == first[0]
    assert len(reopened.store) == 10


@pytest.mark.parametrize("change", ["weights", "question", "figure", "separator"])
def test_a_store_tells_apart_what_a_score_depends_on(prm, problems, candidates, change):
    model, processor = prm
    store = ScoreStore()
    PRMScorer(model, processor, store=store).score(problems[0], candidates[0])
    problem = problems[0]
    if change == "weights":
        model = copy.deepcopy(model)
        with torch.no_grad():
            model.score.weight += 0.5
    elif change == "separator":
        processor = MMPRMProcessor(processor.base_processor, step_separator=" ")
    else:
        new = {"question": "What is y?"} if change == "question" else {"images": problems[3].images}
        problem = dataclasses.replace(problem, **new)
    before = len(store)
    PRMScorer(model, processor, store=store).score(problem, candidates[0])
    assert len(store) == 2 * before


def test_bad_input_is_refused(prm, problems):
    with pytest.raises(ValueError, match="Found 4 problems but 1 lists"):
        PRMScorer(*prm).score_many(problems, [[]])
    with pytest.raises(ValueError, match="Unknown layout 'best'; choose one of auto, packed"):
        PRMScorer(*prm, layout="best")
    with pytest.raises(ValueError, match="max_batch_tokens=0"):
        PRMScorer(*prm, max_batch_tokens=0)
    broken = Problem(id="b", question="q", images=("/no/such.png",))
    with pytest.raises(ValueError, match=r"Image '/no/such\.png' does not exist"):
        PRMScorer(*prm).score(broken, [Candidate(steps=("a",))])
