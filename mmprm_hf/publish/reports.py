"""One self-contained HTML page from result files: tables, plots, and problems with coloured steps.

Reads result files only. All text from data is HTML-escaped, figures and plots are embedded, the page has no script and
loads nothing. Same files, same bytes. Its markup lies in ``templates/``.

Imports level 0 and this room only; must not import torch or a model.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..rows import read_results
from .documents import document_names
from .explanations import SECTIONS
from .report_html import render_block, table, text
from .report_problems import problems_section, score_color
from .report_sections import (
    best_of_n_section,
    calibration_section,
    explained_section,
    facts_section,
    headline,
    profile_section,
)
from .results_table import result_tables, settings_lines, without_row
from .template_files import fill

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
        results_paths: Results documents, as `make_results` writes them. A null figure reads "not measured". The
            candidates are a candidates file (`mmprm_hf.rows.read_candidate_rows`); rows of problems that were not shown
            to the models are counted by reason.
        output_path: The page; its folder is made if needed.
        num_problems: Problems shown, at least 1.

    Raises:
        FileNotFoundError: if a results file is missing. A missing figure is named in its place.
        ValueError: for no results, as `read_results` and `read_candidate_rows`, for an unreadable figure, or
            ``num_problems < 1``.
    """
    paths = [Path(results_paths)] if isinstance(results_paths, str | Path) else [Path(path) for path in results_paths]
    if not paths:
        raise ValueError("Found 0 results files. A report needs at least one.")
    if num_problems < 1:
        raise ValueError(f"num_problems is {num_problems}. A report shows at least 1 problem.")
    documents = [read_results(path) for path in paths]
    output_path = Path(output_path)
    stem = output_path.with_suffix("")
    if len(documents) == 1:
        sections = _sections(documents[0], stem)
        if {"best_of_n", "curves", "diagnosis"} & documents[0].keys():
            problems = problems_section(paths[0].with_name("candidates.jsonl"), documents[0], num_problems)
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
    """The title of a page on one document."""
    if "best_of_n" in document:
        return "Generate and rerank: what the PRM adds"
    return f"{'Step scores' if 'steps' in document else 'Results'} on {text(document['benchmark'])}"


def _sections(document: Mapping[str, Any], stem: Path) -> list[Section]:
    """All sections of a document but the problems, in page order."""
    explained = {key: (title, explained_section(document, key, stem)) for key, (title, _) in SECTIONS.items()}
    sections = [
        ("Results", best_of_n_section(document) if "best_of_n" in document else ""),
        explained.pop("steps"),
        ("About this run", facts_section(document)),
        *explained.values(),
        ("Calibration", calibration_section(document, stem)),
        ("Scores by position and length", profile_section(document, stem)),
    ]
    return [(title, content) for title, content in sections if content]


def _blocks(sections: Sequence[Section], heading: str) -> str:
    return "\n\n".join(f"<{heading}>{title}</{heading}>\n{content}" for title, content in sections)


def _comparison(documents: Sequence[Mapping[str, Any]]) -> str:
    """The tables of all documents, and the settings."""
    parts = [table(content, title=title) for title, content in result_tables(documents)]
    if names := without_row(documents):
        parts.append(render_block(f"No best-of-N and no step-level figures: {', '.join(names)}."))
    notes = ["Small figures: 95 % intervals over problems.", *settings_lines(documents)]
    return "\n".join([*parts, *(f"<p><small>{html.escape(note)}</small></p>" for note in notes)])
