"""`StepFormat`: what every way of writing steps can do, and `ParsedResponse`, what it reads.

A format reads a response whole or calls it incomplete and says why; it never guesses. What it reads it can write again:
``parse(render(steps, answer)).steps == steps``, and a prefix reads back as the same steps, or rendering raises.
Standard library only.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from .splitting import split_blocks
from .thoughts import split_thought, thought_tag_in

Steps = tuple[str, ...]

CUT = "cut at the token limit"
CONTROL_TOKEN = "a control token among the words"
OPEN_THOUGHT = "the thought never ends"
NO_STEP = "no step"
NO_ANSWER = "no final answer"
MALFORMED = "a form that cannot be read"
FAULTS = (CUT, CONTROL_TOKEN, OPEN_THOUGHT, NO_STEP, NO_ANSWER, MALFORMED)
"""Why a response is incomplete."""

STEP_END = "step"
"""The finish reason of a text that an engine stopped at the end of a step; see `StepFormat.step_stops`."""

_FAULT_OF_REASON = {"length": CUT, "control_token": CONTROL_TOKEN}


@dataclasses.dataclass(frozen=True)
class ParsedResponse:
    """What a format read.

    Args:
        steps: Text of every step, in order; of an incomplete response those that could be read.
        answer: Text of the final answer without surrounding whitespace; None if there is none, or several.
        complete: True only if the whole response was read: steps, one answer, to its end.
        fault: One of `FAULTS`, why it is not complete; "" for a complete one.
        thought: What a thinking model wrote before its solution, without the tags around it.
    """

    steps: Steps
    answer: str | None
    complete: bool
    fault: str = dataclasses.field(default="", compare=False)
    thought: str = dataclasses.field(default="", compare=False)

    @property
    def thought_steps(self) -> Steps:
        """The paragraphs of the thought."""
        return tuple(block.strip() for block in split_blocks(self.thought))


@dataclasses.dataclass(frozen=True)
class StepFormat(abc.ABC):
    """One way of writing steps; a value, equal to another one that reads and writes the same.

    Attributes:
        name: What it is called in options and files.
    """

    name: ClassVar[str]

    def parse(self, text: str, finish_reason: str = "stop", *, prefix: Sequence[str] = ()) -> ParsedResponse:
        """Return the steps and the answer of a response.

        Args:
            text: The policy's raw text, its thought included.
            finish_reason: The engine's reason; with any other than "stop" (the text is cut off, say) the response is
                not complete.
            prefix: Steps that `text` continues. They are not repeated in the result; the answer may stand in them.
        """
        thought, solution, is_open = split_thought(text)
        parsed = ParsedResponse((), None, False, OPEN_THOUGHT) if is_open else self._read(solution, tuple(prefix))
        if thought_tag_in(solution):  # its steps could not be written again: they would be read as a thought
            parsed = dataclasses.replace(parsed, complete=False, fault=MALFORMED)
        if finish_reason != "stop":
            fault = _FAULT_OF_REASON.get(finish_reason, parsed.fault or MALFORMED)
            parsed = dataclasses.replace(parsed, complete=False, fault=fault)
        return dataclasses.replace(parsed, thought=thought)

    @abc.abstractmethod
    def _read(self, solution: str, prefix: Steps) -> ParsedResponse:
        """Read a solution that was not cut off and holds no thought."""

    def parse_open_step(self, text: str, prefix: Sequence[str] = ()) -> str | None:
        """Return the step of a text that an engine stopped at one of `step_stops`, which its step does not contain.

        Returns:
            The step, without a thought before it; None for any other text: an answer, a second step, a blank one.
        """
        _, solution, is_open = split_thought(text)
        return None if is_open or thought_tag_in(solution) else self._read_open_step(solution, tuple(prefix))

    @abc.abstractmethod
    def _read_open_step(self, solution: str, prefix: Steps) -> str | None:
        """Read a step that holds no thought."""

    @abc.abstractmethod
    def step_stops(self, num_steps: int) -> tuple[str, ...]:
        """Return the stop strings that end the step which follows `num_steps` others."""

    def is_step_end(self, text: str) -> bool:
        """Return whether a stop string behind `text` ends a step: not in a thought, and not before its first word."""
        _, solution, is_open = split_thought(text)
        return not is_open and bool(solution.strip()) and self._is_whole(solution)

    def _is_whole(self, solution: str) -> bool:
        """Whether a step may end here (and not inside a formula, say)."""
        return True

    @property
    def opening(self) -> str:
        """What the first step begins with; "" where it begins with its own words."""
        return ""

    @property
    def step_separator(self) -> str:
        """The white space that stands between two steps; "" where there needs to be none."""
        return ""

    @abc.abstractmethod
    def followers(self, num_steps: int) -> tuple[str, ...]:
        """Return texts that a policy may write behind a prefix of `num_steps` steps, the most usual one first."""

    @abc.abstractmethod
    def render_prefix(self, steps: Sequence[str]) -> str:
        """Return the text an assistant's turn starts with when it continues `steps`; "" for no steps.

        Raises:
            ValueError: if the text would be read as other steps than these.
        """

    @abc.abstractmethod
    def render(self, steps: Sequence[str], answer: str) -> str:
        """Return the complete response of `steps` and `answer`; `parse` gives both back (the answer stripped).

        Raises:
            ValueError: if there is no step, or the text would be read as other steps or another answer.
        """

    @abc.abstractmethod
    def instruction(self, *, with_example: bool = False) -> str:
        """Return the text that asks a policy to write in this format, on request with a worked example."""

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict from which `read_step_format` makes the format again."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @property
    def identity(self) -> Any:
        """What an engine's identity holds of the format: equal for equal formats."""
        return self.to_dict()


EXAMPLE_QUESTION = "Tom has 3 boxes with 4 apples each. He eats 2 apples. How many are left?"
EXAMPLE_STEPS = ("The boxes hold 3 * 4 = 12 apples.", "After eating 2 there are 12 - 2 = 10 apples.")
EXAMPLE_ANSWER = "10"


def with_worked_example(step_format: StepFormat, instruction: str) -> str:
    """Return an instruction with a problem solved in a format."""
    solution = step_format.render(EXAMPLE_STEPS, EXAMPLE_ANSWER)
    return f"{instruction}\n\nFor example, for the problem\n\n{EXAMPLE_QUESTION}\n\nwrite\n\n{solution}"


def check_block(text: str, name: str) -> None:
    """Raise for a text that is blank or holds a tag of thoughts."""
    if not text.strip():
        raise ValueError(f"{name} is blank ({text!r}). It needs visible text; leave it out instead.")
    if tag := thought_tag_in(text):
        raise ValueError(f"{name} contains the tag {tag!r}: {text[:80]!r}. It would be read as a thought; remove it.")
