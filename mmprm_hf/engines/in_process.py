"""In-process engine for a Hugging Face image-text-to-text model: many samples behind one encoded prompt.

torch and transformers are imported inside the code that needs them.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..data import Problem, Rollout, content_hash
from ..errors import EngineUnavailableError
from ..steps import DEFAULT_STEP_FORMAT, StepFormat, parse_response
from .gathering import Gatherer
from .prompts import Prompt, PromptWriter, StopStrings, end_token_ids
from .requests import RolloutRequest, SamplingConfig

if TYPE_CHECKING:
    from .decoding import DecodingRows

logger = logging.getLogger(__name__)

# Samples that share one row of the key/value cache. More saves memory traffic on the prompt and spends arithmetic
# on the other samples' tokens, which are masked; 16 was the best of 1, 4, 8 and 16 for 90-token prompts on a CPU.
_MAX_ROW_WIDTH = 16
# Above this many cached tokens per row the masked arithmetic outweighs the shared prompt.
_MAX_ROW_TOKENS = 2048
# Finished samples are dropped once what remains fits into this share of the batch (each drop copies the cache).
_COMPACT_SHARE = 0.75


@dataclasses.dataclass(eq=False)
class _Sequence:
    """One rollout in the making."""

    prompt: Prompt
    seed: str
    rng: random.Random = dataclasses.field(default_factory=random.Random)
    token_ids: list[int] = dataclasses.field(default_factory=list)
    is_finished: bool = False
    text_before_stop: str | None = None
    is_abandoned: bool = False

    def start(self) -> None:
        """Begin (again, after a batch that was too large) from the seed."""
        self.rng, self.token_ids = random.Random(self.seed), []
        self.is_finished, self.text_before_stop = False, None


class TransformersEngine:
    """In-process engine for a Hugging Face image-text-to-text model.

    Requests of all callers that wait at the same time are decoded together, in batches of similar prompt length within
    `max_batch_tokens`, in a thread of the engine's own. Each distinct prompt is prefilled once (its figures encoded
    once) and its samples decode from the shared key/value cache: up to 16 samples live in one cache row, kept apart by
    a 4D mask, where all layers attend in full (sdpa or eager); otherwise each sample has a row of its own. Finished
    samples leave the batch. A batch that does not fit into memory is halved, and so are all later ones.

    Args:
        model: An `AutoModelForImageTextToText`; put in eval mode. Its `generation_config` names the end tokens.
        processor: Its processor, with a chat template.
        sampling: How tokens are drawn.
        step_format: The policy's tags.
        max_batch_size: The most sequences decoded together.
        max_batch_tokens: The most tokens of keys and values held at once: prompts (each row padded to the longest)
            and `max_new_tokens` for every sequence. One request's prompt is decoded even if it alone is larger.
        system_prompt: Text of a system turn before the problem.

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
                raise ValueError(f"Found {name}={value}; at least one sequence must fit into a batch.")
        from ..models import model_fingerprint, processor_fingerprint
        from .decoding import can_share_rows, check_positions

        check_positions(model)

        self.model, self.processor = model.eval(), processor
        self.sampling, self.step_format = sampling, step_format
        self.max_batch_size, self.max_batch_tokens = max_batch_size, max_batch_tokens
        self.prompts = PromptWriter(processor, step_format, system_prompt)
        self.end_token_ids = end_token_ids(model, processor.tokenizer)
        self._stops = StopStrings(processor.tokenizer, sampling.stop_strings)
        self._row_width = 1
        if can_share_rows(model):
            self._row_width = max(1, min(_MAX_ROW_WIDTH, _MAX_ROW_TOKENS // sampling.max_new_tokens))
        self._gatherer: Gatherer[_Sequence] = Gatherer(self._cut, self._run)
        self.identity: dict[str, Any] = {
            "engine": "transformers",
            "model_type": model.config.model_type,
            "weights": model_fingerprint(model),
            "processor": processor_fingerprint(processor),
            "sampling": {**dataclasses.asdict(sampling), "stop_strings": list(sampling.stop_strings)},
            "step_format": list(step_format.tags),
            "end_token_ids": sorted(self.end_token_ids),
            **({} if system_prompt is None else {"system_prompt": system_prompt}),
        }

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or a text holds a control token of the tokenizer.
            EngineUnavailableError: if the model fails.
        """
        prompts: dict[tuple[str, tuple[str, ...]], Prompt] = {}
        sequences: list[list[_Sequence]] = []
        for request in requests:
            problem, prefix = request.problem, request.prefix
            if (problem.id, prefix) not in prompts:
                prompts[problem.id, prefix] = self.prompts.write(problem, prefix)
            sequences.append(
                [
                    _Sequence(prompts[problem.id, prefix], self._seed(request.seed, problem, prefix, sample))
                    for sample in range(request.num_samples)
                ]
            )
        await self._gatherer.do([sequence for group in sequences for sequence in group])
        return [tuple(map(self._rollout, group)) for group in sequences]

    @staticmethod
    def _seed(seed: int, problem: Problem, prefix: tuple[str, ...], sample_index: int) -> str:
        return content_hash(seed, problem.id, list(prefix), sample_index)

    # --- Batches -------------------------------------------------------------------------------------------------

    def _cut(self, waiting: Sequence[_Sequence]) -> list[_Sequence]:
        """The oldest sequence and those most like it: the longest stretch around it, by prompt length, that fits."""
        oldest = waiting[0]
        order = {id(prompt): i for i, prompt in enumerate({id(s.prompt): s.prompt for s in waiting}.values())}

        def key(sequence: _Sequence) -> tuple[int, int, int]:
            prompt = sequence.prompt
            return len(prompt.images), prompt.num_tokens, order[id(prompt)]

        alike = [s for s in waiting if bool(s.prompt.images) == bool(oldest.prompt.images)]
        alike.sort(key=key)  # samples of one prompt stay neighbours
        start = alike.index(oldest)
        while start and alike[start - 1].prompt is oldest.prompt:
            start -= 1
        end = start + 1
        while True:
            longer, shorter = alike[start : end + 1], alike[max(0, start - 1) : end]
            if end < len(alike) and self._fits(longer):
                end += 1
            elif start and self._fits(shorter):
                start -= 1
            else:
                return alike[start:end]

    def _fits(self, batch: Sequence[_Sequence]) -> bool:
        return len(batch) <= self.max_batch_size and self._num_cached_tokens(batch) <= self.max_batch_tokens

    def _num_cached_tokens(self, batch: Sequence[_Sequence]) -> int:
        """Keys and values that a batch holds at its end at most, in tokens."""
        longest = max(sequence.prompt.num_tokens for sequence in batch)
        num_rows = len(batch)
        if self._row_width > 1:
            num_rows = -(-len(batch) // self._row_width) + len({id(sequence.prompt) for sequence in batch}) - 1
        return num_rows * longest + len(batch) * self.sampling.max_new_tokens

    def _run(self, batch: list[_Sequence], is_stopped: Callable[[], bool]) -> list[_Sequence]:
        """Decode a batch, in the engine's thread; return what has to wait for a smaller one."""
        import torch

        try:
            self._decode(batch, is_stopped)
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

    def _decode(self, batch: Sequence[_Sequence], is_stopped: Callable[[], bool]) -> None:
        """Fill `token_ids` of the sequences of one batch."""
        import torch

        from .decoding import DecodingRows

        by_prompt: dict[int, list[_Sequence]] = {}
        for sequence in batch:
            sequence.start()
            by_prompt.setdefault(id(sequence.prompt), []).append(sequence)
        groups = list(by_prompt.values())
        width = min(self._row_width, max(map(len, groups)))
        slots: list[list[_Sequence | None]] = []
        prompt_of_row: list[int] = []
        for index, members in enumerate(groups):
            for start in range(0, len(members), width):
                row = members[start : start + width]
                slots.append([*row, *[None] * (width - len(row))])
                prompt_of_row.append(index)
        with torch.inference_mode():
            inputs = self.prompts.encode([members[0].prompt for members in groups])
            inputs = {
                name: tensor.to(self.model.device, self.model.dtype if tensor.is_floating_point() else None)
                for name, tensor in inputs.items()
            }
            rows = DecodingRows(self.model, inputs, prompt_of_row, width, self._row_width > 1, self.sampling)
            self._sample(rows, slots, is_stopped)

    def _sample(self, rows: DecodingRows, slots: list[list[_Sequence | None]], is_stopped: Callable[[], bool]) -> None:
        """Draw tokens until every sequence has ended or reached the limit."""
        from .decoding import draw

        for step in range(self.sampling.max_new_tokens):
            draws = [[s.rng.random() if s and not s.is_finished else 0.5 for s in row] for row in slots]
            token_ids = draw(rows.logits, draws, self.sampling)  # (rows, width)
            for row, row_ids in zip(slots, token_ids.tolist(), strict=True):
                for sequence, token_id in zip(row, row_ids, strict=True):
                    if sequence is not None and not sequence.is_finished:
                        self._append(sequence, token_id)
            is_live = [[s is not None and not s.is_finished for s in row] for row in slots]
            if step + 1 == self.sampling.max_new_tokens or not any(map(any, is_live)) or is_stopped():
                return
            live_rows = [index for index, flags in enumerate(is_live) if any(flags)]
            width = max(map(sum, is_live))
            if len(live_rows) * width <= _COMPACT_SHARE * len(slots) * len(slots[0]):
                # Live samples first (False sorts before True), finished ones fill the row up to its width.
                kept = [sorted(range(len(slots[0])), key=lambda s, r=r: not is_live[r][s])[:width] for r in live_rows]
                slots = [[slots[r][s] for s in chosen] for r, chosen in zip(live_rows, kept, strict=True)]
                token_ids = rows.compact(live_rows, kept, token_ids)
            rows.advance(token_ids)

    def _append(self, sequence: _Sequence, token_id: int) -> None:
        sequence.token_ids.append(token_id)
        if token_id in self.end_token_ids:
            sequence.is_finished = True
        else:
            sequence.text_before_stop = self._stops.cut(sequence.token_ids)
            sequence.is_finished = sequence.text_before_stop is not None or sequence.is_abandoned

    def _rollout(self, sequence: _Sequence) -> Rollout:
        """Parse a finished sequence. Only the end token is cut: tags may themselves be added tokens."""
        token_ids, text = sequence.token_ids, sequence.text_before_stop
        if text is None:
            text = self._stops.decode(token_ids[:-1] if sequence.is_finished else token_ids)
        shown = token_ids[:-1] if sequence.is_finished else token_ids
        finish_reason = "stop" if sequence.is_finished else "length"
        if not self.prompts.control_ids.isdisjoint(shown):
            finish_reason = "control_token"  # a step with one in it could never be shown to a model again
        parsed = parse_response(text, self.step_format, finish_reason, has_prefix=sequence.prompt.has_prefix)
        return Rollout(
            parsed.steps,
            parsed.answer,
            parsed.complete,
            finish_reason,
            num_tokens=len(token_ids),
            num_prompt_tokens=sequence.prompt.num_tokens,
            text=text,
        )
