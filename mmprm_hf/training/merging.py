"""From an adapter's folder to a whole PRM: `merge_adapter`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import loading
from ..models import MMPRMModel, MMPRMProcessor


def merge_adapter(adapter: str | os.PathLike, output: str | os.PathLike) -> dict[str, Any]:
    """Write the whole PRM of an adapter into a folder: model, processor, and the adapter's card.

    The folder depends on nothing else any more, and its scores are those of the adapter to the rounding of its dtype.

    Args:
        adapter: Folder or hub id, as `PRMTrainer` writes it with a `peft_config`.
        output: Folder to write to; must not be the adapter's.

    Returns:
        Facts about the PRM: `merged`, `dtype`, `num_parameters`.

    Raises:
        ValueError: if `adapter` is a whole PRM, what it was trained on is not there, or the two folders are one.

    Example:
        >>> merge_adapter("out/lora", "out/merged")["dtype"]  # doctest: +SKIP
        'float32'
    """
    if Path(adapter).resolve() == Path(output).resolve():
        raise ValueError(f"Adapter and output are the same folder, {str(adapter)!r}. Choose another output.")
    with loading("adapter", adapter):
        model = MMPRMModel.from_pretrained(adapter).merge_and_unload()
        processor = MMPRMProcessor.from_pretrained(adapter)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    card = Path(adapter) / "README.md"
    if card.exists():
        shutil.copyfile(card, Path(output) / "README.md")
    dtype = str(model.dtype).removeprefix("torch.")
    return {"merged": Path(adapter).name, "dtype": dtype, "num_parameters": model.num_parameters()}
