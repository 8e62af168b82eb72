"""Raw rows of known datasets to `RawProblem`s: one small function each, tolerant of what the dataset leaves out.

An adapter knows which columns mean what, and facts about the source that no row tells; mending texts is `repairs`'.
Rows of benchmarks, of which nothing is kept, may lack their answers: they are read with ``needs_answer=False``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..rows import FIGURE_COLUMNS, problem_from_row
from .config import SourceConfig
from .records import RawProblem, RowError
from .repairs import inline_options

Row = Mapping[str, Any]
Adapter = Callable[[Row, int, bool], RawProblem]

_QUESTION = ("question", "problem", "query", "text", "prompt")
_ANSWER = ("answer", "gold_answer", "ground_truth", "final_answer", "gold", "label")


def read_schema(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Rows of our own schema (MM-K12's, the nano dataset's), and of whatever `problem_from_row` reads."""
    try:
        problem = problem_from_row({**row, "id": _id(row, index), "question": _text(row, _QUESTION, "question")})
    except RowError:
        raise
    except ValueError as error:
        raise RowError("unreadable_row", str(error)) from error
    answer = _answer(row, needs_answer)
    meta = {name: problem.meta.get(name) for name in ("subject", "grade", "license")}
    images = _figures(row, ("images", "image"))
    return RawProblem(problem.id, problem.question, answer, images, problem.options, split_group=_group(row), **meta)


