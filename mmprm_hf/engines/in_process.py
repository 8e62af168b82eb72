"""In-process engine for a Hugging Face image-text-to-text model: many samples behind one encoded prompt.

torch, transformers and Pillow are imported inside the code that needs them.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmprm_hf.data import Problem, Rollout, content_hash
from mmprm_hf.engines.images import load_problem_image
from mmprm_hf.engines.requests import ProblemInputError, RolloutRequest, SamplingConfig
from mmprm_hf.steps import DEFAULT_STEP_FORMAT, StepFormat, parse_response, render_prefix

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from .decoding import DecodingRows

# Samples that share one row of the key/value cache. More saves memory traffic on the prompt and spends arithmetic
# on the other samples' tokens, which are masked; 16 was the best of 1, 4, 8 and 16 for 90-token prompts on a CPU.
_MAX_ROW_WIDTH = 16
# Above this many cached tokens per row the masked arithmetic outweighs the shared prompt.
_MAX_ROW_TOKENS = 2048
# Finished samples are dropped once what remains fits into this share of the batch (each drop copies the cache).
_COMPACT_SHARE = 0.75


@dataclasses.dataclass(frozen=True, eq=False)
class _Prompt:
    """One distinct (problem, prefix): the text up to the first generated token, its figures, its length in tokens."""

    text: str
    images: tuple[Image, ...]
    num_tokens: int
    has_prefix: bool


@dataclasses.dataclass(eq=False)
class _Sequence:
    """One rollout in the making."""

    request_index: int
    prompt: _Prompt
    rng: random.Random
    token_ids: list[int] = dataclasses.field(default_factory=list)
    is_finished: bool = False


class TransformersEngine:
    """In-process engine for a Hugging Face image-text-to-text model.

    Each distinct prompt is prefilled once (its figures encoded once) and its samples decode from the shared
    key/value cache: up to 16 samples live in one cache row, kept apart by a 4D mask, where all layers attend
    in full (sdpa or eager); otherwise each sample has a row of its own. Finished samples leave the batch.

    Args:
        model: An `AutoModelForImageTextToText`; put in eval mode. Its `generation_config` names the end tokens.
        processor: Its processor, with a chat template.
        sampling: How tokens are drawn.
        step_format: The policy's tags.
        max_batch_size: The most sequences decoded together.

    Raises:
        ValueError: if `max_batch_size` is below 1, no end token is known, or the model needs multi-axis positions.

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
    ) -> None:
        if max_batch_size < 1:
            raise ValueError(f"Found max_batch_size={max_batch_size}; at least one sequence must fit into a batch.")
        if hasattr(getattr(model, "model", model), "get_rope_index"):
            raise ValueError(
                f"{type(model).__name__} needs multi-axis positions (get_rope_index), and this engine passes one "
                "position per token. Serve the model behind an endpoint, or use a backbone with plain positions."
            )
        self.model, self.processor = model.eval(), processor
        self.sampling, self.step_format, self.max_batch_size = sampling, step_format, max_batch_size
        self.end_token_ids = _end_token_ids(model, processor.tokenizer)
        control = {*processor.tokenizer.all_special_tokens, getattr(processor, "image_token", None)}
        self._control_tokens = tuple(sorted(control - {None, *step_format.tags}))
        self._control_ids = frozenset(processor.tokenizer.convert_tokens_to_ids(list(self._control_tokens)))
        self._row_width = 1
        from mmprm_hf.fingerprints import model_fingerprint

        from .decoding import can_share_rows

        if can_share_rows(model):
            self._row_width = max(1, min(_MAX_ROW_WIDTH, _MAX_ROW_TOKENS // sampling.max_new_tokens))
        self.identity: dict[str, Any] = {
            "engine": "transformers",
            "model_type": model.config.model_type,
            "weights": model_fingerprint(model),
            "sampling": dataclasses.asdict(sampling),
            "step_format": list(step_format.tags),
        }

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or a text holds a control token of the tokenizer.
        """
        prompts: dict[tuple[str, tuple[str, ...]], _Prompt] = {}
        sequences = []
        for request_index, request in enumerate(requests):
            problem, prefix = request.problem, request.prefix
            if (problem.id, prefix) not in prompts:
                prompts[problem.id, prefix] = self._prompt(problem, prefix)
            for sample_index in range(request.num_samples):
                rng = random.Random(content_hash(request.seed, problem.id, list(prefix), sample_index))
                sequences.append(_Sequence(request_index, prompts[problem.id, prefix], rng))
        for batch in self._batches(sequences):
            self._decode(batch)
        results: list[list[Rollout]] = [[] for _ in requests]
        for sequence in sequences:
            results[sequence.request_index].append(self._rollout(sequence))
        return [tuple(rollouts) for rollouts in results]

    def _prompt(self, problem: Problem, prefix: tuple[str, ...]) -> _Prompt:
        """Check one problem's inputs and lay out its prompt."""
        for name, text in [("question", problem.question), *((f"step {i}", step) for i, step in enumerate(prefix))]:
            found = [token for token in self._control_tokens if token in text]
            if found:
                raise ProblemInputError(
                    problem.id,
                    f"its {name} contains the control token {found[0]!r}: {text[:80]!r}. The tokenizer would read it "
                    "as a command and not as text; remove it or write it differently.",
                )
        images = tuple(load_problem_image(problem.id, image) for image in problem.images)
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": problem.question}]
        messages = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        text += render_prefix(prefix, self.step_format)
        num_tokens = len(self.processor.tokenizer(text)["input_ids"])
        return _Prompt(text, images, num_tokens, bool(prefix))

    def _batches(self, sequences: Sequence[_Sequence]) -> Iterator[list[_Sequence]]:
        """Yield batches of similar prompt length; samples of one prompt stay neighbours."""
        order = {id(prompt): index for index, prompt in enumerate({id(s.prompt): s.prompt for s in sequences}.values())}

        def key(sequence: _Sequence) -> tuple[int, int, int]:
            prompt = sequence.prompt
            return (len(prompt.images), prompt.num_tokens, order[id(prompt)])

        for _, group in itertools.groupby(sorted(sequences, key=key), key=lambda s: bool(s.prompt.images)):
            members = list(group)
            for start in range(0, len(members), self.max_batch_size):
                yield members[start : start + self.max_batch_size]

    def _decode(self, sequences: Sequence[_Sequence]) -> None:
        """Fill `token_ids` of the sequences of one batch."""
        import torch

        from .decoding import DecodingRows

        by_prompt: dict[int, list[_Sequence]] = {}
        for sequence in sequences:
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
            inputs = self._encode([members[0].prompt for members in groups])
            rows = DecodingRows(self.model, inputs, prompt_of_row, width, self._row_width > 1, self.sampling)
            self._sample(rows, slots)

    def _encode(self, prompts: Sequence[_Prompt]) -> dict[str, torch.Tensor]:
        """Left-padded model inputs of distinct prompts."""
        arguments: dict[str, Any] = {"text": [prompt.text for prompt in prompts]}
        if prompts[0].images:
            arguments["images"] = [list(prompt.images) for prompt in prompts]
        bos_token = self.processor.tokenizer.bos_token
        if bos_token is not None and prompts[0].text.startswith(bos_token):
            arguments["add_special_tokens"] = False
        inputs = self.processor(**arguments, return_tensors="pt", padding=True, padding_side="left")
        return dict(inputs.to(self.model.device, dtype=self.model.dtype))

    def _sample(self, rows: DecodingRows, slots: list[list[_Sequence | None]]) -> None:
        """Draw tokens until every sequence has ended or reached the limit."""
        from .decoding import draw

        for step in range(self.sampling.max_new_tokens):
            draws = [[s.rng.random() if s and not s.is_finished else 0.5 for s in row] for row in slots]
            token_ids = draw(rows.logits, draws, self.sampling)  # (rows, width)
            for row, row_ids in zip(slots, token_ids.tolist(), strict=True):
                for sequence, token_id in zip(row, row_ids, strict=True):
                    if sequence is not None and not sequence.is_finished:
                        sequence.token_ids.append(token_id)
                        sequence.is_finished = token_id in self.end_token_ids
            is_live = [[s is not None and not s.is_finished for s in row] for row in slots]
            if step + 1 == self.sampling.max_new_tokens or not any(map(any, is_live)):
                return
            live_rows = [index for index, flags in enumerate(is_live) if any(flags)]
            width = max(map(sum, is_live))
            if len(live_rows) * width <= _COMPACT_SHARE * len(slots) * len(slots[0]):
                # Live samples first (False sorts before True), finished ones fill the row up to its width.
                kept = [sorted(range(len(slots[0])), key=lambda s, r=r: not is_live[r][s])[:width] for r in live_rows]
                slots = [[slots[r][s] for s in chosen] for r, chosen in zip(live_rows, kept, strict=True)]
                token_ids = rows.compact(live_rows, kept, token_ids)
            rows.advance(token_ids)

    def _rollout(self, sequence: _Sequence) -> Rollout:
        """Parse a finished sequence. Only the end token is cut: tags may themselves be added tokens."""
        token_ids = sequence.token_ids[:-1] if sequence.is_finished else sequence.token_ids
        finish_reason = "stop" if sequence.is_finished else "length"
        text = self.processor.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        has_prefix = sequence.prompt.has_prefix
        parsed = parse_response(text, self.step_format, finish_reason, has_prefix=has_prefix)
        # A step with a control token in it could never be shown to a model again.
        complete = parsed.complete and self._control_ids.isdisjoint(token_ids)
        return Rollout(
            parsed.steps, parsed.answer, complete, finish_reason, num_tokens=len(sequence.token_ids), text=text
        )


def _end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a response, from the generation config and the tokenizer."""
    configured = model.generation_config.eos_token_id
    ids = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id} - {None}
    if not ids:
        raise ValueError(
            "Found no end-of-sequence token in the generation config or the tokenizer. Without one no rollout can "
            "stop; set `model.generation_config.eos_token_id`."
        )
    return frozenset(ids)
