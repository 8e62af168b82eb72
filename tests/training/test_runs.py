"""Whole runs: resumed exactly, cards of what happened, batches without figures or labels, pushing to the Hub."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from support.training_runs import logged_losses, make_args, make_trainer, problem_rows

from mmprm_hf.models import MMPRMModel
from mmprm_hf.training import PRMTrainer

pytestmark = pytest.mark.trainings

USUAL = {"learning_rate": 1e-3, "logging_steps": 1, "per_device_train_batch_size": 2}


@pytest.fixture(scope="module")
def rows(figures):
    """Three rows of each of twelve problems, of which a third have no figure."""
    return [row for i in range(12) for row in problem_rows(f"p{i}", figures[i % 4] if i % 3 else None, i, num_paths=3)]


@pytest.mark.parametrize("way", ["packed", "rows", "by_length", "lora"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, tiny_prm_dir, rows, way):
    """By length also in the middle of the second epoch."""
    options = {"max_steps": 5, "packing": way != "rows", "save_strategy": "steps", "save_steps": 2, **USUAL}
    step = 2
    if way == "by_length":
        options |= {"max_steps": 10, "save_steps": 7, "train_sampling_strategy": "group_by_length"}  # 6 steps an epoch
        step = 7

    def make(folder):
        peft_config = None
        if way == "lora":
            peft = pytest.importorskip("peft")
            peft_config = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
        return make_trainer(tiny_prm_dir, make_args(folder, **options), rows, peft_config=peft_config)

    whole = make(tmp_path / "whole")
    whole.train()
    resumed = make(tmp_path / "resumed")
    torch.manual_seed(99)  # nothing may depend on what happened before
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    assert resumed.state.global_step == options["max_steps"]
    for (name, weight), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert logged_losses(whole) == logged_losses(resumed)


def test_rows_by_length_are_all_trained_on_in_another_order_each_epoch(tmp_path, tiny_prm_dir, rows):
    args = make_args(tmp_path, train_sampling_strategy="group_by_length", **USUAL)
    trainer = make_trainer(tiny_prm_dir, args, rows)
    sampler = trainer.get_train_dataloader().batch_sampler.sampler
    order = list(sampler)
    assert sorted(order) == list(range(12))
    lengths = [trainer.data.lengths[index] for index in order]
    assert lengths[0] == max(lengths)  # so that a batch that does not fit fails at once
    sampler.set_epoch(1)
    assert list(sampler) != order


def test_the_best_checkpoint_is_loaded_whole(tmp_path, tiny_prm_dir, rows):
    """Also where the weights of a family are written under other names than those in memory."""
    args = make_args(
        tmp_path,
        max_steps=3,
        learning_rate=0.05,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,  # the worst one: not the last
    )
    trainer = make_trainer(tiny_prm_dir, args, rows, eval_dataset=rows[:6])
    trainer.train()
    best = MMPRMModel.from_pretrained(trainer.state.best_model_checkpoint)
    last = MMPRMModel.from_pretrained(tmp_path / "checkpoint-3")
    assert not trainer.state.best_model_checkpoint.endswith("checkpoint-3")
    weights = dict(trainer.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in best.named_parameters())
    assert any(not torch.equal(p, weights[name]) for name, p in last.named_parameters() if "layers" in name)


def test_the_card_reports_what_happened(tmp_path, tiny_policy_dir, rows):
    bad = {**rows[0], "completions": ["a"]}
    options = {"label_mapping": "hard", "positive_weight": 0.5, "on_bad_row": "drop", "seed": 7}
    args = make_args(tmp_path, max_steps=2, eval_strategy="steps", eval_steps=1, **options, **USUAL)
    trainer = PRMTrainer(tiny_policy_dir, args, train_dataset=[*rows, bad], eval_dataset=rows[:4])
    trainer.train()
    trainer.save_model(str(tmp_path / "prm"))
    card = ModelCard.load(tmp_path / "prm" / "README.md")
    assert card.data.library_name == "transformers" and "process-reward-model" in card.data.tags
    text = card.text
    assert tiny_policy_dir not in text and "Base model: tiny_policy" in text
    assert "36 rows; dropped: 1 train rows (label_count)" in text
    raw, trained = trainer.data.num_tokens["raw"], trainer.data.num_tokens["trained"]
    assert f"packed by problem, {trained:,} tokens an epoch instead of {raw:,}" in text
    assert "Labels: hard (1 if k / n > 0), all labelled steps, cross-entropy loss, right steps weighed 0.5" in text
    assert "2 packed rows x 1 accumulated x 1 processes; optimizer steps 2," in text
    assert "Cost: 0.00 hours on 1 x cpu" in text
    changed = {line.split("`")[1] for line in text.splitlines() if line.startswith("- `")}
    assert changed == {"per_device_train_batch_size", "learning_rate", "max_steps", *options}
    assert "| step | loss |" in text and "| 2 |" in text and "Training loss by step: 1: " in text
    assert "@article{du2025mmprm" in text and "not measured" not in text
    assert (tmp_path / "prm" / "processor_config.json").exists()


def test_a_checkpoint_has_a_card_and_facts_given_by_hand_win(tmp_path, tiny_prm_dir, rows):
    args = make_args(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer = make_trainer(tiny_prm_dir, args, rows)
    trainer.train()
    assert "# checkpoint-1" in (tmp_path / "checkpoint-1" / "README.md").read_text()
    trainer.create_model_card("my-prm", dataset="org/labels", license="mit", language="en", tags=["math"])
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.language, card.data.datasets) == ("mit", "en", "org/labels")
    assert "math" in card.data.tags and "# my-prm" in card.text and "Training data: org/labels" in card.text
    assert "Evaluation: not measured." in card.text
    # Of many evaluations about ten are shown, the last one always.
    trainer.state.log_history = [{"eval_loss": 1 - step / 100, "step": step} for step in range(24)]
    trainer.create_model_card("my-prm")
    shown = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert 10 <= len(shown) <= 13 and (shown[0], shown[-1]) == ("| 0 | 1.0000 |", "| 23 | 0.7700 |")


def test_push_to_hub_sends_model_processor_and_card(tmp_path, tiny_prm_dir, rows, monkeypatch):
    sent = {}

    class Hub:
        """What the stock trainer calls of the Hub."""

        def create_repo(self, name, **options):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, repo_id, folder_path, **options):
            sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}

    monkeypatch.setattr("transformers.trainer.hf_api", Hub)
    args = make_args(tmp_path / "out", max_steps=1, hub_model_id="me/prm", hub_token="hf_x")
    trainer = make_trainer(tiny_prm_dir, args, rows)
    trainer.train()
    trainer.push_to_hub(commit_message="done", dataset="org/labels")
    assert {"README.md", "config.json", "model.safetensors", "processor_config.json"} <= sent["me/prm"]
    assert "modeling_mm_prm.py" in sent["me/prm"]
    assert "# prm" in (tmp_path / "out" / "README.md").read_text()


def test_batches_without_labels_change_nothing_and_those_without_figures_train(tmp_path, tiny_prm_dir, rows):
    unlabelled = [{**row, "label_counts": [[0, 0]] * len(row["completions"])} for row in rows]
    args = make_args(tmp_path, max_steps=2, weight_decay=0.0, **USUAL)
    trainer = make_trainer(tiny_prm_dir, args, unlabelled)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())
    assert logged_losses(trainer) == [0.0, 0.0]
    (batch,), divisor = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=divisor)
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in trainer.model.score.parameters())
    text_only = make_trainer(tiny_prm_dir, args, [row for row in rows if not row["images"]])
    text_only.train()
    assert all(map(math.isfinite, logged_losses(text_only)))


def test_activation_checkpointing_gives_the_same_run_and_bf16_a_near_one(tmp_path, tiny_prm_dir, rows):
    losses = {}
    for name, options in (
        ("float32", {}),
        ("checkpointed", {"activation_checkpointing": True}),
        ("bf16", {"bf16": True}),
    ):
        trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, max_steps=3, **options, **USUAL), rows)
        trainer.train()
        losses[name] = logged_losses(trainer)
    assert losses["checkpointed"] == pytest.approx(losses["float32"], rel=1e-5)  # the same operations, twice
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.05) and losses["bf16"] != losses["float32"]


def test_liger_gets_the_backbone(tmp_path, tiny_prm_dir, rows, monkeypatch):
    calls = []
    fake = ModuleType("liger_kernel.transformers")
    fake._apply_liger_kernel_to_instance = lambda model, **options: calls.append((model, options))
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", fake)
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, max_steps=1, use_liger_kernel=True), rows)
    trainer.train()
    ((backbone, options),) = calls
    assert backbone is trainer.model.vlm and not options["fused_linear_cross_entropy"]
