"""Configuration of the process reward model: the backbone's config and what its step scores depend on.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

HEAD_TYPES = ("two_token", "mlp", "sigmoid")

# What other libraries read from a model's config: DeepSpeed's "auto", Accelerate's plugins, peft, servers.
_OF_THE_DECODER = (
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rope_parameters",
    "sliding_window",
    "vocab_size",
)
_OF_THE_BACKBONE = ("audio_config", "image_token_id", "image_token_index", "video_token_id", "vision_config")


@strict
class MMPRMConfig(PreTrainedConfig):
    """Configuration of `MMPRMModel`: any backbone, a step marker, and a head that reads the marker's position.

    Sizes of the decoder (`hidden_size`, `num_hidden_layers`, `vocab_size`, ...), `text_config` and `vision_config` are
    read from the backbone's config and not saved twice.

    Args:
        vlm_config: The backbone's own config (vision-language model or text decoder): an object, or a dict with
            `model_type`.
        head_type: "two_token" is one linear map from the hidden state to the logits [positive, negative]. "mlp" is
            linear, ReLU, linear to the same two logits. "sigmoid" is one linear map to one logit, whose sigmoid is the
            score.
        head_bias: Whether the linear head has a bias, as some language-model heads have. The MLP always has one.
        logit_softcap: The logits become ``cap * tanh(logits / cap)``, as in policies that bound their logits
            (Gemma 2). None leaves them as they are.
        marker_token: Text of the step marker.
        marker_token_id: Token id of the step marker; every position with this id is scored.
        positive_token: Token whose language-model row initialises the head's first row.
        negative_token: Token whose language-model row initialises the head's second row.
        initializer_range: Standard deviation of a head that is not initialised from a policy.
        policy: Where only an adapter is saved: the policy or PRM that it was trained on, a hub id or a path relative to
            the folder. None for a PRM that is saved whole.

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
    policy: str | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.head_type not in HEAD_TYPES:
            raise ValueError(f"Unknown head_type {self.head_type!r}. Choose one of {', '.join(HEAD_TYPES)}.")

    def __getattr__(self, name: str) -> Any:  # called for names that are nowhere else
        if name == "text_config":
            return self.get_text_config()
        if name in _OF_THE_DECODER:
            return getattr(self.get_text_config(), name)
        if name in _OF_THE_BACKBONE:
            return getattr(self.vlm_config, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_text_config(self, *args, **kwargs) -> PreTrainedConfig:
        """Return the config of the backbone's text decoder."""
        return self.vlm_config.get_text_config(*args, **kwargs)
