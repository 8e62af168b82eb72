"""One self-contained HTML page from result files: tables, plots, and problems with coloured steps.

Reads result JSON only; what a file does not say reads "not measured". All text from data is HTML-escaped, figures and
plots are embedded, the page has no script and loads nothing. Same files, same bytes. Its markup lies in ``templates/``.

Imports level 0 only; must not import torch, a model or another room.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .documents import document_names, read_document
from .report_html import fill, table, text
from .report_problems import problems_section, score_color
from .report_reasons import calibration_section, profile_section, truth_section, why_section
from .report_sections import best_of_n_section, curves_section, facts_section, headline, steps_section
from .results_table import result_tables, settings_lines, without_row

CANDIDATES_NAME = "candidates.jsonl"

Section = tuple[str, str]
"""Heading and ready HTML."""


def write_report(
    results_paths: str | Path | Sequence[str | Path], output_path: str | Path, *, num_problems: int = 12
) -> Path:
    """Write one HTML page on one evaluation, or on several side by side, and return its path.

    A page on one evaluation shows problems from ``candidates.jsonl`` beside the results, if it is there, picked by a
    fixed rule (`report_rows.pick_problems`) which the page states with the share of every group in the whole run. A
    page on several starts with a table that has a row for each.

    Plots are embedded, and written beside the page as ``<page>_curves.svg`` and the like (``<page>_2_curves.svg`` for
    the second of several results). Without matplotlib the page says how to get them.

    Args:
        results_paths: Results documents (`mmprm_hf.evaluation.results`). A missing or null figure reads "not measured".
            The candidates are JSON lines, a row per problem: ``problem_id``, ``question``, ``answer`` (None: not
            judged), ``figures`` (paths relative to the file), ``chosen`` (index of the PRM's choice or None) and
            ``candidates``, each with ``steps``, ``answer``, ``complete``, ``step_scores``, ``score``, ``verdict``,
            ``text``. Rows of problems that were not shown (``outcome`` "not_shown", with ``error``) are counted by
            reason.
        output_path: The page; its folder is made if needed.
        num_problems: Problems shown, at least 1.

    Raises:
        FileNotFoundError: if a results file is missing. A missing figure is named in its place.
        ValueError: for no results, malformed JSON, another schema version, a value outside its range, scores that do
            not match the steps, an unreadable figure, or ``num_problems < 1``.
    """
    paths = [Path(results_paths)] if isinstance(results_paths, str | Path) else [Path(path) for path in results_paths]
    if not paths:
        raise ValueError("Found 0 results files. A report needs at least one.")
    if num_problems < 1:
        raise ValueError(f"num_problems is {num_problems}. A report shows at least 1 problem.")
    documents = [read_document(path) for path in paths]
    output_path = Path(output_path)
    stem = output_path.with_suffix("")
    if len(documents) == 1:
        sections = _sections(documents[0], stem)
        if any(documents[0].get(name) is not None for name in ("best_of_n", "curves", "diagnosis")):
            problems = problems_section(paths[0].with_name(CANDIDATES_NAME), documents[0], num_problems)
            sections.append(("Problems, candidate by candidate", problems))
        title, lead, body = _title(documents[0]), headline(documents[0]), _blocks(sections, "h2")
    else:
        title, lead = "Results side by side", f"{len(documents)} evaluations; each has a section of its own below."
        body = _blocks([("All results", _comparison(documents))], "h2")
        for number, (name, document) in enumerate(zip(document_names(documents), documents, strict=True), start=1):
            blocks = _blocks(_sections(document, stem.with_name(f"{stem.name}_{number}")), "h3")
            heading = f"<h2>{html.escape(name)}</h2>\n<p>{headline(document)}</p>"
            body += f'\n<section class="document">\n{heading}\n{blocks}\n</section>'
    ramp = ", ".join(f"{score_color(i / 8)} {100 * i / 8:g}%" for i in range(9))
    page = fill("report.html", title=title, headline=lead, body=body, ramp=ramp)
    output_path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate is legal in JSON but not in UTF-8: it is shown as its escape.
    output_path.write_bytes(page.encode("utf-8", "backslashreplace"))
    return output_path


def _title(document: Mapping[str, Any]) -> str:
    """Of a page on one document."""
    if document.get("best_of_n") is not None:
        return "Generate and rerank: what the PRM adds"
    if document.get("steps") is not None:
        return f"Step scores on {text(document.get('benchmark'))}"
    return f"Results on {text(document.get('benchmark'))}"


def _sections(document: Mapping[str, Any], stem: Path) -> list[Section]:
    """All that a document has, in page order, but the problems."""
    sections: list[Section] = []
    if document.get("best_of_n") is not None:
        sections.append(("Results", best_of_n_section(document)))
    if document.get("steps") is not None:
        sections.append(("Step-level results", steps_section(document)))
    sections.append(("About this run", facts_section(document)))
    if document.get("curves") is not None:
        sections.append(("Every smaller N", curves_section(document, stem.with_name(f"{stem.name}_curves.svg"))))
    if document.get("diagnosis") is not None:
        sections.append(("Why", why_section(document)))
    if document.get("exact_truth") is not None:
        sections.append(("Against exact truth", truth_section(document)))
    sections.append(("Calibration", calibration_section(document, stem)))
    sections.append(("Scores by position and length", profile_section(document, stem)))
    return [(title, content) for title, content in sections if content]


def _blocks(sections: Sequence[Section], heading: str) -> str:
    return "\n\n".join(f"<{heading}>{title}</{heading}>\n{content}" for title, content in sections)


def _comparison(documents: Sequence[Mapping[str, Any]]) -> str:
    """The tables of all documents, and the settings."""
    parts = []
    for title, header, rows in result_tables(documents):
        cells = [
            [f"{text(figure)}<small>{text(interval)}</small>" if interval else text(figure) for figure, interval in row]
            for row in rows
        ]
        parts.append(
            f'<div class="card side-by-side"><h4>{title}</h4>{table([text(cell) for cell in header], cells)}</div>'
        )
    if names := without_row(documents):
        parts.append(f"<p>No best-of-N and no step-level figures: {', '.join(map(html.escape, names))}.</p>")
    parts.append("<p><small>Small figures: 95 % intervals over problems.</small></p>")
    parts.extend(f"<p><small>{html.escape(line)}</small></p>" for line in settings_lines(documents))
    return "\n".join(parts)


__all__ = ["CANDIDATES_NAME", "write_report"]
