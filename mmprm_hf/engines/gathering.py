"""Joins the work of many concurrent callers into batches for one worker thread.

A caller puts work in and waits. A pump takes what has gathered, lets the owner choose a batch of it, and has that batch
run in the thread, so that the event loop stays free for verifiers and journals. When a batch is done, its callers go
on at once, and what they ask next joins the next batch: no caller waits for all others. Standard library only.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Work(Protocol):
    """One piece of work, whose caller waits for `future`; once that is done or cancelled, nobody needs the work."""

    future: asyncio.Future[None] | None


WorkT = TypeVar("WorkT", bound=Work)
# Callers that were served together ask again within a few turns of the loop; this bounds the wait for stragglers.
_LINGER_SECONDS = 0.002
_MAX_LINGERS = 5


class _LoopState(Generic[WorkT]):
    """The work that waits in one event loop."""

    def __init__(self) -> None:
        self.waiting: list[WorkT] = []
        self.pump: asyncio.Task[None] | None = None


class Gatherer(Generic[WorkT]):
    """Runs work of concurrent callers in batches.

    Args:
        choose_batch: Takes all waiting work in order of arrival; returns the batch to run next, which is not empty and
            should hold the oldest work.
        run: Runs a batch in the worker thread. Its second argument returns True once nobody waits for the batch any
            more. It returns the work that it could not do and that waits again.
    """

    def __init__(
        self,
        choose_batch: Callable[[Sequence[WorkT]], list[WorkT]],
        run: Callable[[list[WorkT], Callable[[], bool]], list[WorkT]],
    ) -> None:
        self._choose_batch, self._run = choose_batch, run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollouts")
        self._states: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState[WorkT]] = (
            weakref.WeakKeyDictionary()
        )

    async def do(self, works: Sequence[WorkT]) -> None:
        """Return when all of these are done.

        Raises:
            Exception: whatever running a batch with one of them raised.
        """
        loop = asyncio.get_running_loop()
        state = self._states.setdefault(loop, _LoopState())
        for work in works:
            work.future = loop.create_future()
        state.waiting += works
        if state.pump is None or state.pump.done():
            state.pump = loop.create_task(self._pump(state))
        try:
            await asyncio.gather(*(work.future for work in works))
        finally:
            for work in works:  # after an error or a cancellation what is not done is of no use
                work.future.cancel()

    async def _pump(self, state: _LoopState[WorkT]) -> None:
        while await self._wait_for_work(state):
            batch = state.waiting
            try:
                batch = self._choose_batch(state.waiting)
                chosen = set(map(id, batch))
                state.waiting = [work for work in state.waiting if id(work) not in chosen]
                undone = await self._run_in_thread(batch)
            except Exception as error:  # noqa: BLE001 (whatever is raised must reach those who wait for it)
                _settle(batch, error)
                continue
            state.waiting = undone + state.waiting
            waiting_again = set(map(id, undone))
            _settle([work for work in batch if id(work) not in waiting_again])

    async def _run_in_thread(self, batch: list[WorkT]) -> list[WorkT]:
        stop = threading.Event()

        def is_stopped() -> bool:
            return stop.is_set() or all(work.future.done() for work in batch)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch, is_stopped)
        except asyncio.CancelledError:
            stop.set()
            raise

    async def _wait_for_work(self, state: _LoopState[WorkT]) -> bool:
        """Wait until no more work comes in for a moment; False if there is none."""
        for _ in range(_MAX_LINGERS):
            num_waiting = len(state.waiting)
            await asyncio.sleep(_LINGER_SECONDS)
            if len(state.waiting) == num_waiting:
                break
        state.waiting = [work for work in state.waiting if not work.future.done()]
        return bool(state.waiting)


def _settle(batch: Sequence[WorkT], error: Exception | None = None) -> None:
    """Let the callers of a batch go on, or raise there what it raised."""
    for work in batch:
        if not work.future.done():
            work.future.set_exception(error) if error else work.future.set_result(None)
