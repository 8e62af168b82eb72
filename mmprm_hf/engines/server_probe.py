"""Asks a server whether it continues an assistant's turn that is left open; many ignore the fields that ask for it.

A server that ignores them closes the turn and starts a new one. Its answers look right, but every estimate after a
prefix would be that of another question.
"""

from __future__ import annotations

import dataclasses
import re

from ..errors import EngineUnavailableError, RequestRefusedError
from ..steps import StepFormat
from .chat import ChatModel, ChatReply, chat_messages
from .requests import SamplingConfig

NUM_PROBE_TOKENS = 16
PROBE_QUESTION = "How much is two plus three?"
# No blank at its end: templates strip it, and some servers then miss the text that they are to continue.
_HALF_STEP = "Adding the two numbers"
_ONE_TOKEN = "The"  # in practically every vocabulary
_ROLE = re.compile(r"^(assistant|model|bot|ai)\s+", re.IGNORECASE)
_IGNORED = "it answers as if the opened turn were closed and a new one begun"


class ServerProbe:
    """Short questions to a chat model, in the form of the engine's own requests and without figures.

    Args:
        chat: The model.
        sampling: Sent as in real requests, except for the number of tokens.
        step_format: How the policy writes steps; None where that is not known yet.
        system_prompt: Text of a system turn; None for no such turn.
    """

    def __init__(
        self, chat: ChatModel, sampling: SamplingConfig, step_format: StepFormat | None, system_prompt: str | None
    ) -> None:
        self._chat, self._sampling = chat, sampling
        self._opening = "" if step_format is None else step_format.opening
        self._half_step = self._opening + _HALF_STEP
        self._system_prompt = system_prompt

    async def check(self) -> int:
        """Ask a question; return the number of tokens of its prompt, 0 if the server does not count them.

        Raises:
            EngineUnavailableError: if the server is gone or would refuse every request.
        """
        try:
            return (await self._ask(None)).num_prompt_tokens
        except RequestRefusedError as error:
            optional = [name for name in ("top_k", "stop_strings") if getattr(self._sampling, name)]
            names = ", ".join(["seed", "temperature", "top_p", *optional])
            raise EngineUnavailableError(
                f"The server refuses even a short question without figures, with HTTP {error.status}: {error.message}. "
                "It would refuse every problem. Check the model's name, the system prompt, the client's extra_body, "
                f"and whether the server knows what was sent ({names}); then start again."
            ) from error

    async def continuation_obstacle(self, num_question_tokens: int) -> str | None:
        """Return why the server cannot continue an opened turn, or None if it can.

        Two signs decide: a turn that is left open has a shorter prompt than the same turn closed and followed by a new
        one, and what continues a half-written step does not open another. Where they disagree (a server that continues
        the last turn unasked; a policy that writes anything), an open turn of one token must lengthen the question by
        no more than that. Without counts of tokens the greedy texts decide.

        Args:
            num_question_tokens: What `check` returned.

        Raises:
            EngineUnavailableError: if the server fails for good.
        """
        try:
            return None if await self._continues(num_question_tokens) else _IGNORED
        except RequestRefusedError as error:
            return f"it refuses the request with HTTP {error.status}: {error.message}"
        except EngineUnavailableError as error:
            raise EngineUnavailableError(
                f"{error} It answered a plain question before, and failed when asked to continue an opened turn: if "
                'it does so again, it cannot, and needs prefill="user".'
            ) from error

    async def _continues(self, num_question_tokens: int) -> bool:
        left_open = await self._ask(self._half_step, is_continued=True)
        try:
            closed = await self._ask(self._half_step)
            if not (left_open.num_prompt_tokens and closed.num_prompt_tokens):
                return await self._continues_by_text()
            is_shorter = left_open.num_prompt_tokens < closed.num_prompt_tokens
        except RequestRefusedError:
            is_shorter = True  # it refuses such a turn unless it is to be continued: it reads the field
        # Where steps begin with words of their own the text shows nothing.
        if self._opening and is_shorter != self._starts_anew(left_open):
            return is_shorter
        one_token = await self._ask(_ONE_TOKEN, is_continued=True)
        # Less than one more where the question's own prompt opens the turn with more than a header (<think>); a turn
        # that is closed takes at least two more.
        return one_token.num_prompt_tokens - num_question_tokens <= 1

    async def _continues_by_text(self) -> bool:
        greedy = SamplingConfig(temperature=0)
        left_open = await self._ask(self._half_step, is_continued=True, sampling=greedy)
        closed = await self._ask(self._half_step, sampling=greedy)
        return left_open.choices[0].text != closed.choices[0].text and not self._starts_anew(left_open)

    def _starts_anew(self, reply: ChatReply) -> bool:
        text = reply.choices[0].text.removeprefix(self._half_step)  # some servers send the opened turn back
        # A turn that is closed without a header for the next one: the model writes the header's name itself.
        text = text.lstrip()
        return _ROLE.sub("", text).startswith(self._opening) if self._opening else bool(_ROLE.match(text))

    async def _ask(
        self, opened_turn: str | None, *, is_continued: bool = False, sampling: SamplingConfig | None = None
    ) -> ChatReply:
        sampling = sampling or self._sampling
        limited = dataclasses.replace(sampling, max_new_tokens=min(NUM_PROBE_TOKENS, sampling.max_new_tokens))
        messages = chat_messages(PROBE_QUESTION, self._system_prompt, opened_turn)
        return await self._chat.complete(messages, seeds=(0,), continue_final_message=is_continued, **vars(limited))
