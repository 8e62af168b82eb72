"""Rollouts from a chat model behind a server: problem and prefix as messages, answers as parsed rollouts."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..data import Problem, Rollout, content_hash
from ..errors import EngineUnavailableError, ProblemInputError, RequestRefusedError, UnknownNameError
from ..steps import DEFAULT_STEP_FORMAT, StepFormat, render_prefix
from .chat import ChatModel, chat_messages
from .images import FigureParts, message_content
from .requests import RolloutRequest, SamplingConfig, parse_rollout
from .running import gather_or_cancel
from .server_probe import ServerProbe

logger = logging.getLogger(__name__)

PREFILLS = ("auto", "continue", "user")
# Its hash is part of an engine's identity: another wording is another engine.
_USER_PREFIX = """\
{question}

The solution so far:
{prefix}

Go on right after it, in the same form, up to the final answer. Write only what follows; repeat nothing."""


class EndpointEngine:
    """Rollout engine around a `ChatModel`, such as `ChatClient`.

    All samples of all requests are asked for at the same time; the client bounds how many are in flight, and the
    server joins them into batches. The server tokenizes: unlike `TransformersEngine`, this engine cannot tell a
    control token of the model from plain text.

    Args:
        chat: The model.
        sampling: How tokens are drawn.
        step_format: The policy's tags.
        prefill: How a prefix is shown. "continue" opens the assistant's turn with it and asks the server to continue
            (`continue_final_message`; vLLM and SGLang can): samples then follow the policy's own distribution after
            that prefix. "user" is for servers that cannot (`transformers serve`, most hosted ones): the prefix stands
            in the user's turn, and samples come from another distribution. "auto" takes "continue" where the server
            can, otherwise "user" with a warning. A server may ignore in silence what it cannot do, so it is asked (see
            `prepare`), and `identity` holds "continue" or "user" from then on.
        system_prompt: Text of a system turn before the problem; None for no such turn.

    Raises:
        UnknownNameError: for another `prefill`.
        ValueError: if `chat` is not a chat model, such as a bare address.

    Example:
        >>> engine = EndpointEngine(ChatClient("http://127.0.0.1:8000", "my-policy"))  # doctest: +SKIP
        >>> (rollouts,) = asyncio.run(engine.generate([RolloutRequest(problem, num_samples=16)]))  # doctest: +SKIP
    """

    # Differs from MM-PRM: the prefix opens the assistant's turn instead of standing in the user's as "Previous Steps",
    # where the policy may restart or repeat and success is no longer that of the prefix.

    def __init__(
        self,
        chat: ChatModel,
        *,
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
        step_format: StepFormat = DEFAULT_STEP_FORMAT,
        prefill: str = "auto",
        system_prompt: str | None = None,
    ) -> None:
        if prefill not in PREFILLS:
            raise UnknownNameError("prefill", prefill, PREFILLS)
        if not hasattr(chat, "complete"):
            raise ValueError(f"Found {chat!r:.80} as the chat model. Give a client, such as ChatClient(url).")
        self.chat, self.sampling, self.step_format = chat, sampling, step_format
        self.system_prompt = system_prompt
        self.identity: dict[str, Any] = {
            "engine": "endpoint",
            "chat": chat.identity,
            "sampling": sampling.to_dict(),
            "step_format": list(step_format.tags),
            "prefill": prefill,
            "system_prompt": system_prompt,
        }
        self._set_prefill(prefill)
        self._is_prepared = False
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._figures = FigureParts()

    @property
    def usage(self) -> Counter[str]:
        """Requests, retries and tokens so far, as the client counts them; empty for one that does not."""
        return getattr(self.chat, "usage", Counter())

    async def prepare(self) -> None:
        """Ask what the server runs, so that `identity` names it: the model, and whether it continues an opened turn.

        The server is sent one to five short questions, once per engine. `generate` does it before the first prefix
        where nobody did.

        Raises:
            EngineUnavailableError: if the server cannot be reached, would refuse every request (the model's name, a
                sampling field), or cannot continue a turn though `prefill` is "continue".
        """
        if hasattr(self.chat, "prepare"):
            await self.chat.prepare()
        # A lock that somebody has waited for cannot move to another loop.
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if not self._is_prepared:
                await self._probe()
                self._is_prepared = True

    async def _probe(self) -> None:
        probe = ServerProbe(self.chat, self.sampling, self.step_format, self.system_prompt)
        num_question_tokens = await probe.check()
        if self.prefill == "user":
            return
        obstacle = await probe.continuation_obstacle(num_question_tokens)
        if obstacle is not None and self.prefill == "continue":
            raise EngineUnavailableError(
                f"The server cannot continue an assistant's turn: {obstacle}. Its rollouts after a prefix would not be "
                'those of that prefix. Use a server that can (vLLM, SGLang), or prefill="user" or "auto", whose '
                "samples come from another distribution."
            )
        if obstacle is not None:
            logger.warning(
                "The server cannot continue an assistant's turn: %s. Prefixes are shown in the user's turn instead "
                '(prefill="user"): rollouts after a prefix come from another distribution than the policy\'s own.',
                obstacle,
            )
        self._set_prefill("continue" if obstacle is None else "user")

    def _set_prefill(self, prefill: str) -> None:
        self.prefill = self.identity["prefill"] = prefill
        if prefill == "user":
            self.identity["prompt"] = content_hash(_USER_PREFIX)

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or has no place, or the server refuses a request.
            EngineUnavailableError: if the server fails for good, or as `prepare` does.
        """
        if not self._is_prepared and self.prefill != "user" and any(request.prefix for request in requests):
            await self.prepare()
        return await gather_or_cancel(self._rollouts(request) for request in requests)

    async def _rollouts(self, request: RolloutRequest) -> tuple[Rollout, ...]:
        problem, prefix = request.problem, request.prefix
        rendered = render_prefix(prefix, self.step_format)
        # Not the problem's id and seed alone: samples after different prefixes must not share their draws.
        keys = [content_hash(request.seed, problem.id, list(prefix), i, length=8) for i in range(request.num_samples)]
        try:
            reply = await self.chat.complete(
                await self._messages(problem, rendered),
                seeds=[int(key, 16) & 0x7FFFFFFF for key in keys],
                continue_final_message=bool(prefix) and self.prefill == "continue",
                **vars(self.sampling),
            )
        except RequestRefusedError as error:
            raise ProblemInputError(
                problem.id,
                f"the server refused it with HTTP {error.status}: {error.message}. Its text and figures must fit the "
                "model's context and be of a kind the server reads; shorten or drop the problem.",
            ) from error
        texts = [choice.text for choice in reply.choices]
        # Some servers send the opened turn back with its continuation: then all samples start with it. A sample that
        # alone starts so repeats its steps, which is the policy's doing. (In the user's turn they were copied.)
        if self.prefill == "user" or all(text.startswith(rendered) for text in texts):
            texts = [text.removeprefix(rendered) for text in texts]
        return tuple(
            parse_rollout(
                text,
                self.step_format,
                choice.finish_reason,
                has_prefix=bool(prefix),
                num_tokens=choice.num_tokens,
                num_prompt_tokens=reply.num_prompt_tokens,
            )
            for choice, text in zip(reply.choices, texts, strict=True)
        )

    async def _messages(self, problem: Problem, rendered_prefix: str) -> list[dict[str, Any]]:
        text = problem.question
        if rendered_prefix and self.prefill == "user":
            text = _USER_PREFIX.format(question=problem.question, prefix=rendered_prefix)
        content = message_content(text, problem, await self._figures.parts(problem))
        is_open = bool(rendered_prefix) and self.prefill == "continue"
        return chat_messages(content, self.system_prompt, rendered_prefix if is_open else None)
