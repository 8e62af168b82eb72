"""How far solutions of one problem may share tokens in a given backbone.

Three ways, best first: ``tree`` (every distinct token once, kept apart by masks), ``chain`` (the common prefix once,
then each solution on its own copy of the key-value cache) and ``rows`` (every solution by itself, always right).
`find_sharing` picks the best one that the backbone's configuration allows and that a numerical probe confirms.
"""

from __future__ import annotations

import logging
from typing import Literal

import torch
from transformers import PreTrainedModel

from ..models import cache_argument
from .backbones import positions_at, prompt_positions, stack_positions, why_no_tree, why_not_shared_at_any_length
from .packing import pack_prefix_tree
from .prefix_cache import CacheSharing, new_prefix_cache, suffix_inputs, to_device

logger = logging.getLogger(__name__)

Sharing = Literal["tree", "chain", "rows"]


def find_sharing(model: PreTrainedModel) -> tuple[Sharing, str]:
    """The best way of sharing that is right for a PRM's backbone, and why no better one ("" for ``tree``).

    A short text is run shared and alone: what no rule here knows about a backbone shows in the numbers.

    Raises:
        ValueError: if the backbone is not causal.
    """
    reasons = []
    for sharing in ("tree", "chain"):
        reason = why_not_shared(model, sharing)
        if reason is None:
            return sharing, "; ".join(reasons)
        reasons.append(reason)
    return "rows", "; ".join(dict.fromkeys(reasons))


def why_not_shared(model: PreTrainedModel, sharing: CacheSharing) -> str | None:
    """Why a way of sharing is wrong for a PRM's backbone; None where it is right.

    Raises:
        ValueError: if the backbone is not causal.
    """
    reason = why_no_tree(model) if sharing == "tree" else why_not_shared_at_any_length(model)
    return _probe(model, sharing, reason)


@torch.no_grad()
def _probe(model: PreTrainedModel, sharing: CacheSharing, known_reason: str | None) -> str | None:
    """Why a way of sharing does not reproduce the backbone's own numbers; None where it does."""
    vocab = model.get_input_embeddings().weight.shape[0]
    ids = [(7 * i + 3) % vocab for i in range(12)]
    prefix, suffixes = ids[:5], [ids[5:9], [*ids[5:7], *ids[9:12]]]
    vlm, name = model.vlm, type(model.vlm).__name__

    def text_inputs(row: list[int]) -> dict[str, torch.Tensor]:
        inputs = {"input_ids": torch.tensor([row], device=model.device)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if model.config.vlm_config.model_type == "paligemma":  # 1: causal; without types it attends both ways
            inputs["token_type_ids"] = torch.ones_like(inputs["input_ids"])
        return inputs

    alone = [vlm(**text_inputs([*prefix, *suffix]), use_cache=False).last_hidden_state[0] for suffix in suffixes]
    expected = [states[len(prefix) :] for states in alone]
    scale = torch.cat(expected).float().std().item()
    tolerance = scale * (1e-3 if model.dtype == torch.float32 else 0.1)
    future = (alone[0][: len(prefix)] - alone[1][: len(prefix)]).float().abs().mean().item()
    # The mean tells rounding (0 for causal backbones in bfloat16 too) from a glimpse of what follows (above 0.01).
    if not future <= scale * (1e-4 if model.dtype == torch.float32 else 5e-3):
        raise ValueError(
            f"{name} is not causal: the states of a text's beginning change by {future / scale:.1e} of their spread "
            "with what follows. A step's score would depend on later steps; use a causal backbone."
        )
    if known_reason:
        return known_reason
    try:
        cache = new_prefix_cache(model, sharing)
        (table,) = prompt_positions(model, [prefix], {})
        positions = stack_positions([table], len(prefix)).to(model.device)
        vlm(**text_inputs(prefix), position_ids=positions, use_cache=True, **{cache_argument(vlm): cache})
        trees = [pack_prefix_tree(suffixes)] if sharing == "tree" else [pack_prefix_tree([s]) for s in suffixes]
        rows = [positions_at(table, tree.position_ids + len(prefix)) for tree in trees]
        owner, mask = torch.zeros(len(trees), dtype=torch.long), torch.ones(1, len(prefix), dtype=torch.long)
        inputs = suffix_inputs(model, trees, owner, mask, rows, cache, sharing, ids[0])
        inputs[cache_argument(vlm)] = inputs.pop("cache")
        states = vlm(**to_device(inputs, model.device), use_cache=True).last_hidden_state
        found = [
            states[0, trees[0].token_index[i]] if sharing == "tree" else states[i, : len(suffixes[i])] for i in (0, 1)
        ]
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"{name} does not take {sharing} inputs ({type(error).__name__}: {str(error)[:120]})"
    error = max((a.float() - b.float()).abs().max().item() for a, b in zip(found, expected, strict=True))
    if not error <= tolerance:
        return f"{name} gives other numbers under {sharing} (relative error {error / scale:.1e})"
    logger.debug("%s: %s sharing confirmed, relative error %.1e", name, sharing, error / scale)
    return None


__all__ = ["Sharing", "find_sharing", "why_not_shared"]
