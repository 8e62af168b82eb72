"""Prefix trees of token sequences as one packed row, which contains every shared token once.

Invariant: with the row's positions and attention mask, a model computes at every token what it would compute on the
token's own sequence alone. Rows are laid out in depth-first order, so that a token's descendants are the interval that
follows it, and "attends to its own root path" is ``k <= q < ends[k]`` for every backend.

Pure bookkeeping on token ids: torch only, no model.
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
        """Return a boolean mask (seq, seq): row attends to column, True on the token's own root path and itself.

        Args:
            window: Most tokens that a token attends to, itself included, along its path (sliding window); None: all.
        """
        index = torch.arange(len(self))
        mask = (index[None, :] <= index[:, None]) & (index[:, None] < self.ends[None, :])
        if window is not None:
            mask &= self.position_ids[:, None] - self.position_ids[None, :] < window
        return mask

    def tree_rows(self) -> dict[str, torch.Tensor]:
        """Return the tree in the form of TRL's packed rows, for its fused attention (`attn_implementation="tree_fa3"`).

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
        The packed row.

    Raises:
        ValueError: if there is no sequence, one is empty, or they do not start with the same token.

    Example:
        >>> tree = pack_prefix_tree([[5, 6, 7], [5, 6, 8, 9]])
        >>> tree.input_ids.tolist(), tree.position_ids.tolist(), tree.ends.tolist()
        ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [5, 5, 3, 5, 5])
    """
    if not sequences or not all(len(sequence) for sequence in sequences):
        raise ValueError(f"Found {len(sequences)} sequences to pack, none or one of them empty. Each needs a token.")
    if len({sequence[0] for sequence in sequences}) > 1:
        raise ValueError(
            "The sequences to pack start with different tokens. Pack one problem at a time: all need the same prompt."
        )
    tokens = [sequences[0][0]]  # node -> token; nodes are numbered in the order of their first appearance
    children: list[dict[int, int]] = [{}]  # node -> {token: child node}
    node_rows = []
    for sequence in sequences:
        nodes = [0]
        for token in sequence[1:]:
            siblings = children[nodes[-1]]
            if token not in siblings:
                siblings[token] = len(tokens)
                tokens.append(token)
                children.append({})
            nodes.append(siblings[token])
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
    """Nodes in depth-first order; of each row its depth, its parent's row, and the row after its last descendant."""
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


def stack_masks(trees: Sequence[PackedTree], length: int | None = None, window: int | None = None) -> torch.Tensor:
    """Return the rows' boolean attention masks (batch, 1, seq, seq), True = attend, padded on the right.

    Rows are padded to `length` (None: to the longest) with tokens that attend only to themselves; `window` as in
    `PackedTree.attention_mask`.
    """
    length = max(map(len, trees)) if length is None else length
    mask = torch.eye(length, dtype=torch.bool).repeat(len(trees), 1, 1, 1)
    for row, tree in enumerate(trees):
        mask[row, 0, : len(tree), : len(tree)] = tree.attention_mask(window)
    return mask


def block_mask(mask: torch.Tensor) -> Any:
    """Return a boolean mask (batch, 1, query, key) as a FlexAttention `BlockMask`: empty blocks are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    def attends(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return mask[batch, 0, query, key]

    batch, _, num_queries, num_keys = mask.shape
    return create_block_mask(attends, batch, None, num_queries, num_keys, device=mask.device)


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask as 0 or the most negative number, to be added: eager attention would add a boolean as it is."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
