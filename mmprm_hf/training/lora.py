"""Options of LoRA as a training's configuration has them, under TRL's names. Imports no torch; peft when it is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..errors import check_values

DECODER_LAYERS = r"^(?!.*(vision|visual)).*\.(q|k|v|o|gate|up|down)_proj$"
"""The decoder's linear layers; a vision tower may have layers of the same names."""


@dataclasses.dataclass(frozen=True)
class LoraOptions:
    """Options of an adapter; head and marker row are trained in full beside it.

    Args:
        lora_r: Rank of the adapter; 0 trains all weights, without one.
        lora_alpha: The adapter is scaled by lora_alpha / lora_r.
        lora_dropout: Dropout in front of the adapter, in [0, 1).
        lora_target_modules: Names of layers, or a regular expression; the default is the decoder's linear layers.
        lora_modules_to_save: Modules that are trained in full beside the adapter, such as the projector.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> LoraOptions().peft_config() is None
        True
    """

    lora_r: int = 0
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    lora_target_modules: str | Sequence[str] = DECODER_LAYERS
    lora_modules_to_save: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_values(
            self,
            lora_r=(isinstance(self.lora_r, int) and self.lora_r >= 0, "a whole number; 0 trains all weights"),
            lora_alpha=(self.lora_alpha > 0, "above 0"),
            lora_dropout=(0 <= self.lora_dropout < 1, "in [0, 1)"),
        )

    def peft_config(self) -> Any:
        """Return peft's configuration; None without an adapter."""
        if not self.lora_r:
            return None
        from peft import LoraConfig

        return LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=self.lora_target_modules,
            modules_to_save=self.lora_modules_to_save,
        )
