"""Decodes a batch of rollouts token by token: each distinct prompt once, its samples in rows of the cache behind it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..models import input_device
from .decoding import DecodingRows, can_share_rows, draw
from .prompts import Prompt, PromptWriter
from .requests import SamplingConfig
from .stop_strings import StopStrings

# Samples that share one row of the key/value cache. More saves memory traffic on the prompt and spends arithmetic
# on the other samples' tokens, which are masked; 16 was the best of 1, 4, 8 and 16 for 90-token prompts on a CPU.
_MAX_ROW_WIDTH = 16
# Above this many cached tokens per row the masked arithmetic outweighs the shared prompt.
_MAX_ROW_TOKENS = 2048
# Finished samples are dropped once the others fit into this share of the batch (each drop copies the cache).
_COMPACT_SHARE = 0.75


@dataclasses.dataclass(eq=False)
class PendingRollout:
    """One rollout in the making: its prompt, the seed of its draws, where it stops, and what has been drawn."""

    prompt: Prompt
    seed: str
    stops: StopStrings
    rng: random.Random = dataclasses.field(default_factory=random.Random)
    token_ids: list[int] = dataclasses.field(default_factory=list)
    is_finished: bool = False
    stop: tuple[str, str] | None = None  # the text before the stop string, and that string
    future: asyncio.Future[None] | None = None  # of the caller that waits for it

    def start(self) -> None:
        """Begin from the seed, also after a batch that was too large."""
        self.rng, self.token_ids = random.Random(self.seed), []
        self.is_finished, self.stop = False, None

    @property
    def is_live(self) -> bool:
        """Whether more tokens are to be drawn."""
        return not self.is_finished

    @property
    def response_ids(self) -> list[int]:
        """The drawn tokens without the one that ended the rollout, whether an end token or a stop string's last."""
        return self.token_ids[:-1] if self.is_finished else self.token_ids


class BatchDecoder:
    """Draws the tokens of pending rollouts.

    Args:
        model: The policy.
        prompts: Encodes prompts for it.
        end_token_ids: Tokens that end a rollout.
        sampling: How tokens are drawn.

    Attributes:
        row_width: The most samples that share a row of the cache; 1 where the model does not honour a 4D mask.
    """

    def __init__(
        self,
        model: Any,
        prompts: PromptWriter,
        end_token_ids: frozenset[int],
        sampling: SamplingConfig,
    ) -> None:
        self.model, self.prompts = model, prompts
        self.end_token_ids, self.sampling = end_token_ids, sampling
        self.row_width = 1
        if can_share_rows(model):
            self.row_width = max(1, min(_MAX_ROW_WIDTH, _MAX_ROW_TOKENS // sampling.max_new_tokens))

    def num_cached_tokens(self, batch: Sequence[PendingRollout]) -> int:
        """Return how many tokens' keys and values a batch holds at most at its end."""
        longest = max(rollout.prompt.num_tokens for rollout in batch)
        num_rows = len(batch)
        if self.row_width > 1:
            num_rows = -(-len(batch) // self.row_width) + len({id(rollout.prompt) for rollout in batch}) - 1
        return num_rows * longest + len(batch) * self.sampling.max_new_tokens

    def decode(self, batch: Sequence[PendingRollout], is_stopped: Callable[[], bool]) -> None:
        """Fill `token_ids` of the rollouts of one batch; give up as soon as `is_stopped` returns True."""
        by_prompt: dict[int, list[PendingRollout]] = {}
        for rollout in batch:
            rollout.start()
            by_prompt.setdefault(id(rollout.prompt), []).append(rollout)
        groups = list(by_prompt.values())
        width = min(self.row_width, max(map(len, groups)))
        slots: list[list[PendingRollout | None]] = []
        prompt_of_row: list[int] = []
        for index, group in enumerate(groups):
            for start in range(0, len(group), width):
                row = group[start : start + width]
                slots.append([*row, *[None] * (width - len(row))])
                prompt_of_row.append(index)
        with torch.inference_mode():
            inputs = self.prompts.encode([group[0].prompt for group in groups])
            device = input_device(self.model)
            inputs = {
                name: tensor.to(device, self.model.dtype if tensor.is_floating_point() else None)
                for name, tensor in inputs.items()
            }
            rows = DecodingRows(self.model, inputs, prompt_of_row, width, self.row_width > 1, self.sampling)
            self._sample(rows, slots, is_stopped)

    def _sample(
        self, rows: DecodingRows, slots: list[list[PendingRollout | None]], is_stopped: Callable[[], bool]
    ) -> None:
        """Draw tokens until every rollout has ended or reached the limit."""
        for step in range(self.sampling.max_new_tokens):
            draws = [[slot.rng.random() if slot and slot.is_live else 0.5 for slot in row] for row in slots]
            token_ids = draw(rows.logits, draws, self.sampling)  # (rows, width)
            for row, row_ids in zip(slots, token_ids.tolist(), strict=True):
                for rollout, token_id in zip(row, row_ids, strict=True):
                    if rollout is not None and rollout.is_live:
                        self._append(rollout, token_id)
            is_live = [[slot is not None and slot.is_live for slot in row] for row in slots]
            if step + 1 == self.sampling.max_new_tokens or not any(map(any, is_live)) or is_stopped():
                return
            live_rows = [index for index, flags in enumerate(is_live) if any(flags)]
            width = max(map(sum, is_live))
            if len(live_rows) * width <= _COMPACT_SHARE * len(slots) * len(slots[0]):
                # Live samples first (False sorts before True), finished ones fill the row up to its width.
                order = range(len(slots[0]))
                kept_slots = [sorted(order, key=lambda slot, r=r: not is_live[r][slot])[:width] for r in live_rows]
                slots = [[slots[r][slot] for slot in kept] for r, kept in zip(live_rows, kept_slots, strict=True)]
                token_ids = rows.compact(live_rows, kept_slots, token_ids)
            rows.advance(token_ids)

    def _append(self, rollout: PendingRollout, token_id: int) -> None:
        rollout.token_ids.append(token_id)
        if token_id in self.end_token_ids:
            rollout.is_finished = True
        else:
            rollout.stop = rollout.stops.cut(rollout.token_ids)
            is_abandoned = rollout.future is not None and rollout.future.done()
            rollout.is_finished = rollout.stop is not None or is_abandoned
