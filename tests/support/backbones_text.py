"""Tiny text-only policies of many families with their tokenizers; see `backbones.py`."""

from __future__ import annotations

from typing import Any

from support.backbone_parts import (
    NUM_PADDING_ROWS,
    SLIDING_WINDOW,
    chatml_template,
    chatml_tokenizer,
    gemma_settings,
    gemma_tokenizer,
    llama3_tokenizer,
    make_policy,
    make_template,
    make_tokenizer,
    text_settings,
)


def build_llama(with_marker: bool = False) -> tuple[Any, Any]:
    """Llama 3: BOS from tokenizer and template."""

    import transformers as hf

    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    template = make_template(header.format("user"), "<|eot_id|>", header.format("assistant"), start="<|begin_of_text|>")
    tokenizer = llama3_tokenizer(template, with_marker, ("<|start_header_id|>", "<|end_header_id|>"))
    return make_policy(hf.LlamaForCausalLM, hf.LlamaConfig(**text_settings(tokenizer))), tokenizer


def build_qwen2(with_marker: bool = False) -> tuple[Any, Any]:
    """Qwen 2: no BOS; the only family here whose head is tied to the embeddings."""

    import transformers as hf

    tokenizer = chatml_tokenizer(chatml_template(), with_marker)
    config = hf.Qwen2Config(**{**text_settings(tokenizer), "tie_word_embeddings": True})
    return make_policy(hf.Qwen2ForCausalLM, config), tokenizer


def build_qwen3(with_marker: bool = False) -> tuple[Any, Any]:
    """Qwen 3: more embedding rows than tokens."""

    import transformers as hf

    tokenizer = chatml_tokenizer(chatml_template(), with_marker)
    config = hf.Qwen3Config(**text_settings(tokenizer, num_padding_rows=NUM_PADDING_ROWS), head_dim=8)
    return make_policy(hf.Qwen3ForCausalLM, config), tokenizer


def build_mistral(with_marker: bool = False) -> tuple[Any, Any]:
    """Mistral: every layer has a sliding window."""

    import transformers as hf

    template = make_template("[INST] ", "", "[/INST]", start="<s>")
    tokenizer = make_tokenizer("<pad>", "</s>", "<s>", True, ("[INST]", "[/INST]"), None, template, with_marker)
    config = hf.MistralConfig(**text_settings(tokenizer), sliding_window=SLIDING_WINDOW)
    return make_policy(hf.MistralForCausalLM, config), tokenizer


def build_gemma2(with_marker: bool = False) -> tuple[Any, Any]:
    """Gemma 2: sliding and full layers in turn, softcapped attention and logits (a low cap, so that it shows)."""

    import transformers as hf

    tokenizer = gemma_tokenizer(with_marker)
    settings = gemma_settings(tokenizer, ["sliding_attention", "full_attention"] * 2)
    config = hf.Gemma2Config(**settings, final_logit_softcapping=1.0, attn_logit_softcapping=5.0)
    return make_policy(hf.Gemma2ForCausalLM, config), tokenizer


def build_gemma3_text(with_marker: bool = False) -> tuple[Any, Any]:
    """Gemma 3 without its vision tower, as the 1B model is."""

    import transformers as hf

    tokenizer = gemma_tokenizer(with_marker)
    config = hf.Gemma3TextConfig(**gemma_settings(tokenizer, ["sliding_attention", "full_attention"] * 2))
    return make_policy(hf.Gemma3ForCausalLM, config), tokenizer


def build_cohere(with_marker: bool = False) -> tuple[Any, Any]:
    """Command R: logits are scaled after the head."""

    import transformers as hf

    turn = "<|START_OF_TURN_TOKEN|>"
    template = make_template(
        f"{turn}<|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>", f"{turn}<|CHATBOT_TOKEN|>", start="<BOS_TOKEN>"
    )
    special = (turn, "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>")
    tokenizer = make_tokenizer(
        "<PAD>", "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", True, special, None, template, with_marker
    )
    config = hf.CohereConfig(**text_settings(tokenizer), logit_scale=2.0)
    return make_policy(hf.CohereForCausalLM, config), tokenizer


def build_qwen3_5(with_marker: bool = False) -> tuple[Any, Any]:
    """Qwen 3.5, text only: linear and full attention in turn (its cache cannot be cut or packed)."""

    import transformers as hf

    tokenizer = chatml_tokenizer(chatml_template(), with_marker)
    config = hf.Qwen3_5TextConfig(
        **text_settings(tokenizer, num_layers=4),
        layer_types=["linear_attention", "full_attention"] * 2,
        head_dim=32,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    )
    return make_policy(hf.Qwen3_5ForCausalLM, config), tokenizer
