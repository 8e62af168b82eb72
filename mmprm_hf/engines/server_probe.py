"""What a server does with an assistant's turn that is still open: asked of the server, since many ignore the fields.

One that ignores them closes the turn and starts a new one. Its answers look well, and every estimate after a prefix
would be that of another question.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import EngineUnavailableError, RequestRefusedError
from ..steps import StepFormat
from .chat import ChatModel, ChatReply
from .requests import SamplingConfig

NUM_PROBE_TOKENS = 16
PROBE_QUESTION = "How much is two plus three?"
# No blank at its end: templates strip it, and some servers then miss the text they are to continue.
_HALF_STEP = "Adding the two numbers"
_ONE_TOKEN = "The"  # in practically every vocabulary
_ROLE = re.compile(r"^(assistant|model|bot|ai)\s+", re.IGNORECASE)
_IGNORED = "it answers as if the opened turn were closed and a new one begun"


class ServerProbe:
    """Short questions to a chat model, in the form of the engine's own requests and without figures.

    Args:
        chat: The model.
        sampling: Sent as real requests have it, but for the number of tokens.
        step_format: The policy's tags.
        system_prompt: Text of a system turn.
    """

    def __init__(
        self, chat: ChatModel, sampling: SamplingConfig, step_format: StepFormat, system_prompt: str | None
    ) -> None:
        self._chat, self._sampling, self._step_format = chat, sampling, step_format
        self._system_prompt = system_prompt

    async def check(self) -> int:
        """Ask a fresh question; return the tokens of its prompt, 0 if the server does not say.

        Raises:
            EngineUnavailableError: if the server is gone or would refuse every request.
        """
        try:
            return (await self._ask(None)).num_prompt_tokens
        except RequestRefusedError as error:
            sampling = self._sampling
            fields = [name for name in ("top_k", "stop_strings") if getattr(sampling, name)]
            names = ", ".join(["seed", "temperature", "top_p", *fields])
            raise EngineUnavailableError(
                f"The server refuses even a short question without figures, with HTTP {error.status}: {error.message}. "
                "It would refuse every problem. Check the model's name, the system prompt, the client's extra_body, "
                f"and whether the server knows what was sent ({names}); then start again."
            ) from error

    async def why_no_continuation(self, num_question_tokens: int) -> str | None:
        """Return why the server cannot continue an opened turn, or None if it does.

        Two signs decide: the same turn left open has a shorter prompt than closed and followed by a new one, and what
        continues a half-written step does not open another. Where they disagree (a server that continues the last turn
        unasked; a policy that writes anything), an open turn of one token must lengthen the question by no more than
        that. Without counts of tokens the greedy texts decide.

        Args:
            num_question_tokens: What `check` returned.

        Raises:
            EngineUnavailableError: if the server fails for good.
        """
        try:
            return await self._why_not(num_question_tokens)
        except RequestRefusedError as error:
            return f"it refuses the request with HTTP {error.status}: {error.message}"
        except EngineUnavailableError as error:
            raise EngineUnavailableError(
                f"{error} It answered a plain question before, and failed when asked to continue an opened turn: if "
                'it does so again, it cannot, and needs prefill="user".'
            ) from error

    async def _why_not(self, num_question_tokens: int) -> str | None:
        half = self._step_format.step_open + _HALF_STEP
        left_open = await self._ask(half, continues=True)
        try:
            num_closed = (await self._ask(half)).num_prompt_tokens
            if not (left_open.num_prompt_tokens and num_closed):
                return await self._why_not_by_text(half)
            is_shorter = left_open.num_prompt_tokens < num_closed
        except RequestRefusedError:
            is_shorter = True  # it refuses such a turn unless told to continue it: it reads the field
        if is_shorter != self._starts_anew(half, left_open):
            return None if is_shorter else _IGNORED
        one_token = await self._ask(_ONE_TOKEN, continues=True)
        # Less than one more where the question's own prompt opens the turn with more than a header (<think>); a turn
        # that is closed takes two more at least.
        return None if one_token.num_prompt_tokens - num_question_tokens <= 1 else _IGNORED

    async def _why_not_by_text(self, half: str) -> str | None:
        greedy = SamplingConfig(temperature=0)
        left_open = await self._ask(half, continues=True, sampling=greedy)
        closed = await self._ask(half, sampling=greedy)
        is_same = left_open.choices[0].text == closed.choices[0].text
        return _IGNORED if is_same or self._starts_anew(half, left_open) else None

    def _starts_anew(self, half: str, reply: ChatReply) -> bool:
        text = reply.choices[0].text.removeprefix(half)  # some servers send the opened turn back
        # A turn that is closed without a header for the next one: the model writes the header's name itself.
        return _ROLE.sub("", text.lstrip()).startswith(self._step_format.step_open)

    async def _ask(
        self, opened: str | None, *, continues: bool = False, sampling: SamplingConfig | None = None
    ) -> ChatReply:
        sampling = sampling or self._sampling
        messages: list[dict[str, Any]] = [{"role": "user", "content": PROBE_QUESTION}]
        if self._system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self._system_prompt})
        if opened is not None:
            messages.append({"role": "assistant", "content": opened})
        return await self._chat.complete(
            messages,
            seeds=(0,),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_new_tokens=min(NUM_PROBE_TOKENS, sampling.max_new_tokens),
            stop_strings=sampling.stop_strings,
            continue_final_message=continues,
        )
