"""What an in-process policy reads before its first own token: chat template, figures and prefix; and where it stops.

A prefix is written behind the template's opening of the assistant turn, and the whole is cut into tokens as *one* text:
where the policy wrote these steps itself in its tokenizer's usual way, it reads exactly the tokens that it wrote.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..data import Problem
from ..errors import CheckpointError, ProblemInputError
from ..steps import StepFormat, render_prefix
from .images import ProblemCache, load_problem_image, question_parts

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

logger = logging.getLogger(__name__)

_MAX_COUNTED_PROBLEMS = 4096
# Enough of a text's end for its last token to be that of the whole text.
_TAIL_CHARACTERS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """The text of one problem and prefix up to the first generated token, with its figures.

    `num_tokens` counts all that the model reads, the tokens of the figures included; `last_token_id` ends the text.
    """

    text: str
    images: tuple[Image, ...]
    num_tokens: int
    last_token_id: int
    has_prefix: bool


class PromptWriter:
    """Lays out and encodes prompts for one processor.

    Args:
        processor: The policy's processor, with a chat template.
        step_format: The policy's tags.
        system_prompt: Text of a system turn before the problem; None for no such turn.

    Attributes:
        control_tokens, control_ids: The tokenizer's special tokens except the tags; no text may contain one.
    """

    def __init__(self, processor: Any, step_format: StepFormat, system_prompt: str | None = None) -> None:
        self.processor, self.step_format, self.system_prompt = processor, step_format, system_prompt
        # Prompts are written in the event loop's thread while another one encodes a batch; a call of a tokenizer sets
        # its padding and truncation for the time of the call, so each thread has one of its own.
        self._counter = copy.deepcopy(processor)
        self._figure_tokens: ProblemCache[int] = ProblemCache(_MAX_COUNTED_PROBLEMS)
        control = {*processor.tokenizer.all_special_tokens, getattr(processor, "image_token", None)}
        self.control_tokens = tuple(sorted(control - {None, *step_format.tags}))
        self.control_ids = frozenset(processor.tokenizer.convert_tokens_to_ids(list(self.control_tokens)))
        if not self._keeps_block_ends():
            logger.warning(
                "This tokenizer joins the end of a %s block with what follows into one token. A prefix then ends in "
                "the middle of what the policy would have written, and estimates are of a text that it seldom writes; "
                "add the tags to the tokenizer as tokens of their own.",
                step_format.step_close,
            )

    def _keeps_block_ends(self) -> bool:
        """Whether a prefix has the same tokens whatever block follows it."""
        tokenizer, prefix = self.processor.tokenizer, render_prefix(("x = 1",), self.step_format)
        ids = tokenizer(prefix)["input_ids"]
        ids = ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
        following = (self.step_format.step_open, self.step_format.answer_open)
        return all(tokenizer(prefix + tag)["input_ids"][: len(ids)] == ids for tag in following)

    def write(self, problem: Problem, prefix: tuple[str, ...]) -> Prompt:
        """Return the prompt of a problem and a prefix, its inputs checked.

        Raises:
            ProblemInputError: if a figure cannot be read, placeholders and figures do not go together, or a text holds
                a control token of the tokenizer.
        """
        parts = question_parts(problem)
        texts = [("question", part) for part in parts if isinstance(part, str)]
        for name, text in [*texts, *((f"step {i}", step) for i, step in enumerate(prefix))]:
            token = next((token for token in self.control_tokens if token in text), None)
            if token is not None:
                raise ProblemInputError(
                    problem.id,
                    f"its {name} contains the control token {token!r}: {text[:80]!r}. The tokenizer would read it "
                    "as a command and not as text; remove it or write it differently.",
                )
        images = tuple(load_problem_image(problem.id, problem.images[i]) for i in parts if isinstance(i, int))
        messages = [{"role": "user", "content": self._content(problem.id, parts)}]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system_prompt}]})
        try:
            text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # noqa: BLE001 (a template is a program of the checkpoint and raises anything)
            raise CheckpointError(
                f"The policy's chat template fails ({type(error).__name__}: {error}). Correct its chat_template.jinja."
            ) from error
        text += render_prefix(prefix, self.step_format)
        ids = self._counter.tokenizer(text, **self._special_tokens(text))["input_ids"]
        num_tokens = len(ids) + self._num_figure_tokens(problem, text, images, len(ids))
        (*_, last_token_id) = self._counter.tokenizer(text[-_TAIL_CHARACTERS:], add_special_tokens=False)["input_ids"]
        return Prompt(text, images, num_tokens, last_token_id, bool(prefix))

    def _content(self, problem_id: str, parts: Sequence[str | int]) -> list[dict[str, str]]:
        from ..models import chat_content

        try:
            return chat_content(self.processor, parts)
        except ValueError as error:
            raise ProblemInputError(problem_id, str(error)) from error

    def _num_figure_tokens(self, problem: Problem, text: str, images: tuple[Image, ...], num_text_tokens: int) -> int:
        """Tokens that a problem's figures add to its text, whatever the prefix; counted once per problem."""
        if not images:
            return 0
        num_figure_tokens = self._figure_tokens.get(problem)
        if num_figure_tokens is None:
            inputs = self._counter(text=[text], images=[list(images)], **self._special_tokens(text))
            num_figure_tokens = len(inputs["input_ids"][0]) - num_text_tokens
            self._figure_tokens.put(problem, num_figure_tokens)
        return num_figure_tokens

    def _special_tokens(self, text: str) -> dict[str, bool]:
        """No second BOS where the chat template has written one."""
        bos_token = self.processor.tokenizer.bos_token
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
        for prompt, last_id in zip(prompts, inputs["input_ids"][:, -1].tolist(), strict=True):
            if prompt.has_prefix and last_id != prompt.last_token_id:
                raise ValueError(
                    f"{type(self.processor).__name__} puts {self.processor.tokenizer.decode([last_id])!r} behind the "
                    "text, so a policy cannot continue its own steps. Use a policy whose processor leaves the end of "
                    "the text alone."
                )
        # PaliGemma's processor returns training labels on plain calls (transformers 5.24).
        return {name: tensor for name, tensor in inputs.items() if name != "labels"}


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


