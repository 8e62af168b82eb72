"""What an in-process policy reads before its first own token: chat template, figures and prefix.

A prefix is put behind the tokens of the template's opening of the assistant turn, as the tokens that the policy itself
would have written there: it is cut into tokens together with what stands before it and what usually follows, and those
tokens are taken away again.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..data import Problem
from ..errors import CheckpointError, ProblemInputError
from ..steps import TAGGED, StepFormat, empty_rest_of_thought, opened_thought
from .images import ProblemCache, load_problem_image, question_parts
from .templates import ChatTemplate, tokenizer_of

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

logger = logging.getLogger(__name__)

_MAX_COUNTED_PROBLEMS = 4096
# Enough of a text's end for its last tokens to be those of the whole text.
_TAIL_CHARACTERS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """The text of one problem up to the policy's own, with its figures, and the tokens of a prefix behind it.

    Args:
        text: The text of the template.
        images: Its figures.
        num_tokens: All that the model reads, the tokens of figures and prefix included.
        last_token_id: The token that ends the text.
        prefix_ids: Tokens of the steps that the policy continues.
        opened_thought: The tag of a thought that the prompt leaves open at its end; "" for none.
    """

    text: str
    images: tuple[Image, ...]
    num_tokens: int
    last_token_id: int
    prefix_ids: tuple[int, ...] = ()
    opened_thought: str = ""


class PromptWriter:
    """Lays out and encodes prompts for one processor.

    Args:
        processor: The policy's processor, or its tokenizer if it reads text alone.
        system_prompt: Text of a system turn before the problem; None for no such turn.
        template_options: More variables of the chat template, such as ``{"enable_thinking": False}``.

    Attributes:
        control_tokens, control_ids: The tokenizer's special tokens except the tags; no text may contain one.
    """

    def __init__(
        self, processor: Any, system_prompt: str | None = None, template_options: dict[str, Any] | None = None
    ) -> None:
        self.processor, self.tokenizer = processor, tokenizer_of(processor)
        self.template = ChatTemplate(processor, system_prompt, template_options)
        # Prompts are written in the event loop's thread while another one encodes a batch; a call of a tokenizer sets
        # its padding and truncation for the time of the call, so each thread has one of its own.
        self._counter = copy.deepcopy(processor)
        self._figure_tokens: ProblemCache[int] = ProblemCache(_MAX_COUNTED_PROBLEMS)
        self._warned_formats: set[StepFormat] = set()
        control = {*self.tokenizer.all_special_tokens, getattr(processor, "image_token", None)}
        self.control_tokens = tuple(sorted(control - {None, *TAGGED.tags}))
        self.control_ids = frozenset(self.tokenizer.convert_tokens_to_ids(list(self.control_tokens)))

    def write(
        self,
        problem: Problem,
        prefix: tuple[str, ...] = (),
        step_format: StepFormat | None = None,
        instruction: str | None = None,
    ) -> Prompt:
        """Return the prompt of a problem and a prefix, its inputs checked.

        Args:
            problem: The problem.
            prefix: Steps that the policy continues.
            step_format: How they are written; may be None where there are none.
            instruction: What the policy is told about the form of its solution; None for nothing.

        Raises:
            ProblemInputError: if a figure cannot be read, placeholders and figures do not go together, or a text holds
                a control token of the tokenizer.
        """
        tags = getattr(step_format, "tags", ())
        parts = question_parts(problem)
        texts = [("question", part) for part in parts if isinstance(part, str)]
        for name, text in [*texts, *((f"step {i}", step) for i, step in enumerate(prefix))]:
            token = next((token for token in self.control_tokens if token in text and token not in tags), None)
            if token is not None:
                raise ProblemInputError(
                    problem.id,
                    f"its {name} contains the control token {token!r}: {text[:80]!r}. The tokenizer would read it "
                    "as a command and not as text; remove it or write it differently.",
                )
        images = tuple(load_problem_image(problem.id, problem.images[i]) for i in parts if isinstance(i, int))
        if images and self.processor is self.tokenizer:
            raise ProblemInputError(
                problem.id,
                "it has figures, and the policy, which has a tokenizer and no processor, reads none. "
                "Leave the figures out of the data, or take a policy that sees.",
            )
        try:
            text = self.template.render(parts, instruction)
        except ValueError as error:
            raise error if isinstance(error, CheckpointError) else ProblemInputError(problem.id, str(error)) from error
        thought = opened_thought(text)
        if thought and prefix:
            text, thought = text + empty_rest_of_thought(thought), ""
        prefix_ids = self._prefix_ids(text, step_format, prefix) if prefix else ()
        ids = tokenizer_of(self._counter)(text, **self._special_tokens(text))["input_ids"]
        num_tokens = len(ids) + self._num_figure_tokens(problem, text, images) + len(prefix_ids)
        return Prompt(text, images, num_tokens, self._ids(text[-_TAIL_CHARACTERS:])[-1], prefix_ids, thought)

    def _ids(self, text: str) -> list[int]:
        return tokenizer_of(self._counter)(text, add_special_tokens=False)["input_ids"]

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _prefix_ids(self, text: str, step_format: StepFormat, prefix: tuple[str, ...]) -> tuple[int, ...]:
        """The tokens that the policy writes for a prefix behind a text."""
        opening, rendered = text[-_TAIL_CHARACTERS:], step_format.render_prefix(prefix)
        follower, num_follower_tokens = self._follower(opening + rendered, step_format, len(prefix))
        before, ids = self._ids(opening), self._ids(opening + rendered + follower)
        # Where the end of the text would be cut in another way than without a prefix, the prefix is cut by itself.
        is_kept = ids[: len(before)] == before
        ids = ids[len(before) :] if is_kept else self._ids(rendered + follower)
        return tuple(ids[: len(ids) - num_follower_tokens])

    def _follower(self, text: str, step_format: StepFormat, num_steps: int) -> tuple[str, int]:
        """What to encode behind a prefix and take away again, and how many tokens that is; ("", 0) for nothing.

        The tokens of the prefix must be the same with and without it but for the last ones, which a tokenizer may join
        at the end of a text only (two line breaks, say).
        """
        tail = text[-_TAIL_CHARACTERS:]
        for follower in step_format.followers(num_steps):
            num_tokens = self._num_tokens_apart(tail, follower)
            if num_tokens:
                return follower, num_tokens
        if step_format not in self._warned_formats:
            self._warned_formats.add(step_format)
            logger.warning(
                "This tokenizer joins the end of a step with what follows into one token. A prefix then ends in the "
                "middle of what the policy would have written, and estimates are of a text that it seldom writes; "
                "choose another step format, or add its tags to the tokenizer as tokens of their own."
            )
        return "", 0

    def _num_tokens_apart(self, tail: str, follower: str) -> int:
        """The number of a follower's tokens behind a text; 0 if one of them begins in the text."""
        ids = self._ids(tail + follower)
        for num_tokens in range(1, min(len(ids), len(follower.encode()) + 1)):
            if self._decoded(ids[-num_tokens:]).strip() == follower.strip():
                return num_tokens if self._decoded(ids[:-num_tokens])[-8:] == tail[-8:] else 0
        return 0

    def _num_figure_tokens(self, problem: Problem, text: str, images: tuple[Image, ...]) -> int:
        """Tokens that a problem's figures add to its text, whatever the prefix; counted once per problem."""
        if not images:
            return 0
        num_figure_tokens = self._figure_tokens.get(problem)
        if num_figure_tokens is None:
            special = self._special_tokens(text)
            num_text_tokens = len(tokenizer_of(self._counter)(text, **special)["input_ids"])
            inputs = self._counter(text=[text], images=[list(images)], **special)
            num_figure_tokens = len(inputs["input_ids"][0]) - num_text_tokens
            self._figure_tokens.put(problem, num_figure_tokens)
        return num_figure_tokens

    def _special_tokens(self, text: str) -> dict[str, bool]:
        """No second BOS where the chat template has written one."""
        bos_token = self.tokenizer.bos_token
        return {"add_special_tokens": False} if bos_token is not None and text.startswith(bos_token) else {}

    def encode(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """Return left-padded model inputs of distinct prompts, all with or all without figures.

        Raises:
            ValueError: if the processor writes something behind a prefix, so that it cannot be continued.
        """
        arguments: dict[str, Any] = {"text": [prompt.text for prompt in prompts]}
        if prompts[0].images:
            arguments["images"] = [list(prompt.images) for prompt in prompts]
        arguments |= self._special_tokens(prompts[0].text)
        inputs = self.processor(**arguments, return_tensors="pt", padding=True, padding_side="left")
        # PaliGemma's processor returns training labels on plain calls (transformers 5.24).
        inputs = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        for prompt, last_id in zip(prompts, inputs["input_ids"][:, -1].tolist(), strict=True):
            if prompt.prefix_ids and last_id != prompt.last_token_id:
                raise ValueError(
                    f"{type(self.processor).__name__} puts {self.tokenizer.decode([last_id])!r} behind the text, so a "
                    "policy cannot continue its own steps. Use a policy whose processor leaves the end of the text "
                    "alone."
                )
        return self._with_prefixes(inputs, [prompt.prefix_ids for prompt in prompts])

    def _with_prefixes(
        self, inputs: dict[str, torch.Tensor], prefixes: Sequence[Sequence[int]]
    ) -> dict[str, torch.Tensor]:
        """Put a prefix behind each row, and the padding of all before them."""
        if not any(prefixes):
            return inputs
        import torch

        mask = inputs["attention_mask"].bool()
        width = max(int(row.sum()) + len(ids) for row, ids in zip(mask, prefixes, strict=True))
        extended = dict(inputs)
        for name, tensor in inputs.items():
            if tensor.shape != mask.shape:
                continue  # pixels
            is_ids = name == "input_ids"
            rows = tensor.new_full((len(mask), width), (self.tokenizer.pad_token_id or 0) if is_ids else 0)
            for row, values, is_read, ids in zip(rows, tensor, mask, prefixes, strict=True):
                added = tensor.new_tensor(ids) if is_ids else tensor.new_full((len(ids),), name == "attention_mask")
                filled = torch.cat([values[is_read], added])
                row[width - len(filled) :] = filled
            extended[name] = rows
        return extended


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a response, from the generation config and the tokenizer.

    Raises:
        ValueError: if there is none.
    """
    configured = model.generation_config.eos_token_id
    ids = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id} - {None}
    if not ids:
        raise ValueError(
            "Found no end-of-sequence token in the generation config or the tokenizer. Without one no rollout can "
            "stop; set `model.generation_config.eos_token_id`."
        )
    return frozenset(ids)
