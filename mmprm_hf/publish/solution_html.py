"""HTML fragments of scored solutions, for the app: steps coloured by their scores, a winner and its rivals.

Takes plain dicts, as the pipeline returns them; the markup lies in ``templates/solution.html``, which escapes all text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..steps import count_faults, fault_words
from .rendering import render_macro
from .report_rows import group_candidates


def render_message(text: str, is_error: bool = True) -> str:
    """Return a visible note as HTML; an error is announced to screen readers."""
    return render_macro("solution.html", "message", text, is_error)


def render_scored(result: Mapping[str, Any]) -> str:
    """Return one scored solution as HTML: the aggregate, then its steps.

    Args:
        result: ``{"steps", "step_scores", "score", "aggregation"}``, perhaps ``"note"``.
    """
    return render_macro("solution.html", "scored", result)


def render_reranked(result: Mapping[str, Any]) -> str:
    """Return the winner as HTML, then every distinct candidate with its steps, best score first.

    Args:
        result: What ``pipeline("generate-and-rerank")`` returns, with ``"strategy"`` and ``"aggregation"``, perhaps
            ``"note"``.
    """
    rows, chosen = result["candidates"], result["chosen"]
    ranked = [
        {"fault": "", **rows[group[0]], "count": len(group), "is_winner": chosen in group}
        for group in group_candidates(rows, chosen)
    ]
    faults = fault_words(count_faults(row.get("fault") for row in rows if not row["complete"]))
    return render_macro("solution.html", "reranked", result, ranked, faults or "there is none")
