"""The folders of the metric modules for the `evaluate` library: `evaluate.load(metric_path("process_f1"))`."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownNameError

METRIC_MODULES = ("process_f1", "first_error", "prm_score", "best_of_n")


def metric_path(name: str) -> str:
    """Return the folder of a metric module.

    Args:
        name: One of `METRIC_MODULES`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> metric_path("process_f1").endswith("process_f1")
        True
    """
    if name not in METRIC_MODULES:
        raise UnknownNameError("metric", name, METRIC_MODULES)
    return str(Path(__file__).parent / "modules" / name)
