"""Dry runs: exact counts, memory as the optimizer really takes it, and a training that does not notice."""

from __future__ import annotations

import json
import random

import datasets
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.dry_run import (
    _load,
    _num_evaluations,
    _num_tokens,
    format_dry_run,
    memory_of_parameters,
    report_dry_run,
)
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


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


def make_trainer(tmp_path, model_dir, processor, rows, eval_rows=None, **options):
    defaults = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    args = PRMConfig(output_dir=str(tmp_path), **{**defaults, **options})
    model = MMPRMModel.from_pretrained(model_dir)
    return PRMTrainer(model, args, train_dataset=rows, eval_dataset=eval_rows, processing_class=processor)


def test_counts_are_those_of_the_training(tmp_path, tiny_prm_dir, processor, figures):
    rows = make_rows(figures)
    bad = {**rows[0], "labels": [1.0]}
    trainer = make_trainer(
        tmp_path,
        tiny_prm_dir,
        processor,
        [*rows, bad],
        rows[:3],
        on_bad_row="drop",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        num_train_epochs=1.5,
        eval_strategy="steps",
        eval_steps=2,
    )
    report = report_dry_run(trainer, num_batches=2)
    counted, estimated = report["counted"], report["estimated"]
    assert counted["num_rows"] == {"train": 12, "eval": 3}
    assert counted["dropped_rows"] == {"train": {"label_count": 1}, "eval": {}}
    assert counted["num_packed_rows"] == 6 and counted["longest_row"] == max(trainer.train_lengths)
    loader = trainer.get_train_dataloader()
    batches = list(loader.batch_sampler)
    assert sum(_num_tokens(_load(loader, indices)) for indices in batches) == counted["num_tokens"]["trained"]
    singles = [len(row) for row in (processor(images=r["images"], text=r["prompt"], steps=r["completions"])
                                    ["input_ids"][0] for r in rows)]  # fmt: skip
    assert counted["num_tokens"]["raw"] == sum(singles)
    assert counted["packing_factor"] == pytest.approx(sum(singles) / counted["num_tokens"]["trained"])
    history = trainer.train()  # three batches an epoch, two accumulated: two optimizer steps an epoch
    assert counted["num_steps"] == history.global_step == 3
    assert counted["num_epochs"] == 1.5
    num_evaluations = sum("eval_loss" in log for log in trainer.state.log_history)
    assert estimated["num_evaluations"] == num_evaluations == 2
    parameters = list(trainer.model.parameters())
    assert counted["num_parameters"]["all"] == sum(p.numel() for p in parameters)
    assert 0 < counted["num_parameters"]["trainable"] < counted["num_parameters"]["all"]  # the tower is frozen
    rate = report["measured"]["load_seconds"] + report["measured"]["seconds"]
    expected = rate / report["measured"]["num_tokens"] * counted["num_tokens"]["trained"] * 1.5 / 3600
    assert estimated["train_hours"] == pytest.approx(expected)
    assert estimated["total_hours"] == pytest.approx(expected + 2 * estimated["hours_per_evaluation"])


