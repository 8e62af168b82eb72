"""An engine whose rollouts a plain function writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..data import Problem, Rollout
from .requests import RolloutRequest


class ScriptedEngine:
    """Deterministic engine around a plain function, for tests and simulations.

    Args:
        policy: ``(problem, prefix, call_index, sample_index) -> Rollout``; `call_index` counts the requests of that
            problem from 0, `sample_index` the samples within the request.
        identity: Plain dict that names the engine in trees; None names it "scripted".

    Example:
        >>> import asyncio
        >>> engine = ScriptedEngine(lambda problem, prefix, call, sample: Rollout((f"sample {sample}",), "1"))
        >>> request = RolloutRequest(Problem("p0", "1 + 0 = ?"), num_samples=2, seed=0)
        >>> [rollout.steps for rollout in asyncio.run(engine.generate([request]))[0]]
        [('sample 0',), ('sample 1',)]
    """

    def __init__(
        self, policy: Callable[[Problem, tuple[str, ...], int, int], Rollout], *, identity: dict[str, Any] | None = None
    ) -> None:
        self.policy = policy
        self.identity = {"engine": "scripted"} if identity is None else identity
        self.num_calls: Counter[str] = Counter()

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return the policy's rollouts, in the order of the requests."""
        results = []
        for request in requests:
            call_index = self.num_calls[request.problem.id]
            self.num_calls[request.problem.id] += 1
            samples = range(request.num_samples)
            results.append(tuple(self.policy(request.problem, request.prefix, call_index, i) for i in samples))
        return results
