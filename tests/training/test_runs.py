"""Whole runs: resumed exactly, cards of what happened, batches without figures or labels, pushing to the Hub."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from test_tree_packing import problem_rows

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer


@pytest.fixture
def rows(figures):
    return [row for i in range(12) for row in problem_rows(f"p{i}", figures[i % 4] if i % 3 else None, i, num_paths=3)]


def make_args(folder, **options):
    common = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "learning_rate": 1e-3, "logging_steps": 1}
    return PRMConfig(output_dir=str(folder), **{**common, "per_device_train_batch_size": 2, **options})


def trainer_for(tiny_prm_dir, args, rows, **options):
    model, processor = MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir)
    return PRMTrainer(model, args, train_dataset=rows, processing_class=processor, **options)


@pytest.mark.parametrize("kind", ["packed", "rows", "lora"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, tiny_prm_dir, rows, kind):
    options = {"max_steps": 5, "packing": kind != "rows", "save_strategy": "steps", "save_steps": 2}

    def make(folder):
        peft_config = None
        if kind == "lora":
            peft = pytest.importorskip("peft")
            peft_config = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
        return trainer_for(tiny_prm_dir, make_args(folder, **options), rows, peft_config=peft_config)

    whole = make(tmp_path / "whole")
    whole.train()
    resumed = make(tmp_path / "resumed")
    torch.manual_seed(99)  # nothing may hang on what happened before
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 5
    for (name, weight), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(weight, other), name
    logged = [[log["loss"] for log in t.state.log_history if "loss" in log] for t in (whole, resumed)]
    assert logged[0] == logged[1]


def test_the_best_checkpoint_is_loaded_whole(tmp_path, tiny_prm_dir, rows):
    """Also where a family's weights are written under other names than those in memory."""
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
    trainer = trainer_for(tiny_prm_dir, args, rows, eval_dataset=rows[:6])
    trainer.train()
    best = MMPRMModel.from_pretrained(trainer.state.best_model_checkpoint)
    last = MMPRMModel.from_pretrained(tmp_path / "checkpoint-3")
    assert not trainer.state.best_model_checkpoint.endswith("checkpoint-3")
    weights = dict(trainer.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in best.named_parameters())
    assert any(not torch.equal(p, weights[name]) for name, p in last.named_parameters() if "layers" in name)


def test_the_card_tells_what_happened(tmp_path, tiny_policy_dir, rows):
    bad = {**rows[0], "completions": ["a"]}
    args = make_args(
        tmp_path, max_steps=2, label_mapping="hard", on_bad_row="drop", eval_strategy="steps", eval_steps=1, seed=7
    )
    trainer = PRMTrainer(tiny_policy_dir, args, train_dataset=[*rows, bad], eval_dataset=rows[:4])
    trainer.train()
    trainer.save_model(str(tmp_path / "prm"))
    card = ModelCard.load(tmp_path / "prm" / "README.md")
    assert card.data.library_name == "transformers" and "process-reward-model" in card.data.tags
    text = card.text
    assert tiny_policy_dir not in text and "Base model: tiny_policy" in text
    assert "36 rows; dropped: 1 train rows (label_count)" in text
    raw, trained = trainer.num_tokens["raw"], trainer.num_tokens["trained"]
    assert f"packed by problem, {trained:,} tokens an epoch instead of {raw:,}" in text
    assert "Labels: hard (1 if k / n > 0), all labelled steps, cross-entropy loss" in text
    assert "optimizer steps 2," in text and "Cost: 0.00 hours on 1 x cpu" in text
    changed = {line.split("`")[1] for line in text.splitlines() if line.startswith("- `")}
    assert changed == {
        "per_device_train_batch_size", "learning_rate", "max_steps", "seed", "label_mapping", "on_bad_row"
    }  # fmt: skip
    assert "| step | loss |" in text and "| 2 |" in text and "Training loss by step: 1: " in text
    assert "@article{du2025mmprm" in text and "not measured" not in text
    assert (tmp_path / "prm" / "processor_config.json").exists()


def test_a_checkpoint_has_a_card_and_a_name_given_by_hand_wins(tmp_path, tiny_prm_dir, rows):
    trainer = trainer_for(tiny_prm_dir, make_args(tmp_path, max_steps=1, save_strategy="steps", save_steps=1), rows)
    trainer.train()
    assert "# checkpoint-1" in (tmp_path / "checkpoint-1" / "README.md").read_text()
    trainer.create_model_card("my-prm", dataset="org/labels", license="mit", language="en", tags=["math"])
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.language, card.data.datasets) == ("mit", "en", "org/labels")
    assert "math" in card.data.tags and "# my-prm" in card.text and "Training data: org/labels" in card.text
    assert "Evaluation: not measured." in card.text


def test_push_to_hub_sends_model_processor_and_card(tmp_path, tiny_prm_dir, rows, monkeypatch):
    sent = {}

    class Hub:
        """Of the Hub what the stock trainer calls."""

        def create_repo(self, name, **options):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, repo_id, folder_path, **options):
            sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}

    monkeypatch.setattr("transformers.trainer.hf_api", Hub)
    args = make_args(tmp_path / "out", max_steps=1, save_strategy="no", hub_model_id="me/prm", hub_token="hf_x")
    trainer = trainer_for(tiny_prm_dir, args, rows)
    trainer.train()
    trainer.push_to_hub(commit_message="done", dataset="org/labels")
    assert {"README.md", "config.json", "model.safetensors", "processor_config.json"} <= sent["me/prm"]
    assert "modeling_mm_prm.py" in sent["me/prm"]
    assert "# prm" in (tmp_path / "out" / "README.md").read_text()


