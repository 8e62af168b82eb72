"""Which policies become a PRM: those with all weights, a causal backbone and a head that can be reproduced."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from support.backbone_parts import chatml_template, chatml_tokenizer, make_policy, text_settings, vision_settings
from support.backbones import BACKBONES
from support.tiny_prms import assert_same_scores, policy_scores, scores_of, tiny_prm

from mmprm_hf.models import MMPRMModel, MMPRMProcessor

HEADS = ("two_token", "sigmoid", "mlp")


def small(config_class, model_class, **settings):
    """A tiny text policy over the Llama processor's vocabulary."""
    return make_policy(
        model_class, config_class(**{**text_settings(tiny_prm("llama").processor.tokenizer), **settings})
    )


def llama_folder(folder, policy=None):
    (policy or BACKBONES["llama"].build(True)[0]).save_pretrained(folder)
    tiny_prm("llama").processor.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("head_type", HEADS)
def test_missing_weights_are_refused(head_type, tmp_path):
    folder = llama_folder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.1.mlp.down_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of the policy .*layers\.1\.mlp\.down_proj.* Save or download"):
        MMPRMModel.from_policy(folder, head_type=head_type)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = llama_folder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"first \['model\.norm\.weight'\]"):
        MMPRMModel.from_policy(folder, ignore_mismatched_sizes=True)


def test_a_model_without_head_is_refused(tmp_path):
    policy = BACKBONES["llama"].build(True)[0]
    with pytest.raises(ValueError, match=r"has no language-model head \(lm_head\.weight is missing\)"):
        MMPRMModel.from_policy(llama_folder(tmp_path, policy.model))
    with pytest.raises(ValueError, match="LlamaModel has no "):
        MMPRMModel.from_policy(policy.model, tiny_prm("llama").processor)


def test_a_tied_head_is_not_missing(tmp_path):
    policy, tokenizer = BACKBONES["qwen2"].build(True)
    policy.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    MMPRMModel.from_policy(tmp_path)


@pytest.mark.parametrize("model_class", [hf.BartForConditionalGeneration, hf.T5ForConditionalGeneration])
def test_encoder_decoders_are_refused(model_class, tmp_path):
    size = {"vocab_size": 200, "d_model": 32, "decoder_start_token_id": 0}
    if model_class is hf.T5ForConditionalGeneration:
        config = hf.T5Config(**size, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    else:
        heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
        config = hf.BartConfig(**size, **heads, encoder_layers=2, decoder_layers=2, max_position_embeddings=64)
    policy = model_class(config)
    for source in (policy, llama_folder(tmp_path, policy)):
        with pytest.raises(ValueError, match="is an encoder-decoder .* choose a decoder-only policy"):
            MMPRMModel.from_policy(source, tiny_prm("llama").processor)


def test_the_decoder_of_an_encoder_decoder_is_refused():
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    config = hf.BartConfig(vocab_size=200, d_model=32, **heads, encoder_layers=2, decoder_layers=2, is_decoder=True)
    with pytest.raises(ValueError, match="BartForCausalLM is the decoder of an encoder-decoder"):
        MMPRMModel.from_policy(hf.BartForCausalLM(config), tiny_prm("llama").processor)


def test_llama4_text_and_what_has_no_headless_model(tmp_path):
    prm = tiny_prm("llama")
    settings = {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 64}
    policy = small(hf.Llama4TextConfig, hf.Llama4ForCausalLM, **settings)
    model = MMPRMModel.from_policy(policy, prm.processor)
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))
    model.save_pretrained(tmp_path)
    assert_same_scores(scores_of(MMPRMModel.from_pretrained(tmp_path), prm), scores_of(model, prm))
    text = text_settings(prm.processor.tokenizer) | settings
    vision = vision_settings(8) | {"vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64}
    config = hf.Llama4Config(text_config=text, vision_config=vision)
    with pytest.raises(ValueError, match="Llama4ForConditionalGeneration has no headless model .* another family"):
        MMPRMModel.from_policy(hf.Llama4ForConditionalGeneration(config), prm.processor)


NOT_CAUSAL = {
    "bert": (hf.BertConfig, hf.BertLMHeadModel, {}),
    "masked": (hf.BertConfig, hf.BertForMaskedLM, {}),
    "roberta": (hf.RobertaConfig, hf.RobertaForCausalLM, {}),
    "gemma3": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, {"head_dim": 8, "use_bidirectional_attention": True}),
}


@pytest.mark.parametrize("head_type", HEADS)
@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_backbones_that_see_later_steps_are_refused(name, head_type):
    config_class, model_class, settings = NOT_CAUSAL[name]
    policy = small(config_class, model_class, **settings)
    with pytest.raises(ValueError, match="is not causal: a step's score would depend on later steps"):
        MMPRMModel.from_policy(policy, tiny_prm("llama").processor, head_type)
    with pytest.raises(ValueError, match="is not causal"):
        MMPRMModel.from_policy(policy.bfloat16(), tiny_prm("llama").processor, head_type)


@pytest.mark.parametrize("family", ["gemma3", "paligemma"])
def test_both_ways_among_image_tokens_alone_is_causal(family):
    assert tiny_prm(family).model("mlp").config.head_type == "mlp"


def test_a_policy_in_training_may_share_its_backbone_and_stays_in_training():
    """Its dropout takes no part in the comparison of the head."""
    prm = tiny_prm("llama")
    policy = small(hf.LlamaConfig, hf.LlamaForCausalLM, attention_dropout=0.5).train()
    model = MMPRMModel.from_policy(policy, prm.processor, share_backbone=True)
    assert policy.training and model.vlm is policy.model
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))


