"""Packed trees: the gradients of the rows they hold, shared prefixes weighed, budgets, siblings."""

from __future__ import annotations

import copy
import dataclasses
import math
import random

import pytest
import torch

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.collators import PRMCollator, TreeCollator
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer
from mmprm_hf.training.rows import RowLimits, TokenCounter
from mmprm_hf.training.targets import TargetConfig
from mmprm_hf.training.tree_groups import GroupedRows, group_rows


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


def problem_rows(problem_id, figure, seed, num_paths=6):
    """Paths of a random tree of steps; a prefix's label differs between the rows that share it."""
    rng = random.Random(seed)
    rows = []
    for path in range(num_paths):
        steps = ["start"]
        while len(steps) < rng.randint(2, 5):
            steps.append(f"{'abc'[rng.randrange(3)]} {len(steps)}")
        counts = [[rng.randint(0, 4), 4] for _ in steps]
        counts[rng.randrange(len(steps))] = [0, 0]
        rows.append(
            {
                "prompt": f"What is {problem_id}?",
                "completions": steps,
                "label_counts": counts,
                "label_weights": [rng.choice([0.25, 0.5, 1.0]) for _ in steps],
                "images": [] if figure is None else [figure],
                "problem_id": problem_id,
                "path_id": f"{problem_id} {path}",
            }
        )
    return rows


@pytest.fixture
def rows(figures):
    found = [problem_rows(f"p{i}", None if i == 2 else figures[i], seed=i) for i in range(4)]
    return [row for problem in zip(*found, strict=True) for row in problem]  # interleaved


def make_args(tmp_path, **options):
    common = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "max_grad_norm": 0.0}
    return PRMConfig(output_dir=str(tmp_path), **{**common, "max_steps": 1, "learning_rate": 1.0, **options})


def gradients(model, processor, rows, args, peft_config=None):
    """Gradients of an optimizer step, taken from a plain SGD step of size 1."""
    model = copy.deepcopy(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, lambda _: 1.0)
    trainer = PRMTrainer(model, args, train_dataset=rows, processing_class=processor, optimizers=(sgd, schedule))
    trainer.train()
    return trainer, {name: before[name] - p.detach() for name, p in model.named_parameters()}


def distance(first, second):
    difference = math.sqrt(sum(float((first[name] - second[name]).pow(2).sum()) for name in first))
    return difference / math.sqrt(sum(float(value.pow(2).sum()) for value in second.values()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_mapping": "hard", "loss_type": "binary", "positive_weight": 0.3},
        {"label_mapping": "counts", "use_label_weights": False},
        {"label_mapping": "banded", "train_on": "first_error"},
        {"train_on": "last"},
    ],
    ids=str,
)
def test_packed_gradients_are_those_of_the_rows(tmp_path, tiny_prm_dir, processor, rows, options):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    packed, found = gradients(
        model, processor, rows, make_args(tmp_path, freeze_vision=False, per_device_train_batch_size=4, **options)
    )
    plain, expected = gradients(
        model,
        processor,
        rows,
        make_args(tmp_path, freeze_vision=False, packing=False, per_device_train_batch_size=24, **options),
    )
    assert packed.is_packed and not plain.is_packed and len(packed.train_dataset) == 4
    assert packed.num_tokens["trained"] < 0.7 * packed.num_tokens["raw"] == 0.7 * plain.num_tokens["raw"]
    assert distance(found, expected) < 1e-5
    other = make_args(tmp_path, freeze_vision=False, per_device_train_batch_size=4, use_label_weights=False)
    _, unweighted = gradients(model, processor, rows, other)
    assert options.get("use_label_weights") is False or distance(unweighted, expected) > 1e-3  # negative case


