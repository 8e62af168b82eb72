"""A dry run's report as text for a terminal. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def format_dry_run(report: Mapping[str, Any]) -> str:
    """Return the report of `report_dry_run` as lines of text, under its own names.

    Example:
        >>> counted = {"num_steps": 1200, "dropped_rows": {"train": {}}}
        >>> memory = {"memory_bytes": {"weights": 2048, "activations": None}}
        >>> print(format_dry_run({"counted": counted, "measured": {}, "estimated": memory, "notes": []}))
        counted
          num steps                 1,200
          dropped rows              train none
        measured
        estimated
          memory                    weights 2.0 KiB, activations unknown
          memory sum                at least 2.0 KiB
    """
    memory = report["estimated"]["memory_bytes"].values()
    memory_sum = ("at least " if None in memory else "") + _bytes(sum(size or 0 for size in memory))
    lines = []
    for part in ("counted", "measured", "estimated"):
        lines.append(part)
        for name, value in report[part].items():
            lines.append(f"  {_label(name):<26}{_text(name, value)}")
            if name == "memory_bytes":
                lines.append(f"  {'memory sum':<26}{memory_sum}")
    return "\n".join([*lines, *report["notes"]])


def _label(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _text(name: str, value: Any) -> str:
    """A value of a report, whose name has its unit."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_label(key)} {_text(name, inner)}" for key, inner in value.items()) or "none"
    if value is None:
        return "unknown"
    if name.endswith("_bytes"):
        return _bytes(value)
    if "hours" in name:
        return _duration(value)
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 1 / 60 else f"{3600 * hours:.2g} seconds"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
