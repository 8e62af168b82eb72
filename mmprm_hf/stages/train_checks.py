"""Whether the paths of a training are there, before anything heavy is imported. Imports no torch."""

from __future__ import annotations

from pathlib import Path

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
