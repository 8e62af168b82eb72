"""Tiny original InternVL checkpoints built in code, and a plain-torch reference of their vision side.

Facts (key names, layouts, order of operations) are those of the golden files' README; nothing here uses our package.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from support.layout import SHARED
from support.tiny_models import SPECIAL_TOKENS, make_tokenizer

GOLDEN = SHARED / "golden"
INTERNVL_TOKENS = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
HEAD = {"InternLM2ForCausalLM": "language_model.output.weight", "Qwen2ForCausalLM": "language_model.lm_head.weight"}


def original_config(architecture: str, is_6b: bool, vocab_size: int) -> dict:
    """`config.json` of a tiny original: ViT 32 wide, 2 layers, 56 px; text 64 wide, 2 layers, 4 heads, 2 key heads."""
    is_internlm2 = architecture == "InternLM2ForCausalLM"
    vision = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "hidden_act": "gelu", "norm_type": "rms_norm" if is_6b else "layer_norm", "layer_norm_eps": 1e-6,
        "image_size": 56, "patch_size": 14, "num_channels": 3, "qkv_bias": not is_6b, "qk_normalization": is_6b,
    }  # fmt: skip
    text = {
        "architectures": [architecture], "vocab_size": vocab_size, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1000000, "tie_word_embeddings": False,
        "rope_scaling": {"type": "dynamic", "factor": 2.0} if is_internlm2 else None,
    }  # fmt: skip
    if is_internlm2:
        text["bias"] = False
    return {
        "model_type": "internvl_chat", "vision_config": vision, "llm_config": text, "downsample_ratio": 0.5,
        "dynamic_image_size": True, "force_image_size": 56, "max_dynamic_patch": 6, "min_dynamic_patch": 1,
        "pad2square": False, "ps_version": "v2", "select_layer": -1, "template": "internvl2_5", "use_thumbnail": True,
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
    }  # fmt: skip


def original_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every key of the weight file with its shape."""
    vision, text = config["vision_config"], config["llm_config"]
    wide, inner, hidden = vision["hidden_size"], vision["intermediate_size"], text["hidden_size"]
    shapes = {
        "vision_model.embeddings.class_embedding": (1, 1, wide),
        "vision_model.embeddings.position_embedding": (1, 17, wide),
        "vision_model.embeddings.patch_embedding.weight": (wide, 3, 14, 14),
        "vision_model.embeddings.patch_embedding.bias": (wide,),
        "mlp1.0.weight": (4 * wide,), "mlp1.0.bias": (4 * wide,),
        "mlp1.1.weight": (hidden, 4 * wide), "mlp1.1.bias": (hidden,),
        "mlp1.3.weight": (hidden, hidden), "mlp1.3.bias": (hidden,),
    }  # fmt: skip
    for layer in range(vision["num_hidden_layers"]):
        block = {
            "attn.qkv.weight": (3 * wide, wide), "attn.proj.weight": (wide, wide), "attn.proj.bias": (wide,),
            "mlp.fc1.weight": (inner, wide), "mlp.fc1.bias": (inner,), "mlp.fc2.weight": (wide, inner),
            "mlp.fc2.bias": (wide,), "norm1.weight": (wide,), "norm2.weight": (wide,), "ls1": (wide,), "ls2": (wide,),
        }  # fmt: skip
        if vision["norm_type"] == "layer_norm":
            block |= {"norm1.bias": (wide,), "norm2.bias": (wide,)}
        if vision["qkv_bias"]:
            block["attn.qkv.bias"] = (3 * wide,)
        if vision["qk_normalization"]:
            block |= {"attn.q_norm.weight": (wide,), "attn.k_norm.weight": (wide,)}
        shapes |= {f"vision_model.encoder.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | _text_shapes(text)


def _text_shapes(text: dict) -> dict[str, tuple[int, ...]]:
    vocab, hidden, inner = text["vocab_size"], text["hidden_size"], text["intermediate_size"]
    is_internlm2 = text["architectures"] == ["InternLM2ForCausalLM"]
    embedding = "tok_embeddings" if is_internlm2 else "embed_tokens"
    shapes = {
        f"language_model.model.{embedding}.weight": (vocab, hidden),
        "language_model.model.norm.weight": (hidden,),
        HEAD[text["architectures"][0]]: (vocab, hidden),
    }
    internlm2 = {
        "attention.wqkv.weight": (2 * hidden, hidden), "attention.wo.weight": (hidden, hidden),
        "feed_forward.w1.weight": (inner, hidden), "feed_forward.w3.weight": (inner, hidden),
        "feed_forward.w2.weight": (hidden, inner), "attention_norm.weight": (hidden,), "ffn_norm.weight": (hidden,),
    }  # fmt: skip
    qwen2 = {
        "self_attn.q_proj.weight": (hidden, hidden), "self_attn.q_proj.bias": (hidden,),
        "self_attn.k_proj.weight": (hidden // 2, hidden), "self_attn.k_proj.bias": (hidden // 2,),
        "self_attn.v_proj.weight": (hidden // 2, hidden), "self_attn.v_proj.bias": (hidden // 2,),
        "self_attn.o_proj.weight": (hidden, hidden), "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden), "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,),
    }  # fmt: skip
    for layer in range(text["num_hidden_layers"]):
        block = internlm2 if is_internlm2 else qwen2
        shapes |= {f"language_model.model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def random_weights(config: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights large enough that every part of the model moves the scores; norms and layer scales are near one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in original_shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        is_scale = name.endswith((".ls1", ".ls2")) or ("norm" in name and name.endswith("weight"))
        weights[name] = 1 + 0.3 * noise if is_scale or name == "mlp1.0.weight" else 0.2 * noise
    return weights


def write_original(
    folder: Path, architecture: str = "InternLM2ForCausalLM", is_6b: bool = False, changes: dict | None = None
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Write config, weights and tokenizer; return config and weights. `changes` go into the config only."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(with_marker=True)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*SPECIAL_TOKENS[3:], "<prm>", *INTERNVL_TOKENS]},
        replace_extra_special_tokens=True,
    )
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    config = original_config(architecture, is_6b, len(tokenizer))
    weights = random_weights(config)
    for name, value in (changes or {}).items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    Path(folder, "config.json").write_text(json.dumps(config))
    save_file(weights, Path(folder, "model.safetensors"))
    return config, weights


def reference_image_features(weights: dict[str, torch.Tensor], config: dict, pixels: torch.Tensor) -> torch.Tensor:
    """What the vision side passes to the text model, in plain torch: (tiles, tokens, text width).

    ViT of pre-norm blocks with layer scale, last layer without a final norm, CLS dropped, pixel shuffle v2, mlp1.
    """
    vision = config["vision_config"]
    weight = {name.removeprefix("vision_model."): value for name, value in weights.items()}
    states = F.conv2d(
        pixels, weight["embeddings.patch_embedding.weight"], weight["embeddings.patch_embedding.bias"], stride=14
    )
    states = states.flatten(2).transpose(1, 2)  # (tiles, patches, width)
    states = torch.cat([weight["embeddings.class_embedding"].expand(len(states), -1, -1), states], dim=1)
    states = states + weight["embeddings.position_embedding"]
    for index in range(vision["num_hidden_layers"]):
        prefix = f"encoder.layers.{index}."
        block = {name.removeprefix(prefix): value for name, value in weight.items() if name.startswith(prefix)}
        states = states + _attention(block, _norm(block, "norm1", states), vision["num_attention_heads"]) * block["ls1"]
        inner = F.gelu(F.linear(_norm(block, "norm2", states), block["mlp.fc1.weight"], block["mlp.fc1.bias"]))
        states = states + F.linear(inner, block["mlp.fc2.weight"], block["mlp.fc2.bias"]) * block["ls2"]
    patches = states[:, 1:]
    side = int(patches.shape[1] ** 0.5)
    grid = patches.reshape(len(patches), side, side, -1)  # (n, w, h, c)
    n, w, h, c = grid.shape
    grid = grid.reshape(n, w, h // 2, 2 * c).permute(0, 2, 1, 3)
    grid = grid.reshape(n, h // 2, w // 2, 4 * c).permute(0, 2, 1, 3).reshape(n, -1, 4 * c)
    grid = F.layer_norm(grid, grid.shape[-1:], weights["mlp1.0.weight"], weights["mlp1.0.bias"], eps=1e-5)
    grid = F.gelu(F.linear(grid, weights["mlp1.1.weight"], weights["mlp1.1.bias"]))
    return F.linear(grid, weights["mlp1.3.weight"], weights["mlp1.3.bias"])


def _norm(block: dict[str, torch.Tensor], name: str, states: torch.Tensor) -> torch.Tensor:
    """LayerNorm where there is a bias, RMSNorm where there is none; eps 1e-6."""
    if f"{name}.bias" in block:
        return F.layer_norm(states, states.shape[-1:], block[f"{name}.weight"], block[f"{name}.bias"], eps=1e-6)
    return states * (states.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * block[f"{name}.weight"]


def _attention(block: dict[str, torch.Tensor], states: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Full attention; query and key are normed over the whole width before they are split into heads."""
    query, key, value = F.linear(states, block["attn.qkv.weight"], block.get("attn.qkv.bias")).chunk(3, dim=-1)
    if "attn.q_norm.weight" in block:
        query, key = _norm(block, "attn.q_norm", query), _norm(block, "attn.k_norm", key)
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    mixed = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1) @ value
    return F.linear(mixed.transpose(1, 2).flatten(2), block["attn.proj.weight"], block["attn.proj.bias"])
