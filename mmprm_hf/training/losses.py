"""Losses over the logits of step markers: per step, between sibling steps, and their weighted mean.

Invariant: a marker whose target is -100 adds exactly zero to every loss and gets exactly zero gradient, even where its
logits are NaN; a loss of nothing is zero and stays tied to the graph, so that `backward` runs on every process. Targets
are not checked here (that would wait for the device): they lie in [0, 1] or are -100. Imports torch only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from .targets import IGNORE_LABEL

LossType = Literal["cross_entropy", "binary"]
LOSS_TYPES: tuple[LossType, ...] = ("cross_entropy", "binary")
_GAP_ROUNDING = 1e-6  # float32 rounding of a difference of two targets in [0, 1] is below 1.2e-7


def step_losses(
    logits: torch.Tensor, targets: torch.Tensor, *, loss_type: LossType = "cross_entropy", positive_weight: float = 1.0
) -> torch.Tensor:
    """Return the loss of each marker, unreduced, (num_markers,) in float32; zero where the target is -100.

    "cross_entropy" is the two-way softmax cross-entropy ``-[y log p + (1 - y) log(1 - p)]``, the summands of
    `marker_loss`. "binary" is ``-[w y log p + (1 - y) log(1 - p)]`` with p the sigmoid of the log-odds (positive minus
    negative logit) and w the `positive_weight`. With w = 1 both are the same function, for a head of either width:
    "binary" is there for w. Soft targets stay soft.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        targets: (num_markers,) in [0, 1]; -100 is ignored.
        loss_type: "cross_entropy" or "binary".
        positive_weight: w > 0, of "binary" only; below 1 where right steps are many.

    Raises:
        ValueError: if a shape, the loss type or the positive weight is out of range.

    Example:
        >>> step_losses(torch.zeros(3, 2), torch.tensor([1.0, 0.9, -100.0]))
        tensor([0.6931, 0.6931, 0.0000])
        >>> step_losses(torch.zeros(2, 1), torch.tensor([1.0, 0.0]), loss_type="binary", positive_weight=0.5)
        tensor([0.3466, 0.6931])
    """
    _check_logits(logits, targets=targets)
    if loss_type not in LOSS_TYPES:
        raise ValueError(f"Found loss_type={loss_type!r}; choose one of {', '.join(LOSS_TYPES)}.")
    if not 0.0 < positive_weight < float("inf") or (loss_type == "cross_entropy" and positive_weight != 1.0):
        raise ValueError(
            f"Found positive_weight={positive_weight} with loss_type={loss_type!r}; it is finite and > 0, and 1 under "
            'cross_entropy. Set loss_type="binary" to weigh right steps.'
        )
    targets = targets.to(logits.device).float()
    is_labelled = targets != IGNORE_LABEL
    # Masked before the loss, not after: zero times the gradient of a NaN is NaN.
    logits, targets = logits.float().masked_fill(~is_labelled[:, None], 0.0), targets.masked_fill(~is_labelled, 0.0)
    if loss_type == "binary":
        weight = torch.as_tensor(positive_weight, dtype=logits.dtype, device=logits.device)
        losses = functional.binary_cross_entropy_with_logits(
            _log_odds(logits), targets, reduction="none", pos_weight=weight
        )
    else:
        if logits.shape[-1] == 1:  # log sigmoid(x) and log(1 - sigmoid(x))
            log_probs = functional.logsigmoid(torch.cat([logits, -logits], dim=-1))  # (num_markers, 2)
        else:
            log_probs = logits.log_softmax(-1)
        losses = -(targets * log_probs[:, 0] + (1 - targets) * log_probs[:, 1])
    return losses.masked_fill(~is_labelled, 0.0)


def pairwise_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    groups: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    min_gap: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed ranking loss of sibling steps and the number of pairs, both scalars in float32.

    Markers i and j of one group are a pair if target i is greater than target j, and by at least `min_gap`. Its loss is
    Bradley-Terry's ``-log sigmoid(s_i - s_j)`` with s the log-odds; the size of the gap does not weigh it, for a gap is
    a difference of two noisy estimates. A pair weighs ``w_i * w_j``: with the label weights of rows (1 / the number of
    rows that share the prefix) each pair of distinct prefixes counts once over all rows, as often as it is repeated.

    Time and memory grow with num_markers squared, by a byte for each two markers and floats for pairs only.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        targets: (num_markers,) in [0, 1]; -100 is in no pair.
        groups: (num_markers,) int64, equal for siblings (one parent prefix, different steps); negative is in no group.
        weights: (num_markers,) finite and >= 0; None weighs each marker 1.
        min_gap: In [0, 1]; a gap below it is taken for noise.

    Returns:
        The sum over pairs of weight times loss, and the sum of the pairs' weights: their number if `weights` is None.
        The first is zero, and tied to the graph, if there is no pair; the second needs no gradient.

    Raises:
        ValueError: if a shape or `min_gap` is out of range.

    Example:
        >>> logits = torch.tensor([[2.0], [0.0], [1.0]])
        >>> pairwise_loss(logits, torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0, 0, 1]))
        (tensor(0.1269), tensor(1.))
    """
    weights = torch.ones_like(targets, dtype=torch.float32) if weights is None else weights
    _check_logits(logits, targets=targets, groups=groups, weights=weights)
    if not 0.0 <= min_gap <= 1.0:
        raise ValueError(f"Found min_gap={min_gap}; a gap of two targets lies in [0, 1], 0 takes every pair.")
    targets, weights = targets.to(logits.device).float(), weights.to(logits.device).float()
    groups = groups.to(logits.device)
    is_grouped = (targets != IGNORE_LABEL) & (groups >= 0)
    gaps = targets[:, None] - targets[None, :]  # (num_markers, num_markers), of higher minus lower
    is_pair = (gaps > 0) & (gaps >= min_gap - _GAP_ROUNDING) & (groups[:, None] == groups[None, :])
    higher, lower = (is_pair & is_grouped[:, None] & is_grouped[None, :]).nonzero(as_tuple=True)  # (num_pairs,) each
    log_odds = _log_odds(logits.float())
    pair_weights = (weights[higher] * weights[lower]).detach()
    losses = -functional.logsigmoid(log_odds[higher] - log_odds[lower])
    return (losses * pair_weights).sum(), pair_weights.sum()


