"""Rows of stepwise supervision as the trainer reads them: formats, images, checks, lengths.

A row holds `prompt` (str), `completions` (list of steps) and `labels` and/or `label_counts`, one per step, and
optionally `images` (list) or `image`, `label_weights`, `label_sources`, `problem_id`, `tree_id`. Prompt and steps may
be conversational, as TRL has it. A bad row raises before training, or is dropped and counted; no row is ever cut.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
from PIL import Image
from tqdm.auto import tqdm

from ..models import MMPRMProcessor, load_image
from ..rows import row_images
from .targets import BadRowError, TargetConfig, step_targets

_READ_ROWS = 256  # rows read at once while a dataset is checked


@dataclasses.dataclass(frozen=True)
class RowLimits:
    """Most tokens of a row, of its prompt (images included) and of its steps (markers included); None: no limit."""

    row: int | None = None
    prompt: int | None = None
    steps: int | None = None

    def check(self, num_prompt: int, num_steps: int) -> None:
        """Raise for a row of so many tokens that is over a limit."""
        found = (
            ("max_length", num_prompt + num_steps, self.row),
            ("max_prompt_length", num_prompt, self.prompt),
            ("max_completion_length", num_steps, self.steps),
        )
        for name, num_tokens, limit in found:
            if limit is not None and num_tokens > limit:
                raise BadRowError(
                    "over_long",
                    f"Found {num_tokens} tokens, more than {name} {limit}. Rows are never cut: raise {name}, shrink "
                    'the image, leave out whole steps, or set on_bad_row="drop".',
                )


@dataclasses.dataclass(frozen=True)
class CheckedRows:
    """What became of a dataset's rows.

    Args:
        kept: Indices of the rows that can be trained on.
        lengths: Their tokens, images and markers included.
        dropped: How many others there are, by reason.
    """

    kept: list[int]
    lengths: list[int]
    dropped: Counter[str]


def row_prompt(row: Mapping[str, Any]) -> str:
    """The question: the text of `prompt`, or of the user's turn if it is conversational.

    Raises:
        BadRowError: if a conversation is not one user turn of text and image parts.
    """
    prompt = row["prompt"]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence) and len(prompt) == 1 and _is_message(prompt[0], "user"):
        return _message_text(prompt[0], "prompt")
    roles = [turn.get("role") if isinstance(turn, Mapping) else turn for turn in prompt or ()]
    raise BadRowError(
        "conversation",
        f"Found a prompt with the turns {roles}; it is a text, or one turn of the user. The PRM's own prompt shape "
        "holds system texts; put the rest of a longer conversation into the one question.",
    )


def row_steps(row: Mapping[str, Any]) -> list[str]:
    """The steps: texts, or the text of one assistant turn each.

    Raises:
        BadRowError: if a conversational step is not one turn of the assistant.
    """
    steps = []
    for step_index, step in enumerate(row["completions"]):
        if isinstance(step, Sequence) and not isinstance(step, str) and len(step) == 1:
            (step,) = step
        if isinstance(step, Mapping):
            if not _is_message(step, "assistant"):
                raise BadRowError(
                    "conversation",
                    f"Found the role {step.get('role')!r} at step_index {step_index}; a conversational step is one "
                    "turn of the assistant.",
                )
            step = _message_text(step, f"step {step_index}")
        steps.append(step)
    return steps


def _is_message(turn: Any, role: str) -> bool:
    return isinstance(turn, Mapping) and turn.get("role") == role


def _message_text(message: Mapping[str, Any], where: str) -> str:
    """Text of a message; image parts stand for the row's images, which come before the text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    others = [part for part in parts if not isinstance(part, Mapping) or part.get("type") not in ("text", "image")]
    if len(texts) != 1 or others or not isinstance(texts[0], str):
        raise BadRowError(
            "conversation",
            f"Found the content {str(content)[:80]!r} in the {where}; it is a text, or one text part beside image "
            "parts (whose images stand in the column `images`).",
        )
    return texts[0]


def _num_image_parts(prompt: Any) -> int:
    """Image parts of a conversational prompt."""
    turns = [] if isinstance(prompt, str) else [turn for turn in prompt if isinstance(turn, Mapping)]
    contents = (turn.get("content") for turn in turns)
    parts = (part for content in contents if isinstance(content, Sequence) for part in content)
    return sum(isinstance(part, Mapping) and part.get("type") == "image" for part in parts)


