"""Joins what many concurrent callers want into batches for one worker thread.

A caller puts work in and waits. A pump takes what has gathered, lets the owner cut a batch out of it, and has that
batch done in the thread, so that the event loop stays free for verifiers and journals. When a batch is done its callers
go on at once, and what they ask next joins the next batch: no caller waits for all others.

Standard library only.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Work(Protocol):
    """One piece of work. An abandoned one is of no use any more: nobody waits for it."""

    is_abandoned: bool


WorkT = TypeVar("WorkT", bound=Work)
# Callers that were served together ask again within a few turns of the loop; this bounds the wait for stragglers.
_LINGER_SECONDS = 0.002
_MAX_LINGERS = 5


class _LoopState(Generic[WorkT]):
    """What waits in one event loop."""

    def __init__(self) -> None:
        self.waiting: list[WorkT] = []
        self.future_of: dict[int, asyncio.Future[None]] = {}
        self.pump: asyncio.Task[None] | None = None


class Gatherer(Generic[WorkT]):
    """Runs work of concurrent callers in batches.

    Args:
        cut: Given all waiting work in order of arrival, the batch to run next, not empty; it should hold the oldest.
        run: Runs a batch, in the worker thread; `is_stopped` turns true when nobody waits for it any more. It returns
            work that it could not do and that is to wait again.
    """

    def __init__(
        self,
        cut: Callable[[Sequence[WorkT]], list[WorkT]],
        run: Callable[[list[WorkT], Callable[[], bool]], list[WorkT]],
    ) -> None:
        self._cut, self._run = cut, run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollouts")
        self._states: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState[WorkT]] = (
            weakref.WeakKeyDictionary()
        )

    async def do(self, works: Sequence[WorkT]) -> None:
        """Return when all of these are done.

        Raises:
            Exception: whatever running a batch with one of them raised.
        """
        if not works:
            return
        loop = asyncio.get_running_loop()
        state = self._states.setdefault(loop, _LoopState())
        futures = []
        for work in works:
            futures.append(loop.create_future())
            state.future_of[id(work)] = futures[-1]
        state.waiting += works
        if state.pump is None or state.pump.done():
            state.pump = loop.create_task(self._pump(state))
        try:
            await asyncio.gather(*futures)
        finally:
            for work in works:  # on an error or a cancellation what is not done is of no use
                future = state.future_of.pop(id(work))
                work.is_abandoned = work.is_abandoned or not future.done() or future.cancelled()

    async def _pump(self, state: _LoopState[WorkT]) -> None:
        while await self._gather(state):
            try:
                batch = self._cut(state.waiting)
            except Exception as error:  # noqa: BLE001 (as below: nobody may wait for ever)
                failed, state.waiting = state.waiting, []
                self._settle(state, failed, error)
                continue
            chosen = {id(work) for work in batch}
            state.waiting = [work for work in state.waiting if id(work) not in chosen]
            stop = threading.Event()

            def is_stopped(batch: list[WorkT] = batch, stop: threading.Event = stop) -> bool:
                return stop.is_set() or all(work.is_abandoned for work in batch)

            try:
                undone = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch, is_stopped)
            except asyncio.CancelledError:
                stop.set()
                raise
            except Exception as error:  # noqa: BLE001 (whatever a batch raises must reach those who wait for it)
                self._settle(state, batch, error)
                continue
            state.waiting = undone + state.waiting
            waiting_again = {id(work) for work in undone}
            self._settle(state, [work for work in batch if id(work) not in waiting_again], None)

    async def _gather(self, state: _LoopState[WorkT]) -> bool:
        """Wait until no more work comes in for a moment; False if there is none."""
        for _ in range(_MAX_LINGERS):
            num_waiting = len(state.waiting)
            await asyncio.sleep(_LINGER_SECONDS)
            if len(state.waiting) == num_waiting:
                break
        state.waiting = [work for work in state.waiting if not work.is_abandoned]
        return bool(state.waiting)

    @staticmethod
    def _settle(state: _LoopState[WorkT], batch: Sequence[WorkT], error: Exception | None) -> None:
        for work in batch:
            future = state.future_of.get(id(work))
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
