"""Plots of results files as SVG. Reads JSON alone; matplotlib is an optional extra, imported when a plot is drawn."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STYLES: dict[str, tuple[str, str, str]] = {
    "best_of_n": ("#1b7f79", "o", "-"),
    "weighted_vote": ("#2f5aa8", "s", "-"),
    "majority_vote": ("#8a93a3", "v", "-"),
    "beam_search": ("#d9542b", "^", "--"),
    "dvts": ("#b8860b", "D", "--"),
    "beam_annealing": ("#8e44ad", "P", "--"),
    "oracle": ("#8a93a3", "", ":"),
}
"""Colour, marker and line of a strategy; searches that the PRM guides are dashed."""


def write_strategy_plot(results: Path, output: Path) -> Path:
    """Draw a table of strategies (``recipes/nano/strategies.py``): accuracy and gain over best-of-n, by tokens.

    Args:
        results: JSON with ``num_problems`` and ``rows``: ``strategy``, ``num_tokens``, ``accuracy``, ``ci_low``,
            ``ci_high``, of searches also ``difference``, ``difference_ci_low`` and ``difference_ci_high``.
        output: SVG file to write; equal results give equal bytes.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    pyplot = _pyplot()
    found = json.loads(results.read_text(encoding="utf-8"))
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in found["rows"]:
        curves.setdefault(row["strategy"], []).append(row)
    settings = {"svg.hashsalt": "mmprm_hf", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with pyplot.rc_context(settings):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        for shift, (strategy, rows) in enumerate(curves.items()):
            _curve(left, strategy, rows, "accuracy", "ci_low", "ci_high")
            if "difference" in rows[0] and strategy != "majority_vote":  # far below: it would flatten the others
                _curve(
                    right, strategy, rows, "difference", "difference_ci_low", "difference_ci_high", 1 + shift * 0.012
                )
        left.set_ylabel(f"right answers, % of {found['num_problems']} problems")
        right.set_ylabel("points above best-of-n at equal tokens")
        right.axhline(0, color=_STYLES["best_of_n"][0], linewidth=1)
        ticks = [row["num_tokens"] for row in curves["best_of_n"]]
        labels = [f"{row['num_tokens']:.0f}\nN = {row['n']}" for row in curves["best_of_n"]]
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, labels)
            axes.set_xlabel("generated tokens per problem")
            axes.grid(axis="y", color="#00000018")
        left.legend(frameon=False, loc="lower right")
        right.set_title("intervals: 95 %, bootstrap over problems", fontsize=8, color="#555555")
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return output


def _curve(
    axes: Any, strategy: str, rows: Sequence[Mapping[str, Any]], key: str, low: str, high: str, shift: float = 1.0
) -> None:
    """One strategy in percent, with its intervals; the unreachable oracle without."""
    color, marker, line = _STYLES[strategy]
    tokens = [row["num_tokens"] * shift for row in rows]
    values = [100 * row[key] for row in rows]
    errors = [[100 * (row[key] - row[low]) for row in rows], [100 * (row[high] - row[key]) for row in rows]]
    axes.errorbar(
        tokens,
        values,
        yerr=None if strategy == "oracle" else errors,
        color=color,
        marker=marker,
        linestyle=line,
        label="oracle pass@N" if strategy == "oracle" else strategy,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.7,
        capsize=2,
    )


def _pyplot() -> Any:
    try:
        importlib.import_module("matplotlib").use("agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError('Plots need matplotlib, which is not installed: pip install "mmprm_hf[plots]".') from error
