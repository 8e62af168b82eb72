"""Prefix trees of token sequences as one packed row, in which every shared token stands once.

The invariant: at every token, a model that is given the row's positions and attention mask computes what it
would compute on the token's own sequence alone. Rows are laid out in depth-first order, so that a token's descendants
are the interval that follows it, and "attends to its own root path" is ``k <= q < ends[k]`` for every backend.

Pure bookkeeping on token ids; torch only, no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch


@dataclasses.dataclass(frozen=True)
class PackedTree:
    """Several token sequences of one problem in one row, in depth-first order.

    Args:
        input_ids: Long tensor, shape (seq,): the last token of each distinct prefix once.
        position_ids: Long tensor, shape (seq,): depth of the token in its own sequence, from 0.
        parents: Long tensor, shape (seq,): row index of the token before it in its sequence; -1 at the root.
        ends: Long tensor, shape (seq,): row index after the token's last descendant; ``index + 1`` at a leaf.
        token_index: Per input sequence, the row index of each of its tokens (a long tensor of its length).
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    parents: torch.Tensor
    ends: torch.Tensor
    token_index: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def attention_mask(self, window: int | None = None) -> torch.Tensor:
        """Boolean mask, shape (seq, seq): row attends to column, True on the token's own root path and itself.

        Args:
            window: Most tokens back, counted along the path and itself included (sliding-window layers); None: all.
        """
        index = torch.arange(len(self))
        mask = (index[None, :] <= index[:, None]) & (index[:, None] < self.ends[None, :])
        if window is not None:
            mask &= self.position_ids[:, None] - self.position_ids[None, :] < window
        return mask

    def tree_rows(self) -> dict[str, torch.Tensor]:
        """The same tree as TRL's packed rows describe it, for its fused attention (`attn_implementation="tree_fa3"`).

        Unary chains are *segments*; each attends to the keys of its root-to-segment *path*.

        Returns:
            ``tree_kv_index`` (K,): row indices of the keys of all paths, one path after the other;
            ``tree_cu_seqlens_q`` (segments + 1,) and ``tree_cu_seqlens_k`` (segments + 1,), int32: boundaries of the
            segments in the row and of the paths in `tree_kv_index`; ``tree_max_seqlens`` (2,): longest segment, path.
        """
        num_children = torch.bincount(self.parents[self.parents >= 0], minlength=len(self))
        is_start = torch.ones(len(self), dtype=torch.bool)
        is_start[1:] = num_children[self.parents[1:]] != 1
        bounds = [*is_start.nonzero()[:, 0].tolist(), len(self)]
        parents = self.parents.tolist()
        paths: dict[int, list[int]] = {-1: []}  # last row index of a segment -> its path
        kv_index: list[int] = []
        cu_seqlens_k = [0]
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            path = paths[stop - 1] = [*paths[parents[start]], *range(start, stop)]
            kv_index += path
            cu_seqlens_k.append(len(kv_index))
        longest = max(stop - start for start, stop in zip(bounds[:-1], bounds[1:], strict=True))
        return {
            "tree_kv_index": torch.tensor(kv_index),
            "tree_cu_seqlens_q": torch.tensor(bounds, dtype=torch.int32),
            "tree_cu_seqlens_k": torch.tensor(cu_seqlens_k, dtype=torch.int32),
            "tree_max_seqlens": torch.tensor([longest, max(map(len, paths.values()))]),
        }


