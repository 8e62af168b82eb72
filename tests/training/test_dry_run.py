"""Dry runs: exact counts, memory as the optimizer really takes it, and a training that does not notice."""

from __future__ import annotations

import doctest
import json
import random

import numpy as np
import pytest
import torch
from support.training_runs import logged_losses, make_args, make_trainer

from mmprm_hf.models import MMPRMModel
from mmprm_hf.training import PRMTrainer, dry_run_text, format_dry_run, report_dry_run
from mmprm_hf.training.dry_run import memory_of_parameters, num_evaluations


def make_rows(figures, num_problems=6, named=True):
    """Two solutions a problem with a common first step; problem 0 is by far the longest."""
    rows = []
    for index in range(num_problems):
        start = f"Begin {index}" + "." * (60 if index == 0 else index)
        for end in ("right", "wrong."):
            row = {"prompt": f"What is {index} + x?", "completions": [start, end], "labels": [0.9, float(end < "s")]}
            row["images"] = [figures[index % 4]] if index != 3 else []
            rows.append({**row, "problem_id": f"p{index}"} if named else row)
    return rows


def test_counts_are_those_of_the_training(tmp_path, tiny_prm_dir, prm_processor, figures):
    rows = make_rows(figures)
    args = make_args(
        tmp_path,
        on_bad_row="drop",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        num_train_epochs=1.5,
        eval_strategy="steps",
        eval_steps=2,
    )
    trainer = make_trainer(tiny_prm_dir, args, [*rows, {**rows[0], "labels": [1.0]}], eval_dataset=rows[:3])
    report = report_dry_run(trainer, num_batches=2)
    counted, measured, estimated = report["counted"], report["measured"], report["estimated"]
    assert counted["num_rows"] == {"train": 12, "eval": 3}
    assert counted["dropped_rows"] == {"train": {"label_count": 1}, "eval": {}}
    assert counted["num_packed_rows"] == 6 and counted["longest_row"] == max(trainer.data.lengths)
    trees = [tree for batch in trainer.get_train_dataloader() for tree in batch["packed"].trees]
    assert sum(map(len, trees)) == counted["num_tokens"]["trained"]
    singles = [prm_processor(images=r["images"], text=r["prompt"], steps=r["completions"])["input_ids"] for r in rows]
    assert counted["num_tokens"]["raw"] == sum(ids.numel() for ids in singles)
    assert counted["packing_factor"] == counted["num_tokens"]["raw"] / counted["num_tokens"]["trained"]
    history = trainer.train()  # three batches an epoch, two accumulated: two optimizer steps an epoch
    assert counted["num_steps"] == history.global_step == 3
    assert counted["num_epochs"] == 1.5
    assert estimated["num_evaluations"] == sum("eval_loss" in log for log in trainer.state.log_history) == 2
    parameters = list(trainer.model.parameters())
    assert counted["num_parameters"]["all"] == sum(p.numel() for p in parameters)
    assert 0 < counted["num_parameters"]["trainable"] < counted["num_parameters"]["all"]  # the tower is frozen
    seconds = measured["load_seconds"] + measured["seconds"]
    expected = seconds / measured["num_tokens"] * counted["num_tokens"]["trained"] * 1.5 / 3600
    assert estimated["train_hours"] == pytest.approx(expected)
    assert estimated["total_hours"] == pytest.approx(expected + 2 * estimated["hours_per_evaluation"])


def test_steps_and_epochs_under_max_steps(tmp_path, tiny_prm_dir, figures):
    for max_steps in (1, 3, 7):
        args = make_args(tmp_path, per_device_train_batch_size=2, max_steps=max_steps)
        counted = report_dry_run(make_trainer(tiny_prm_dir, args, make_rows(figures)), num_batches=1)["counted"]
        assert (counted["num_steps"], counted["num_epochs"]) == (max_steps, max_steps / 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "named": False,
            "train_sampling_strategy": "group_by_length",
            "freeze_vision": False,
            "disable_dropout": False,
        },
        {"activation_checkpointing": True, "gradient_accumulation_steps": 2, "pairwise_weight": 0.5, "adapter": True},
    ],
)
def test_a_training_after_a_dry_run_is_the_same_to_the_bit(tmp_path, tiny_prm_dir, prm_processor, figures, options):
    options = dict(options)
    rows = make_rows(figures, named=options.pop("named", True))
    adapter = None
    if options.pop("adapter", False):
        peft = pytest.importorskip("peft")
        adapter = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2, lora_dropout=0.3)
    weights, losses = [], []
    for is_first_dry in (False, True):
        model = MMPRMModel.from_pretrained(tiny_prm_dir)
        model.vlm.language_model.config.attention_dropout = 0.2  # draws random numbers, where dropout is on
        for layer in model.vlm.language_model.layers:
            layer.self_attn.attention_dropout = 0.2
        args = make_args(
            tmp_path, max_steps=2, per_device_train_batch_size=2, learning_rate=1e-2, logging_steps=1, **options
        )
        trainer = PRMTrainer(
            model, args, train_dataset=rows, eval_dataset=rows, processing_class=prm_processor, peft_config=adapter
        )
        if is_first_dry:
            before = {name: p.detach().clone() for name, p in trainer.model.state_dict().items()}
            modes = [module.training for module in trainer.model.modules()]
            states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), torch.initial_seed()
            report_dry_run(trainer, num_batches=2)
            assert all(torch.equal(p, before[name]) for name, p in trainer.model.state_dict().items())
            assert all(p.grad is None for p in trainer.model.parameters())
            assert modes == [module.training for module in trainer.model.modules()]
            assert not trainer.model.is_activation_checkpointing and trainer.state.log_history == []
            assert states[:2] == (random.getstate(), np.random.get_state()[1].tolist())
            assert torch.equal(states[2], torch.get_rng_state()) and states[3] == torch.initial_seed()
        trainer.train()
        weights.append(trainer.model.state_dict())
        losses.append(logged_losses(trainer))
    assert losses[0] == losses[1] and len(losses[0]) == 2
    assert all(torch.equal(first, weights[1][name]) for name, first in weights[0].items())
    start = MMPRMModel.from_pretrained(tiny_prm_dir).score.weight
    assert not any(torch.equal(p, start) for name, p in weights[0].items() if name.endswith("score.weight"))


