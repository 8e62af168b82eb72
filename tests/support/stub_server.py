"""A chat server on loopback for tests: answers from a plain function, faults on demand, every request recorded."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mmprm_hf.engines.server_probe import PROBE_QUESTION

_MESSAGE = '{"choices": [{"index": 0, "finish_reason": "stop", "message": %s}]}'
# Bodies with status 200 that hold no answer.
BODIES = {
    "empty": "",
    "not_a_dict": '["sorry"]',
    "no_choices": '{"id": "0", "object": "chat.completion", "choices": []}',
    "null": '{"choices": [{"index": 0, "message": {"role": "assistant", "content": null}}]}',
    "nan": "NaN",
    "nan_choices": '{"choices": NaN}',
    "nan_content": _MESSAGE % '{"role": "assistant", "content": NaN}',
    "deep": "[" * 200_000,
    "deep_object": '{"choices": ' * 100_000,
    "deep_choices": f'{{"choices": {"[" * 900}{"]" * 900}}}',
    "deep_message": _MESSAGE % f"{'[' * 900}{']' * 900}",
    "text_for_message": _MESSAGE % '"hi"',
    "list_for_message": _MESSAGE % '[{"role": "assistant", "content": "hi"}]',
    "no_message": _MESSAGE % "null",
    "empty_message": _MESSAGE % "{}",
    "text_for_choice": '{"choices": ["hi"]}',
    "number_for_content": _MESSAGE % '{"role": "assistant", "content": 7}',
    "list_for_usage": '{"usage": [1], "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}',
}
FAULTS = ("429", "500", "503", "cut", "malformed", "reset", "aborted", *BODIES)


@dataclasses.dataclass(frozen=True)
class StubAnswer:
    """A policy's answer where it counts its tokens itself."""

    text: str
    finish_reason: str = "stop"
    num_tokens: int = 0
    stopped_at: str | None = None


Policy = Callable[[list[dict[str, Any]], int], "str | StubAnswer"]
_NUM_CLOSING_TOKENS = 4  # what a template puts between a turn that is over and the next
Faults = Sequence["str | None"] | Callable[[int, dict[str, Any]], "str | None"]


class StubServer:
    """`with StubServer(policy) as server: ChatClient(server.url, "stub")`.

    Args:
        policy: ``(messages, seed) -> text``. Texts are cut at `stop` and after `max_tokens` words; a `StubAnswer`
            goes out as it is.
        faults: Per request, in order of arrival, the name of a fault or None; beyond its end all is well. Or a function
            of the request's number and body. Besides `FAULTS`: any other status ("400", "401", ...), "no_usage",
            "redirect" (to itself), "slow", and "trickle" (a good answer, spread evenly over `slow_seconds`).
        continues: How an assistant's turn at the end is treated. "asked" continues it if the request asks for it, and
            otherwise closes it and starts a new one; "never" closes it in silence; "always" continues it unasked;
            "refused" answers a request to continue with HTTP 422.
        probe_policy: Answers the engine's questions about the server, which are recorded in `probes` and not in
            `bodies`. By default it continues an open step, or opens a new one.
        probe_faults: Fault of such a question by its body.
        models: Names that /v1/models lists.
        max_model_len: The limit of tokens that it lists; None for none.
        counts_lists: Whether asking for that list stands in `bodies` and may meet a fault.
        tells_stops: Whether an answer names the stop string that ended it, as vLLM's `stop_reason` does.
        slow_seconds: Time that "slow" waits before it answers.
        seconds: Time that every answer takes.
        retry_after: Value of the header `Retry-After` of a 429.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        faults: Faults = (),
        continues: str = "asked",
        probe_policy: Policy | None = None,
        probe_faults: Callable[[dict[str, Any]], str | None] = lambda _: None,
        models: Sequence[str] = ("stub",),
        max_model_len: int | None = None,
        counts_lists: bool = False,
        tells_stops: bool = False,
        slow_seconds: float = 1.0,
        seconds: float = 0.0,
        retry_after: str = "0",
    ) -> None:
        self.policy, self.faults, self.models = policy, faults, models
        self.max_model_len, self.counts_lists, self.tells_stops = max_model_len, counts_lists, tells_stops
        self.slow_seconds, self.seconds, self.retry_after = slow_seconds, seconds, retry_after
        self.continues, self.probe_policy, self.probe_faults = continues, probe_policy or _probe_policy, probe_faults
        self.bodies: list[dict[str, Any]] = []
        self.probes: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.num_connections = self.num_open = self.max_simultaneous = 0
        self._num_now = 0
        self.lock = threading.Lock()

    def __enter__(self) -> StubServer:
        stub = self

        class Handler(_Handler):
            server_stub = stub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def arrive(self, body: dict[str, Any], headers: dict[str, str]) -> str | None:
        """Record a request; return its fault."""
        with self.lock:
            self._num_now += 1
            if is_probe(body):
                self.probes.append(body)
                refuses = self.continues == "refused" and "continue_final_message" in body
                return "422" if refuses else self.probe_faults(body)
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.max_simultaneous = max(self.max_simultaneous, self._num_now)
            if callable(self.faults):
                return self.faults(number, body)
            return self.faults[number] if number < len(self.faults) else None

    def leave(self) -> None:
        with self.lock:
            self._num_now -= 1

    def wait_until_closed(self, seconds: float = 2.0) -> bool:
        """True once the clients hold no connection."""
        end = time.monotonic() + seconds
        while self.num_open and time.monotonic() < end:
            time.sleep(0.005)
        return self.num_open == 0

    def continues_turn(self, body: dict[str, Any]) -> bool:
        """Whether the assistant's turn at the end, if any, is left open."""
        asked = {"asked": body.get("continue_final_message", False), "never": False, "always": True, "refused": False}
        return body["messages"][-1]["role"] == "assistant" and asked[self.continues]

    def answer(self, body: dict[str, Any], fault: str | None) -> dict[str, Any]:
        """The body of a good answer."""
        answer, num_prompt_tokens = self._sample(body), self._count_prompt(body)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": "abort" if fault == "aborted" else answer.finish_reason,
        }
        if self.tells_stops:
            choice["stop_reason"] = answer.stopped_at
        usage = {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": answer.num_tokens,
            "total_tokens": num_prompt_tokens + answer.num_tokens,
        }
        reply = {"id": "0", "object": "chat.completion", "created": 0, "model": "stub", "choices": [choice]}
        return reply if fault == "no_usage" else {**reply, "usage": usage}

    def _count_prompt(self, body: dict[str, Any]) -> int:
        words = [len(json.dumps(message["content"]).split()) for message in body["messages"]]
        return sum(words) + _NUM_CLOSING_TOKENS * (len(words) - self.continues_turn(body))

    def _sample(self, body: dict[str, Any]) -> StubAnswer:
        messages, seed = body["messages"], body.get("seed", 0)
        if messages[-1]["role"] == "assistant" and not self.continues_turn(body):
            messages = messages[:-1]  # a turn that is over: what is written is a new one
        answer = (self.probe_policy if is_probe(body) else self.policy)(messages, seed)
        if isinstance(answer, StubAnswer):
            return answer
        whole, stopped_at = answer, None
        for stop in body.get("stop", ()):
            answer = answer.split(stop)[0]
        if answer != whole:
            stopped_at = next(stop for stop in body["stop"] if whole[len(answer) :].startswith(stop))
        words = re.findall(r"\s*\S+", answer)
        limit = body.get("max_tokens", len(words))
        if len(words) > limit:
            return StubAnswer("".join(words[:limit]), "length", limit)
        return StubAnswer(answer, "stop", len(words), stopped_at)


