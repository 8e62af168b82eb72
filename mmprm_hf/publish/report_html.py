"""HTML of reports in small: templates, escaped facts, numbers, tables and plots. All text from data is escaped."""

from __future__ import annotations

import base64
import html
import importlib.resources
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured"
NO_MATPLOTLIB = '<p class="muted">plots need <code>pip install &quot;mmprm_hf[plots]&quot;</code></p>'


def fill(template: str, **values: str) -> str:
    """A template of this room with its placeholders replaced by ready HTML, without the final line break."""
    source = importlib.resources.files("mmprm_hf.publish").joinpath("templates", template).read_text(encoding="utf-8")
    return string.Template(source).substitute(values).rstrip("\n")


def text(value: Any) -> str:
    """Escaped text of a fact; "not measured" for None, lists and objects joined by commas."""
    if value is None or value == "":
        return NOT_MEASURED
    if isinstance(value, Mapping):
        return ", ".join(f"{html.escape(str(key))}: {text(entry)}" for key, entry in value.items()) or NOT_MEASURED
    if isinstance(value, list):
        return ", ".join(text(entry) for entry in value) or NOT_MEASURED
    return html.escape(str(value))


def percent(value: float | None) -> str:
    """A share in [0, 1] in percent."""
    return NOT_MEASURED if value is None else f"{100 * value:.1f} %"


def decimal(value: float | None) -> str:
    """A number with three decimals."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Tokens, seconds and the like: three digits, from 1000 on whole."""
    if value is None:
        return NOT_MEASURED
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def counted(counts: Mapping[str, int]) -> str:
    """Reasons with their counts as a list."""
    lines = [f'<li><span class="number">{count} ×</span> {text(reason)}</li>' for reason, count in counts.items()]
    return f'<ul class="reasons">{"".join(lines)}</ul>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table from ready HTML: the first column has names, the others numbers; wide ones scroll by themselves."""
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in header)}</tr>"]
    body = []
    for first, *rest in rows:
        cells = "".join(f'<td class="number">{cell}</td>' for cell in rest)
        body.append(f'<tr><td class="name">{first}</td>{cells}</tr>')
    head, content = "\n".join(lines), "\n".join(body)
    return f'<div class="scroll"><table class="plain"><thead>{head}</thead>\n<tbody>\n{content}\n</tbody></table></div>'


def plot(draw: Callable[..., Path], document: Mapping[str, Any], output: Path, alt: str, **options: Any) -> str:
    """Draw a plot beside the page and embed it; a word on what is missing where matplotlib is.

    Args:
        draw: One of `plots`, which takes the document and `output`.
        output: The SVG file.
        alt: What the plot says, for those who do not see it; not yet escaped.
    """
    try:
        drawn = draw(document, output, **options).read_bytes()
    except ImportError:
        return NO_MATPLOTLIB
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode('ascii')}"
    return f'<figure class="plot"><img src="{source}" alt="{html.escape(alt)}"></figure>'


__all__ = ["NOT_MEASURED", "amount", "counted", "decimal", "fill", "percent", "plot", "table", "text"]
