"""What an in-process policy reads before its first own token: chat template, figures and prefix.

A prefix is written behind the template's opening of the assistant turn, and the whole is cut into tokens as *one* text
together with what usually follows it, whose tokens are then taken away: where the policy wrote these steps itself in
its tokenizer's usual way, it reads exactly the tokens that it wrote.
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
    """The text of one problem and prefix up to the first generated token, with its figures.

    Args:
        text: The text, template and prefix.
        images: Its figures.
        num_tokens: All that the model reads, the tokens of the figures included.
        last_token_id: The token that ends the prompt.
        has_prefix: Whether it holds steps that the policy continues.
        follower: What usually follows the text; encoded with it, and its `num_follower_tokens` tokens taken away.
        opened_thought: The tag of a thought that the prompt leaves open at its end; "" for none.
    """

    text: str
    images: tuple[Image, ...]
    num_tokens: int
    last_token_id: int
    has_prefix: bool = False
    follower: str = ""
    num_follower_tokens: int = 0
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
                f"it has {len(images)} figures and the policy, which has a tokenizer and no processor, reads none. "
                "Leave the figures out of the data, or take a policy that sees.",
            )
        try:
            text = self.template.render(parts, instruction)
        except ValueError as error:
            raise error if isinstance(error, CheckpointError) else ProblemInputError(problem.id, str(error)) from error
        opening = opened_thought(text)
        if opening and prefix:
            text += empty_rest_of_thought(opening)
        follower, num_follower_tokens = "", 0
        if prefix:
            text += step_format.render_prefix(prefix)
            follower, num_follower_tokens = self._follower(text, step_format, len(prefix))
        ids = tokenizer_of(self._counter)(text + follower, **self._special_tokens(text))["input_ids"]
        num_text_tokens = len(ids) - num_follower_tokens
        num_tokens = num_text_tokens + self._num_figure_tokens(problem, text, images)
        tail = tokenizer_of(self._counter)((text + follower)[-_TAIL_CHARACTERS:], add_special_tokens=False)["input_ids"]
        last_token_id = tail[-1 - num_follower_tokens]
        thought = "" if prefix else opening
        return Prompt(text, images, num_tokens, last_token_id, bool(prefix), follower, num_follower_tokens, thought)

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
        tokenizer = tokenizer_of(self._counter)
        ids = tokenizer(tail + follower, add_special_tokens=False)["input_ids"]
        for num_tokens in range(1, min(len(ids), len(follower.encode()) + 1)):
            written = tokenizer.decode(ids[-num_tokens:], clean_up_tokenization_spaces=False)
            if written.strip() == follower.strip():
                before = tokenizer.decode(ids[:-num_tokens], clean_up_tokenization_spaces=False)
                return num_tokens if before[-8:] == tail[-8:] else 0
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
        arguments: dict[str, Any] = {"text": [prompt.text + prompt.follower for prompt in prompts]}
        if prompts[0].images:
            arguments["images"] = [list(prompt.images) for prompt in prompts]
        arguments |= self._special_tokens(prompts[0].text)
        inputs = self.processor(**arguments, return_tensors="pt", padding=True, padding_side="left")
        # PaliGemma's processor returns training labels on plain calls (transformers 5.24).
        inputs = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        inputs = self._without_followers(inputs, [prompt.num_follower_tokens for prompt in prompts])
        for prompt, last_id in zip(prompts, inputs["input_ids"][:, -1].tolist(), strict=True):
            if prompt.has_prefix and last_id != prompt.last_token_id:
                raise ValueError(
                    f"{type(self.processor).__name__} puts {self.tokenizer.decode([last_id])!r} behind the text, so a "
                    "policy cannot continue its own steps. Use a policy whose processor leaves the end of the text "
                    "alone."
                )
        return inputs

    def _without_followers(self, inputs: dict[str, torch.Tensor], counts: Sequence[int]) -> dict[str, torch.Tensor]:
        """Take the last `counts` tokens from each row, and pad on the left what is now too short."""
        if not any(counts):
            return inputs
        shape = inputs["input_ids"].shape
        shortened = dict(inputs)
        for name, tensor in inputs.items():
            if tensor.shape != shape:
                continue  # pixels
            padding = (self.tokenizer.pad_token_id or 0) if name == "input_ids" else 0
            rows = tensor.clone()
            for row, count in zip(rows, counts, strict=True):
                if count:
                    row[count:] = row[:-count].clone()
                    row[:count] = padding
            shortened[name] = rows[:, min(counts) :]
        return shortened


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
