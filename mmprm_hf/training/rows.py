"""Rows of stepwise supervision as the trainer reads them: formats, images, checks, lengths.

A row has `prompt` (str), `completions` (list of steps) and `labels` and/or `label_counts`, one per step, and optionally
`images` (list) or `image`, `label_weights`, `label_sources`, `problem_id`, `tree_id`. Prompt and steps may be
conversational, as in TRL. A bad row raises before training, or is dropped and counted; no row is ever cut.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
from PIL import Image

from ..models import MMPRMProcessor, figure_size, join_parts
from ..progress import progress_bar
from ..rows import is_absent, row_images
from .targets import BadRowError, TargetConfig, list_column, step_targets

logger = logging.getLogger(__name__)
_ROWS_PER_READ = 256
MAX_CHARS = 1_000_000
"""The most characters of a row's texts; counting the tokens of more takes minutes."""


@dataclasses.dataclass(frozen=True)
class RowLimits:
    """The most tokens of a row, of its prompt (images included) and of its steps (markers included); None: no limit."""

    row: int | None = None
    prompt: int | None = None
    steps: int | None = None

    def check(self, num_prompt: int, num_steps: int) -> None:
        """Raise if the tokens of a prompt and its steps are over a limit."""
        lengths = (
            ("max_length", num_prompt + num_steps, self.row),
            ("max_prompt_length", num_prompt, self.prompt),
            ("max_completion_length", num_steps, self.steps),
        )
        for name, num_tokens, limit in lengths:
            if limit is not None and num_tokens > limit:
                raise BadRowError(
                    "over_long",
                    f"Found {num_tokens} tokens, more than {name} {limit}. Rows are never cut: raise {name}, shrink "
                    'the image, leave out whole steps, or set on_bad_row="drop".',
                )


@dataclasses.dataclass(frozen=True)
class CheckedRows:
    """The rows of a dataset that can be trained on, the tokens of each, and the number of the others by reason."""

    rows: Any
    lengths: list[int]
    dropped: Counter[str]


def row_prompt(row: Mapping[str, Any]) -> str:
    """Return the question: the text of `prompt`, or of the user's turn if it is conversational.

    Raises:
        BadRowError: if a conversation is not one user turn of text and image parts.
    """
    return _turn_text(row["prompt"], "user", "prompt")


def row_steps(row: Mapping[str, Any]) -> list[str]:
    """Return the steps: texts, or the text of one assistant turn each.

    Raises:
        BadRowError: if `completions` is not a list, or a conversational step is not one turn of the assistant.
    """
    steps = list_column(row, "completions") or []
    return [_turn_text(step, "assistant", f"step {index}") for index, step in enumerate(steps)]


def _turn_text(value: Any, role: str, where: str) -> str:
    """Text of a prompt or step that may be a turn of a conversation."""
    turns = value if isinstance(value, (list, tuple)) else [value]
    if len(turns) == 1 and isinstance(turns[0], str):
        return turns[0]
    if not turns or not isinstance(turns[0], Mapping):
        raise BadRowError("wrong_type", f"Found {value!r:.80} as the {where}. Give a text, or one turn of the {role}.")
    roles = [turn.get("role") if isinstance(turn, Mapping) else turn for turn in turns]
    if roles != [role]:
        raise BadRowError(
            "conversation",
            f"Found the turns {roles} in the {where}. Give a text, or one turn of the {role}; the rest of a longer "
            "conversation belongs in the question.",
        )
    content = turns[0].get("content")
    if isinstance(content, str):
        return content
    # Image parts refer to the images of the row, in its order.
    parts = content if isinstance(content, Sequence) else ()
    types = [part.get("type") if isinstance(part, Mapping) else None for part in parts]
    texts = [part.get("text") for part, name in zip(parts, types, strict=True) if name == "text"]
    has_neighbours = ("text", "text") in itertools.pairwise(types)
    if not texts or has_neighbours or not {"text", "image"}.issuperset(types) or {*map(type, texts)} != {str}:
        raise BadRowError(
            "conversation",
            f"Found the content {str(content)[:80]!r} in the {where}. Give a text, or text parts with image parts "
            "between them (whose images are in the column `images`).",
        )
    if role != "user":
        return "".join(texts)
    return join_parts([part["text"] if name == "text" else None for part, name in zip(parts, types, strict=True)])


