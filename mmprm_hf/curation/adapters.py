"""From raw rows of known datasets to `RawProblem`s: a small function each, tolerant of what a dataset leaves out.

An adapter knows which columns mean what, and facts about the dataset that no row contains. It repairs no text.
Benchmarks, of which nothing is kept, may lack answers: they are read with ``needs_answer=False``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UnknownNameError
from ..rows import FIGURE_COLUMNS, cell, is_absent, missing_column, problem_from_row, row_images, text_cell, texts_cell
from .config import SourceConfig
from .records import RawProblem, RowError
from .repairs import inline_options

Row = Mapping[str, Any]
Adapter = Callable[[Row, int, bool], RawProblem]

_QUESTION_COLUMNS = ("question", "problem", "query", "text", "prompt")
_ANSWER_COLUMNS = ("answer", "gold_answer", "ground_truth", "final_answer", "gold", "label")


def read_schema(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Read a row of our own schema (MM-K12's, the nano dataset's), or whatever else `problem_from_row` reads."""
    question = _text(row, _QUESTION_COLUMNS, "question")
    try:
        # The figures are read below, where a fault has a reason of its own.
        texts = {**row, "id": _id(row, index), "question": question, "images": None, "image": None}
        problem = problem_from_row(texts)
    except ValueError as error:
        raise RowError("unreadable_row", str(error)) from error
    meta = {name: problem.meta.get(name) for name in ("subject", "grade", "license")}
    raw = _read(row, index, needs_answer, ("images", "image"))
    return dataclasses.replace(raw, question=problem.question, options=problem.options, **meta)


def read_mathvision(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Read a row of MathVision (MathLLMs/MathVision): free answers have no options, drawn choices "A" to "E"."""
    raw = _read(row, index, needs_answer, ("images", "decoded_image", "image"))
    return dataclasses.replace(raw, options=_options(row.get("options")), subject=row.get("subject"))


def read_gaokao_mm(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Read a row of GAOKAO-MM, mathematics: the choices A to D stand in the question, or are drawn in the figures."""
    raw = _read(row, index, needs_answer, ("images", "image", "picture"))
    # Number in the paper and points are not part of the problem: "4. (5 分) ...".
    question = re.sub(r"\A\s*\d+\s*[.．、]\s*", "", raw.question)
    question = re.sub(r"\A\s*[(（]\s*\d+\s*分\s*[)）]\s*", "", question)
    has_options = row.get("options_inline")
    is_drawn = not (re.search(r"\bA\s*[.．、]", question) if has_options is None else has_options)
    options = tuple("ABCD") if is_drawn and raw.images else ()
    return dataclasses.replace(raw, question=question, options=options, subject="mathematics", grade=12)


def read_mm_k12(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Read a row of published MM-K12 (Cierra0506/MM-K12), or any other with question, answer and figure.

    The answer is often wrapped in ``$$``; the figure may be a path, bytes, Base64 or a decoded image.
    """
    raw = _read(row, index, needs_answer, FIGURE_COLUMNS)
    types = {"subject": str, "grade": int, "license": str}
    meta = {name: row[name] for name, cls in types.items() if isinstance(row.get(name), cls)}
    return dataclasses.replace(raw, options=_options(row.get("options") or row.get("choices")), **meta)


ADAPTERS: dict[str, Adapter] = {
    "schema": read_schema,
    "mathvision": read_mathvision,
    "gaokao_mm": read_gaokao_mm,
    "mm_k12": read_mm_k12,
}
# Columns by which a dataset is recognised, in this order; `mm_k12` reads all others.
_TYPICAL_COLUMNS = {
    "schema": {"images", "question", "answer", "answer_type"},
    "gaokao_mm": {"question", "answer", "paper"},
    "mathvision": {"question", "options", "answer", "level"},
}


KNOWN_FACTS = {"mathvision": ("subject",), "gaokao_mm": ("subject", "grade")}  # beside those in columns


def choose_adapter(source: SourceConfig, columns: Sequence[str], needs_answer: bool = True) -> str:
    """Return the name of a source's adapter, or raise a ValueError if the columns lack what every problem needs.

    A benchmark (`needs_answer` is False) may lack answers and figures.
    """
    if source.adapter not in ("auto", *ADAPTERS):
        raise UnknownNameError("adapter", source.adapter, ("auto", *ADAPTERS), f" of the source {source.title}")
    for names in (_QUESTION_COLUMNS, *((_ANSWER_COLUMNS, FIGURE_COLUMNS) if needs_answer else ())):
        if not set(names) & set(columns):
            raise missing_column(source.path, names[0], columns)
    if source.adapter != "auto":
        return source.adapter
    return next((name for name, names in _TYPICAL_COLUMNS.items() if names <= set(columns)), "mm_k12")


def _read(row: Row, index: int, needs_answer: bool, figure_columns: Sequence[str]) -> RawProblem:
    """What is read in the same way from the rows of every dataset."""
    return RawProblem(
        id=_id(row, index),
        question=_text(row, _QUESTION_COLUMNS, "question"),
        answer=_answer(row, needs_answer),
        images=_figures(row, figure_columns),
        split_group=None if is_absent(row.get("split_group")) else str(row["split_group"]),
    )


def _id(row: Row, index: int) -> str:
    value = cell(row, "id", "index", "pid", "problem_id")
    return str(index if value is None else value)


def _text(row: Row, columns: Sequence[str], what: str) -> str:
    """The first of these columns that is not empty; a number becomes a text."""
    try:
        text = text_cell(row, *columns)
    except ValueError as error:
        kind = type(cell(row, *columns)).__name__
        raise RowError("unreadable_row", f"the {what} is a {kind}") from error
    if text is None:
        raise RowError("no_answer" if what == "answer" else "unreadable_row", f"the {what} is empty")
    return text


def _answer(row: Row, is_needed: bool) -> str:
    """The answer; "" where there is none and none is needed."""
    try:
        return _text(row, _ANSWER_COLUMNS, "answer")
    except RowError:
        if is_needed:
            raise
        return ""


def _options(options: Any) -> tuple[str, ...]:
    """Choices in letter order, from a list, a mapping by letter, or a text that is a JSON list or lettered.

    A choice that is missing before the last one is "", so that the letters of the others stay.
    """
    if isinstance(options, str):
        options = _options_in_text(options)
    try:
        return texts_cell({"options": options}, "options")
    except ValueError as error:
        raise RowError("unreadable_row", f"the options are a {type(options).__name__}: the row {error}") from error


def _options_in_text(text: str) -> list[Any]:
    """The choices that one text lists, as JSON or behind letters."""
    if not text.strip():
        return []
    with contextlib.suppress(ValueError):
        if isinstance(options := json.loads(text), list):
            return options
    lettered = inline_options(f"?\n{text}")
    if lettered is None:
        raise RowError("unreadable_row", f"the options are a text without letters: {text[:80]}")
    return list(lettered[1])


def _figures(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    """The figures in the first of these columns that has some."""
    try:
        return tuple(row_images(row, columns))
    except ValueError as error:
        raise RowError("figure_unreadable", f"the row {error}") from error
