"""What a backbone needs for shared rows: the kinds of attention it has, its positions, masks in its form.

Knows models and token ids, no problems and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..models import input_device, pad_rows
from .packing import PackedTree, additive_mask, block_mask, stack_masks
from .tree_attention import chunked

# Their image tokens (PaliGemma: the whole prompt) attend both ways, depending on token types; see `image_blocks`.
_BIDIRECTIONAL = ("gemma3", "paligemma")
_ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
_TAKES_MASKS = ("sdpa", "eager", "flex_attention")
# Configuration entries that limit what a token attends to by rules unknown here (GPT-Neo, Doge, DeepSeek V3.2).
_UNKNOWN_LIMITS = ("attention_types", "window_size", "keep_window_size", "index_topk")
TREE_KERNEL = "tree_fa3"  # TRL's fused attention over tree rows (trl.experimental.async_grpo, FlashAttention 3)


def attention_windows(model: PreTrainedModel) -> dict[str, int | None] | None:
    """Return the window of each type of attention layer, None for full attention; None if there are other layers."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        layer_types = ["full_attention" if window is None else "sliding_attention"]
    if set(layer_types) - _ATTENTION_LAYERS:
        return None
    return {name: window if name == "sliding_attention" else None for name in sorted(set(layer_types))}


def cache_obstacle(model: PreTrainedModel) -> str | None:
    """Return why no cache can be shared: the attention has a limit that short texts never reach; None if it has not."""
    config = model.config.get_text_config()
    limits = [name for name in _UNKNOWN_LIMITS if getattr(config, name, None)]
    return f"{_name(model)} limits its attention by {', '.join(limits)}, whose rule is unknown" if limits else None


def max_shared_length(model: PreTrainedModel) -> int | None:
    """Return the longest row that may share tokens: dynamic and longrope RoPE depend on a longer row's length."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    settings = [value for value in rope.values() if isinstance(value, dict)] or [rope]  # one per layer type, or one
    if not any(entry.get("rope_type") in ("dynamic", "longrope") for entry in settings):
        return None
    limits = [entry.get("original_max_position_embeddings") for entry in settings]
    limits.append(getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings)
    return min(limit for limit in limits if limit)


def forget_longer_rows(model: PreTrainedModel) -> None:
    """Reset dynamic RoPE: transformers applies the frequencies of the longest row so far to all later long rows."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_inv_freq"):
            module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)
            module.max_seq_len_cached = module.original_max_seq_len


def tree_obstacle(model: PreTrainedModel) -> str | None:
    """Return why the configuration rules out rows that branch, which need masks of our own; None if it does not."""
    if attention_windows(model) is None:
        names = sorted(set(model.config.get_text_config().layer_types) - _ATTENTION_LAYERS)
        return f"{_name(model)} has {', '.join(names)} layers, whose state cannot branch inside a row"
    implementation = model.config.get_text_config()._attn_implementation
    if implementation not in (*_TAKES_MASKS, TREE_KERNEL):
        return f"attn_implementation={implementation!r} takes no tree masks; use one of {', '.join(_TAKES_MASKS)}"
    return cache_obstacle(model)


def packed_obstacle(model: PreTrainedModel, extra: dict[str, Any] | None = None) -> str | None:
    """Return why prompt, images included, and solutions cannot be one packed row; None if they can.

    Args:
        model: A PRM.
        extra: The prompts' other inputs, from `MMPRMProcessor.encode_prompts`; None leaves them unchecked.
    """
    obstacle = tree_obstacle(model)
    if obstacle:
        return obstacle
    if uses_tree_kernel(model) and _is_bidirectional(model):
        return f"{TREE_KERNEL} is causal, and the images of {_name(model)} attend both ways"
    # The positions include token types of multi-axis RoPE already. What other types do to a model is unknown.
    known = {"mm_token_type_ids"} if hasattr(model.vlm, "get_rope_index") else set()
    known |= {"token_type_ids"} if _is_bidirectional(model) else set()
    unknown = sorted(name for name in extra or {} if name.endswith("type_ids") and name not in known)
    return f"{_name(model)} reads {', '.join(unknown)} of the whole prompt" if unknown else None


def uses_tree_kernel(model: PreTrainedModel) -> bool:
    """Whether the decoder runs TRL's fused tree attention, which takes tree rows instead of masks."""
    return model.config.get_text_config()._attn_implementation == TREE_KERNEL


def pair_cost(model: PreTrainedModel) -> float:
    """Return the rough cost of one query and key, two products, in units of a token's projections."""
    config = model.config.get_text_config()
    hidden, inner = config.hidden_size, getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner  # Gemma 3n: one width per layer
    return 2 * hidden / (4 * hidden**2 + 3 * hidden * inner)


def _name(model: PreTrainedModel) -> str:
    return type(getattr(model, "vlm", model)).__name__


def _is_bidirectional(model: PreTrainedModel) -> bool:
    return model.config.vlm_config.model_type in _BIDIRECTIONAL


def image_blocks(model: PreTrainedModel, type_ids: Sequence[int]) -> torch.Tensor:
    """Return the block number of each prompt token, -1 outside: tokens of a block attend to each other both ways.

    A block is one image in Gemma 3 and the whole prompt in PaliGemma; `type_ids` are the prompt's token types.
    """
    types = torch.tensor(type_ids)
    if model.config.vlm_config.model_type == "paligemma":
        return torch.where(types == 0, 0, -1)
    is_image = types == 1
    starts = is_image & ~torch.nn.functional.pad(is_image, (1, 0))[:-1]
    return torch.where(is_image, starts.cumsum(0) - 1, -1)


