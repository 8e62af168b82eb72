"""How a prefix of plain steps opens an assistant's turn at a server, so that the policy continues its own tokens.

Between two steps stands white space, and the server's tokenizer may join white space at the end of a text into a token
that the policy does not write there; a chat template may drop it altogether. So the turn ends with as much of it as
gives the policy's own tokens, and the policy has to write the rest.
"""

from __future__ import annotations

import dataclasses

from ..steps import StepFormat
from .chat import ChatModel, chat_messages

_STEP = "Adding the two numbers gives 5."
_QUESTION = "How much is two plus three?"


@dataclasses.dataclass(frozen=True)
class OpenTurn:
    """How much of the separator behind a prefix is shown.

    Args:
        step_format: How the prefix is written.
        rest: What of the separator the policy must write itself; "" where all of it is shown.
    """

    step_format: StepFormat
    rest: str = ""

    @classmethod
    async def of(cls, chat: ChatModel, step_format: StepFormat, system_prompt: str | None) -> OpenTurn:
        """Return the turn that keeps the policy's tokens, where the server tells them (vLLM's `/tokenize`)."""
        separator = step_format.step_separator
        if not separator or not hasattr(chat, "tokenize"):
            return cls(step_format)

        async def ids_of(turn: str) -> list[int] | None:
            return await chat.tokenize(chat_messages(_QUESTION, system_prompt, turn))

        step = step_format.render_prefix((_STEP,))
        bare = await ids_of(step.removesuffix(separator))
        whole = await ids_of(step + step_format.followers(1)[0])
        if bare is None or whole is None:
            return cls(step_format)
        for num_left in range(len(separator) + 1):
            ids = await ids_of(step[: len(step) - num_left])
            is_kept = num_left == len(separator) or ids != bare
            if ids and is_kept and whole[: len(ids)] == ids:
                return cls(step_format, separator[len(separator) - num_left :])
        return cls(step_format)

    def opened(self, rendered: str) -> str:
        """Return the text of the turn for a rendered prefix."""
        return rendered.removesuffix(self.rest)

    def continuation(self, text: str, finish_reason: str, prefix: tuple[str, ...]) -> tuple[str, str]:
        """Return what was written behind a prefix, and the finish reason: "other_prefix" where it changes the prefix.

        A sample that ends at once has written no further step. One that goes on without the rest of the separator has
        changed nothing where the format reads the same steps (a numbered one on the next line, say).
        """
        if not self.rest or not text:
            return text, finish_reason
        if text.startswith(self.rest):
            return text[len(self.rest) :], finish_reason
        steps = self.step_format.parse(self.opened(self.step_format.render_prefix(prefix)) + text).steps
        return text, finish_reason if steps[: len(prefix)] == prefix else "other_prefix"
