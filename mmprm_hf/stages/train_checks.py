"""What is known of a training without loading it: whether its paths are there, and its summary. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import read_json
from ..rows import check_data_path, check_file_path, check_model_path


def check_training_paths(model: str | Path, data: str | Path, candidates: str | Path | None) -> None:
    """Raise if a training cannot begin for a reason that its paths show.

    Args:
        model, data, candidates: As in `train`.

    Raises:
        FileNotFoundError, ValueError: for a path that is not there or is of the wrong kind.
    """
    check_model_path(model)
    check_data_path(data)
    check_file_path(candidates)


def training_summary(output: str | Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a finished training with the folder of its model, and how many rows it had of each split.

    Args:
        output: The folder, as `train` left it, in this run or in an earlier one.
        metrics: What `train` returned.
    """
    settings = read_json(Path(output) / "train_config.json")
    counts = {name: settings.get(name) for name in ("num_train_rows", "num_eval_rows")}
    return {**metrics, **counts, "output": str(output)}
