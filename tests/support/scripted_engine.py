"""An engine whose rollouts a plain function writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mmprm_hf.data import Problem, Rollout
from mmprm_hf.engines import RolloutRequest


class ScriptedEngine:
    """Deterministic engine around a plain function.

    Args:
        policy: ``(problem, prefix, call_index, sample_index) -> Rollout``; `call_index` counts the requests of that
            problem from 0, `sample_index` the samples within the request.
        identity: Plain dict that names the engine in trees; None names it "scripted".
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
