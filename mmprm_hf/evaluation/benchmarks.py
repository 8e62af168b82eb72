"""Best-of-N benchmarks: rows as published to `Problem`s, in the wording of published MM-PRM's evaluation.

A score depends on every character of what the PRM reads, so each reader defines the exact text. Answers are kept
for verifiers and never shown. A row that is not a problem is an error of its own, which callers count.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..data import Problem
from ..errors import UnknownNameError
from ..models import PLACEHOLDER, split_question
from ..rows import (
    FIGURE_COLUMNS,
    FigureRules,
    RawRows,
    cell,
    is_absent,
    problem_from_row,
    row_images,
    shown_question,
    text_cell,
    texts_cell,
)
from .composites import name_composite_parts

Row = Mapping[str, Any]
Reader = Callable[[Row, str], Problem]
ID_COLUMNS = ("id", "pid", "sample_index", "question_id", "index")
NUMBERED_FIGURES = tuple(f"image_{number}" for number in range(1, 10))
MAX_FIGURES = 5
"""OlympiadBench shows a problem's first five figures (published evaluation)."""


def read_mm_k12(row: Row, problem_id: str) -> Problem:
    """MM-K12: the text is `question`."""
    return _problem(row, problem_id, _text(row, "question"), _some_figures(row), options=texts_cell(row, "options"))


def read_mathvision(row: Row, problem_id: str) -> Problem:
    """MathVision: `question`, a line break, and the options as lines ``(A) ...``; none if they are mere letters.

    Several figures are one file: where several placeholders name its parts, they become ``(image 1)``, ``(image 2)``.
    """
    options = texts_cell(row, "options")
    letters = string.ascii_uppercase[: len(options)]
    lines = "".join(f"({letter}) {option}\n" for letter, option in zip(letters, options, strict=True))
    lines = "" if options == tuple("ABCDE") else lines
    question, figures = f"{_text(row, 'question')}\n{lines}", _some_figures(row)
    question = name_composite_parts(question, len(figures))
    return _problem(row, problem_id, question, figures, options=options)


def read_mathvista(row: Row, problem_id: str) -> Problem:
    """MathVista: the text is `query` (hint, question, choices); `precision` is that of the gold answer."""
    precision = cell(row, "precision")
    meta = {} if precision is None else {"precision": int(float(precision))}
    return _problem(
        row, problem_id, _text(row, "query"), _some_figures(row), options=texts_cell(row, "choices"), **meta
    )


def read_mathverse(row: Row, problem_id: str) -> Problem:
    """MathVerse: the text is `query_cot`; the choices stand in it, a line each behind "Choices:"."""
    query = _text(row, "query_cot")
    return _problem(row, problem_id, query, _some_figures(row), options=_choices_in(query))


def read_olympiadbench(row: Row, problem_id: str) -> Problem:
    """OlympiadBench: `context`, if there is one, before `question`; the answer is `final_answer` with its unit.

    Problems without a figure are part of it. A problem that says where its figures stand shows all of them.
    """
    context = text_cell(row, "context")
    question = "\n".join(part for part in (context, _text(row, "question")) if part)
    figures = tuple(row[name] for name in NUMBERED_FIGURES if not is_absent(row.get(name))) or _figures(row)
    texts = _list(row, "final_answer") or _list(row, "answer")
    answers = [answer for answer in (text.strip().strip("$").strip() for text in texts) if answer]
    if not answers:
        raise ValueError("there is no answer")
    unit = text_cell(row, "unit") or ""
    answer = ", ".join(f"{value} {unit}".strip() for value in answers)
    shown = figures if PLACEHOLDER.search(question) else figures[:MAX_FIGURES]
    return Problem(problem_id, question, shown, answer, "text", (), {"num_figures": len(figures)})


def read_own(row: Row, problem_id: str) -> Problem:
    """A benchmark of one's own, in the form of problem rows: options follow the question; it may have no figure."""
    problem = problem_from_row({**row, "id": problem_id})
    if not (problem.question.strip() and problem.answer):
        raise ValueError(f"{'answer' if problem.question.strip() else 'question'} is empty")
    answer_type = problem.answer_type if cell(row, "answer_type") else "choice" if problem.options else "text"
    return dataclasses.replace(problem, question=shown_question(problem), answer_type=answer_type)


