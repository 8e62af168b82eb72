"""Facts as Markdown: numbers, tables, lists and code, with "not measured" where there is none.

Standard library only; must not import another room.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .words import NOT_MEASURED


def number(value: float | None) -> str:
    """A measured number: integers whole, others with three decimals; with one from 100 on, as 1.0e-04 below 0.001."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; "not measured" without rows."""
    if not rows:
        return NOT_MEASURED
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list; "not measured" where it is empty."""
    return "\n".join(f"- {line}" for line in lines) or NOT_MEASURED


def code(content: str | None, language: str) -> str:
    """A fenced block whose fence is longer than any inside; "not measured" for no code."""
    if not content or not content.strip():
        return NOT_MEASURED
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"


def section(title: str, content: str, *, is_shown: bool) -> str:
    """A section with its title and the empty line after it; nothing where it is not shown."""
    return f"## {title}\n\n{content}\n\n" if is_shown else ""


__all__ = ["bullets", "code", "number", "section", "table"]
