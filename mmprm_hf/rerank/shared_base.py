"""One base, two roles: a PRM that is an adapter with a head on the policy's own weights shares them with the policy.

The adapter lies inside the policy's modules. Each of the two models, when it is called, switches it for itself: off for
the policy, on for the PRM. So both give what two separate models give, out of one set of weights. They cannot run at
the same time.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from ..files import write_json
from ..models import MMPRMModel, MMPRMProcessor, backbone_of


def adapter_config(path: str | os.PathLike, **hub_kwargs: Any) -> dict[str, Any] | None:
    """The adapter configuration of a folder or hub id; None if it holds a whole model."""
    found = find_adapter_config_file(path, **hub_kwargs)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


class SharedBase:
    """A policy and a PRM on one set of weights, and whose turn it is.

    Make it with `share_base`. From then on a call of `policy` runs without the PRM's adapter, a call of `prm` with it.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        prm: MMPRMModel,
        num_embeddings: int,
        marker_row: torch.Tensor | None,
        adapter: str | os.PathLike,
    ) -> None:
        self.policy, self.prm, self._adapter = policy, prm, adapter
        self._num_embeddings, self._marker_row = num_embeddings, marker_row  # what the policy had
        self._adapted = _adapter_layers(policy)
        self._is_prm_turn = True
        policy.register_forward_pre_hook(lambda *_: self._take_turn(False))
        prm.register_forward_pre_hook(lambda *_: self._take_turn(True))

    def _take_turn(self, is_prm: bool) -> None:
        if self._is_prm_turn != is_prm:
            for module in self._adapted:
                module.enable_adapters(is_prm)
                module.requires_grad_(False)  # peft makes trainable what it enables
            self._is_prm_turn = is_prm

    def save_policy(self, folder: str | os.PathLike) -> None:
        """The policy as it was before: its own weights under their own names, with its own marker row or none."""
        rows = _unwrapped(self.policy.get_input_embeddings()).weight
        weights: dict[str, torch.Tensor] = {}
        for name, tensor in self.policy.state_dict().items():
            if "lora_" in name or "trainable_tokens_" in name or ".modules_to_save." in name:
                continue
            if tensor.data_ptr() == rows.data_ptr():
                tensor = tensor[: self._num_embeddings].clone()
                if self._marker_row is not None:
                    tensor[self.prm.config.marker_token_id] = self._marker_row
            for part in (".token_adapter.base_layer.", ".base_layer.", ".original_module."):
                name = name.replace(part, ".")
            weights[name] = tensor
        self.policy.save_pretrained(folder, state_dict=weights)

    def save_adapter(self, folder: Path) -> None:
        """The PRM's adapter, whose base is the policy wherever both are moved.

        An adapter that leaves the head or the marker's row to the PRM that it was trained on goes on naming that one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            source = cached_file(self._adapter, name)
            if not (folder / name).exists() or not os.path.samefile(source, folder / name):
                shutil.copyfile(source, folder / name)
        config = adapter_config(folder)
        if "score" in (config.get("modules_to_save") or ()) and _has_row(config, self.prm.config.marker_token_id):
            write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": None})


def share_base(policy: PreTrainedModel, adapter: str | os.PathLike, processor: MMPRMProcessor) -> SharedBase | None:
    """The PRM of an adapter on the policy's own weights, none of them copied.

    Args:
        policy: The policy in memory, which from then on carries the adapter: save it by `SharedBase.save_policy`. A
            marker that it did not know gets a row in its token embeddings.
        adapter: Folder or hub id of the adapter.
        processor: The PRM's processor.

    Returns:
        None if the policy carries an adapter already, or the adapter's base is another one than the policy: it is the
        policy if the adapter names none (`PRMTrainer` started from a policy), or a PRM whose backbone equals the
        policy's number by number, but for the marker's row (it is loaded for that, and let go).

    Raises:
        ValueError: if `adapter` holds no adapter, or names no base and the policy carries an adapter already.
    """
    config = adapter_config(adapter)
    if config is None:
        raise ValueError(f"{str(adapter)!r} holds no adapter_config.json. Only an adapter can share the policy's base.")
    base = config.get("base_model_name_or_path") or None
    if _adapter_layers(policy):
        if base is not None:
            return None
        raise ValueError(
            "The policy carries an adapter already, such as that of another pipeline, and cannot be shared once more. "
            "Load the policy again: give its path instead of the model."
        )
    text_config, marker = policy.config.get_text_config(), processor.marker_token_id
    rows, vocab_size = policy.get_input_embeddings().weight, text_config.vocab_size
    num_embeddings = len(rows)
    marker_row = rows[marker].detach().clone() if marker < num_embeddings else None
    is_tied = policy.get_output_embeddings().weight.data_ptr() == rows.data_ptr()
    is_trained = {parameter: parameter.requires_grad for parameter in policy.parameters()}
    if base is None:
        prm = MMPRMModel.from_policy(policy, processor, _head_type(adapter), share_backbone=True)
    else:
        if AutoConfig.from_pretrained(base).model_type != MMPRMModel.config_class.model_type:
            return None
        prm = MMPRMModel.from_pretrained(base, dtype=policy.dtype)
        if not _move_onto(prm, backbone_of(policy)):
            return None
    text_config.vocab_size = vocab_size  # a row for the marker is the PRM's matter
    prm.to(policy.device)
    from peft import PeftModel

    PeftModel.from_pretrained(prm, adapter)  # puts the adapter into the modules of `prm`, which stays the model to call
    for parameter, requires_grad in is_trained.items():  # peft froze them
        parameter.requires_grad_(requires_grad)
    if is_tied:
        _keep_output_rows(policy, num_embeddings, marker, marker_row, _has_row(config, marker))
    return SharedBase(policy, prm.eval(), num_embeddings, marker_row, adapter)


def _adapter_layers(policy: PreTrainedModel) -> list[nn.Module]:
    """What peft has put into a policy's backbone."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    wrapped = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return [module for module in backbone_of(policy).modules() if isinstance(module, wrapped)]


