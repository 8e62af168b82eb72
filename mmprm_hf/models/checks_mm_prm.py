"""Checks of what becomes a PRM or is loaded as one: a decoder, causal, complete, and loadable again.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from .configuration_mm_prm import MMPRMConfig


def is_exact(model: PreTrainedModel) -> bool:
    """Whether the model computes in float32 or float64 with weights that are not quantised."""
    return model.dtype in (torch.float32, torch.float64) and not getattr(model, "is_quantized", False)


def input_device(model: torch.nn.Module) -> torch.device:
    """Return the device that a model's inputs belong on, also where its first weights wait on a disk.

    Weights that Accelerate has offloaded are on "meta" until a hook brings them to where it computes.
    """
    device = next(model.parameters()).device
    if device.type != "meta":
        return device
    hooks = [module._hf_hook for module in model.modules() if hasattr(module, "_hf_hook")]
    parts = [part for hook in hooks for part in getattr(hook, "hooks", [hook])]  # a SequentialHook has several
    devices = [part.execution_device for part in parts if getattr(part, "execution_device", None) is not None]
    return torch.device(devices[0]) if devices else device


def text_inputs(model: PreTrainedModel, ids: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return a PRM's backbone inputs (1, seq) for a row of text without images."""
    input_ids = torch.tensor([list(ids)], device=model.device)
    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if model.config.vlm_config.model_type == "paligemma":  # type 1 is causal; without types it attends both ways
        inputs["token_type_ids"] = torch.ones_like(input_ids)
    return inputs


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Refuse a PRM in which the states of a text depend on what follows it.

    Raises:
        ValueError: with the size of the dependence.
    """
    vocab_size = model.get_input_embeddings().weight.shape[0]
    ids = [(7 * i + 3) % vocab_size for i in range(24)]
    beginning, ends = ids[:8], (ids[8:16], ids[16:])  # ends of one length: kernels round alike
    first, second = (
        model.vlm(**text_inputs(model, beginning + end), use_cache=False).last_hidden_state[0, :8].float()
        for end in ends
    )
    # The mean, because what follows moves every state (in an untrained RoBERTa by 1e-2) and rounding moves a few.
    difference = ((first - second).abs().mean() / first.std()).item()
    tolerance = 1e-4 if is_exact(model) else 5e-3
    if not difference <= tolerance:  # NaN is refused too
        raise ValueError(
            f"{type(model.vlm).__name__} is not causal: a step's score would depend on later steps (the states of one "
            f"text differ by {difference:.1e} of their spread with what follows, allowed {tolerance:.0e}). Choose a "
            "policy that writes text from left to right."
        )


def check_decoder_only(config: PreTrainedConfig, name: str) -> None:
    """Refuse encoder-decoders (ValueError)."""
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder-decoder (model_type {config.model_type!r}). A PRM reads prompt and steps as one row "
            "of a decoder: choose a decoder-only policy."
        )


def check_loads_again(model: PreTrainedModel, rebuilt: PreTrainedModel) -> None:
    """Refuse a backbone that loading would not make: `rebuilt` is what AutoModel makes from its config (ValueError)."""
    name, rebuilt_name = type(model.vlm).__name__, type(rebuilt).__name__
    missing: list[str] = []
    if not getattr(model, "is_quantized", False):  # quantised weights have other names
        missing = sorted(rebuilt.state_dict().keys() - model.vlm.state_dict().keys())
    if missing or not isinstance(model.vlm, type(rebuilt)):
        lacking = f" with {len(missing)} weights that the policy lacks, first {missing[:5]}" if missing else ""
        raise ValueError(
            f"The PRM could not be loaded again: AutoModel makes a {rebuilt_name}{lacking} from the config of this "
            f"{name}. Choose a policy whose headless model is the one that AutoModel makes."
        )


def check_complete(policy: PreTrainedModel, info: dict[str, Any], path: str | os.PathLike) -> None:
    """Refuse a policy some of whose weights its checkpoint lacks (ValueError); `info` is transformers' loading info."""
    tied = getattr(policy, "all_tied_weights_keys", None) or {}
    missing = set(info["missing_keys"]) - set(tied)
    mismatched = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    incomplete = sorted(missing | mismatched)
    if not incomplete:
        return
    head = policy.get_output_embeddings()
    head_names = {name for name, value in policy.named_parameters() if head is not None and value is head.weight}
    missing_head = sorted(head_names & missing)
    if missing_head:
        raise ValueError(
            f"{str(path)!r} has no language-model head ({', '.join(missing_head)} is missing). It would be random. "
            f"Save the whole policy ({type(policy).__name__}), not the model without its head."
        )
    raise ValueError(
        f"{len(incomplete)} weights of the policy are missing or have another shape in {str(path)!r}, first "
        f"{incomplete[:5]}. They would be random. Save or download {type(policy).__name__} again, or correct its "
        "config.json."
    )


def check_is_prm(path: str | os.PathLike, **hub_kwargs: Any) -> None:
    """Refuse what is not a PRM (ValueError): loading it would make a large random model of the default backbone."""
    adapter = find_adapter_config_file(path, **hub_kwargs)
    if adapter is not None and not os.path.exists(os.path.join(path, "config.json")):
        with open(adapter, encoding="utf-8") as file:
            base = json.load(file).get("base_model_name_or_path")
        if not base:
            raise ValueError(
                f"The adapter {str(path)!r} does not name the PRM or the policy that it belongs to (PRMTrainer writes "
                "that into config.json, where it was given a path). Make the PRM again with MMPRMModel.from_policy and "
                "load the adapter with PeftModel.from_pretrained(prm, path)."
            )
        path, hub_kwargs = base, {k: v for k, v in hub_kwargs.items() if k not in ("revision", "subfolder")}
    model_type = PreTrainedConfig.get_config_dict(path, **hub_kwargs)[0].get("model_type")
    if model_type != MMPRMConfig.model_type:
        raise ValueError(
            f"{str(path)!r} is not a PRM: its model_type is {model_type!r}, expected {MMPRMConfig.model_type!r}. "
            "To start a PRM from a policy, use MMPRMModel.from_policy."
        )
