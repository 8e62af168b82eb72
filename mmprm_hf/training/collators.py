"""Rows to model inputs with targets at the markers: padded, one sequence per row, or packed, one tree per problem.

Both give `input_ids`, the model's other inputs, and beside them `labels` and `label_weights` (batch, seq) at the
markers: -100 and 0 elsewhere. A packed batch gives the same sum of weighted losses as its rows padded: of equal
prefixes it holds the weighted mean of their targets and the sum of their weights, and the loss is linear in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..models import MMPRMProcessor, pad_rows
from ..rows import row_images
from ..scoring import PackedTree, pack_prefix_tree
from .rows import RowLimits, row_prompt, row_steps
from .targets import IGNORE_LABEL, TargetConfig, step_targets

Row = Mapping[str, Any]


@dataclasses.dataclass
class PRMCollator:
    """Turns raw rows into padded model inputs with labels at the markers.

    Two rows ``{"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.9]}`` and ``{"prompt": "q",
    "completions": ["c"], "label_counts": [[1, 4]]}`` give, with one token per letter and marker M::

        input_ids       [[q, a, M, b, M], [q, c, M, pad, pad]]
        attention_mask  [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
        labels          [[-100, -100, 1.0, -100, 0.9], [-100, -100, 0.25, -100, -100]]   float32
        label_weights   [[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]                               float32

    Args:
        processor: The PRM's processor.
        targets: How labels become targets.
        limits: Most tokens; rows over them raise.
        metrics: Give `metric_labels` too: the labels as they are (soft, of all steps), for evaluation.
    """

    processor: MMPRMProcessor
    targets: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    limits: RowLimits = dataclasses.field(default_factory=RowLimits)
    metrics: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        encoded, extra = self.processor.encode_solutions(
            [row_prompt(row) for row in rows], [row_images(row) for row in rows], [[row_steps(row)] for row in rows]
        )
        pieces = [solutions[0] for solutions in encoded]
        for prompt, *steps in pieces:
            self.limits.check(len(prompt), sum(map(len, steps)))
        found = [step_targets(row, self.targets) for row in rows]
        batch = {
            **self.processor.pad([[i for piece in row for i in piece] for row in pieces], extra),
            "labels": _at_markers(pieces, [row.targets for row in found], IGNORE_LABEL),
            "label_weights": _at_markers(pieces, [row.weights for row in found], 0.0),
        }
        if self.metrics:
            plain = [step_targets(row, TargetConfig(use_label_weights=False)).targets for row in rows]
            batch["metric_labels"] = _at_markers(pieces, plain, IGNORE_LABEL)
        return batch


def _at_markers(rows: Sequence[Sequence[Sequence[int]]], values: Sequence[Sequence[float]], other: float) -> Any:
    """(batch, seq) float32: a step's value at its last token, which is the marker."""
    filled = []
    for (prompt, *steps), row_values in zip(rows, values, strict=True):
        filled.append([other] * len(prompt))
        for step, value in zip(steps, row_values, strict=True):
            filled[-1] += [other] * (len(step) - 1) + [value]
    return pad_rows(filled, other).float()


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Packed rows before the model is known: `backbones.packed_inputs` makes inputs of them.

    Args:
        trees: One per problem.
        prompts: Prompt ids per problem.
        extra: The prompts' vision inputs.
    """

    trees: list[PackedTree]
    prompts: list[list[int]]
    extra: dict[str, Any]


@dataclasses.dataclass
class TreeCollator:
    """Turns groups of rows, each of one problem, into packed rows in which shared tokens and the figure stand once.

    A group of the rows ``a`` and ``a b`` of the question ``q`` gives the tree ``q a M b M``; the marker of ``a``, which
    both rows have, holds the mean of their two targets by weight and the sum of their weights.

    Args:
        processor: The PRM's processor.
        targets: How labels become targets.
        limits: Most tokens of a row.
        siblings: Give `groups` too: at each marker a number that it shares with its sibling steps, -1 elsewhere.
    """

    processor: MMPRMProcessor
    targets: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    limits: RowLimits = dataclasses.field(default_factory=RowLimits)
    siblings: bool = False

    def __call__(self, groups: Sequence[Sequence[Row]]) -> dict[str, Any]:
        firsts = [group[0] for group in groups]
        encoded, extra = self.processor.encode_solutions(
            [row_prompt(row) for row in firsts],
            [row_images(row) for row in firsts],
            [[row_steps(row) for row in group] for group in groups],
        )
        trees, labels, weights, siblings = [], [], [], []
        first_group = 0
        for group, solutions in zip(groups, encoded, strict=True):
            for prompt, *steps in solutions:
                self.limits.check(len(prompt), sum(map(len, steps)))
            tree = pack_prefix_tree([[i for piece in pieces for i in piece] for pieces in solutions])
            trees.append(tree)
            positions = [
                _marker_positions(pieces, index) for pieces, index in zip(solutions, tree.token_index, strict=True)
            ]
            row_labels, row_weights = self._merged(group, positions, len(tree))
            labels.append(row_labels)
            weights.append(row_weights)
            if self.siblings:
                numbers, first_group = _sibling_groups(positions, len(tree), first_group)
                siblings.append(numbers)
        batch = {
            "packed": PackedBatch(trees, [list(solutions[0][0]) for solutions in encoded], extra),
            "labels": _padded(labels, IGNORE_LABEL),
            "label_weights": _padded(weights, 0.0),
        }
        return {**batch, "groups": _padded(siblings, -1)} if self.siblings else batch

    def _merged(
        self, group: Sequence[Row], positions: Sequence[Sequence[int]], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and weights of a tree's tokens: the mean by weight, and the sum, over the rows that share one."""
        sums, weights = torch.zeros(length, dtype=torch.float64), torch.zeros(length, dtype=torch.float64)
        for row, markers in zip(group, positions, strict=True):
            found = step_targets(row, self.targets)
            for position, target, weight in zip(markers, found.targets, found.weights, strict=True):
                if weight:  # an ignored step weighs 0
                    sums[position] += weight * target
                    weights[position] += weight
        labels = torch.where(weights > 0, sums / weights.clamp(min=1e-300), IGNORE_LABEL)
        return labels.float(), weights.float()


def _marker_positions(pieces: Sequence[Sequence[int]], token_index: torch.Tensor) -> list[int]:
    """Where a row's markers, its steps' last tokens, stand in the tree."""
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)[1:] - 1
    return token_index[ends].tolist()


def _sibling_groups(positions: Sequence[Sequence[int]], length: int, first: int) -> tuple[torch.Tensor, int]:
    """A number per marker, equal where the steps before are the same; and the next free number."""
    groups = torch.full((length,), -1)
    number_of: dict[int, int] = {}
    for markers in positions:
        for parent, position in zip([-1, *markers[:-1]], markers, strict=True):
            groups[position] = first + number_of.setdefault(parent, len(number_of))
    return groups, first + len(number_of)


def _padded(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


__all__ = ["PRMCollator", "PackedBatch", "TreeCollator"]
