"""A server with continuous batching, simulated: a decoding step takes the same time for 1 to 256 sequences.

That is what a GPU server does while decoding is bound by reading the weights. Nothing is computed; the policy is a
pseudo-random walk of right and wrong steps that depends on the request alone. `occupancy` is the share of slots that
held a sequence, over all steps in which the server ran.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from mmprm_hf.data import Problem, Rollout, content_hash
from mmprm_hf.engines import RolloutRequest

NUM_STEPS = 10
STEP_ERROR = 0.07
TOKENS_PER_STEP = (4, 14)


class SimulatedServer:
    """A `RolloutEngine`.

    Args:
        num_slots: Sequences decoded together.
        step_seconds: Time of one decoding step.
    """

    def __init__(self, num_slots: int = 256, step_seconds: float = 0.005) -> None:
        self.num_slots, self.step_seconds = num_slots, step_seconds
        self.identity: dict[str, Any] = {"engine": "simulated", "num_slots": num_slots, "step_seconds": step_seconds}
        self.num_busy_steps = 0
        self.num_slot_steps = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    @property
    def occupancy(self) -> float:
        """Busy slots as a share of all slots, in [0, 1]."""
        return self.num_slot_steps / max(1, self.num_slots * self.num_busy_steps)

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return the walk's rollouts once the simulated server has decoded them."""
        answers = [tuple(walk(request, sample) for sample in range(request.num_samples)) for request in requests]
        futures = [self._submit(rollout.num_tokens) for rollouts in answers for rollout in rollouts]
        await asyncio.gather(*futures)
        return answers

    def _submit(self, num_tokens: int) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._queue.append((num_tokens, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        active: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap by the step at which a sequence ends
        step = count = 0
        loop = asyncio.get_running_loop()
        due = loop.time()
        while active or self._queue:
            while self._queue and len(active) < self.num_slots:
                num_tokens, future = self._queue.popleft()
                heapq.heappush(active, (step + num_tokens, count, future))
                count += 1
            self.num_busy_steps += 1
            self.num_slot_steps += len(active)
            due = max(due + self.step_seconds, loop.time())  # a late wake-up does not slow the server down for good
            await asyncio.sleep(due - loop.time())
            step += 1
            while active and active[0][0] <= step:
                _, _, future = heapq.heappop(active)
                if not future.done():
                    future.set_result(None)


def walk(request: RolloutRequest, sample: int) -> Rollout:
    """One rollout: each further step goes wrong for good with probability `STEP_ERROR`; wrong walks answer 8 for 7."""
    rng = random.Random(content_hash(request.problem.id, list(request.prefix), request.seed, sample))
    steps = list(request.prefix)
    num_tokens = 0
    while len(steps) < NUM_STEPS:
        is_wrong = any(step.startswith("bad") for step in steps) or rng.random() < STEP_ERROR
        steps.append(f"{'bad' if is_wrong else 'good'} {len(steps)}.{rng.randrange(3)}")
        num_tokens += rng.randint(*TOKENS_PER_STEP)
    answer = "8" if any(step.startswith("bad") for step in steps) else "7"
    return Rollout(
        tuple(steps[len(request.prefix) :]), answer, num_tokens=num_tokens + 4, num_prompt_tokens=200 + 9 * len(steps)
    )


def problems(count: int) -> list[Problem]:
    """Text problems whose answer is 7."""
    return [Problem(f"simulated-{index}", f"What is seven? ({index})", answer="7") for index in range(count)]
