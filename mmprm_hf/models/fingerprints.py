"""Short hashes of what a score depends on: a model's weights and a processor's settings.

Not part of the island: checkpoints do not contain this file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from ..data import content_hash

_WEIGHTS_PER_TENSOR = 64
# No score depends on these: the dtype of each tensor is hashed anyway, and the others name classes and versions.
_SAVING_SETTINGS = {"architectures", "auto_map", "dtype", "policy", "torch_dtype", "transformers_version"}


def model_fingerprint(model: torch.nn.Module) -> str:
    """Return a hash of the model's configuration and of up to 64 evenly spaced weights of each tensor.

    It is cheap enough to be computed before each use, so that a model that is trained further gets another fingerprint.
    A change that misses every sampled weight of every tensor is not noticed. Where the weights lie changes nothing.
    """
    digest = hashlib.sha256(json.dumps(_settings(model.config.to_dict()), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.device.type == "meta":
            tensor = _offloaded(model, name)
        for part in _plain_parts(tensor.detach()):
            flat = part.flatten()
            step = max(1, flat.numel() // _WEIGHTS_PER_TENSOR)
            digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def _offloaded(model: torch.nn.Module, name: str) -> torch.Tensor:
    """The weight of this name that Accelerate keeps elsewhere until it is computed with."""
    path, _, leaf = name.rpartition(".")
    hook = model.get_submodule(path)._hf_hook
    maps = [part.weights_map for part in getattr(hook, "hooks", [hook]) if getattr(part, "weights_map", None)]
    return maps[0][leaf]


def processor_fingerprint(processor: Any) -> str:
    """Return a hash of a processor's settings, chat template, vocabulary and way of cutting text into tokens.

    A tokenizer, which stands in for the processor of a policy that reads text alone, has no settings.
    """
    settings = processor.to_dict() if hasattr(processor, "to_dict") else {}
    if "prompt_format" in settings.get("mm_prm", {}):  # hashed under its old name, so that stored scores stay valid
        settings["mm_prm"]["dialect"] = settings["mm_prm"].pop("prompt_format")
    text = json.dumps(settings, sort_keys=True, default=str)
    return content_hash(text, processor.chat_template, _tokenizer_settings(getattr(processor, "tokenizer", processor)))


def _tokenizer_settings(tokenizer: Any) -> Any:
    """What decides a text's token ids: the backend with its added tokens; without a backend, both vocabularies."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        added = {str(i): repr(token) for i, token in tokenizer.added_tokens_decoder.items()}
        return [sorted(tokenizer.get_vocab().items()), added]
    settings = json.loads(backend.to_str())
    # These two are left over from the last call, and every call of ours sets them again.
    return {name: value for name, value in settings.items() if name not in ("padding", "truncation")}


def _plain_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The ordinary tensors inside: a quantised weight consists of several (values, scales) and cannot be sliced."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in sorted(names) for part in _plain_parts(getattr(tensor, name))]


def _settings(value: Any) -> Any:
    """A configuration without private entries and without what saving adds (paths, versions, names of classes)."""
    if isinstance(value, dict):
        kept = {str(k): v for k, v in value.items() if k not in _SAVING_SETTINGS and not str(k).startswith("_")}
        return {k: _settings(v) for k, v in kept.items()}
    return value
