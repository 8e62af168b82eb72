"""One base, two roles: a PRM that is an adapter with a head on the policy's own weights shares them with the policy.

The adapter lies inside the policy's modules. Each of the two models, when it is called, switches it for itself: off for
the policy, on for the PRM. So both give what two separate models give, out of one set of weights. They cannot run at
the same time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from ..files import read_json, write_json
from ..models import MMPRMModel, MMPRMProcessor, backbone_of, start_of_adapter


def adapter_config(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the adapter configuration of a folder or hub id, with the PRM that it was trained on as its base.

    None if there is no adapter. An adapter that was trained on a policy has no base; it names its own folder there.
    """
    file, start = find_adapter_config_file(path), start_of_adapter(path)
    if file is None or start is None:
        return None if file is None else read_json(Path(file))
    return {**read_json(Path(file)), "base_model_name_or_path": start if _is_prm(start) else None}


def _is_prm(path: str) -> bool:
    """Whether a folder or hub id holds a PRM; False for a folder that is not there."""
    if os.path.isabs(path) and not os.path.isdir(path):
        return False
    return PreTrainedConfig.get_config_dict(path)[0].get("model_type") == MMPRMModel.config_class.model_type


class SharedBase:
    """A policy and a PRM on one set of weights, and whose turn it is.

    Make it with `share_base`. From then on a call of `policy` runs without the PRM's adapter, a call of `prm` with it.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        adapted: Any,
        embeddings: torch.Tensor,
        num_embeddings: int,
        marker_row: torch.Tensor | None,
        adapter: str | os.PathLike,
    ) -> None:
        self.policy, self.prm = policy, adapted.get_base_model()
        self._adapted, self._adapter, self._is_prm_turn = adapted, adapter, True
        self._embeddings = embeddings
        self._num_embeddings, self._marker_row = num_embeddings, marker_row  # those that the policy had
        policy.register_forward_pre_hook(lambda *_: self._take_turn(False))
        self.prm.register_forward_pre_hook(lambda *_: self._take_turn(True))

    def _take_turn(self, is_prm: bool) -> None:
        if self._is_prm_turn == is_prm:
            return
        if is_prm:
            self._adapted.base_model.enable_adapter_layers()
            self._adapted.set_requires_grad(self._adapted.active_adapters, False)  # peft trains what it enables
        else:
            self._adapted.base_model.disable_adapter_layers()
        self._is_prm_turn = is_prm

    def save_policy(self, folder: str | os.PathLike) -> None:
        """Save the policy as it was before: its own weights and names, with its own marker row or none."""
        from peft import get_base_model_state_dict

        backbone = backbone_of(self.policy)
        prefix = next(name for name, module in self.policy.named_modules() if module is backbone) + "."
        weights = {name: tensor for name, tensor in self.policy.state_dict().items() if not name.startswith(prefix)}
        for name, tensor in get_base_model_state_dict(self._adapted).items():
            if name.startswith("vlm."):  # the PRM's name for the backbone
                weights[prefix + name.removeprefix("vlm.")] = tensor
        for name, tensor in weights.items():
            if tensor.data_ptr() == self._embeddings.data_ptr():
                weights[name] = tensor[: self._num_embeddings].clone()
                if self._marker_row is not None:
                    weights[name][self.prm.config.marker_token_id] = self._marker_row
        self.policy.save_pretrained(folder, state_dict=weights)

    def save_adapter(self, folder: Path) -> None:
        """Save the PRM's adapter, whose base is the policy wherever both are moved.

        An adapter that leaves the head or the marker's row to the PRM that it was trained on still names that PRM.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config = adapter_config(self._adapter)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            source = cached_file(self._adapter, name)
            if not (folder / name).exists() or not os.path.samefile(source, folder / name):
                shutil.copyfile(source, folder / name)
        if "score" in (config.get("modules_to_save") or ()) and _has_row(config, self.prm.config.marker_token_id):
            config["base_model_name_or_path"] = None
        write_json(folder / "adapter_config.json", config)