def weighted_mean_loss(
    losses: torch.Tensor,
    weights: torch.Tensor,
    is_labelled: torch.Tensor,
    divisor: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Return ``sum(losses * weights) / divisor`` over the labelled markers, a scalar tied to the graph.

    The divisor must be that of the whole optimizer step (all processes, all accumulated batches) for the gradients to
    be those of one large batch. Where nothing is labelled it is zero, with zero gradients, whatever the divisor.

    Args:
        losses: (num_markers,), see `step_losses`.
        weights: (num_markers,), finite and >= 0; those of unlabelled markers do not count.
        is_labelled: (num_markers,) bool.
        divisor: The sum of weights to divide by, 0 only if there is no weight anywhere; None takes the sum here.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> losses, weights = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([3.0, 1.0, 1.0])
        >>> weighted_mean_loss(losses, weights, torch.tensor([True, True, False]))
        tensor(1.7500)
    """
    if not losses.shape == weights.shape == is_labelled.shape or losses.dim() != 1:
        raise ValueError(
            f"Found losses {tuple(losses.shape)}, weights {tuple(weights.shape)}, is_labelled "
            f"{tuple(is_labelled.shape)}; give one of each per marker, (num_markers,)."
        )
    is_labelled = is_labelled.to(losses.device)
    weights = weights.to(losses.device).float().masked_fill(~is_labelled, 0.0)
    total = (losses.float().masked_fill(~is_labelled, 0.0) * weights).sum()
    divisor = weights.sum() if divisor is None else torch.as_tensor(divisor, dtype=total.dtype, device=total.device)
    # Of no weight at all the sum is 0, so any divisor does; a clamp would bend small sums of weights.
    return total / divisor.masked_fill(divisor == 0, 1.0)


def _check_logits(logits: torch.Tensor, **per_marker: torch.Tensor) -> None:
    """Raise unless the logits have one or two columns and the others one entry per marker."""
    if logits.dim() != 2 or logits.shape[1] not in (1, 2):
        raise ValueError(
            f"Found logits of shape {tuple(logits.shape)}; give (num_markers, 2) [positive, negative] or "
            "(num_markers, 1) log-odds, of marker positions only."
        )
    for name, tensor in per_marker.items():
        if tensor.shape != logits.shape[:1]:
            raise ValueError(
                f"Found {name} of shape {tuple(tensor.shape)} with {logits.shape[0]} markers; give one per marker."
            )


def _log_odds(logits: torch.Tensor) -> torch.Tensor:
    """(num_markers,) log-odds of positive."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 0] - logits[:, 1]


__all__ = ["LOSS_TYPES", "LossType", "pairwise_loss", "step_losses", "weighted_mean_loss"]
