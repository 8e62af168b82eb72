"""Evaluations of the same candidates: how far the choices of one PRM lie from those of another, paired by problem.

Reads the candidates files beside results files. Must not import torch or a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..answers import group_answers
from ..metrics import paired_difference
from ..rows import candidate_outcome, read_candidate_rows
from ..selection import outcome_by_selection
from .documents import document_names
from .words import Table, capital, count, difference, metric_name

_SELECTIONS = ("best_of_n", "weighted_vote")
_NOTE = (
    "Over the problems of which both evaluations have the same candidates. In brackets: 95 % interval, and the "
    "p value of a paired sign-flip test."
)

Values = dict[tuple, dict[str, float | None]]


def paired_table(paths: Sequence[Path], documents: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return what each later evaluation's selections get more than the first one's, on the same candidates.

    Args:
        paths: Results files; the candidates of an evaluation are in ``candidates.jsonl`` beside them.
        documents: What they contain.

    Returns:
        A row for each later evaluation that has candidates in common with the first; None if there is none.

    Raises:
        ValueError: for a damaged candidates file.
    """
    first, *others = [_values(path, document) for path, document in zip(paths, documents, strict=True)]
    base, *names = document_names(documents, paths)
    rows = []
    for name, other in zip(names, others, strict=True):
        common = [key for key in first if key in other]
        if common:
            pairs = [([other[key][way] for key in common], [first[key][way] for key in common]) for way in _SELECTIONS]
            cells = [difference(paired_difference(values, baseline)) for values, baseline in pairs]
            rows.append([f"{name} minus {base}", count(len(common)), *cells])
    header = ["Difference", "Problems", *(capital(metric_name(way)) for way in _SELECTIONS)]
    return Table(header, rows, _NOTE) if rows else None


def _values(path: Path, document: Mapping[str, Any]) -> Values:
    """What each selection gets, by problem and its candidates; nothing where there are none beside the results."""
    candidates_path = path.with_name("candidates.jsonl")
    if "best_of_n" not in document or not candidates_path.exists():
        return {}
    values: Values = {}
    for row in read_candidate_rows(candidates_path, need_verdicts=True):
        candidates = row["candidates"]
        contents = tuple((tuple(c["steps"]), c["answer"], c["complete"]) for c in candidates)
        values[row["problem_id"], contents] = outcome_by_selection(
            [candidate_outcome(candidate) for candidate in candidates],
            [c.get("step_scores") or () if c["complete"] else () for c in candidates],
            group_answers([c["answer"] if c["complete"] else None for c in candidates]),
            document["best_of_n"]["aggregation"],
        )
    return values