def share_base(policy: PreTrainedModel, adapter: str | os.PathLike, processor: MMPRMProcessor) -> SharedBase | None:
    """Return the PRM of an adapter on the policy's own weights, none of them copied.

    Args:
        policy: The policy in memory, which carries the adapter from then on: save it by `SharedBase.save_policy`. A
            marker that it did not know gets a row in its token embeddings.
        adapter: Folder or hub id of the adapter.
        processor: The PRM's processor.

    Returns:
        None if the policy carries an adapter already, or is not the adapter's base: the base is the policy that the
        adapter names (`PRMTrainer` started from a policy), any policy if it names nothing, or a PRM whose backbone
        equals the policy's number by number except for the marker's row (it is loaded for that, and let go).

    Raises:
        ValueError: if `adapter` holds no adapter, or names no base and the policy carries an adapter already.
    """
    config = adapter_config(adapter)
    if config is None:
        raise ValueError(f"{str(adapter)!r} holds no adapter_config.json. Only an adapter can share the policy's base.")
    base = config.get("base_model_name_or_path") or None
    start = start_of_adapter(adapter)
    if start is not None and base is None and not _is_same_path(start, policy.name_or_path):
        return None
    if _carries_adapter(policy):
        if base is not None:
            return None
        raise ValueError(
            "The policy carries an adapter already, such as that of another pipeline, and cannot be shared once more. "
            "Load the policy again: give its path instead of the model."
        )
    from peft import PeftModel

    marker, is_trained = processor.marker_token_id, {p: p.requires_grad for p in policy.parameters()}
    rows = policy.get_input_embeddings().weight
    num_embeddings, vocab_size = len(rows), policy.config.get_text_config().vocab_size
    marker_row = rows[marker].detach().clone() if marker < num_embeddings else None
    is_tied = policy.get_output_embeddings().weight.data_ptr() == rows.data_ptr()
    prm = _prm_on(policy, base, adapter, processor)
    if prm is None:
        return None
    policy.config.get_text_config().vocab_size = vocab_size  # a row for the marker concerns the PRM alone
    embeddings = prm.to(policy.device).get_input_embeddings().weight
    adapted = PeftModel.from_pretrained(prm, adapter)  # puts the adapter into the modules of `prm`
    for parameter, requires_grad in is_trained.items():  # peft froze them
        parameter.requires_grad_(requires_grad)
    if is_tied:
        _keep_output_rows(policy, embeddings[:num_embeddings], marker, marker_row, _has_row(config, marker))
    prm.eval()
    return SharedBase(policy, adapted, embeddings, num_embeddings, marker_row, adapter)


def _is_same_path(first: str, second: str) -> bool:
    """Whether two paths or hub ids name the same model."""
    if os.path.isdir(first) and os.path.isdir(second):
        return os.path.samefile(first, second)
    return first == second


def _carries_adapter(policy: PreTrainedModel) -> bool:
    from peft import get_layer_status

    try:
        return bool(get_layer_status(policy))
    except ValueError:  # peft finds no layer of an adapter
        return False


def _prm_on(
    policy: PreTrainedModel, base: str | None, adapter: str | os.PathLike, processor: MMPRMProcessor
) -> MMPRMModel | None:
    """The PRM without its adapter on the policy's backbone; None if the adapter's base is another model."""
    if base is None:
        return MMPRMModel.from_policy(policy, processor, _head_type(adapter), share_backbone=True)
    if not _is_prm(base):
        return None
    prm = MMPRMModel.from_pretrained(base, dtype=policy.dtype)
    return prm if _move_onto(prm, backbone_of(policy)) else None


def _has_row(config: dict[str, Any], row: int) -> bool:
    """Whether an adapter of this configuration brings its own row of the token embeddings."""
    return any(row in rows for rows in (config.get("trainable_token_indices") or {}).values())


def _head_type(adapter: str | os.PathLike) -> str:
    """The type of the head that is saved with an adapter; that of a new PRM where none is."""
    file = cached_file(adapter, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False)
    if file is None:
        return "two_token"
    with safe_open(file, "pt") as weights:
        names = [name for name in weights.keys() if ".score." in name]  # noqa: SIM118 (not a dict)
        shapes = {name.partition(".score.")[2]: weights.get_slice(name).get_shape() for name in names}
    if "weight" not in shapes:
        return "mlp" if shapes else "two_token"
    return "sigmoid" if shapes["weight"][0] == 1 else "two_token"


@torch.no_grad()
def _keep_output_rows(
    policy: PreTrainedModel, rows: torch.Tensor, marker: int, marker_row: torch.Tensor | None, adapter_has_row: bool
) -> None:
    """Give a head that is tied to the token embeddings the rows that it had: the policy never writes the PRM's marker.

    They are copied only where the PRM reads a marker's row in place of the policy's.
    """
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
            compared = [index for index in range(min(len(tensor), len(other))) if index != marker]
            if tensor.shape[1:] != other.shape[1:] or not torch.equal(tensor[compared], other[compared]):
                return False
        elif tensor.shape != other.shape or not torch.equal(tensor, other):
            return False
    if len(rows) > len(backbone.get_input_embeddings().weight):
        backbone.resize_token_embeddings(len(rows), mean_resizing=False)
    shared_rows = backbone.get_input_embeddings().weight
    shared_rows[marker] = rows[marker].to(shared_rows)
    prm.vlm = backbone
    return True
