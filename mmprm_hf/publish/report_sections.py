"""Sections of a report on one results document: the table of metrics, the run, step benchmarks, every smaller N.

Each function returns ready HTML; what the document does not say reads "not measured". Imports this room only.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .documents import METRICS, get, main_figure, metric, parts_of
from .plots import write_curves_plot
from .report_html import NOT_MEASURED, amount, counted, decimal, fill, percent, plot, table, text

_METRIC_NAMES = {key: name for key, _, name, _ in METRICS}

_STEP_COLUMNS: dict[str, str] = {
    "macro_f1": "macro-F1",
    "prm_score": "PRMScore",
    "f1": "F1",
    "f1_right": "F1 of right steps",
    "f1_wrong": "F1 of wrong steps",
    "error_accuracy": "First error found",
    "correct_accuracy": "No error, none found",
    "num_right": "Right steps",
    "num_wrong": "Wrong steps",
    "num_neutral": "Neutral steps",
    "num_unscored": "Unscored steps",
    "num_error": "With an error",
    "num_correct": "Without",
}
"""Figures of a step benchmark's parts and their headings; a benchmark has some of them."""


def headline(document: Mapping[str, Any]) -> str:
    """The result in few sentences, made only of what was measured."""
    parts = []
    if document.get("best_of_n") is not None:
        parts.append(_selection_headline(document))
    if document.get("steps") is not None:
        steps = document["steps"]
        name, value = main_figure(steps)
        parts.append(
            f"The {name} of the PRM's step scores is <strong>{decimal(value)}</strong> over "
            f"{text(steps.get('num_samples'))} solutions, {text(steps.get('num_unscored_samples'))} of them not scored."
        )
    return " ".join(parts) or f"Results on {text(document.get('benchmark'))}."


def _selection_headline(document: Mapping[str, Any]) -> str:
    best, single, majority = (metric(document, name) for name in ("best_of_n", "mean_pass_at_1", "majority_vote"))
    found = document["best_of_n"]
    sentence = (
        f"Of {text(found.get('num_candidates'))} candidates per problem the PRM's choice is right on "
        f"<strong>{percent(best)}</strong> of {text(found.get('num_problems'))} problems; "
        f"a single sample is right on {percent(single)}"
    )
    if best is not None and single is not None:
        sentence += f" (<strong>{100 * (best - single):+.1f} points</strong>)"
    return f"{sentence}. The majority answer, which needs no PRM, is right on {percent(majority)}."


def best_of_n_section(document: Mapping[str, Any]) -> str:
    """The table of metrics, with what an answer costs where that is known."""
    has_cost = document.get("cost") is not None
    note = "Whiskers: 95 % confidence interval over problems. Dotted line: mean pass@1, what one sample gets."
    if has_cost:
        note += (
            " Tokens and seconds: of one answer; seconds are wall time divided by the number of answers, so they "
            "depend on the machine and on how many problems ran together."
        )
    return fill(
        "report_best_of_n.html",
        table_class="metrics with-cost" if has_cost else "metrics",
        cost_header='<th class="cost">Tokens per&nbsp;answer</th><th class="cost">Seconds per&nbsp;answer</th>'
        if has_cost
        else "",
        metrics="\n".join(_metric_row(document, *found) for found in METRICS),
        note=note,
    )


def _metric_row(document: Mapping[str, Any], name: str, kind: str, title: str, explanation: str) -> str:
    """One row of the table: words, value, bar with whisker, interval, cost."""
    value, low, high = (metric(document, name, key) for key in ("value", "ci_low", "ci_high"))
    title = title.format(n=get(document, "best_of_n", "num_candidates") or "N")
    interval = f"95 % interval {NOT_MEASURED}"
    bar = "" if value is None else f'<i class="fill" style="width:{100 * value:.2f}%"></i>'
    if low is not None and high is not None:
        interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        bar += f'<i class="whisker" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
    reference = metric(document, "mean_pass_at_1")
    if reference is not None:
        bar += f'<i class="reference" style="left:{100 * reference:.2f}%"></i>'
    return fill(
        "report_metric.html",
        kind=kind,
        name=html.escape(title),
        explanation=html.escape(explanation + _decided(document, name)),
        value=percent(value),
        interval=interval,
        label=html.escape(f"{title}: {percent(value)}, {interval}"),
        bar=bar,
        cost=_cost_cells(document, name),
    )


