"""Packed trees have the gradients of the rows that they hold, however they are batched and split."""

from __future__ import annotations

import pytest
import torch
from support.training_runs import distance, make_args, make_trainer, problem_rows, step_gradients

from mmprm_hf.models import MMPRMModel
from mmprm_hf.training import PRMTrainer

# Both ways compute the same float32 sums in another order: 1e-6 here, by global norm.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(tiny_prm_dir):
    """The tiny PRM. Do not change it."""
    return MMPRMModel.from_pretrained(tiny_prm_dir)


@pytest.fixture(scope="module")
def rows(figures):
    """Six rows of each of four problems, interleaved; one problem has no figure."""
    problems = [problem_rows(f"p{i}", None if i == 2 else figures[i], seed=i) for i in range(4)]
    return [row for rows_of_path in zip(*problems, strict=True) for row in rows_of_path]


def test_packed_gradients_are_those_of_the_rows(tmp_path, model, prm_processor, rows):
    for options in (
        {},
        {"label_mapping": "hard", "positive_weight": 0.3},
        {"label_mapping": "counts", "use_label_weights": False},
        {"label_mapping": "banded", "train_on": "first_error"},
        {"train_on": "last"},
    ):
        args = [
            make_args(tmp_path, freeze_vision=False, packing=packing, per_device_train_batch_size=size, **options)
            for packing, size in ((None, 4), (False, 24))
        ]
        (packed, gradients), (plain, expected) = (step_gradients(model, prm_processor, rows, each) for each in args)
        assert packed.data.is_packed and not plain.data.is_packed and len(packed.train_dataset) == 4
        raw = packed.data.num_tokens["raw"]
        assert packed.data.num_tokens["trained"] < 0.7 * raw and raw == plain.data.num_tokens["trained"]
        assert distance(gradients, expected) < TOLERANCE, options
        if not options:
            unweighted = make_args(
                tmp_path, freeze_vision=False, per_device_train_batch_size=4, use_label_weights=False
            )
            assert distance(step_gradients(model, prm_processor, rows, unweighted)[1], expected) > 1e-3  # negative case


def test_accumulated_or_split_packed_rows_are_one_batch(tmp_path, model, prm_processor, rows):
    whole, expected = step_gradients(model, prm_processor, rows, make_args(tmp_path, per_device_train_batch_size=4))
    accumulated = make_args(tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert distance(step_gradients(model, prm_processor, rows, accumulated)[1], expected) < TOLERANCE
    longest = max(whole.data.lengths)
    args = make_args(tmp_path, per_device_train_batch_size=16, max_packed_length=longest - 1, max_length=longest - 1)
    split, gradients = step_gradients(model, prm_processor, rows, args)
    assert len(split.train_dataset) > 4 and max(split.data.lengths) < longest
    assert distance(gradients, expected) < TOLERANCE


def test_the_ranking_term_pushes_siblings_apart(tmp_path, tiny_text_policy_dir):
    rows = [
        {"prompt": f"q{i}", "completions": ["s", last], "label_counts": [[2, 4], [k, 4]], "problem_id": f"p{i}"}
        for i in range(8)
        for last, k in (("good", 3), ("bad", 1))
    ]
    options = {"max_steps": 12, "learning_rate": 2e-2, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    spread = {}
    for weight in (0.0, 3.0):
        args = make_args(tmp_path, pairwise_weight=weight, per_device_train_batch_size=8, **options)
        trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=rows)
        trainer.train()
        batch = trainer.data_collator(rows[:2])
        with torch.no_grad():
            good, bad = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).step_scores()
        spread[weight] = float(good[1] - bad[1])
    assert spread[3.0] > spread[0.0] + 0.1


def test_siblings_that_the_budget_separates_are_reported(tmp_path, tiny_text_policy_dir, caplog):
    rows = [{"prompt": "q", "completions": [c * 30], "labels": [0.5], "problem_id": "p"} for c in "abcd"]
    args = make_args(tmp_path, pairwise_weight=1.0, max_packed_length=100)
    trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=rows)
    assert len(trainer.train_dataset) > 1 and "1 problems need more than max_packed_length=100" in caplog.text


def test_what_packing_needs(tmp_path, tiny_prm_dir, rows):
    nameless = [{**row, "problem_id": None} for row in rows]
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path), nameless)
    assert not trainer.data.is_packed
    assert trainer.data.num_tokens["raw"] == trainer.data.num_tokens["trained"] == sum(trainer.data.lengths)
    with pytest.raises(ValueError, match="packing=True is not possible: rows name no problem"):
        make_trainer(tiny_prm_dir, make_args(tmp_path, packing=True), nameless)
    with pytest.raises(ValueError, match="pairwise_weight compares sibling steps in packed rows, but rows name no"):
        make_trainer(tiny_prm_dir, make_args(tmp_path, pairwise_weight=1.0), nameless)
    with pytest.raises(ValueError, match="packing=False in PRMConfig; it must be None or True with pairwise_weight"):
        make_args(tmp_path, pairwise_weight=1.0, packing=False)
    with pytest.raises(ValueError, match="packing=True is not possible: a data_collator of your own"):
        make_trainer(tiny_prm_dir, make_args(tmp_path, packing=True), rows, data_collator=lambda batch: batch)
