"""Rollout engines: what writes text. One async method, ``generate(requests) -> rollouts``, order kept.

Importing this room imports nothing heavy: torch, transformers, HTTP clients and Pillow wait inside the code that needs
them.
"""

from .chat_client import ChatClient, RequestRefusedError
from .endpoint import EndpointEngine
from .in_process import TransformersEngine
from .requests import EngineUnavailableError, ProblemInputError, RolloutEngine, RolloutRequest, SamplingConfig
from .scripted import ScriptedEngine

__all__ = [
    "ChatClient",
    "EndpointEngine",
    "EngineUnavailableError",
    "ProblemInputError",
    "RequestRefusedError",
    "RolloutEngine",
    "RolloutRequest",
    "SamplingConfig",
    "ScriptedEngine",
    "TransformersEngine",
]
