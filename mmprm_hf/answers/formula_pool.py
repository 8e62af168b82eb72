"""math-verify behind a few worker processes: callable from any thread, limited in time, never a hang.

In a thread math-verify runs without its time limits, and one tower of powers then hangs for ever. Here each question
goes to a process that can be killed. Standard library only.

Example:
    >>> SHARED_POOL.verify("\\\\sqrt{12}", "2\\\\sqrt{3}")
    <Verdict.CORRECT: 'correct'>
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import json
import os
import queue
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data import Verdict

FORMULA_TIMEOUT_SECONDS = 5.0
"""The most seconds one question may take in a worker."""
MAX_FORMULA_CHARS = 200
"""Longer formulas are undecided: they are degenerate loops, which would only time out."""
START_SECONDS = 120.0
"""The most seconds a worker may take to start (it imports sympy: one or two seconds on an idle machine)."""
MAX_REMEMBERED = 16384
"""Verdicts are forgotten when there are more, so that memory stays bounded."""
_MARGIN_SECONDS = 0.5
"""The worker's own alarm comes this much earlier than the kill, which would cost a new worker."""
_POOLS: weakref.WeakSet[FormulaPool] = weakref.WeakSet()


class FormulaPool:
    """Compares formulas with math-verify in up to `max_workers` processes, each started when it is first needed.

    `verify` may be called from any thread and after a fork. A worker that overruns is killed and its question is
    undecided; a worker that dies is replaced and the question asked once more. Workers end when this process does,
    however it ends. Verdicts are remembered.

    Args:
        max_workers: The most processes at the same time (60 to 100 MB each).
        timeout_seconds: The most seconds for one question, not counting the wait for a free worker and its start; at
            least 1.

    Raises:
        ValueError: if an argument is too small.
    """

    def __init__(self, max_workers: int = 2, timeout_seconds: float = FORMULA_TIMEOUT_SECONDS) -> None:
        if max_workers < 1 or timeout_seconds < 1:
            raise ValueError(
                f"Found max_workers={max_workers}, timeout_seconds={timeout_seconds}; a pool needs at least 1 worker "
                "and 1 second."
            )
        self.max_workers, self.timeout_seconds = max_workers, timeout_seconds
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        # No locks: they would not survive a fork. What threads share here changes in single steps of the interpreter.
        # Its own threads: many waiting questions must not occupy those of `asyncio.to_thread`.
        self._threads = concurrent.futures.ThreadPoolExecutor(self.max_workers, thread_name_prefix="formula")
        self._remembered: dict[tuple[str, str], Verdict] = {}
        self._workers: set[_Worker] = set()
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()  # a started worker is on top of an empty slot
        for _ in range(self.max_workers):
            self._slots.put(None)

    def verify(self, answer: str, gold: str) -> Verdict:
        """Return whether formula `answer` equals `gold`; undecided if either is too long or the time runs out.

        Raises:
            RuntimeError: if no worker can be started (math-verify is not installed).
        """
        verdict = self.remembered(answer, gold)
        if verdict is not None:
            return verdict
        verdict = self._ask_a_worker(answer, gold)
        if verdict is None:
            return Verdict.UNDECIDED
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[answer, gold] = verdict
        return verdict

    async def in_thread(self, function: Callable[[], Verdict]) -> Verdict:
        """Return the result of a function that calls `verify`, without holding up the event loop.

        Cancelling frees the caller at once, the worker when its question is answered.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def remembered(self, answer: str, gold: str) -> Verdict | None:
        """Return the verdict if it is known without asking a worker, else None; it never waits."""
        if max(len(answer), len(gold)) > MAX_FORMULA_CHARS:
            return Verdict.UNDECIDED
        return self._remembered.get((answer, gold))

    def close(self) -> None:
        """End all workers, busy ones too (their questions are undecided). A later question starts new ones."""
        for worker in list(self._workers):
            # The thread that reads its pipes, or the next question, closes them: a descriptor that is closed under a
            # reader may already belong to another file.
            worker.is_closed = True
            worker.end()

    def _ask_a_worker(self, answer: str, gold: str) -> Verdict | None:
        """The verdict of a free worker; None if two died of the question or the pool was closed meanwhile."""
        worker, idle_worker = self._slots.get(), None
        try:
            for _ in range(2):
                if worker is None or not worker.is_alive():
                    worker = self._start(worker)
                try:
                    verdict = worker.ask(answer, gold, self.timeout_seconds)
                except TimeoutError:
                    return Verdict.UNDECIDED
                except (EOFError, OSError):
                    if worker.is_closed:
                        return None
                    # It died: killed from outside, or out of memory. Its pipes close before the system reports it dead,
                    # so that `is_alive` would not know yet.
                    self._drop(worker)
                    worker = None
                else:
                    idle_worker = worker
                    return verdict
            return None
        finally:  # also on KeyboardInterrupt: a worker that still owes an answer is not asked again
            if worker is not idle_worker:
                self._drop(worker)
            self._slots.put(idle_worker)

    def _start(self, dead: _Worker | None) -> _Worker:
        if dead is not None:
            self._drop(dead)
        worker = _Worker()
        self._workers.add(worker)
        try:
            worker.wait_until_ready()
        except (EOFError, TimeoutError) as error:
            self._drop(worker)
            raise RuntimeError(
                f"A worker for formulas did not start ({type(error).__name__}; its own message is above). It needs the "
                f"package math-verify in {sys.executable}; install it with `pip install math-verify`."
            ) from error
        return worker

    def _drop(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        worker.kill()


class _Worker:
    """One process of `mmprm_hf.answers.formula_worker` and the pipes to it."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])  # this very package, however it came to be importable here
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mmprm_hf.answers.formula_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.is_closed = False
        self._ids = itertools.count()

    def is_alive(self) -> bool:
        return not self.is_closed and self.process.poll() is None

    def wait_until_ready(self) -> None:
        self._read_line(time.monotonic() + START_SECONDS)

    def ask(self, answer: str, gold: str, timeout_seconds: float) -> Verdict:
        """The worker's verdict; TimeoutError if it overruns, EOFError or OSError if it is dead."""
        deadline = time.monotonic() + timeout_seconds
        number = next(self._ids)
        question = {"id": number, "answer": answer, "gold": gold, "timeout_seconds": timeout_seconds - _MARGIN_SECONDS}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")  # ASCII: lone surrogates pass as escapes
        reply = self._read_line(deadline)
        if reply.get("id") != number:
            raise EOFError(f"Found the reply {reply} to question {number}. The worker is out of step.")
        return Verdict(reply["verdict"])

    def _read_line(self, deadline: float) -> dict[str, Any]:
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        line = os.read(self.process.stdout.fileno(), select.PIPE_BUF)  # written at once, so that it comes at once
        if not line:
            raise EOFError
        return json.loads(line)

    def kill(self) -> None:
        self.end()
        self.close_pipes()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def close_pipes(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()


SHARED_POOL = FormulaPool()
"""The pool of this process."""


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


def _forget_after_fork() -> None:
    """In the child: the workers are the parent's, and threads that held a queue's lock do not exist."""
    for pool in list(_POOLS):
        for worker in pool._workers:
            worker.close_pipes()  # else the workers would outlive the parent for as long as the child lives
            worker.process.returncode = 0  # the child must not wait for it
        pool._reset()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_after_fork)
