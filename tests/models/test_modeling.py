"""MMPRMModel: equal to the policy before training, exact loss, round trips, refusals."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from support.tiny_models import make_policy, make_processor
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.models import MMPRMConfig, MMPRMModel, MMPRMProcessor, marker_loss, register

STEPS = [["x = 2 + 3", "so x = 5"], ["it is 7", "then 8", "9"], ["end"]]
QUESTIONS = ["What is x?", "And y, if 3+4 is one less than y?", "z?"]


@pytest.fixture(scope="module")
def prm(tiny_policy_dir):
    processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    return MMPRMModel.from_policy(tiny_policy_dir, processor), processor


@pytest.fixture
def batch(prm, figures):
    return prm[1](images=[figures[0], [figures[1], figures[2]], None], text=QUESTIONS, steps=STEPS)


def unreached(model):
    """Parameters without gradient, but for the vision norm that LLaVA never reads (it takes the layer before)."""
    return [n for n, p in model.named_parameters() if p.grad is None and "vision_tower.post_layernorm" not in n]


def test_before_training_scores_are_the_policys_yes_no_softmax(figures):
    processor = make_processor(with_marker=True)  # the policy knows the marker: nothing is added or resized
    policy = make_policy(processor)
    prm_processor = MMPRMProcessor.from_policy(processor)
    model = MMPRMModel.from_policy(policy, prm_processor)
    assert not prm_processor.marker_added
    batch = prm_processor(images=[figures[0], None, figures[2]], text=QUESTIONS, steps=STEPS)
    with torch.no_grad():
        scores = torch.cat(model(**batch).step_scores())
        logits = policy(**batch).logits[batch["input_ids"] == prm_processor.marker_token_id]
    vocab = processor.tokenizer.get_vocab()
    expected = logits[:, [vocab["Yes"], vocab["No"]]].softmax(-1)[:, 0]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    assert scores.std() > 0.01
    row = prm_processor.marker_token_id
    policy_row = policy.get_input_embeddings().weight[row]
    assert torch.equal(model.get_input_embeddings().weight[row], policy_row)


def test_a_new_marker_starts_at_the_mean_embedding_and_the_policy_is_not_changed(prm, tiny_policy_dir):
    model, processor = prm
    policy = AutoModelForImageTextToText.from_pretrained(tiny_policy_dir)
    rows = policy.get_input_embeddings().weight
    assert processor.marker_token_id == len(rows)
    weight = model.get_input_embeddings().weight
    torch.testing.assert_close(weight[processor.marker_token_id], rows.mean(0))
    assert torch.equal(weight[:-1], rows)
    assert model.config.get_text_config().vocab_size == len(rows) + 1


def test_from_a_model_object_copies_the_backbone(tiny_policy, tiny_policy_dir):
    before = copy.deepcopy(tiny_policy.state_dict())
    model = MMPRMModel.from_policy(tiny_policy, MMPRMProcessor.from_policy(tiny_policy_dir))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in tiny_policy.state_dict().items())


def test_text_only_policy(tiny_text_policy_dir, tmp_path):
    processor = MMPRMProcessor.from_policy(tiny_text_policy_dir)
    model = MMPRMModel.from_policy(tiny_text_policy_dir, processor)
    batch = processor(text=QUESTIONS, steps=STEPS)
    assert model(**batch).marker_counts.tolist() == [2, 3, 1]
    model.freeze_vision()  # nothing to freeze
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = MMPRMProcessor.from_pretrained(tmp_path)(text=QUESTIONS, steps=STEPS)
    torch.testing.assert_close(MMPRMModel.from_pretrained(tmp_path)(**again).logits, model(**batch).logits)


def test_only_marker_positions_reach_the_head(prm, batch):
    rows = []
    hook = prm[0].score.register_forward_pre_hook(lambda _, args: rows.append(tuple(args[0].shape)))
    output = prm[0](**batch)
    hook.remove()
    assert rows == [(6, 32)]
    assert output.logits.shape == (6, 2)
    assert [len(scores) for scores in output.step_scores()] == [2, 3, 1]
    assert output.loss is None and output.cache is None


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_batched_equals_one_by_one(prm, figures, padding_side):
    model, processor = prm
    images = [figures[0], [figures[1], figures[2]], None]
    with torch.no_grad():
        batch = processor(images=images, text=QUESTIONS, steps=STEPS, padding_side=padding_side)
        together = torch.cat(model(**batch).step_scores())
        alone = [
            model(**processor(images=i, text=q, steps=s)) for i, q, s in zip(images, QUESTIONS, STEPS, strict=True)
        ]
    torch.testing.assert_close(together, torch.cat([a.step_scores()[0] for a in alone]), atol=1e-5, rtol=0)


def test_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [5.0, 1.0]])
    labels = torch.tensor([0.3, 0.9, -100.0])
    first, second = math.log(2), -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert marker_loss(logits, labels).item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert marker_loss(logits, labels, 8).item() == pytest.approx((first + second) / 8, rel=1e-5)
    assert marker_loss(logits, labels, torch.tensor(8)).item() == pytest.approx((first + second) / 8, rel=1e-5)
    rounded = marker_loss(logits, torch.tensor([0.3, 1.0, -100.0])).item()
    assert rounded == pytest.approx((first - math.log(0.75)) / 2, rel=1e-5)  # what a 0.9 label must not become
    assert abs(rounded - (first + second) / 2) > 0.05


def test_labels_reach_the_markers_and_every_parameter_gets_a_gradient(prm, batch):
    model = copy.deepcopy(prm[0])
    labels = torch.full(batch["input_ids"].shape, -100.0)
    is_marker = batch["input_ids"] == prm[1].marker_token_id
    labels[is_marker] = torch.tensor([1.0, 0.9, 0.0, 0.5, -100.0, 0.1])
    output = model(**batch, labels=labels)
    expected = marker_loss(output.logits, labels[is_marker])
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    assert unreached(model) == []
    silent = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.abs().sum()]
    assert silent == []


@pytest.mark.parametrize("steps", [None, ["a"]])
def test_a_batch_without_labelled_markers_has_zero_loss_tied_to_all_parameters(prm, figures, steps):
    model = copy.deepcopy(prm[0])
    inputs = prm[1](images=figures[0], text="q", steps=steps)
    loss = model(**inputs, labels=torch.full(inputs["input_ids"].shape, -100.0)).loss
    assert loss.item() == 0.0
    loss.backward()
    assert unreached(model) == []


def test_frozen_vision_tower_stays_in_eval_mode(prm):
    model = copy.deepcopy(prm[0])
    model.freeze_vision()
    model.train()
    assert model.training and model.vlm.language_model.training
    assert not any(module.training for module in model.vision_tower().modules())
    assert not any(parameter.requires_grad for parameter in model.vision_tower().parameters())
    assert all(parameter.requires_grad for parameter in model.vlm.multi_modal_projector.parameters())


def test_auto_classes_give_the_same_model_back(prm, batch, tiny_prm_dir):
    register()
    register()
    model, processor = AutoModel.from_pretrained(tiny_prm_dir), AutoProcessor.from_pretrained(tiny_prm_dir)
    assert type(AutoConfig.from_pretrained(tiny_prm_dir)) is MMPRMConfig
    assert type(model) is MMPRMModel and type(processor) is MMPRMProcessor
    torch.testing.assert_close(model(**batch).logits, prm[0](**batch).logits)


def test_a_saved_checkpoint_contains_no_path_of_this_machine(tiny_prm_dir, tiny_policy_dir):
    assert tiny_policy_dir not in Path(tiny_prm_dir, "config.json").read_text()
    assert tiny_policy_dir not in Path(tiny_prm_dir, "tokenizer_config.json").read_text()


def test_a_checkpoint_that_is_not_a_prm_is_refused(tiny_policy_dir, tiny_prm_dir, tiny_policy):
    with pytest.raises(ValueError, match="is not a PRM: its model_type is 'llava'"):
        MMPRMModel.from_pretrained(tiny_policy_dir)
    with pytest.raises(ValueError, match="is a PRM already"):
        MMPRMModel.from_policy(tiny_prm_dir, MMPRMProcessor.from_pretrained(tiny_prm_dir))
    with pytest.raises(ValueError, match="needs the processor"):
        MMPRMModel.from_policy(tiny_policy)
    with pytest.raises(ValueError, match="Unknown head_type 'rnn'"):
        MMPRMConfig(head_type="rnn")


def test_missing_backbone_weights_are_refused(prm, tmp_path):
    state = {name: value for name, value in prm[0].state_dict().items() if ".layers.1." not in name}
    prm[0].save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"weights of the backbone are missing .*layers\.1\."):
        MMPRMModel.from_pretrained(tmp_path)
