"""Short hashes of what a result depends on: a model's weights, a processor's settings, a problem's text and pixels."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from ..data import content_hash

_WEIGHTS_PER_TENSOR = 64
# No score depends on these: each tensor's own dtype is hashed, and the others name classes and versions.
_SAVING_SETTINGS = {"architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"}


def model_fingerprint(model: torch.nn.Module) -> str:
    """Hash of the model's configuration and of up to 64 evenly spaced weights of each tensor.

    Cheap enough to take anew before each use, so that a model that was trained on in between is another model. A
    change that misses every sampled weight of every tensor is not seen.
    """
    digest = hashlib.sha256(json.dumps(_settings(model.config.to_dict()), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        for part in _plain_parts(tensor.detach()):
            flat = part.flatten()
            step = max(1, flat.numel() // _WEIGHTS_PER_TENSOR)
            digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def processor_fingerprint(processor: Any) -> str:
    """Hash of a PRM processor's settings, chat template, vocabulary and way of cutting text into tokens."""
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    return content_hash(settings, processor.chat_template, _tokenizer_settings(processor.tokenizer))


def _tokenizer_settings(tokenizer: Any) -> Any:
    """What decides a text's token ids: the backend with its added tokens; of others, both vocabularies."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        added = {str(i): repr(token) for i, token in tokenizer.added_tokens_decoder.items()}
        return [sorted(tokenizer.get_vocab().items()), added]
    settings = json.loads(backend.to_str())
    # Left there by the last call; every call of ours sets them anew.
    return {name: value for name, value in settings.items() if name not in ("padding", "truncation")}


def _plain_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The ordinary tensors inside: a quantised weight is a tensor of several (values, scales), which cannot be cut."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in sorted(names) for part in _plain_parts(getattr(tensor, name))]


def _settings(value: Any) -> Any:
    """A configuration without private entries and what saving writes into it (paths, versions, names of classes)."""
    if isinstance(value, dict):
        kept = {str(k): v for k, v in value.items() if k not in _SAVING_SETTINGS and not str(k).startswith("_")}
        return {k: _settings(v) for k, v in kept.items()}
    return value


__all__ = ["model_fingerprint", "processor_fingerprint"]