@pytest.mark.parametrize("max_steps", [1, 3, 7])
def test_steps_and_epochs_under_max_steps(tmp_path, tiny_prm_dir, processor, figures, max_steps):
    trainer = make_trainer(
        tmp_path, tiny_prm_dir, processor, make_rows(figures), per_device_train_batch_size=2, max_steps=max_steps
    )
    counted = report_dry_run(trainer, num_batches=1)["counted"]
    assert (counted["num_steps"], counted["num_epochs"]) == (max_steps, max_steps / 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"named": False, "train_sampling_strategy": "group_by_length", "freeze_vision": False},
        {"activation_checkpointing": True, "gradient_accumulation_steps": 2},
        {"disable_dropout": False, "pairwise_weight": 0.5},
        {"adapter": True},
    ],
)
def test_a_training_behind_a_dry_run_is_the_same_to_the_bit(tmp_path, tiny_prm_dir, processor, figures, options):
    options = dict(options)
    rows = make_rows(figures, named=options.pop("named", True))
    adapter = None
    if options.pop("adapter", False):
        peft = pytest.importorskip("peft")
        adapter = {"target_modules": r".*language_model.*\.(q_proj|v_proj)", "r": 2, "lora_dropout": 0.3}
    weights, losses = [], []
    for is_first_dry in (False, True):
        model = MMPRMModel.from_pretrained(tiny_prm_dir)
        model.vlm.language_model.config.attention_dropout = 0.2  # draws random numbers, where dropout is on
        for layer in model.vlm.language_model.layers:
            layer.self_attn.attention_dropout = 0.2
        args = PRMConfig(
            output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no",
            max_steps=2, per_device_train_batch_size=2, learning_rate=1e-2, logging_steps=1, **options,
        )  # fmt: skip
        config = None if adapter is None else peft.LoraConfig(**adapter)
        trainer = PRMTrainer(
            model, args, train_dataset=rows, eval_dataset=rows, processing_class=processor, peft_config=config
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
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[0] == losses[1] and len(losses[0]) == 2
    assert all(torch.equal(first, weights[1][name]) for name, first in weights[0].items())
    start = MMPRMModel.from_pretrained(tiny_prm_dir).score.weight
    assert not any(torch.equal(p, start) for name, p in weights[0].items() if name.endswith("score.weight"))


def test_gradients_that_were_there_stay(tmp_path, tiny_prm_dir, processor, figures):
    trainer = make_trainer(tmp_path, tiny_prm_dir, processor, make_rows(figures))
    trainer.model.score.weight.grad = torch.full_like(trainer.model.score.weight, 3.0)
    report_dry_run(trainer, num_batches=1)
    assert (trainer.model.score.weight.grad == 3.0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_what_the_optimizer_takes(tmp_path, tiny_prm_dir, processor, figures, dtype):
    model = MMPRMModel.from_pretrained(tiny_prm_dir, dtype=dtype)
    args = PRMConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no",
                     max_steps=1, per_device_train_batch_size=12)  # fmt: skip
    trainer = PRMTrainer(model, args, train_dataset=make_rows(figures), processing_class=processor)
    memory = memory_of_parameters(trainer)
    gradient_bytes = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: gradient_bytes.append(p.grad.nbytes))
    trainer.train()
    states = [
        value
        for state in trainer.optimizer.optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.ndim  # `step` is a number
    ]
    assert memory["optimizer_states"] == sum(state.nbytes for state in states) > 0
    assert memory["gradients"] == sum(gradient_bytes)
    weights = sum(p.nbytes for p in model.parameters())
    assert memory["weights"] == weights + sum(buffer.nbytes for buffer in model.buffers())


@pytest.mark.parametrize(
    ("optim", "bytes_each"), [("adamw_torch", 8), ("adamw_bnb_8bit", 2), ("paged_adamw_32bit", 8), ("adafactor", None)]
)
def test_optimizer_states_by_name(tmp_path, tiny_prm_dir, processor, figures, optim, bytes_each):
    trainer = make_trainer(tmp_path, tiny_prm_dir, processor, make_rows(figures, 1), optim=optim)
    num_trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    expected = None if bytes_each is None else bytes_each * num_trainable
    assert memory_of_parameters(trainer)["optimizer_states"] == expected


def test_the_sample_is_random_and_seeded(tmp_path, tiny_prm_dir, processor, figures, monkeypatch):
    """Sorted by length, the longest problem comes first; a sample of the head would always hold it."""
    from mmprm_hf.training import dry_run as module

    seen: list[list[int]] = []

    def record(loader, indices):
        seen.append(list(indices))
        return _load(loader, indices)

    monkeypatch.setattr(module, "_load", record)
    trainer = make_trainer(
        tmp_path,
        tiny_prm_dir,
        processor,
        make_rows(figures, 8),
        per_device_train_batch_size=1,
        train_sampling_strategy="group_by_length",
    )
    first_timed = set()
    for seed in range(12):
        trainer.args.seed = seed
        seen.clear()
        report_dry_run(trainer, num_batches=1)
        first_timed.add(seen[1][0])
        again = list(seen)
        seen.clear()
        report_dry_run(trainer, num_batches=1)
        assert seen == again
    assert len(first_timed) > 2


def test_text_names_what_is_counted_measured_and_estimated(tmp_path, tiny_prm_dir, processor, figures):
    rows = make_rows(figures)
    splits = {"near": rows[:2], "far": rows[2:6]}
    report = report_dry_run(make_trainer(tmp_path, tiny_prm_dir, processor, rows, splits, eval_strategy="epoch"), 1)
    assert report == json.loads(json.dumps(report, allow_nan=False))
    assert set(report["measured"]["eval_seconds_per_row"]) == {"near", "far"}
    text = format_dry_run(report)
    parts = [text.index(f"{name}\n") for name in ("counted", "measured", "estimated")]
    assert parts == sorted(parts)
    for piece in ("far rows", "dropped: none", "times fewer", "memory, master weights      none", "lower bound"):
        assert piece in text
    assert "memory, activations         not measured" in text and "at least" in text
    assert "evaluations                 3 x" in text


