"""What a backbone needs for packed rows: which attention it has, positions of its kind, masks in its form.

Knows models and token ids, no problems and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..models import pad_rows
from .packing import PackedTree, additive_mask, block_mask, stack_ids, stack_masks
from .tree_attention import chunked

# Their image tokens (PaliGemma: the whole prompt) attend both ways, as token types tell; `image_blocks` knows how.
_BIDIRECTIONAL = ("gemma3", "paligemma")
_TAKES_MASKS = ("sdpa", "eager", "flex_attention")
# Configuration entries that bound what a token sees in a way that no rule here knows (GPT-Neo, Doge, DeepSeek V3.2).
_UNKNOWN_LIMITS = ("attention_types", "window_size", "keep_window_size", "index_topk")
TREE_KERNEL = "tree_fa3"  # TRL's fused attention over tree rows (trl.experimental.async_grpo, FlashAttention 3)


def attention_windows(model: PreTrainedModel) -> dict[str, int | None] | None:
    """Window of each kind of attention layer, None for full attention; None if there are other kinds of layers.

    Args:
        model: A PRM or its backbone.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["full_attention" if window is None else "sliding_attention"]
    if set(kinds) - {"full_attention", "sliding_attention"}:
        return None
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


def why_not_shared_at_any_length(model: PreTrainedModel) -> str | None:
    """Why no cache may be shared: the attention has a limit of its own kind, which short texts never reach."""
    config = model.config.get_text_config()
    found = [name for name in _UNKNOWN_LIMITS if getattr(config, name, None)]
    return f"{_name(model)} limits its attention by {', '.join(found)}, which is not known here" if found else None


def max_shared_length(model: PreTrainedModel) -> int | None:
    """Tokens up to which a row may share: beyond, dynamic and longrope RoPE change with the row's own length."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    per_kind = [value for value in rope.values() if isinstance(value, dict)] or [rope]
    if not any(one.get("rope_type") in ("dynamic", "longrope") for one in per_kind):
        return None
    limits = [one.get("original_max_position_embeddings") for one in per_kind]
    limits.append(getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings)
    return min(limit for limit in limits if limit)


def forget_longer_rows(model: PreTrainedModel) -> None:
    """Sets dynamic RoPE back: transformers keeps the frequencies of the longest row so far for all later long ones."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_inv_freq"):
            module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)
            module.max_seq_len_cached = module.original_max_seq_len


def why_no_tree(model: PreTrainedModel) -> str | None:
    """Why the configuration rules out ``tree`` (packed rows, masks of our own); None where it does not."""
    if attention_windows(model) is None:
        kinds = sorted(set(model.config.get_text_config().layer_types) - {"full_attention", "sliding_attention"})
        return f"{_name(model)} has {', '.join(kinds)} layers, whose state cannot branch inside a row"
    implementation = model.config.get_text_config()._attn_implementation
    if implementation not in (*_TAKES_MASKS, TREE_KERNEL):
        return f"attn_implementation={implementation!r} takes no tree masks; use one of {', '.join(_TAKES_MASKS)}"
    return why_not_shared_at_any_length(model)


def why_not_packed(model: PreTrainedModel, extra: dict[str, Any] | None = None) -> str | None:
    """Why prompt and solutions cannot be one packed row (images included); None where they can.

    Args:
        model: A PRM.
        extra: The prompts' other inputs, of `MMPRMProcessor.encode_prompts`.
    """
    reason = why_no_tree(model)
    if reason is None and uses_tree_kernel(model) and _is_bidirectional(model):
        reason = f"{TREE_KERNEL} is causal, and the images of {_name(model)} attend both ways"
    # Token types of multi-axis positions are in the positions already. What others do to a model is not known.
    known = {"mm_token_type_ids"} if hasattr(model.vlm, "get_rope_index") else set()
    known |= {"token_type_ids"} if _is_bidirectional(model) else set()
    unknown = sorted(name for name in extra or {} if name.endswith("type_ids") and name not in known)
    return reason or (f"{_name(model)} reads {', '.join(unknown)} of the whole prompt" if unknown else None)