def _num_image_parts(prompt: Any) -> int:
    """Number of image parts in a prompt that `row_prompt` takes."""
    turn = prompt[0] if isinstance(prompt, (list, tuple)) else prompt
    content = turn.get("content") if isinstance(turn, Mapping) else None
    return 0 if content is None or isinstance(content, str) else sum(part["type"] == "image" for part in content)


def check_rows(
    dataset: Any,
    processor: MMPRMProcessor,
    limits: RowLimits = RowLimits(),  # noqa: B008 (frozen)
    targets: TargetConfig = TargetConfig(),  # noqa: B008 (frozen)
    on_bad_row: str = "raise",
    *,
    name: str = "train",
    quiet: bool = True,
) -> CheckedRows:
    """Return the rows that can be trained on, their tokens, and the number of the others by reason.

    Args:
        dataset: `datasets.Dataset` or a sequence of rows; each figure is decoded, once for each content.
        processor: The PRM's processor.
        limits: The most tokens of a row.
        targets: How labels become targets; a row whose labels it cannot use is bad.
        on_bad_row: "raise" or "drop".
        name: Name of the split, for messages.
        quiet: No progress bar.

    Raises:
        BadRowError: for the first bad row, with "raise".
        ValueError: for another kind of dataset, or if no row is left.
    """
    if not isinstance(dataset, (datasets.Dataset, Sequence)) or isinstance(dataset, (str, Mapping)):
        raise ValueError(
            f"Found a {type(dataset).__name__} as {name} rows. Give a datasets.Dataset or a list of rows (one split "
            "of a DatasetDict; a stream cannot be checked before it is trained on)."
        )
    if isinstance(dataset, datasets.Dataset):
        dataset = dataset.with_format(None)
    kept, lengths, dropped = [], [], Counter()
    counter = TokenCounter(processor)
    shown = {"desc": "rows", "total": len(dataset), "is_shown": not quiet, "delay": 2}
    for index, row in enumerate(progress_bar(raw_rows(dataset), **shown)):
        try:
            _check_row(row, processor, targets)
            num_prompt, steps = counter.encode(row)
            num_steps = sum(map(len, steps))
            limits.check(num_prompt, num_steps)
        except BadRowError as error:
            if on_bad_row == "raise":
                raise BadRowError(error.reason, f"Row {index}: {error}") from error
            dropped[error.reason] += 1
        else:
            kept.append(index)
            lengths.append(num_prompt + num_steps)
    if not kept:
        raise ValueError(
            f"None of {len(dataset)} {name} rows can be trained on: {dict(dropped)}. Check the format of the rows."
        )
    if dropped:
        logger.warning("Dropped %d of %d %s rows: %s", dropped.total(), len(dataset), name, dict(dropped))
        dataset = select_rows(dataset, kept)
    return CheckedRows(dataset, lengths, dropped)


def select_rows(dataset: Any, indices: Sequence[int]) -> Any:
    """Return some rows of a `datasets.Dataset`, of `RawRows` or of a list."""
    return dataset.select(indices) if hasattr(dataset, "select") else [dataset[index] for index in indices]


def raw_rows(dataset: Any) -> Iterator[Any]:
    """Yield the rows with their images undecoded (as bytes or path), in place of one that cannot be read its error."""
    if not isinstance(dataset, datasets.Dataset):
        for index in range(len(dataset)):
            try:
                row = dataset[index]
            except ValueError as error:
                row = error
            yield row
        return
    raw = dataset.with_format("arrow")
    for start in range(0, len(dataset), _ROWS_PER_READ):
        yield from raw[start : start + _ROWS_PER_READ].to_pylist()