def test_evaluations_are_counted_as_the_trainer_makes_them(tmp_path):
    def count(num_steps, num_epochs, **options):
        return _num_evaluations(PRMConfig(output_dir=str(tmp_path), use_cpu=True, **options), num_steps, num_epochs)

    assert count(10, 2.0) == 0
    assert count(10, 2.0, eval_strategy="epoch") == 2
    assert count(10, 1.5, eval_strategy="epoch", eval_on_start=True) == 3
    assert count(10, 2.0, eval_strategy="steps", eval_steps=4) == 3  # 4, 8 and the end
    assert count(10, 2.0, eval_strategy="steps", eval_steps=0.5) == 2
    assert count(10, 2.0, eval_strategy="steps", eval_steps=4, eval_delay=5) == 2


def test_refusals(tmp_path, tiny_prm_dir, processor, figures):
    trainer = make_trainer(tmp_path, tiny_prm_dir, processor, make_rows(figures, 1))
    with pytest.raises(ValueError, match="num_batches=0"):
        report_dry_run(trainer, 0)
    with pytest.raises(ValueError, match="Found no train rows"):
        report_dry_run(make_trainer(tmp_path, tiny_prm_dir, processor, None))


@pytest.fixture
def data(tmp_path, figures):
    """A folder of rows without figures, and a config."""
    rows = [{name: value for name, value in row.items() if name != "images"} for row in make_rows(figures)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "data" / "train.parquet")
    config = tmp_path / "prm.yaml"
    options = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 4, "save_strategy": "no"}
    config.write_text(yaml.safe_dump(options))
    return tmp_path / "data", config


def test_the_stage_writes_its_report_alone(tmp_path, tiny_prm_dir, data):
    folder, config = data
    output = tmp_path / "out"
    report = stages.train(tiny_prm_dir, folder, output, config=config, eval_share=0.3, dry_run=True)
    assert [path.relative_to(output).as_posix() for path in output.rglob("*")] == ["dry_run.json"]
    assert json.loads((output / "dry_run.json").read_text()) == report
    assert report["counted"]["num_steps"] == 4


def test_the_verb_prints_a_table_or_json(tmp_path, tiny_prm_dir, data):
    folder, config = data
    flags = ["train", "--model", tiny_prm_dir, "--data", folder, "--output", tmp_path / "out", "--config", config]
    flags = [*map(str, flags), "--dry-run"]
    table = CliRunner().invoke(app, flags)
    assert table.exit_code == 0 and "optimizer steps             4\n" in table.stdout
    found = CliRunner().invoke(app, [*flags, "--json"])
    assert json.loads(found.stdout)["counted"]["num_steps"] == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dry_run.json"]


def test_the_stage_selects_among_candidates(tmp_path, tiny_prm_dir, data):
    folder, config = data
    candidates = tmp_path / "candidates.jsonl"
    judged = [{"steps": ["a", "b"], "answer": "1", "verdict": "correct"}, {"steps": ["c"], "verdict": "incorrect"}]
    candidates.write_text(json.dumps({"problem_id": "p", "question": "What?", "candidates": judged}) + "\n")
    options = {"config": config, "candidates": candidates}
    report = stages.train(tiny_prm_dir, folder, tmp_path / "a", eval_share=0.3, dry_run=True, **options)
    assert "Scoring the candidate sets at each evaluation is not in the hours." in report["notes"]
    metrics = stages.train(tiny_prm_dir, folder, tmp_path / "a", eval_share=0.3, **options)
    assert metrics["eval_best_of_n"] in (0.0, 1.0) and metrics["eval_mean_pass_at_1"] == 0.5
    assert json.loads((tmp_path / "a" / "train_metrics.json").read_text()) == metrics
    assert json.loads((tmp_path / "a" / "train_config.json").read_text())["candidates"] == str(candidates)
    with pytest.raises(ValueError, match="Found no eval rows in .*candidates are scored at evaluations"):
        stages.train(tiny_prm_dir, folder, tmp_path / "b", eval_share=0.0, **options)