def is_probe(body: dict[str, Any]) -> bool:
    """Whether this is one of the engine's questions about the server."""
    return any(message["content"] == PROBE_QUESTION for message in body.get("messages", ()))


def _probe_policy(messages: list[dict[str, Any]], seed: int) -> str:
    return " gives 5</step>" if messages[-1]["role"] == "assistant" else "<step>Adding them gives 5</step>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_stub: StubServer

    def setup(self) -> None:
        super().setup()
        with self.server_stub.lock:
            self.server_stub.num_connections += 1
            self.server_stub.num_open += 1

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            with self.server_stub.lock:
                self.server_stub.num_open -= 1

    def log_message(self, *_: Any) -> None:
        """Write nothing to the terminal."""

    def do_GET(self) -> None:
        stub = self.server_stub
        fault = None
        if stub.counts_lists:
            fault = stub.arrive({"path": self.path}, dict(self.headers))
            stub.leave()
        limit = {} if stub.max_model_len is None else {"max_model_len": stub.max_model_len}
        rows = [{"id": name, "object": "model", **limit} for name in stub.models]
        if fault:
            self._fault(fault, b"")
        else:
            self._send(200, json.dumps({"object": "list", "data": rows}).encode())

    def do_POST(self) -> None:
        stub = self.server_stub
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = stub.arrive(body, dict(self.headers))
        try:
            time.sleep(stub.slow_seconds if fault == "slow" else stub.seconds)
            data = json.dumps(stub.answer(body, fault)).encode()
        finally:
            stub.leave()
        if fault in (None, "aborted", "no_usage", "slow"):
            self._send(200, data)
        else:
            self._fault(fault, data)

    def _fault(self, fault: str, data: bytes) -> None:
        if fault == "reset":
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "cut":
            self.close_connection = True
            self._send(200, data[: len(data) // 2], promised=len(data))
        elif fault == "trickle":
            self._send(200, b"", promised=len(data))
            for i in range(len(data)):
                time.sleep(self.server_stub.slow_seconds / len(data))
                self.wfile.write(data[i : i + 1])
        elif fault == "redirect":
            self.send_response(307)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault == "malformed":
            self._send(200, data[: len(data) // 2])
        elif fault in BODIES:
            self._send(200, BODIES[fault].encode())
        else:
            status = int(fault)
            error = json.dumps({"error": {"message": f"stub says {status}", "type": "stub", "code": status}}).encode()
            self._send(status, error, retry_after=self.server_stub.retry_after if status == 429 else None)

    def _send(self, status: int, data: bytes, *, promised: int | None = None, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if promised is None else promised))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
