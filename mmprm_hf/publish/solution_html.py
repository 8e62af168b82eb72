"""HTML fragments of scored solutions, for the app: steps coloured by their scores, a winner and its rivals.

Takes plain dicts, as the pipeline returns them. All text is escaped, styles stand inline: a fragment looks right in any
page, light or dark. Imports level 0 and this room only.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from .rendering import score_color
from .report_rows import group_candidates

_RAW_LIMIT = 400  # characters shown of a response that could not be parsed
_MUTED = "opacity:.72"


def _div(content: str, style: str = "", **attributes: str) -> str:
    """A block element around ready HTML."""
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<div{written} style="{style}">{content}</div>'


def render_message(text: str, is_error: bool = True) -> str:
    """A visible note; an error is announced to screen readers."""
    color = "#d9542b" if is_error else "#8a93a3"
    style = f"border-left:4px solid {color};padding:8px 12px;margin:0 0 12px;background:{color}1f;border-radius:4px"
    return _div(html.escape(text), style, role="alert" if is_error else "note")


def render_scale() -> str:
    """The colours of step scores from 0 to 1, with what they mean."""
    stops = ", ".join(score_color(index / 8) for index in range(9))
    bar = f"display:inline-block;width:120px;height:10px;border-radius:5px;background:linear-gradient(90deg, {stops})"
    style = "display:flex;gap:8px;align-items:center;margin:0 0 10px;font-size:13px"
    return _div(f'step score = P(step right): 0 <span style="{bar}"></span> 1', style)


def render_steps(steps: Sequence[str], step_scores: Sequence[float] | None) -> str:
    """The steps as a numbered list, each on the colour of its score with the score before it.

    Args:
        steps: In order.
        step_scores: One per step; None for a solution that got no scores.
    """
    rows = []
    for number, step in enumerate(steps, start=1):
        score = None if step_scores is None else step_scores[number - 1]
        colors = "border:1px solid #8a93a3" if score is None else f"background:{score_color(score)};color:#101418"
        figure = "–" if score is None else f"{score:.3f}"
        row = f"display:flex;gap:12px;padding:5px 10px;border-radius:6px;margin:0 0 4px;{colors}"
        # Colours are inherited explicitly: a dark page would write white on the bright steps.
        cells = f'<span style="color:inherit;opacity:.65;min-width:1.4em;text-align:right">{number}</span>'
        cells += f'<b style="font-variant-numeric:tabular-nums;color:inherit">{figure}</b>'
        cells += f'<span style="color:inherit;overflow-wrap:anywhere;white-space:pre-wrap">{html.escape(step)}</span>'
        rows.append(f'<li style="{row}">{cells}</li>')
    return f'<ol style="list-style:none;padding:0;margin:0">{"".join(rows)}</ol>'


def render_scored(result: Mapping[str, Any]) -> str:
    """One scored solution: the aggregate, then its steps.

    Args:
        result: ``{"steps", "step_scores", "score", "aggregation"}``, perhaps ``"note"``.
    """
    note = render_message(result["note"], is_error=False) if result.get("note") else ""
    words = f"{html.escape(result['aggregation'])} of {len(result['steps'])} step scores"
    title = f'<b>{result["score"]:.3f}</b> <span style="font-size:14px;{_MUTED}">{words}</span>'
    head = _div(title, "font-size:24px;margin:0 0 4px")
    return note + head + render_scale() + render_steps(result["steps"], result["step_scores"])


def render_reranked(result: Mapping[str, Any]) -> str:
    """The winner with its steps, then every distinct candidate, best score first.

    Args:
        result: What ``pipeline("generate-and-rerank")`` returns, with ``"strategy"`` and ``"aggregation"``, perhaps
            ``"note"``.
    """
    rows = result["candidates"]
    groups = group_candidates(rows, result["chosen"])
    note = render_message(result["note"], is_error=False) if result.get("note") else ""
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in (result.get("seconds") or {}).items())
    facts = f"{result['strategy']} over {len(rows)} candidates, {len(groups)} distinct; "
    facts += f"score: {result['aggregation']} of step scores" + (f"; {seconds}" if seconds else "")
    if result["chosen"] is None:
        head = render_message("No candidate is complete: the policy's responses were cut or malformed.")
    else:
        answer = f"answer <b>{html.escape(str(result['answer']))}</b>"
        head = _div(answer, "font-size:24px;margin:0 0 4px")
    head += _div(html.escape(facts), f"font-size:13px;margin:0 0 6px;{_MUTED}")
    blocks = [_candidate(rows[group[0]], len(group), result["chosen"] in group) for group in groups]
    return note + head + render_scale() + "".join(blocks)


def _candidate(row: Mapping[str, Any], count: int, is_winner: bool) -> str:
    """One candidate: score, how often it was written, answer, steps."""
    score = "no score" if row["score"] is None else f"{row['score']:.3f}"
    answer = f"answer <b>{html.escape(str(row['answer']))}</b>" if row["complete"] else "incomplete"
    parts = [f"<b>{score}</b>", answer, f"written {count} times" if count > 1 else "written once"]
    if is_winner:
        parts.insert(0, '<b style="color:#2f8f83">★ winner</b>')
    head = _div(" &nbsp; ".join(parts), "margin:0 0 6px;font-size:15px")
    steps = render_steps(row["steps"], row["step_scores"])
    if not row["complete"]:
        text = html.escape((row.get("text") or "")[:_RAW_LIMIT])
        steps += _div(text, f"white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px;{_MUTED}")
    border = "2px solid #2f8f83" if is_winner else "1px solid #8a93a355"
    return _div(head + steps, f"border:{border};border-radius:8px;padding:10px 12px;margin:0 0 10px")
