"""Where the figures of a question stand: its placeholders, read once for every room.

Public data mark the place as ``<image>`` (MM-K12), ``<image1>`` (MathVision), ``<image 1>`` (MMMU) or ``<image_1>``. A
question without placeholders has all its figures before it.
Part of the portable island, which is copied into checkpoints: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# Repetitions have bounds, so that no text takes more than linear time.
PLACEHOLDER = re.compile(r"<\s{0,3}image[\s_-]{0,3}([0-9]{0,3})\s{0,3}>", re.IGNORECASE)
"""A placeholder; its group is the number, empty where it has none. Case does not matter."""


def split_question(question: str, num_figures: int) -> list[str | int]:
    """Return a question as its parts in reading order: texts, character by character as written, and figures.

    Numbers address figures from 1, in any order; placeholders without a number take the figures in turn. A number that
    comes again names its figure, which stands at the first place only: the repetition stays text.

    Args:
        question: The text, maybe with placeholders.
        num_figures: Figures of the problem, 0 or more.

    Returns:
        Texts, none of them empty, and 0-based indices of figures, each index exactly once. Without placeholders it is
        all figures and then the question.

    Raises:
        ValueError: unless each figure has exactly one place, or none has; or for a mixture of placeholders with and
            without numbers.

    Example:
        >>> split_question("In <image2> and <image1>, as in <image2>, what is x?", 2)
        ['In ', 1, ' and ', 0, ', as in <image2>, what is x?']
        >>> split_question("What is x?", 2)
        [0, 1, 'What is x?']
    """
    marks = list(PLACEHOLDER.finditer(question))
    if not marks:
        return [*range(num_figures), question]
    numbers = [int(mark[1]) if mark[1] else None for mark in marks]
    if all(number is None for number in numbers):
        numbers = list(range(1, len(marks) + 1))
    if set(numbers) != set(range(1, num_figures + 1)):
        raise ValueError(_fault(marks, numbers, num_figures))
    parts: list[str | int] = []
    start = 0
    for mark, number in zip(marks, numbers, strict=True):
        if number - 1 not in parts:
            parts += [question[start : mark.start()], number - 1]
            start = mark.end()
    parts.append(question[start:])
    return [part for part in parts if part != ""]


def _fault(marks: Sequence[re.Match[str]], numbers: Sequence[int | None], num_figures: int) -> str:
    """Why placeholders and figures do not go together."""
    num_places = len(set(numbers)) if None not in numbers else len(marks)
    texts = list(dict.fromkeys(mark.group() for mark in marks))
    shown = ", ".join(map(repr, texts[:4])) + (", ..." if len(texts) > 4 else "")
    counts = f"Found {_count(num_places, 'placeholder')} ({shown}) in the question but {_count(num_figures, 'figure')}."
    rule = "Mark the place of every figure once, or of none (they then stand before the question)."
    if None in numbers:
        rule = "Number all placeholders or none."
    elif num_places == num_figures:
        rule = f"Placeholders are numbered from 1 to the number of figures. {rule}"
    return f"{counts} {rule} A text that only mentions a figure names it in another way, such as (image 1)."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join_parts(parts: Sequence[str | None], separator: str = "") -> str:
    """Return the parts of a chat's turn as a question: the inverse of `split_question`.

    Args:
        parts: Texts, and None for each figure, in reading order.
        separator: What joins texts that follow each other.

    Returns:
        The texts alone if no figure follows one, or if they have placeholders themselves; otherwise the texts with
        ``<image>`` for each figure.

    Example:
        >>> join_parts(["In ", None, ", what is x?"]), join_parts([None, "What is x?"])
        ('In <image>, what is x?', 'What is x?')
    """
    texts = [part for part in parts if part is not None]
    leading = next((index for index, part in enumerate(parts) if part is not None), len(parts))
    if None not in parts[leading:] or any(map(PLACEHOLDER.search, texts)):
        return separator.join(texts)
    question, after_text = "", False
    for part in parts:
        question += "<image>" if part is None else (separator if after_text else "") + part
        after_text = part is not None
    return question


def figures_lead(parts: Sequence[str | int]) -> bool:
    """Return whether all figures of `split_question` stand before the text, as they do without placeholders."""
    is_figure = [isinstance(part, int) for part in parts]
    return is_figure == sorted(is_figure, reverse=True)


def chat_content(processor: Any, parts: Sequence[str | int]) -> list[dict[str, str]]:
    """Return the content of a user's turn for a processor's chat template, the figures in place.

    Some templates (LLaVA's) write all figures of a turn before all its texts. Where that would move a figure, the
    processor's own image token stands in the text instead.

    Args:
        processor: A stock processor that reads figures.
        parts: As `split_question` gives them. Figures are to be handed over in this order.

    Raises:
        ValueError: if the template moves figures and the processor names no image token.
    """
    content = [{"type": "image"} if isinstance(part, int) else {"type": "text", "text": part} for part in parts]
    if figures_lead(parts) or _keeps_places(processor):
        return content
    image_token = getattr(processor, "image_token", None)
    if image_token is None:
        raise ValueError(
            f"The chat template of {type(processor).__name__} writes all figures before the text, so that those inside "
            "the question would lose their places. Correct the template, or remove the placeholders."
        )
    return [{"type": "text", "text": "".join(image_token if isinstance(part, int) else part for part in parts)}]


def _keeps_places(processor: Any) -> bool:
    """Whether the chat template writes a figure between two texts where it stands."""
    first, last = "First text.", "Last text."
    content = [{"type": "text", "text": first}, {"type": "image"}, {"type": "text", "text": last}]
    try:
        text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    except Exception:  # noqa: BLE001 (a template is a program of the checkpoint; the caller's own call says what fails)
        return True
    before, _, between = text.partition(last)[0].partition(first)
    return last in text and bool(between.strip())
