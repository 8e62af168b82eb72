"""PRMTrainer: gradients under accumulation, late labels, frozen tower, bad rows, saving, evaluation, adapters."""

from __future__ import annotations

import copy
import math

import datasets
import pytest
import torch

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer
from mmprm_hf.training.rows import RowLimits, check_rows
from mmprm_hf.training.targets import BadRowError

LABELS = [[1.0, 0.9, 0.0], [0.5], [0.25, -100], [1.0, 1.0, 0.75, 0.0], [0.1], [0.0, 0.0], [0.9], [-100, 0.6]]


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


@pytest.fixture
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


def make_args(tmp_path, **options):
    return PRMConfig(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no", **options
    )


def one_step_gradients(model, processor, rows, args):
    """Gradient of every parameter at the first optimizer step, taken from a plain SGD step of size 1."""
    model = copy.deepcopy(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, lambda _: 1.0)
    PRMTrainer(model, args, train_dataset=rows, processing_class=processor, optimizers=(sgd, schedule)).train()
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


def distance(first, second):
    """Relative distance of two sets of gradients, by global norm."""
    difference = math.sqrt(sum(float((first[name] - second[name]).pow(2).sum()) for name in first))
    return difference / math.sqrt(sum(float(value.pow(2).sum()) for value in first.values()))


def test_accumulation_gives_the_gradients_of_the_whole_batch(tmp_path, tiny_prm_dir, processor, rows):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    options = {"max_steps": 1, "max_grad_norm": 0.0, "freeze_vision": False, "learning_rate": 1.0}
    whole, split = (
        one_step_gradients(
            model,
            processor,
            rows,
            make_args(tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=8 // size, **options),
        )
        for size in (8, 2)
    )
    assert distance(whole, split) < 1e-4
    batch = PRMCollator(processor)(rows)
    batch["labels"] = batch["labels"].where(batch["labels"] != 0.9, torch.tensor(1.0))  # negative case: 0.9 is not 1
    other = copy.deepcopy(model)
    other(**batch).loss.backward()
    rounded = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in other.named_parameters()}
    assert distance(whole, rounded) > 1e-3


def test_trained_gradients_equal_the_plainly_written_loss(tmp_path, tiny_prm_dir, processor, rows):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    args = make_args(
        tmp_path, max_steps=1, max_grad_norm=0.0, freeze_vision=False, learning_rate=1.0, per_device_train_batch_size=8
    )
    trained = one_step_gradients(model, processor, rows, args)
    total, count = 0.0, 0
    for row in rows:  # one row at a time, one step at a time
        inputs = processor(images=row["images"], text=row["prompt"], steps=row["completions"])
        for score, label in zip(model(**inputs).step_scores()[0], row["labels"], strict=True):
            if label != -100:
                total = total - (label * score.log() + (1 - label) * (1 - score).log())
                count += 1
    assert count == 14
    (total / count).backward()
    plain = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters()}
    assert distance(plain, trained) < 1e-4


