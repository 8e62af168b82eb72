"""A chat model as the engine and the judges see it. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class ChatChoice:
    """One answer.

    Args:
        text: Its text; where the server tells a thought from the answer, with the thought in tags before it.
        finish_reason: "stop" or "length".
        num_tokens: The tokens generated; 0 where the server does not count them.
        stopped_at: The stop string that ended it; "" for a natural end, None where the server does not tell.
    """

    text: str
    finish_reason: str
    num_tokens: int = 0
    stopped_at: str | None = None


@dataclasses.dataclass(frozen=True)
class ChatReply:
    """The answers to one request, exactly as many as were asked for, and the tokens of its prompt (0: not counted)."""

    choices: tuple[ChatChoice, ...]
    num_prompt_tokens: int = 0


def chat_messages(
    content: str | list[dict[str, Any]], system_prompt: str | None = None, assistant_turn: str | None = None
) -> list[dict[str, Any]]:
    """Return messages in the OpenAI form: a user turn, perhaps between a system turn and an assistant turn."""
    turns = (("system", system_prompt), ("user", content), ("assistant", assistant_turn))
    return [{"role": role, "content": text} for role, text in turns if text is not None]


class ChatModel(Protocol):
    """Answers messages in the OpenAI form, one sample per seed; `EngineUnavailableError` where it cannot any more."""

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
