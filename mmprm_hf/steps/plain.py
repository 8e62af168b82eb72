"""Plain steps: paragraphs or lines, as stock models write them, with the final answer where such models put it.

The final answer is read by `answers.final_answer`, the reader of all rooms. An answer that has a line of its own at
the end ("Answer: 7") is no step; a sentence ("So the answer is 7.") is one. Standard library only.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from ..answers import final_answer, split_answer_line
from .protocol import (
    MALFORMED,
    NO_ANSWER,
    NO_STEP,
    ParsedResponse,
    StepFormat,
    Steps,
    check_block,
    with_worked_example,
)
from .splitting import ends_inside_region, split_blocks, split_lines


@dataclasses.dataclass(frozen=True)
class PlainFormat(StepFormat):
    """What paragraphs, lines and numbered steps share; a format adds how a text is cut and put together."""

    @property
    @abc.abstractmethod
    def step_separator(self) -> str:
        """What stands between two steps."""

    @abc.abstractmethod
    def split(self, text: str, num_steps: int = 0) -> Steps | None:
        """Return the steps of a text without an answer line, behind `num_steps` others; None for another form."""

    def join(self, steps: Sequence[str]) -> str:
        """Return the text of the first steps of a solution, without a separator at its end."""
        return self.step_separator.join(steps)

    def _read(self, solution: str, prefix: Steps) -> ParsedResponse:
        body, answer = split_answer_line(solution)
        steps = self.split(body, len(prefix))
        if answer is None:
            answer = final_answer(self.step_separator.join((*prefix, body)))
        fault = ""
        if steps is None or not self._reads_back((*prefix, *steps)):
            steps, fault = steps or (), MALFORMED
        elif not steps and not prefix:
            fault = NO_STEP
        elif not answer:
            fault = NO_ANSWER
        return ParsedResponse(steps, answer or None, not fault, fault)

    def _read_open_step(self, solution: str, prefix: Steps) -> str | None:
        body, answer = split_answer_line(solution)
        steps = self.split(body, len(prefix))
        if answer is not None or steps is None or len(steps) != 1 or not self._reads_back((*prefix, *steps)):
            return None
        return steps[0]

    def _reads_back(self, steps: Steps) -> bool:
        """Whether the text of these steps and of one more is read as just these."""
        return not steps or self.split(self.join((*steps, "x"))) == (*steps, "x")

    def _is_whole(self, solution: str) -> bool:
        return not ends_inside_region(solution)

    def render_prefix(self, steps: Sequence[str]) -> str:
        """Return the steps as they are written, and what stands before the next one."""
        steps = tuple(steps)
        for step_index, step in enumerate(steps):
            check_block(step, f"Step {step_index}")
        if not self._reads_back(steps):
            raise ValueError(
                f"Steps {steps!r:.200} cannot be written as {self.name}: the text would be read as other steps. Join "
                "or split them where the format does, or choose another step format."
            )
        return self.join(steps) + self.step_separator if steps else ""

    def render(self, steps: Sequence[str], answer: str) -> str:
        """Return the steps and, on a line of its own, the answer."""
        if not steps:
            raise ValueError("Found a solution without steps. A complete response has at least one; pass its steps.")
        check_block(answer, "The answer")
        line = f"<answer>{answer}</answer>" if "\n" in answer else f"Answer: {answer}"
        text = self.render_prefix(steps) + line
        parsed = self.parse(text)
        if parsed.steps != tuple(steps) or parsed.answer != answer.strip():
            raise ValueError(
                f"The answer {answer!r:.80} behind {len(steps)} steps would be read as {parsed.answer!r:.80} behind "
                f"{len(parsed.steps)}. Write it on one line and without tags."
            )
        return text


@dataclasses.dataclass(frozen=True)
class ParagraphFormat(PlainFormat):
    r"""Steps with blank lines between them; a formula, a fence or a table is never cut.

    Example:
        >>> parsed = PARAGRAPHS.parse("3 boxes hold 12.\n\nHe eats 2: 12 - 2 = 10.\n\nThe answer is 10.")
        >>> len(parsed.steps), parsed.answer, parsed.complete
        (3, '10', True)
        >>> PARAGRAPHS.render(("3 * 4 = 12", "12 - 2 = 10"), "10")
        '3 * 4 = 12\n\n12 - 2 = 10\n\nAnswer: 10'
    """

    name: ClassVar[str] = "paragraphs"

    @property
    def step_separator(self) -> str:
        """A blank line."""
        return "\n\n"

    def split(self, text: str, num_steps: int = 0) -> Steps:
        """Return the blocks."""
        return tuple(split_blocks(text))

    def step_stops(self, num_steps: int) -> tuple[str, ...]:
        """A blank line."""
        return ("\n\n",)

    def followers(self, num_steps: int) -> tuple[str, ...]:
        """A word or a number."""
        return ("The", "1")

    def instruction(self, *, with_example: bool = False) -> str:
        """Return the text that asks for paragraphs."""
        text = (
            "Solve the problem step by step. Write every step as a paragraph of its own, with a blank line between "
            'steps. End with a line of its own that says "Answer:" and then the final answer alone.'
        )
        return with_worked_example(self, text) if with_example else text


@dataclasses.dataclass(frozen=True)
class LineFormat(PlainFormat):
    r"""One step a line; blank lines have no meaning, and a formula, a fence or a table counts as one line.

    Example:
        >>> LINES.parse("3 * 4 = 12\n12 - 2 = 10\nAnswer: 10").steps
        ('3 * 4 = 12', '12 - 2 = 10')
    """

    name: ClassVar[str] = "lines"

    @property
    def step_separator(self) -> str:
        """A line break."""
        return "\n"

    def split(self, text: str, num_steps: int = 0) -> Steps:
        """Return the lines."""
        return tuple(split_lines(text))

    def step_stops(self, num_steps: int) -> tuple[str, ...]:
        """A line break."""
        return ("\n",)

    def followers(self, num_steps: int) -> tuple[str, ...]:
        """A word or a number."""
        return ("The", "1")

    def instruction(self, *, with_example: bool = False) -> str:
        """Return the text that asks for lines."""
        text = (
            "Solve the problem step by step. Write every step on a line of its own. End with a line that says "
            '"Answer:" and then the final answer alone.'
        )
        return with_worked_example(self, text) if with_example else text


PARAGRAPHS = ParagraphFormat()
"""Steps with blank lines between them."""

LINES = LineFormat()
"""One step a line."""
