"""Key-value caches of prefixes that many rows share: read-only behind rows, or one growing row of a search's tokens.

Knows models and token ids, no problems and no text.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from .backbones import attention_argument, positions_at, prompt_positions, stack_positions
from .packing import PackedTree, stack_ids, stack_masks

# "tree": rows branch inside, kept apart by masks; "chain": each row is one solution on its own copy of the cache.
CacheSharing = Literal["tree", "chain"]


class SharedPrefixLayer(DynamicLayer):
    """A cache layer that holds a prefix and never changes: `update` returns the prefix's states and the new ones.

    So one prefix serves any number of forwards, and no copy for all rows lives longer than its layer's attention.

    Args:
        prefix: The layer of a cache after the prefix's forward; keys (problems, heads, prefix, head_dim).
        owner: Problem of each row of the coming forward, (rows,).
    """

    def __init__(self, prefix: DynamicLayer, owner: torch.Tensor):
        super().__init__()
        self.keys, self.values, self.owner = prefix.keys, prefix.values, owner.to(prefix.keys.device)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Keys and values (rows, heads, prefix + new, head_dim)."""
        if self.keys.shape[0] == 1:
            prefixes = [old.expand(len(self.owner), -1, -1, -1) for old in (self.keys, self.values)]
        else:
            prefixes = [old.index_select(0, self.owner) for old in (self.keys, self.values)]
        return tuple(torch.cat(pair, dim=2) for pair in zip(prefixes, (key_states, value_states), strict=True))


def shared_prefix_cache(prefix: DynamicCache, owner: torch.Tensor) -> DynamicCache:
    """A cache for rows that continue the prefixes of `prefix`; it leaves `prefix` as it is."""
    cache = DynamicCache()
    cache.layers = [SharedPrefixLayer(layer, owner) for layer in prefix.layers]
    return cache


def new_prefix_cache(model: PreTrainedModel, sharing: CacheSharing) -> DynamicCache:
    """An empty cache for a prefix: whole keys in every layer for ``tree``, the backbone's own layers for ``chain``."""
    return DynamicCache() if sharing == "tree" else DynamicCache(config=model.config)


def suffix_inputs(
    model: PreTrainedModel,
    trees: Sequence[PackedTree],
    owner: torch.Tensor,
    prefix_mask: torch.Tensor,
    positions: Sequence[torch.Tensor],
    prefix: DynamicCache,
    sharing: CacheSharing,
    pad_token_id: int,
) -> dict[str, Any]:
    """Model inputs for rows that follow cached prefixes.

    Args:
        model: A PRM or its backbone.
        trees: The rows, depths counted from the prefix's end; chains under ``chain``.
        owner: Problem of each row, (rows,).
        prefix_mask: (problems, prefix), 1 at tokens; prefixes are padded on the left.
        positions: Position ids of each row's tokens, (axes, length).
        prefix: The prefixes' cache.
        sharing: "tree" or "chain".
        pad_token_id: Fills a row's end.
    """
    input_ids = stack_ids(trees, pad_token_id)["input_ids"]  # (rows, suffix)
    width = input_ids.shape[1]
    inputs = {"input_ids": input_ids, "position_ids": stack_positions(positions, width)}
    seen = prefix_mask[owner]  # (rows, prefix)
    if sharing == "chain":
        cache = copy.deepcopy(prefix)
        cache.reorder_cache(owner.to(model.device))
        own = torch.tensor([[1] * len(tree) + [0] * (width - len(tree)) for tree in trees])
        return {**inputs, "attention_mask": torch.cat([seen, own], dim=1), "cache": cache}
    columns = torch.arange(seen.shape[1]) - seen.shape[1]  # distance to the prefix's end, negative

    def make_mask(window: int | None) -> torch.Tensor:
        before = seen.bool()[:, None, None, :].expand(-1, 1, width, -1)  # (rows, 1, suffix, prefix)
        if window is not None:
            depths = stack_ids(trees, 0)["position_ids"]  # (rows, suffix)
            before = before & (depths[:, None, :, None] - columns < window)
        return torch.cat([before, stack_masks(trees, window=window)], dim=-1)

    return {
        **inputs,
        "attention_mask": attention_argument(model, make_mask),
        "cache": shared_prefix_cache(prefix, owner),
    }


def token_scores(model: PreTrainedModel, inputs: dict[str, Any], use_cache: bool = False) -> torch.Tensor:
    """The PRM's step score at every marker of `inputs`, zero elsewhere: (batch, seq), float32, on the CPU."""
    scores = torch.cat(model(**to_device(inputs, model.device), use_cache=use_cache).step_scores())
    values = torch.zeros(inputs["input_ids"].shape)
    values[inputs["input_ids"].cpu() == model.config.marker_token_id] = scores.float().cpu()
    return values


