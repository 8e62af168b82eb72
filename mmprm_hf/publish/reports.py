"""One self-contained HTML page from result files: tables, plots, and problems with coloured steps.

Reads result files only. The page has no script and loads nothing: its markup lies in ``templates/``, which escape all
text from data; figures and plots are embedded. Same files, same bytes. Must not import torch or a model.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..rows import read_results
from .documents import calibrations, document_names, get
from .explanations import SECTIONS, incomplete_reasons, metric_rows, rows_words
from .plots import write_calibration_plot, write_curves_plot, write_profile_plot
from .rendering import render
from .report_problems import problems_section
from .results_table import settings_lines, tables_of_files, without_row
from .words import capital, decimal, metric_name, share, text


class Plot(NamedTuple):
    """A plot in words for those who do not see it, its SVG in Base64 (None without matplotlib), and its title."""

    alt: str
    svg: str | None
    title: str = ""


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
    output_path.parent.mkdir(parents=True, exist_ok=True)
    stem, values = output_path.with_suffix(""), {"problems": None}
    if len(documents) == 1:
        title, reports = _title(documents[0]), [_report(documents[0], stem)]
        if {"best_of_n", "curves", "diagnosis"} & documents[0].keys():
            candidates = paths[0].with_name("candidates.jsonl")
            values["problems"] = problems_section(candidates, documents[0], num_problems)
    else:
        title, names = "Results side by side", document_names(documents, paths)
        reports = [
            {"name": name, **_report(document, stem.with_name(f"{stem.name}_{number}"))}
            for number, (name, document) in enumerate(zip(names, documents, strict=True), start=1)
        ]
        values |= {
            "tables": tables_of_files(paths, documents),
            "unlisted": without_row(documents, paths),
            "settings": settings_lines(documents, paths),
        }
    page = render("report.html", title=title, reports=reports, **values)
    # A lone surrogate is legal in JSON but not in UTF-8: it is shown as its escape.
    output_path.write_bytes(page.encode("utf-8", "backslashreplace"))
    return output_path


def _title(document: Mapping[str, Any]) -> str:
    """The title of a page on one document."""
    if "best_of_n" in document:
        return "Generate and rerank: what the PRM adds"
    return f"{'Step scores' if 'steps' in document else 'Results'} on {text(document['benchmark'])}"


def _report(document: Mapping[str, Any], stem: Path) -> dict[str, Any]:
    """What ``report_document.html`` shows of a document: its rows, facts, explanations and plots.

    Args:
        document: A results document.
        stem: Path of the SVG files up to ``_curves.svg`` and the like.
    """
    return {
        "document": document,
        "metrics": metric_rows(document) if "best_of_n" in document else [],
        "facts": _facts(document),
        "explained": {
            key: (title, blocks_of(document[key])) for key, (title, blocks_of) in SECTIONS.items() if key in document
        },
        "curves": _curves_plot(document, stem),
        "calibration": _calibration_plots(document, stem),
        "profile": _profile_plots(document, stem),
    }


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The run's circumstances by their names; what is not known is left out."""
    settings, report, rows = dict(document["settings"]), document.get("best_of_n"), document["rows"]
    facts: dict[str, Any] = {"Benchmark": document["benchmark"]}
    if report:
        facts |= {"Problems": report["num_problems"], "Candidates per problem": report["num_candidates"]}
    if "steps" not in document or document["policy"]:
        facts["Policy"] = document["policy"]
    facts["PRM"] = document["prm"]
    settings.pop("aggregation", None)
    if report:
        seconds = get(document, "cost", "seconds") or {}
        seconds = {name: f"{value:.1f} s" for name, value in seconds.items() if value is not None}
        facts |= {
            "Aggregation of step scores": report["aggregation"],
            "Seconds generating": seconds.get("generate"),
            "Seconds scoring": seconds.get("score"),
            "Candidates left out as undecided": report["num_undecided"],
            "Incomplete candidates, counted as wrong": f"{report['num_incomplete']}{incomplete_reasons(report)}",
            "Problems left out as undecided": report["num_problems_undecided"],
            "Seed": settings.pop("seed", None),
        }
    if rows:
        facts["Rows of the data"] = rows_words(rows)
    facts |= {capital(str(key).replace("_", " ")): value for key, value in settings.items()}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _curves_plot(document: Mapping[str, Any], stem: Path) -> Plot | None:
    """The plot of every smaller N; None where no point is measured."""
    curves = get(document, "curves", "curves") or {}
    if not any(point["value"] is not None for points in curves.values() for point in points):
        return None
    last = ", ".join(f"{metric_name(name)} {share(points[-1]['value'])}" for name, points in curves.items() if points)
    alt = f"Line plot: share of problems solved by number of candidates N. At the largest N: {last}."
    return _plot(write_curves_plot, document, stem, "curves", alt)


def _calibration_plots(document: Mapping[str, Any], stem: Path) -> list[Plot]:
    """Reliability diagrams of solutions' and of steps' scores."""
    plots = []
    for diagram in calibrations(document):
        points = "; ".join(
            f"mean score {entry['mean_score']:.2f}, {share(entry['share_right'])} right of {entry['num']}"
            for entry in diagram.bins
        )
        alt = f"Reliability diagram. {diagram.title}: expected calibration error {decimal(diagram.ece)}. {points}."
        plot = _plot(write_calibration_plot, document, stem, diagram.suffix, alt, of=diagram.section)
        plots.append(plot._replace(title=diagram.title))
    return plots


def _profile_plots(document: Mapping[str, Any], stem: Path) -> list[Plot]:
    """Mean scores by position and by number of steps."""
    plots = []
    for section, owner, suffix in (("diagnosis", "solutions", "profile"), ("steps", "steps", "step_profile")):
        points = []
        for key, number, name in (("by_step", "step_index", "step"), ("by_num_steps", "num_steps", "number of steps")):
            for row in get(document, section, key) or ():
                position = row[number] + (key == "by_step")  # positions count from 1 for people
                points.append(f"{name} {position}: right {decimal(row['right'])}, wrong {decimal(row['wrong'])}")
        if points:
            alt = f"Line plot: mean scores of right and of wrong {owner}. {'; '.join(points)}."
            plots.append(_plot(write_profile_plot, document, stem, suffix, alt, of=section))
    return plots


def _plot(
    draw: Callable[..., Path], document: Mapping[str, Any], stem: Path, suffix: str, alt: str, **options: Any
) -> Plot:
    """A plot that `draw` writes beside the page."""
    try:
        drawn = draw(document, stem.with_name(f"{stem.name}_{suffix}.svg"), **options).read_bytes()
    except ImportError:
        return Plot(alt, None)
    return Plot(alt, base64.b64encode(drawn).decode("ascii"))
