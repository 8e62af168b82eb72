"""Runs a Hugging Face model that writes text in this process, for many callers at a time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..data import Problem, Rollout, content_hash
from ..errors import EngineUnavailableError
from ..models import model_fingerprint, processor_fingerprint
from ..steps import StepFormat
from .batch_decoding import BatchDecoder, PendingRollout
from .decoding import check_positions
from .gathering import Gatherer
from .policy_format import PolicyFormat, declared_format
from .prompts import Prompt, PromptWriter, end_token_ids
from .requests import RolloutRequest, SamplingConfig, Written, parse_rollout
from .stop_strings import StopStrings
from .suggested_sampling import note_other_sampling
from .templates import tokenizer_of

logger = logging.getLogger(__name__)


class TransformersEngine:
    """In-process engine for a Hugging Face model that writes text, with or without figures before it.

    Requests of all callers that wait at the same time are decoded together, in batches of similar prompt length within
    `max_batch_tokens`, in a thread of the engine's own. Each distinct prompt is prefilled once (its figures encoded
    once) and its samples decode from the shared key/value cache: up to 16 samples share one cache row, kept apart by a
    4D mask, where all layers attend in full (sdpa or eager); otherwise each sample has a row of its own. Finished
    samples leave the batch. A batch that does not fit into memory is halved, and so are all later ones.

    Args:
        model: An `AutoModelForImageTextToText` or `AutoModelForCausalLM`; put in eval mode. Its `generation_config`
            names the end tokens.
        processor: Its processor, or the tokenizer of a model that reads text alone. Without a chat template (a base
            model) problems are shown in a plain prompt.
        sampling: How tokens are drawn.
        step_format: How the policy writes steps: a `StepFormat` or its name. "auto" finds out from a few responses to
            the first problems; None takes what `generation_config.step_format` names, or else "auto".
        max_batch_size: The most rollouts decoded together.
        max_batch_tokens: The most tokens of keys and values held at once: prompts (each row padded to the longest) and
            `max_new_tokens` for every rollout. The prompt of one request is decoded even if it alone is larger.
        system_prompt: Text of a system turn before the problem; None for no such turn.
        instruct: Whether the policy is asked to write in its format: "auto" (only where it was found by "auto" and
            more responses can then be read), "never", "always", or "example" with a worked example.
        template_options: More variables of the chat template, such as ``{"enable_thinking": False}``.

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
        step_format: StepFormat | str | None = None,
        max_batch_size: int = 256,
        max_batch_tokens: int = 131_072,
        system_prompt: str | None = None,
        instruct: str = "auto",
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in (("max_batch_size", max_batch_size), ("max_batch_tokens", max_batch_tokens)):
            if value < 1:
                raise ValueError(f"Found {name}={value}; at least one rollout must fit into a batch.")
        check_positions(model)
        note_other_sampling(model, sampling)
        self.model, self.processor = model.eval(), processor
        self.sampling = sampling
        self.max_batch_size, self.max_batch_tokens = max_batch_size, max_batch_tokens
        self.format = PolicyFormat(step_format, instruct, declared_format(model.generation_config, processor))
        self.prompts = PromptWriter(processor, system_prompt, dict(template_options or {}))
        tokenizer = tokenizer_of(processor)
        self._end_ids = end_token_ids(model, tokenizer)
        self._decoding_tokenizer = copy.deepcopy(tokenizer)  # of the engine's thread
        self._stops: dict[tuple[Any, ...], StopStrings] = {}
        self.decoder = BatchDecoder(model, self.prompts, self._end_ids, sampling)
        self._gatherer: Gatherer[PendingRollout] = Gatherer(self._choose_batch, self._run)
        self._facts: dict[str, Any] = {
            "engine": "transformers",
            "model_type": model.config.model_type,
            "weights": model_fingerprint(model),
            "processor": processor_fingerprint(processor),
            "sampling": sampling.to_dict(),
        }
        self._options: dict[str, Any] = {
            "end_token_ids": sorted(self._end_ids),
            **({} if system_prompt is None else {"system_prompt": system_prompt}),
            **({} if not template_options else {"template_options": dict(template_options)}),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What writes the rollouts; its step format is "auto" until it is found."""
        return {**self._facts, **self.format.identity, **self._options}

    @property
    def step_format(self) -> StepFormat | None:
        """How the policy writes steps; None until it is found."""
        return self.format.step_format

    async def settle(self, problems: Sequence[Problem], identity: Mapping[str, Any] | None = None) -> None:
        """Find the step format, where it is not known yet, from a few responses to the first of these problems.

        `generate` does it with its own problems where nobody did.

        Args:
            problems: Problems; without any nothing is found.
            identity: The `identity` of an earlier engine of the same run, whose format is taken instead; None for none.
        """
        self.format.restore(identity or {})
        if self.step_format is None and problems:
            await self.format.settle(self._draw, problems)

    async def _draw(self, problems: Sequence[Problem], num_samples: int) -> list[Written]:
        written = await self._write([RolloutRequest(problem, num_samples=num_samples) for problem in problems])
        return [response for responses in written for response in responses]

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or a text holds a control token of the tokenizer.
            EngineUnavailableError: if the model fails.
        """
        if self.step_format is None and requests:
            await self.settle([request.problem for request in requests])
        written = await self._write(requests)
        return [
            tuple(parse_rollout(response, self.step_format, request) for response in responses)
            for request, responses in zip(requests, written, strict=True)
        ]

    async def _write(self, requests: Sequence[RolloutRequest]) -> list[list[Written]]:
        prompts: dict[tuple[str, tuple[str, ...]], Prompt] = {}
        groups: list[list[PendingRollout]] = []
        for request in requests:
            problem, prefix = request.problem, request.prefix
            if (problem.id, prefix) not in prompts:
                prompt = self.prompts.write(problem, prefix, self.step_format, self.format.instruction)
                prompts[problem.id, prefix] = prompt
            seeds = [content_hash(request.seed, problem.id, list(prefix), i) for i in range(request.num_samples)]
            stops = self._stops_of(request, prompts[problem.id, prefix].opened_thought)
            groups.append([PendingRollout(prompts[problem.id, prefix], seed, stops) for seed in seeds])
        await self._gatherer.do([rollout for group in groups for rollout in group])
        return [list(map(self._written, group)) for group in groups]

    def _stops_of(self, request: RolloutRequest, opened_thought: str) -> StopStrings:
        """The stop strings of a request; those of a step depend on how many there are before it."""
        usual = (*self.sampling.stop_strings, *self.prompts.template.stop_strings)
        num_steps = len(request.prefix) if request.one_step else None
        key = (self.step_format if request.one_step else None, num_steps, opened_thought)
        if key not in self._stops:
            step_stops = self.step_format.step_stops(num_steps) if request.one_step else ()
            step_format = self.step_format

            def is_end(text: str, stop: str) -> bool:
                return stop not in step_stops or step_format.is_step_end(opened_thought + text)

            stops = tuple(dict.fromkeys((*usual, *step_stops)))
            self._stops[key] = StopStrings(self._decoding_tokenizer, stops, is_end if step_stops else None)
        return self._stops[key]

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

    def _written(self, pending: PendingRollout) -> Written:
        """The text of a finished rollout. Only the end token is cut: tags may themselves be added tokens."""
        text, stopped_at = pending.stop or (pending.stops.decode(pending.response_ids), "")
        finish_reason = "stop" if pending.is_finished else "length"
        if not self.prompts.control_ids.isdisjoint(pending.response_ids):
            finish_reason = "control_token"  # a step with one in it could never be shown to a model again
        if pending.prompt.opened_thought:
            text = f"{pending.prompt.opened_thought}\n{text}"
        return Written(text, finish_reason, len(pending.token_ids), pending.prompt.num_tokens, stopped_at)
