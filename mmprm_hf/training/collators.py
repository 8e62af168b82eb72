"""Rows to model inputs with targets at the markers: padded, a sequence per row, or packed, a tree per problem.

Both give `labels` and `label_weights` (batch, seq) at the markers: -100 and 0 elsewhere. A packed batch has the same
sum of weighted losses as its rows padded: where rows share a prefix it holds the weighted mean of their targets and the
sum of their weights, and the loss is linear in both.
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


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Packed rows before the model is known; `scoring.packed_inputs` turns them into model inputs."""

    trees: list[PackedTree]  # one per problem
    prompts: list[list[int]]  # their token ids
    extra: dict[str, Any]  # their vision inputs


@dataclasses.dataclass
class PRMCollator:
    """Pads raw rows, or packs groups of rows, with labels at the markers.

    Two rows ``{"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.9]}`` and ``{"prompt": "q",
    "completions": ["c"], "label_counts": [[1, 4]]}`` give, with one token per letter and marker M::

        input_ids       [[q, a, M, b, M], [q, c, M, pad, pad]]
        attention_mask  [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
        labels          [[-100, -100, 1.0, -100, 0.9], [-100, -100, 0.25, -100, -100]]   float32
        label_weights   [[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]                               float32

    A group is a list of rows of one problem. It becomes a tree, which holds shared tokens and the figure once: the rows
    ``a`` and ``a b`` give ``q a M b M``. Both rows have the marker of ``a``; its label is the mean of their targets by
    weight, and its weight the sum. The batch has ``packed``, a `PackedBatch`, in place of the model's inputs.

    Args:
        processor: The PRM's processor.
        targets: How labels become targets.
        limits: The most tokens of a row; a row over them raises.
        metrics: Of rows, add `metric_labels`, the unmapped (soft) labels of all steps.
        siblings: Of groups, add `groups`: at each marker a number that only its sibling steps share, -1 elsewhere.
    """

    processor: MMPRMProcessor
    targets: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    limits: RowLimits = dataclasses.field(default_factory=RowLimits)
    metrics: bool = False
    siblings: bool = False

    def __call__(self, items: Sequence[Row] | Sequence[Sequence[Row]]) -> dict[str, Any]:
        return self._padded(items) if isinstance(items[0], Mapping) else self._packed(items)

    def _encoded(self, groups: Sequence[Sequence[Row]]) -> tuple[list[list[list[list[int]]]], dict[str, Any]]:
        """Token ids by group, row and piece (prompt, step, step, ...), and the vision inputs of each group."""
        encoded, extra = self.processor.encode_solutions(
            [row_prompt(group[0]) for group in groups],
            [row_images(group[0]) for group in groups],
            [[row_steps(row) for row in group] for group in groups],
        )
        for solutions in encoded:
            for prompt, *steps in solutions:
                self.limits.check(len(prompt), sum(map(len, steps)))
        return encoded, extra

    def _padded(self, rows: Sequence[Row]) -> dict[str, Any]:
        encoded, extra = self._encoded([[row] for row in rows])
        pieces = [solutions[0] for solutions in encoded]
        mapped = [step_targets(row, self.targets) for row in rows]
        batch = {
            **self.processor.pad([_joined(row) for row in pieces], extra),
            "labels": _at_markers(pieces, [row.targets for row in mapped], IGNORE_LABEL),
            "label_weights": _at_markers(pieces, [row.weights for row in mapped], 0.0),
        }
        if self.metrics:
            unmapped = [step_targets(row, TargetConfig(use_label_weights=False)).targets for row in rows]
            batch["metric_labels"] = _at_markers(pieces, unmapped, IGNORE_LABEL)
        return batch

    def _packed(self, groups: Sequence[Sequence[Row]]) -> dict[str, Any]:
        encoded, extra = self._encoded(groups)
        trees, labels, weights, siblings = [], [], [], []
        num_numbers = 0
        for group, solutions in zip(groups, encoded, strict=True):
            tree = pack_prefix_tree([_joined(pieces) for pieces in solutions])
            markers = [
                _marker_positions(pieces, index) for pieces, index in zip(solutions, tree.token_index, strict=True)
            ]
            tree_labels, tree_weights = self._merged_targets(group, markers, len(tree))
            trees.append(tree)
            labels.append(tree_labels)
            weights.append(tree_weights)
            if self.siblings:
                numbers, num_numbers = _sibling_numbers(markers, len(tree), num_numbers)
                siblings.append(numbers)
        batch = {
            "packed": PackedBatch(trees, [list(solutions[0][0]) for solutions in encoded], extra),
            "labels": _stacked(labels, IGNORE_LABEL),
            "label_weights": _stacked(weights, 0.0),
        }
        return {**batch, "groups": _stacked(siblings, -1)} if self.siblings else batch

    def _merged_targets(
        self, group: Sequence[Row], markers: Sequence[Sequence[int]], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and weights of the tokens of a tree: mean by weight, and sum, over the rows that share a token."""
        sums, weights = torch.zeros(length, dtype=torch.float64), torch.zeros(length, dtype=torch.float64)
        for row, positions in zip(group, markers, strict=True):
            mapped = step_targets(row, self.targets)
            for position, target, weight in zip(positions, mapped.targets, mapped.weights, strict=True):
                if weight:  # an ignored step weighs 0
                    sums[position] += weight * target
                    weights[position] += weight
        labels = torch.where(weights > 0, sums / weights.clamp(min=1e-300), IGNORE_LABEL)
        return labels.float(), weights.float()


def _joined(pieces: Sequence[Sequence[int]]) -> list[int]:
    return [token for piece in pieces for token in piece]


def _at_markers(rows: Sequence[Sequence[Sequence[int]]], values: Sequence[Sequence[float]], other: float) -> Any:
    """(batch, seq) float32: the value of a step at its last token, which is the marker."""
    padded = []
    for (prompt, *steps), row_values in zip(rows, values, strict=True):
        padded.append([other] * len(prompt))
        for step, value in zip(steps, row_values, strict=True):
            padded[-1] += [other] * (len(step) - 1) + [value]
    return pad_rows(padded, other).float()


def _marker_positions(pieces: Sequence[Sequence[int]], token_index: torch.Tensor) -> list[int]:
    """Positions in the tree of a row's markers, which are the last tokens of its steps."""
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)[1:] - 1
    return token_index[ends].tolist()


def _sibling_numbers(markers: Sequence[Sequence[int]], length: int, first: int) -> tuple[torch.Tensor, int]:
    """A number for each marker, equal where the steps before are the same; and the next free number."""
    numbers = torch.full((length,), -1)
    number_by_parent: dict[int, int] = {}
    for positions in markers:
        for parent, position in zip([-1, *positions[:-1]], positions, strict=True):
            numbers[position] = first + number_by_parent.setdefault(parent, len(number_by_parent))
    return numbers, first + len(number_by_parent)


def _stacked(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
