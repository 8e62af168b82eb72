"""A chat model behind an OpenAI-compatible server: requests, retries, seeds, and nothing about problems or steps.

huggingface_hub and its HTTP client are imported when the first request is made.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import email.utils
import random
import urllib.parse
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import EngineUnavailableError, RequestRefusedError
from .chat import ChatChoice, ChatReply

T = TypeVar("T")

_MAX_WAIT_SECONDS = 60.0
_REFUSED = frozenset({400, 413, 422})
_RETRIED = frozenset({408, 409, 425, 429})
# Finish reasons of a server that gave a request up (vLLM's, when it shuts down): no answer, however far it came.
_GIVEN_UP = ("abort", "error")
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


class _PassingFault(Exception):
    """Something another attempt may not meet: what it was, and how long the server asks to wait."""

    def __init__(self, kind: str, wait_seconds: float = 0.0) -> None:
        super().__init__(kind)
        self.kind, self.wait_seconds = kind, wait_seconds


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

    Every sample has a seed of its own. Faults are told apart by exception type and HTTP status alone: what may pass
    (no connection, a timeout, 408/409/425/429/5xx, a cut, malformed or empty answer) is tried again with growing
    waits; 400/413/422 concern one request; anything else stops the run at once.

    A server may fill in what a request leaves out from the model's own generation config (vLLM does: start it with
    `--generation-config vllm`), and may drop special tokens from the text: tags that are special tokens need
    `extra_body={"skip_special_tokens": False}`.

    Args:
        base_url: Where the server listens, with or without `/v1`.
        model: The model's name there. None asks the server, which must then list exactly one (see `prepare`).
        api_key: Sent as bearer token.
        max_concurrency: The most requests in flight at a time, per event loop.
        timeout_seconds: The most time one attempt may take.
        max_attempts: How often one request is tried before `EngineUnavailableError`.
        backoff_seconds: The first wait between attempts; it doubles each time, up to a minute.
        samples_per_request: Above 1, so many samples are asked for at once with `n` and the seed of the first (fewer
            copies of the prompt on the wire; the server derives the other seeds). Of a server that sends fewer the
            first is kept, and it is asked for single samples from then on: all are then those of their own seeds,
            whenever it was found out.
        extra_body: More fields for every request.

    Raises:
        ValueError: if a number is out of range, `base_url` or `api_key` cannot be one, or `extra_body` names a field of
            ours.

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
        samples_per_request: int = 1,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        counts = {
            "max_concurrency": max_concurrency,
            "max_attempts": max_attempts,
            "samples_per_request": samples_per_request,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"Found {name}={count} in ChatClient; it must be at least 1.")
        if timeout_seconds <= 0 or backoff_seconds < 0:
            raise ValueError(
                f"Found timeout_seconds={timeout_seconds} and backoff_seconds={backoff_seconds}; the timeout must be "
                "above 0 and the wait not below."
            )
        _check_address(base_url, api_key)
        taken = sorted(_OWN_FIELDS & set(extra_body or {}))
        if taken:
            raise ValueError(
                f"extra_body names {taken}, which the client sets itself. Use SamplingConfig or ChatClient's arguments."
            )
        base_url = base_url.rstrip("/")
        self.base_url = base_url if base_url.endswith("/v1") else f"{base_url}/v1"
        self.model = model
        self.max_concurrency, self.timeout_seconds = max_concurrency, timeout_seconds
        self.max_attempts, self.backoff_seconds = max_attempts, backoff_seconds
        self.samples_per_request, self.extra_body = samples_per_request, dict(extra_body or {})
        self.usage: Counter[str] = Counter()
        self.identity: dict[str, Any] = {
            "model": model,
            "samples_per_request": samples_per_request,
            "extra_body": self.extra_body,
        }
        self._api_key = api_key
        self._ignores_n = False
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
            names = await self._retrying(lambda client: client.list_model_names())
            if len(names) != 1:
                raise EngineUnavailableError(
                    f"No model was named and the server lists {len(names)} ({', '.join(names[:5]) or 'none'}). "
                    "Name one: ChatClient(base_url, model)."
                )
            self.model = self.identity["model"] = names[0]

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

        Where several samples share a request, the server tells only their sum of tokens; it is then shared out by
        length of text.

        Raises:
            RequestRefusedError: if the server will not have this request.
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
        distinct = list(seeds[:1] if temperature == 0 else seeds)
        size = 1 if self._ignores_n else self.samples_per_request
        groups = [distinct[start : start + size] for start in range(0, len(distinct), size)]
        replies = await gather_or_cancel(self._sample(fields, group) for group in groups)
        choices = tuple(choice for reply in replies for choice in reply.choices)
        if temperature == 0:
            choices = choices * len(seeds)
        return ChatReply(choices, max((reply.num_prompt_tokens for reply in replies), default=0))

    async def close(self) -> None:
        """Close the connections of the running event loop. They also close by themselves when `asyncio.run` ends.

        Requests in flight that have no answer yet end in `EngineUnavailableError`.
        """
        state = self._states.pop(asyncio.get_running_loop(), None)
        if state is not None:
            await state.guard.aclose()

    async def _sample(self, fields: dict[str, Any], seeds: Sequence[int]) -> ChatReply:
        """Samples of one group of seeds: one request, or single ones where the server does not send so many."""
        reply = await self._request(fields, seeds[0], len(seeds))
        if len(reply.choices) == len(seeds):
            return reply
        self._ignores_n = True
        others = await gather_or_cancel(self._request(fields, seed, 1) for seed in seeds[1:])
        choices = (reply.choices[0], *(choice for other in others for choice in other.choices))
        return ChatReply(choices, reply.num_prompt_tokens)

    async def _request(self, fields: dict[str, Any], seed: int, num_samples: int) -> ChatReply:
        """One request; between 1 and `num_samples` choices."""
        n = num_samples if num_samples > 1 else None

        async def ask(client: Any) -> ChatReply:
            return _read(await client.chat_completion(**fields, seed=seed, n=n), num_samples)

        reply = await self._retrying(ask)
        self.usage["prompt_tokens"] += reply.num_prompt_tokens
        self.usage["completion_tokens"] += sum(choice.num_tokens for choice in reply.choices)
        return reply

    async def _retrying(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What `ask` returns, tried up to `max_attempts` times."""
        state = await self._state()
        faults: list[str] = []
        while True:
            self.usage["requests"] += 1
            try:
                async with state.semaphore:
                    return await _once(ask, state.client, self.timeout_seconds)
            except (_PassingFault, RuntimeError) as fault:  # the HTTP client's own complaint is a bare RuntimeError
                if state.closed.is_set():
                    raise EngineUnavailableError(_CLOSED) from fault
                if not isinstance(fault, _PassingFault):
                    raise
                faults.append(fault.kind)
                if len(faults) == self.max_attempts:
                    raise EngineUnavailableError(_given_up(faults)) from fault
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
            client = _open_client(self.base_url, self._api_key, self.timeout_seconds, self.max_concurrency)
            semaphore, closed = asyncio.Semaphore(self.max_concurrency), asyncio.Event()
            state = _LoopState(client, semaphore, asyncio.Lock(), closed, _closing(client, closed))
            self._states[loop] = state
            await anext(state.guard)
            _GUARDS.setdefault(loop, []).append(state.guard)
        return state