def read_mathvision(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """MathVision (MathLLMs/MathVision): `options` are empty for free answers; "A".."E" where they are drawn."""
    return RawProblem(
        id=_id(row, index),
        question=_text(row, _QUESTION, "question"),
        answer=_answer(row, needs_answer),
        images=_figures(row, ("images", "decoded_image", "image")),
        options=_options(row.get("options")),
        subject=row.get("subject"),
        split_group=_group(row),
    )


def read_gaokao_mm(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """GAOKAO-MM, mathematics: choices A to D, which stand in the question or (no text of theirs) in the figures."""
    question = _text(row, _QUESTION, "question")
    # The number in the paper and the points are no part of the problem: "4. (5 分) ...".
    question = re.sub(r"\A\s*\d+\s*[.．、]\s*", "", question)
    question = re.sub(r"\A\s*[(（]\s*\d+\s*分\s*[)）]\s*", "", question)
    images = _figures(row, ("images", "image", "picture"))
    has_options = row.get("options_inline")
    is_drawn = not (re.search(r"\bA\s*[.．、]", question) if has_options is None else has_options)
    return RawProblem(
        id=_id(row, index),
        question=question,
        answer=_answer(row, needs_answer),
        images=images,
        options=tuple("ABCD") if is_drawn and images else (),
        subject="mathematics",
        grade=12,
        split_group=_group(row),
    )


def read_mm_k12(row: Row, index: int, needs_answer: bool = True) -> RawProblem:
    """Published MM-K12 (Cierra0506/MM-K12), by what is seen of its kin: `id, index, question, answer, image`.

    The answer is often wrapped in ``$$``, the figure may be a path, bytes, Base64 or a decoded image. Subject, grade
    and licence are not among the columns.
    """
    return RawProblem(
        id=_id(row, index),
        question=_text(row, _QUESTION, "question"),
        answer=_answer(row, needs_answer),
        images=_figures(row, FIGURE_COLUMNS),
        options=_options(row.get("options") or row.get("choices")),
        split_group=_group(row),
        subject=row.get("subject") if isinstance(row.get("subject"), str) else None,
        grade=row.get("grade") if isinstance(row.get("grade"), int) else None,
        license=row.get("license") if isinstance(row.get("license"), str) else None,
    )


ADAPTERS: dict[str, Adapter] = {
    "schema": read_schema,
    "mathvision": read_mathvision,
    "gaokao_mm": read_gaokao_mm,
    "mm_k12": read_mm_k12,
}
# What tells one from the others, in this order; mm_k12 takes what is left if it has question, answer and figure.
_SIGNS = {
    "schema": {"images", "question", "answer", "answer_type"},
    "gaokao_mm": {"question", "answer", "paper"},
    "mathvision": {"question", "options", "answer", "level"},
}


def adapter_of(source: SourceConfig, columns: Sequence[str], needs_answer: bool = True) -> str:
    """Name of the adapter of a source.

    Args:
        source: The source.
        columns: Of its rows, with the names that `SourceConfig.columns` gives them.
        needs_answer: False for a benchmark, which may hide its answers and show no figures.

    Raises:
        ValueError: for an unknown adapter, or where columns lack what every problem needs.
    """
    if source.adapter not in ("auto", *ADAPTERS):
        raise ValueError(f"Unknown adapter {source.adapter!r} of {source.title}; choose one of auto, {_names()}.")
    missing = [
        words
        for words, names, is_needed in (
            ("a question", _QUESTION, True),
            ("an answer", _ANSWER, needs_answer),
            ("figures", FIGURE_COLUMNS, needs_answer),
        )
        if is_needed and not set(names) & set(columns)
    ]
    if missing:
        raise ValueError(
            f"The source {source.title} has the columns {', '.join(columns) or '(none)'}: none of them is "
            f"{' or '.join(missing)}. Name them under `columns`, as {{question: its_column}}."
        )
    if source.adapter != "auto":
        return source.adapter
    return next((name for name, signs in _SIGNS.items() if signs <= set(columns)), "mm_k12")


def missing_facts(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns of our schema about which a source tells nothing."""
    known = {"mathvision": {"subject"}, "gaokao_mm": {"subject", "grade"}}.get(name, set())
    return tuple(column for column in ("subject", "grade", "license") if column not in known and column not in columns)


def renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """A row whose columns have the adapter's names; the source's own of these names are not read."""
    return {**row, **{name: row.get(theirs) for name, theirs in columns.items()}} if columns else row


def _names() -> str:
    return ", ".join(ADAPTERS)


def _id(row: Row, index: int) -> str:
    found = next((row[name] for name in ("id", "index", "pid", "problem_id") if row.get(name) is not None), index)
    return str(found)


def _text(row: Row, names: Sequence[str], what: str) -> str:
    """The first of these columns that says something; numbers as text."""
    value = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if isinstance(value, float) and math.isnan(value):
        value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = repr(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError("no_answer" if what == "answer" else "unreadable_row", f"the {what} is empty")
    if not isinstance(value, str):
        raise RowError("unreadable_row", f"the {what} is a {type(value).__name__}")
    return value


def _answer(row: Row, is_needed: bool) -> str:
    """The answer; "" where there is none and none is needed."""
    try:
        return _text(row, _ANSWER, "answer")
    except RowError:
        if is_needed:
            raise
        return ""


def _group(row: Row) -> str | None:
    """The source's own split group."""
    return str(row["split_group"]) if row.get("split_group") not in (None, "") else None


def _options(options: Any) -> tuple[str, ...]:
    """Choices in letter order: of a list, a mapping by letter, or a text that is a JSON list or lettered.

    What is missing before the last one stays as "", so that letters keep their texts.
    """
    if isinstance(options, str):
        options = _options_in_text(options)
    if isinstance(options, Mapping):
        options = [options[letter] for letter in sorted(options, key=lambda letter: str(letter).upper())]
    if options is None:
        return ()
    if not isinstance(options, (list, tuple)):
        raise RowError("unreadable_row", f"the options are a {type(options).__name__}")
    found = ["" if option is None else str(option) for option in options]
    while found and not found[-1].strip():
        found.pop()
    return tuple(found)


def _options_in_text(text: str) -> list[str]:
    """The choices of one text.

    Raises:
        RowError: if it is neither JSON nor lettered.
    """
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, list):
        return found
    lettered = inline_options(f"?\n{text}")
    if lettered is None:
        raise RowError("unreadable_row", f"the options are a text without letters: {text[:80]}")
    return list(lettered[1])


def _figures(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """The figures of the first of these columns that holds some."""
    for name in names:
        value = row.get(name)
        entries = list(value) if isinstance(value, (list, tuple)) else [] if _is_nothing(value) else [value]
        if any(map(_is_nothing, entries)) and not all(map(_is_nothing, entries)):
            raise RowError("figure_unreadable", f"{sum(map(_is_nothing, entries))} of {len(entries)} figures are empty")
        if entries and not _is_nothing(entries[0]):
            return tuple(_figure(entry) for entry in entries)
    return ()


def _is_nothing(figure: Any) -> bool:
    return (
        figure is None or figure == "" or (isinstance(figure, dict) and not (figure.get("bytes") or figure.get("path")))
    )


def _figure(figure: Any) -> Any:
    """Bytes and Base64 in the undecoded form; paths and decoded images as they are."""
    if isinstance(figure, bytes):
        return {"bytes": figure, "path": None}
    if not isinstance(figure, str) or os.path.isfile(figure):
        return figure
    data = figure.partition(",")[2] if figure.startswith("data:") else figure
    try:
        if len(data) > 100 and set(data[:100]) <= set(string.ascii_letters + string.digits + "+/="):
            return {"bytes": base64.b64decode(data, validate=True), "path": None}
    except (binascii.Error, ValueError):
        pass
    return figure


__all__ = ["ADAPTERS", "adapter_of", "missing_facts", "renamed"]
