"""Sections of a report on one results document as ready HTML; their words are those of `explanations`.

Imports this room only.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .documents import calibrations, get, main_figure, metric
from .explanations import SECTIONS, MetricRow, metric_rows, rows_words
from .plots import write_calibration_plot, write_curves_plot, write_profile_plot
from .report_html import counted, plot, render_block, text
from .template_files import fill
from .words import METRICS, NOT_MEASURED, amount, capital, decimal, metric_name, share


def headline(document: Mapping[str, Any]) -> str:
    """The result in few sentences, made only of what was measured."""
    sentences = []
    if "best_of_n" in document:
        sentences.append(_selection_headline(document))
    if "steps" in document:
        steps = document["steps"]
        name, value = main_figure(steps)
        sentences.append(
            f"The {name} of the PRM's step scores is <strong>{decimal(value)}</strong> over {steps['num_samples']} "
            f"solutions, {steps['num_unscored_samples']} of them not scored."
        )
    return " ".join(sentences) or f"Results on {text(document['benchmark'])}."


def _selection_headline(document: Mapping[str, Any]) -> str:
    best, single, majority = (metric(document, name) for name in ("best_of_n", "mean_pass_at_1", "majority_vote"))
    report = document["best_of_n"]
    sentence = (
        f"Of {report['num_candidates']} candidates per problem the PRM's choice is right on "
        f"<strong>{share(best)}</strong> of {report['num_problems']} problems; a single sample is right on "
        f"{share(single)}"
    )
    if best is not None and single is not None:
        sentence += f" (<strong>{100 * (best - single):+.1f} points</strong>)"
    return f"{sentence}. The majority answer, which needs no PRM, is right on {share(majority)}."


def best_of_n_section(document: Mapping[str, Any]) -> str:
    """The table of metrics, with what an answer costs where that is known."""
    has_cost = document["cost"] is not None
    note = "Whiskers: 95 % confidence interval over problems. Dotted line: mean pass@1, what one sample gets."
    header = ""
    if has_cost:
        note += (
            " Tokens and seconds: of one answer; seconds are wall time divided by the number of answers, so they "
            "depend on the machine and on how many problems ran together."
        )
        header = '<th class="cost">Tokens per&nbsp;answer</th><th class="cost">Seconds per&nbsp;answer</th>'
    return fill(
        "report_best_of_n.html",
        table_class="metrics with-cost" if has_cost else "metrics",
        cost_header=header,
        metrics="\n".join(_metric_row(document, row) for row in metric_rows(document)),
        note=note,
    )


def _metric_row(document: Mapping[str, Any], row: MetricRow) -> str:
    """One row of the table: name, value, bar with whisker, interval, cost."""
    interval = f"95 % interval {row.interval or NOT_MEASURED}"
    bar = "" if row.value is None else f'<i class="fill" style="width:{100 * row.value:.2f}%"></i>'
    if row.interval:
        bar += f'<i class="whisker" style="left:{100 * row.low:.2f}%;width:{100 * (row.high - row.low):.2f}%"></i>'
    reference = metric(document, "mean_pass_at_1")
    if reference is not None:
        bar += f'<i class="reference" style="left:{100 * reference:.2f}%"></i>'
    explanation = METRICS[row.key].explanation
    return fill(
        "report_metric.html",
        kind=METRICS[row.key].kind,
        name=html.escape(row.name),
        explanation=html.escape(f"{explanation}; {row.decided}" if row.decided else explanation),
        value=share(row.value),
        interval=interval,
        label=html.escape(f"{row.name}: {share(row.value)}, {interval}"),
        bar=bar,
        cost=_cost_cells(document, row.key),
    )


def _cost_cells(document: Mapping[str, Any], key: str) -> str:
    """Two cells; a dash for metrics that are not a way to answer."""
    if document["cost"] is None:
        return ""
    answer = document["cost"]["answers"].get(key)
    if not answer:
        return '<td class="cost">–</td>' * 2
    units = ("tokens", "seconds")
    return "".join(f'<td class="cost number" data-unit="{unit}">{amount(answer[unit])}</td>' for unit in units)


def facts_section(document: Mapping[str, Any]) -> str:
    """The run's circumstances as a definition list, and the rows of its data that have a fault."""
    settings, report, rows = dict(document["settings"]), document.get("best_of_n"), document["rows"]
    seconds = get(document, "cost", "seconds") or {}
    seconds = {name: f"{value:.1f} s" for name, value in seconds.items() if value is not None}
    facts: dict[str, Any] = {"Benchmark": document["benchmark"]}
    if report:
        facts |= {"Problems": report["num_problems"], "Candidates per problem": report["num_candidates"]}
    if "steps" not in document or document["policy"]:
        facts["Policy"] = document["policy"]
    facts["PRM"] = document["prm"]
    settings.pop("aggregation", None)
    if report:
        facts |= {
            "Aggregation of step scores": report["aggregation"],
            "Seconds generating": seconds.get("generate"),
            "Seconds scoring": seconds.get("score"),
            "Candidates left out as undecided": report["num_undecided"],
            "Incomplete candidates, counted as wrong": report["num_incomplete"],
            "Problems left out as undecided": report["num_problems_undecided"],
            "Seed": settings.pop("seed", None),
        }
    if rows:
        facts["Rows of the data"] = rows_words(rows)
    facts |= {capital(str(key).replace("_", " ")): value for key, value in settings.items()}
    lines = [f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items()]
    content = '<dl class="card facts">\n' + "\n".join(lines) + "\n</dl>"
    if rows and rows["problems"]:
        content += f"\n<p>Rows with a fault, by what it is:</p>{counted(rows['problems'])}"
    return content


