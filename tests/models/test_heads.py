"""The three kinds of heads: the policy's own scores before training, their losses, and what no head can express."""

from __future__ import annotations

import math

import pytest
import torch
import transformers as hf
from support.backbone_parts import make_policy, text_settings
from support.backbones import BACKBONES
from support.tiny_prms import FAMILIES, LABELS, assert_same_scores, policy_scores, scores_of, tiny_prm

from mmprm_hf.models import MMPRMModel, marker_loss, marker_losses


def llama_like(config_class, model_class, **settings):
    """A tiny text policy of another family over the Llama processor's vocabulary."""
    return make_policy(model_class, config_class(**text_settings(tiny_prm("llama").processor.tokenizer), **settings))


@pytest.mark.parametrize("head_type", ["two_token", "sigmoid"])
@pytest.mark.parametrize("family", [*FAMILIES, "cohere"])
def test_linear_heads_start_at_the_policys_own_scores(family, head_type):
    prm = tiny_prm(family)
    auto_class = hf.AutoModelForImageTextToText if BACKBONES[family].has_images else hf.AutoModelForCausalLM
    expected = policy_scores(auto_class.from_pretrained(prm.policy_dir), prm)
    model = prm.model(head_type)
    assert model.score.out_features == (1 if head_type == "sigmoid" else 2)
    assert_same_scores(scores_of(model, prm), expected)
    assert expected.std() > 0.01


@pytest.mark.parametrize("head_type", ["two_token", "sigmoid"])
def test_a_scale_after_the_policys_head_is_kept(head_type):
    prm = tiny_prm("llama")
    policy = llama_like(hf.GraniteConfig, hf.GraniteForCausalLM, logits_scaling=4.0)
    model = MMPRMModel.from_policy(policy, prm.processor, head_type)
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))
    with torch.no_grad():
        model.score.weight *= 4.0
    assert (scores_of(model, prm) - policy_scores(policy, prm)).abs().max() > 0.01


def test_a_cap_on_the_policys_logits_is_kept_by_two_logits_and_refused_for_one():
    prm = tiny_prm("gemma2")
    model = prm.model()
    assert model.config.logit_softcap == 1.0
    expected = policy_scores(hf.AutoModelForCausalLM.from_pretrained(prm.policy_dir), prm)
    assert_same_scores(scores_of(model, prm), expected)
    model.config.logit_softcap = None
    assert (scores_of(model, prm) - expected).abs().max() > 0.01
    with pytest.raises(ValueError, match='difference of two capped ones: use head_type="two_token"'):
        prm.model("sigmoid")


@pytest.mark.parametrize("head_type", ["two_token", "sigmoid"])
def test_a_policys_head_bias_is_kept(head_type, tmp_path):
    prm = tiny_prm("llama")
    policy = llama_like(hf.PhiConfig, hf.PhiForCausalLM)
    model = MMPRMModel.from_policy(policy, prm.processor, head_type)
    bias = policy.lm_head.bias.detach()[[prm.processor.positive_token_id, prm.processor.negative_token_id]]
    assert model.config.head_bias and (bias[0] - bias[1]).abs() > 0.01
    torch.testing.assert_close(model.score.bias.detach(), bias if head_type == "two_token" else bias[:1] - bias[1:])
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))
    model.save_pretrained(tmp_path)
    assert_same_scores(scores_of(MMPRMModel.from_pretrained(tmp_path), prm), scores_of(model, prm))


class ShiftedLlama(hf.LlamaForCausalLM):
    """Adds to one token's logit what no linear head without bias can add."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits[..., tiny_prm("llama").processor.positive_token_id] += 0.1
        return output


class SquaredLlama(hf.LlamaForCausalLM):
    """Squares its logits."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits.square()
        return output


@pytest.mark.parametrize("head_type", ["two_token", "sigmoid"])
@pytest.mark.parametrize("model_class", [ShiftedLlama, SquaredLlama])
def test_a_policy_that_changes_its_logits_is_refused(model_class, head_type):
    policy, processor = llama_like(hf.LlamaConfig, model_class), tiny_prm("llama").processor
    with pytest.raises(ValueError, match=f'does not reproduce {model_class.__name__}: .*head_type="mlp"'):
        MMPRMModel.from_policy(policy, processor, head_type)
    assert MMPRMModel.from_policy(policy, processor, "mlp").config.head_type == "mlp"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mlp_head_starts_at_random_and_trains(family):
    prm = tiny_prm(family)
    model = prm.model("mlp")
    first, _, second = model.score
    assert first.weight.std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    assert not first.bias.any() and not second.bias.any()
    other = MMPRMModel.from_policy(prm.policy_dir, prm.processor, "mlp")
    assert not torch.equal(other.score[0].weight, first.weight)
    before = scores_of(model, prm)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        output = model(**prm.batch, labels=prm.labels())
        output.loss.backward()
        losses.append(output.loss.item())
        silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        unread = ("vision_tower.encoder.layers.1.", "vision_tower.post_layernorm.") if family == "llava" else ()
        assert [name for name in silent if not any(part in name for part in unread)] == []
        optimizer.step()
    after = scores_of(model, prm)
    assert losses[-1] < 0.95 * losses[0]
    assert ((after >= 0) & (after <= 1)).all() and not torch.equal(after, before)


def test_loss_of_the_sigmoid_head_by_hand():
    logits = torch.tensor([[math.log(3.0)], [-2.0], [7.0]])
    labels = torch.tensor([0.9, 0.0, -100.0])
    total = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25)) + math.log(1 + math.exp(-2.0))
    assert marker_loss(logits, labels).item() == pytest.approx(total / 2, rel=1e-5)
    for num_items in (8, torch.tensor(8)):
        assert marker_loss(logits, labels, num_items).item() == pytest.approx(total / 8, rel=1e-5)
    large = marker_loss(torch.tensor([[200.0], [-200.0]]), torch.tensor([0.0, 1.0]))
    assert large.item() == pytest.approx(200.0)  # no infinity where the sigmoid rounds to 0 or 1


def test_a_marker_without_label_adds_nothing_even_if_its_logits_are_nan():
    for width in (1, 2):
        logits = torch.full((3, width), 0.5)
        logits[1] = float("nan")
        logits.requires_grad_()
        losses = marker_losses(logits, torch.tensor([1.0, -100.0, 0.0]))
        assert losses[1] == 0.0 and losses.isfinite().all()
        losses.sum().backward()
        assert logits.grad.isfinite().all() and not logits.grad[1].any()


def test_loss_and_gradient_of_one_logit_are_those_of_two_with_that_difference():
    torch.manual_seed(0)
    pair = torch.randn(6, 2, requires_grad=True)
    single = (pair[:, :1] - pair[:, 1:]).detach().requires_grad_()
    labels = torch.tensor([0.0, 0.9, 1.0, -100.0, 0.3, 0.5])
    losses = marker_loss(pair, labels), marker_loss(single, labels)
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(pair.grad, torch.cat([single.grad, -single.grad], dim=-1))
    assert pair.grad[1].abs().min() > 0 and not pair.grad[3].any()


def test_labels_at_markers_give_the_same_loss_under_both_linear_heads():
    prm = tiny_prm("llava")
    losses = [prm.model(head)(**prm.batch, labels=prm.labels()).loss for head in ("two_token", "sigmoid")]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    scores = scores_of(prm.model(), prm).tolist()
    by_hand = [-(y * math.log(p) + (1 - y) * math.log(1 - p)) for y, p in zip(LABELS[:2], scores[:2], strict=True)]
    assert losses[1].item() == pytest.approx(sum(by_hand) / 2, rel=1e-4)
