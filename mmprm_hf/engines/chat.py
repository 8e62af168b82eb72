"""What a chat model behind a server answers, as the engine and the judge see it.

Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class ChatChoice:
    """One answer: its text, "stop" or "length", and the tokens generated (0 where the server does not say)."""

    text: str
    finish_reason: str
    num_tokens: int = 0


@dataclasses.dataclass(frozen=True)
class ChatReply:
    """The answers to one request, exactly as many as were asked for, and the tokens of its prompt (0: not said)."""

    choices: tuple[ChatChoice, ...]
    num_prompt_tokens: int = 0


class ChatModel(Protocol):
    """A chat model: messages in the OpenAI form, one seed per sample; raises `EngineUnavailableError` for good."""

    identity: dict[str, Any]

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        seeds: Sequence[int] = (0,),
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 512,
        stop_strings: Sequence[str] = (),
        continue_final_message: bool = False,
    ) -> ChatReply: ...
