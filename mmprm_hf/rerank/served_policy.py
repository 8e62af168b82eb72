"""A policy behind a server, in the shape that transformers' `Pipeline` expects of a model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig

from ..engines import ChatClient, EndpointEngine, SamplingConfig
from ..steps import StepFormat

NO_SERVER = "served_model and api_key are for a policy behind a server: give its address as model."
"""What a local policy with a server's options is refused with."""


def is_url(model: Any) -> bool:
    """True for the address of a server."""
    return isinstance(model, str) and model.startswith(("http://", "https://"))


class ServedPolicy:
    """A policy that an OpenAI-compatible server runs (vLLM, SGLang, `transformers serve`, ...).

    Args:
        url: Address of the server.
        model: The policy's name there; None takes its only model.
        api_key: Bearer token.
        prefill: How a guided search shows the server what is written so far, see `EndpointEngine`.

    Example:
        >>> pipeline("generate-and-rerank", model=ServedPolicy("http://127.0.0.1:8000"), prm=prm)  # doctest: +SKIP
    """

    # What `Pipeline` asks of any model.
    config = PreTrainedConfig()
    device = torch.device("cpu")
    dtype = None
    input_modalities = ("image", "text")
    output_modalities = ("text",)
    generation_config = None

    def __init__(
        self, url: str, model: str | None = None, *, api_key: str | None = None, prefill: str = "auto"
    ) -> None:
        self.url, self.model, self.prefill = url, model, prefill
        self.chat = ChatClient(url, model, api_key=api_key)

    def engine(
        self, sampling: SamplingConfig, step_format: StepFormat, system_prompt: str | None = None
    ) -> EndpointEngine:
        """An engine with these settings."""
        return EndpointEngine(
            self.chat, sampling=sampling, step_format=step_format, prefill=self.prefill, system_prompt=system_prompt
        )

    def to(self, *_: Any) -> ServedPolicy:
        """Itself: the server chose its device."""
        return self

    def can_generate(self) -> bool:
        """False: `Pipeline` must not look for generation settings here."""
        return False


__all__ = ["NO_SERVER", "ServedPolicy", "is_url"]