def check_rows(
    dataset: Any,
    processor: MMPRMProcessor,
    *,
    limits: RowLimits = RowLimits(),  # noqa: B008 (frozen)
    targets: TargetConfig = TargetConfig(),  # noqa: B008 (frozen)
    on_bad_row: str = "raise",
    quiet: bool = True,
) -> CheckedRows:
    """Which rows can be trained on, how long they are, and how many others there are by reason.

    Args:
        dataset: `datasets.Dataset` or a sequence of rows; images are opened for their size, not decoded.
        processor: The PRM's processor.
        limits: Most tokens.
        targets: How labels become targets; a row whose labels that cannot use is bad.
        on_bad_row: "raise" or "drop".
        quiet: No progress bar.

    Raises:
        BadRowError: on the first bad row, under "raise".
    """
    found = CheckedRows([], [], Counter())
    counter = TokenCounter(processor)
    for index, row in enumerate(tqdm(raw_rows(dataset), "rows", len(dataset), disable=quiet, delay=2)):
        try:
            check_row(row, processor, targets)
            num_prompt, num_steps = counter.count(row)
            limits.check(num_prompt, num_steps)
        except BadRowError as error:
            if on_bad_row == "raise":
                raise BadRowError(error.reason, f"Row {index}: {error}") from error
            found.dropped[error.reason] += 1
        else:
            found.kept.append(index)
            found.lengths.append(num_prompt + num_steps)
    return found


def raw_rows(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Rows with their images undecoded (as bytes or path)."""
    if not isinstance(dataset, datasets.Dataset):
        yield from dataset
        return
    raw = dataset.with_format("arrow")
    for start in range(0, len(dataset), _READ_ROWS):
        yield from raw[start : start + _READ_ROWS].to_pylist()


def check_row(row: Mapping[str, Any], processor: MMPRMProcessor, targets: TargetConfig) -> None:
    """Everything about a row but its length.

    Raises:
        BadRowError: if it cannot be trained on.
    """
    missing = [name for name in ("prompt", "completions") if row.get(name) is None]
    if missing:
        raise BadRowError("no_column", f"Found no {missing}; a row needs prompt, completions and labels.")
    num_shown, num_images = _num_image_parts(row["prompt"]), len(row_images(row))
    if num_shown and num_shown != num_images:
        raise BadRowError(
            "image",
            f"Found {num_shown} image parts in the prompt but {num_images} images in the row. Figures stand in the "
            "column `images`, one for each part.",
        )
    steps, num_labels = row_steps(row), len(step_targets(row, targets).targets)
    if len(steps) != num_labels:
        raise BadRowError(
            "label_count",
            f"Found {len(steps)} steps in completions but {num_labels} labels. Each step needs one label; use -100 for "
            "a step that is to be ignored.",
        )
    if not steps:
        raise BadRowError("no_steps", "Found no steps in completions. A row needs at least one step.")
    try:
        processor.render_prompt(row_prompt(row), len(row_images(row)))
        for step_index, step in enumerate(steps):
            processor.check_step(step, step_index)
    except BadRowError:
        raise
    except ValueError as error:
        raise BadRowError("text", str(error)) from error


class TokenCounter:
    """Tokens of a row without processing its images: an image's tokens depend on its size only and are remembered."""

    def __init__(self, processor: MMPRMProcessor):
        self.processor = processor
        self.image_tokens: dict[tuple[int, int], int] = {}
        self.num_special = len(processor.encode_prompts(["x"], [[]])[0][0]) - self._num_text("x", 0)

    def _num_text(self, question: str, num_images: int) -> int:
        prompt = self.processor.render_prompt(question, num_images)
        return len(self.processor.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def _num_image(self, image: Any) -> int:
        """Tokens that one image adds to its placeholder."""
        try:
            size = load_image(image, decode=False).size
        except ValueError as error:
            raise BadRowError("image", str(error)) from error
        if size not in self.image_tokens:
            ids, _ = self.processor.encode_prompts(["x"], [[Image.new("RGB", size)]])
            self.image_tokens[size] = len(ids[0]) - self._num_text("x", 1) - self.num_special
        return self.image_tokens[size]

    def count(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """Tokens of the prompt (images included) and of the steps (markers included)."""
        num_prompt, steps = self.encode(row)
        return num_prompt, sum(map(len, steps))

    def encode(self, row: Mapping[str, Any]) -> tuple[int, list[list[int]]]:
        """Tokens of the prompt, and token ids of every step.

        Raises:
            BadRowError: if an image cannot be read, or a step writes the marker.
        """
        images, question = row_images(row), row_prompt(row)
        head, tail = self.processor.split_prompt(question, len(images))
        try:
            steps = self.processor.encode_steps(row_steps(row), tail=tail)
        except ValueError as error:
            raise BadRowError("text", str(error)) from error
        num_head = len(self.processor.tokenizer(head, add_special_tokens=False)["input_ids"])
        return num_head + self.num_special + sum(map(self._num_image, images)), steps


__all__ = ["CheckedRows", "RowLimits", "TokenCounter", "check_row", "check_rows", "raw_rows"]
