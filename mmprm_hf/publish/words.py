"""Numbers and names of results in words: the one source of the terminal's tables, the HTML page and Markdown.

All text is plain; whoever renders it escapes it. What was not measured reads so, never blank or guessed. Standard
library only; must not import another room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NOT_MEASURED = "not measured"


class Metric(NamedTuple):
    """A metric of the best-of-N table: its kind of bar, its name (N in braces) and what it is."""

    kind: str
    name: str
    explanation: str


_RANDOM_DISTINCT = (
    "a selector that knows nothing, duplicates removed; it tends to fall as N grows, because wrong solutions differ "
    "from each other more than right ones"
)
METRICS: dict[str, Metric] = {
    "random_distinct": Metric("baseline", "random among distinct", _RANDOM_DISTINCT),
    "mean_pass_at_1": Metric("baseline", "mean pass@1", "one random sample"),
    "greedy": Metric("baseline", "greedy", "one response at temperature 0"),
    "majority_vote": Metric("baseline", "majority vote@{n}", "the commonest answer; no PRM"),
    "best_of_n": Metric("ours", "PRM best-of-{n}", "the candidate with the highest score"),
    "weighted_vote": Metric("ours", "PRM-weighted vote@{n}", "answers voted for with the candidates' scores"),
    "oracle": Metric("ceiling", "oracle pass@{n}", "a perfect selector: any candidate is right"),
}
"""Metrics of `best_of_n` and `curves` by their keys, in the order of every table."""


class Cell(NamedTuple):
    """A figure of a table with its detail (an interval, say), which may be empty."""

    figure: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.figure} ({self.detail})" if self.detail else self.figure


class Table(NamedTuple):
    """Headings, rows whose first entry is a name, and a note below them."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""


def text(value: Any) -> str:
    """A fact as text: lists and mappings joined by commas."""
    if value is None or value == "" or value == []:
        return NOT_MEASURED
    if isinstance(value, list):
        return ", ".join(text(entry) for entry in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text(entry)}" for key, entry in value.items()) or NOT_MEASURED
    return str(value)


def share(value: float | None) -> str:
    """A share in [0, 1] in percent."""
    return NOT_MEASURED if value is None else f"{100 * value:.1f} %"


def decimal(value: float | None) -> str:
    """A number with three decimals."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Tokens, seconds and the like: three digits, whole from 1000 on."""
    if value is None:
        return NOT_MEASURED
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def count(value: int | None) -> str:
    """A whole number with commas."""
    return NOT_MEASURED if value is None else f"{value:,}"


def capital(words: str) -> str:
    """The words with a capital letter at their beginning."""
    return words[:1].upper() + words[1:]


def metric_name(key: str, n: int | str = "N") -> str:
    """The name of a metric; a key that is not in `METRICS` stands for itself.

    Example:
        >>> metric_name("best_of_n", 16), metric_name("oracle")
        ('PRM best-of-16', 'oracle pass@N')
    """
    return METRICS[key].name.format(n=n) if key in METRICS else key


def interval(low: float | None, high: float | None, sign: str = "") -> str:
    """Two shares in percent; empty where one of them is not known.

    Args:
        low, high: Ends of the interval.
        sign: "+" writes the sign of positive numbers, too.
    """
    return "" if low is None or high is None else f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"


def difference(point: Mapping[str, Any]) -> Cell:
    """A difference from the majority vote: the difference, its interval and the p value of the paired test."""
    if point["difference"] is None:
        return Cell(NOT_MEASURED)
    p_value = point["p_value"]
    p = NOT_MEASURED if p_value is None else "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
    ends = interval(point["ci_low"], point["ci_high"], sign="+") or f"interval {NOT_MEASURED}"
    return Cell(f"{100 * point['difference']:+.1f} points", f"{ends}, p {p}")
