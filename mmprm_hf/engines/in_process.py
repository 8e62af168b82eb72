"""Runs a Hugging Face image-text-to-text model in this process, for many callers at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..data import Rollout, content_hash
from ..errors import EngineUnavailableError
from ..models import model_fingerprint, processor_fingerprint
from ..steps import DEFAULT_STEP_FORMAT, StepFormat
from .batch_decoding import BatchDecoder, PendingRollout
from .decoding import check_positions
from .gathering import Gatherer
from .prompts import Prompt, PromptWriter, StopStrings, end_token_ids
from .requests import RolloutRequest, SamplingConfig, parse_rollout

logger = logging.getLogger(__name__)


class TransformersEngine:
    """In-process engine for a Hugging Face image-text-to-text model.

    Requests of all callers that wait at the same time are decoded together, in batches of similar prompt length within
    `max_batch_tokens`, in a thread of the engine's own. Each distinct prompt is prefilled once (its figures encoded
    once) and its samples decode from the shared key/value cache: up to 16 samples share one cache row, kept apart by a
    4D mask, where all layers attend in full (sdpa or eager); otherwise each sample has a row of its own. Finished
    samples leave the batch. A batch that does not fit into memory is halved, and so are all later ones.

    Args:
        model: An `AutoModelForImageTextToText`; put in eval mode. Its `generation_config` names the end tokens.
        processor: Its processor, with a chat template.
        sampling: How tokens are drawn.
        step_format: The policy's tags.
        max_batch_size: The most rollouts decoded together.
        max_batch_tokens: The most tokens of keys and values held at once: prompts (each row padded to the longest) and
            `max_new_tokens` for every rollout. The prompt of one request is decoded even if it alone is larger.
        system_prompt: Text of a system turn before the problem; None for no such turn.

    Raises:
        ValueError: if a bound is below 1, no end token is known, or the model's positions are of an unknown kind.

    Example:
        >>> engine = TransformersEngine(model, processor, sampling=SamplingConfig(temperature=0.7))  # doctest: +SKIP
        >>> (rollouts,) = asyncio.run(engine.generate([RolloutRequest(problem, num_samples=16)]))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
        step_format: StepFormat = DEFAULT_STEP_FORMAT,
        max_batch_size: int = 256,
        max_batch_tokens: int = 131_072,
        system_prompt: str | None = None,
    ) -> None:
        for name, value in (("max_batch_size", max_batch_size), ("max_batch_tokens", max_batch_tokens)):
            if value < 1:
                raise ValueError(f"Found {name}={value}; at least one rollout must fit into a batch.")
        check_positions(model)
        self.model, self.processor = model.eval(), processor
        self.sampling, self.step_format = sampling, step_format
        self.max_batch_size, self.max_batch_tokens = max_batch_size, max_batch_tokens
        self.prompts = PromptWriter(processor, step_format, system_prompt)
        end_ids = end_token_ids(model, processor.tokenizer)
        stops = StopStrings(processor.tokenizer, sampling.stop_strings)
        self.decoder = BatchDecoder(model, self.prompts, stops, end_ids, sampling)
        self._gatherer: Gatherer[PendingRollout] = Gatherer(self._choose_batch, self._run)
        self.identity: dict[str, Any] = {
            "engine": "transformers",
            "model_type": model.config.model_type,
            "weights": model_fingerprint(model),
            "processor": processor_fingerprint(processor),
            "sampling": sampling.to_dict(),
            "step_format": list(step_format.tags),
            "end_token_ids": sorted(end_ids),
            **({} if system_prompt is None else {"system_prompt": system_prompt}),
        }

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or a text holds a control token of the tokenizer.
            EngineUnavailableError: if the model fails.
        """
        prompts: dict[tuple[str, tuple[str, ...]], Prompt] = {}
        groups: list[list[PendingRollout]] = []
        for request in requests:
            problem, prefix = request.problem, request.prefix
            if (problem.id, prefix) not in prompts:
                prompts[problem.id, prefix] = self.prompts.write(problem, prefix)
            seeds = [content_hash(request.seed, problem.id, list(prefix), i) for i in range(request.num_samples)]
            groups.append([PendingRollout(prompts[problem.id, prefix], seed) for seed in seeds])
        await self._gatherer.do([rollout for group in groups for rollout in group])
        return [tuple(map(self._rollout, group)) for group in groups]

    def _choose_batch(self, waiting: Sequence[PendingRollout]) -> list[PendingRollout]:
        """The oldest rollout and those most like it: the longest stretch around it, by prompt length, that fits."""
        oldest = waiting[0].prompt
        order = {id(prompt): i for i, prompt in enumerate({id(r.prompt): r.prompt for r in waiting}.values())}

        def key(rollout: PendingRollout) -> tuple[int, int, int]:
            prompt = rollout.prompt
            return len(prompt.images), prompt.num_tokens, order[id(prompt)]  # samples of one prompt stay neighbours

        alike = sorted((r for r in waiting if bool(r.prompt.images) == bool(oldest.images)), key=key)
        start = next(index for index, rollout in enumerate(alike) if rollout.prompt is oldest)
        end = start + 1
        while True:
            if end < len(alike) and self._fits(alike[start : end + 1]):
                end += 1
            elif start and self._fits(alike[start - 1 : end]):
                start -= 1
            else:
                return alike[start:end]

    def _fits(self, batch: Sequence[PendingRollout]) -> bool:
        return len(batch) <= self.max_batch_size and self.decoder.num_cached_tokens(batch) <= self.max_batch_tokens

    def _run(self, batch: list[PendingRollout], is_stopped: Callable[[], bool]) -> list[PendingRollout]:
        """Decode a batch, in the engine's thread; return what has to wait for a smaller one."""
        try:
            self.decoder.decode(batch, is_stopped)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise EngineUnavailableError(
                    f"One rollout does not fit into memory ({error}). Lower max_new_tokens, use fewer or smaller "
                    "figures, or another device."
                ) from error
            self.max_batch_size = len(batch) // 2
            logger.warning("out of memory with %d rollouts; %d at a time from now on", len(batch), self.max_batch_size)
            return batch
        except Exception as error:  # noqa: BLE001 (a model may raise anything; no problem is at fault)
            raise EngineUnavailableError(
                f"{type(self.model).__name__} failed on a batch of {len(batch)} rollouts with "
                f"{type(error).__name__}: {error}"
            ) from error
        return []

    def _rollout(self, pending: PendingRollout) -> Rollout:
        """Parse a finished rollout. Only the end token is cut: tags may themselves be added tokens."""
        text = pending.text_before_stop
        if text is None:
            text = self.decoder.stops.decode(pending.response_ids)
        finish_reason = "stop" if pending.is_finished else "length"
        if not self.prompts.control_ids.isdisjoint(pending.response_ids):
            finish_reason = "control_token"  # a step with one in it could never be shown to a model again
        return parse_rollout(
            text,
            self.step_format,
            finish_reason,
            has_prefix=pending.prompt.has_prefix,
            num_tokens=len(pending.token_ids),
            num_prompt_tokens=pending.prompt.num_tokens,
        )
