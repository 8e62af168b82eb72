"""Several results side by side: the tables of a report, and the same as Markdown for cards.

Takes what `mmprm_hf.rows.check_results` has checked. Imports level 0 and this room only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..rows import read_results
from .documents import document_names, get, main_figure, metric
from .explanations import metric_rows
from .paired import paired_table
from .rendering import render
from .words import NOT_MEASURED, Cell, Table, capital, count, decimal, difference, metric_name, share, text

_COLUMNS = ("mean_pass_at_1", "majority_vote", "weighted_vote", "best_of_n", "oracle")


def result_tables(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path] = ()) -> list[tuple[str, Table]]:
    """Return the tables that compare documents with their titles: best-of-N runs, then step-level benchmarks.

    Args:
        documents: Results documents. A table that no document has a row in is left out.
        paths: Their files, which may tell them apart; or none.
    """
    named = list(zip(document_names(documents, paths), documents, strict=True))
    selections = [_selection_row(name, document) for name, document in named if "best_of_n" in document]
    benchmarks = [_step_row(name, document["steps"]) for name, document in named if "steps" in document]
    gains = [f"Best-of-N minus {baseline}" for baseline in ("pass@1", "majority vote")]
    header = ["Benchmark", "N", "Problems", *(capital(metric_name(key)) for key in _COLUMNS), *gains]
    step_header = ["Benchmark", "Main figure", "Value", "Threshold", "Tuned on", "Samples", "Not scored"]
    tables = [("Best of N", Table(header, selections)), ("Step-level benchmarks", Table(step_header, benchmarks))]
    return [(title, table) for title, table in tables if table.rows]


def tables_of_files(paths: Sequence[Path], documents: Sequence[Mapping[str, Any]]) -> list[tuple[str, Table]]:
    """Return `result_tables`, and those of documents with the same candidates beside them compared by problem."""
    paired = paired_table(paths, documents)
    return result_tables(documents, paths) + ([("The same candidates", paired)] if paired else [])


def without_row(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path] = ()) -> list[str]:
    """Names of documents that have neither a best-of-N table nor step-level figures, and so no row."""
    names = zip(document_names(documents, paths), documents, strict=True)
    return [name for name, document in names if "best_of_n" not in document and "steps" not in document]


def settings_lines(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path] = ()) -> list[str]:
    """One line on the settings where all documents have the same, else one for each document; plain text."""
    settings = [_settings(document) for document in documents]
    if len(set(settings)) == 1:
        return [f"Settings: {settings[0]}."]
    names = document_names(documents, paths)
    return [f"Settings of {name}: {line}." for name, line in zip(names, settings, strict=True)]


def results_table(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path] = ()) -> str:
    """Return a Markdown table of results, for a card, with 95 % intervals, N and a line on the settings.

    Nothing is set in bold: whether one value is above another is a question for a paired test.

    Args:
        documents: Results documents, as `read_results` returns them.
        paths: Their files, where evaluations of the same candidates are to be compared by problem; or none.

    Raises:
        ValueError: for no documents.
    """
    if not documents:
        raise ValueError("Found 0 results documents. A table needs at least one.")
    values = {
        "tables": tables_of_files(paths, documents) if paths else result_tables(documents),
        "unlisted": without_row(documents, paths),
        "has_intervals": any("best_of_n" in document for document in documents),
        "settings": settings_lines(documents, paths),
    }
    return render("results_table.md", **values)


def write_results_table(results_paths: Sequence[str | Path], output_path: str | Path | None = None) -> str:
    """Return `results_table` of files, and write it to `output_path` (UTF-8) if one is given.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: as `read_results`.
    """
    paths = [Path(path) for path in results_paths]
    markdown = results_table([read_results(path) for path in paths], paths)
    if output_path is not None:
        Path(output_path).parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate is legal in JSON but not in UTF-8: it is shown as its escape.
        Path(output_path).write_bytes(markdown.encode("utf-8", "backslashreplace"))
    return markdown


def _selection_row(name: str, document: Mapping[str, Any]) -> list[str | Cell]:
    report = document["best_of_n"]
    by_key = {row.key: row for row in metric_rows(document)}
    cells = [name, count(report["num_candidates"]), count(report["num_problems"])]
    for row in (by_key[key] for key in _COLUMNS):
        others = f"; {report['num_decided'][row.key]} problems" if row.interval and row.decided else ""
        cells.append(Cell(share(row.value), row.interval + others))
    paired = _paired(document)
    return [*cells, _gain(document, "mean_pass_at_1"), paired or _gain(document, "majority_vote")]


def _gain(document: Mapping[str, Any], baseline: str) -> str:
    """Best-of-N above a baseline, in points, where both are of the same problems."""
    best, base = metric(document, "best_of_n"), metric(document, baseline)
    num_decided = document["best_of_n"]["num_decided"]
    if best is None or base is None:
        return NOT_MEASURED
    is_same = num_decided.get("best_of_n") == num_decided.get(baseline)
    return f"{100 * (best - base):+.1f} points" if is_same else "not of the same problems"


def _paired(document: Mapping[str, Any]) -> Cell | None:
    """Paired difference of best-of-N and majority vote at the largest N, where curves have it."""
    report = document["best_of_n"]
    for point in get(document, "curves", "against_majority_vote", "best_of_n") or ():
        if point["n"] == report["num_candidates"] and point["difference"] is not None:
            is_of_all = point["num_problems"] == report["num_problems"]
            figure, detail = difference(point)
            return Cell(figure, detail if is_of_all else f"{detail}; {point['num_problems']} problems")
    return None


def _step_row(name: str, steps: Mapping[str, Any]) -> list[str]:
    figure, value = main_figure(steps)
    tuned_on = {"none": "nothing (fixed beforehand)"}.get(steps["tuned_on"], steps["tuned_on"])
    counts = [count(steps["num_samples"]), count(steps["num_unscored_samples"])]
    return [name, figure, decimal(value), decimal(steps["threshold"]), tuned_on, *counts]


def _settings(document: Mapping[str, Any]) -> str:
    """Policy, PRM and settings as one phrase; what is None is left out."""
    facts = {"policy": document["policy"], "PRM": document["prm"], **document["settings"]}
    phrases = [f"{key.replace('_', ' ')} {text(value)}" for key, value in facts.items() if value is not None]
    return ", ".join(phrases) or "none given"