def test_batches_without_figures_or_labels_change_nothing_and_do_not_break(tmp_path, tiny_prm_dir, rows):
    unlabelled = [{**row, "label_counts": [[0, 0]] * len(row["completions"])} for row in rows]
    args = make_args(tmp_path, max_steps=2, weight_decay=0.0, save_strategy="no")
    trainer = trainer_for(tiny_prm_dir, args, unlabelled)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())
    assert [log["loss"] for log in trainer.state.log_history if "loss" in log] == [0.0, 0.0]
    (batch,), divisor = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=divisor)
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in trainer.model.score.parameters())
    text_only = trainer_for(tiny_prm_dir, args, [row for row in rows if not row["images"]])
    text_only.train()
    assert all(math.isfinite(log["loss"]) for log in text_only.state.log_history if "loss" in log)


def test_gradient_checkpointing_gives_the_same_run(tmp_path, tiny_prm_dir, rows):
    losses = {}
    for checkpointing in (False, True):
        args = make_args(tmp_path, max_steps=3, save_strategy="no", gradient_checkpointing=checkpointing)
        trainer = trainer_for(tiny_prm_dir, args, rows)
        trainer.train()
        losses[checkpointing] = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)


def test_bf16_runs_near_float32(tmp_path, tiny_prm_dir, rows):
    losses = {}
    for bf16 in (False, True):
        trainer = trainer_for(tiny_prm_dir, make_args(tmp_path, max_steps=3, save_strategy="no", bf16=bf16), rows)
        trainer.train()
        losses[bf16] = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[True] == pytest.approx(losses[False], rel=0.05) and losses[True] != losses[False]


def test_packed_rows_sorted_by_length_are_all_trained_on(tmp_path, tiny_prm_dir, rows):
    args = make_args(tmp_path, num_train_epochs=1, save_strategy="no", train_sampling_strategy="group_by_length")
    trainer = trainer_for(tiny_prm_dir, args, rows)
    order = list(trainer._get_train_sampler())
    assert sorted(order) == list(range(12))
    lengths = [trainer.train_lengths[index] for index in order]
    assert lengths[0] == max(lengths)  # so that a batch that does not fit shows at once
    trainer.train()
    assert trainer.state.global_step == 6


def test_metrics_are_of_the_labels_as_they_are(tmp_path, tiny_prm_dir, rows):
    """Targets cut at the first error or banded would flatter them."""
    plain = trainer_for(tiny_prm_dir, make_args(tmp_path / "a"), rows, eval_dataset=rows[:8]).evaluate()
    mapped_args = make_args(tmp_path / "b", label_mapping="banded", train_on="first_error")
    mapped = trainer_for(tiny_prm_dir, mapped_args, rows, eval_dataset=rows[:8]).evaluate()
    for name in ("num_steps", "auroc", "ece", "brier", "step_accuracy", "macro_f1", "first_error_accuracy"):
        assert mapped[f"eval_{name}"] == plain[f"eval_{name}"], name
    assert mapped["eval_loss"] != plain["eval_loss"]
    assert json.dumps(plain)


def test_liger_is_asked_for_the_backbone(tmp_path, tiny_prm_dir, rows, monkeypatch):
    asked = []
    fake = ModuleType("liger_kernel.transformers")
    fake._apply_liger_kernel_to_instance = lambda model, **options: asked.append((model, options))
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", fake)
    args = make_args(tmp_path, max_steps=1, save_strategy="no", use_liger_kernel=True)
    trainer = trainer_for(tiny_prm_dir, args, rows)
    trainer.train()
    ((backbone, options),) = asked
    assert backbone is trainer.model.vlm and not options["fused_linear_cross_entropy"]


def test_a_collator_of_ones_own_needs_labels_only(tmp_path, tiny_prm_dir, rows):
    plain = [{k: v for k, v in row.items() if k not in ("label_weights", "problem_id")} for row in rows]
    args = make_args(tmp_path, max_steps=2, save_strategy="no")
    expected = trainer_for(tiny_prm_dir, args, plain)
    expected.train()
    own = PRMCollator(MMPRMProcessor.from_pretrained(tiny_prm_dir))

    def collate(batch):
        return {name: value for name, value in own(batch).items() if name != "label_weights"}

    trainer = trainer_for(tiny_prm_dir, args, rows, data_collator=collate)
    assert not trainer.is_packed
    trainer = trainer_for(tiny_prm_dir, args, plain, data_collator=collate, eval_dataset=plain[:4])
    trainer.train()
    assert [log.get("loss") for log in trainer.state.log_history] == [
        log.get("loss") for log in expected.state.log_history
    ]
    assert trainer.evaluate()["eval_num_steps"] > 0


def test_what_is_trained_whole_is_trained_in_float32(tmp_path, tiny_prm_dir, rows):
    folder = tmp_path / "bf16"
    MMPRMModel.from_pretrained(tiny_prm_dir).to(torch.bfloat16).save_pretrained(folder)
    MMPRMProcessor.from_pretrained(tiny_prm_dir).save_pretrained(folder)
    args = make_args(tmp_path, max_steps=1, save_strategy="no", bf16=True, learning_rate=1e-6)
    trainer = PRMTrainer(str(folder), args, train_dataset=rows)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    moved = [
        float((p != before[name]).float().mean()) for name, p in trainer.model.named_parameters() if name in before
    ]
    assert sum(moved) / len(moved) > 0.9
    own = PRMTrainer(str(folder), make_args(tmp_path, model_dtype="auto"), train_dataset=rows)
    assert own.model.dtype == torch.bfloat16