def test_gradients_that_were_there_stay(tmp_path, tiny_prm_dir, figures):
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path), make_rows(figures))
    trainer.model.score.weight.grad = torch.full_like(trainer.model.score.weight, 3.0)
    report_dry_run(trainer, num_batches=1)
    assert (trainer.model.score.weight.grad == 3.0).all()


def test_memory_is_what_the_optimizer_takes(tmp_path, tiny_prm_dir, prm_processor, figures):
    for dtype in ("float32", "bfloat16"):
        model = MMPRMModel.from_pretrained(tiny_prm_dir, dtype=dtype)
        args = make_args(tmp_path, max_steps=1, per_device_train_batch_size=12, model_dtype=dtype)
        trainer = PRMTrainer(model, args, train_dataset=make_rows(figures), processing_class=prm_processor)
        memory = memory_of_parameters(trainer)
        gradient_bytes = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p, to=gradient_bytes: to.append(p.grad.nbytes))
        trainer.train()
        states = [
            value
            for state in trainer.optimizer.optimizer.state.values()
            for value in state.values()
            if torch.is_tensor(value) and value.ndim  # `step` is a number
        ]
        assert {state.dtype for state in states} == {getattr(torch, dtype), torch.float32}  # the head's
        assert memory["optimizer_states"] == sum(state.nbytes for state in states) > 0
        assert memory["gradients"] == sum(gradient_bytes)
        assert memory["weights"] == sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def test_optimizer_states_by_name(tmp_path, tiny_prm_dir, figures):
    for optim, bytes_each in (("adamw_torch", 8), ("adamw_bnb_8bit", 2), ("paged_adamw_32bit", 8), ("adafactor", None)):
        trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, optim=optim), make_rows(figures, 1))
        num_trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        expected = None if bytes_each is None else bytes_each * num_trainable
        assert memory_of_parameters(trainer)["optimizer_states"] == expected


def test_the_sample_is_random_and_seeded(tmp_path, tiny_prm_dir, figures):
    """Sorted by length, the longest problem comes first; a sample from the start would always contain it."""
    args = make_args(tmp_path, per_device_train_batch_size=1, train_sampling_strategy="group_by_length")
    trainer = make_trainer(tiny_prm_dir, args, make_rows(figures, 8))
    collate, prompts = trainer.data_collator, []
    trainer.data_collator = lambda groups: prompts.append(groups[0][0]["prompt"]) or collate(groups)
    measured = set()
    for seed in range(12):
        trainer.args.seed = seed
        report_dry_run(trainer, num_batches=1)
        measured.add(prompts[1])  # the first one warms up
        report_dry_run(trainer, num_batches=1)
        assert prompts[2:] == prompts[:2]
        prompts.clear()
    assert len(measured) > 2


def test_the_text_has_all_that_is_counted_measured_and_estimated(tmp_path, tiny_prm_dir, figures):
    rows = make_rows(figures)
    splits = {"near": rows[:2], "far": rows[2:6]}
    args = make_args(tmp_path, eval_strategy="epoch")
    report = report_dry_run(make_trainer(tiny_prm_dir, args, rows, eval_dataset=splits), 1)
    assert report == json.loads(json.dumps(report, allow_nan=False))
    assert set(report["measured"]["eval_seconds_per_row"]) == {"near", "far"}
    lines = [" ".join(line.split()) for line in format_dry_run(report).splitlines()]
    parts = [lines.index(name) for name in ("counted", "measured", "estimated")]
    assert parts == sorted(parts)
    assert {"num rows train 12, near 2, far 4", "dropped rows train none, near none, far none"} <= set(lines)
    assert {"num packed rows 6", "num evaluations 3", "activation unknown"} <= set(lines)
    (memory,) = [line for line in lines if line.startswith("memory weights")]
    assert memory.endswith("master weights 0 B, activations unknown")
    assert any(line.startswith("memory sum at least") for line in lines) and lines[-1].endswith("lower bound.")
    assert doctest.testmod(dry_run_text).failed == 0


def test_evaluations_are_counted_as_the_trainer_makes_them(tmp_path):
    for num_epochs, options, expected in (
        (2.0, {}, 0),
        (2.0, {"eval_strategy": "epoch"}, 2),
        (1.5, {"eval_strategy": "epoch", "eval_on_start": True}, 3),
        (2.0, {"eval_strategy": "steps", "eval_steps": 4}, 3),  # 4, 8 and the end
        (2.0, {"eval_strategy": "steps", "eval_steps": 0.5}, 2),
        (2.0, {"eval_strategy": "steps", "eval_steps": 4, "eval_delay": 5}, 2),
    ):
        assert num_evaluations(make_args(tmp_path, **options), 10, num_epochs) == expected, options


def test_a_dry_run_needs_rows_and_batches(tmp_path, tiny_prm_dir, figures):
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path), make_rows(figures, 1))
    with pytest.raises(ValueError, match="num_batches=0"):
        report_dry_run(trainer, 0)
    with pytest.raises(ValueError, match="Found no train rows"):
        report_dry_run(make_trainer(tiny_prm_dir, make_args(tmp_path), None))
