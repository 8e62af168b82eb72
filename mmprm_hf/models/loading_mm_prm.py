"""Loading: the policy behind a path, what is refused as no PRM, and quantised backbones.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import copy
import json
import logging
import os
from typing import Any

import torch
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.peft_utils import find_adapter_config_file

try:  # loading remote code asks for every package that is imported outside of a try
    from accelerate import init_empty_weights
except ImportError:
    init_empty_weights = None

from .configuration_mm_prm import MMPRMConfig
from .policy_mm_prm import check_decoder_only

logger = logging.getLogger(__name__)

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
    """The policy behind a path, as the Auto class of its config loads it, with all of its weights.

    Raises:
        ValueError: if it is a PRM or an encoder-decoder, or weights are missing or of other shapes.
    """
    kwargs.pop("output_loading_info", None)
    hub_kwargs = {name: kwargs[name] for name in HUB_KWARGS if name in kwargs}
    config = AutoConfig.from_pretrained(path, **hub_kwargs)
    if config.model_type == MMPRMConfig.model_type:
        raise ValueError(f"{str(path)!r} is a PRM already; load it with MMPRMModel.from_pretrained.")
    check_decoder_only(config, repr(str(path)))
    is_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto_class = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
    policy, info = auto_class.from_pretrained(path, output_loading_info=True, **kwargs)
    _check_complete(policy, info, path)
    return policy


def _check_complete(policy: PreTrainedModel, info: dict[str, Any], path: str | os.PathLike) -> None:
    tied = getattr(policy, "all_tied_weights_keys", None) or {}
    missing = set(info["missing_keys"]) - set(tied)
    wrong = sorted(missing | {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]})
    if not wrong:
        return
    head = policy.get_output_embeddings()
    head_names = {
        name for name, parameter in policy.named_parameters() if head is not None and parameter is head.weight
    }
    if head_names & missing:
        raise ValueError(
            f"{str(path)!r} has no language-model head ({', '.join(sorted(head_names))} is missing). It "
            f"would be random. Save the whole policy ({type(policy).__name__}), not the model without its head."
        )
    raise ValueError(
        f"{len(wrong)} weights of the policy are missing or of another shape in {str(path)!r}, first {wrong[:5]}. They "
        f"would be random. Save or download {type(policy).__name__} again, or correct its config.json."
    )


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


@torch.no_grad()
def restore_buffers(model: PreTrainedModel) -> None:
    """Gives a loaded PRM's backbone the buffers that are not saved, as its config makes them.

    transformers 5.24 leaves those uninitialised that a headless model fills for its parts (Falcon-H1's `mup_vector`)
    where it lies inside another model. Goes once a reloaded Falcon-H1 keeps them.
    """
    loaded = dict(model.vlm.named_non_persistent_buffers())
    if not loaded or is_deepspeed_zero3_enabled():  # ZeRO 3 makes no empty model
        return
    if init_empty_weights is None:
        logger.warning(
            "accelerate is not installed: buffers that are not saved are not checked (pip install accelerate)."
        )
        return
    with init_empty_weights(include_buffers=False):
        rebuilt = AutoModel.from_config(copy.deepcopy(model.config.vlm_config))
    for name, made in rebuilt.named_non_persistent_buffers():
        buffer = loaded.get(name)
        if buffer is None or buffer.shape != made.shape or "meta" in (buffer.device.type, made.device.type):
            continue
        value = made.to(buffer.device, buffer.dtype)
        if not torch.equal(buffer, value):
            buffer.copy_(value)


def quantization_of_prm(policy: PreTrainedModel) -> Any:
    """A quantised policy's settings, with the names of modules that it leaves out as they are in the PRM."""
    settings = copy.deepcopy(policy.config.quantization_config)
    prefix = f"{policy.base_model_prefix if policy.base_model is not policy else 'model'}."
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
    "restore_buffers",
]
