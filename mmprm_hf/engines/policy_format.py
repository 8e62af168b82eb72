"""Which step format a policy writes: named by the user or by the policy's folder, or found from a few responses.

What is found is fixed for the engine's lifetime and stands in its `identity`, so that a run which is resumed goes on
with it. Imports no torch.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..data import Problem
from ..errors import UnknownNameError
from ..steps import AUTO, PARAGRAPHS, FormatChoice, StepFormat, choose_step_format, read_step_format
from .requests import Written

logger = logging.getLogger(__name__)

INSTRUCT = ("auto", "never", "always", "example")
"""Whether a policy is asked to write in its format: "auto" only where that makes more responses readable."""

NUM_PROBLEMS, NUM_SAMPLES = 4, 4
_ENOUGH = 0.75  # a share of readable responses that needs no instruction

Draw = Callable[[Sequence[Problem], int], Awaitable[list[Written]]]


class PolicyFormat:
    """The step format of one policy, and the instruction that it is given.

    Args:
        step_format: A format or its name; "auto" finds one; None takes the one that the policy declares, or "auto".
        instruct: One of `INSTRUCT`.
        declared: What the policy's folder names as its format; None for nothing.

    Attributes:
        step_format: The format; None until it is found.
        instruction: What the policy is told about the form of its solution; None for nothing.

    Raises:
        UnknownNameError: for an unknown format or value of `instruct`.
    """

    def __init__(self, step_format: Any = None, instruct: str = "auto", declared: Any = None) -> None:
        if instruct not in INSTRUCT:
            raise UnknownNameError("value of instruct", instruct, INSTRUCT)
        wanted = step_format if step_format is not None else declared if declared is not None else AUTO
        self.step_format: StepFormat | None = None
        self.instruction: str | None = None
        self.instruct = instruct
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        if wanted != AUTO:
            self._fix(read_step_format(wanted))

    @property
    def identity(self) -> dict[str, Any]:
        """What an engine's identity holds of the format; the instruction only where there is one."""
        instruction = {} if self.instruction is None else {"instruction": self.instruction}
        return {"step_format": AUTO if self.step_format is None else self.step_format.identity, **instruction}

    def restore(self, identity: Mapping[str, Any]) -> None:
        """Take the format that an earlier engine of the same run found, unless one was named."""
        saved = identity.get("step_format", AUTO)
        if self.step_format is None and saved != AUTO:
            self._fix(read_step_format(saved))
            if self.instruct == "auto":
                self.instruction = identity.get("instruction")

    async def settle(self, draw: Draw, problems: Sequence[Problem]) -> None:
        """Find the format from a few responses to the first of these problems, where it is not known yet.

        Args:
            draw: Returns that many responses to each problem, written with the present `instruction`.
            problems: At least one.
        """
        # A lock that somebody has waited for cannot move to another loop.
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self.step_format is not None:
                return
            first = list({problem.id: problem for problem in problems}.values())[:NUM_PROBLEMS]
            choice, instruction = await self._choice(draw, first), None
            if self.instruct == "auto" and _share(choice) < _ENOUGH:
                asked_for = choice.step_format if choice.num_complete[choice.step_format.name] else PARAGRAPHS
                self.instruction = instruction = asked_for.instruction()
                asked = await self._choice(draw, first)
                if _share(asked) > _share(choice):
                    choice = asked
                else:
                    instruction = None
            self._fix(choice.step_format)
            if self.instruct == "auto":
                self.instruction = instruction
            asked = " The policy is asked to write so." if self.instruction else ""
            logger.warning("Step format: %s.%s step_format names another one.", choice, asked)

    async def _choice(self, draw: Draw, problems: Sequence[Problem]) -> FormatChoice:
        written = await draw(problems, NUM_SAMPLES)
        return choose_step_format([(response.text, response.finish_reason) for response in written])

    def _fix(self, step_format: StepFormat) -> None:
        self.step_format, self.instruction = step_format, None
        if self.instruct in ("always", "example"):
            self.instruction = step_format.instruction(with_example=self.instruct == "example")


def _share(choice: FormatChoice) -> float:
    """The share of responses that the chosen format reads completely."""
    return choice.num_complete[choice.step_format.name] / max(1, choice.num_responses)


def declared_format(*configs: Any) -> Any:
    """Return the `step_format` that the first of a policy's configurations names; None if none does."""
    for config in configs:
        declared = getattr(config, "step_format", None)
        if declared is not None:
            return declared
    return None