def run_prefixes(
    model: PreTrainedModel,
    processor: Any,
    prefixes: Sequence[Sequence[int]],
    tables: Sequence[torch.Tensor],
    extra: dict[str, Any],
    sharing: CacheSharing,
) -> tuple[DynamicCache, torch.Tensor, list[list[float]]]:
    """Runs prefixes (each a prompt and maybe steps) in one forward, padded on the left.

    Args:
        model: A PRM.
        processor: Its processor.
        prefixes: Token ids.
        tables: `prompt_positions` of their prompts.
        extra: The prompts' other inputs.
        sharing: How rows will share the cache.

    Returns:
        ``(cache, mask, values)``: the mask (prefixes, width) is 1 at tokens; values hold `token_scores` per prefix.
    """
    batch = processor.pad(prefixes, extra, padding_side="left")
    width = batch["input_ids"].shape[1]
    rows = [positions_at(table, torch.arange(len(p))) for table, p in zip(tables, prefixes, strict=True)]
    cache = new_prefix_cache(model, sharing)
    inputs = {**batch, "position_ids": stack_positions(rows, width, "left"), "cache": cache}
    found = token_scores(model, inputs, use_cache=True)
    return cache, batch["attention_mask"], [found[i, width - len(p) :].tolist() for i, p in enumerate(prefixes)]


class TokenPool:
    """Tokens of one problem computed so far, as one growing cache row, with the tree that they form.

    Args:
        model: A PRM whose backbone shares as "tree".
        processor: Its processor.
        prompt: Prompt ids; they are run at once.
        extra: The prompt's other inputs.
        max_tokens: Most new tokens in one forward.
    """

    def __init__(
        self, model: PreTrainedModel, processor: Any, prompt: list[int], extra: dict[str, Any], max_tokens: int
    ):
        self.model, self.prompt, self.max_tokens = model, prompt, max_tokens
        (self.table,) = prompt_positions(model, [prompt], extra)
        self.cache, _, (values,) = run_prefixes(model, processor, [prompt], [self.table], extra, "tree")
        self.num_computed = len(prompt)
        self.values: list[float] = values  # score at markers, 0 elsewhere
        self.depths = list(range(len(prompt)))
        self.children: dict[tuple[int, int], int] = {(i - 1, token): i for i, token in enumerate(prompt)}
        self.sees = torch.ones(
            len(prompt), len(prompt), dtype=torch.bool
        )  # (token, token): is on its path (prompt rows: whole)

    def scores(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """Step scores of rows that begin with the prompt; unseen tokens are computed first."""
        new = self._grow(rows)
        start = len(self.depths) - len(new)
        for offset in range(0, len(new), self.max_tokens):  # parents come before their children
            self._run(new[offset : offset + self.max_tokens], start + offset)
        marker = self.model.config.marker_token_id
        return [
            tuple(self.values[i] for i, token in zip(self._path(row), row, strict=True) if token == marker)
            for row in rows
        ]

    def keep(self, rows: Sequence[Sequence[int]]) -> None:
        """Forgets tokens that are on no path of these rows."""
        kept = sorted({*range(len(self.prompt)), *(i for row in rows for i in self._path(row))})
        index = torch.tensor(kept)
        for layer in self.cache.layers:
            layer.keys, layer.values = (old.index_select(2, index.to(old.device)) for old in (layer.keys, layer.values))
        renumbered = {-1: -1, **{old: new for new, old in enumerate(kept)}}
        self.children = {
            (renumbered[parent], token): renumbered[child]
            for (parent, token), child in self.children.items()
            if child in renumbered
        }
        self.values = [self.values[i] for i in kept]
        self.depths = [self.depths[i] for i in kept]
        self.sees = self.sees[index][:, index]

    def _path(self, row: Sequence[int]) -> list[int]:
        path, cursor = [], -1
        for token in row:
            cursor = self.children.get((cursor, token))
            if cursor is None:  # a solution that was never scored is kept as far as it is known
                break
            path.append(cursor)
        return path

    def _grow(self, rows: Sequence[Sequence[int]]) -> list[int]:
        """Adds the rows' unseen tokens to the tree and returns their ids in order."""
        new: list[int] = []
        parents: list[int] = []
        for row in rows:
            cursor = -1
            for depth, token in enumerate(row):
                child = self.children.get((cursor, token))
                if child is None:
                    child = self.children[cursor, token] = len(self.depths)
                    self.depths.append(depth)
                    new.append(token)
                    parents.append(cursor)
                cursor = child
        old = len(self.sees)
        sees = torch.zeros(old + len(new), old + len(new), dtype=torch.bool)
        sees[:old, :old] = self.sees
        for index, parent in enumerate(parents, start=old):
            sees[index] = sees[parent]
            sees[index, index] = True
        self.sees = sees
        return new

    def _run(self, new: list[int], start: int) -> None:
        """Computes tokens `start` and following in one row behind all earlier ones."""
        stop = start + len(new)
        depths = torch.tensor(self.depths[:stop])
        sees = self.sees[start:stop, :stop]

        def make_mask(window: int | None) -> torch.Tensor:
            mask = sees if window is None else sees & (depths[start:, None] - depths[None] < window)
            return mask[None, None]

        inputs = {
            "input_ids": torch.tensor([new]),
            "position_ids": stack_positions([positions_at(self.table, depths[start:])], len(new)),
            "attention_mask": attention_argument(self.model, make_mask),
            "cache": self.cache,
        }
        self.values += token_scores(self.model, inputs, use_cache=True)[0].tolist()
        self.num_computed += len(new)


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors, also those in dicts, moved to a device; everything else as it is."""
    if isinstance(value, dict):
        return {name: to_device(one, device) for name, one in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


__all__ = [
    "CacheSharing",
    "SharedPrefixLayer",
    "TokenPool",
    "new_prefix_cache",
    "run_prefixes",
    "shared_prefix_cache",
    "suffix_inputs",
    "to_device",
    "token_scores",
]
