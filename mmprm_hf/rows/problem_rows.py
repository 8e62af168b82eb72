"""Problems <-> dataset rows in MM-K12's schema, which every problem dataset of this package has.

Reading is tolerant (one `image`, options by letter, a number as answer, missing columns); writing gives all columns,
always in this order. ``datasets`` is imported only for the features.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Problem
from ..models import figure_source, load_image, upright
from .cells import cell, is_absent, text_cell, texts_cell

if TYPE_CHECKING:
    import datasets

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
META_COLUMNS = ("subject", "grade", "source", "license", "split_group")
"""Columns that a `Problem` has in its `meta`."""


def problem_features() -> datasets.Features:
    """Return the `datasets.Features` of problem rows.

    Example:
        >>> list(problem_features())[:4]
        ['id', 'images', 'question', 'options']
    """
    import datasets

    text = datasets.Value("string")
    return datasets.Features(
        {
            "id": text,
            "images": datasets.List(datasets.Image()),
            "question": text,
            "options": datasets.List(text),
            "answer": text,
            "answer_type": text,
            "subject": text,
            "grade": datasets.Value("int32"),
            "source": text,
            "license": text,
            "split_group": text,
        }
    )


def problem_to_row(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row of `problem_features`; what its `meta` lacks, or a grade in words, is None.

    Example:
        >>> row = problem_to_row(Problem("a", "1 + 1 = ?", answer="2", meta={"grade": "6"}))
        >>> row["answer"], row["grade"], row["license"], row["images"]
        ('2', 6, None, [])
    """
    return {
        "id": problem.id,
        "images": list(problem.images),
        "question": problem.question,
        "options": list(problem.options),
        "answer": problem.answer,
        "answer_type": problem.answer_type,
        **{name: problem.meta.get(name) for name in META_COLUMNS},
        "grade": _grade(problem.meta.get("grade")),
    }


def problem_from_row(row: Mapping[str, Any]) -> Problem:
    """Return a row as a `Problem`.

    Args:
        row: Columns of `problem_features`; all but `id` and `question` (or `text`) may be missing. Figures are in
            `images` or `image`; options are a list, a mapping by letter, or a text, which joins the question.

    Raises:
        ValueError: if it has no question, or a value that is neither a text nor a number where a text is expected.
    """
    try:
        question = text_cell(row, "question", "text") or ""
        options: tuple[str, ...] = ()
        if isinstance(row.get("options"), str):  # already written out: they belong to the question
            question = f"{question}\n{row['options']}".rstrip()
        else:
            options = texts_cell(row, "options")
        answer, answer_type = text_cell(row, "answer"), text_cell(row, "answer_type")
        images = tuple(row_images(row))
    except ValueError as error:
        raise ValueError(f"Problem {row['id']!r} {error}") from error
    return Problem(
        id=row["id"],
        question=question,
        images=images,
        answer=answer,
        answer_type=answer_type or "text",
        options=options,
        meta={name: cell(row, name) for name in META_COLUMNS if name in row},
    )


def shown_question(problem: Problem) -> str:
    """Return the question with its options below, one a line with its letter, unless it shows them already.

    Options that are nothing but their letters (they stand in the figure) add nothing.
    """
    options = problem.options
    letters = [chr(ord("A") + index) for index in range(len(options))]
    if not options or list(options) == letters or all(option in problem.question for option in options):
        return problem.question
    lines = (f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return "\n".join([problem.question, *lines])


def row_images(row: Mapping[str, Any], columns: Sequence[str] = ("images", "image")) -> list[Any]:
    """Return the figures of a row as they are: of the first column that has some (a list or one); [] if none has.

    Raises:
        ValueError: if some of them are empty and others are not; it lacks its subject, such as "Row 3".

    Example:
        >>> row_images({"image": "a.png"}), row_images({"images": None}), row_images({"images": ["a.png", "b.png"]})
        (['a.png'], [], ['a.png', 'b.png'])
    """
    for name in columns:
        figures = row.get(name)
        figures = list(figures) if isinstance(figures, (list, tuple)) else [figures]
        num_empty = sum(map(_is_empty, figures))
        if 0 < num_empty < len(figures):
            raise ValueError(f"has {num_empty} empty figures among {len(figures)}. Fill them or drop the row.")
        if not num_empty and figures:
            return figures
    return []


def stored_problem(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row that is written: `problem_to_row` with its figures as `stored_figure` gives them."""
    return {**problem_to_row(problem), "images": [stored_figure(image) for image in problem.images]}


def stored_figure(image: Any) -> dict[str, Any]:
    """Return a figure in any form as ``{"bytes", "path"}``, its own bytes kept; what has no bytes becomes PNG.

    The path is a file's name alone: what is written may be published, and says nothing of this machine's folders.

    Args:
        image: As in `load_image`; addresses are refused.

    Raises:
        ValueError: if it has no form that `load_image` takes.
    """
    source = figure_source(image)
    has_bytes = isinstance(image, Mapping) and image.get("bytes") is not None
    name = image.get("path") if has_bytes else source
    if isinstance(source, str):
        source = Path(source).read_bytes()
    elif not isinstance(source, bytes):
        turned, buffer = upright(source), io.BytesIO()  # a PNG has no tag that turns it
        (turned if turned.mode in _PNG_MODES else load_image(turned)).save(buffer, format="PNG")
        source = buffer.getvalue()
    return {"bytes": source, "path": os.path.basename(name) or None if isinstance(name, str) else None}


def _is_empty(figure: Any) -> bool:
    """Whether a figure is an empty cell, as it is or in the undecoded form of `datasets`; a file of 0 bytes is not."""
    if isinstance(figure, bytes):
        return False
    has_nothing = isinstance(figure, Mapping) and all(
        is_absent(value) and not isinstance(value, bytes) for value in figure.values()
    )
    return has_nothing or is_absent(figure)


def _grade(value: Any) -> int | None:
    """A whole number, also from a text or a float (6.0, as tables with gaps have it); None for anything else."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**31 else None