def test_a_scale_that_the_policys_class_does_not_apply():
    """Aya Vision's text config has `logit_scale`, its class never reads it."""
    prm = tiny_prm("llama")
    text = hf.Cohere2Config(**text_settings(prm.processor.tokenizer, 4), sliding_window=24, logit_scale=2.0)
    vision = hf.SiglipVisionConfig(**vision_settings(8), vision_use_head=False)
    config = hf.AyaVisionConfig(vision_config=vision, text_config=text, image_token_index=5, downsample_factor=2)
    policy = make_policy(hf.AyaVisionForConditionalGeneration, config)
    model = MMPRMModel.from_policy(policy, prm.processor)
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))


def falcon_h1(**settings):
    sizes = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "head_dim": 8}
    return small(hf.FalconH1Config, hf.FalconH1ForCausalLM, **sizes, **settings)


def test_falcon_h1_keeps_its_factors_after_loading(tmp_path):
    prm = tiny_prm("llama")
    policy = falcon_h1(lm_head_multiplier=0.5, ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9])
    model = MMPRMModel.from_policy(policy, prm.processor)
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))
    model.save_pretrained(tmp_path)
    for loaded in (
        MMPRMModel.from_pretrained(tmp_path),
        hf.AutoModel.from_pretrained(tmp_path, device_map="cpu"),
        hf.AutoModel.from_pretrained(tmp_path, trust_remote_code=True),
    ):
        buffers = dict(loaded.named_buffers())
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
        assert_same_scores(scores_of(loaded, prm), scores_of(model, prm))


def test_recurrent_gemmas_cap_is_kept():
    prm = tiny_prm("llama")
    settings = {"lru_width": 32, "logits_soft_cap": 1.0, "attention_window_size": 64, "num_hidden_layers": 3}
    policy = small(hf.RecurrentGemmaConfig, hf.RecurrentGemmaForCausalLM, **settings)
    model = MMPRMModel.from_policy(policy, prm.processor)
    assert model.config.logit_softcap == 1.0
    assert_same_scores(scores_of(model, prm), policy_scores(policy, prm))


def test_a_backbone_that_loading_would_not_make_is_refused():
    """BertLMHeadModel has no pooler, but the BertModel that AutoModel makes has one."""
    policy = small(hf.BertConfig, hf.BertLMHeadModel, is_decoder=True)
    with pytest.raises(ValueError, match="could not be loaded again: AutoModel makes a BertModel with 2 weights"):
        MMPRMModel.from_policy(policy, tiny_prm("llama").processor)


def test_absolute_positions_do_not_count_padding():
    tokenizer = chatml_tokenizer(chatml_template(), True)
    processor = MMPRMProcessor.from_policy(tokenizer)
    config = hf.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=256)
    model = MMPRMModel.from_policy(make_policy(hf.GPT2LMHeadModel, config), processor)
    questions, steps = ["What is x?", "q"], [["x = 2", "x = 5"], ["a"]]
    with torch.no_grad():
        alone = [model(**processor(text=q, steps=s)).step_scores()[0] for q, s in zip(questions, steps, strict=True)]
        for side in ("left", "right"):
            batch = processor(text=questions, steps=steps, padding_side=side)
            torch.testing.assert_close(torch.cat(model(**batch).step_scores()), torch.cat(alone), atol=1e-5, rtol=0)
        batch = processor(text=questions, steps=steps, padding_side="left")
        uncounted = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
        wrong = torch.cat(model(**batch, position_ids=uncounted).step_scores())
    assert (wrong - torch.cat(alone)).abs().max() > 1e-3


@pytest.mark.parametrize("label", [1.5, -0.1, float("nan")])
def test_labels_that_are_not_probabilities_are_refused(label):
    prm = tiny_prm("llama")
    labels = prm.labels()
    labels[prm.batch["input_ids"] == prm.processor.marker_token_id] = torch.tensor([0.5, label, 1.0])
    with pytest.raises(ValueError, match=rf"Found the label {label}.* is in \[0, 1\] or -100"):
        prm.model()(**prm.batch, labels=labels)


def test_labels_off_the_markers_are_refused():
    prm = tiny_prm("llama")
    labels = prm.labels()
    labels[0, 1] = 0.5
    with pytest.raises(ValueError, match="Found the label 0.5 at row 0, column 1 .* stands at a step marker"):
        prm.model()(**prm.batch, labels=labels)
    with pytest.raises(ValueError, match=r"labels of shape \(3,\) for input_ids of shape"):
        prm.model()(**prm.batch, labels=torch.ones(3))


def test_tuples_and_the_backbones_states():
    prm = tiny_prm("llama")
    model = prm.model(attn_implementation="eager")
    output = model(**prm.batch, output_hidden_states=True, output_attentions=True, labels=prm.labels())
    assert model.config.get_text_config()._attn_implementation == "eager"
    assert len(output.hidden_states) == 3 and len(output.attentions) == 2
    assert output.hidden_states[-1].shape[:2] == prm.batch["input_ids"].shape
    plain = model(**prm.batch)
    assert plain.hidden_states is None and plain.attentions is None
    loss, logits, counts = model(**prm.batch, labels=prm.labels(), return_dict=False)
    torch.testing.assert_close((loss, logits), (output.loss, plain.logits))
    assert counts.tolist() == [3]
