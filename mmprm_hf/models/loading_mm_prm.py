"""Loading: the policy behind a path, quantised backbones, and what transformers forgets when it loads a PRM.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import copy
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
from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

try:  # loading remote code demands every package that is imported outside of a try
    from accelerate import init_empty_weights
except ImportError:
    init_empty_weights = None

from .checks_mm_prm import check_complete, check_decoder_only
from .configuration_mm_prm import MMPRMConfig

logger = logging.getLogger(__name__)

HUB_KWARGS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
# What transformers and PEFT look for on a quantised model.
QUANTIZATION_ATTRIBUTES = (
    "is_quantized",
    "hf_quantizer",
    "quantization_method",
    "hf_device_map",
    "is_loaded_in_8bit",
    "is_loaded_in_4bit",
    "is_8bit_serializable",
    "is_4bit_serializable",
)
# The settings of transformers' quantisation configs that list modules to leave out (torchao and most; bitsandbytes).
_MODULES_LEFT_OUT = ("modules_to_not_convert", "llm_int8_skip_modules")


def load_policy(path: str | os.PathLike, **kwargs: Any) -> PreTrainedModel:
    """Return the policy behind a path; PRMs, encoder-decoders and incomplete checkpoints are refused (ValueError)."""
    kwargs.pop("output_loading_info", None)
    hub_kwargs = {name: kwargs[name] for name in HUB_KWARGS if name in kwargs}
    config = AutoConfig.from_pretrained(path, **hub_kwargs)
    if config.model_type == MMPRMConfig.model_type:
        raise ValueError(f"{str(path)!r} is a PRM already; load it with MMPRMModel.from_pretrained.")
    check_decoder_only(config, repr(str(path)))
    is_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto_class = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
    policy, info = auto_class.from_pretrained(path, output_loading_info=True, **kwargs)
    check_complete(policy, info, path)
    return policy


def start_of_adapter(path: str | os.PathLike, **hub_kwargs: Any) -> str | None:
    """Return hub id or path of the policy or PRM that a training of an adapter started from, as its config.json has it.

    None for whole PRMs, and for adapters that name their PRM themselves (adapter_config.json).
    """
    if find_adapter_config_file(path, **hub_kwargs) is None:
        return None
    quiet = {f"_raise_exceptions_for_{reason}": False for reason in ("missing_entries", "gated_repo")}
    file = cached_file(path, "config.json", **quiet, **hub_kwargs)
    start = None if file is None else PreTrainedConfig.get_config_dict(file)[0].get("policy")
    is_path = start and (start.startswith(".") or os.path.isabs(start))
    return os.path.abspath(os.path.join(os.path.dirname(file), start)) if is_path else start


def merge_into_weights(model: PreTrainedModel) -> None:
    """Put the numbers of an adapter into the weights that it lies on, and take it off, as peft's merge_and_unload does.

    peft's own needs a PeftModel around the model, which an Auto class does not make.
    """
    replaced: list[str] = []
    for name, module in list(model.named_modules()):
        if name.startswith(tuple(f"{outer}." for outer in replaced)):
            continue
        if hasattr(module, "unload_and_optionally_merge_module"):  # the head, the marker's row
            plain = module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        elif hasattr(module, "base_layer"):
            module.merge()
            plain = module.get_base_layer()
        else:
            continue
        model.set_submodule(name, plain)
        replaced.append(name)
    del model.peft_config
    model._hf_peft_config_loaded = False


def drop_one_way_conversions(model: PreTrainedModel) -> None:
    """Forget how the quantiser read its weights from files: transformers 5.24 tries to undo that on saving, and fails.

    Remove this once a plain quantised policy can be loaded and saved again.
    """
    one_way = {tuple(conversion.source_patterns) for conversion in model.hf_quantizer.get_weight_conversions()}
    known = getattr(model, "_weight_conversions", None) or []
    model._weight_conversions = [c for c in known if tuple(c.source_patterns) not in one_way]


@torch.no_grad()
def restore_buffers(model: PreTrainedModel) -> None:
    """Give a loaded PRM's backbone the buffers that are not saved, as its config makes them.

    transformers 5.24 leaves buffers uninitialised that a headless model fills for its parts (Falcon-H1's `mup_vector`)
    if it lies inside another model. Remove this once a reloaded Falcon-H1 keeps them.
    """
    loaded = dict(model.vlm.named_non_persistent_buffers())
    if not loaded or is_deepspeed_zero3_enabled():  # ZeRO 3 makes no empty model
        return
    if init_empty_weights is None:
        logger.warning("accelerate is not installed, so buffers that are not saved are not checked.")
        return
    with init_empty_weights(include_buffers=False):
        rebuilt = AutoModel.from_config(copy.deepcopy(model.config.vlm_config))
    for name, expected in rebuilt.named_non_persistent_buffers():
        buffer = loaded.get(name)
        if buffer is None or buffer.shape != expected.shape or "meta" in (buffer.device.type, expected.device.type):
            continue
        value = expected.to(buffer.device, buffer.dtype)
        if not torch.equal(buffer, value):
            buffer.copy_(value)


def quantization_of_prm(policy: PreTrainedModel) -> Any:
    """Return a quantised policy's settings; the modules that they leave out have the names of the PRM's modules."""
    settings = copy.deepcopy(policy.config.quantization_config)
    prefix = f"{policy.base_model_prefix if policy.base_model is not policy else 'model'}."
    for name in _MODULES_LEFT_OUT:
        modules = getattr(settings, name, None)
        if modules:
            renamed = [f"vlm.{m.removeprefix(prefix)}" if m.startswith(prefix) else m for m in modules]
            setattr(settings, name, renamed)
    return settings
