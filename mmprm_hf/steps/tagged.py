"""Tagged steps: ``<step>...</step>`` blocks and one ``<answer>...</answer>`` block, as in MM-PRM.

Whitespace between blocks has no meaning; a step's text is kept verbatim. The only file that spells these tags.
Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from .protocol import MALFORMED, NO_ANSWER, NO_STEP, ParsedResponse, StepFormat, Steps, check_block, with_worked_example


@dataclasses.dataclass(frozen=True)
class TaggedFormat(StepFormat):
    """Four tags around steps and answer.

    A complete response has every tag closed; at least one step and none blank; exactly one answer, not blank, after the
    last step; only whitespace outside the tags. Behind a prefix an answer without a further step is complete.

    Args:
        step_open, step_close: Tags around each step.
        answer_open, answer_close: Tags around the final answer.

    Raises:
        ValueError: if a tag is blank, equal to another one or part of it.

    Example:
        >>> TAGGED.parse("<step>A=47</step><step>B=58</step><answer>75</answer>").steps
        ('A=47', 'B=58')
        >>> parsed = TAGGED.parse("<step>A=47</step><step>B=5", finish_reason="length")
        >>> parsed.steps, parsed.complete, parsed.fault
        (('A=47',), False, 'cut at the token limit')
        >>> TAGGED.parse_open_step("<step>A=47")
        'A=47'
        >>> TAGGED.render_prefix(("A=47", "B=58"))
        '<step>A=47</step><step>B=58</step>'
    """

    name: ClassVar[str] = "tagged"
    step_open: str = "<step>"
    step_close: str = "</step>"
    answer_open: str = "<answer>"
    answer_close: str = "</answer>"

    def __post_init__(self) -> None:
        for tag in self.tags:
            if not tag.strip():
                raise ValueError(f"Found a blank tag {tag!r} in {self}. Each of the four tags needs visible text.")
            if sum(tag in other for other in self.tags) > 1:
                raise ValueError(
                    f"Tag {tag!r} is equal to or part of another tag in {self.tags}, so that a text could be read in "
                    "two ways. Choose four tags of which none contains another."
                )

    @property
    def tags(self) -> tuple[str, str, str, str]:
        """``(step_open, step_close, answer_open, answer_close)``."""
        return (self.step_open, self.step_close, self.answer_open, self.answer_close)

    @property
    def opening(self) -> str:
        """The opening tag of a step."""
        return self.step_open

    @property
    def identity(self) -> Any:
        """The tags."""
        return list(self.tags)

    def _read(self, solution: str, prefix: Steps) -> ParsedResponse:
        # Differs from MM-PRM: unclosed tags, stray text and a missing answer are not dropped in silence, and a step
        # that is the last block is not taken for the answer.
        steps: list[str] = []
        answers: list[str] = []
        is_well_formed, cursor = True, 0
        open_tag: str | None = None
        for match in re.finditer("|".join(map(re.escape, self.tags)), solution):
            tag, inner = match.group(), solution[cursor : match.start()]
            cursor = match.end()
            if tag in (self.step_open, self.answer_open):
                is_well_formed &= open_tag is None and not inner.strip() and not answers
                open_tag = tag
                continue
            is_step = tag == self.step_close
            closes = open_tag == (self.step_open if is_step else self.answer_open)
            is_well_formed &= closes and bool(inner.strip())
            open_tag = None
            if closes and inner.strip():
                steps.append(inner) if is_step else answers.append(inner.strip())
        is_well_formed &= open_tag is None and not solution[cursor:].strip()
        answer = answers[0] if len(answers) == 1 else None
        fault = ""
        if not steps and not prefix:
            fault = NO_STEP
        elif not answers:
            fault = NO_ANSWER
        elif not is_well_formed or answer is None:
            fault = MALFORMED
        return ParsedResponse(tuple(steps), answer, not fault, fault)

    def _read_open_step(self, solution: str, prefix: Steps) -> str | None:
        head, tag, step = solution.partition(self.step_open)
        is_one_step = bool(tag) and not head.strip() and bool(step.strip()) and not any(t in step for t in self.tags)
        return step if is_one_step else None

    def step_stops(self, num_steps: int) -> tuple[str, ...]:
        """The closing tag of a step."""
        return (self.step_close,)

    def followers(self, num_steps: int) -> tuple[str, ...]:
        """A further step, or the answer."""
        return (self.step_open, self.answer_open)

    def render_prefix(self, steps: Sequence[str]) -> str:
        """Return the steps in their tags."""
        for step_index, step in enumerate(steps):
            self._check_block(step, f"Step {step_index}")
        return "".join(f"{self.step_open}{step}{self.step_close}" for step in steps)

    def render(self, steps: Sequence[str], answer: str) -> str:
        """Return the steps and the answer in their tags.

        Example:
            >>> TAGGED.render(("A=47",), "47")
            '<step>A=47</step><answer>47</answer>'
        """
        if not steps:
            raise ValueError("Found a solution without steps. A complete response has at least one; pass its steps.")
        self._check_block(answer, "The answer")
        return f"{self.render_prefix(steps)}{self.answer_open}{answer}{self.answer_close}"

    def _check_block(self, content: str, name: str) -> None:
        """Raise unless `content` is visible text without a tag of steps or thoughts."""
        check_block(content, name)
        for tag in self.tags:
            if tag in content:
                raise ValueError(
                    f"{name} contains the tag {tag!r}: {content[:80]!r}. Steps are plain text without tags; read "
                    "tagged text with `parse` first, or choose another step format."
                )

    def instruction(self, *, with_example: bool = False) -> str:
        """Return the text that asks for tags."""
        text = (
            f"Solve the problem step by step. Write each step inside {self.step_open} and {self.step_close}, and then "
            f"the final answer alone inside {self.answer_open} and {self.answer_close}. Write nothing outside the tags."
        )
        return with_worked_example(self, text) if with_example else text


TAGGED = TaggedFormat()
"""`TaggedFormat` with the tags of the published code."""
