"""The benches beside real peers, on a tiny policy: all methods compute the same, and the work is what the rows say."""

from __future__ import annotations

import pytest
import torch
from support.layout import import_recipe
from transformers import AutoModelForTokenClassification, LlamaForCausalLM

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import PRMScorer

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def score_bench():
    return import_recipe("bench", "score_real_bench")


@pytest.fixture(scope="module")
def processor(tiny_text_policy_dir):
    return MMPRMProcessor.from_policy(tiny_text_policy_dir)


@pytest.fixture(scope="module")
def methods(score_bench, tiny_text_policy_dir, processor):
    prm = MMPRMModel.from_policy(tiny_text_policy_dir, processor)
    head = LlamaForCausalLM.from_pretrained(tiny_text_policy_dir).get_output_embeddings().weight
    return score_bench.Methods(prm, processor, head)


@pytest.fixture
def letters(monkeypatch, score_bench):
    """Words that the tiny tokenizer tells apart, and few of them."""
    monkeypatch.setattr(score_bench, "WORDS", ["a", "b", "c", "d", "e", "f"])
    monkeypatch.setattr(score_bench, "NUM_STEP_WORDS", 4)


def test_every_method_gives_the_same_scores(score_bench, methods, processor, letters):
    exact = PRMScorer(methods.prm, processor, layout="rows")
    case = score_bench.Case(5, ((4, 4), (2, 6)), ("ours", "chain", "plain"))
    problem, solutions = score_bench.drawn_work(case, 0)
    expected = exact.score_solutions([problem], [solutions])[0]
    for method in case.methods:
        scores = methods.score(method, problem, solutions)
        assert score_bench.largest_difference(scores, expected) < 1e-4, method  # float32, some dozen tokens
    assert score_bench.drawn_work(case, 0) == (problem, solutions) != score_bench.drawn_work(case, 1)


def test_candidates_share_the_steps_that_the_case_names(score_bench):
    problem, solutions = score_bench.drawn_work(score_bench.CASES["score_real_tree"], 0)
    assert len(problem.question.split()) == 110
    assert {len(steps) for steps in solutions} == {8} and len(set(solutions)) == 16
    assert len({steps[:4] for steps in solutions}) == 4
    assert len({steps[:6] for steps in solutions}) == 8
    assert len({steps[:7] for steps in solutions}) == 16


def test_the_rows_name_what_was_measured(score_bench, methods, processor, letters, monkeypatch):
    monkeypatch.setitem(score_bench.CASES, "score_real", score_bench.Case(5))
    exact = PRMScorer(methods.prm, processor, layout="rows")
    (row,) = score_bench.measure("score_real", methods, exact, num_rounds=1)  # no server has been started
    assert row["name"] == "score_real" and "baseline: plain" in row["detail"]
    assert row["ratio"] > 0 and row["ours_difference"] < 1e-4 and row["baseline_difference"] < 1e-4


def test_an_exported_prm_is_a_classifier_with_our_scores(score_bench, methods, processor, letters, tmp_path):
    score_bench.export(methods.prm, processor, tmp_path)
    classifier = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    problem, solutions = score_bench.drawn_work(score_bench.Case(5), 0)
    row = torch.tensor(methods.token_rows(problem, solutions)[0])
    with torch.no_grad():
        probs = classifier(row[None]).logits[0].softmax(-1)[row == processor.marker_token_id, 0]
    assert probs.tolist() == pytest.approx(methods.score("ours", problem, solutions)[0], abs=1e-4)


def test_without_vllm_the_servers_are_left_out(score_bench, methods, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(score_bench, "MADE", tmp_path)
    with score_bench.servers(methods):
        assert not methods.servers
    assert "vLLM is left out" in capsys.readouterr().out


def test_both_ways_of_training_take_turns_and_have_equal_losses(tiny_text_policy_dir, monkeypatch):
    bench = import_recipe("bench", "train_real_bench")
    monkeypatch.setitem(bench.CASES, "train_real", bench.Case(num_paths=4, num_problems=2))
    monkeypatch.setattr(bench, "WORDS", ["a", "b", "c", "d", "e", "f"])
    monkeypatch.setattr(bench, "NUM_PROMPT_WORDS", 5)
    speed, memory = bench.measure("train_real", tiny_text_policy_dir, None, num_rounds=1, num_layers=1)
    assert (speed["name"], memory["name"]) == ("train_real_packing", "train_real_packing_memory")
    assert speed["token_ratio"] > 1.2 and "losses equal" in speed["detail"]
    assert speed["ours"] > 0 and memory["ours"] > 0


def test_a_guided_search_spends_a_part_of_its_time_on_scoring(tiny_text_policy_dir):
    bench = import_recipe("bench", "guided_real_bench")
    row = bench.guided_row(tiny_text_policy_dir, num_rounds=1, max_steps=2)
    assert row["name"] == "guided_real" and 0 < row["ours"] < 1
