"""Weights of original InternVL chat checkpoints: names, fused matrices, and the check that every key is known.

Tensors are renamed and split, never computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..models import MMPRMConfig

HEAD_KEYS = {
    "InternLM2ForCausalLM": "language_model.output.weight",
    "Qwen2ForCausalLM": "language_model.lm_head.weight",
}
EMBEDDING_KEYS = {
    "InternLM2ForCausalLM": "language_model.model.tok_embeddings.weight",
    "Qwen2ForCausalLM": "language_model.model.embed_tokens.weight",
}
_MAX_LISTED = 20  # keys of each kind that an error names

# (piece of our key, piece of the original's), applied in order
_VISION_NAMES = (
    ("vlm.vision_tower.", "vision_model."),
    ("embeddings.cls_token", "embeddings.class_embedding"),
    ("embeddings.position_embeddings", "embeddings.position_embedding"),
    ("patch_embeddings.projection", "patch_embedding"),
    ("encoder.layer.", "encoder.layers."),
    ("attention.q_proj", "attn.qkv"),
    ("attention.k_proj", "attn.qkv"),
    ("attention.v_proj", "attn.qkv"),
    ("attention.projection_layer", "attn.proj"),
    ("attention.q_norm", "attn.q_norm"),
    ("attention.k_norm", "attn.k_norm"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("lambda_1", "ls1"),
    ("lambda_2", "ls2"),
)
_PROJECTOR_NAMES = (
    ("vlm.multi_modal_projector.layer_norm", "mlp1.0"),
    ("vlm.multi_modal_projector.linear_1", "mlp1.1"),
    ("vlm.multi_modal_projector.linear_2", "mlp1.3"),
)
_TEXT_NAMES = {
    "InternLM2ForCausalLM": (
        ("vlm.language_model.", "language_model.model."),
        ("embed_tokens", "tok_embeddings"),
        ("self_attn.q_proj", "attention.wqkv"),
        ("self_attn.k_proj", "attention.wqkv"),
        ("self_attn.v_proj", "attention.wqkv"),
        ("self_attn.o_proj", "attention.wo"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ),
    "Qwen2ForCausalLM": (("vlm.language_model.", "language_model.model."),),
}


class Checkpoint:
    """One or several safetensors files, read by key; tensors stay on disk until they are used.

    Attributes:
        shapes: Shape of each tensor by key.
    """

    def __init__(self, source: str | os.PathLike):
        index = Path(source, "model.safetensors.index.json")
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values() if index.is_file() else ()
        names = sorted(set(shards)) or ["model.safetensors"]
        missing = [name for name in names if not Path(source, name).is_file()]
        if missing:
            raise ValueError(
                f"{str(source)!r} lacks {missing}. Download every weight file; weights must be safetensors (save .bin "
                "files again with safe_serialization=True)."
            )
        files = [safe_open(str(Path(source, name)), framework="pt") for name in names]
        self._file_of = {key: file for file in files for key in file.keys()}  # noqa: SIM118
        self.shapes = {key: tuple(file.get_slice(key).get_shape()) for key, file in self._file_of.items()}

    def tensor(self, key: str) -> torch.Tensor:
        return self._file_of[key].get_tensor(key)

    def rows(self, key: str, indices: list[int]) -> torch.Tensor:
        """Return single rows, (len(indices), hidden), without reading the whole matrix."""
        matrix = self._file_of[key].get_slice(key)
        return torch.cat([matrix[index : index + 1] for index in indices])


def original_key(name: str, architecture: str) -> str:
    """Return the original file's key of our backbone parameter `name`; several may share one fused tensor.

    Example:
        >>> original_key("vlm.language_model.layers.3.self_attn.k_proj.weight", "InternLM2ForCausalLM")
        'language_model.model.layers.3.attention.wqkv.weight'
    """
    for names in (_VISION_NAMES, _PROJECTOR_NAMES, _TEXT_NAMES[architecture]):
        first = names[0][0].split(".")[1]
        if name.startswith(f"vlm.{first}."):
            for ours, theirs in names:
                name = name.replace(ours, theirs)
            return name
    raise AssertionError(f"no part of the original contains {name}")


def convert_weights(
    checkpoint: Checkpoint,
    original: Mapping[str, Any],
    config: MMPRMConfig,
    targets: Mapping[str, torch.Size],
    token_ids: Mapping[str, int],
) -> tuple[dict[str, torch.Tensor], torch.dtype]:
    """Return our state dict and its dtype, after every key and shape has been checked."""
    architecture = original["llm_config"]["architectures"][0]
    parts: dict[str, list[str]] = {}  # original key -> our keys, in the order of the rows
    for name in targets:
        if not name.startswith("score."):
            parts.setdefault(original_key(name, architecture), []).append(name)
    expected = {key: (sum(targets[name][0] for name in names), *targets[names[0]][1:]) for key, names in parts.items()}
    text = config.get_text_config()
    head_key = HEAD_KEYS[architecture]
    is_tied = bool(original["llm_config"].get("tie_word_embeddings"))
    if is_tied and head_key not in checkpoint.shapes:
        head_key = EMBEDDING_KEYS[architecture]
    expected[head_key] = (text.vocab_size, text.hidden_size)
    _check_keys(checkpoint, expected)
    out_of_range = {role: index for role, index in token_ids.items() if not 0 <= index < text.vocab_size}
    if out_of_range:
        raise ValueError(
            f"Token ids {out_of_range} do not fit the {text.vocab_size} rows of the embedding. Use the tokenizer that "
            "was saved with these weights."
        )
    state = {}
    for key, names in parts.items():
        tensor = checkpoint.tensor(key)
        pieces = [tensor]
        if key.rsplit(".", 1)[0].endswith("attn.qkv"):
            pieces = [piece.clone() for piece in tensor.chunk(3)]
        elif len(names) > 1:
            pieces = split_wqkv(tensor, text.num_attention_heads, text.num_key_value_heads)
        state.update(zip(names, pieces, strict=True))
    state["score.weight"] = checkpoint.rows(head_key, [token_ids["positive"], token_ids["negative"]])
    dtypes = {tensor.dtype for tensor in state.values()}
    if len(dtypes) > 1:
        raise ValueError(f"Found weights of dtypes {sorted(map(str, dtypes))}, expected one. Save them in one dtype.")
    return state, dtypes.pop()


def split_wqkv(wqkv: torch.Tensor, num_heads: int, num_kv_heads: int) -> list[torch.Tensor]:
    """Return query, key and value rows of InternLM2's fused weight or bias.

    Its rows are (kv_heads, groups + 2, head_dim): the queries of a key head, then its key, then its value.

    Args:
        wqkv: ((heads + 2 * kv_heads) * head_dim, hidden), or a bias without the last axis.
        num_heads: Query heads.
        num_kv_heads: Key and value heads; divides `num_heads`.

    Returns:
        ``[query, key, value]``, each (its heads * head_dim, hidden).
    """
    groups = num_heads // num_kv_heads
    rows = wqkv.unflatten(0, (num_kv_heads, groups + 2, -1))  # (kv_heads, groups + 2, head_dim, ...)
    parts = rows[:, :groups].flatten(0, 1), rows[:, groups], rows[:, groups + 1]
    return [part.flatten(0, 1).clone() for part in parts]


def _check_keys(checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a file whose keys and shapes are not exactly the expected ones, listing the differences."""
    shapes = checkpoint.shapes
    misshapen = sorted(key for key in shapes.keys() & expected.keys() if shapes[key] != expected[key])
    differences = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "extra": sorted(shapes.keys() - expected.keys()),
        "of another shape": [f"{key} {shapes[key]} instead of {expected[key]}" for key in misshapen],
    }
    lists = []
    for kind, names in differences.items():
        if names:
            more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
            lists.append(f"{len(names)} {kind}: {', '.join(names[:_MAX_LISTED])}{more}")
    if lists:
        raise ValueError(
            f"The weights do not fit config.json. {'; '.join(lists)}. Check that config and weights belong together, "
            "and merge adapters first."
        )