def _check_row(row: Mapping[str, Any], processor: MMPRMProcessor, targets: TargetConfig) -> None:
    """Raise if a row cannot be trained on; its length is checked elsewhere."""
    if isinstance(row, ValueError):  # its figure may not be read
        raise BadRowError("image", str(row))
    if not isinstance(row, Mapping):
        raise BadRowError("wrong_type", f"Found a {type(row).__name__}, {row!r:.80}. A row has named columns.")
    cells = {name: row.get(name) for name in ("prompt", "completions")}
    missing = [name for name, value in cells.items() if is_absent(value) and not isinstance(value, (str, list))]
    if missing:
        raise BadRowError("no_column", f"Found no {missing}. A row needs prompt, completions and labels.")
    question, num_parts, num_images = row_prompt(row), _num_image_parts(row["prompt"]), len(_figures(row))
    if num_parts and num_parts != num_images:
        raise BadRowError(
            "image",
            f"Found {num_parts} image parts in the prompt but {num_images} images in the row. The column `images` must "
            "have one figure for each part.",
        )
    steps, num_labels = row_steps(row), len(step_targets(row, targets).targets)
    if len(steps) != num_labels:
        raise BadRowError(
            "label_count",
            f"Found {len(steps)} steps in completions but {num_labels} labels. Each step needs one label; use -100 to "
            "ignore a step.",
        )
    if not steps:
        raise BadRowError("no_steps", "Found no steps in completions. A row needs at least one step.")
    for name in ("problem_id", "tree_id"):
        if not is_absent(row.get(name)) and not isinstance(row[name], (str, int)):
            raise BadRowError("wrong_type", f"Found {name}={row[name]!r:.80}. It must be a text or a whole number.")
    try:
        "".join([question, *steps]).encode()
    except UnicodeEncodeError as error:
        raise BadRowError("text", "Found half a character (a lone surrogate). Write the text again.") from error
    if (num_chars := len(question) + sum(map(len, steps))) > MAX_CHARS:
        raise BadRowError("over_long", f"Found {num_chars} characters, more than {MAX_CHARS}. Leave out whole steps.")
    try:
        processor.image_order(question, num_images)
    except ValueError as error:
        raise BadRowError("image", str(error)) from error
    try:
        processor.render_prompt(question, num_images)
        for step_index, step in enumerate(steps):
            processor.check_step(step, step_index)
    except ValueError as error:
        raise BadRowError("text", str(error)) from error


def _figures(row: Mapping[str, Any]) -> list[Any]:
    try:
        return row_images(row)
    except ValueError as error:
        raise BadRowError("image", f"The row {error}") from error


class TokenCounter:
    """Counts the tokens of rows without processing images: the tokens of an image depend only on its size."""

    def __init__(self, processor: MMPRMProcessor):
        self.processor = processor
        self.image_tokens: dict[tuple[int, int], int] = {}
        self.num_special = len(processor.encode_prompts(["x"], [[]])[0][0]) - self._num_text("x", 0)

    def _num_text(self, question: str, num_images: int) -> int:
        prompt = self.processor.render_prompt(question, num_images)
        return len(self.processor.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def _num_image(self, image: Any) -> int:
        """Number of tokens that one image adds to its placeholder."""
        try:
            size = figure_size(image)
        except ValueError as error:
            raise BadRowError("image", str(error)) from error
        if size not in self.image_tokens:
            ids, _ = self.processor.encode_prompts(["x"], [[Image.new("RGB", size)]])
            self.image_tokens[size] = len(ids[0]) - self._num_text("x", 1) - self.num_special
        return self.image_tokens[size]

    def encode(self, row: Mapping[str, Any]) -> tuple[int, list[list[int]]]:
        """Return the number of tokens of the prompt (images included), and the token ids of every step (with marker).

        Raises:
            BadRowError: if an image cannot be read, or a step contains the marker.
        """
        images, question = _figures(row), row_prompt(row)
        head, tail = self.processor.split_prompt(question, len(images))
        try:
            steps = self.processor.encode_steps(row_steps(row), tail=tail)
        except ValueError as error:
            raise BadRowError("text", str(error)) from error
        num_head = len(self.processor.tokenizer(head, add_special_tokens=False)["input_ids"])
        return num_head + self.num_special + sum(map(self._num_image, images)), steps
