"""Prefix trees of token sequences as one packed row, in which every shared token stands once.

The invariant: at every token, a model that is given the row's positions and attention mask computes what it
would compute on the token's own sequence alone. Pure bookkeeping on token ids; torch only, no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch


@dataclasses.dataclass(frozen=True)
class PackedTree:
    """Several token sequences of one problem in one row.

    Args:
        input_ids: Long tensor, shape (seq,): each distinct prefix's last token once, parents before children.
        position_ids: Long tensor, shape (seq,): depth of the token in its own sequence, from 0.
        parents: Long tensor, shape (seq,): row index of the token before it in its sequence; -1 at the root.
        token_index: Per input sequence, the row index of each of its tokens (a long tensor of its length).
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    parents: torch.Tensor
    token_index: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def attention_mask(self) -> torch.Tensor:
        """Boolean mask, shape (seq, seq): row attends to column, True on the token's own root path and itself."""
        mask = torch.zeros(len(self), len(self), dtype=torch.bool)
        for index, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                mask[index] = mask[parent]
            mask[index, index] = True
        return mask


def pack_prefix_tree(sequences: Sequence[Sequence[int]]) -> PackedTree:
    """Merge token sequences into their prefix tree and lay it out as one row.

    Args:
        sequences: Token ids; all begin with the same prompt. Equal sequences share all their tokens.

    Returns:
        The packed row; ``token_index[i][t]`` tells where token t of sequence i stands.

    Raises:
        ValueError: if there is no sequence, or one is empty, or they do not start with the same token.

    Example:
        >>> tree = pack_prefix_tree([[5, 6, 7], [5, 6, 8, 9]])
        >>> tree.input_ids.tolist(), tree.position_ids.tolist()
        ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3])
    """
    if not sequences or not all(len(sequence) for sequence in sequences):
        raise ValueError(f"Found {len(sequences)} sequences to pack, one of them empty, or none. Each needs a token.")
    if len({sequence[0] for sequence in sequences}) > 1:
        raise ValueError(
            "The sequences to pack start with different tokens. Pack one problem at a time: all need the same prompt."
        )
    ids: list[int] = []
    positions: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    token_index = []
    for sequence in sequences:
        cursor, row = -1, []
        for depth, token in enumerate(sequence):
            child = children.get((cursor, token))
            if child is None:
                child = children[cursor, token] = len(ids)
                ids.append(token)
                positions.append(depth)
                parents.append(cursor)
            cursor = child
            row.append(child)
        token_index.append(torch.tensor(row))
    return PackedTree(torch.tensor(ids), torch.tensor(positions), torch.tensor(parents), tuple(token_index))


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
    longest = max(len(tree) for tree in trees)
    if length is not None and length < longest:
        raise ValueError(
            f"Found a packed row of {longest} tokens, longer than length={length}. Raise it, or pack less."
        )
    batch, length = len(trees), length or longest
    input_ids = torch.full((batch, length), pad_token_id)
    position_ids = torch.zeros((batch, length), dtype=torch.long)
    mask = torch.zeros((batch, 1, length, length), dtype=torch.bool)
    mask[:, 0] = torch.eye(length, dtype=torch.bool)
    for row, tree in enumerate(trees):
        size = len(tree)
        input_ids[row, :size] = tree.input_ids
        position_ids[row, :size] = tree.position_ids
        mask[row, 0, :size, :size] = tree.attention_mask()
    return {"input_ids": input_ids, "position_ids": position_ids, "attention_mask": mask}


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same mask as 0 or the most negative number, to be added by eager attention (which misreads a boolean)."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
