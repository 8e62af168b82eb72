"""The decoding loop's state: many samples behind one prompt in one row of the key/value cache, and the draw of tokens.

Knows token ids and logits, but no problems and no text.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ..models import cache_argument
from .requests import SamplingConfig


class DecodingRows:
    """The model's state while sampling: `width` samples per cache row behind one prompt.

    The cache of a row holds the prompt (length L), then for each step one column per slot; slot s may attend the
    prompt and the columns congruent to s. With `is_shared` False the width is 1 and a plain 2D mask is enough.
    """

    def __init__(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        prompt_of_row: list[int],
        width: int,
        is_shared: bool,
        sampling: SamplingConfig,
    ) -> None:
        self.model, self.width, self.is_shared, self.num_steps = model, width, is_shared, 0
        self.max_steps = sampling.max_new_tokens
        self.cache, self.cache_argument = DynamicCache(config=model.config), cache_argument(model)
        if is_shared:
            self.cache.layers = [_GrowingLayer() for _ in self.cache.layers]
        mask = inputs.pop("attention_mask")  # (prompts, L)
        positions = _prompt_positions(model, inputs, mask)  # (prompts, L), or (axes, prompts, L)
        output = model(
            **inputs,
            attention_mask=mask,
            position_ids=positions,
            **{self.cache_argument: self.cache},
            use_cache=True,
            logits_to_keep=1,
        )
        index = torch.tensor(prompt_of_row, device=mask.device)
        if prompt_of_row != list(range(len(mask))):
            self.cache.reorder_cache(index)
        # Text moves all axes on from the largest position so far.
        largest = positions.amax(-1) if positions.dim() == 2 else positions.amax((0, 2))  # (prompts,)
        self.num_axes = None if positions.dim() == 2 else positions.shape[0]
        self.prompt_mask, self.next_positions = mask[index], largest[index, None] + 1  # (rows, L), (rows, 1)
        self.logits = output.logits[index, -1:].expand(-1, width, -1)  # (rows, width, vocab)
        self._build_mask()

    def _build_mask(self) -> None:
        """Build the mask of all steps; each step takes a slice of its columns."""
        num_rows, prompt_length = self.prompt_mask.shape
        if not self.is_shared:
            self.mask = torch.cat([self.prompt_mask, self.prompt_mask.new_ones(num_rows, self.max_steps)], dim=1)
            return
        prompt = self.prompt_mask.bool()[:, None, None, :].expand(num_rows, 1, self.width, prompt_length)
        own = torch.eye(self.width, dtype=torch.bool, device=prompt.device).repeat(1, self.max_steps)
        mask = torch.cat([prompt, own.expand(num_rows, 1, -1, -1)], dim=-1)  # (rows, 1, width, L + width * max_steps)
        if self.model.config.get_text_config()._attn_implementation == "eager":  # eager adds its mask
            additive = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device)
            mask = additive.masked_fill(~mask, torch.finfo(self.model.dtype).min)
        self.mask = mask

    def advance(self, token_ids: torch.Tensor) -> None:
        """Feed one token per slot, (rows, width), and hold the next logits."""
        num_columns = self.prompt_mask.shape[1] + self.width * (self.num_steps + 1)
        positions = (self.next_positions + self.num_steps).expand(-1, self.width)  # (rows, width)
        if self.num_axes is not None:
            positions = positions.expand(self.num_axes, -1, -1)
        output = self.model(
            input_ids=token_ids,
            attention_mask=self.mask[..., :num_columns],
            position_ids=positions,
            **{self.cache_argument: self.cache},
            use_cache=True,
        )
        self.num_steps += 1
        self.logits = output.logits

    def compact(self, kept_rows: list[int], kept_slots: list[list[int]], token_ids: torch.Tensor) -> torch.Tensor:
        """Keep these rows and, in each, these slots; return their `token_ids`, (rows, width)."""
        rows = torch.tensor(kept_rows, device=token_ids.device)
        slots = torch.tensor(kept_slots, device=token_ids.device)
        if self.is_shared:
            for layer in self.cache.layers:
                layer.keep(rows, slots, self.prompt_mask.shape[1], self.width)
        else:
            self.cache.reorder_cache(rows)
        self.prompt_mask, self.next_positions = self.prompt_mask[rows], self.next_positions[rows]
        self.width = slots.shape[1]
        self._build_mask()
        return token_ids[rows].gather(1, slots)


class _GrowingLayer(DynamicLayer):
    """A cache layer that appends in place: torch.cat per step would copy the whole cache for every token.

    `keys` and `values` are views, (rows, heads, length, head_dim), into buffers that double when full.
    """

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._hold((key_states, value_states))
            return self.keys, self.values
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if end > self.buffers[0].shape[2]:
            self.buffers = tuple(self._enlarged(old, 2 * end) for old in (self.keys, self.values))
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def reorder_cache(self, beam_idx):
        self._hold(old.index_select(0, beam_idx) for old in (self.keys, self.values))

    def keep(self, rows, slots, prompt_length, width):
        """Keep the prompt's columns and those of `slots`, (rows, new width), in `rows`."""
        self._hold(self._selected(old, rows, slots, prompt_length, width) for old in (self.keys, self.values))

    def _hold(self, buffers):
        self.buffers = tuple(buffers)
        self.keys, self.values = self.buffers

    @staticmethod
    def _enlarged(old, length):
        buffer = old.new_empty((*old.shape[:2], length, old.shape[3]))
        buffer[:, :, : old.shape[2]] = old
        return buffer

    @staticmethod
    def _selected(old, rows, slots, prompt_length, width):
        old = old.index_select(0, rows)
        steps = old[:, :, prompt_length:].unflatten(2, (-1, width))  # (rows, heads, steps, width, head_dim)
        index = slots[:, None, None, :, None].expand(-1, *steps.shape[1:3], -1, steps.shape[4])
        return torch.cat([old[:, :, :prompt_length], steps.gather(3, index).flatten(2, 3)], dim=2)


