"""Loads a policy: a model that writes text, behind figures or not, and what encodes its inputs."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def reads_figures(config: Any) -> bool:
    """Return whether a policy with this configuration is loaded as image-text-to-text."""
    custom = getattr(config, "auto_map", None) or {}
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or "AutoModelForImageTextToText" in custom


def load_policy(name: str | os.PathLike[str], **kwargs: Any) -> tuple[Any, Any]:
    """Return a policy and its processor, or its tokenizer where it reads text alone.

    Args:
        name: Path or hub id.
        **kwargs: For the model's `from_pretrained`.
    """
    name = os.fspath(name)
    config = AutoConfig.from_pretrained(name)
    if reads_figures(config):
        return AutoModelForImageTextToText.from_pretrained(name, **kwargs), AutoProcessor.from_pretrained(name)
    return AutoModelForCausalLM.from_pretrained(name, **kwargs), AutoTokenizer.from_pretrained(name)
