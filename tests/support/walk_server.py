"""An OpenAI-compatible server on loopback whose policy is a seeded walk; run as a process of its own by the tests.

    python walk_server.py --log LOG_FILE --port-file PORT_FILE [--port N] [--answers JSON_FILE] [--faults SHARE]

Every answered request is a line of LOG_FILE, but for the engine's short questions about the server. The same messages
and seed give the same answer in any process. With `faults`, that share of requests is answered HTTP 500 or 429 when it
is first sent.
"""

import argparse
import base64
import hashlib
import io
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

NUM_STEPS = 4
NUM_PROBE_TOKENS = 16  # `max_tokens` of the engine's questions; policies here write up to 64


def pixels_of(parts: list) -> list[str]:
    """Hash of size and pixels of every figure among the parts of a message."""
    figures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    images = [Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2]))) for url in figures]
    return [hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:16] for image in images]


def walk(messages: list, seed: int, answers: dict[str, str] | None = None) -> str:
    """Continue the assistant's steps: each goes wrong for good at 1 in 6.

    A right walk answers the sum of the question's numbers or, where there is a figure, what `answers` says of its
    pixels; a wrong one 1 more.
    """
    question = messages[0]["content"]
    text = question if isinstance(question, str) else question[-1]["text"]
    figures = [] if isinstance(question, str) else pixels_of(question)
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    steps = re.findall("<step>(.*?)</step>", prefix)
    digest = hashlib.sha256(json.dumps([text, figures, steps, seed]).encode()).hexdigest()
    rng = random.Random(digest)
    written = ""
    while len(steps) < NUM_STEPS:
        is_bad = any(step.startswith("bad") for step in steps) or rng.random() < 1 / 6
        steps.append(f"{'bad' if is_bad else 'good'} {len(steps)}.{rng.randrange(2)}")
        written += f"<step>{steps[-1]}</step>"
    right = int((answers or {}).get(figures[0], -1)) if figures else sum(map(int, re.findall(r"\d+", text)))
    return f"{written}<answer>{right + any(step.startswith('bad') for step in steps)}</answer>"


def num_prompt_tokens(messages: list, continues: bool) -> int:
    """50 of the question, a word each of the assistant's turn, and 5 more where that is closed."""
    if messages[-1]["role"] != "assistant":
        return 50
    return 50 + len(messages[-1]["content"].split()) + (0 if continues else 5)


class Handler(BaseHTTPRequestHandler):
    log_path: Path
    answers: dict[str, str]
    faults: float
    seen: set[str] = set()
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "walk", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self.lock:
            is_new = digest not in self.seen
            self.seen.add(digest)
        if is_new and int(digest[:8], 16) < self.faults * 2**32:
            self._answer({"error": {"message": "try again"}}, 500 if int(digest[8], 16) % 2 else 429)
            return
        question = body["messages"][0]["content"]
        line = {"digest": digest, "figures": [] if isinstance(question, str) else pixels_of(question)}
        if body.get("max_tokens") != NUM_PROBE_TOKENS:
            with self.lock, self.log_path.open("a") as log:
                log.write(json.dumps(line) + "\n")
        text = walk(body["messages"], body["seed"], self.answers)
        message = {"role": "assistant", "content": text}
        prompt, completion = num_prompt_tokens(body["messages"], "continue_final_message" in body), len(text) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer({"id": "x", "object": "chat.completion", "model": "walk", "choices": [choice], "usage": usage})

    def _answer(self, content: dict, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--faults", type=float, default=0.0)
    options = parser.parse_args()
    Handler.log_path, Handler.faults = options.log, options.faults
    Handler.answers = {} if options.answers is None else json.loads(options.answers.read_text())
    Handler.log_path.touch()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    if options.port_file is not None:
        draft = options.port_file.with_suffix(".part")
        draft.write_text(str(server.server_port))
        draft.rename(options.port_file)
    server.serve_forever()
