"""Loading: the policy behind a path, what is refused as no PRM, and quantised backbones.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils.peft_utils import find_adapter_config_file

from .configuration_mm_prm import MMPRMConfig

HUB_KWARGS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
# What transformers and PEFT look for on a quantised model, beside `is_quantized`.
QUANTIZATION_ATTRIBUTES = (
    "hf_quantizer",
    "quantization_method",
    "hf_device_map",
    "is_loaded_in_8bit",
    "is_loaded_in_4bit",
    "is_8bit_serializable",
    "is_4bit_serializable",
)
# How quantisation configs of transformers name what they leave out (torchao and most others, bitsandbytes).
_LEFT_OUT = ("modules_to_not_convert", "llm_int8_skip_modules")


def load_policy(path: str | os.PathLike, **kwargs) -> PreTrainedModel:
    """The policy behind a path, as the Auto class of its config loads it."""
    hub_kwargs = {name: kwargs[name] for name in HUB_KWARGS if name in kwargs}
    config = AutoConfig.from_pretrained(path, **hub_kwargs)
    if config.model_type == MMPRMConfig.model_type:
        raise ValueError(f"{str(path)!r} is a PRM already; load it with MMPRMModel.from_pretrained.")
    is_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto_class = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
    return auto_class.from_pretrained(path, **kwargs)


def check_is_prm(path: str | os.PathLike, **hub_kwargs: Any) -> None:
    """Refuses what holds no PRM: loading it would make a large random model of the default backbone."""
    adapter = find_adapter_config_file(path, **hub_kwargs)
    if adapter is not None and not os.path.exists(os.path.join(path, "config.json")):
        with open(adapter, encoding="utf-8") as file:
            base = json.load(file).get("base_model_name_or_path")
        if not base:
            raise ValueError(
                f"The adapter {str(path)!r} does not name the PRM that it belongs to: that was never saved. Make the "
                "PRM again with MMPRMModel.from_policy and load the adapter with PeftModel.from_pretrained(prm, path)."
            )
        path, hub_kwargs = base, {k: v for k, v in hub_kwargs.items() if k not in ("revision", "subfolder")}
    model_type = PreTrainedConfig.get_config_dict(path, **hub_kwargs)[0].get("model_type")
    if model_type != MMPRMConfig.model_type:
        raise ValueError(
            f"{str(path)!r} is no PRM: its model_type is {model_type!r}, expected {MMPRMConfig.model_type!r}. "
            "To start a PRM from a policy use MMPRMModel.from_policy."
        )


def drop_one_way_conversions(model: PreTrainedModel) -> None:
    """Forgets how the quantiser read its weights from files: transformers 5.24 tries to undo it on saving and fails.

    Goes once a plain quantised policy can be loaded and saved again.
    """
    one_way = {tuple(conversion.source_patterns) for conversion in model.hf_quantizer.get_weight_conversions()}
    known = getattr(model, "_weight_conversions", None) or []
    model._weight_conversions = [c for c in known if tuple(c.source_patterns) not in one_way]


def quantization_of_prm(policy: PreTrainedModel) -> Any:
    """A quantised policy's settings, with the names of modules that it leaves out as they are in the PRM."""
    settings = copy.deepcopy(policy.config.quantization_config)
    prefix = f"{policy.base_model_prefix}."
    for name in _LEFT_OUT:
        left_out = getattr(settings, name, None)
        if left_out:
            renamed = [f"vlm.{m.removeprefix(prefix)}" if m.startswith(prefix) else m for m in left_out]
            setattr(settings, name, renamed)
    return settings


__all__ = [
    "HUB_KWARGS",
    "QUANTIZATION_ATTRIBUTES",
    "check_is_prm",
    "drop_one_way_conversions",
    "load_policy",
    "quantization_of_prm",
]
