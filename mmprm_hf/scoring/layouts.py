"""How the solutions of a problem share tokens in a forward, and which ways of sharing are right for a backbone.

"rows" is always right. Another layout is right if the backbone's configuration allows it and a numerical probe confirms
it: what no rule of `backbones.py` knows about a backbone shows in the numbers. Knows models, no problems and no text.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from transformers import PreTrainedModel

from ..errors import UnknownNameError
from ..models import cache_argument, check_causal, text_inputs
from .backbones import (
    TREE_KERNEL,
    attention_windows,
    cache_obstacle,
    packed_obstacle,
    prompt_positions,
    stack_positions,
    tree_obstacle,
    uses_tree_kernel,
)
from .packing import pack_prefix_tree
from .prefix_cache import CachedPrefixes, new_prefix_cache, suffix_inputs, to_device

logger = logging.getLogger(__name__)

Layout = Literal["auto", "packed", "tree", "chain", "rows"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_LONGEST_WINDOW = 128  # that the probe reaches beyond; longer ones would cost seconds at every start
_LARGEST_TOLERANCE = 0.2  # of a relative error; what is wrong differs by 0.29 and more


def choose_layout(model: PreTrainedModel, layout: Layout = "auto") -> Layout:
    """Return the layout that a PRM is scored with: `layout` if it is right, or the best right one for "auto".

    Returns:
        "packed", "tree", "chain" or "rows"; or "auto" if packed and tree are both right, so that each batch can take
        the cheaper of the two.

    Raises:
        ValueError: if there is no such layout, the backbone is not causal, or its scores would not be those of "rows".
    """
    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    if uses_tree_kernel(model):
        obstacle = f"{TREE_KERNEL} takes packed rows only"
        if layout in ("auto", "packed"):
            obstacle, chosen = packed_obstacle(model), "packed"
    else:
        check_causal(model)
        if layout == "auto":
            return _best_layout(model)
        obstacle, chosen = layout_obstacle(model, layout), layout
    if obstacle:
        raise ValueError(f"layout {layout!r} would be wrong: {obstacle}. Leave it at 'auto'.")
    return chosen


def _best_layout(model: PreTrainedModel) -> Layout:
    """The best right layout, "auto" for tree and packed; a warning says why it is not a better one."""
    obstacles = []
    for best in ("tree", "chain", "rows"):
        obstacle = layout_obstacle(model, best)
        if obstacle is None:
            break
        obstacles.append(obstacle)
    if obstacles:
        logger.warning("Scoring with layout %r: %s.", best, "; ".join(dict.fromkeys(obstacles)))
    return "auto" if best == "tree" else best


def layout_obstacle(model: PreTrainedModel, layout: Layout) -> str | None:
    """Return why a layout would give other scores than "rows" with a PRM's backbone; None if it gives the same."""
    if layout == "rows":
        return None
    if layout == "chain":
        return cache_obstacle(model) or _probe_obstacle(model, "chain")
    return (packed_obstacle if layout == "packed" else tree_obstacle)(model) or _probe_obstacle(model, "tree")


@torch.no_grad()
def _probe_obstacle(model: PreTrainedModel, layout: Layout) -> str | None:
    """How a backbone fails to reproduce, under "tree" or "chain", its states of single rows; None if it does not."""
    # A short row shows wrong masks and positions best; a row beyond a window shows whether the window is kept.
    windows = [window for window in (attention_windows(model) or {}).values() if window and window <= _LONGEST_WINDOW]
    for prefix_length in (5, *windows):
        if obstacle := _obstacle_behind(model, layout, prefix_length):
            return obstacle
    return None


def _obstacle_behind(model: PreTrainedModel, layout: Layout, prefix_length: int) -> str | None:
    """`_probe_obstacle` for two suffixes, which share two tokens, behind a prefix of so many tokens."""
    vocab_size = model.get_input_embeddings().weight.shape[0]
    ids = [(7 * i + 3) % vocab_size for i in range(prefix_length + 7)]
    prefix, suffix = ids[:prefix_length], ids[prefix_length:]
    suffixes = [suffix[:4], [*suffix[:2], *suffix[4:]]]
    name = type(model.vlm).__name__
    alone = [_states_alone(model, prefix, suffix) for suffix in suffixes]
    try:
        shared = _states_shared(model, prefix, suffixes, branches=layout == "tree")
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"{name} does not take {layout} inputs ({type(error).__name__}: {str(error)[:120]})"
    error = _relative_error(shared, alone)
    if error <= _tolerance(model, _relative_error(_states_padded(model, prefix, suffixes), alone)):
        return None
    return f"{name} gives other numbers under {layout} (relative error {error:.1e})"  # NaN too