class StopStrings:
    """Finds stop strings in growing token sequences by decoding their last few tokens.

    A token holds at least one byte of text, so a stop string of b bytes lies within the last b tokens once its last one
    is there (a few more are decoded: a cut character or a space at the edge may read differently). Its position is then
    found in the whole text. Most tokens cannot end a stop string and cost one lookup in a dict.

    Args:
        tokenizer: The policy's tokenizer.
        stop_strings: Texts at which a rollout ends; maybe none.
    """

    def __init__(self, tokenizer: Any, stop_strings: tuple[str, ...]) -> None:
        # Several threads decode while one encodes, which sets a tokenizer's padding for the time of the call.
        self.tokenizer, self.stop_strings = copy.deepcopy(tokenizer), stop_strings
        self.num_tail_tokens = max((len(stop.encode()) for stop in stop_strings), default=0) + 4
        self._can_end: dict[int, bool] = {}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens, tags and control tokens included."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def cut(self, token_ids: Sequence[int]) -> str | None:
        """Return the text before the first stop string; None if no stop string ends with the last token."""
        if not self.stop_strings or not self._may_end_with(token_ids[-1]):
            return None
        tail = self.decode(token_ids[-self.num_tail_tokens :])
        if not any(stop in tail for stop in self.stop_strings):
            return None
        text = self.decode(token_ids)
        starts = [text.find(stop) for stop in self.stop_strings if stop in text]
        return text[: min(starts)] if starts else None

    def _may_end_with(self, token_id: int) -> bool:
        """Whether the last character of a stop string is in the token (part of a character decodes to U+FFFD)."""
        if token_id not in self._can_end:
            text = self.decode([token_id])
            # Decoders may drop or add white space at the edge of a text.
            ends = (stop[-1] for stop in self.stop_strings)
            self._can_end[token_id] = "\ufffd" in text or any(end in text or end.isspace() for end in ends)
        return self._can_end[token_id]