def explained_section(document: Mapping[str, Any], section: str, stem: Path) -> str:
    """A section of `explanations.SECTIONS`, that of the curves with its plot; empty where the document lacks it."""
    if section not in document:
        return ""
    _, blocks_of = SECTIONS[section]
    parts = [render_block(block) for block in blocks_of(document[section])]
    if section == "curves":
        parts.insert(1, _curves_plot(document, stem.with_name(f"{stem.name}_curves.svg")))
    return "\n".join(filter(None, parts))


def _curves_plot(document: Mapping[str, Any], svg: Path) -> str:
    """The plot of every smaller N; empty where no point is measured."""
    curves = document["curves"]["curves"]
    if not any(point["value"] is not None for points in curves.values() for point in points):
        return ""
    last = ", ".join(f"{metric_name(name)} {share(points[-1]['value'])}" for name, points in curves.items() if points)
    alt = f"Line plot: share of problems solved by number of candidates N. At the largest N: {last}."
    return plot(write_curves_plot, document, svg, alt)


def calibration_section(document: Mapping[str, Any], stem: Path) -> str:
    """Reliability diagrams of solutions' and of steps' scores; empty where the document has none.

    Args:
        document: A results document.
        stem: The SVG files' path up to ``_calibration.svg`` and the like.
    """
    cards = []
    for diagram in calibrations(document):
        points = "; ".join(
            f"mean score {entry['mean_score']:.2f}, {share(entry['share_right'])} right of {entry['num']}"
            for entry in diagram.bins
        )
        alt = f"Reliability diagram. {diagram.title}: expected calibration error {decimal(diagram.ece)}. {points}."
        svg = stem.with_name(f"{stem.name}_{diagram.suffix}.svg")
        image = plot(write_calibration_plot, document, svg, alt, of=diagram.section)
        cards.append(f"<div><h4>{diagram.title}</h4>{image}</div>")
    if not cards:
        return ""
    intro = (
        "Of all with a score near 0.8, about 80 % should be right: on the dotted line a score says how likely it is. "
        "Bars count what a point stands for."
    )
    return f'{render_block(intro)}\n<div class="plots">\n' + "\n".join(cards) + "\n</div>"


def profile_section(document: Mapping[str, Any], stem: Path) -> str:
    """Mean scores by position and by number of steps; empty where the document has none."""
    parts = []
    for section, owner, suffix in (("diagnosis", "solutions", "profile"), ("steps", "steps", "step_profile")):
        points = []
        for key, number, name in (("by_step", "step_index", "step"), ("by_num_steps", "num_steps", "number of steps")):
            for row in get(document, section, key) or ():
                position = row[number] + (key == "by_step")  # positions count from 1 for people
                points.append(f"{name} {position}: right {decimal(row['right'])}, wrong {decimal(row['wrong'])}")
        if points:
            alt = f"Line plot: mean scores of right and of wrong {owner}. {'; '.join(points)}."
            svg = stem.with_name(f"{stem.name}_{suffix}.svg")
            parts.append(plot(write_profile_plot, document, svg, alt, of=section))
    if not parts:
        return ""
    intro = "Mean scores of what is right and of what is wrong: the further apart, the more a score tells."
    return "\n".join([render_block(intro), *parts])