_ANSWER = ("answer",)
QUESTION_AND_ANSWER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "own": (("question", "text"), _ANSWER),
    "mm_k12": (("question",), _ANSWER),
    "olympiadbench": (("question",), ("final_answer", "answer")),
    "mathvista": (("query",), _ANSWER),
    "mathverse": (("query_cot",), _ANSWER),
    "mathvision": (("question",), _ANSWER),
}
"""The columns that a benchmark must have: one of the first, and one of the second."""
READERS: dict[str, Reader] = {
    "own": read_own,
    "mm_k12": read_mm_k12,
    "olympiadbench": read_olympiadbench,
    "mathvista": read_mathvista,
    "mathverse": read_mathverse,
    "mathvision": read_mathvision,
}


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """The problems of a benchmark, each read when it is asked for by its index.

    Args:
        name: A name of `READERS`.
        rows: Its rows.

    Example:
        >>> Benchmark("mathvision", RawRows("problems.jsonl"))[0].question  # doctest: +SKIP
        'Which kite has the longest string?'
    """

    name: str
    rows: RawRows

    @functools.cached_property
    def ids(self) -> list[str]:
        """The id of every row, from the first of `ID_COLUMNS` that it has, else its number."""
        columns = {name: self.rows.column(name) for name in ID_COLUMNS if name in self.rows.columns}
        return [_id({name: column[index] for name, column in columns.items()}, index) for index in range(len(self))]

    @functools.cached_property
    def _first_of_id(self) -> dict[str, int]:
        return {name: index for index, name in reversed(list(enumerate(self.ids)))}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Problem:
        """The problem of one row.

        Raises:
            ValueError: if the row is not a problem, or its placeholders and figures do not go together; it says why.
            IndexError: beyond the rows.
        """
        problem_id = self.ids[index]
        if self._first_of_id[problem_id] != index % len(self):
            raise ValueError("the id comes twice")
        row = self.rows[index]
        try:
            problem = READERS[self.name](row, problem_id)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"a value has the wrong type: {error}") from error
        split_question(problem.question, len(problem.images))
        return problem


def load_benchmark(
    name: str,
    data: str | os.PathLike[str],
    *,
    split: str = "test",
    subset: str | None = None,
    num_rows: int | None = None,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> Benchmark:
    """Open a benchmark.

    Args:
        name: A name of `READERS`.
        data: ``.jsonl`` file (figures as paths beside it), dataset folder or hub id.
        split, subset: Split and configuration of a dataset; None takes its only or default configuration.
        num_rows: Read the first `num_rows` rows; None reads all.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Raises:
        ValueError: for an unknown name.
        OSError: if there is no such file, and whatever `datasets.load_dataset` raises.
    """
    if name not in READERS:
        raise UnknownNameError("benchmark", name, READERS)
    figures = (*FIGURE_COLUMNS, *NUMBERED_FIGURES)
    options = {"subset": subset, "num_rows": num_rows, "figure_columns": figures, "rules": rules}
    rows = RawRows(data, split, columns=columns, **options)
    for names in QUESTION_AND_ANSWER[name]:
        rows.need(*names)
    return Benchmark(name, rows)


def _problem(
    row: Row, problem_id: str, question: str, figures: tuple[Any, ...], *, options: Sequence[str], **meta: Any
) -> Problem:
    """A problem with the row's answer; one with options is a choice problem."""
    answer_type = "choice" if options else "text"
    return Problem(problem_id, question, figures, _text(row, "answer").strip(), answer_type, tuple(options), meta)


def _id(row: Row, index: int) -> str:
    value = cell(row, *ID_COLUMNS)
    return str(index if value is None else value)


def _text(row: Row, name: str) -> str:
    """A column's text; numbers as text."""
    try:
        text = text_cell(row, name)
    except ValueError as error:
        raise ValueError(f"{name} is {type(row[name]).__name__}") from error  # problems are counted by these words
    if text is None:
        raise ValueError(f"{name} is empty")
    return text


def _list(row: Row, name: str) -> tuple[str, ...]:
    """The texts of a column that has one or a list."""
    text = row.get(name)
    return texts_cell({name: text if isinstance(text, (list, tuple)) or is_absent(text) else [text]}, name)


def _figures(row: Row) -> tuple[Any, ...]:
    """The figures, undecoded; a decoded column comes before a path of the dataset's own."""
    return tuple(row_images(row, ("images", "decoded_image", "image", *FIGURE_COLUMNS)))


def _some_figures(row: Row) -> tuple[Any, ...]:
    """Figures of a row; an error if there are none, because every problem of the benchmark needs one."""
    figures = _figures(row)
    if not figures:
        raise ValueError("there is no figure")
    return figures


def _choices_in(query: str) -> list[str]:
    """The choices of a MathVerse query: the lines behind "Choices:" that begin with A, B, C ... in order."""
    choices: list[str] = []
    for line in query.partition("Choices:")[2].strip().splitlines():
        match = re.match(r"\s*\(?([A-Z])\)?\s*[:.]\s*(.*)", line)
        if match is None or match.group(1) != string.ascii_uppercase[len(choices)]:
            break
        choices.append(match.group(2).strip())
    return choices if len(choices) > 1 else []
