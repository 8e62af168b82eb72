"""Scoring of written solutions: from a text file to step scores, and those as bars in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import Candidate
from ..nano import PRM_PATH, foreign_problem_note
from ..rerank import read_problem
from ..scoring import PRMScorer
from ..selection import aggregate
from ..steps import solution_steps
from .options import named_hosts

MAX_SOLUTION_CHARS = 32_000
"""The most characters of a solution; a PRM reads it in one row."""
BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_COLORS = ((0.7, "32"), (0.4, "33"), (0.0, "31"))
"""The lowest score of each colour (ANSI: green, yellow, red)."""


def read_solution(text: str, *, thoughts: bool = False) -> tuple[str, ...]:
    """Return the steps of a solution in a file.

    Args:
        text: A JSON list of steps; or a policy's text in any step format: with ``<step>`` tags, numbered, in
            paragraphs, or one step a line. An answer line behind the solution is not a step.
        thoughts: Whether the paragraphs of a thought before the solution are steps, see `solution_steps`.

    Raises:
        ValueError: if there is no step, a tag or a thought is not closed, or the JSON list has anything but texts.

    Example:
        >>> read_solution("A=22\\nB=61\\n")
        ('A=22', 'B=61')
    """
    if len(text) > MAX_SOLUTION_CHARS:
        raise ValueError(
            f"Found a solution of {len(text)} characters, more than {MAX_SOLUTION_CHARS}. Scoring takes the square of "
            "its length; shorten it, or split it."
        )
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if text.lstrip().startswith("["):
        try:
            steps = json.loads(text)
        except json.JSONDecodeError:
            steps = None  # mathematics may begin with a bracket
        except RecursionError as error:
            raise ValueError(
                "Found a list that is nested too deeply. A solution in JSON is a list of steps."
            ) from error
        if isinstance(steps, list):
            if not all(isinstance(step, str) and step.strip() for step in steps):
                raise ValueError(f"Found the list {text[:80]!r}. A solution in JSON is a list of steps, none blank.")
            if not steps:
                raise ValueError("Found a solution without steps: the list is empty. Give at least one step.")
            return tuple(steps)
    return solution_steps(text, thoughts=thoughts)


def score_solutions(
    images: Sequence[Any], question: str, solutions: Sequence[tuple[str, ...]], *, prm: str | None, aggregation: str
) -> dict[str, Any]:
    """Return the step scores of solutions of one problem.

    Args:
        images: Figures: paths, URLs or PIL images.
        question: The question.
        solutions: Each a tuple of steps, see `read_solution`.
        prm: Path or hub id of a PRM; None takes the shipped nano PRM.
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        ``{"aggregation", "solutions", "note"}``. A solution is ``{"steps", "step_scores", "score"}``, in order. Scores
        are None for one that contains the PRM's step marker if that is an ordinary word of its vocabulary; any other
        marker is read as plain text. The note is a warning where the shipped PRM is shown a problem that is not of the
        nano world, None otherwise.

    Raises:
        ValueError: for an unknown aggregation, a model that is not a PRM, or a problem that cannot be shown to it.
    """
    aggregate((), aggregation)
    problem, _ = read_problem({"images": list(images), "text": question}, named_hosts(images))
    scorer = PRMScorer.from_pretrained(prm or PRM_PATH)
    rows = []
    for candidate in scorer.score(problem, [Candidate(steps) for steps in solutions]):
        scores = None if candidate.step_scores is None else list(candidate.step_scores)
        score = None if scores is None else aggregate(scores, aggregation)
        rows.append({"steps": list(candidate.steps), "step_scores": scores, "score": score})
    is_shipped = prm is None or Path(prm).resolve() == PRM_PATH.resolve()
    note = foreign_problem_note(problem.images, "scores") if is_shipped else None
    return {"aggregation": aggregation, "solutions": rows, "note": note}


def format_scores(report: dict[str, Any], *, color: bool) -> str:
    """Return the steps with their scores as bars, and the number of the best solution if there are several.

    Args:
        report: What `score_solutions` returns.
        color: Color the bars with ANSI codes.
    """
    rows, lines = report["solutions"], []
    for number, row in enumerate(rows, start=1):
        if len(rows) > 1:
            lines.append(f"solution {number}")
        if row["step_scores"] is None:
            lines += ["no score: it contains the PRM's own step marker", ""]
            continue
        for step, score in zip(row["steps"], row["step_scores"], strict=True):
            first, *rest = step.split("\n")
            lines.append(f"{score_bar(score, color)}  {score:.3f}  {first}")
            lines += [f"{'':>{BAR_WIDTH + 9}}{line}" for line in rest]
        lowest = min(range(len(row["step_scores"])), key=row["step_scores"].__getitem__)
        lines += [f"{report['aggregation']} {row['score']:.3f}; the lowest is step {lowest + 1}", ""]
    scored = [index for index, row in enumerate(rows) if row["score"] is not None]
    if len(rows) > 1 and scored:
        lines.append(f"best: solution {max(scored, key=lambda index: rows[index]['score']) + 1}")
    if report["note"]:
        lines += ["", f"note: {report['note']}"]
    return "\n".join(lines).strip()


def score_bar(score: float, color: bool) -> str:
    """Return a bar of `BAR_WIDTH` characters, filled by a score in [0, 1] to an eighth of one, coloured on request."""
    whole, eighths = divmod(round(score * BAR_WIDTH * 8), 8)
    filled = "█" * whole + (_EIGHTHS[eighths] if eighths else "")
    bar = filled + "·" * (BAR_WIDTH - len(filled))
    if not color:
        return bar
    code = next(code for bound, code in _COLORS if score >= bound)
    return f"\x1b[{code}m{bar}\x1b[0m"
