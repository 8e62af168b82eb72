"""Attention of packed trees without most of the masked pairs, all of which sdpa computes.

Neighbours in a packed row share most of their root paths. The row's queries are cut into chunks, and each chunk is
computed against the keys that any of its queries attends to, all chunks of all rows in one call. `TreeMask` is the
rows' additive mask; only `scaled_dot_product_attention` treats it in another way. torch only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

CHUNK = 64  # queries; measured on the nano PRM, two CPU cores (recipes/LOG.md)
# Chunks are used if at most this share of the pairs remains, because gathering keys has a cost too.
_WORTH = 0.7


class TreeMask(torch.Tensor):
    """An additive attention mask (batch, 1, seq, seq) with the keys that each chunk of queries needs.

    Attributes:
        keys: (batch * chunks, num_keys) indices into the concatenated rows of a batch, padded with any key.
        chunk_mask: (batch * chunks, 1, CHUNK, num_keys), the mask of these keys.
    """

    keys: torch.Tensor
    chunk_mask: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor, keys: torch.Tensor, chunk_mask: torch.Tensor) -> TreeMask:
        """Return the mask with its chunks."""
        tree_mask = mask.as_subclass(cls)
        tree_mask.keys, tree_mask.chunk_mask = keys, chunk_mask
        return tree_mask

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            output = _by_chunks(*args, **kwargs)
            if output is not None:
                return output
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        source = args[0] if args and isinstance(args[0], cls) else None
        # Sliced to its own size, it is still the mask of these rows; moved or cast, it is an ordinary one.
        index = args[1] if func is torch.Tensor.__getitem__ else None
        is_slice = isinstance(index, tuple) and all(isinstance(part, slice) for part in index)
        if is_slice and source is not None and result.shape == source.shape:
            return cls.of(result, source.keys, source.chunk_mask)
        return result


def chunked(mask: torch.Tensor, additive: torch.Tensor) -> torch.Tensor:
    """Return the additive mask with its chunks, or as it is if chunks would not leave out enough.

    Args:
        mask: Boolean (batch, 1, seq, seq), True = attend; no query is masked entirely.
        additive: The same mask as `additive_mask` returns it.
    """
    batch, _, length, _ = mask.shape
    num_chunks = -(-length // CHUNK)
    padded = functional.pad(mask[:, 0], (0, 0, 0, num_chunks * CHUNK - length)).view(batch, num_chunks, CHUNK, length)
    is_key = padded.any(2)  # (batch, chunks, seq)
    num_keys = int(is_key.sum(-1).max())
    if num_chunks * CHUNK * num_keys > _WORTH * length**2:
        return additive
    keys = is_key.to(torch.int8).sort(dim=-1, descending=True, stable=True).indices[..., :num_keys]
    rows = functional.pad(additive[:, 0], (0, 0, 0, num_chunks * CHUNK - length)).view(batch, num_chunks, CHUNK, length)
    # A key beyond a chunk's own is masked for all its queries anyway; queries beyond the row are dropped later.
    chunk_mask = rows.gather(3, keys[:, :, None, :].expand(-1, -1, CHUNK, -1))
    flat = keys + torch.arange(batch, device=mask.device)[:, None, None] * length
    return TreeMask.of(additive, flat.flatten(0, 1), chunk_mask.flatten(0, 1)[:, None])


def _by_chunks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> torch.Tensor | None:
    """Attention (batch, heads, seq, head_dim) of whole packed rows; None if these are not the rows of the mask."""
    if not isinstance(attn_mask, TreeMask) or is_causal:
        return None
    batch, heads, length, size = query.shape
    if attn_mask.shape != (batch, 1, length, length) or key.shape[2] != length:
        return None
    keys, mask = attn_mask.keys, attn_mask.chunk_mask
    num_chunks = len(keys) // batch

    def gathered(tensor: torch.Tensor) -> torch.Tensor:
        flat = tensor.transpose(1, 2).reshape(batch * length, -1)
        selected = flat.index_select(0, keys.flatten())
        return selected.view(*keys.shape, tensor.shape[1], tensor.shape[3]).transpose(1, 2)

    queries = functional.pad(query, (0, 0, 0, num_chunks * CHUNK - length))
    queries = queries.view(batch, heads, num_chunks, CHUNK, size).transpose(1, 2).flatten(0, 1)
    output = functional.scaled_dot_product_attention(
        queries, gathered(key), gathered(value), attn_mask=mask, dropout_p=dropout_p, **options
    )  # (batch * chunks, heads, CHUNK, head_dim)
    output = output.view(batch, num_chunks, heads, CHUNK, -1).transpose(1, 2)
    return output.reshape(batch, heads, num_chunks * CHUNK, -1)[:, :, :length]