def _has_row(config: dict[str, Any], row: int) -> bool:
    """True if an adapter of this configuration brings its own row of the token embeddings."""
    return any(row in rows for rows in (config.get("trainable_token_indices") or {}).values())


def _head_type(adapter: str | os.PathLike) -> str:
    """The type of the head that is saved with an adapter; that of a new PRM where none is."""
    file = cached_file(adapter, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False)
    if file is None:
        return "two_token"
    with safe_open(file, "pt") as weights:
        names = [name for name in weights.keys() if ".score." in name]  # noqa: SIM118 (no dict)
        shapes = {name.partition(".score.")[2]: weights.get_slice(name).get_shape() for name in names}
    if "weight" not in shapes:
        return "mlp" if shapes else "two_token"
    return "sigmoid" if shapes["weight"][0] == 1 else "two_token"


@torch.no_grad()
def _keep_output_rows(
    policy: PreTrainedModel, num_embeddings: int, marker: int, marker_row: torch.Tensor | None, adapter_has_row: bool
) -> None:
    """Give a head that is tied to the token embeddings the rows that it had: the PRM's marker is no word to write.

    They are copied only where the PRM reads a marker's row in place of the policy's.
    """
    rows = _unwrapped(policy.get_input_embeddings()).weight[:num_embeddings]
    if marker_row is not None and not torch.equal(rows[marker], marker_row):
        rows = rows if adapter_has_row else rows.clone()
        rows[marker] = marker_row
    policy.get_output_embeddings().weight = nn.Parameter(rows, requires_grad=False)


@torch.no_grad()
def _move_onto(prm: MMPRMModel, backbone: PreTrainedModel) -> bool:
    """Put a PRM's head on another backbone with the same weights; False if they are not the same.

    The marker's row may differ, which the policy never reads; the backbone gets it.
    """
    ours, theirs = prm.vlm.state_dict(), backbone.state_dict()
    if ours.keys() != theirs.keys():
        return False
    rows, marker = prm.get_input_embeddings().weight, prm.config.marker_token_id
    for name, tensor in ours.items():
        other = theirs[name].to(tensor.device)
        if tensor.data_ptr() == rows.data_ptr():
            known = [index for index in range(min(len(tensor), len(other))) if index != marker]
            if tensor.shape[1:] != other.shape[1:] or not torch.equal(tensor[known], other[known]):
                return False
        elif tensor.shape != other.shape or not torch.equal(tensor, other):
            return False
    if len(rows) > backbone.get_input_embeddings().weight.shape[0]:
        backbone.resize_token_embeddings(len(rows), mean_resizing=False)
    known_rows = backbone.get_input_embeddings().weight
    known_rows[marker] = rows[marker].to(known_rows)
    prm.vlm = backbone
    return True


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside what an adapter put around it."""
    for name in ("token_adapter", "base_layer"):
        module = getattr(module, name, module)
    return module


__all__ = ["SharedBase", "adapter_config", "share_base"]
