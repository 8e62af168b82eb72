"""Losses over the logits of step markers: per step, between sibling steps, and their weighted mean.

Invariant: a marker whose target is -100 adds exactly zero to every loss and gets exactly zero gradient, even where its
logits are NaN. The loss of no marker is zero and stays tied to the graph, so that `backward` runs on every process.
Targets are in [0, 1] or -100; they are not checked here, which would wait for the device. Imports torch only.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .targets import IGNORE_LABEL


def step_losses(logits: torch.Tensor, targets: torch.Tensor, *, positive_weight: float = 1.0) -> torch.Tensor:
    """Return the loss of each marker, unreduced, (num_markers,) in float32; zero where the target is -100.

    The two-way cross-entropy ``-[w y log p + (1 - y) log(1 - p)]`` with p the softmax probability of positive, y the
    target and w the `positive_weight`. Soft targets stay soft. With w = 1 its mean over labelled markers is the loss
    of ``MMPRMModel.forward(labels=...)``.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        targets: (num_markers,) in [0, 1]; -100 is ignored.
        positive_weight: w, finite and > 0; below 1 where right steps outnumber wrong ones.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> step_losses(torch.zeros(3, 2), torch.tensor([1.0, 0.9, -100.0]))
        tensor([0.6931, 0.6931, 0.0000])
        >>> step_losses(torch.zeros(2, 1), torch.tensor([1.0, 0.0]), positive_weight=0.5)
        tensor([0.3466, 0.6931])
    """
    _check_shapes(logits, targets=targets)
    targets = targets.to(logits.device).float()
    is_labelled = targets != IGNORE_LABEL
    # Masked before the loss, not after: zero times the gradient of a NaN is NaN.
    logits, targets = logits.float().masked_fill(~is_labelled[:, None], 0.0), targets.masked_fill(~is_labelled, 0.0)
    log_probs = _two_columns(logits).log_softmax(-1)
    losses = -(positive_weight * targets * log_probs[:, 0] + (1 - targets) * log_probs[:, 1])
    return losses.masked_fill(~is_labelled, 0.0)


def pairwise_loss(
    logits: torch.Tensor, targets: torch.Tensor, groups: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the summed ranking loss of sibling steps, a scalar in float32 that is tied to the graph.

    Markers i and j of one group are a pair if target i is greater than target j. The loss of a pair is
    ``-log sigmoid(s_i - s_j)`` with s the log-odds (Bradley and Terry, 1952). The size of the gap does not weigh it: a
    gap is a difference of two noisy estimates. A pair weighs ``w_i * w_j``: with the label weights of rows (1 / the
    number of rows that share the prefix) each pair of distinct prefixes counts once, however often rows repeat it.

    Memory grows with num_markers squared: a byte for every two markers, and floats for the pairs.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        targets: (num_markers,) in [0, 1]; -100 is in no pair.
        groups: (num_markers,) int64, equal for siblings (same parent prefix, different steps); negative: in no group.
        weights: (num_markers,) finite and >= 0.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> logits, targets = torch.tensor([[2.0], [0.0], [1.0]]), torch.tensor([1.0, 0.0, 0.5])
        >>> pairwise_loss(logits, targets, torch.tensor([0, 0, 1]), torch.ones(3))
        tensor(0.1269)
    """
    _check_shapes(logits, targets=targets, groups=groups, weights=weights)
    targets, weights, groups = targets.to(logits.device).float(), weights.to(logits.device), groups.to(logits.device)
    is_grouped = (targets != IGNORE_LABEL) & (groups >= 0)
    is_pair = (targets[:, None] > targets[None, :]) & (groups[:, None] == groups[None, :])
    higher, lower = (is_pair & is_grouped[:, None] & is_grouped[None, :]).nonzero(as_tuple=True)  # (num_pairs,) each
    positive, negative = _two_columns(logits.float()).unbind(-1)
    log_odds = positive - negative
    losses = -functional.logsigmoid(log_odds[higher] - log_odds[lower])
    return (losses * (weights[higher] * weights[lower]).float()).sum()


def weighted_mean_loss(
    losses: torch.Tensor, weights: torch.Tensor, is_labelled: torch.Tensor, divisor: torch.Tensor | float
) -> torch.Tensor:
    """Return ``sum(losses * weights) / divisor`` over the labelled markers, a scalar tied to the graph.

    The gradients are those of one large batch if the divisor is that of the whole optimizer step (all processes, all
    accumulated batches). Where nothing is labelled the loss is zero, with zero gradients, whatever the divisor.

    Args:
        losses: (num_markers,), see `step_losses`.
        weights: (num_markers,), finite and >= 0; those of unlabelled markers do not count.
        is_labelled: (num_markers,) bool.
        divisor: The sum of weights to divide by; 0 only if there is no weight anywhere.

    Example:
        >>> losses, weights = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([3.0, 1.0, 1.0])
        >>> weighted_mean_loss(losses, weights, torch.tensor([True, True, False]), 4.0)
        tensor(1.7500)
    """
    is_labelled = is_labelled.to(losses.device)
    weights = weights.to(losses.device).float().masked_fill(~is_labelled, 0.0)
    total = (losses.float().masked_fill(~is_labelled, 0.0) * weights).sum()
    divisor = torch.as_tensor(divisor, dtype=total.dtype, device=total.device)
    # Without any weight the sum is 0, so any divisor does; a clamp would distort small sums of weights.
    return total / divisor.masked_fill(divisor == 0, 1.0)


def _check_shapes(logits: torch.Tensor, **per_marker: torch.Tensor) -> None:
    """Raise unless the logits have one or two columns and the other tensors one entry per marker."""
    if logits.dim() != 2 or logits.shape[1] not in (1, 2):
        raise ValueError(
            f"Found logits of shape {tuple(logits.shape)}. Give (num_markers, 2) [positive, negative] or "
            "(num_markers, 1) log-odds, of marker positions only."
        )
    for name, tensor in per_marker.items():
        if tensor.shape != logits.shape[:1]:
            raise ValueError(
                f"Found {name} of shape {tuple(tensor.shape)} with {logits.shape[0]} markers. Give one per marker."
            )


def _two_columns(logits: torch.Tensor) -> torch.Tensor:
    """(num_markers, 2) logits; log-odds are the positive logit beside a negative one of 0."""
    return functional.pad(logits, (0, 2 - logits.shape[1]))
