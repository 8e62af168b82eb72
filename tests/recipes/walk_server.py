"""An OpenAI-compatible server on loopback whose policy is a seeded walk; run as a process of its own by the tests.

    python walk_server.py PORT_FILE LOG_FILE

Every request is a line of LOG_FILE. The same messages and seed give the same answer in any process.
"""

import hashlib
import json
import random
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NUM_STEPS = 4


def walk(messages: list, seed: int) -> str:
    """Continue the assistant's steps: each goes wrong for good at 1 in 6; right walks answer the sum."""
    question = messages[0]["content"]
    text = question if isinstance(question, str) else question[-1]["text"]
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    steps = re.findall("<step>(.*?)</step>", prefix)
    digest = hashlib.sha256(json.dumps([text, steps, seed]).encode()).hexdigest()
    rng = random.Random(digest)
    written = ""
    while len(steps) < NUM_STEPS:
        is_bad = any(step.startswith("bad") for step in steps) or rng.random() < 1 / 6
        steps.append(f"{'bad' if is_bad else 'good'} {len(steps)}.{rng.randrange(2)}")
        written += f"<step>{steps[-1]}</step>"
    numbers = [int(number) for number in re.findall(r"\d+", text)] or [0]
    answer = sum(numbers) + any(step.startswith("bad") for step in steps)
    return f"{written}<answer>{answer}</answer>"


class Handler(BaseHTTPRequestHandler):
    log_path: Path

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "walk", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        has_figure = not isinstance(body["messages"][0]["content"], str)
        line = json.dumps({"seed": body["seed"], "messages": body["messages"][-1:], "has_figure": has_figure})
        with self.log_path.open("a") as log:
            log.write(line[-300:] + "\n")
        text = walk(body["messages"], body["seed"])
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 50, "completion_tokens": len(text) // 4, "total_tokens": 50 + len(text) // 4}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer({"id": "x", "object": "chat.completion", "model": "walk", "choices": [choice], "usage": usage})

    def _answer(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    Handler.log_path = Path(sys.argv[2])
    Handler.log_path.touch()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Path(sys.argv[1] + ".part").write_text(str(server.server_port))
    Path(sys.argv[1] + ".part").rename(sys.argv[1])
    server.serve_forever()
