"""Rollouts from a chat model behind a server: problem and prefix as messages, answers as parsed rollouts."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..data import Problem, Rollout, content_hash
from ..errors import EngineUnavailableError, ProblemInputError, RequestRefusedError, UnknownNameError
from ..steps import StepFormat
from .chat import ChatChoice, ChatModel, chat_messages
from .images import FigureParts, message_content
from .open_turns import OpenTurn
from .policy_format import PolicyFormat
from .requests import RolloutRequest, SamplingConfig, Written, parse_rollout
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
        step_format: How the policy writes steps: a `StepFormat` or its name. None and "auto" find out from a few
            responses to the first problems.
        prefill: How a prefix is shown. "continue" opens the assistant's turn with it and asks the server to continue
            (`continue_final_message`; vLLM and SGLang can): samples then follow the policy's own distribution after
            that prefix. "user" is for servers that cannot (`transformers serve`, most hosted ones): the prefix stands
            in the user's turn, and samples come from another distribution. "auto" takes "continue" where the server
            can, otherwise "user" with a warning. A server may ignore in silence what it cannot do, so it is asked (see
            `prepare`), and `identity` holds "continue" or "user" from then on.
        system_prompt: Text of a system turn before the problem; None for no such turn.
        instruct: Whether the policy is asked to write in its format: "auto" (only where it was found by "auto" and
            more responses can then be read), "never", "always", or "example" with a worked example.
        fits_to_server: Take half of what the server can hold as `max_new_tokens` where it is more than that: for a
            number that nobody chose. Otherwise one that the server can never hold stops the run.

    Raises:
        UnknownNameError: for another `prefill`, an unknown format or value of `instruct`.
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
        step_format: StepFormat | str | None = None,
        prefill: str = "auto",
        system_prompt: str | None = None,
        instruct: str = "auto",
        fits_to_server: bool = False,
    ) -> None:
        if prefill not in PREFILLS:
            raise UnknownNameError("prefill", prefill, PREFILLS)
        if not hasattr(chat, "complete"):
            raise ValueError(f"Found {chat!r:.80} as the chat model. Give a client, such as ChatClient(url).")
        self.chat, self.sampling, self.system_prompt = chat, sampling, system_prompt
        self.format = PolicyFormat(step_format, instruct)
        self.fits_to_server = fits_to_server
        self._prefill_facts: dict[str, Any] = {}
        self._set_prefill(prefill)
        self._turn: OpenTurn | None = None
        self._is_prepared = self._is_fitted = False
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._figures = FigureParts()

    @property
    def identity(self) -> dict[str, Any]:
        """What writes the rollouts; its step format is "auto" until it is found."""
        return {
            "engine": "endpoint",
            "chat": self.chat.identity,
            "sampling": self.sampling.to_dict(),
            **self.format.identity,
            "prefill": self.prefill,
            "system_prompt": self.system_prompt,
            **self._prefill_facts,
        }

    @property
    def step_format(self) -> StepFormat | None:
        """How the policy writes steps; None until it is found."""
        return self.format.step_format

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

    async def settle(self, problems: Sequence[Problem], identity: Mapping[str, Any] | None = None) -> None:
        """Find the step format, where it is not known yet, from a few responses to the first of these problems.

        `generate` does it with its own problems where nobody did.

        Args:
            problems: Problems; without any nothing is found.
            identity: The `identity` of an earlier engine of the same run, whose format is taken instead; None for none.
        """
        self.format.restore(identity or {})
        if self.step_format is None and problems:
            await self.prepare()
            await self.format.settle(self._draw, problems)

    async def _draw(self, problems: Sequence[Problem], num_samples: int) -> list[Written]:
        requests = [RolloutRequest(problem, num_samples=num_samples) for problem in problems]
        written = await gather_or_cancel(self._write(request) for request in requests)
        return [response for responses in written for response in responses]

    async def _probe(self) -> None:
        await self._fit_to_server()
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

    async def _fit_to_server(self) -> None:
        """Compare `max_new_tokens` with what the server can hold, where it tells: once, not at every problem."""
        if self._is_fitted:
            return
        limit = await self.chat.max_model_tokens() if hasattr(self.chat, "max_model_tokens") else None
        self._is_fitted = True
        wanted = self.sampling.max_new_tokens
        if limit is None or wanted <= (limit // 2 if self.fits_to_server else limit - 1):
            return
        if not self.fits_to_server:
            self._is_fitted = False  # the next request is refused, too
            raise EngineUnavailableError(
                f"The server holds {limit} tokens, question and solution together, and max_new_tokens is {wanted}: it "
                f"would refuse every problem. Choose max_new_tokens below {limit}, or start it with a larger "
                "--max-model-len."
            )
        self.sampling = dataclasses.replace(self.sampling, max_new_tokens=limit // 2)
        logger.warning("The server holds %d tokens; max_new_tokens is %d instead of %d.", limit, limit // 2, wanted)

    def _set_prefill(self, prefill: str) -> None:
        self.prefill = prefill
        if prefill == "user":
            self._prefill_facts = {"prompt": content_hash(_USER_PREFIX)}

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return `num_samples` rollouts for each request, in order.

        Raises:
            ProblemInputError: if a figure cannot be read or has no place, or the server refuses a request.
            EngineUnavailableError: if the server fails for good, or as `prepare` does.
        """
        if not self._is_fitted and requests:
            await self._fit_to_server()
        if self.step_format is None and requests:
            await self.settle([request.problem for request in requests])
        if not self._is_prepared and self.prefill != "user" and any(request.prefix for request in requests):
            await self.prepare()
        return await gather_or_cancel(self._rollouts(request) for request in requests)

    async def _rollouts(self, request: RolloutRequest) -> tuple[Rollout, ...]:
        return tuple(parse_rollout(written, self.step_format, request) for written in await self._write(request))

    async def _write(self, request: RolloutRequest) -> list[Written]:
        problem, prefix = request.problem, request.prefix
        rendered = self.step_format.render_prefix(prefix) if prefix else ""
        is_continued = bool(prefix) and self.prefill == "continue"
        opened = rendered
        if is_continued:
            self._turn = self._turn or await OpenTurn.of(self.chat, self.step_format, self.system_prompt)
            opened = self._turn.opened(rendered)
        # Not the problem's id and seed alone: samples after different prefixes must not share their draws.
        keys = [content_hash(request.seed, problem.id, list(prefix), i, length=8) for i in range(request.num_samples)]
        seeds = [int(key, 16) & 0x7FFFFFFF for key in keys]
        step_stops = self.step_format.step_stops(len(prefix)) if request.one_step else ()
        sampling = dataclasses.replace(
            self.sampling, stop_strings=tuple(dict.fromkeys((*self.sampling.stop_strings, *step_stops)))
        )
        try:
            messages = await self._messages(problem, opened)
            reply = await self.chat.complete(
                messages, seeds=seeds, continue_final_message=is_continued, **vars(sampling)
            )
            choices = list(reply.choices)
            if step_stops and is_continued | (not prefix and self.prefill == "continue"):
                for index, choice in enumerate(choices):
                    choices[index] = await self._whole_step(choice, seeds[index], problem, opened, step_stops, sampling)
        except RequestRefusedError as error:
            raise ProblemInputError(
                problem.id,
                f"the server refused it with HTTP {error.status}: {error.message}. Its text and figures must fit the "
                "model's context and be of a kind the server reads; shorten or drop the problem.",
            ) from error
        texts = [choice.text for choice in choices]
        # Some servers send the opened turn back with its continuation: then all samples start with it. A sample that
        # alone starts so repeats its steps, which is the policy's doing. (In the user's turn they were copied.)
        if self.prefill == "user" or all(text.startswith(opened) for text in texts):
            texts = [text.removeprefix(opened) for text in texts]
        written = []
        for choice, text in zip(choices, texts, strict=True):
            reason = choice.finish_reason
            if is_continued:
                text, reason = self._turn.continuation(text, reason, prefix)
            written.append(Written(text, reason, choice.num_tokens, reply.num_prompt_tokens, choice.stopped_at))
        return written

    async def _whole_step(
        self,
        choice: ChatChoice,
        seed: int,
        problem: Problem,
        opened: str,
        step_stops: tuple[str, ...],
        sampling: SamplingConfig,
    ) -> ChatChoice:
        """Let a step go on that was stopped before its end: before its first word, or inside a formula."""
        while stop := self._step_stop(choice, step_stops):
            left = sampling.max_new_tokens - choice.num_tokens
            if self.step_format.is_step_end(choice.text) or left < 1 or not choice.num_tokens:
                return choice
            text = choice.text + stop
            settings = dataclasses.replace(sampling, max_new_tokens=left)
            messages = await self._messages(problem, opened + text)
            reply = await self.chat.complete(messages, seeds=[seed], continue_final_message=True, **vars(settings))
            (more,) = reply.choices
            num_tokens = choice.num_tokens + max(1, more.num_tokens)
            choice = dataclasses.replace(more, text=text + more.text.removeprefix(opened + text), num_tokens=num_tokens)
        return choice

    def _step_stop(self, choice: ChatChoice, step_stops: tuple[str, ...]) -> str:
        """The stop string of a step that ended a text; "" for none."""
        if choice.finish_reason != "stop":
            return ""
        if choice.stopped_at is not None:
            return choice.stopped_at if choice.stopped_at in step_stops else ""
        # The server does not tell. No policy ends its solution inside a formula, so the stop string ended it there.
        is_inside = bool(choice.text.strip()) and not self.step_format.is_step_end(choice.text)
        return step_stops[0] if is_inside and not self.sampling.stop_strings else ""

    async def _messages(self, problem: Problem, opened_turn: str) -> list[dict[str, Any]]:
        text = problem.question
        if opened_turn and self.prefill == "user":
            text = _USER_PREFIX.format(question=problem.question, prefix=opened_turn)
        if self.format.instruction is not None:
            text = f"{text}\n\n{self.format.instruction}"
        content = message_content(text, problem, await self._figures.parts(problem))
        is_open = bool(opened_turn) and self.prefill == "continue"
        return chat_messages(content, self.system_prompt, opened_turn if is_open else None)
