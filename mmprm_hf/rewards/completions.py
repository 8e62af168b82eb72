"""Reads what TRL's `GRPOTrainer` hands to a reward function as problems and responses.

For a vision-language policy a prompt is a list of messages whose parts hold the images themselves (TRL takes them from
the columns ``images`` or ``image``); every column of the data set comes as a list with one entry per completion.
Nothing is guessed: what cannot be read is a ValueError that says why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..data import Problem
from ..models import join_parts
from ..rows import cell, row_images, text_cell, texts_cell
from ..steps import AUTO, ParsedResponse, StepFormat, choose_step_format, read_step_format

logger = logging.getLogger(__name__)


def response_text(completion: Any) -> str:
    """Return the policy's text of one completion: a string, or the assistant's messages; "" where it wrote nothing."""
    if isinstance(completion, str):
        return completion
    return "".join(_text_of(message) for message in completion if message.get("role", "assistant") == "assistant")


class CompletionReader:
    """Reads completions in a policy's step format.

    Args:
        step_format: A `StepFormat`, its name or its dict. None and "auto" take the one that reads most completions of
            the first batch in which any can be read, and keep to it. Processes of one training may see other batches:
            name the format there.
    """

    def __init__(self, step_format: Any = None) -> None:
        is_named = step_format not in (None, AUTO)
        self.step_format: StepFormat | None = read_step_format(step_format) if is_named else None

    def read(self, completions: Sequence[Any]) -> list[ParsedResponse]:
        """Return what each completion says."""
        texts = list(map(response_text, completions))
        step_format = self.step_format
        if step_format is None:
            choice = choose_step_format([(text, "stop") for text in texts])
            step_format = choice.step_format
            if choice.num_complete[step_format.name]:
                self.step_format = step_format
                logger.info("Step format: %s. step_format names another one.", choice)
        return [step_format.parse(text) for text in texts]


def completion_problem(prompt: Any, columns: Mapping[str, Any], index: int, *, with_images: bool = True) -> Problem:
    """Return the problem of completion `index`.

    Args:
        prompt: A string, or a list of messages.
        columns: The columns of the batch. ``question`` replaces the text of the last user turn (which may hold
            instructions to the policy that the PRM was not trained with). ``images`` or ``image`` (each entry one
            figure or a list) are the figures; without them those inside the prompt. ``answer``, ``answer_type``,
            ``options`` and ``precision`` are kept for verifiers.
        index: The row.
        with_images: False leaves the figures out: a verifier of answers needs none.

    Raises:
        ValueError: if the question is empty, or the prompt has a placeholder for a figure but no figure.
    """
    names = ("id", "question", "images", "image", "answer", "answer_type", "options", "precision")
    row = {name: columns[name][index] for name in names if columns.get(name) is not None}
    precision = cell(row, "precision")
    try:
        return Problem(
            id=text_cell(row, "id") or str(index),
            question=text_cell(row, "question") or (prompt if isinstance(prompt, str) else _last_user_text(prompt)),
            images=tuple(row_images(row) or _prompt_images(prompt)) if with_images else (),
            answer=text_cell(row, "answer"),
            answer_type=text_cell(row, "answer_type") or "number",
            options=texts_cell(row, "options"),
            meta={} if precision is None else {"precision": precision},
        )
    except ValueError as error:
        raise ValueError(f"Row {index}: {error}") from error


def _prompt_images(prompt: Any) -> list[Any]:
    """The images inside a prompt."""
    if isinstance(prompt, str):
        return []
    parts = [part for message in prompt for part in _parts(message) if part.get("type") == "image"]
    images = [part["image"] for part in parts if part.get("image") is not None]
    if len(images) < len(parts):
        raise ValueError(
            f"The prompt has {len(parts)} placeholders for figures but {len(images)} figures. Give them in a column "
            "`images`, or as 'image' in the parts of the messages."
        )
    return images


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last user turn, its figures in place; "" if there is none, which no problem accepts.

    Where other turns have figures too, all stand before the text.
    """
    message = next((message for message in reversed(messages) if message.get("role") == "user"), {})
    others = [part for other in messages if other is not message for part in _parts(other)]
    if isinstance(message.get("content"), str) or any(part.get("type") == "image" for part in others):
        return _text_of(message)
    parts = [part for part in _parts(message) if part.get("type") in ("text", "image")]
    return join_parts([(part.get("text") or "") if part["type"] == "text" else None for part in parts])


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, (list, tuple)) else ()


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in _parts(message) if part.get("type") == "text")