def _relative_error(states: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Root mean square of the differences, each in units of the standard deviation of its channel over the tokens.

    Real models have a few channels a hundred times larger than the rest, which would hide an error everywhere else and
    whose own rounding looks like one.
    """
    wanted = torch.cat(list(expected)).double()
    spread = wanted.std(0).clamp(min=torch.finfo(torch.float32).tiny)
    return ((torch.cat(list(states)).double() - wanted) / spread).square().mean().sqrt().item()


def _tolerance(model: PreTrainedModel, own_error: float) -> float:
    """The largest error that rounding explains; `own_error` is that of a padded batch, which is right.

    Each layer rounds the states twice, and roundings add up as their squares do. A backbone that differs from itself by
    more is unsteady, which excuses no more than twice as much. In bfloat16, on the families of `tests/scoring` and on
    SmolLM2, right layouts have at most half of this bound; a wrong mask, wrong positions and a window that is not kept
    have errors of 0.29 and more.
    """
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", 1)
    rounding = torch.finfo(model.dtype).eps * (2 * depth) ** 0.5
    return max(1e-3, min(2 * max(own_error, rounding), 4 * rounding, _LARGEST_TOLERANCE))


def _states_padded(model: PreTrainedModel, prefix: list[int], suffixes: Sequence[list[int]]) -> list[torch.Tensor]:
    """As `_states_alone` of each suffix, from one batch whose shorter rows are padded at the right."""
    rows = [prefix + suffix for suffix in suffixes]
    width = max(len(row) for row in rows) + 3  # another shape than that of a row by itself, so that roundings differ
    inputs = [text_inputs(model, [*row, *row[: width - len(row)]]) for row in rows]
    batch = {name: torch.cat([entry[name] for entry in inputs]) for name in inputs[0]}
    for index, row in enumerate(rows):
        batch["attention_mask"][index, len(row) :] = 0
    states = model.vlm(**batch, use_cache=False).last_hidden_state  # (rows, width, hidden)
    return [states[index, len(prefix) : len(row)] for index, row in enumerate(rows)]


def _states_alone(model: PreTrainedModel, prefix: list[int], suffix: list[int]) -> torch.Tensor:
    """States (suffix, hidden) of a suffix behind its prefix in a row of its own."""
    states = model.vlm(**text_inputs(model, prefix + suffix), use_cache=False).last_hidden_state
    return states[0, len(prefix) :]


def _states_shared(
    model: PreTrainedModel, prefix: list[int], suffixes: Sequence[list[int]], branches: bool
) -> list[torch.Tensor]:
    """States (suffix, hidden) of each suffix behind one cached prefix, laid out as in `score_behind_prefixes`."""
    name = cache_argument(model.vlm)
    cache = new_prefix_cache(model, branches)
    (table,) = prompt_positions(model, [prefix], {})
    positions = stack_positions([table], len(prefix)).to(model.device)
    model.vlm(**text_inputs(model, prefix), position_ids=positions, use_cache=True, **{name: cache})
    prefixes = CachedPrefixes(cache, torch.ones(1, len(prefix), dtype=torch.long), [len(prefix)], [table], branches)
    groups = [suffixes] if branches else [[suffix] for suffix in suffixes]
    trees = [pack_prefix_tree(group) for group in groups]
    inputs = suffix_inputs(model, prefixes, trees, [0] * len(trees), pad_token_id=prefix[0])
    inputs[name] = inputs.pop("cache")
    states = model.vlm(**to_device(inputs, model.device), use_cache=True).last_hidden_state  # (rows, width, hidden)
    return [states[row, index] for row, tree in enumerate(trees) for index in tree.token_index]
