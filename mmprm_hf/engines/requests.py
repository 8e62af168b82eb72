"""What every engine takes: requests, sampling settings, and the engine's protocol.

An engine continues a prefix as an *assistant prefill* and returns parsed rollouts; it never judges them. Sampling
settings belong to the engine, randomness to the request's seed: a rollout depends on its problem, prefix, seed and
sample index, and not on what else shares its batch (up to floating-point noise). Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from ..data import Problem, Rollout
from ..errors import MAX_NEW_TOKENS, TOKENS_RULE, check_values, is_count
from ..steps import STEP_END, StepFormat


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn.

    Args:
        temperature: Divides the logits; 0 takes the most likely token (all samples of a request are then equal).
        top_p: Keeps the smallest set of tokens with at least this probability, in (0, 1]; 1 keeps all.
        top_k: Keeps this many of the most likely tokens; 0 keeps all.
        max_new_tokens: The most tokens per rollout, the end token included.
        stop_strings: Texts at which a rollout ends, with finish reason "stop"; as in OpenAI's protocol, they are left
            out of its text.

    Raises:
        ValueError: if a value is out of its range.
    """

    # Differs from MM-PRM: by default the policy's own distribution is sampled. The published script has top-k 50, top-p
    # 0.9 and 4,096 new tokens, its Python code a temperature of 0.7 and top-k 30, both a repetition penalty of 1.05.
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 128
    stop_strings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict."""
        return {**vars(self), "stop_strings": list(self.stop_strings)}

    def __post_init__(self) -> None:
        if isinstance(self.stop_strings, list):  # of YAML or JSON
            object.__setattr__(self, "stop_strings", tuple(self.stop_strings))
        check_values(
            self,
            temperature=(self.temperature >= 0, "at least 0 (0 = greedy)"),
            top_p=(0 < self.top_p <= 1, "in (0, 1]"),
            top_k=(self.top_k >= 0, "at least 0 (0 = off)"),
            max_new_tokens=(is_count(self.max_new_tokens, MAX_NEW_TOKENS), TOKENS_RULE),
            stop_strings=(
                isinstance(self.stop_strings, tuple) and all(isinstance(s, str) and s for s in self.stop_strings),
                "a tuple of non-empty texts",
            ),
        )


@dataclasses.dataclass(frozen=True)
class RolloutRequest:
    """Asks for rollouts of one problem after one prefix.

    Args:
        problem: The problem.
        prefix: Steps that the rollouts continue; empty for whole solutions.
        num_samples: Number of rollouts, at least 1.
        seed: Source of randomness; equal requests give equal rollouts.
        one_step: Stop at the end of the first further step, with finish reason `steps.STEP_END` and `steps` of one;
            a rollout that ends the solution there is complete, as any other.

    Raises:
        ValueError: if `num_samples` is below 1.
    """

    problem: Problem
    prefix: tuple[str, ...] = ()
    num_samples: int = 1
    seed: int = 0
    one_step: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(
                f"Found num_samples={self.num_samples} for problem {self.problem.id!r}; a request asks for at least 1."
            )


@dataclasses.dataclass(frozen=True)
class Written:
    """What a policy wrote behind a prompt.

    Args:
        text: Its text, what the prompt opened of its thought included; without the stop string.
        finish_reason: "stop", "length" or "control_token", see `Rollout`.
        num_tokens, num_prompt_tokens: Tokens written and read; 0 where the engine does not know.
        stopped_at: The stop string that ended it; "" where it ended by itself, None where a server does not tell.
    """

    text: str
    finish_reason: str = "stop"
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    stopped_at: str | None = None


def parse_rollout(written: Written, step_format: StepFormat, request: RolloutRequest) -> Rollout:
    """Return the rollout of what a policy wrote to a request, its verdict undecided."""
    costs = {"num_tokens": written.num_tokens, "num_prompt_tokens": written.num_prompt_tokens}
    parsed = step_format.parse(written.text, written.finish_reason, prefix=request.prefix)
    if request.one_step and written.finish_reason == "stop" and _may_stop_at_step(written, step_format, request):
        # Where a server does not tell what stopped the text, a solution that can be read to its end has ended.
        step = None
        if written.stopped_at is not None or not parsed.complete:
            step = step_format.parse_open_step(written.text, request.prefix)
        if step is not None:
            return Rollout((step,), None, False, STEP_END, text=written.text, **costs)
    return Rollout(
        parsed.steps,
        parsed.answer,
        parsed.complete,
        written.finish_reason,
        text=written.text,
        fault=parsed.fault,
        **costs,
    )


def _may_stop_at_step(written: Written, step_format: StepFormat, request: RolloutRequest) -> bool:
    return written.stopped_at is None or written.stopped_at in step_format.step_stops(len(request.prefix))


class RolloutEngine(Protocol):
    """Writes rollouts.

    `identity` is a plain dict that names what wrote them (kept beside every tree). `generate` returns, for each request
    in order, `num_samples` rollouts whose verdict is undecided. It raises `ProblemInputError` where one problem is at
    fault and `EngineUnavailableError` where none is. Many searches call it at the same time, so that an engine may join
    their requests.
    """

    identity: dict[str, Any]

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]: ...
