"""Several results side by side: the tables of a report, and the same as Markdown for cards.

Reads results documents (plain mappings, see `documents`). Imports this room only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import card_markdown
from .documents import document_names, get, main_figure, metric, read_document

NOT_MEASURED = card_markdown.NOT_MEASURED

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("mean_pass_at_1", "Mean pass@1"),
    ("majority_vote", "Majority vote"),
    ("weighted_vote", "PRM-weighted vote"),
    ("best_of_n", "PRM best-of-N"),
    ("oracle", "Oracle pass@N"),
)


def result_tables(documents: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str], list[list[tuple[str, str]]]]]:
    """Return the tables that compare documents: best-of-N runs first, then step-level benchmarks.

    Args:
        documents: Results documents.

    Returns:
        Per table that has a row: its title, its header, and its rows; a cell is a figure and its 95 % interval (empty
        where it has none). Plain text, not escaped.
    """
    selections, benchmarks = [], []
    for name, document in zip(document_names(documents), documents, strict=True):
        if document.get("best_of_n") is not None:
            selections.append(_selection_row(name, document))
        if document.get("steps") is not None:
            benchmarks.append(_step_row(name, document["steps"]))
    tables = []
    if selections:
        gains = [f"Best-of-N minus {word}" for word in ("pass@1", "majority vote")]
        header = ["Benchmark", "N", "Problems", *(title for _, title in _COLUMNS), *gains]
        tables.append(("Best of N", header, selections))
    if benchmarks:
        header = ["Benchmark", "Main figure", "Value", "Threshold", "Tuned on", "Samples", "Not scored"]
        tables.append(("Step-level benchmarks", header, benchmarks))
    return tables


def without_row(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of documents that have neither a best-of-N table nor step-level figures: no row is theirs."""
    names = document_names(documents)
    return [
        name
        for name, document in zip(names, documents, strict=True)
        if document.get("best_of_n") is None and document.get("steps") is None
    ]


def settings_lines(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line on the settings where all documents have the same, else one for each document; plain text."""
    shown = [_settings(document) for document in documents]
    if len(set(shown)) == 1:
        return [f"Settings: {shown[0]}."]
    names = document_names(documents)
    return [f"Settings of {name}: {settings}." for name, settings in zip(names, shown, strict=True)]


def results_table(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of results, for a card, with 95 % intervals, N and a line on the settings.

    Nothing is set in bold: whether one value is above another is a question for a paired test.

    Args:
        documents: Results documents, as `documents.read_document` checks them.

    Raises:
        ValueError: for no documents.
    """
    if not documents:
        raise ValueError("Found 0 results documents. A table needs at least one.")
    tables = result_tables(documents)
    parts = []
    for title, header, rows in tables:
        cells = [[f"{figure} ({interval})" if interval else figure for figure, interval in row] for row in rows]
        written = card_markdown.table(header, [[escape(cell) for cell in row] for row in cells])
        parts.append(f"**{title}**\n\n{written}" if len(tables) > 1 else written)
    if names := without_row(documents):
        parts.append(f"No best-of-N and no step-level figures: {', '.join(map(escape, names))}.")
    if any(document.get("best_of_n") is not None for document in documents):
        parts.append("In brackets: 95 % intervals over problems.")
    lines = [" ".join(escape(line).split()).replace("|", "\\|") for line in settings_lines(documents)]
    parts.append("\n".join(lines) if len(lines) == 1 else card_markdown.bullets(lines))
    return "\n\n".join(parts) + "\n"


def write_results_table(results_paths: Sequence[str | Path], output_path: str | Path | None = None) -> str:
    """Return `results_table` of files, and write it to `output_path` (UTF-8) if one is given.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: as `documents.read_document`.
    """
    written = results_table([read_document(path) for path in results_paths])
    if output_path is not None:
        Path(output_path).parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate is legal in JSON but not in UTF-8: it is shown as its escape.
        Path(output_path).write_bytes(written.encode("utf-8", "backslashreplace"))
    return written


def escape(plain: str) -> str:
    """Text as Markdown shows it; pipes are left to the table, which escapes all of them.

    Example:
        >>> print(escape("a<b>*c*"))
        a&lt;b>\\*c\\*
    """
    return re.sub(r"([\\`*\[\]])", r"\\\1", plain).replace("<", "&lt;")


def _selection_row(name: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = document["best_of_n"]
    row = [(name, ""), (_count(found.get("num_candidates")), ""), (_count(found.get("num_problems")), "")]
    for key, _ in _COLUMNS:
        value, low, high = (metric(document, key, end) for end in ("value", "ci_low", "ci_high"))
        interval = "" if None in (value, low, high) else f"{100 * low:.1f} to {100 * high:.1f}"
        num_decided = get(found, "num_decided", key)
        if interval and num_decided not in (None, found.get("num_problems")):
            interval += f"; {num_decided} problems"
        row.append((NOT_MEASURED if value is None else f"{100 * value:.1f} %", interval))
    return [*row, (_gain(document, "mean_pass_at_1"), ""), _paired(document) or (_gain(document, "majority_vote"), "")]


def _gain(document: Mapping[str, Any], baseline: str) -> str:
    """Best-of-N above a baseline, in points, where both are of the same problems."""
    best, base = metric(document, "best_of_n"), metric(document, baseline)
    decided = [get(document, "best_of_n", "num_decided", name) for name in ("best_of_n", baseline)]
    if best is None or base is None:
        return NOT_MEASURED
    return "not of the same problems" if decided[0] != decided[1] else f"{100 * (best - base):+.1f} points"


def _paired(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Paired difference of best-of-N and majority vote at the largest N, where curves have it, with interval and p."""
    points = get(document, "curves", "against_majority_vote", "best_of_n") or ()
    num_candidates, num_problems = (get(document, "best_of_n", key) for key in ("num_candidates", "num_problems"))
    point = next((point for point in points if point.get("n") == num_candidates), {})
    difference, low, high, p_value = (point.get(key) for key in ("difference", "ci_low", "ci_high", "p_value"))
    if None in (difference, low, high, p_value):
        return None
    p = "below 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
    on = "" if point.get("num_problems") == num_problems else f"; {point.get('num_problems')} problems"
    return f"{100 * difference:+.1f} points", f"{100 * low:+.1f} to {100 * high:+.1f}, p {p}{on}"


def _step_row(name: str, steps: Mapping[str, Any]) -> list[tuple[str, str]]:
    figure, value = main_figure(steps)
    threshold, tuned_on = steps.get("threshold"), steps.get("tuned_on")
    cells = [
        name,
        figure,
        NOT_MEASURED if value is None else f"{value:.3f}",
        NOT_MEASURED if threshold is None else f"{threshold:.3f}",
        {"none": "nothing (fixed beforehand)", "not told": "not told"}.get(tuned_on, str(tuned_on or NOT_MEASURED)),
        _count(steps.get("num_samples")),
        _count(steps.get("num_unscored_samples")),
    ]
    return [(cell, "") for cell in cells]


def _count(value: int | None) -> str:
    return NOT_MEASURED if value is None else f"{value:,}"


def _settings(document: Mapping[str, Any]) -> str:
    """Policy, PRM and settings as one phrase; what is None is left out."""
    facts = {"policy": document.get("policy"), "PRM": document.get("prm"), **(get(document, "settings") or {})}
    said = [f"{key.replace('_', ' ')} {card_markdown.text(value)}" for key, value in facts.items() if value is not None]
    return ", ".join(said) or "none given"


__all__ = ["result_tables", "results_table", "settings_lines", "without_row", "write_results_table"]