def uses_tree_kernel(model: PreTrainedModel) -> bool:
    """Whether the decoder runs TRL's fused tree attention, which takes tree rows and no masks."""
    return model.config.get_text_config()._attn_implementation == TREE_KERNEL


def pair_cost(model: PreTrainedModel) -> float:
    """Work of one query and key over that of one token, roughly: attention's two products against all projections."""
    config = model.config.get_text_config()
    hidden, inner = config.hidden_size, getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner  # Gemma 3n: one width per layer
    return 2 * hidden / (4 * hidden**2 + 3 * hidden * inner)


def _name(model: PreTrainedModel) -> str:
    return type(getattr(model, "vlm", model)).__name__


def _is_bidirectional(model: PreTrainedModel) -> bool:
    return model.config.vlm_config.model_type in _BIDIRECTIONAL


def image_blocks(model: PreTrainedModel, type_ids: Sequence[int]) -> torch.Tensor:
    """Block number of each prompt token, -1 outside: tokens of one block attend to each other both ways.

    Args:
        model: A PRM over Gemma 3 (a block is one image) or PaliGemma (the block is the whole prompt).
        type_ids: `token_type_ids` of one prompt.
    """
    types = torch.tensor(type_ids)
    if model.config.vlm_config.model_type == "paligemma":
        return torch.where(types == 0, 0, -1)
    is_image = types == 1
    starts = is_image & ~torch.nn.functional.pad(is_image, (1, 0))[:-1]
    return torch.where(is_image, starts.cumsum(0) - 1, -1)


def attention_argument(model: PreTrainedModel, make_mask: Callable[[int | None], torch.Tensor]) -> Any:
    """`attention_mask` for a backbone with masks of our own: one mask, or a dict of them by kind of layer.

    A mask is additive for sdpa and eager attention, a `BlockMask` for flex_attention. sdpa takes a boolean too, but
    makes an additive one of it in every layer anew, each of which autograd keeps for backward.

    Args:
        model: A PRM or its backbone, for which `attention_windows` is known.
        make_mask: From a window (None: full attention) to a boolean mask (batch, 1, query, key), True = attend.
    """
    implementation = model.config.get_text_config()._attn_implementation

    def finished(window: int | None) -> Any:
        mask = make_mask(window).to(model.device)
        if implementation == "flex_attention":
            return block_mask(mask)
        added = additive_mask(mask, model.dtype)
        # On a GPU FlexAttention leaves out the same, in one kernel.
        is_whole = mask.shape[-1] == mask.shape[-2]
        return chunked(mask, added) if implementation == "sdpa" and is_whole and mask.device.type == "cpu" else added

    masks = {kind: finished(window) for kind, window in attention_windows(model).items()}
    return next(iter(masks.values())) if len(masks) == 1 else masks


def prompt_positions(model: PreTrainedModel, prompts: Sequence[Sequence[int]], extra: dict[str, Any]) -> list:
    """Position ids of each prompt's tokens: a long tensor (axes, length) per prompt; one axis but for multi-axis RoPE.

    Args:
        model: A PRM.
        prompts: Unpadded prompt ids, image tokens included.
        extra: The prompts' other inputs, of `MMPRMProcessor.encode_prompts`.
    """
    types = extra.get("mm_token_type_ids")
    plain = [torch.arange(len(prompt))[None] for prompt in prompts]
    if not hasattr(model.vlm, "get_rope_index"):
        return plain
    num_axes = 3
    if types is None or extra.get("image_grid_thw") is None:
        return [positions.expand(num_axes, -1) for positions in plain]
    positions, _ = model.vlm.get_rope_index(
        pad_rows(prompts, 0),
        mm_token_type_ids=pad_rows(types, 0),
        image_grid_thw=extra["image_grid_thw"],
        attention_mask=pad_rows([[1] * len(prompt) for prompt in prompts], 0),
    )  # (axes, batch, seq)
    return [positions[:, row, : len(prompt)] for row, prompt in enumerate(prompts)]


