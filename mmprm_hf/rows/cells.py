"""Cells of tables: what is absent, and what a cell that should hold a text or texts holds.

One rule for every reader: None, NaN, a blank text and an empty list are absent, never a text. Imports level 0 only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import is_number


def is_absent(value: Any) -> bool:
    """Whether a cell is empty: None, NaN (of any library), a blank text, or an empty collection.

    Example:
        >>> [is_absent(value) for value in (None, float("nan"), " ", [], {}, "nan", 0, False)]
        [True, True, True, True, True, False, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # those of pandas
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (bytes, list, tuple, dict, set)):
        return not value
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # an array compares by element
        return False


def cell(row: Mapping[str, Any], *names: str) -> Any:
    """Return the first cell of these columns that is not absent; None if all are.

    Example:
        >>> cell({"question": float("nan"), "text": "1 + 1 = ?"}, "question", "text")
        '1 + 1 = ?'
    """
    return next((row[name] for name in names if not is_absent(row.get(name))), None)


def text_cell(row: Mapping[str, Any], *names: str) -> str | None:
    """Return the text in the first of these columns that is not absent, a number as text; None if all are absent.

    Raises:
        ValueError: naming the column and what it has, if that is neither a text nor a number; it lacks its subject.

    Example:
        >>> text_cell({"answer": 4}, "answer"), text_cell({"answer": float("nan")}, "answer")
        ('4', None)
    """
    value = cell(row, *names)
    if value is None or isinstance(value, str):
        return value
    return _number_as_text(value, next(name for name in names if not is_absent(row.get(name))))


def texts_cell(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the texts in a column: a list, or a mapping by letter; () if it is absent.

    An absent entry before the last present one is "", so that the letters of the others stay.

    Raises:
        ValueError: naming the column and what it has, if that is neither; it lacks its subject.

    Example:
        >>> texts_cell({"options": {"B": 4, "A": "3", "C": None}}, "options")
        ('3', '4')
    """
    value = cell(row, name)
    if isinstance(value, Mapping):
        value = [value[letter] for letter in sorted(value, key=lambda letter: str(letter).upper())]
    if value is None:
        return ()
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"has the {name} {value!r:.80}. Write a list of texts.")
    texts = ["" if is_absent(entry) else _number_as_text(entry, name) for entry in value]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def _number_as_text(value: Any, name: str) -> str:
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, str):
        return value
    if not is_number(value):
        raise ValueError(f"has the {name} {value!r:.80}. Write a text or a number.")
    return str(value)
