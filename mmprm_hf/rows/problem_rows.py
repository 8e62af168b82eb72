"""Problems <-> dataset rows: MM-K12's schema, which every problem dataset of this package has.

Reading is tolerant (one `image`, options by letter, a number as answer, columns left out); writing gives all columns,
always in this order. ``datasets`` is imported only where features are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..data import Problem

if TYPE_CHECKING:
    import datasets

META_COLUMNS = ("subject", "grade", "source", "license", "split_group")
"""Columns that a `Problem` keeps in its `meta`."""


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
    """Return a problem as a row of `problem_features`; what its `meta` does not tell, or a grade in words, is None."""
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
    """Return one row (`images`, or one `image`) as a `Problem`.

    Args:
        row: The row.

    Raises:
        ValueError: if it has no question, or something else than text where text belongs.
    """
    meta = {name: row[name] for name in META_COLUMNS if name in row}
    question = _text(row, "question" if row.get("question") else "text") or ""
    if isinstance(row.get("options"), str):  # written out for the reader: they belong to the question
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
    """Return the figures of a row, as they are: those of `images` (a list or one), or of `image`; [] if there are none.

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
    """A whole number, also as text or float (6.0, as a table with gaps has it); None for anything else."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**31 else None


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """A column of a row, a number in it as text."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"Problem {row['id']!r} has the {name} {value!r:.80}. It must be a text or a number.")
    return str(value)


def _options(options: Any) -> tuple[str, ...]:
    """Choices in letter order, of a list, or of a mapping by letter whose last ones may be None."""
    if options is None or isinstance(options, str):
        return ()
    found = [options[letter] for letter in sorted(options)] if isinstance(options, Mapping) else list(options)
    while found and found[-1] is None:
        found.pop()
    return tuple("" if option is None else str(option) for option in found)


__all__ = ["META_COLUMNS", "problem_features", "problem_from_row", "problem_to_row", "row_images"]