def test_collator_puts_labels_at_markers_and_keeps_0_9(processor, rows):
    batch = PRMCollator(processor)(rows[:2])
    assert batch["labels"].dtype == torch.float32
    is_marker = batch["input_ids"] == processor.marker_token_id
    assert batch["labels"][is_marker].tolist() == pytest.approx([1.0, 0.9, 0.0, 0.5], abs=1e-7)
    assert (batch["labels"][~is_marker] == -100).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1.0]}, "Row 1: Found 2 steps in completions but 1 labels"),
        ({"labels": [1.0, float("nan")]}, "Row 1: Found label nan at step_index 1"),
        ({"labels": [1.0, 1.5]}, "Row 1: Found label 1.5 at step_index 1"),
        ({"label_counts": [[3, 2], [0, 1]]}, r"Row 1: Found label count \[3, 2\] at step_index 0"),
        ({"completions": ["a", " "]}, "Row 1: Found an empty step .* step_index 1"),
        ({"completions": ["a", "b <prm>"]}, "Row 1: Found the control token '<prm>' inside the step with step_index 1"),
        ({"prompt": "see <image>"}, "Row 1: Found the control token '<image>' inside the question"),
        ({"prompt": "   "}, "Row 1: Found an empty question"),
        ({"completions": ["a", "b" * 80]}, r"Row 1: Found \d+ tokens, more than max_length 90"),
        ({"images": ["/no/such/figure.png"]}, "Row 1: Image '/no/such/figure.png' does not exist"),
        ({"completions": [], "labels": []}, "Row 1: Found no steps"),
        ({"labels": None}, "Row 1: Found neither `labels` nor `label_counts`"),
    ],
)
def test_bad_rows_are_named_or_dropped_and_counted(processor, figures, change, message):
    good = {"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0], "images": [figures[0]]}
    limits = RowLimits(90)
    with pytest.raises(BadRowError, match=message):
        check_rows([good, {**good, **change}], processor, limits=limits)
    checked = check_rows([good, {**good, **change}, good], processor, limits=limits, on_bad_row="drop")
    assert checked.kept == [0, 2] and len(checked.lengths) == 2
    assert checked.dropped.total() == 1


def test_counted_length_is_the_encoded_length(processor, rows):
    longest = max(int(PRMCollator(processor)([row])["attention_mask"].sum()) for row in rows)
    assert check_rows(rows, processor, limits=RowLimits(longest)).kept == list(range(8))
    with pytest.raises(BadRowError, match=f"Found {longest} tokens"):
        check_rows(rows, processor, limits=RowLimits(longest - 1))


def test_policy_path_to_saved_prm_with_image_dataset(tmp_path, tiny_policy_dir, rows):
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completions": datasets.List(datasets.Value("string")),
            "labels": datasets.List(datasets.Value("float32")),
            "images": datasets.List(datasets.Image()),
        }
    )
    dataset = datasets.Dataset.from_list(rows + [{**rows[0], "labels": [1.0]}], features=features)
    args = make_args(
        tmp_path, max_steps=2, on_bad_row="drop", eval_strategy="steps", eval_steps=1, per_device_train_batch_size=4
    )
    trainer = PRMTrainer(tiny_policy_dir, args, train_dataset=dataset, eval_dataset=dataset)
    assert trainer.dropped_rows["train"] == {"label_count": 1}
    tower_modes, decoder_modes = [], []
    trainer.model.vlm.language_model.register_forward_pre_hook(lambda module, _: decoder_modes.append(module.training))
    trainer.model.vlm.vision_tower.register_forward_pre_hook(lambda module, _: tower_modes.append(module.training))
    frozen = {n: p.detach().clone() for n, p in trainer.model.vlm.vision_tower.named_parameters()}
    trained = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert tower_modes and not any(tower_modes)
    assert any(decoder_modes)
    assert all(torch.equal(p, frozen[n]) for n, p in trainer.model.vlm.vision_tower.named_parameters())
    unmoved = [n for n, p in trainer.model.named_parameters() if p.requires_grad and torch.equal(p, trained[n])]
    assert not unmoved
    metrics = trainer.evaluate()
    assert metrics["eval_num_steps"] == 14
    assert 0 <= metrics["eval_auroc"] <= 1 and 0 <= metrics["eval_step_accuracy"] <= 1
    trainer.save_model(tmp_path / "prm")
    assert "Labels: soft" in (tmp_path / "prm" / "README.md").read_text()
    processor = MMPRMProcessor.from_pretrained(tmp_path / "prm")
    batch = processor(images=rows[0]["images"], text=rows[0]["prompt"], steps=rows[0]["completions"])
    with torch.no_grad():
        expected = trainer.model(**batch).logits
        torch.testing.assert_close(MMPRMModel.from_pretrained(tmp_path / "prm").eval()(**batch).logits, expected)
    again = PRMTrainer(
        str(tmp_path / "prm"), make_args(tmp_path), train_dataset=rows
    )  # a PRM's path continues from the PRM
    with torch.no_grad():
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
    assert after["eval_step_accuracy"] == 1.0
    assert after["eval_auroc"] == 1.0
    assert after["eval_loss"] < 0.1 < before


def test_adapter_trains_head_and_marker_row(tmp_path, tiny_policy_dir, rows):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
    args = make_args(tmp_path, max_steps=2, learning_rate=1e-2, per_device_train_batch_size=4)
    trainer = PRMTrainer(tiny_policy_dir, args, train_dataset=rows, peft_config=adapter)
    trainable = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = [name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])]
    assert sorted(moved) == sorted(trainable)
    kinds = ("lora_", "score", "trainable_tokens")
    assert all(any(kind in name for name in trainable) for kind in kinds)
    assert all(any(kind in name for kind in kinds) for name in trainable)


def test_unknown_options_and_missing_processor_are_refused(tmp_path, tiny_policy):
    with pytest.raises(ValueError, match="label_mapping='softly'"):
        PRMConfig(output_dir=str(tmp_path), label_mapping="softly")
    with pytest.raises(ValueError, match="positive_weight=2 with loss_type='cross_entropy', which has none"):
        PRMConfig(output_dir=str(tmp_path), positive_weight=2)
    with pytest.raises(ValueError, match=r"hard_threshold=1\.0"):
        PRMConfig(output_dir=str(tmp_path), hard_threshold=1.0)
    with pytest.raises(ValueError, match="Found processing_class NoneType with a model object"):
        PRMTrainer(tiny_policy, make_args(tmp_path))
