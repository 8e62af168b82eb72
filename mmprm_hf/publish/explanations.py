"""Sections of a results document as blocks of plain text, which the terminal and the HTML page render alike.

A block is a sentence or more (text), a table, or a list of entries. Takes what `mmprm_hf.rows.check_results` has
checked. Of other rooms it imports `steps` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..steps import fault_words
from .documents import metric, parts_of
from .rendering import render_sentence, template_data
from .words import (
    METRICS,
    NOT_MEASURED,
    Table,
    capital,
    count,
    decimal,
    difference,
    interval,
    metric_name,
    share,
)

_SENTENCES = template_data("explanations.yaml")

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


class Entry(NamedTuple):
    """A title, its figures in a sentence, and what they mean."""

    title: str
    figures: str
    meaning: str


Block = str | Table | list[Entry]


class MetricRow(NamedTuple):
    """A metric of the best-of-N table: its name, shares in [0, 1] (None: not measured), and on which problems."""

    key: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    decided: str

    @property
    def interval(self) -> str:
        return interval(self.low, self.high)


def metric_rows(document: Mapping[str, Any]) -> list[MetricRow]:
    """The rows of the best-of-N table; greedy has none where no greedy response was drawn."""
    report = document["best_of_n"]
    rows = []
    for key in METRICS:
        num_decided, decided = report["num_decided"].get(key), ""
        if num_decided not in (None, 0, report["num_problems"]):
            decided = f"{num_decided} of {report['num_problems']} problems, the others are undecided"
        ends = [metric(document, key, name) for name in ("value", "ci_low", "ci_high")]
        if key == "greedy" and ends[0] is None:
            continue
        rows.append(MetricRow(key, capital(metric_name(key, report["num_candidates"])), *ends, decided))
    return rows


def incomplete_reasons(report: Mapping[str, Any]) -> str:
    """Why candidates of a best-of-N table are incomplete, in brackets; "" where it is not recorded."""
    return f" ({fault_words(report['faults'])})" if report.get("faults") else ""


def step_blocks(steps: Mapping[str, Any]) -> list[Block]:
    """A step-level benchmark: its threshold and where it is from, figures overall and per part, what they are of."""
    sentences = _SENTENCES["steps"]
    threshold, samples = (render_sentence(sentences[name], steps) for name in ("threshold", "samples"))
    return [threshold, _step_table(steps), samples]


def _step_table(steps: Mapping[str, Any]) -> Table:
    word, parts = parts_of(steps)
    columns = [key for key in _STEP_COLUMNS if any(key in figures for figures in parts.values() or [steps])]

    def row(name: str, figures: Mapping[str, Any]) -> list[str]:
        writers = {key: count if key.startswith("num_") else decimal for key in columns}
        return [name, *(write(figures[key]) if key in figures else "–" for key, write in writers.items())]

    # Beside average F1 there is a number of unscored solutions, not steps: it stands below the table.
    overall = ("Mean of subsets", {"f1": steps["average_f1"]}) if "average_f1" in steps else ("All", steps)
    rows = [row(*overall)]
    main_column = next((key for key in ("macro_f1", "prm_score") if key in columns), None)
    for mean in ("mean_of_sources", "mean_of_categories"):
        if mean in steps and main_column:
            rows.append(row(capital(mean.replace("_", " ")), {main_column: steps[mean]}))
    rows += [row(name, figures) for name, figures in parts.items()]
    return Table([capital(word), *(_STEP_COLUMNS[key] for key in columns)], rows)


def subject_blocks(section: Mapping[str, Any]) -> list[Block]:
    """The best-of-N table by subject: where a gain comes from."""
    columns = {
        "mean_pass_at_1": "pass@1",
        "majority_vote": "majority",
        "best_of_n": "best-of-N",
        "weighted_vote": "weighted",
        "oracle": "oracle",
    }
    rows = [
        [
            name,
            count(figures["num_problems"]),
            *(share(figures["metrics"][column]) for column in columns),
            difference(figures["against_majority_vote"]["best_of_n"]),
        ]
        for name, figures in section["subjects"].items()
    ]
    header = ["Subject", "problems", *columns.values(), "best-of-N minus majority"]
    return [Table(header, rows, _SENTENCES["subjects"]["note"])]


def curve_blocks(curves: Mapping[str, Any]) -> list[Block]:
    """Every metric at each N, and the metrics of the PRM against the majority vote."""
    sizes = [size["n"] for size in curves["sizes"]]
    values = [
        [capital(metric_name(name)), *(share(point["value"]) for point in points)]
        for name, points in curves["curves"].items()
    ]
    compared = {
        name: {point["n"]: difference(point) for point in points}
        for name, points in curves["against_majority_vote"].items()
    }
    differences = [[str(n), *(cells.get(n, NOT_MEASURED) for cells in compared.values())] for n in sizes]
    header = ["N", *(f"{metric_name(name)} minus majority vote" for name in compared)]
    sentences = _SENTENCES["curves"]
    blocks = [
        sentences["intro"],
        Table(["Share of problems solved", *(f"N = {n}" for n in sizes)], values),
        Table(header, differences, sentences["note"]),
    ]
    if drawn := [size["n"] for size in curves["sizes"] if not size["is_exact"]]:
        blocks.append(render_sentence(sentences["drawn"], {"sizes": drawn}))
    return blocks


def diagnosis_blocks(diagnosis: Mapping[str, Any]) -> list[Block]:
    """What limits choosing among candidates; of what nobody could measure there is no entry."""
    sentences = _SENTENCES["diagnosis"]
    entries = [
        Entry(entry["title"], render_sentence(entry["figures"], diagnosis), entry["meaning"])
        for entry in sentences["entries"]
        if _is_measured(diagnosis[entry["section"]])
    ]
    return [render_sentence(sentences["intro"], diagnosis), entries]


def _is_measured(section: Mapping[str, Any] | None) -> bool:
    """Whether a section of a diagnosis has a figure besides counts of what it is of."""
    return any(value is not None for key, value in (section or {}).items() if not key.startswith("num_"))


def truth_blocks(truth: Mapping[str, Any]) -> list[Block]:
    """Step scores against an exact checker, and solutions with a right answer and a wrong step."""
    rows = []
    for key, name in (("step_level", "Each step by itself"), ("prefix_level", "Step and all before it")):
        level = truth[key]
        figures = [decimal(level[figure]) for figure in ("auroc", "macro_f1", "accuracy", "threshold")]
        rows.append([name, *figures, count(level["num_steps"]), count(level.get("num_unparsable"))])
    sentences = _SENTENCES["truth"]
    header = ["A step is right", "AUROC", "macro-F1", "Accuracy", "Threshold", "Steps", "Unreadable"]
    lucky = render_sentence(sentences["lucky"], {"lucky": truth["false_positives"]})
    return [sentences["intro"], Table(header, rows), lucky]


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], list[Block]]]] = {
    "steps": ("Step-level results", step_blocks),
    "subjects": ("By subject", subject_blocks),
    "curves": ("Every smaller N", curve_blocks),
    "diagnosis": ("Why", diagnosis_blocks),
    "exact_truth": ("Against exact truth", truth_blocks),
}
"""Title and blocks of the sections that are explained in words, in their order."""


def rows_words(rows: Mapping[str, Any]) -> str:
    """How many rows of the data were used."""
    num_used, num_not_asked = rows.get("num_used", rows.get("num_kept")), rows.get("num_not_asked")
    words = f"{count(num_used)} of {count(rows['num_rows'])} used"
    return f"{words}, {count(num_not_asked)} more usable ones were not asked for" if num_not_asked else words
