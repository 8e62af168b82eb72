"""Key-value caches of prefixes that many rows share, and the inputs of the rows behind them.

Knows models and token ids, no problems and no text.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from ..models import pad_rows
from .backbones import attention_argument, positions_at, stack_positions
from .packing import PackedTree, stack_masks


class SharedPrefixLayer(DynamicLayer):
    """A cache layer that contains prefixes and never changes: `update` returns their states and the new ones.

    So prefixes serve any number of forwards, and a copy of them for all rows lives only during its layer's attention.
    `prefix` has keys (problems, heads, prefix, head_dim); `owner` is the problem of each row, (rows,).
    """

    def __init__(self, prefix: DynamicLayer, owner: torch.Tensor):
        super().__init__()
        self.keys, self.values, self.owner = prefix.keys, prefix.values, owner.to(prefix.keys.device)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Return keys and values (rows, heads, prefix + new, head_dim)."""
        if self.keys.shape[0] == 1:
            prefixes = [old.expand(len(self.owner), -1, -1, -1) for old in (self.keys, self.values)]
        else:
            prefixes = [old.index_select(0, self.owner) for old in (self.keys, self.values)]
        return tuple(torch.cat(pair, dim=2) for pair in zip(prefixes, (key_states, value_states), strict=True))


@dataclasses.dataclass(frozen=True)
class CachedPrefixes:
    """Prefixes of several problems after their forward, padded on the left.

    Args:
        cache: Their key-value cache; no forward behind it changes it.
        mask: (problems, width), 1 at tokens.
        lengths: Tokens of each prefix.
        tables: Position tables of the prompts, see `prompt_positions`.
        branches: Whether the rows behind them branch, kept apart by masks. False: each row is one solution, on its own
            copy of the cache.
    """

    cache: DynamicCache
    mask: torch.Tensor
    lengths: Sequence[int]
    tables: Sequence[torch.Tensor]
    branches: bool

    def cache_for(self, owner: torch.Tensor) -> DynamicCache:
        """Return a cache for rows that continue these prefixes; `owner` is the problem of each row, (rows,)."""
        if self.branches:
            cache = DynamicCache()
            cache.layers = [SharedPrefixLayer(layer, owner) for layer in self.cache.layers]
        else:
            cache = copy.deepcopy(self.cache)
            cache.reorder_cache(owner)
        return cache


def new_prefix_cache(model: PreTrainedModel, branches: bool) -> DynamicCache:
    """Return an empty cache: whole keys in every layer if rows will branch, else the backbone's own kinds of layers."""
    return DynamicCache() if branches else DynamicCache(config=model.config)


def run_prefixes(
    model: PreTrainedModel,
    processor: Any,
    prefixes: Sequence[Sequence[int]],
    tables: Sequence[torch.Tensor],
    extra: dict[str, Any],
    branches: bool,
) -> tuple[CachedPrefixes, list[list[float]]]:
    """Return prefixes (token ids, each a prompt and perhaps steps) after one forward, and `token_scores` of each.

    `tables` are the `prompt_positions` of their prompts, `extra` the prompts' other inputs.
    """
    batch = processor.pad(prefixes, extra, padding_side="left")
    width = batch["input_ids"].shape[1]
    lengths = [len(prefix) for prefix in prefixes]
    positions = [positions_at(table, torch.arange(length)) for table, length in zip(tables, lengths, strict=True)]
    cache = new_prefix_cache(model, branches)
    inputs = {**batch, "position_ids": stack_positions(positions, width, "left"), "cache": cache}
    scores = token_scores(model, inputs, use_cache=True)
    cached = CachedPrefixes(cache, batch["attention_mask"], lengths, tables, branches)
    return cached, [scores[row, width - length :].tolist() for row, length in enumerate(lengths)]


def suffix_inputs(
    model: PreTrainedModel,
    prefixes: CachedPrefixes,
    trees: Sequence[PackedTree],
    owners: Sequence[int],
    pad_token_id: int,
) -> dict[str, Any]:
    """Return model inputs for rows that follow cached prefixes.

    The depths of `trees`, which are the rows, count from the end of the prefix; `owners` is the problem of each row.
    """
    owner = torch.tensor(owners)
    input_ids = pad_rows([tree.input_ids.tolist() for tree in trees], pad_token_id)  # (rows, suffix)
    width = input_ids.shape[1]
    positions = [
        positions_at(prefixes.tables[p], tree.position_ids + prefixes.lengths[p])
        for p, tree in zip(owners, trees, strict=True)
    ]
    seen = prefixes.mask[owner]  # (rows, prefix)
    if not prefixes.branches:
        attention: Any = torch.cat([seen, pad_rows([[1] * len(tree) for tree in trees], 0)], dim=1)
    else:
        columns = torch.arange(seen.shape[1]) - seen.shape[1]  # distance to the prefix's end, negative

        def make_mask(window: int | None) -> torch.Tensor:
            before = seen.bool()[:, None, None, :].expand(-1, 1, width, -1)  # (rows, 1, suffix, prefix)
            if window is not None:
                depths = pad_rows([tree.position_ids.tolist() for tree in trees], 0)  # (rows, suffix)
                before = before & (depths[:, None, :, None] - columns < window)
            return torch.cat([before, stack_masks(trees, window=window)], dim=-1)

        attention = attention_argument(model, make_mask)
    return {
        "input_ids": input_ids,
        "position_ids": stack_positions(positions, width),
        "attention_mask": attention,
        "cache": prefixes.cache_for(owner.to(model.device)),
    }


def token_scores(model: PreTrainedModel, inputs: dict[str, Any], use_cache: bool = False) -> torch.Tensor:
    """Return the step score at every marker of `inputs` and zero elsewhere: (batch, seq), float32, on the CPU."""
    scores = torch.cat(model(**to_device(inputs, model.device), use_cache=use_cache).step_scores())
    values = torch.zeros(inputs["input_ids"].shape)
    values[inputs["input_ids"].cpu() == model.config.marker_token_id] = scores.float().cpu()
    return values


def to_device(value: Any, device: torch.device) -> Any:
    """Return tensors, also those in dicts, moved to a device, and anything else as it is."""
    if isinstance(value, dict):
        return {name: to_device(entry, device) for name, entry in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value
