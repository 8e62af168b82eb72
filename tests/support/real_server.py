"""A real vLLM on loopback, started by recipes/real; and what its engines are asked for in tests/real."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.data import Problem
from mmprm_hf.files import read_jsonl

from .layout import ROOT

RECIPES = ROOT / "recipes" / "real"
START_SECONDS = 300


def made_by(script: str) -> Path:
    """The folder that a script of recipes/real prints; it is made on first use."""
    ran = subprocess.run(["bash", str(RECIPES / script)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(ran.stdout.strip())


class RealServer:
    """vLLM with one model, in a session of its own so that all its processes end together.

    Args:
        model: Checkpoint folder.
        name: The model's name at the server.
        log: File that takes what it prints.
        flags: More flags of `vllm serve`.
    """

    def __init__(self, model: Path, name: str, log: Path, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.model, self.name, self._log, self._flags = model, name, log, flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Start it on its port, and return once it answers."""
        command = ["bash", str(RECIPES / "serve.sh"), str(self.model), str(self._port), self.name, *self._flags]
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            is_running = self._process.poll() is None and time.monotonic() < end
            if not is_running:
                self.kill()
                raise RuntimeError(f"vLLM does not start:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End all its processes at once, as `kill -9` does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def start_mmprm(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, which prints into one pipe."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from mmprm_hf.cli import main; main()", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def mmprm(*arguments: str) -> tuple[int, str]:
    """Run the command line; return its exit code and all that it printed."""
    process = start_mmprm(*arguments)
    printed, _ = process.communicate()
    return process.returncode, printed


def word_problems() -> list[Problem]:
    """20 grade-school problems."""
    rows = read_jsonl(ROOT / "tests" / "real" / "problems.jsonl")
    return [Problem(row["id"], row["question"], answer=row["answer"]) for row in rows]


def rollouts_of(engine: Any, requests: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What an engine writes to these requests, in a loop of its own."""
    return asyncio.run(engine.generate(requests))


def row_keys(path: Path, key: str) -> list[Any]:
    """This key of every whole line of a file that somebody may be writing; nothing if there is no file yet."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)[key] for line in lines if line.endswith("\n")]