async def gather_or_cancel(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first error cancels the other calls, waits for them to end, and is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closing(client: Any, closed: asyncio.Event) -> AsyncGenerator[None, None]:
    """Close `client` when the generator is closed: by `close`, or by the loop, which closes its generators at its end.

    Without it the sockets of a client nobody closed would outlive their loop.
    """
    try:
        yield
    finally:
        closed.set()
        await client.close()


def _open_client(base_url: str, api_key: str | None, timeout_seconds: float, max_connections: int) -> Any:
    """A Hub client whose connections are its own."""
    import httpx2
    from huggingface_hub import AsyncInferenceClient
    from huggingface_hub.utils import hf_raise_for_status

    class ServerClient(AsyncInferenceClient):
        """The Hub's sessions refuse every address, loopback too, under HF_HUB_OFFLINE, and hold 100 connections."""

        async def _get_async_client(self) -> httpx2.AsyncClient:
            if self._async_client is None:
                limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
                session = httpx2.AsyncClient(limits=limits, follow_redirects=True, timeout=timeout_seconds)
                self._async_client = await self.exit_stack.enter_async_context(session)
            return self._async_client

        async def list_model_names(self) -> list[str]:
            session = await self._get_async_client()
            response = await session.get(f"{base_url}/models", headers={"Authorization": f"Bearer {self.token}"})
            hf_raise_for_status(response)
            listed = response.json()
            rows = listed.get("data") if isinstance(listed, dict) else None
            if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
                raise _PassingFault("a malformed list of models")
            return [str(row["id"]) for row in rows]

    # Without a key the Hub client would send the user's Hub token, to whichever server this is.
    return ServerClient(base_url=base_url, api_key=api_key or "none", timeout=timeout_seconds)


async def _once(ask: Callable[[Any], Awaitable[T]], client: Any, timeout_seconds: float) -> T:
    """One attempt, with what went wrong told apart by exception type and status."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        # The HTTP client's own timeout starts anew with every byte that arrives.
        async with asyncio.timeout(timeout_seconds):
            return await ask(client)
    except HfHubHTTPError as error:
        status, message = error.response.status_code, _server_message(error.response)
        if status in _REFUSED:
            raise RequestRefusedError(status, message) from error
        if status in _RETRIED or status >= 500:
            raise _PassingFault(f"HTTP {status}", _wait_asked_for(error.response)) from error
        raise EngineUnavailableError(
            f"The server answered HTTP {status} ({message}), which no other attempt will change. Check the key (401, "
            "403) and the address and model's name (404), then start again: what is done is kept."
        ) from error
    except TimeoutError as error:
        raise _PassingFault("a timeout") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise _PassingFault(f"{type(error).__name__}") from error
    except httpx2.TooManyRedirects as error:
        raise EngineUnavailableError(
            "The server answers with too many redirects. Check the address, then start again: what is done is kept."
        ) from error
    except ValueError as error:  # JSON that ends early, bytes that are no text, a body of another shape
        raise _PassingFault("a malformed body") from error


def _read(output: Any, num_samples: int) -> ChatReply:
    """The choices of a parsed body, at most `num_samples`."""
    choices = output.choices
    if not isinstance(choices, list) or not choices:
        raise _PassingFault("an answer without choices")
    rows = [_read_choice(choice) for choice in choices]
    indices = [index for index, _, _ in rows]
    if all(isinstance(index, int) for index in indices) and len(set(indices)) == len(indices):
        rows.sort(key=lambda row: row[0])  # some servers send them as they end
    rows = rows[:num_samples]
    shares = _shares(_count(output.usage, "completion_tokens"), [len(text) for _, text, _ in rows])
    read = tuple(ChatChoice(text, reason, share) for (_, text, reason), share in zip(rows, shares, strict=True))
    return ChatReply(read, _count(output.usage, "prompt_tokens"))


def _read_choice(choice: Any) -> tuple[Any, str, str]:
    """Index as the server gives it, text, and "stop" or "length"."""
    text, reason = getattr(getattr(choice, "message", None), "content", None), getattr(choice, "finish_reason", None)
    if reason in _GIVEN_UP:
        raise _PassingFault(f"an answer given up ({reason})")
    if text is None and isinstance(reason, str):
        text = ""  # whole, with nothing written: all its tokens went into thinking, or a filter took them
    if not isinstance(text, str):
        raise _PassingFault("an answer without text")
    # Whatever is not a natural end (a filter, a tool call, nothing said) leaves a text that cannot be trusted as whole.
    return getattr(choice, "index", None), text, "stop" if reason == "stop" else "length"


def _check_address(base_url: str, api_key: str | None) -> None:
    """Raise for what no request could be sent with."""
    try:
        parts = urllib.parse.urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        is_address = False
    if not is_address:
        raise ValueError(
            f"Found base_url={base_url!r}; it must start with http:// or https://, and name a host and at most a port."
        )
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("api_key holds a character that no HTTP header can carry. Check how it was copied.")


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` cut into whole parts by weight, the sum kept."""
    weight_sum = sum(weights) + len(weights)
    bounds, seen = [0], 0
    for weight in weights:
        seen += weight + 1
        bounds.append(total * seen // weight_sum)
    return [end - start for start, end in zip(bounds[:-1], bounds[1:], strict=True)]


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if type(value) is int and value > 0 else 0


def _server_message(response: Any) -> str:
    """What a server says of its refusal: OpenAI's `error.message`, FastAPI's `detail`, or the body's beginning."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    if isinstance(body, dict):
        body = body.get("error") or body.get("detail") or body.get("message") or body
        body = body.get("message") or body if isinstance(body, dict) else body
    return str(body).strip()[:300] or "no message"


def _wait_asked_for(response: Any) -> float:
    """Seconds in `Retry-After`, given as a number or a date; 0 if absent or unreadable."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())


def _given_up(faults: Sequence[str]) -> str:
    seen = ", ".join(f"{kind} ({count}x)" for kind, count in Counter(faults).most_common())
    return (
        f"The server gave no usable answer to {len(faults)} attempts; the last met {faults[-1]}. Seen: {seen}. Check "
        "that it runs and can hold so many requests at a time (max_concurrency, timeout_seconds), then start again: "
        "what is done is kept."
    )
