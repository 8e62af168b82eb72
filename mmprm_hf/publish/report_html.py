"""HTML of reports in small: texts, lists, tables and plots. All text from data is escaped here."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import words
from .explanations import Block
from .words import Cell, Table

NO_MATPLOTLIB = '<p class="muted">plots need <code>pip install &quot;mmprm_hf[plots]&quot;</code></p>'


def text(value: Any) -> str:
    """Escaped text of a fact."""
    return html.escape(words.text(value))


def render_block(block: Block) -> str:
    """A block of an explanation: a paragraph, a card with a table, or a card with a list of entries."""
    if isinstance(block, str):
        return f"<p>{html.escape(block)}</p>"
    if isinstance(block, Table):
        return table(block)
    rows = [f"<dt>{e.title}</dt><dd>{text(e.figures)}<small>{text(e.meaning)}</small></dd>" for e in block]
    return '<dl class="card why">\n' + "\n".join(rows) + "\n</dl>"


def counted(counts: Mapping[str, int]) -> str:
    """Reasons with their counts as a list."""
    lines = [f'<li><span class="number">{count} ×</span> {text(reason)}</li>' for reason, count in counts.items()]
    return f'<ul class="reasons">{"".join(lines)}</ul>'


def table(content: Table, title: str = "") -> str:
    """A card with a table, a title above and a note below it; wide tables scroll by themselves."""
    body = []
    for first, *rest in content.rows:
        cells = "".join(f'<td class="number">{_cell(entry)}</td>' for entry in rest)
        body.append(f'<tr><td class="name">{_cell(first)}</td>{cells}</tr>')
    head = "".join(f"<th>{text(name)}</th>" for name in content.header)
    lines = "\n".join([f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>"])
    above = f"<h4>{html.escape(title)}</h4>" if title else ""
    below = f'<p class="note"><small>{html.escape(content.note)}</small></p>' if content.note else ""
    return f'<div class="card">{above}<div class="scroll"><table class="plain">{lines}</table></div>{below}</div>'


def _cell(entry: str | Cell) -> str:
    if isinstance(entry, Cell) and entry.detail:
        return f"{text(entry.figure)}<small>{text(entry.detail)}</small>"
    return text(str(entry))


def plot(draw: Callable[..., Path], document: Mapping[str, Any], output: Path, alt: str, **options: Any) -> str:
    """Draw a plot beside the page and embed it; without matplotlib, say how to get it.

    Args:
        draw: One of `plots`, which takes the document and `output`.
        output: The SVG file.
        alt: The plot in words, for those who do not see it; not yet escaped.
    """
    try:
        drawn = draw(document, output, **options).read_bytes()
    except ImportError:
        return NO_MATPLOTLIB
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode('ascii')}"
    return f'<figure class="plot"><img src="{source}" alt="{html.escape(alt)}"></figure>'
