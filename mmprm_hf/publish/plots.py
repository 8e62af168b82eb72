"""Plots of results as SVG: equal results give equal bytes. matplotlib is an optional extra, imported by a drawing."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .documents import calibrations, get
from .words import decimal, metric_name

_RIGHT, _WRONG, _COUNT = "#1b7f79", "#d9542b", "#8a93a3"
_SETTINGS = {"svg.hashsalt": "mmprm_hf", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
STYLES: dict[str, tuple[str, str, str]] = {
    "random_distinct": ("#b0b7c3", "x", "-"),
    "mean_pass_at_1": ("#5f6878", "", "-"),
    "best_of_n": ("#1b7f79", "o", "-"),
    "weighted_vote": ("#2f5aa8", "s", "-"),
    "majority_vote": ("#8a93a3", "v", "-"),
    "beam_search": ("#d9542b", "^", "--"),
    "dvts": ("#b8860b", "D", "--"),
    "beam_annealing": ("#8e44ad", "P", "--"),
    "oracle": ("#8a93a3", "", ":"),
}
"""Colour, marker and line of a strategy; baselines are grey, searches that the PRM guides are dashed."""


@contextlib.contextmanager
def drawing(output: Path, *shape: int, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, which are written as SVG at the end; equal drawings are equal bytes.

    Args:
        output: SVG file to write.
        shape, options: As `matplotlib.pyplot.subplots` takes them.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib").use("agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError("Plots need matplotlib, which is not installed: pip install matplotlib.") from error
    with pyplot.rc_context(_SETTINGS):
        figure, axes = pyplot.subplots(*shape, layout="constrained", **options)
        yield figure, axes
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, format="svg", metadata={"Date": None})  # without a date
        pyplot.close(figure)


def draw_curve(
    axes: Any,
    strategy: str,
    label: str,
    numbers: Sequence[float],
    rows: Sequence[Mapping[str, Any]],
    keys: tuple[str, str, str],
) -> None:
    """Draw one strategy in percent, with its intervals; the unreachable oracle without.

    Args:
        axes: Of matplotlib.
        strategy: Key of `STYLES`.
        label: Its name in the legend.
        numbers: Place of each point on the axis below, such as its N.
        rows: One a point, with shares in [0, 1].
        keys: Keys of a row's value and of the two ends of its interval, which may be None.
    """
    color, marker, line = STYLES[strategy]
    key, low, high = keys
    has_interval = strategy != "oracle" and all(row.get(end) is not None for row in rows for end in (low, high))
    errors = None
    if has_interval:  # an end may differ from the value by rounding
        below = [max(0.0, 100 * (row[key] - row[low])) for row in rows]
        errors = [below, [max(0.0, 100 * (row[high] - row[key])) for row in rows]]
    axes.errorbar(
        numbers,
        [100 * row[key] for row in rows],
        yerr=errors,
        color=color,
        marker=marker,
        linestyle=line,
        label=label,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.7,
        capsize=2,
    )


def write_curves_plot(results: Mapping[str, Any], output: Path) -> Path:
    """Draw every metric of best-of-N curves by N, with 95 % intervals (the oracle without).

    Args:
        results: A results document with the section ``curves``.
        output: SVG file to write; equal results give equal bytes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no curve has a point.
    """
    points_by_name = get(results, "curves", "curves") or {}
    curves = {
        name: [point for point in points_by_name.get(name, ()) if point["value"] is not None]
        for name in ("oracle", "best_of_n", "weighted_vote", "majority_vote", "mean_pass_at_1", "random_distinct")
    }  # from the top of the legend
    sizes = sorted({point["n"] for points in curves.values() for point in points})
    if not sizes:
        raise ValueError("Found no points of best-of-N curves. Evaluate with curves and draw again.")
    with drawing(output, figsize=(7.6, 4.2)) as (_, axes):
        for order, (name, points) in enumerate(curves.items()):
            if points:
                # Intervals side by side, not on top of each other.
                shifted = [point["n"] * (1 + (order - 2.5) * 0.012) for point in points]
                draw_curve(axes, name, metric_name(name), shifted, points, ("value", "ci_low", "ci_high"))
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("N, candidates per problem")
        axes.set_ylabel("right answers, % of problems")
        axes.grid(axis="y", color="#00000018")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title("expected over all subsets of N; intervals: 95 % over problems", fontsize=8, color="#555555")
    return output


def write_calibration_plot(results: Mapping[str, Any], output: Path, *, of: str = "diagnosis") -> Path:
    """Draw a reliability diagram: share right by mean score of each bin, above how many each bin holds.

    Args:
        results: A results document.
        output: SVG file to write; equal results give equal bytes.
        of: The section: "diagnosis" (scores of solutions), "steps" or "exact_truth" (scores of steps).

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the section has no calibration.
    """
    diagram = next((diagram for diagram in calibrations(results) if diagram.section == of), None)
    if diagram is None:
        raise ValueError(f"Found no calibration in {of}. Scores outside [0, 1] have none.")
    bins, unit = diagram.bins, diagram.unit
    size = {"figsize": (4.6, 4.9), "height_ratios": (4, 1)}
    with drawing(output, 2, 1, sharex=True, **size) as (figure, (upper, lower)):
        upper.plot([0, 1], [0, 1], color=_COUNT, linestyle=":", linewidth=1.2, label="a calibrated score")
        scores, shares = [entry["mean_score"] for entry in bins], [entry["share_right"] for entry in bins]
        upper.plot(scores, shares, color=_RIGHT, marker="o", markersize=5, linewidth=1.4, label="measured")
        upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel=f"share of {unit} that are right")
        upper.grid(color="#00000018")
        upper.legend(frameon=False, loc="best")
        num = sum(entry["num"] for entry in bins)
        upper.set_title(f"expected calibration error {decimal(diagram.ece)}, {num:,} {unit}", fontsize=9)
        lows, widths = [entry["low"] for entry in bins], [entry["high"] - entry["low"] for entry in bins]
        lower.bar(lows, [entry["num"] for entry in bins], widths, align="edge", color="#c9cfda")
        lower.set(xlabel=f"mean score of the {unit}", ylabel=unit)
        lower.yaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels()
    return output


def write_profile_plot(results: Mapping[str, Any], output: Path, *, of: str = "diagnosis") -> Path:
    """Draw mean scores of what is right and of what is wrong, by position of the step and by number of steps.

    Args:
        results: A results document.
        output: SVG file to write; equal results give equal bytes.
        of: The section: "diagnosis" (steps of right and of wrong solutions) or "steps" (right and wrong steps, by
            position only).

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the section has no profile.
    """
    section = results.get(of, {})
    owner = "steps" if of == "steps" else "solutions"
    panels = [
        (section.get("by_step"), "step_index", "position of the step", "mean step score", "steps"),
        (section.get("by_num_steps"), "num_steps", "number of steps", "mean score of the solution", "solutions"),
    ]
    panels = [panel for panel in panels if panel[0]]
    if not panels:
        raise ValueError(f"Found no profile of scores in {of}. Evaluate scored candidates or steps and draw again.")
    size = {"figsize": (4.9 * len(panels), 3.7), "squeeze": False}
    with drawing(output, 1, len(panels), **size) as (figure, drawn):
        for axes, (rows, key, label, score_label, unit) in zip(drawn[0], panels, strict=True):
            # Positions are 0-based in results; people count from 1.
            numbers = [row[key] + (key == "step_index") for row in rows]
            _counts(axes, numbers, [row["num_right"] + row["num_wrong"] for row in rows], unit)
            for side, color, marker, line in (("right", _RIGHT, "o", "-"), ("wrong", _WRONG, "s", "--")):
                # matplotlib leaves out NaN: a side without scores is a gap, not a line through it.
                means = [math.nan if row[side] is None else row[side] for row in rows]
                axes.plot(numbers, means, color=color, marker=marker, linestyle=line, ms=4, label=f"{side} {owner}")
            if all(0 <= row[side] <= 1 for row in rows for side in ("right", "wrong") if row[side] is not None):
                axes.set_ylim(-0.02, 1.04)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set(xlabel=label, ylabel=score_label)
            axes.grid(axis="y", color="#00000018")
        figure.get_layout_engine().set(wspace=0.08)
        handles, names = drawn[0][0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=2)
    return output


def _counts(axes: Any, numbers: Sequence[int], counts: Sequence[int], unit: str) -> None:
    """Faint bars in the lower third, behind the lines, with an axis of their own at the right."""
    beside = axes.twinx()
    beside.bar(numbers, counts, width=0.8, color="#8a93a3", alpha=0.28)
    top = max(counts)
    beside.set_ylim(0, 3 * top)
    beside.set_yticks([0, top], ["0", f"{top:,}"])
    beside.tick_params(colors="#6b7484", labelsize=8)
    beside.set_ylabel(f"{unit} (bars)", color="#6b7484", loc="bottom", fontsize=8)
    axes.set_zorder(beside.get_zorder() + 1)
    axes.patch.set_visible(False)  # else it would cover the bars
