"""Where the metric modules for the `evaluate` library lie: `evaluate.load(metric_path("process_f1"))`."""

from __future__ import annotations

from pathlib import Path

METRICS = ("process_f1", "first_error", "prm_score", "best_of_n")


def metric_path(name: str) -> str:
    """Return the folder of a metric module.

    Args:
        name: One of `METRICS`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> metric_path("process_f1").endswith("process_f1")
        True
    """
    if name not in METRICS:
        raise ValueError(f"Unknown metric {name!r}; choose one of {', '.join(METRICS)}.")
    return str(Path(__file__).parent / "modules" / name)


__all__ = ["METRICS", "metric_path"]
