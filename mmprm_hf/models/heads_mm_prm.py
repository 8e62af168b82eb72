"""The head: from hidden states at step markers to logits, scores and the loss; which labels a marker may have.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import torch
from torch import nn

from .configuration_mm_prm import MMPRMConfig

IGNORE_LABEL = -100.0  # of every token that is not a labelled marker


def make_head(config: MMPRMConfig) -> nn.Module:
    """Return a head of `config.head_type`, not yet initialised."""
    hidden_size = config.get_text_config().hidden_size
    if config.head_type == "mlp":
        return nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, 2))
    return nn.Linear(hidden_size, 1 if config.head_type == "sigmoid" else 2, bias=config.head_bias)


def positive_scores(logits: torch.Tensor) -> torch.Tensor:
    """P(positive), (num_markers,) in float32, of logits (num_markers, 2), or (num_markers, 1) under a sigmoid head."""
    logits = logits.float()
    return logits[:, 0].sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)[:, 0]


def marker_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft two-way cross-entropy ``-[y log p + (1 - y) log(1 - p)]`` of each marker, zero where the label is -100.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        labels: (num_markers,) targets in [0, 1], or -100.

    Returns:
        (num_markers,) in float32; a marker without label gets exactly zero gradient, even where its logits are NaN.

    Example:
        >>> marker_losses(torch.zeros(3, 2), torch.tensor([1.0, 0.9, -100.0]))
        tensor([0.6931, 0.6931, 0.0000])
    """
    is_ignored = labels.to(logits.device) == IGNORE_LABEL
    # Masked before the loss, not after: zero times the gradient of a NaN is NaN.
    logits = logits.float().masked_fill(is_ignored[:, None], 0.0)
    targets = labels.to(logits).masked_fill(is_ignored, 0.0)
    if logits.shape[-1] == 1:  # log sigmoid(x) and log(1 - sigmoid(x))
        log_probs = nn.functional.logsigmoid(torch.cat([logits, -logits], dim=-1))
    else:
        log_probs = logits.log_softmax(-1)
    losses = -(targets * log_probs[:, 0] + (1 - targets) * log_probs[:, 1])
    return losses.masked_fill(is_ignored, 0.0)


def marker_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Sum of `marker_losses` over `num_items_in_batch`: a scalar, zero and tied to the graph if there is no label.

    Args:
        logits, labels: As in `marker_losses`.
        num_items_in_batch: Divisor; None takes the number of labelled markers here.
    """
    total = marker_losses(logits, labels).sum()
    if num_items_in_batch is None:
        num_items_in_batch = (labels != IGNORE_LABEL).sum()
    return total / torch.as_tensor(num_items_in_batch, device=total.device).clamp(min=1)


def check_labels(labels: torch.Tensor, is_marker: torch.Tensor) -> None:
    """Refuse labels (ValueError) of another shape, not at a marker, or neither in [0, 1] nor -100."""
    if labels.shape != is_marker.shape:
        raise ValueError(
            f"Found labels of shape {tuple(labels.shape)} for input_ids of shape {tuple(is_marker.shape)}. Give one "
            f"label per token, {IGNORE_LABEL:g} wherever there is no marker."
        )
    is_labelled = labels != IGNORE_LABEL  # true of NaN too
    is_wrong = is_labelled & ~((labels >= 0) & (labels <= 1) & is_marker.to(labels.device))
    if not is_wrong.any():
        return
    row, column = is_wrong.nonzero()[0].tolist()
    rule = "is in [0, 1] or -100" if is_marker[row, column] else "stands at a step marker; all other tokens have -100"
    raise ValueError(
        f"Found the label {labels[row, column].item()} at row {row}, column {column} ({int(is_wrong.sum())} such "
        f"labels). A label {rule}. Check how the labels were made."
    )