def _decided(document: Mapping[str, Any], name: str) -> str:
    """Words on problems that a metric leaves out; none where it has all."""
    num_decided = get(document, "best_of_n", "num_decided", name)
    num_problems = get(document, "best_of_n", "num_problems")
    if num_decided is None or num_decided in (0, num_problems):
        return ""
    return f"; {num_decided} of {num_problems} problems, the others are undecided"


def _cost_cells(document: Mapping[str, Any], name: str) -> str:
    """Two cells; a dash for metrics that are no way to answer."""
    if document.get("cost") is None:
        return ""
    found = get(document, "cost", "answers", name)
    if not found:
        return '<td class="cost">–</td>' * 2
    units = ("tokens", "seconds")
    return "".join(f'<td class="cost number" data-unit="{unit}">{amount(found.get(unit))}</td>' for unit in units)


def facts_section(document: Mapping[str, Any]) -> str:
    """The run's circumstances as a definition list, and the rows of its data that have a fault."""
    settings = dict(document.get("settings") or {})
    found, rows = document.get("best_of_n"), document.get("rows")
    seconds = {
        name: f"{value:.1f} s" for name, value in (get(document, "cost", "seconds") or {}).items() if value is not None
    }
    facts: dict[str, Any] = {"Benchmark": document.get("benchmark")}
    if found is not None:
        facts |= {"Problems": found.get("num_problems"), "Candidates per problem": found.get("num_candidates")}
    if document.get("steps") is None or document.get("policy"):
        facts["Policy"] = document.get("policy")
    facts["PRM"] = document.get("prm")
    aggregation = settings.pop("aggregation", None)
    if found is not None:
        facts |= {
            "Aggregation of step scores": found.get("aggregation") or aggregation,
            "Seconds generating": seconds.get("generate"),
            "Seconds scoring": seconds.get("score"),
            "Candidates left out as undecided": found.get("num_undecided"),
            "Incomplete candidates, counted as wrong": found.get("num_incomplete"),
            "Problems left out as undecided": found.get("num_problems_undecided"),
            "Seed": settings.pop("seed", None),
        }
    if rows is not None:
        facts["Rows of the data used"] = f"{text(rows.get('num_used'))} of {text(rows.get('num_rows'))}"
    lines = [f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items()]
    for key, value in settings.items():
        name = str(key).replace("_", " ")
        name = text(name[:1].upper() + name[1:])
        lines.append(f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>")
    content = '<dl class="card facts">\n' + "\n".join(lines) + "\n</dl>"
    if get(rows, "problems"):
        content += f'\n<p class="after">Rows with a fault, by what it is:</p>{counted(rows["problems"])}'
    return content


def steps_section(document: Mapping[str, Any]) -> str:
    """Overall figures of a step-level benchmark and those of each part."""
    steps = document["steps"]
    word, parts = parts_of(steps)
    columns = [key for key in _STEP_COLUMNS if any(key in figures for figures in parts.values() or [steps])]

    def cells(figures: Mapping[str, Any]) -> list[str]:
        shown = []
        for key in columns:
            value = figures.get(key)
            if key not in figures:
                shown.append("–")
            elif key.startswith("num_"):
                shown.append(NOT_MEASURED if value is None else f"{value:,}")
            else:
                shown.append(decimal(value))
        return shown

    overall = {key: value for key, value in steps.items() if key in columns}
    name, key = "<strong>All</strong>", next((key for key in ("macro_f1", "prm_score", "f1") if key in columns), None)
    if "average_f1" in steps:
        # Its number of unscored counts solutions, unlike the others': it stands below the table.
        overall, name = {"f1": steps["average_f1"]}, "<strong>Mean of subsets</strong>"
    rows = [[name, *cells(overall)]]
    for mean in ("mean_of_sources", "mean_of_categories"):
        if mean in steps and key is not None:
            rows.append([mean.replace("_", " ").capitalize(), *cells({key: steps[mean]})])
    rows += [[text(part), *cells(figures)] for part, figures in parts.items()]
    tuned_on, num_unscored = steps.get("tuned_on"), steps.get("num_unscored_samples")
    tuned = f"tuned on {text(tuned_on)}"
    if tuned_on in ("none", "not told"):
        tuned = "fixed beforehand, tuned on nothing" if tuned_on == "none" else "chosen elsewhere; where is not told"
    lines = [
        f"<p>A step is called wrong where its score is below <strong>{decimal(steps.get('threshold'))}</strong>; the "
        f"threshold was {tuned}.</p>",
        f'<div class="card">{table([word.capitalize(), *(_STEP_COLUMNS[key] for key in columns)], rows)}</div>',
        f'<p class="after">{text(steps.get("num_samples"))} solutions, of which {text(num_unscored)} could not be '
        "shown to the PRM and have no scores.</p>",
    ]
    if "control_accuracy" in steps:
        lines.append(f"<p>Of the steps of right controls, {percent(steps['control_accuracy'])} are called right.</p>")
    return "\n".join(lines)


def curves_section(document: Mapping[str, Any], svg: Path) -> str:
    """Plot of every smaller N, and the differences to majority vote in a table."""
    curves = document["curves"]
    sizes = [size["n"] for size in curves.get("sizes") or ()]
    parts = [
        "<p>What fewer candidates would have given: the mean over all subsets of N of the candidates that were "
        "generated.</p>"
    ]
    measured = {
        name: [point for point in points if point.get("value") is not None]
        for name, points in (curves.get("curves") or {}).items()
    }
    last = [
        f"{_METRIC_NAMES[name].format(n='N')} {percent(points[-1]['value'])}"
        for name, points in measured.items()
        if points and name in _METRIC_NAMES
    ]
    if last:
        alt = (
            f"Line plot: share of problems solved by number of candidates N ({', '.join(map(str, sizes))}). At the "
            f"largest N: {', '.join(last)}."
        )
        parts.append(plot(write_curves_plot, document, svg, alt))
    compared = curves.get("against_majority_vote") or {}
    points = {name: {point["n"]: point for point in found} for name, found in compared.items()}
    rows = [[str(n), *(_difference(found.get(n)) for found in points.values())] for n in sizes]
    header = ["N", *(f"{text(_METRIC_NAMES.get(name, name).format(n='N'))} minus majority vote" for name in points)]
    if points:
        parts.append(f'<div class="card">{table(header, rows)}')
        parts.append(
            '<p class="note"><small>Points, with their 95 % interval and the p value of a paired sign-flip test over '
            "problems.</small></p></div>"
        )
    if drawn := [str(size["n"]) for size in curves.get("sizes") or () if size.get("is_exact") is False]:
        parts.append(
            f'<p class="after">At N = {", ".join(drawn)} votes are means over drawn subsets, not over all of them.</p>'
        )
    return "\n".join(parts)


def _difference(point: Mapping[str, Any] | None) -> str:
    """Points with interval and p value."""
    if get(point, "difference") is None:
        return NOT_MEASURED
    low, high, p_value = point.get("ci_low"), point.get("ci_high"), point.get("p_value")
    interval = NOT_MEASURED if None in (low, high) else f"{100 * low:+.1f} to {100 * high:+.1f}"
    p = NOT_MEASURED if p_value is None else "&lt; 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
    return f"<strong>{100 * point['difference']:+.1f}</strong> <small>{interval}, p&nbsp;{p}</small>"


__all__ = ["best_of_n_section", "curves_section", "facts_section", "headline", "steps_section"]
