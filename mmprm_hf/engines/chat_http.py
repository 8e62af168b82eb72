"""One request to an OpenAI-compatible server, and what its failure means.

Faults are told apart by exception type and HTTP status alone: `PassingFault` may not come again, `RequestRefusedError`
concerns this request, `EngineUnavailableError` every one. huggingface_hub and its HTTP client are imported when a
client is opened.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..errors import EngineUnavailableError, RequestRefusedError
from .chat import ChatChoice, ChatReply

T = TypeVar("T")

_REFUSED = frozenset({400, 413, 422})
_PASSING = frozenset({408, 409, 425, 429})
# Finish reasons of a server that gave a request up (vLLM's, when it shuts down): no answer, however far it came.
_GIVEN_UP = ("abort", "error")
_THOUGHT_FIELDS = ("reasoning_content", "reasoning")  # where servers with a parser of thoughts put them


class PassingFault(Exception):  # noqa: N818 (not an error of the run: another attempt is made)
    """A failed attempt that another one may not meet.

    Args:
        kind: What happened, in a few words.
        wait_seconds: How long the server asks to wait.
    """

    def __init__(self, kind: str, wait_seconds: float = 0.0) -> None:
        super().__init__(kind)
        self.kind, self.wait_seconds = kind, wait_seconds


def check_address(base_url: str, api_key: str | None) -> None:
    """Check that requests can be sent to this address with this key.

    Raises:
        ValueError: if not.
    """
    try:
        parts = urllib.parse.urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not a port or an IPv6 address
        is_address = False
    if not is_address:
        raise ValueError(
            f"Found base_url={base_url!r}; it must start with http:// or https://, and name a host and at most a port."
        )
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("api_key holds a character that no HTTP header can carry. Check how it was copied.")


def open_client(base_url: str, api_key: str | None, timeout_seconds: float, max_connections: int) -> Any:
    """Return a Hub client with connections of its own, `list_models` and `tokenize`."""
    import httpx2
    from huggingface_hub import AsyncInferenceClient
    from huggingface_hub.utils import hf_raise_for_status

    class ServerClient(AsyncInferenceClient):
        """The Hub's sessions refuse every address, loopback too, under HF_HUB_OFFLINE, and hold 100 connections."""

        async def _get_async_client(self) -> httpx2.AsyncClient:
            if self._async_client is None:
                limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
                options = {"follow_redirects": False, "event_hooks": {"response": [_refuse_redirect]}}
                session = httpx2.AsyncClient(limits=limits, timeout=timeout_seconds, **options)
                self._async_client = await self.exit_stack.enter_async_context(session)
            return self._async_client

        async def list_models(self) -> list[dict[str, Any]]:
            session = await self._get_async_client()
            response = await session.get(f"{base_url}/models", headers={"Authorization": f"Bearer {self.token}"})
            hf_raise_for_status(response)
            body = response.json()
            rows = body.get("data") if isinstance(body, dict) else None
            if not isinstance(rows, list) or not all(
                isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows
            ):
                raise PassingFault("a malformed list of models")
            return rows

        async def tokenize(self, body: dict[str, Any]) -> list[int] | None:
            """The token ids of an opened turn, where the server has vLLM's `/tokenize`; else None."""
            session = await self._get_async_client()
            headers = {"Authorization": f"Bearer {self.token}"}
            response = await session.post(f"{base_url.removesuffix('/v1')}/tokenize", headers=headers, json=body)
            reply = response.json() if response.status_code == 200 else None
            ids = reply.get("tokens") if isinstance(reply, dict) else None
            return ids if isinstance(ids, list) and all(type(token) is int for token in ids) else None

    # Without a key the Hub client would send the user's Hub token, to whichever server this is.
    return ServerClient(base_url=base_url, api_key=api_key or "none", timeout=timeout_seconds)


async def _refuse_redirect(response: Any) -> None:
    """Stop at a redirect: figures and the key would go to whatever host the server names."""
    if 300 <= response.status_code < 400:
        target = str(response.headers.get("Location", "no address"))[:200]
        raise EngineUnavailableError(
            f"The server answered HTTP {response.status_code}, a redirect to {target}, which is not followed. Give "
            "that address if it is the server's own, then start again: what is done is kept."
        )


async def attempt(ask: Callable[[Any], Awaitable[T]], client: Any, timeout_seconds: float) -> T:
    """Return what one attempt gives.

    Raises:
        PassingFault: if another attempt may succeed.
        RequestRefusedError: if the server refuses this request.
        EngineUnavailableError: if it would refuse every request.
    """
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
        if status in _PASSING or status >= 500:
            raise PassingFault(f"HTTP {status}", _seconds_to_wait(error.response)) from error
        raise EngineUnavailableError(
            f"The server answered HTTP {status} ({message}), which no other attempt will change. Check the key (401, "
            "403) and the address and model's name (404), then start again: what is done is kept."
        ) from error
    except TimeoutError as error:
        raise PassingFault("a timeout") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise PassingFault(type(error).__name__) from error
    except (ValueError, RecursionError) as error:  # JSON cut or nested without end, not text, another shape
        raise PassingFault("a malformed body") from error


def read_reply(body: Any) -> ChatReply:
    """Return the first choice of a parsed body.

    Raises:
        PassingFault: if there is none, or it was given up.
    """
    if not isinstance(body.choices, list) or not body.choices:
        raise PassingFault("an answer without choices")
    choice = body.choices[0]
    message, reason = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
    if isinstance(reason, str) and reason in _GIVEN_UP:
        raise PassingFault(f"an answer given up ({reason})")
    text, role = getattr(message, "content", None), getattr(message, "role", None)
    thought = next(filter(None, (getattr(message, name, None) for name in _THOUGHT_FIELDS)), None)
    if text is None and role is None:  # also a text or a list in the place of the message
        raise PassingFault("an answer without a message")
    if text is None and isinstance(reason, str):
        text = ""  # whole, with nothing written: all its tokens went into thinking, or a filter took them
    if not isinstance(text, str):
        raise PassingFault("an answer without text")
    # Whatever is not a natural end (a filter, a tool call, no reason) leaves a text that may not be whole.
    finish_reason = "stop" if reason == "stop" else "length"
    num_tokens, num_prompt_tokens = (_count(body.usage, name) for name in ("completion_tokens", "prompt_tokens"))
    if isinstance(thought, str):
        text = f"<think>{thought}</think>\n\n{text}" if text else f"<think>{thought}"
    return ChatReply((ChatChoice(text, finish_reason, num_tokens, _stopped_at(choice)),), num_prompt_tokens)


def _stopped_at(choice: Any) -> str | None:
    """What ended an answer: `stop_reason` of vLLM or `matched_stop` of SGLang, a stop string or the end token's id."""
    for name in ("stop_reason", "matched_stop"):
        if hasattr(choice, name):
            value = getattr(choice, name)
            return value if isinstance(value, str) else ""
    return None


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if type(value) is int and value > 0 else 0


def _server_message(response: Any) -> str:
    """The reason that a server gives: OpenAI's `error.message`, FastAPI's `detail`, or the body's beginning."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = response.text
    if isinstance(body, dict):
        body = body.get("error") or body.get("detail") or body.get("message") or body
        body = body.get("message") or body if isinstance(body, dict) else body
    return str(body).strip()[:300] or "no message"


def _seconds_to_wait(response: Any) -> float:
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