def test_accumulated_packed_rows_are_one_batch(tmp_path, tiny_prm_dir, processor, rows):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    _, whole = gradients(model, processor, rows, make_args(tmp_path, per_device_train_batch_size=4))
    _, split = gradients(
        model, processor, rows, make_args(tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    )
    assert distance(split, whole) < 1e-5


def test_a_problem_over_the_budget_is_several_rows_with_the_same_gradients(tmp_path, tiny_prm_dir, processor, rows):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    whole, expected = gradients(model, processor, rows, make_args(tmp_path, per_device_train_batch_size=4))
    longest = max(whole.train_lengths)
    args = make_args(tmp_path, per_device_train_batch_size=16, max_packed_length=longest - 1, max_length=longest - 1)
    split, found = gradients(model, processor, rows, args)
    assert len(split.train_dataset) > 4 and max(split.train_lengths) < longest
    assert sorted(i for group in split.train_dataset.groups for i in group.indices) == list(range(24))
    assert distance(found, expected) < 1e-5


def test_counted_tokens_are_those_of_the_packed_rows(processor, rows):
    for budget in (10_000, 120):
        groups = group_rows(rows, TokenCounter(processor), budget)
        dataset = GroupedRows(rows, groups)
        for index, group in enumerate(groups):
            (tree,) = TreeCollator(processor)([dataset[index]])["packed"].trees
            assert len(tree) == group.num_tokens
            alone = PRMCollator(processor)(dataset[index])["attention_mask"].sum()
            assert int(alone) == group.num_raw_tokens
        assert sorted(i for group in groups for i in group.indices) == list(range(len(rows)))


def test_rows_of_another_question_or_figure_are_another_problem(processor, rows, figures):
    same_id = [dict(row, problem_id="p") for row in rows]
    assert len(group_rows(same_id, TokenCounter(processor), 10_000)) == 4
    assert len(group_rows([{**row, "problem_id": None} for row in rows[:3]], TokenCounter(processor), 10_000)) == 3
    twice = [rows[0], {**rows[0], "images": [figures[3]]}, {**rows[0], "images": [figures[0].copy()]}]
    assert [group.indices for group in group_rows(twice, TokenCounter(processor), 10_000)] == [(0, 2), (1,)]


def test_a_shared_marker_has_the_mean_target_and_the_summed_weight(processor):
    def row(steps, labels, weights):
        return {"prompt": "q", "completions": steps, "labels": labels, "label_weights": weights, "problem_id": "p"}

    group = [row(["a", "b"], [1.0, 0.5], [0.5, 1.0]), row(["a", "c"], [0.5, -100.0], [1.5, 1.0])]
    batch = TreeCollator(processor, siblings=True)([group])
    (tree,) = batch["packed"].trees
    is_marker = tree.input_ids == processor.marker_token_id
    assert batch["labels"][0][is_marker].tolist() == [pytest.approx((0.5 + 0.75) / 2), 0.5, -100.0]
    assert batch["label_weights"][0][is_marker].tolist() == [2.0, 1.0, 0.0]
    assert batch["groups"][0][is_marker].tolist() == [0, 1, 1]
    assert (batch["labels"][0][~is_marker] == -100).all() and (batch["groups"][0][~is_marker] == -1).all()
    equal = [row(["a", "b"], [0.25, 0.5], [0.5, 0.5])] * 2
    assert TreeCollator(processor)([equal])["labels"][0].ne(-100).sum() == 2


def test_the_ranking_term_pushes_siblings_apart(tmp_path, tiny_text_policy_dir):
    rows = [
        {"prompt": f"q{i}", "completions": ["s", last], "label_counts": [[2, 4], [k, 4]], "problem_id": f"p{i}"}
        for i in range(8)
        for last, k in (("good", 3), ("bad", 1))
    ]
    options = {
        "max_steps": 12,
        "learning_rate": 2e-2,
        "per_device_train_batch_size": 8,
        "lr_scheduler_type": "constant",
    }
    spread = {}
    for weight in (0.0, 3.0):
        args = make_args(tmp_path, pairwise_weight=weight, **options)
        trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=rows)
        trainer.train()
        batch = trainer.data_collator(rows[:2])
        with torch.no_grad():
            good, bad = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).step_scores()
        spread[weight] = float(good[1] - bad[1])
    assert spread[3.0] > spread[0.0] + 0.1
    with pytest.raises(ValueError, match="pairwise_weight compares sibling steps in packed rows, but rows name no"):
        nameless = [{k: v for k, v in row.items() if k != "problem_id"} for row in rows]
        PRMTrainer(tiny_text_policy_dir, make_args(tmp_path, pairwise_weight=1.0), train_dataset=nameless)


def test_what_packing_needs(tmp_path, tiny_text_policy_dir, tiny_prm_dir, processor, rows):
    nameless = [{**row, "problem_id": None} for row in rows]
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=nameless, processing_class=processor)
    assert not trainer.is_packed and trainer.num_tokens["raw"] == trainer.num_tokens["trained"]
    with pytest.raises(ValueError, match="packing=True cannot be: rows name no problem"):
        PRMTrainer(model, make_args(tmp_path, packing=True), train_dataset=nameless, processing_class=processor)
    with pytest.raises(ValueError, match=r"Row 0: Found \d+ tokens, more than max_length 20"):
        PRMTrainer(model, make_args(tmp_path, max_length=20), train_dataset=rows, processing_class=processor)


def test_the_collators_refuse_rows_over_the_limits(processor, rows):
    tight = RowLimits(prompt=5)
    for batch, collator in (
        (rows[:2], PRMCollator(processor, TargetConfig(), tight)),
        ([[rows[0]]], TreeCollator(processor, TargetConfig(), tight)),
    ):
        with pytest.raises(ValueError, match="more than max_prompt_length 5"):
            collator(batch)
    assert dataclasses.replace(tight, prompt=None) == RowLimits()