def positions_at(table: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Position ids at depths of a solution's row: the prompt's own, then one more for each further token.

    Args:
        table: (axes, prompt length), of `prompt_positions`.
        depths: Long tensor of any shape: index of the token in its own sequence.

    Returns:
        (axes, *depths.shape).
    """
    length = table.shape[1]
    if not length:  # a prompt of which all is joined to the first step
        return depths.expand(table.shape[0], *depths.shape)
    after = table.max() + 1 + depths - length  # text moves all axes on from the largest position so far
    return torch.where(depths < length, table[:, depths.clamp(max=length - 1)], after)


def stack_positions(rows: Sequence[torch.Tensor], width: int, padding_side: str = "right") -> torch.Tensor:
    """Position tensors (axes, length) padded with 0 to (axes, batch, width), or (batch, width) for one axis."""
    stacked = torch.zeros(rows[0].shape[0], len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        length = row.shape[1]
        stacked[:, index, slice(0, length) if padding_side == "right" else slice(width - length, width)] = row
    return stacked[0] if stacked.shape[0] == 1 else stacked


def packed_inputs(
    model: PreTrainedModel,
    trees: Sequence[PackedTree],
    prompts: Sequence[Sequence[int]],
    extra: dict[str, Any],
    pad_token_id: int,
) -> dict[str, Any]:
    """Model inputs for packed rows, one per problem, prompt and images included.

    Args:
        model: A PRM that `why_not_packed` lets pass.
        trees: The rows; each begins with its prompt.
        prompts: Prompt ids per row.
        extra: The prompts' other inputs, of `MMPRMProcessor.encode_prompts`.
        pad_token_id: Fills a row's end.

    Raises:
        ValueError: if the backbone cannot take packed rows.
    """
    reason = why_not_packed(model, extra)
    if reason:
        raise ValueError(f"Packed rows would be wrong: {reason}. Score or train on unpacked rows.")
    ids = stack_ids(trees, pad_token_id)
    width = ids["input_ids"].shape[1]
    tables = prompt_positions(model, prompts, extra)
    positions = [positions_at(table, tree.position_ids) for table, tree in zip(tables, trees, strict=True)]
    blocks = [image_blocks(model, types) for types in extra.get("token_type_ids", ())]

    def make_mask(window: int | None) -> torch.Tensor:
        mask = stack_masks(trees, window=window)
        for row, block in enumerate(blocks):  # the prompt opens its row
            size = len(block)
            mask[row, 0, :size, :size] |= (block[:, None] == block[None, :]) & (block[:, None] >= 0)
        return mask

    inputs = {"input_ids": ids["input_ids"], "position_ids": stack_positions(positions, width)}
    vision = {name: value for name, value in extra.items() if not name.endswith("type_ids")}
    if not uses_tree_kernel(model):
        return {**inputs, "attention_mask": attention_argument(model, make_mask), **vision}
    if len(trees) > 1:
        raise ValueError(f"Found {len(trees)} packed rows; {TREE_KERNEL} takes one at a time. Batch one problem.")
    rows = trees[0].tree_rows()
    longest = rows.pop("tree_max_seqlens").tolist()
    return {**inputs, **rows, "tree_max_seqlen_q": longest[0], "tree_max_seqlen_k": longest[1], **vision}


__all__ = [
    "attention_argument",
    "attention_windows",
    "forget_longer_rows",
    "image_blocks",
    "max_shared_length",
    "packed_inputs",
    "pair_cost",
    "positions_at",
    "prompt_positions",
    "stack_positions",
    "uses_tree_kernel",
    "why_no_tree",
    "why_not_packed",
    "why_not_shared_at_any_length",
]
