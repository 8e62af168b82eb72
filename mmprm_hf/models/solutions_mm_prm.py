"""Solutions to token ids: ``prompt step1 <marker> step2 <marker> ...``. Nothing else writes a PRM's token ids.

A marker never merges with its neighbours, and a prefix of steps is always a prefix of ids.
Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from .encoding_mm_prm import encode_as_text, encode_texts, is_word
from .places_mm_prm import chat_content
from .prompts_mm_prm import PLAIN_PROMPT, PromptFormat, check_text, split_tail
from .stock_mm_prm import control_tokens_of, single_token_id, tokenizer_of

ControlTokens = Literal["refuse", "as_text"]


class SolutionEncoder:
    """Writes the token ids of problems and their solutions; arguments and errors are those of `MMPRMProcessor`."""

    def __init__(self, base_processor: Any, prompt: PromptFormat, marker_token: str):
        self.base_processor = base_processor
        self.prompt = prompt
        self.marker_token = marker_token
        if prompt.prompt_template is None and not getattr(base_processor, "chat_template", None):
            raise ValueError(
                f"{type(base_processor).__name__} has no chat template and prompt_template is None. "
                f"Give a prompt_template, for example {PLAIN_PROMPT!r}."
            )
        self.marker_token_id = single_token_id(self.tokenizer, marker_token)
        self._control_tokens = control_tokens_of(base_processor, self.tokenizer, marker_token)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, marker included."""
        return tokenizer_of(self.base_processor)

    @property
    def image_processor(self) -> Any:
        """The stock image processor; None for a text-only model."""
        return getattr(self.base_processor, "image_processor", None)

    @property
    def step_separator(self) -> str:
        """Text between a marker and the next step."""
        return self.prompt.step_separator

    @property
    def prompt_template(self) -> str | None:
        """The prompt's text with places for images and question; None for the policy's chat template."""
        return self.prompt.prompt_template

    @property
    def marker_is_word(self) -> bool:
        """Whether plain text can write the marker's id, because it is an ordinary word of the vocabulary."""
        return is_word(self.tokenizer, self.marker_token)

    # Prompts

    def render_prompt(self, question: str, num_images: int = 0) -> str:
        """Return the prompt as text, with one image token per image, at its place (see `image_order`).

        Raises:
            ValueError: if the question is empty, contains a control token, or has another number of placeholders than
                there are images; or if a text-only model gets images.
        """
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"Found an empty question ({question!r}). A PRM needs the question's text.")
        parts = self.prompt.split(question, num_images)
        for text in (part for part in parts if isinstance(part, str)):
            check_text(text, "question", self._control_tokens)
        if num_images and self.image_processor is None:
            raise ValueError(
                f"Found {num_images} images, but this PRM is text-only ({type(self.base_processor).__name__}). "
                "Leave the images out or use a vision-language PRM."
            )
        if self.prompt_template is not None:
            return self.prompt.render(question, getattr(self.base_processor, "image_token", ""), num_images)
        content: Any = question
        if self.image_processor is not None:
            content = chat_content(self.base_processor, parts)
        messages = [{"role": "user", "content": content}]
        try:
            return self.base_processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # noqa: BLE001 (a template is a program of the checkpoint and raises anything)
            raise ValueError(
                f"The chat template of the PRM fails ({type(error).__name__}: {error}). Correct the template."
            ) from error

    def image_order(self, question: str, num_images: int) -> list[int]:
        """Return the indices of a problem's images in the order in which its prompt shows them.

        Raises:
            ValueError: if the question marks the places of another number of images.
        """
        return [part for part in self.prompt.split(question, num_images) if isinstance(part, int)]

    def split_prompt(self, question: str, num_images: int = 0) -> tuple[str, str]:
        """Return ``(head, tail)`` of `render_prompt`: the tail is tokenized together with the first step.

        The tail is empty unless the prompt format joins before tokenizing.
        """
        prompt = self.render_prompt(question, num_images)
        return split_tail(prompt, self._control_tokens) if self.prompt.join_before_tokenizing else (prompt, "")

    def encode_prompts(self, questions: Sequence[str], images: Sequence[Sequence[Any]]) -> tuple[list[list[int]], dict]:
        """Return the unpadded prompt ids of each problem, and the vision inputs of all of them together.

        Args:
            questions: One question per problem.
            images: Images per problem, none or more, in the problem's order: PIL images, paths, or {"bytes", "path"}
                dicts.

        Returns:
            ``(prompt ids, extra)``: `extra` holds the stock processor's other tensors by name; token types (batch, seq)
            are lists of per-row lists.

        Raises:
            ValueError: for an empty question, a control token in it, or an image that cannot be read.
        """
        texts = [self.render_prompt(question, len(row)) for question, row in zip(questions, images, strict=True)]
        return self._encode_prompt_texts(texts, questions, images)

    def _encode_prompt_texts(
        self, texts: list[str], questions: Sequence[str], images: Sequence[Sequence[Any]]
    ) -> tuple[list[list[int]], dict]:
        bos, is_chat = self.tokenizer.bos_token, self.prompt_template is None
        # A chat template may write the BOS itself; that of a bare tokenizer always writes all special tokens.
        is_complete = is_chat and (self.image_processor is None or (bos is not None and texts[0].startswith(bos)))
        rows = zip(questions, images, strict=True)
        images = [[row[index] for index in self.image_order(question, len(row))] for question, row in rows]
        return encode_texts(self.base_processor, texts, images, add_special_tokens=not is_complete)

    # Steps

    def check_step(self, step: str, step_index: int, control_tokens: ControlTokens = "refuse") -> None:
        """Refuse an empty step and, under "refuse", one with a control token.

        Raises:
            ValueError: naming `step_index`.
        """
        if not isinstance(step, str) or not step.strip():
            raise ValueError(f"Found an empty step ({step!r}) at step_index {step_index}. Leave out empty steps.")
        if control_tokens == "refuse":
            check_text(step, f"step with step_index {step_index}", self._control_tokens)

    def encode_steps(
        self, steps: Sequence[str], control_tokens: ControlTokens = "refuse", tail: str = ""
    ) -> list[list[int]]:
        """Return the token ids of every step, each ending in the marker; the separator opens all steps but the first.

        Args:
            steps: Step texts, in order.
            control_tokens: "refuse" raises for a marker or special token inside a step. "as_text" tokenizes such a step
                as plain text, so that it can never write a marker (for text that a policy sampled).
            tail: The prompt's tail (see `split_prompt`), which opens the first step.

        Raises:
            ValueError: for an empty step, a control token (under "refuse"), or a step whose plain text is tokenized to
                the marker (see `marker_is_word`).
        """
        if isinstance(steps, str):
            raise ValueError(f"Found a str as steps ({steps[:80]!r}). Steps are a list of strings, one per step.")
        for index, step in enumerate(steps):
            self.check_step(step, index, control_tokens)
        if not steps:
            return []
        texts, opening = list(steps), []
        if self.prompt.join_before_tokenizing:
            texts = [(self.step_separator if index else tail) + step for index, step in enumerate(steps)]
        elif self.step_separator:
            opening = self.tokenizer.encode(self.step_separator, add_special_tokens=False)
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        rows = []
        for index, (step, text, ids) in enumerate(zip(steps, texts, encoded, strict=True)):
            if control_tokens == "as_text" and any(token in step for token in self._control_tokens):
                ids = encode_as_text(self.tokenizer, text, self._control_tokens)
            self._check_step_ids(ids, step, index)
            rows.append((opening if index else []) + list(ids) + [self.marker_token_id])
        return rows

    def _check_step_ids(self, ids: Sequence[int], step: str, step_index: int) -> None:
        """Refuse a step whose ids contain a marker or an image placeholder, however its text came to write them."""
        for token in filter(None, [self.marker_token, getattr(self.base_processor, "image_token", None)]):
            token_id = self.tokenizer.convert_tokens_to_ids(token)
            if token_id in ids and token_id != self.tokenizer.unk_token_id:
                kind = "an ordinary word of the vocabulary" if is_word(self.tokenizer, token) else "a control token"
                raise ValueError(
                    f"The step with step_index {step_index} writes {token!r}, {kind}, as text: {step[:80]!r}. No text "
                    "may write markers and image placeholders; rewrite the step, or choose another marker."
                )

    # Solutions

    def encode_solutions(
        self,
        questions: Sequence[str],
        images: Sequence[Sequence[Any]],
        solutions: Sequence[Sequence[Sequence[str]]],
        control_tokens: ControlTokens = "refuse",
    ) -> tuple[list[list[list[list[int]]]], dict]:
        """Return the unpadded ids of several solutions per problem, cut at the markers, and the vision inputs.

        Args:
            questions, images: As in `encode_prompts`.
            solutions: Per problem a list of solutions, each a list of steps; without steps it is the prompt alone.
            control_tokens: As in `encode_steps`.

        Returns:
            ``(rows, extra)``: ``rows[p][k]`` is the list ``[prompt ids, step ids, ...]`` of solution k of problem p;
            joined, they are the model's row. The prompt ids are the same for all solutions of a problem that have
            steps. `extra` as in `encode_prompts`.

        Raises:
            ValueError: for bad text or an image that cannot be read.
        """
        parts = [self.split_prompt(question, len(row)) for question, row in zip(questions, images, strict=True)]
        prompts, extra = self._encode_prompt_texts([head for head, _ in parts], questions, images)
        rows = []
        for (_, tail), prompt, problem_solutions in zip(parts, prompts, solutions, strict=True):
            problem_rows = []
            for steps in problem_solutions:
                whole = prompt if steps or not tail else prompt + self.tokenizer.encode(tail, add_special_tokens=False)
                problem_rows.append([whole, *self.encode_steps(steps, control_tokens, tail)])
            rows.append(problem_rows)
        return rows, extra
