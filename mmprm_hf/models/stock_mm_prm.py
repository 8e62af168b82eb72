"""Questions to stock processors, tokenizers and models of transformers: loading, single tokens, names.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any

import transformers
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import is_torchvision_available

logger = logging.getLogger(__name__)


def load_policy_processor(policy: str | os.PathLike, **kwargs: Any) -> Any:
    """Return the stock processor or tokenizer behind a policy's path (ImportError if it lacks torchvision)."""
    return _load(AutoProcessor, policy, str(policy), kwargs)


def load_base_processor(
    class_name: str | None, folder: str | os.PathLike, image_backend: str | None = None, **kwargs: Any
) -> Any:
    """Return the stock processor of class `class_name` (None: a tokenizer) in a PRM's folder, or on the Hub.

    `image_backend` is the result of `image_backend_of` when it was saved: both backends save themselves under one name
    and resize differently (by up to one grey level in 128), and the Auto classes take whichever is installed.
    """
    loader = AutoTokenizer if class_name is None else getattr(transformers, class_name)
    if image_backend == "pil":
        kwargs = {"backend": "pil", **kwargs}
    elif image_backend == "torchvision" and not is_torchvision_available():
        logger.warning("%s was saved with torchvision's image processor, which is not installed here.", folder)
    return _load(loader, folder, class_name, kwargs)


def image_backend_of(base: Any) -> str | None:
    """Return what a stock processor resizes images with, "pil" or "torchvision"; None if it takes no images.

    A processor with a video processor loads with torchvision only, whatever its images were made with.
    """
    image_processor = getattr(base, "image_processor", None)
    if image_processor is None:
        return None
    is_pil = type(image_processor).__name__.endswith("Pil") and getattr(base, "video_processor", None) is None
    return "pil" if is_pil else "torchvision"


def _load(loader: Any, folder: str | os.PathLike, name: str | None, kwargs: dict[str, Any]) -> Any:
    try:
        return loader.from_pretrained(folder, **kwargs)
    except (AttributeError, ImportError, ValueError) as error:
        # What transformers raises depends on where it first misses torchvision; some errors name the video processor.
        if is_torchvision_available() or not any(word in str(error).lower() for word in ("video", "torchvision")):
            raise
        raise ImportError(
            f"The stock processor {name!r} needs torchvision, which is not installed ({error}). "
            "Install the torchvision that belongs to your torch (`pip install torchvision`). Families without a "
            "video processor, such as LLaVA, LLaVA-NeXT, Idefics3, PaliGemma and Gemma 3, work without it."
        ) from error


def cache_argument(model: Any) -> str:
    """Return the name of a model's key-value cache: "cache" since transformers 5.24, "past_key_values" before."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def tokenizer_of(base: Any) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a stock processor, or the tokenizer itself."""
    return base if isinstance(base, PreTrainedTokenizerBase) else base.tokenizer


def single_token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of a token (ValueError unless it is exactly one entry of the vocabulary)."""
    vocab = tokenizer.get_vocab()
    if token in vocab:
        return vocab[token]
    ids = tokenizer.encode(token, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"Token {token!r} is {len(ids)} ids of the tokenizer ({ids}), expected exactly one known id. "
            "Choose another token, or add it to the vocabulary."
        )
    return ids[0]


def control_tokens_of(base: Any, tokenizer: PreTrainedTokenizerBase, marker_token: str) -> tuple[str, ...]:
    """Return the texts that questions and steps must not contain."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {marker_token, getattr(base, "image_token", None) or marker_token}
    return tuple(sorted(token for token in special if token.strip()))
