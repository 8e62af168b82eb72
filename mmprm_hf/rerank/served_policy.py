"""A policy behind a server, in the shape that transformers' `Pipeline` expects of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig

from ..engines import ChatClient, EndpointEngine, SamplingConfig


class ServedPolicy:
    """A policy that an OpenAI-compatible server runs (vLLM, SGLang, `transformers serve`, ...).

    Args:
        url: Address of the server.
        model: The policy's name there; None takes the only one.
        api_key: Bearer token; None sends none.
        prefill: How a guided search shows the server the steps so far, see `EndpointEngine`.
        timeout_seconds: The most time that one attempt at a request may take.
        template_options: More variables of the chat template, such as ``{"enable_thinking": False}``; sent as
            `chat_template_kwargs`, which vLLM and SGLang read. None for none.

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
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        prefill: str = "auto",
        timeout_seconds: float = 600.0,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self.model, self.prefill = url, model, prefill
        self._connection = {"api_key": api_key, "prefill": prefill, "timeout_seconds": timeout_seconds}
        extra_body = {"chat_template_kwargs": dict(template_options)} if template_options else None
        self.chat = ChatClient(url, model, api_key=api_key, timeout_seconds=timeout_seconds, extra_body=extra_body)

    def with_template_options(self, template_options: Mapping[str, Any]) -> ServedPolicy:
        """Return the same policy with other variables of the chat template."""
        return ServedPolicy(self.url, self.model, template_options=template_options, **self._connection)

    def engine(self, sampling: SamplingConfig, **options: Any) -> EndpointEngine:
        """Return an engine with these settings; `options` are those of `EndpointEngine`."""
        return EndpointEngine(self.chat, sampling=sampling, prefill=self.prefill, **options)

    def to(self, *_: Any) -> ServedPolicy:
        """Return itself: the server chose its device."""
        return self

    def can_generate(self) -> bool:
        """Return False: `Pipeline` must not look for generation settings here."""
        return False


def policy_or_served(model: Any, served_model: str | None = None, api_key: str | None = None) -> Any:
    """Return the policy as it is, or a `ServedPolicy` where it is given by the address of a server.

    Raises:
        ValueError: for a server's options without a server.
    """
    if isinstance(model, str) and model.startswith(("http://", "https://")):
        return ServedPolicy(model, served_model, api_key=api_key)
    if served_model is not None or api_key is not None:
        raise ValueError("served_model and api_key are for a policy behind a server: give its address as model.")
    return model
