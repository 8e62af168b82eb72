"""Raw rows of known datasets to `RawProblem`s: one small function each, tolerant of what the dataset leaves out.

An adapter knows which columns mean what, and facts about the source that no row tells; mending texts is `repairs`'.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..problem_rows import problem_from_row
from .config import SourceConfig
from .records import RawProblem, RowError

Row = Mapping[str, Any]
Adapter = Callable[[Row, int], RawProblem]

_QUESTION = ("question", "problem", "query", "text", "prompt")
_ANSWER = ("answer", "gold_answer", "ground_truth", "final_answer", "gold", "label")
_FIGURES = ("images", "image", "decoded_image", "figure", "figures")


def read_schema(row: Row, index: int) -> RawProblem:
    """Rows of our own schema (MM-K12's, the nano dataset's), and of whatever `problem_from_row` reads."""
    try:
        problem = problem_from_row({**row, "id": _id(row, index), "question": _text(row, _QUESTION, "question")})
    except RowError:
        raise
    except ValueError as error:
        raise RowError("unreadable_row", str(error)) from error
    if problem.answer is None or not problem.answer.strip():
        raise RowError("no_answer", "the answer is empty")
    meta = {name: problem.meta.get(name) for name in ("subject", "grade", "license", "split_group")}
    return RawProblem(problem.id, problem.question, problem.answer, problem.images, problem.options, **meta)


def read_mathvision(row: Row, index: int) -> RawProblem:
    """MathVision (MathLLMs/MathVision): `options` are empty for free answers; "A".."E" where they are drawn."""
    return RawProblem(
        id=_id(row, index),
        question=_text(row, _QUESTION, "question"),
        answer=_text(row, _ANSWER, "answer"),
        images=_figures(row, ("images", "decoded_image", "image")),
        options=tuple(str(option) for option in row.get("options") or ()),
        subject=row.get("subject"),
    )


def read_gaokao_mm(row: Row, index: int) -> RawProblem:
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
        answer=_text(row, _ANSWER, "answer"),
        images=images,
        options=tuple("ABCD") if is_drawn and images else (),
        subject="mathematics",
        grade=12,
    )


def read_mm_k12(row: Row, index: int) -> RawProblem:
    """Published MM-K12 (Cierra0506/MM-K12), by what is seen of its kin: `id, index, question, answer, image`.

    The answer is often wrapped in ``$$``, the figure may be a path, bytes, Base64 or a decoded image. Subject, grade
    and licence are not among the columns.
    """
    return RawProblem(
        id=_id(row, index),
        question=_text(row, _QUESTION, "question"),
        answer=_text(row, _ANSWER, "answer"),
        images=_figures(row, _FIGURES),
        options=_options(row.get("options") or row.get("choices")),
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


def adapter_of(source: SourceConfig, columns: Sequence[str]) -> str:
    """Name of the adapter of a source.

    Args:
        source: The source.
        columns: Of its rows, renamed as `SourceConfig.columns` says.

    Raises:
        ValueError: for an unknown adapter, or where columns lack what every problem needs.
    """
    if source.adapter not in ("auto", *ADAPTERS):
        raise ValueError(f"Unknown adapter {source.adapter!r} of {source.title}; choose one of auto, {_names()}.")
    missing = [
        words
        for words, names in (("a question", _QUESTION), ("an answer", _ANSWER), ("figures", _FIGURES))
        if not set(names) & set(columns)
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
    """A row whose columns have the adapter's names."""
    return {**row, **{name: row.get(theirs) for name, theirs in columns.items()}} if columns else row


def _names() -> str:
    return ", ".join(ADAPTERS)


def _id(row: Row, index: int) -> str:
    found = next((row[name] for name in ("id", "index", "pid", "problem_id") if row.get(name) is not None), index)
    return str(found)


def _text(row: Row, names: Sequence[str], what: str) -> str:
    """The first of these columns that says something; numbers as text."""
    value = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = repr(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError("no_answer" if what == "answer" else "unreadable_row", f"the {what} is empty")
    if not isinstance(value, str):
        raise RowError("unreadable_row", f"the {what} is a {type(value).__name__}")
    return value


def _options(options: Any) -> tuple[str, ...]:
    """Choices in letter order, of a list, or a mapping by letter."""
    if isinstance(options, Mapping):
        options = [options[letter] for letter in sorted(options)]
    if not isinstance(options, (list, tuple)):
        return ()
    return tuple(str(option) for option in options if option is not None)


def _figures(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """The figures of the first of these columns that holds some."""
    for name in names:
        value = row.get(name)
        found = [entry for entry in (value if isinstance(value, (list, tuple)) else [value]) if not _is_nothing(entry)]
        if found:
            return tuple(_figure(entry) for entry in found)
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
