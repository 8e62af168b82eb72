"""Attention of packed trees without most of the pairs that their mask rules out, where sdpa computes them all.

Neighbours in a packed row share most of their root paths. The row's queries are cut into chunks, and each chunk is
computed against the keys that any of its queries attends to: all chunks of all rows in one call. `TreeMask` is the
rows' additive mask; only `scaled_dot_product_attention` sees more in it than an ordinary one. torch only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

CHUNK = 64  # queries; measured on the nano PRM, two CPU cores (recipes/LOG.md)
# Chunks are used if they leave at most this share of the pairs: gathering keys costs something too.
_WORTH = 0.7


class TreeMask(torch.Tensor):
    """An additive attention mask (batch, 1, seq, seq) that knows which keys each chunk of queries needs.

    Attributes:
        keys: (batch * chunks, num_keys) indices into the rows of a batch laid end to end; padded with any key.
        chunk_mask: (batch * chunks, 1, CHUNK, num_keys), the mask of these.
    """

    keys: torch.Tensor
    chunk_mask: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor, keys: torch.Tensor, chunk_mask: torch.Tensor) -> TreeMask:
        """The mask with its chunks."""
        made = mask.as_subclass(cls)
        made.keys, made.chunk_mask = keys, chunk_mask
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            found = _by_chunks(*args, **kwargs)
            if found is not None:
                return found
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        source = args[0] if args and isinstance(args[0], cls) else None
        # Sliced to its own size it is still the mask of these rows; moved or cast it is an ordinary one.
        index = args[1] if func is torch.Tensor.__getitem__ else None
        is_slice = isinstance(index, tuple) and all(isinstance(part, slice) for part in index)
        if is_slice and source is not None and result.shape == source.shape:
            return cls.of(result, source.keys, source.chunk_mask)
        return result


def chunked(mask: torch.Tensor, additive: torch.Tensor) -> torch.Tensor:
    """Return the additive mask with its chunks, or as it is where chunks would not leave out enough.

    Args:
        mask: Boolean (batch, 1, seq, seq), True = attend; every row of it attends to something.
        additive: The same mask as numbers to be added.
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
    # A key beyond a chunk's own is masked for all its queries already; queries beyond the row see what they like.
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
    """Attention (batch, heads, seq, head_dim) of whole packed rows; None if these are not the mask's rows."""
    if not isinstance(attn_mask, TreeMask) or is_causal:
        return None
    batch, heads, length, size = query.shape
    if attn_mask.shape != (batch, 1, length, length) or key.shape[2] != length:
        return None
    keys, mask = attn_mask.keys, attn_mask.chunk_mask
    num_chunks = len(keys) // batch

    def gathered(tensor: torch.Tensor) -> torch.Tensor:
        flat = tensor.transpose(1, 2).reshape(batch * length, -1)
        found = flat.index_select(0, keys.flatten())
        return found.view(*keys.shape, tensor.shape[1], tensor.shape[3]).transpose(1, 2)

    queries = functional.pad(query, (0, 0, 0, num_chunks * CHUNK - length))
    queries = queries.view(batch, heads, num_chunks, CHUNK, size).transpose(1, 2).flatten(0, 1)
    found = functional.scaled_dot_product_attention(
        queries, gathered(key), gathered(value), attn_mask=mask, dropout_p=dropout_p, **options
    )  # (batch * chunks, heads, CHUNK, head_dim)
    found = found.view(batch, num_chunks, heads, CHUNK, -1).transpose(1, 2)
    return found.reshape(batch, heads, num_chunks * CHUNK, -1)[:, :, :length]


__all__ = ["CHUNK", "TreeMask", "chunked"]
