"""PRMTrainer: the gradients of the plain loss, the frozen tower, data in every form, evaluation."""

from __future__ import annotations

import datasets
import pytest
import torch
from support.training_runs import distance, logged_losses, make_args, make_trainer, problem_rows, step_gradients
from transformers import AutoTokenizer

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training import PRMConfig, PRMTrainer
from mmprm_hf.training.collators import PRMCollator

LABELS = [[1.0, 0.9, 0.0], [0.5], [0.25, -100], [1.0, 1.0, 0.75, 0.0], [0.1], [0.0, 0.0], [0.9], [-100, 0.6]]


@pytest.fixture(scope="module")
def rows(figures):
    """Eight rows of unequal length, labelled steps 3 1 1 4 1 2 1 1, with zero or one figure."""
    return [
        {
            "prompt": f"What is {index} + x?",
            "completions": [f"step {step} of {index}" + "." * step for step in range(len(labels))],
            "labels": [float(label) for label in labels],
            "images": [figures[index % 4]] if index != 5 else [],
        }
        for index, labels in enumerate(LABELS)
    ]


def gradients_of(model):
    """The gradients that `backward` left, zero where there is none."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def test_gradients_are_those_of_the_plainly_written_loss_also_accumulated(tmp_path, tiny_prm_dir, prm_processor, rows):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    trained = {
        size: step_gradients(
            model,
            prm_processor,
            rows,
            make_args(
                tmp_path,
                freeze_vision=False,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=8 // size,
            ),
        )[1]
        for size in (8, 2)
    }
    total, count = 0.0, 0
    for row in rows:  # one row at a time, one step at a time
        inputs = prm_processor(images=row["images"], text=row["prompt"], steps=row["completions"])
        for score, label in zip(model(**inputs).step_scores()[0], row["labels"], strict=True):
            if label != -100:
                total = total - (label * score.log() + (1 - label) * (1 - score).log())
                count += 1
    assert count == 14
    (total / count).backward()
    plain = gradients_of(model)
    # float32 through two layers, and the log of a softmax in one of the ways: 1e-6 here.
    assert distance(trained[8], plain) < 1e-4
    assert distance(trained[2], plain) < 1e-4
    model.zero_grad()
    batch = PRMCollator(prm_processor)(rows)
    del batch["label_weights"]
    batch["labels"] = batch["labels"].where(batch["labels"] != 0.9, torch.tensor(1.0))  # negative case: 0.9 is not 1
    model(**batch).loss.backward()
    assert distance(gradients_of(model), plain) > 1e-3


def test_policy_path_to_saved_prm_with_image_dataset(tmp_path, tiny_policy_dir, rows):
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completions": datasets.List(datasets.Value("string")),
            "labels": datasets.List(datasets.Value("float32")),
            "images": datasets.List(datasets.Image()),
        }
    )
    dataset = datasets.Dataset.from_list([*rows, {**rows[0], "labels": [1.0]}], features=features)
    args = make_args(
        tmp_path, max_steps=2, on_bad_row="drop", eval_strategy="steps", eval_steps=1, per_device_train_batch_size=4
    )
    trainer = PRMTrainer(tiny_policy_dir, args, train_dataset=dataset, eval_dataset=dataset)
    assert trainer.data.dropped_rows["train"] == {"label_count": 1}
    tower_modes, decoder_modes = [], []
    trainer.model.vlm.language_model.register_forward_pre_hook(lambda module, _: decoder_modes.append(module.training))
    trainer.model.vlm.vision_tower.register_forward_pre_hook(lambda module, _: tower_modes.append(module.training))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert tower_modes and not any(tower_modes) and any(decoder_modes)
    unmoved = {name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])}
    assert unmoved == {name for name in before if "vision_tower" in name}
    metrics = trainer.evaluate()
    assert metrics["eval_num_steps"] == 14
    assert 0 <= metrics["eval_auroc"] <= 1 and 0 <= metrics["eval_step_accuracy"] <= 1
    trainer.save_model(tmp_path / "prm")
    assert "Labels: soft" in (tmp_path / "prm" / "README.md").read_text()
    processor = MMPRMProcessor.from_pretrained(tmp_path / "prm")
    batch = processor(images=rows[0]["images"], text=rows[0]["prompt"], steps=rows[0]["completions"])
    again = PRMTrainer(str(tmp_path / "prm"), make_args(tmp_path), train_dataset=rows)  # goes on from the saved PRM
    with torch.no_grad():
        expected = trainer.model(**batch).logits
        torch.testing.assert_close(MMPRMModel.from_pretrained(tmp_path / "prm").eval()(**batch).logits, expected)
        torch.testing.assert_close(again.model.eval()(**batch).logits, expected)


def test_training_separates_two_kinds_of_step(tmp_path, tiny_text_policy_dir):
    rows = [{"prompt": f"q{i}", "completions": ["good", "bad"], "labels": [True, False]} for i in range(16)]
    args = make_args(
        tmp_path, max_steps=12, learning_rate=2e-2, per_device_train_batch_size=16, lr_scheduler_type="constant"
    )
    trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_step_accuracy"] == after["eval_auroc"] == 1.0
    assert after["eval_loss"] < 0.1 < before


def test_the_evaluation_loss_does_not_depend_on_the_batch_size(tmp_path, tiny_prm_dir):
    rows = [
        {"prompt": "q", "completions": list("abcd"), "labels": [1.0, 0.9, 0.2, 0.0]},
        {"prompt": "q", "completions": ["e"], "labels": [0.5]},
        {"prompt": "q", "completions": ["f"], "labels": [-100.0]},
    ]
    losses = [
        make_trainer(
            tiny_prm_dir, make_args(tmp_path, per_device_eval_batch_size=size), rows[:1], eval_dataset=rows
        ).evaluate()["eval_loss"]
        for size in (1, 2, 3)
    ]
    assert losses == pytest.approx([losses[2]] * 3, rel=1e-5)  # float32, other padding


def test_rows_that_are_evaluated_later_are_checked_too(tmp_path, tiny_prm_dir, rows):
    args = {"on_bad_row": "drop"}
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, **args), rows, eval_dataset=rows[:1])
    good = trainer.evaluate(rows[:2])["eval_loss"]
    bad = [{**rows[0], "labels": [1.0]}, {**rows[0], "images": ["none.png"]}, {**rows[0], "completions": "abc"}]
    assert trainer.evaluate([*rows[:2], *bad])["eval_loss"] == good
    assert trainer.evaluate({"a": [*rows[:2], bad[0]]})["eval_a_loss"] == good
    trainer.args.on_bad_row = "raise"
    with pytest.raises(ValueError, match="Row 2: Found 3 steps in completions but 1 labels"):
        trainer.evaluate([*rows[:2], *bad])


def test_metrics_are_of_the_labels_as_they_are(tmp_path, tiny_prm_dir, figures):
    """Targets that are banded or cut at the first error would flatter them."""
    rows = problem_rows("p", figures[0], 0, num_paths=8)
    plain = make_trainer(tiny_prm_dir, make_args(tmp_path), rows, eval_dataset=rows).evaluate()
    mapped_args = make_args(tmp_path, label_mapping="banded", train_on="first_error")
    trainer = make_trainer(tiny_prm_dir, mapped_args, rows, eval_dataset=rows)
    mapped = trainer.evaluate()
    for name in ("num_steps", "auroc", "ece", "brier", "step_accuracy", "macro_f1", "first_error_accuracy"):
        assert mapped[f"eval_{name}"] == plain[f"eval_{name}"], name
    assert mapped["eval_loss"] != plain["eval_loss"]
    counted = [{"prompt": "q", "completions": ["a", "b"], "label_counts": [[1, 4], [2, 4]]}]
    assert trainer.predict(counted).label_ids.tolist() == [[0.25, 0.5]]


def test_a_collator_of_ones_own_needs_labels_only(tmp_path, tiny_prm_dir, prm_processor, figures):
    rows = problem_rows("p", figures[0], 0, num_paths=8)
    plain = [{name: value for name, value in row.items() if name != "label_weights"} for row in rows]
    padded = PRMCollator(prm_processor)

    def collate(batch):
        return {name: value for name, value in padded(batch).items() if name != "label_weights"}

    args = make_args(tmp_path, max_steps=2, packing=False, logging_steps=1, per_device_train_batch_size=2)
    expected = make_trainer(tiny_prm_dir, args, plain)
    args = make_args(tmp_path, max_steps=2, logging_steps=1, per_device_train_batch_size=2)
    trainer = make_trainer(tiny_prm_dir, args, plain, data_collator=collate, eval_dataset=plain[:4])
    assert not trainer.data.is_packed
    expected.train()
    trainer.train()
    assert logged_losses(trainer) == logged_losses(expected)
    assert trainer.evaluate()["eval_num_steps"] > 0


def test_a_prompt_that_is_tokenized_with_the_first_step_is_packed(tmp_path, tiny_text_policy_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_policy_dir)
    template = "Q: {question} A: "
    base = MMPRMProcessor.from_policy(tokenizer, prompt_template=template)
    joined = MMPRMProcessor(base.base_processor, prompt_template=template, join_before_tokenizing=True)
    rows = [{"prompt": "q", "completions": ["a", last], "labels": [1.0, 0.5], "problem_id": "p"} for last in "bc"]
    losses = {}
    for packing in (True, False):
        model = MMPRMModel.from_policy(tiny_text_policy_dir, joined)
        args = make_args(tmp_path, packing=packing, max_steps=1, logging_steps=1)
        trainer = PRMTrainer(model, args, train_dataset=rows, processing_class=joined)
        trainer.train()
        losses[packing] = logged_losses(trainer)
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)  # float32, another layout


def test_rows_of_a_dataset_in_torch_format_are_trained_on(tmp_path, tiny_prm_dir, figures):
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completions": datasets.List(datasets.Value("string")),
            "label_counts": datasets.List(datasets.List(datasets.Value("int32"))),
            "images": datasets.List(datasets.Image()),
        }
    )
    rows = [{name: row[name] for name in features} for row in problem_rows("p", figures[0], 0, num_paths=2)]
    dataset = datasets.Dataset.from_list(rows, features=features).with_format("torch")
    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, max_steps=1), dataset)
    trainer.train()
    assert trainer.state.global_step == 1


def test_unknown_and_meaningless_options_are_refused(tmp_path):
    for options, message in (
        ({"label_mapping": "softly"}, "Unknown label_mapping 'softly'. Did you mean 'soft'"),
        ({"positive_weight": 0.0}, r"positive_weight=0\.0 in PRMConfig; it must be finite and above 0"),
        ({"positive_weight": float("inf")}, "positive_weight=inf"),
        ({"pairwise_weight": -1}, "pairwise_weight=-1"),
        ({"hard_threshold": 1.0}, r"hard_threshold=1\.0"),
        ({"on_bad_row": "skip"}, "on_bad_row='skip' in PRMConfig; it must be raise or drop"),
        ({"label_smoothing_factor": 0.1}, r"label_smoothing_factor=0\.1"),
        ({"train_sampling_strategy": "batch_rebalance"}, "train_sampling_strategy"),
        ({"remove_unused_columns": True}, "remove_unused_columns=True"),
    ):
        with pytest.raises(ValueError, match=message):
            PRMConfig(output_dir=str(tmp_path), report_to="none", **options)