def pack_prefix_tree(sequences: Sequence[Sequence[int]]) -> PackedTree:
    """Merge token sequences into their prefix tree and lay it out as one row.

    Args:
        sequences: Token ids; all begin with the same token. Equal sequences share all their tokens.

    Returns:
        The packed row; ``token_index[i][t]`` tells where token t of sequence i stands.

    Raises:
        ValueError: if there is no sequence, or one is empty, or they do not start with the same token.

    Example:
        >>> tree = pack_prefix_tree([[5, 6, 7], [5, 6, 8, 9]])
        >>> tree.input_ids.tolist(), tree.position_ids.tolist(), tree.ends.tolist()
        ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [5, 5, 3, 5, 5])
    """
    if not sequences or not all(len(sequence) for sequence in sequences):
        raise ValueError(f"Found {len(sequences)} sequences to pack, one of them empty, or none. Each needs a token.")
    if len({sequence[0] for sequence in sequences}) > 1:
        raise ValueError(
            "The sequences to pack start with different tokens. Pack one problem at a time: all need the same prompt."
        )
    tokens: list[int] = []  # node -> token; nodes are numbered as they are met
    children: list[dict[int, int]] = []  # node -> {token: child node}
    roots: dict[int, int] = {}
    node_rows = []
    for sequence in sequences:
        siblings, nodes = roots, []
        for token in sequence:
            node = siblings.get(token)
            if node is None:
                node = siblings[token] = len(tokens)
                tokens.append(token)
                children.append({})
            nodes.append(node)
            siblings = children[node]
        node_rows.append(nodes)
    order, position_ids, parents, ends = _depth_first(children)
    row_of_node = torch.empty(len(tokens), dtype=torch.long)
    row_of_node[order] = torch.arange(len(tokens))
    return PackedTree(
        input_ids=torch.tensor(tokens)[order],
        position_ids=position_ids,
        parents=parents,
        ends=ends,
        token_index=tuple(row_of_node[nodes] for nodes in node_rows),
    )


def _depth_first(children: list[dict[int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nodes in depth-first order, and of each row its depth, its parent's row and the row after its last descendant."""
    order, depths, parents = [], [], []
    stack = [(0, 0, -1)]
    while stack:
        node, depth, parent = stack.pop()
        row = len(order)
        order.append(node)
        depths.append(depth)
        parents.append(parent)
        stack.extend((child, depth + 1, row) for child in reversed(children[node].values()))
    ends = list(range(1, len(order) + 1))
    for row in range(len(order) - 1, 0, -1):  # a descendant's end reaches its parent before the parent is read
        ends[parents[row]] = max(ends[parents[row]], ends[row])
    return torch.tensor(order), torch.tensor(depths), torch.tensor(parents), torch.tensor(ends)


def stack_packed(trees: Sequence[PackedTree], pad_token_id: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """Right-pad packed rows into one batch of model inputs.

    Args:
        trees: The rows.
        pad_token_id: Fills `input_ids` after a row's end.
        length: Pad to this many tokens; None pads to the longest row.

    Returns:
        ``input_ids`` and ``position_ids`` of shape (batch, seq), and ``attention_mask`` of shape (batch, 1, seq, seq),
        boolean, True = attend: right for sdpa; eager attention needs `additive_mask` of it. Padding tokens attend
        only to themselves.

    Raises:
        ValueError: if a row is longer than `length`.
    """
    return {**stack_ids(trees, pad_token_id, length), "attention_mask": stack_masks(trees, length)}


def stack_ids(trees: Sequence[PackedTree], pad_token_id: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``position_ids`` of `stack_packed`."""
    length = _padded_length(trees, length)
    input_ids = torch.full((len(trees), length), pad_token_id)
    position_ids = torch.zeros((len(trees), length), dtype=torch.long)
    for row, tree in enumerate(trees):
        input_ids[row, : len(tree)] = tree.input_ids
        position_ids[row, : len(tree)] = tree.position_ids
    return {"input_ids": input_ids, "position_ids": position_ids}


def stack_masks(trees: Sequence[PackedTree], length: int | None = None, window: int | None = None) -> torch.Tensor:
    """``attention_mask`` of `stack_packed`, under a sliding window where one is given."""
    length = _padded_length(trees, length)
    mask = torch.eye(length, dtype=torch.bool).repeat(len(trees), 1, 1, 1)  # (batch, 1, seq, seq)
    for row, tree in enumerate(trees):
        mask[row, 0, : len(tree), : len(tree)] = tree.attention_mask(window)
    return mask


def block_mask(mask: torch.Tensor) -> Any:
    """The same mask as a FlexAttention `BlockMask`, whose empty blocks are never computed.

    Args:
        mask: Boolean, (batch, 1, query, key), True = attend.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    def attends(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return mask[batch, 0, query, key]

    batch, _, num_queries, num_keys = mask.shape
    return create_block_mask(attends, batch, None, num_queries, num_keys, device=mask.device)


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same mask as 0 or the most negative number, to be added by eager attention (which misreads a boolean)."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _padded_length(trees: Sequence[PackedTree], length: int | None) -> int:
    longest = max(len(tree) for tree in trees)
    if length is not None and length < longest:
        raise ValueError(
            f"Found a packed row of {longest} tokens, longer than length={length}. Raise it, or pack less."
        )
    return length or longest
