"""What a training starts from: dtypes, token classifiers, policies, adapters."""

from __future__ import annotations

import pytest
import torch
from support.training_runs import make_args, make_trainer, problem_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForTokenClassification

from mmprm_hf.models import MMPRMModel
from mmprm_hf.training import PRMTrainer

ROWS = [{"prompt": f"q{i}", "completions": ["good", "bad"], "labels": [True, False]} for i in range(4)]


def classifier(tiny_text_policy_dir, bias=0.0, num_labels=2):
    """A token classifier over the tiny text policy's backbone, as TRL's documentation made one, and its tokenizer."""
    torch.manual_seed(3)
    model = LlamaForTokenClassification.from_pretrained(tiny_text_policy_dir, num_labels=num_labels)
    torch.nn.init.constant_(model.score.bias, bias)
    return model, AutoTokenizer.from_pretrained(tiny_text_policy_dir)


def test_what_is_trained_in_full_is_trained_in_float32(tmp_path, tiny_prm_dir, tiny_text_policy_dir, prm_processor):
    folder = tmp_path / "bf16"
    MMPRMModel.from_pretrained(tiny_prm_dir).to(torch.bfloat16).save_pretrained(folder)
    prm_processor.save_pretrained(folder)
    trainer = PRMTrainer(str(folder), make_args(tmp_path, max_steps=1, bf16=True, learning_rate=1e-6), None, ROWS)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    after = dict(trainer.model.named_parameters())
    reached = [name for name in before if "projector" not in name]  # the rows have no figure
    moved = [float((after[name] != before[name]).float().mean()) for name in reached]
    assert sum(moved) / len(moved) > 0.9
    kept = make_args(tmp_path, model_dtype="auto")
    assert PRMTrainer(str(folder), kept, train_dataset=ROWS).model.dtype == torch.bfloat16
    model, tokenizer = classifier(tiny_text_policy_dir)
    for args, dtype in ((make_args(tmp_path), torch.float32), (kept, torch.bfloat16)):
        trainer = PRMTrainer(model.to(torch.bfloat16), args, train_dataset=ROWS, processing_class=tokenizer)
        assert trainer.model.dtype == dtype


def test_an_adapter_on_bf16_weights_is_trained_in_float32(tmp_path, tiny_prm_dir, prm_processor):
    """The head exists twice then, frozen in bf16 and trained in float32; the states have to reach the second one."""
    peft = pytest.importorskip("peft")
    folder = tmp_path / "bf16"
    MMPRMModel.from_pretrained(tiny_prm_dir).to(torch.bfloat16).save_pretrained(folder)
    prm_processor.save_pretrained(folder)
    adapter = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
    trainer = PRMTrainer(str(folder), make_args(tmp_path, max_steps=1, bf16=True), None, ROWS, peft_config=adapter)
    trained = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    trainer.train()
    (head,) = [name for name in trained if "score" in name and name.endswith("weight")]
    assert not torch.equal(dict(trainer.model.named_parameters())[head], trained[head])


def test_a_classifier_is_not_changed_and_a_bias_without_meaning_is_left_out(tmp_path, tiny_text_policy_dir):
    model, tokenizer = classifier(tiny_text_policy_dir)
    before = model.score.weight.detach().clone()
    for _ in range(2):
        trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
        assert torch.equal(trainer.model.score.weight, before.flip(0)) and trainer.model.score.bias is None
    assert torch.equal(model.score.weight, before)
    model, tokenizer = classifier(tiny_text_policy_dir, bias=0.3)
    trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
    assert trainer.model.score.bias.tolist() == pytest.approx([0.3, 0.3])


def test_a_classifiers_head_keeps_its_meaning(tmp_path, tiny_text_policy_dir):
    """Its labels are 0 wrong, 1 right: P(right) at a marker is its softmax there."""
    model, tokenizer = classifier(tiny_text_policy_dir)
    trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
    batch = trainer.data_collator(ROWS[:1])
    reference, _ = classifier(tiny_text_policy_dir)
    reference.eval().resize_token_embeddings(len(trainer.processing_class.tokenizer))
    reference.base_model.load_state_dict(trainer.model.vlm.state_dict())
    with torch.no_grad():
        (scores,) = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).step_scores()
        logits = reference(batch["input_ids"], batch["attention_mask"]).logits[0]
    is_marker = batch["input_ids"][0] == trainer.processing_class.marker_token_id
    # One forward in float32, twice: rounding of 1e-7.
    torch.testing.assert_close(scores, logits.softmax(-1)[is_marker][:, 1], atol=1e-6, rtol=1e-5)
    three, _ = classifier(tiny_text_policy_dir, num_labels=3)
    with pytest.raises(ValueError, match="LlamaForTokenClassification with 3 labels. A PRM takes two labels"):
        PRMTrainer(three, make_args(tmp_path), processing_class=tokenizer)


def test_a_policy_object_with_its_tokenizer_becomes_a_prm(tmp_path, tiny_text_policy_dir):
    model = AutoModelForCausalLM.from_pretrained(tiny_text_policy_dir)
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_policy_dir)
    by_object = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
    by_path = PRMTrainer(tiny_text_policy_dir, make_args(tmp_path), train_dataset=ROWS)
    batch = by_path.data_collator(ROWS)
    with torch.no_grad():
        first, second = (
            trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).logits for trainer in (by_object, by_path)
        )
    torch.testing.assert_close(first, second)
    with pytest.raises(ValueError, match="Found processing_class NoneType with a model object"):
        PRMTrainer(model, make_args(tmp_path))


def test_an_adapter_trains_head_and_marker_row(tmp_path, tiny_prm_dir, figures):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2)
    args = make_args(tmp_path, max_steps=2, learning_rate=1e-2, per_device_train_batch_size=4)
    trainer = make_trainer(tiny_prm_dir, args, problem_rows("p", figures[0], 0), peft_config=adapter)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainable = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    trainer.train()
    moved = [name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])]
    assert sorted(moved) == sorted(trainable)
    parts = ("lora_", "score", "trainable_tokens")
    assert all(any(part in name for name in trainable) for part in parts)
    assert all(any(part in name for part in parts) for name in trainable)


def test_trls_adapter_config_is_accepted_and_not_changed(tmp_path, tiny_text_policy_dir, tiny_policy_dir, figures):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM")
    model, tokenizer = classifier(tiny_text_policy_dir)
    args = make_args(tmp_path, max_steps=1)
    trainer = PRMTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer, peft_config=config)
    trainer.train()
    assert any("q_proj.lora_A" in name for name, _ in trainer.model.named_parameters())
    assert config.task_type == "CAUSAL_LM" and config.target_modules is None and config.modules_to_save is None
    rows = problem_rows("p", figures[0], 0)
    wide = PRMTrainer(
        tiny_policy_dir, args, train_dataset=rows, peft_config=peft.LoraConfig(r=2, target_modules="all-linear")
    )
    trained = [name for name, p in wide.model.named_parameters() if p.requires_grad]
    assert trained and not any("vision" in name for name in trained), "the tower stays frozen under any adapter"
    wide.save_model(str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="is an adapter. Merge it first"):
        PRMTrainer(str(tmp_path / "adapter"), args, train_dataset=rows)
