"""The best-of-N table by subject: a gain over all problems may come from a few kinds of them.

Pure: takes candidate rows, returns plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics import paired_difference
from .evaluators import METRICS, PRM_METRICS, best_of_n_report, metric_values


def best_of_n_by_subject(rows: Sequence[Mapping[str, Any]], *, aggregation: str = "min") -> dict[str, Any] | None:
    """Return the metrics of each subject's problems, and how far the PRM's selections lie from the majority vote.

    Args:
        rows: As `best_of_n_report` takes them; ``subject`` names what a problem is about, None or "" stands for none.
        aggregation: One of `selection.AGGREGATIONS`.

    Returns:
        ``subjects``, by name in alphabetical order: ``num_problems``, ``metrics`` (the value of each of `METRICS`, None
        where nothing is decided) and ``against_majority_vote`` (`metrics.paired_difference` of each of `PRM_METRICS`).
        None unless there are at least two subjects.

    Raises:
        ValueError: as `best_of_n_report`.
    """
    by_subject: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_subject.setdefault(row.get("subject") or "none", []).append(row)
    if len(by_subject) < 2:
        return None
    return {"subjects": {name: _figures(by_subject[name], aggregation) for name in sorted(by_subject)}}


def _figures(rows: Sequence[Mapping[str, Any]], aggregation: str) -> dict[str, Any]:
    metrics = best_of_n_report(rows, aggregation=aggregation)["metrics"]
    values = metric_values(rows, aggregation)
    votes = [value["majority_vote"] for value in values]
    return {
        "num_problems": len(rows),
        "metrics": {name: metrics[name]["value"] for name in METRICS},
        "against_majority_vote": {
            name: paired_difference(
                [None if metrics[name]["value"] is None else value[name] for value in values], votes
            )
            for name in PRM_METRICS
        },
    }