def attention_argument(model: PreTrainedModel, make_mask: Callable[[int | None], torch.Tensor]) -> Any:
    """Return a backbone's `attention_mask` for masks of our own: one mask, or a dict of masks by layer type.

    A mask is additive for sdpa and eager attention and a `BlockMask` for flex_attention. sdpa takes booleans too, but
    turns them into an additive mask again in every layer, and autograd keeps each of those for backward.

    Args:
        model: A PRM or its backbone without `tree_obstacle`.
        make_mask: From a window (None: full attention) to a boolean mask (batch, 1, query, key), True = attend.
    """
    implementation = model.config.get_text_config()._attn_implementation

    def mask_of(window: int | None) -> Any:
        mask = make_mask(window).to(input_device(model))
        if implementation == "flex_attention":
            return block_mask(mask)
        added = additive_mask(mask, model.dtype)
        # On a GPU, FlexAttention leaves out the same pairs in one kernel.
        is_whole = mask.shape[-1] == mask.shape[-2]
        return chunked(mask, added) if implementation == "sdpa" and is_whole and mask.device.type == "cpu" else added

    masks = {name: mask_of(window) for name, window in attention_windows(model).items()}
    return next(iter(masks.values())) if len(masks) == 1 else masks


def prompt_positions(model: PreTrainedModel, prompts: Sequence[Sequence[int]], extra: dict[str, Any]) -> list:
    """Return the position ids of each prompt: a long tensor (axes, length), with one axis unless RoPE has several.

    `prompts` are unpadded ids, image tokens included, and `extra` their other inputs from `encode_prompts`.
    """
    types = extra.get("mm_token_type_ids")
    if types is None or extra.get("image_grid_thw") is None or not hasattr(model.vlm, "get_rope_index"):
        num_axes = 3 if hasattr(model.vlm, "get_rope_index") else 1
        return [torch.arange(len(prompt)).expand(num_axes, -1) for prompt in prompts]
    positions, _ = model.vlm.get_rope_index(
        pad_rows(prompts, 0),
        mm_token_type_ids=pad_rows(types, 0),
        image_grid_thw=extra["image_grid_thw"],
        attention_mask=pad_rows([[1] * len(prompt) for prompt in prompts], 0),
    )  # (axes, batch, seq)
    return [positions[:, row, : len(prompt)] for row, prompt in enumerate(prompts)]


def positions_at(table: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Return the position ids (axes, *depths.shape) of tokens: the prompt's own, then one more per further token.

    `table` (axes, prompt length) is from `prompt_positions`; `depths` are the tokens' indices in their own sequences.
    """
    length = table.shape[1]
    if not length:  # the whole prompt is joined to the first step
        return depths.expand(table.shape[0], *depths.shape)
    after = table.max() + 1 + depths - length  # text continues all axes from the largest position so far
    return torch.where(depths < length, table[:, depths.clamp(max=length - 1)], after)


def stack_positions(rows: Sequence[torch.Tensor], width: int, padding_side: str = "right") -> torch.Tensor:
    """Return position tensors (axes, length) padded with 0 to (axes, batch, width); one axis gives (batch, width)."""
    missing = [width - row.shape[1] for row in rows]
    sides = [(0, number) if padding_side == "right" else (number, 0) for number in missing]
    stacked = torch.stack([torch.nn.functional.pad(row, side) for row, side in zip(rows, sides, strict=True)], dim=1)
    return stacked[0] if len(stacked) == 1 else stacked


def packed_inputs(
    model: PreTrainedModel,
    trees: Sequence[PackedTree],
    prompts: Sequence[Sequence[int]],
    extra: dict[str, Any],
    pad_token_id: int,
) -> dict[str, Any]:
    """Return model inputs for packed rows, one per problem, prompt and images included.

    Args:
        model: A PRM without `packed_obstacle`.
        trees: The rows; each begins with its prompt.
        prompts: Prompt ids per row.
        extra: The prompts' other inputs, from `MMPRMProcessor.encode_prompts`.
        pad_token_id: Fills a row's end.

    Raises:
        ValueError: if the backbone cannot take packed rows.
    """
    obstacle = packed_obstacle(model, extra)
    if obstacle:
        raise ValueError(f"Packed rows would be wrong: {obstacle}. Score or train on unpacked rows.")
    tables = prompt_positions(model, prompts, extra)
    positions = [positions_at(table, tree.position_ids) for table, tree in zip(tables, trees, strict=True)]
    blocks = [image_blocks(model, types) for types in extra.get("token_type_ids", ())]

    def make_mask(window: int | None) -> torch.Tensor:
        mask = stack_masks(trees, window=window)
        for row, block in enumerate(blocks):  # the prompt is at the beginning of its row
            size = len(block)
            mask[row, 0, :size, :size] |= (block[:, None] == block[None, :]) & (block[:, None] >= 0)
        return mask

    input_ids = pad_rows([tree.input_ids.tolist() for tree in trees], pad_token_id)  # (rows, width)
    inputs = {"input_ids": input_ids, "position_ids": stack_positions(positions, input_ids.shape[1])}
    vision = {name: value for name, value in extra.items() if not name.endswith("type_ids")}
    if not uses_tree_kernel(model):
        return {**inputs, "attention_mask": attention_argument(model, make_mask), **vision}
    if len(trees) > 1:
        raise ValueError(f"Found {len(trees)} packed rows; {TREE_KERNEL} takes one at a time. Batch one problem.")
    rows = trees[0].tree_rows()
    longest = rows.pop("tree_max_seqlens").tolist()
    return {**inputs, **rows, "tree_max_seqlen_q": longest[0], "tree_max_seqlen_k": longest[1], **vision}
