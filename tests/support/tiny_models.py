"""Tiny tokenizers, processors, policies and figures built in code: two layers, width 32, no files needed."""

from __future__ import annotations

import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL_TOKENS = ["<pad>", "<unk>", "</s>", "<image>", "<|user|>", "<|assistant|>"]


class PlainTreeKernel:
    """What TRL's tree attention calls of FlashAttention 3, in plain torch."""

    @staticmethod
    def flash_attn_varlen_func(query, key, value, cu_q, cu_k, max_q, max_k, softmax_scale, causal, window_size):
        assert causal
        outputs = []
        for q0, q1, k0, k1 in zip(cu_q[:-1], cu_q[1:], cu_k[:-1], cu_k[1:], strict=True):
            assert q1 - q0 <= max_q and k1 - k0 <= max_k
            shift = int(k1 - k0 - (q1 - q0))  # queries stand at the end of their path
            seen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril(shift)
            if window_size[0] >= 0:
                seen = seen.triu(shift - window_size[0])
            parts = [t.transpose(0, 1) for t in (query[q0:q1], key[k0:k1], value[k0:k1])]  # (heads, length, head_dim)
            parts[1:] = [t.repeat_interleave(len(parts[0]) // len(t), dim=0) for t in parts[1:]]
            outputs.append(
                torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen, scale=softmax_scale)
            )
        return torch.cat(outputs, dim=1).transpose(0, 1)


def make_tokenizer(with_marker: bool = False) -> PreTrainedTokenizerFast:
    """Character tokenizer over printable ASCII with Yes and No as whole tokens; `with_marker` knows <prm> already."""
    special = SPECIAL_TOKENS + (["<prm>"] if with_marker else [])
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocab = {token: index for index, token in enumerate(special + ["Yes", "No"] + characters)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|No|[\\s\\S]"), "isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        extra_special_tokens=special[3:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def make_processor(with_marker: bool = False) -> LlavaProcessor:
    """LLaVA processor with 16 image tokens (32 px, patches of 8)."""
    return LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=make_tokenizer(with_marker),
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=0,
    )


def text_config(vocab_size: int) -> LlamaConfig:
    """Two layers, width 32."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )


def make_policy(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Random LLaVA policy; weights are large enough that scores differ clearly between texts."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(len(processor.tokenizer)),
        image_token_index=processor.image_token_id,
        image_seq_length=16,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return louder(LlavaForConditionalGeneration(config))


def louder(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5.0)
    return model.eval()


def make_figure(seed: int = 0) -> Image.Image:
    """A 32 px figure with two colours that depend on the seed."""
    figure = Image.new("RGB", (32, 32), (seed * 53 % 256, 80, 200))
    figure.paste((250, seed * 97 % 256, 10), (4 + seed % 8, 6, 20, 24))
    return figure
