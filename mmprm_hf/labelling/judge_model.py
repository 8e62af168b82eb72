"""What the chat judges of answers and of steps have in common: one greedy question, one reply, a count of its cost.

This module must not know what the replies mean.
"""

from __future__ import annotations

import collections
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..data import content_hash
from ..engines import ChatModel
from ..errors import RequestRefusedError


class JudgeModel:
    """A chat model that is asked for verdicts, greedily, and whose cost is counted by problem.

    Args:
        chat: The model.
        prompt: The template of all questions; its hash is part of `identity`.
        max_new_tokens: The most tokens of a reply.
        role: "judge" or "step_judge", the first part of the counters' names in `usage`.
    """

    def __init__(self, chat: ChatModel, prompt: str, max_new_tokens: int, role: str) -> None:
        self._chat, self._max_new_tokens, self._role = chat, max_new_tokens, role
        self.identity: dict[str, Any] = {
            "model": chat.identity,
            "prompt": content_hash(prompt),
            "max_new_tokens": max_new_tokens,
        }
        self.usage: dict[str, Counter[str]] = collections.defaultdict(Counter)

    async def prepare(self) -> None:
        """Let the client find out which model it talks to, so that `identity` names it."""
        if hasattr(self._chat, "prepare"):
            await self._chat.prepare()

    async def ask(self, problem_id: str, content: str | Sequence[dict[str, Any]]) -> str | None:
        """Return the reply to one question; None if the server refuses the question or cuts the reply.

        Raises:
            EngineUnavailableError: if the server is gone. The call is not counted.
        """
        reply = None
        with contextlib.suppress(RequestRefusedError):
            reply = await self._chat.complete(
                [{"role": "user", "content": content}], max_new_tokens=self._max_new_tokens, temperature=0.0
            )
        usage = self.usage[problem_id]
        usage[f"{self._role}_calls"] += 1
        if reply is None:
            return None
        (choice,) = reply.choices
        usage[f"{self._role}_tokens_in"] += reply.num_prompt_tokens
        usage[f"{self._role}_tokens_out"] += choice.num_tokens
        return choice.text if choice.finish_reason == "stop" else None
