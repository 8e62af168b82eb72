"""A chat model behind an OpenAI-compatible server: retries, seeds, concurrency; it knows no problems and no steps."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import EngineUnavailableError, RequestRefusedError
from .chat import ChatReply
from .chat_http import PassingFault, attempt, check_address, open_client, read_reply
from .running import gather_or_cancel

T = TypeVar("T")

_MAX_WAIT_SECONDS = 60.0
_CLOSED = (
    "The client was closed while requests were in flight. Close it (ChatClient.close) once they are answered, then "
    "start again: what is done is kept."
)
# A guard belongs to its loop: if it went with its `ChatClient`, the loop would close it among the tasks it cancels.
_GUARDS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncGenerator[None, None]]] = (
    weakref.WeakKeyDictionary()
)
# What `complete` decides; the rest of a body is the user's.
_OWN_FIELDS = frozenset({"model", "messages", "seed", "n", "stop", "max_tokens", "temperature", "top_p", "stream"})


@dataclasses.dataclass(frozen=True, eq=False)
class _LoopState:
    """What belongs to one event loop: HTTP connections and locks cannot move to another."""

    client: Any
    semaphore: asyncio.Semaphore
    lock: asyncio.Lock
    closed: asyncio.Event
    guard: AsyncGenerator[None, None]


class ChatClient:
    """A `ChatModel` behind an OpenAI-compatible server (vLLM, SGLang, `transformers serve`, ...).

    Every sample is a request with a seed of its own. What may pass (no connection, a timeout, HTTP 408, 409, 425, 429
    or 5xx, a cut, malformed or empty answer) is tried again with growing waits; 400, 413 and 422 concern one request;
    anything else stops the run at once.

    A server may fill in what a request leaves out from the model's own generation config (vLLM does: start it with
    `--generation-config vllm`), and may drop special tokens from the text: tags that are special tokens need
    `extra_body={"skip_special_tokens": False}`.

    Args:
        base_url: Address of the server, with or without `/v1`.
        model: The model's name there. None asks the server, which must then list exactly one (see `prepare`).
        api_key: Sent as bearer token; None sends none.
        max_concurrency: The most requests in flight at a time, per event loop.
        timeout_seconds: The most time that one attempt may take.
        max_attempts: How often one request is tried before `EngineUnavailableError`.
        backoff_seconds: The first wait between attempts; it doubles each time, up to a minute.
        extra_body: More fields for every request, such as ``{"chat_template_kwargs": {"enable_thinking": False}}``,
            variables of the chat template (vLLM and SGLang read them).

    Raises:
        ValueError: if a number is out of range, `base_url` or `api_key` cannot be one, or `extra_body` names a field
            that the client sets.

    Example:
        >>> chat = ChatClient("http://127.0.0.1:8000/v1", "my-policy", max_concurrency=128)
        >>> reply = asyncio.run(chat.complete([{"role": "user", "content": "1 + 1 = ?"}]))  # doctest: +SKIP
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        max_concurrency: int = 64,
        timeout_seconds: float = 600.0,
        max_attempts: int = 6,
        backoff_seconds: float = 0.5,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        for name, count in (("max_concurrency", max_concurrency), ("max_attempts", max_attempts)):
            if count < 1:
                raise ValueError(f"Found {name}={count} in ChatClient; it must be at least 1.")
        if timeout_seconds <= 0 or backoff_seconds < 0:
            raise ValueError(
                f"Found timeout_seconds={timeout_seconds} and backoff_seconds={backoff_seconds}. The timeout must be "
                "above 0, the wait at least 0."
            )
        check_address(base_url, api_key)
        own_fields = sorted(_OWN_FIELDS & set(extra_body or {}))
        if own_fields:
            raise ValueError(
                f"extra_body names {own_fields}, which the client sets. Use SamplingConfig or ChatClient's arguments."
            )
        base_url = base_url.rstrip("/")
        self.base_url = base_url if base_url.endswith("/v1") else f"{base_url}/v1"
        self.model = model
        self.max_concurrency, self.timeout_seconds = max_concurrency, timeout_seconds
        self.max_attempts, self.backoff_seconds = max_attempts, backoff_seconds
        self.extra_body = dict(extra_body or {})
        self.usage: Counter[str] = Counter()
        # samples_per_request is always 1: the key stays because hashes of saved runs hold it.
        self.identity: dict[str, Any] = {"model": model, "samples_per_request": 1, "extra_body": self.extra_body}
        self._api_key = api_key
        self._states: dict[asyncio.AbstractEventLoop, _LoopState] = {}

    async def prepare(self) -> None:
        """Fill in `model` and `identity` from the server's list where no model was named; otherwise do nothing.

        Raises:
            EngineUnavailableError: if the server cannot be reached, or lists no model or several.
        """
        if self.model is not None:
            return
        state = await self._state()
        async with state.lock:
            if self.model is not None:
                return
            names = [row["id"] for row in await self._retrying(lambda client: client.list_models())]
            if len(names) != 1:
                raise EngineUnavailableError(
                    f"No model was named and the server lists {len(names)} ({', '.join(names[:5]) or 'none'}). "
                    "Name one: ChatClient(base_url, model)."
                )
            self.model = self.identity["model"] = names[0]

    async def max_model_tokens(self) -> int | None:
        """Return how many tokens a request and its answer may have together, as vLLM and SGLang list it; else None."""
        await self.prepare()
        rows = await self._ask_once(lambda client: client.list_models())
        limits = [row.get("max_model_len") for row in rows or [] if row["id"] == self.model]
        return limits[0] if limits and type(limits[0]) is int and limits[0] > 0 else None

    async def tokenize(self, messages: Sequence[Mapping[str, Any]]) -> list[int] | None:
        """Return the token ids of messages whose last turn is left open, by vLLM's `/tokenize`; None without it."""
        body = {"model": self.model, "messages": list(messages)}
        body |= {"add_generation_prompt": False, "continue_final_message": True}
        body |= {name: self.extra_body[name] for name in ("chat_template_kwargs",) if name in self.extra_body}
        return await self._ask_once(lambda client: client.tokenize(body))

    async def _ask_once(self, ask: Callable[[Any], Awaitable[T]]) -> T | None:
        """What `ask` returns; None where the server does not know the question or is not there."""
        state = await self._state()
        try:
            return await attempt(ask, state.client, min(self.timeout_seconds, 30.0))
        except (PassingFault, RequestRefusedError, EngineUnavailableError):
            return None

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
    ) -> ChatReply:
        """Return one answer per seed, in order. At temperature 0 all are the same, and one request is made.

        Raises:
            RequestRefusedError: if the server refuses this request.
            EngineUnavailableError: if the server is gone, keeps failing, or knows no such key or model; or if the
                client is closed meanwhile.
        """
        await self.prepare()
        extra = dict(self.extra_body)
        if top_k > 0:
            extra["top_k"] = top_k
        if continue_final_message:
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        fields = {
            "messages": list(messages),
            "model": self.model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "stop": list(stop_strings) or None,
            "extra_body": extra,
        }
        is_greedy = temperature == 0
        replies = await gather_or_cancel(self._request(fields, seed) for seed in (seeds[:1] if is_greedy else seeds))
        choices = tuple(choice for reply in replies for choice in reply.choices)
        num_prompt_tokens = max((reply.num_prompt_tokens for reply in replies), default=0)
        return ChatReply(choices * len(seeds) if is_greedy else choices, num_prompt_tokens)

    async def close(self) -> None:
        """Close the connections of the running event loop. They also close by themselves when `asyncio.run` ends.

        Requests in flight that have no answer yet end in `EngineUnavailableError`.
        """
        state = self._states.pop(asyncio.get_running_loop(), None)
        if state is not None:
            await state.guard.aclose()

    async def _request(self, fields: dict[str, Any], seed: int) -> ChatReply:
        async def ask(client: Any) -> ChatReply:
            return read_reply(await client.chat_completion(**fields, seed=seed))

        reply = await self._retrying(ask)
        self.usage["prompt_tokens"] += reply.num_prompt_tokens
        self.usage["completion_tokens"] += reply.choices[0].num_tokens
        return reply

    async def _retrying(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What `ask` returns, tried up to `max_attempts` times."""
        state = await self._state()
        faults: list[str] = []
        while True:
            self.usage["requests"] += 1
            try:
                async with state.semaphore:
                    return await attempt(ask, state.client, self.timeout_seconds)
            except (PassingFault, RuntimeError) as fault:  # a closed HTTP client complains with a bare RuntimeError
                if state.closed.is_set():
                    raise EngineUnavailableError(_CLOSED) from fault
                if not isinstance(fault, PassingFault):
                    raise
                faults.append(fault.kind)
                if len(faults) == self.max_attempts:
                    raise EngineUnavailableError(_no_usable_answer(faults)) from fault
                wait = self.backoff_seconds * 2 ** (len(faults) - 1) * random.uniform(0.75, 1.25)
                wait = min(max(wait, fault.wait_seconds), _MAX_WAIT_SECONDS)
            self.usage["retries"] += 1
            await asyncio.sleep(wait)

    async def _state(self) -> _LoopState:
        """Client and locks of the running loop, made at first use."""
        loop = asyncio.get_running_loop()
        state = self._states.get(loop)
        if state is None:
            self._states = {other: kept for other, kept in self._states.items() if not other.is_closed()}
            client = open_client(self.base_url, self._api_key, self.timeout_seconds, self.max_concurrency)
            semaphore, closed = asyncio.Semaphore(self.max_concurrency), asyncio.Event()
            state = _LoopState(client, semaphore, asyncio.Lock(), closed, _closing(client, closed))
            self._states[loop] = state
            await anext(state.guard)
            _GUARDS.setdefault(loop, []).append(state.guard)
        return state


async def _closing(client: Any, closed: asyncio.Event) -> AsyncGenerator[None, None]:
    """Close `client` when the generator is closed: by `close`, or by the loop, which closes its generators at its end.

    Without it the sockets of a client that nobody closes would outlive their loop.
    """
    try:
        yield
    finally:
        closed.set()
        await client.close()


def _no_usable_answer(faults: Sequence[str]) -> str:
    counts = ", ".join(f"{kind} ({count}x)" for kind, count in Counter(faults).most_common())
    return (
        f"The server gave no usable answer to {len(faults)} attempts; the last met {faults[-1]}. Seen: {counts}. Check "
        "that it runs and can hold so many requests at a time (max_concurrency, timeout_seconds), then start again: "
        "what is done is kept."
    )
