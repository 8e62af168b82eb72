"""Evaluation of candidates that lie on disk: the best-of-N table, and why it is as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evaluation.diagnosis import diagnose, format_diagnosis
from ..evaluation.evaluators import best_of_n_report, format_table
from ..files import iter_jsonl, write_json


def evaluate_candidates(
    path: Path, output: Path | None = None, *, aggregation: str = "min", with_diagnosis: bool = False
) -> dict[str, Any]:
    """The best-of-N table of a ``candidates.jsonl`` that `mmprm rerank --data` or `mmprm demo` wrote.

    Args:
        path: The file: one problem a line, with its judged candidates and their step scores.
        output: File for the results, or None.
        aggregation: One of `selection.AGGREGATIONS`; step scores are kept, so that any may be tried.
        with_diagnosis: Add `diagnose`'s numbers under "diagnosis".

    Returns:
        The report, with ``num_left_out``: problems without candidates (they could not be shown) or without a gold
        answer.

    Raises:
        ValueError: if no problem is left, or as `best_of_n_report` (all need equally many candidates).
    """
    rows, num_left_out = [], 0
    for row in iter_jsonl(path):
        if not row.get("candidates") or row.get("answer") is None:
            num_left_out += 1
            continue
        rows.append(row)
    if not rows:
        raise ValueError(
            f"Found no problem with candidates and a gold answer in {path} ({num_left_out} without). Candidates come "
            "from `mmprm rerank --data` or `mmprm demo`."
        )
    results = {**best_of_n_report(rows, aggregation=aggregation), "num_left_out": num_left_out}
    if with_diagnosis:
        results["diagnosis"] = diagnose(rows, aggregation=aggregation)
    if output is not None:
        write_json(output, results)
    return results


def format_evaluation(results: dict[str, Any]) -> str:
    """The table, and the diagnosis where there is one."""
    lines = [format_table(results)]
    if results.get("num_left_out"):
        lines.append(f"left out: {results['num_left_out']} problems without candidates or without a gold answer")
    if "diagnosis" in results:
        lines += ["", format_diagnosis(results["diagnosis"])]
    return "\n".join(lines)


__all__ = ["evaluate_candidates", "format_evaluation"]
