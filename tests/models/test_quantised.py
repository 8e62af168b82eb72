"""PRMs on a backbone quantised by torchao: what is quantised, scores, saving again, fingerprints, an adapter on top."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from support.backbones import BACKBONES
from support.tiny_prms import CASES, TinyPRM, assert_same_scores, policy_scores, scores_of, tiny_prm
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, TorchAoConfig

from mmprm_hf.models import MMPRMModel, model_fingerprint

pytest.importorskip("torchao", reason="torchao is not installed: quantised backbones are not tested")


def int8(**kwargs) -> TorchAoConfig:
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), **kwargs)


def quantised(prm: TinyPRM, head_type: str, way: str, folder: Path) -> MMPRMModel:
    """The PRM with int8 weights, from the policy or from a saved PRM of full precision."""
    if way == "from_policy":
        return prm.model(head_type, quantization_config=int8())
    return AutoModel.from_pretrained(prm.saved(folder / "full", head_type), quantization_config=int8())


def linear_kinds(module: nn.Module) -> set[str]:
    """Names of the weights' types in all linear layers."""
    return {type(m.weight.data).__name__ for m in module.modules() if isinstance(m, nn.Linear)}


@pytest.mark.parametrize("way", ["from_policy", "from_pretrained"])
@pytest.mark.parametrize("family, head_type", [case for case in CASES if case[1] != "sigmoid"])
def test_the_backbone_is_quantised_and_the_head_is_not(family, head_type, way, tmp_path):
    prm = tiny_prm(family)
    full = prm.model(head_type)
    model = quantised(prm, head_type, way, tmp_path)
    assert linear_kinds(model.vlm) == {"Int8Tensor"} and linear_kinds(model.score) == {"Tensor"}
    for name, parameter in full.score.named_parameters():
        assert torch.equal(model.score.get_parameter(name), parameter)
    scores = scores_of(model, prm)
    assert not torch.equal(scores, scores_of(full, prm))
    # The tiny policies with images have weights so large that rounding them moves a score by up to 0.06.
    torch.testing.assert_close(scores, scores_of(full, prm), atol=0.02 if family == "llama" else 0.1, rtol=0)
    if head_type == "two_token":
        auto_class = AutoModelForImageTextToText if BACKBONES[family].has_images else AutoModelForCausalLM
        policy = auto_class.from_pretrained(prm.policy_dir, quantization_config=int8())
        assert_same_scores(scores, policy_scores(policy, prm))
    fingerprint = model_fingerprint(model)
    assert fingerprint != model_fingerprint(full)
    model.save_pretrained(tmp_path / "first")
    loaded = AutoModel.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    again = AutoModel.from_pretrained(tmp_path / "second")
    for other in (loaded, again):
        assert linear_kinds(other.vlm) == {"Int8Tensor"} and linear_kinds(other.score) == {"Tensor"}
        assert_same_scores(scores_of(other, prm), scores)
        assert model_fingerprint(other) == fingerprint


def test_both_ways_of_quantising_give_one_fingerprint(tmp_path):
    prm = tiny_prm("llava")
    models = [quantised(prm, "two_token", way, tmp_path) for way in ("from_policy", "from_pretrained")]
    assert model_fingerprint(models[0]) == model_fingerprint(models[1])


def test_a_fingerprint_sees_one_quantised_weight():
    model = tiny_prm("llama").model(quantization_config=int8())
    fingerprint = model_fingerprint(model)
    weight = model.vlm.layers[0].mlp.up_proj.weight.data
    for part in (weight.qdata, weight.scale):
        before = part.clone()
        part.add_(1)
        assert model_fingerprint(model) != fingerprint
        part.copy_(before)
    assert model_fingerprint(model) == fingerprint


def test_what_the_caller_leaves_out_stays_whole_and_so_does_the_head(tmp_path):
    """A list replaces the default one of transformers; its names begin otherwise in policy and PRM."""
    prm = tiny_prm("llava")
    from_policy = prm.model(quantization_config=int8(modules_to_not_convert=["model.vision_tower", "lm_head"]))
    from_policy.save_pretrained(tmp_path / "int8")
    left_out = int8(modules_to_not_convert=["vlm.vision_tower"])
    from_saved = AutoModel.from_pretrained(prm.saved(tmp_path / "full"), quantization_config=left_out)
    assert from_policy.config.quantization_config.modules_to_not_convert == ["vlm.vision_tower", "lm_head"]
    for model in (from_policy, AutoModel.from_pretrained(tmp_path / "int8"), from_saved):
        assert linear_kinds(model.score) == linear_kinds(model.vlm.vision_tower) == {"Tensor"}
        assert linear_kinds(model.vlm.language_model) == {"Int8Tensor"}
        assert_same_scores(scores_of(model, prm), scores_of(from_policy, prm))


@pytest.mark.parametrize("family", ["llama", "llava"])
def test_a_policy_that_was_saved_quantised(family, tmp_path):
    prm = tiny_prm(family)
    auto_class = AutoModelForImageTextToText if BACKBONES[family].has_images else AutoModelForCausalLM
    policy = auto_class.from_pretrained(prm.policy_dir, quantization_config=int8())
    policy.save_pretrained(tmp_path / "policy")
    model = MMPRMModel.from_policy(tmp_path / "policy", prm.processor)
    assert_same_scores(scores_of(model, prm), scores_of(prm.model(quantization_config=int8()), prm))
    model.save_pretrained(tmp_path / "prm")
    assert_same_scores(scores_of(AutoModel.from_pretrained(tmp_path / "prm"), prm), scores_of(model, prm))


def test_a_quantised_language_model_head_is_refused():
    config = int8(modules_to_not_convert=["vision_tower"])
    with pytest.raises(ValueError, match='head is quantised .*Int8Tensor.* Add "lm_head" to the modules'):
        tiny_prm("llava").model(quantization_config=config)


@pytest.mark.parametrize("way", ["from_policy", "from_pretrained"])
def test_an_adapter_trains_on_quantised_weights(way, tmp_path):
    peft = pytest.importorskip("peft")
    prm = tiny_prm("llama")
    model = quantised(prm, "two_token", way, tmp_path)
    base = copy.deepcopy(model)
    settings = peft.LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["score"], r=2)
    adapted = peft.get_peft_model(model, settings)
    assert type(adapted.base_model.model.vlm.layers[0].self_attn.q_proj).__name__ == "TorchaoLoraLinear"
    fingerprint = model_fingerprint(adapted)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    adapted(**prm.batch, labels=prm.labels()).loss.backward()
    optimizer.step()
    assert model_fingerprint(adapted) != fingerprint
    adapted.save_pretrained(tmp_path / "adapter")
    reloaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert_same_scores(scores_of(reloaded, prm), scores_of(adapted, prm))
    assert (scores_of(adapted, prm) - scores_of(prm.model(), prm)).abs().max() > 0.05
