"""Problems <-> dataset rows in MM-K12's schema, which every problem dataset of this package has.

Reading is tolerant (one `image`, options by letter, a number as answer, missing columns); writing gives all columns,
always in this order. ``datasets`` is imported only for the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..data import Problem
from ..errors import is_number

if TYPE_CHECKING:
    import datasets

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
    meta = {name: row[name] for name in META_COLUMNS if name in row}
    question = _text(row, "question" if row.get("question") else "text") or ""
    if isinstance(row.get("options"), str):  # already written out: they belong to the question
        question = f"{question}\n{row['options']}".rstrip()
    return Problem(
        id=row["id"],
        question=question,
        images=tuple(row_images(row)),
        answer=_text(row, "answer"),
        answer_type=row.get("answer_type") or "text",
        options=_options(row.get("options")),
        meta=meta,
    )


def row_images(row: Mapping[str, Any]) -> list[Any]:
    """Return the figures of a row as they are: those of `images` (a list or one), else of `image`; [] if it has none.

    Example:
        >>> row_images({"image": "a.png"}), row_images({"images": None}), row_images({"images": ["a.png", "b.png"]})
        (['a.png'], [], ['a.png', 'b.png'])
    """
    images = row.get("images")
    if images is None or (isinstance(images, (list, tuple)) and not images):
        images = row.get("image")
    if images is None:
        return []
    return list(images) if isinstance(images, (list, tuple)) else [images]


def _grade(value: Any) -> int | None:
    """A whole number, also from a text or a float (6.0, as tables with gaps have it); None for anything else."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**31 else None


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """The text in a column; a number becomes a text."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    if not is_number(value):
        raise ValueError(f"Problem {row['id']!r} has the {name} {value!r:.80}. Write a text or a number.")
    return str(value)


def _options(options: Any) -> tuple[str, ...]:
    """Choices in letter order, from a list, or from a mapping by letter whose last ones may be None."""
    if options is None or isinstance(options, str):
        return ()
    choices = [options[letter] for letter in sorted(options)] if isinstance(options, Mapping) else list(options)
    while choices and choices[-1] is None:
        choices.pop()
    return tuple("" if choice is None else str(choice) for choice in choices)
