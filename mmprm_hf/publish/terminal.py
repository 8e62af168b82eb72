"""Results documents as text for the terminal: aligned tables and wrapped sentences.

Imports this room only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from .documents import get
from .explanations import SECTIONS, Block, incomplete_reasons, metric_rows, rows_words
from .words import METRICS, Table, capital, share

_WIDTH = 110  # columns that sentences are wrapped to
_NUM_REASONS = 8  # shown; the results have all


def format_results(document: Mapping[str, Any]) -> str:
    """Return all sections of a results document as text.

    Args:
        document: A results document, as `make_results` and `read_results` return it.
    """
    parts = []
    if "best_of_n" in document:
        parts.append(format_best_of_n(document["best_of_n"], document["cost"]))
    for name, rows in (("Rows", document["rows"]), ("Train rows", get(document, "settings", "train rows"))):
        if rows and (rows["problems"] or rows.get("num_not_asked")):
            parts.append(f"{name}: {_rows(rows)}")
    for key, (title, blocks_of) in SECTIONS.items():
        if key in document:
            parts += [f"{title}\n{'=' * len(title)}", *map(format_block, blocks_of(document[key]))]
    return "\n\n".join(parts)


def format_best_of_n(report: Mapping[str, Any], cost: Mapping[str, Any] | None = None) -> str:
    """Return the section ``best_of_n`` as a table with 95 % intervals.

    Args:
        report: As `best_of_n_report` returns it.
        cost: As `answer_costs` returns it: columns with the tokens and seconds of one answer. None leaves them out.
    """
    header = ["", "solved", "95 % interval", *(["tokens", "seconds"] if cost else [])]
    rows = []
    for row in metric_rows({"best_of_n": report}):
        cells = [f"{row.name} ({row.decided})" if row.decided else row.name, share(row.value), row.interval]
        if cost:
            answer = cost["answers"].get(row.key) or {"tokens": None, "seconds": None}
            tokens, seconds = answer["tokens"], answer["seconds"]
            cells += ["-" if tokens is None else f"{tokens:.0f}", "-" if seconds is None else f"{seconds:.3f}"]
        rows.append(cells)
    head = f"{report['num_problems']} problems, {report['num_candidates']} candidates each"
    notes = f"Left out as undecided: {report['num_undecided']} candidates, {report['num_problems_undecided']} problems"
    notes += f"; incomplete, counted as wrong: {report['num_incomplete']} candidates{incomplete_reasons(report)}."
    if report.get("num_unscored"):
        notes += f" Complete but without step scores: {report['num_unscored']} candidates."
    distinct = METRICS["random_distinct"]
    notes += f" {capital(distinct.name)}: {distinct.explanation}."
    if cost:
        notes += " Tokens and seconds are those of one answer."
    if cost and cost["seconds"]:
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in cost["seconds"].items())
        notes += f" In all: {stages}."
    table = format_block(Table(header, rows, notes))
    return f"{head}, step scores aggregated by {report['aggregation']}\n\n{table}"


def _rows(rows: Mapping[str, Any]) -> str:
    """How many rows were used, and how many have which fault."""
    reasons = list(rows["problems"].items())
    lines = [rows_words(rows), *(f"  {count} x {reason}" for reason, count in reasons[:_NUM_REASONS])]
    if others := reasons[_NUM_REASONS:]:
        lines.append(f"  {sum(count for _, count in others)} x one of {len(others)} other reasons")
    return "\n".join(lines)


def format_block(block: Block) -> str:
    """A block as text; of a table the names at the left, figures at the right, the note below."""
    if isinstance(block, str):
        return textwrap.fill(block, _WIDTH)
    if isinstance(block, list):
        indent = 2 + max(len(entry.title) for entry in block)
        entries = [(entry.title.ljust(indent), f"{entry.figures} {entry.meaning}") for entry in block]
        return "\n".join(
            textwrap.fill(words, _WIDTH, initial_indent=title, subsequent_indent=" " * indent)
            for title, words in entries
        )
    lines = [[str(entry) for entry in row] for row in (block.header, *block.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in lines]
    rows.insert(1, "-" * len(rows[0]))
    return "\n".join(rows) + (f"\n\n{textwrap.fill(block.note, _WIDTH)}" if block.note else "")