def _prompt_positions(model: Any, inputs: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Position ids of left-padded prompts: (prompts, L), or (axes, prompts, L) for models with multi-axis positions."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    backbone = getattr(model, "model", model)
    if not hasattr(backbone, "get_rope_index"):
        return positions
    if "image_grid_thw" not in inputs:
        return positions.expand(3, -1, -1)
    return backbone.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=mask,
    )[0]


def check_positions(model: Any) -> None:
    """Refuse a model whose multi-axis positions are computed from other inputs than these.

    Raises:
        ValueError: naming the model.
    """
    backbone = getattr(model, "model", model)
    if not hasattr(backbone, "get_rope_index"):
        return
    names = inspect.signature(backbone.get_rope_index).parameters
    if not {"mm_token_type_ids", "image_grid_thw", "attention_mask"} <= names.keys():
        raise ValueError(
            f"{type(model).__name__} computes its positions from {', '.join(names)}, which this engine cannot give. "
            "Run it behind a server (EndpointEngine)."
        )


def can_share_rows(model: Any) -> bool:
    """Return whether every layer honours a 4D mask: full attention under sdpa or eager."""
    layers = DynamicCache(config=model.config).layers
    attention = model.config.get_text_config()._attn_implementation
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers) and attention in ("sdpa", "eager")


def draw(logits: torch.Tensor, draws: list[list[float]], sampling: SamplingConfig) -> torch.Tensor:
    """Return token ids, (rows, width), from logits, (rows, width, vocab), by the inverse CDF at `draws` in [0, 1)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    scores = logits.float() / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[..., -1:], float("-inf"))
    probs = scores.softmax(dim=-1)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        is_outside = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        probs = probs.masked_fill(torch.zeros_like(is_outside).scatter(-1, order, is_outside), 0.0)
    cdf = probs.double().cumsum(dim=-1)
    target = torch.tensor(draws, dtype=cdf.dtype, device=cdf.device)[..., None] * cdf[..., -1:]
    return torch.searchsorted(cdf, target, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
