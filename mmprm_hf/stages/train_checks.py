"""What can be wrong with a training before anything heavy is imported: paths, and names of options.

Imports no torch and no transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from ..errors import UnknownNameError
from ..rows import check_data_path, check_file_path, check_model_path
from ..training import LoraOptions, trainer_options, training_options


def check_training(model: str | Path, data: str | Path, candidates: str | Path | None, options: Iterable[str]) -> None:
    """Raise if a training cannot begin for a reason that its paths and the names of its options show.

    Args:
        model, data, candidates: As in `train`.
        options: Names in its configuration.

    Raises:
        UnknownNameError: for an option that neither `PRMConfig` nor `LoraOptions` has.
        FileNotFoundError, ValueError: for a path that is not there or is of the wrong kind.
    """
    own = [*(field.name for field in dataclasses.fields(LoraOptions)), *training_options()]
    known = {*own, *trainer_options()} - {"output_dir"}  # --output says it
    for name in options:
        if name not in known:
            raise UnknownNameError("option", name, sorted(known))
    check_model_path(model)
    check_data_path(data)
    check_file_path(candidates)
