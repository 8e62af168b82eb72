"""Configuration of the process reward model: a backbone's config plus what its step scores depend on.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

HEAD_TYPES = ("two_token", "mlp", "sigmoid")


@strict
class MMPRMConfig(PreTrainedConfig):
    """Configuration of `MMPRMModel`: any backbone, a step marker, a head read at the marker's position.

    Args:
        vlm_config: The backbone's own config (vision-language or text decoder), an object or a dict with `model_type`.
        head_type: "two_token": one linear map from the hidden state to the logits [positive, negative].
            "mlp": linear, ReLU, linear to the same two logits. "sigmoid": one linear map to one logit, whose sigmoid
            is the score.
        head_bias: Whether the linear head has a bias (as the policy's language-model head); the MLP always has.
        logit_softcap: The logits become ``cap * tanh(logits / cap)``, as in policies that bound theirs (Gemma 2);
            None leaves them.
        marker_token: Text of the step marker.
        marker_token_id: Its token id; every position that holds this id is scored.
        positive_token: Token whose language-model row starts the head's first row.
        negative_token: Token whose language-model row starts the head's second row.
        initializer_range: Standard deviation of a head that is not started from a policy.

    Raises:
        ValueError: if `head_type` is unknown.

    Example:
        >>> from transformers import LlamaConfig
        >>> MMPRMConfig(vlm_config=LlamaConfig(hidden_size=32), marker_token_id=7).get_text_config().hidden_size
        32
    """

    model_type = "mm_prm"
    sub_configs_defaults = {"vlm_config": SubConfigSpec(config_class=AutoConfig, model_type="llava")}
    _auto_class = "AutoConfig"

    vlm_config: dict | PreTrainedConfig | None = None
    head_type: str = "two_token"
    head_bias: bool = False
    logit_softcap: float | None = None
    marker_token: str = "<prm>"
    marker_token_id: int | None = None
    positive_token: str = "Yes"
    negative_token: str = "No"
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.head_type not in HEAD_TYPES:
            raise ValueError(f"Found head_type {self.head_type!r}, expected one of {HEAD_TYPES}.")

    def get_text_config(self, *args, **kwargs) -> PreTrainedConfig:
        """The backbone's text config."""
        return self.vlm_config.get_text_config(*args, **kwargs)


__all__ = ["HEAD_TYPES", "MMPRMConfig"]
