"""Tagged steps: a policy's text <-> a tuple of steps. The only file that spells the policy's tags.

A response is ``<step>...</step>`` blocks followed by one ``<answer>...</answer>`` block; whitespace between blocks has
no meaning. A step's text is kept verbatim, so that `render_prefix` returns what the policy wrote inside its tags. Text
that breaks the format is never guessed at: it parses to ``complete=False``.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class StepFormat:
    """The four tags a policy writes its solution in.

    Args:
        step_open, step_close: Tags around each step.
        answer_open, answer_close: Tags around the final answer.

    Raises:
        ValueError: if a tag is blank, equal to another one or part of it.
    """

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


DEFAULT_STEP_FORMAT = StepFormat()


@dataclasses.dataclass(frozen=True)
class ParsedResponse:
    """What `parse_response` read.

    Args:
        steps: Text of every closed, non-empty step block, verbatim, in order.
        answer: Text of the answer block without surrounding whitespace; None if there is no such block, or several.
        complete: True only if the whole response keeps the format (see `parse_response`).
    """

    steps: tuple[str, ...]
    answer: str | None
    complete: bool


def parse_response(
    text: str,
    step_format: StepFormat = DEFAULT_STEP_FORMAT,
    finish_reason: str = "stop",
    *,
    has_prefix: bool = False,
) -> ParsedResponse:
    """Return the steps and the answer of a response, and whether it kept the format to its end.

    A complete response has every tag closed; at least one step and none blank; exactly one answer, not blank, after the
    last step; only whitespace outside the tags; and ``finish_reason == "stop"``.

    Args:
        text: The policy's raw text.
        step_format: The policy's tags.
        finish_reason: The engine's reason; with any other than "stop" (the text is cut off, say) it is not complete.
        has_prefix: True if `text` continues a non-empty prefix; an answer without a further step is then complete.

    Returns:
        The parsed response; that of an incomplete one has the steps which are closed.

    Example:
        >>> parse_response("<step>A=47</step><step>B=58</step><answer>75</answer>")
        ParsedResponse(steps=('A=47', 'B=58'), answer='75', complete=True)
        >>> parse_response("<step>A=47</step><step>B=5", finish_reason="length")
        ParsedResponse(steps=('A=47',), answer=None, complete=False)
    """
    # Differs from MM-PRM: unclosed tags, stray text and a missing answer are not dropped in silence, and a step that is
    # the last block is not taken for the answer.
    steps: list[str] = []
    answers: list[str] = []
    is_well_formed, cursor = True, 0
    open_tag: str | None = None
    for match in re.finditer("|".join(map(re.escape, step_format.tags)), text):
        tag, inner = match.group(), text[cursor : match.start()]
        cursor = match.end()
        if tag in (step_format.step_open, step_format.answer_open):
            is_well_formed &= open_tag is None and not inner.strip() and not answers
            open_tag = tag
            continue
        is_step = tag == step_format.step_close
        closes = open_tag == (step_format.step_open if is_step else step_format.answer_open)
        is_well_formed &= closes and bool(inner.strip())
        open_tag = None
        if closes and inner.strip():
            steps.append(inner) if is_step else answers.append(inner.strip())
    is_well_formed &= open_tag is None and not text[cursor:].strip()
    complete = is_well_formed and len(answers) == 1 and bool(steps or has_prefix) and finish_reason == "stop"
    return ParsedResponse(tuple(steps), answers[0] if len(answers) == 1 else None, complete)


def parse_open_step(text: str, step_format: StepFormat = DEFAULT_STEP_FORMAT) -> str | None:
    """Return the step of a text that an engine stopped at the step's closing tag, which the text does not contain.

    Engines write a solution step by step in this way: the closing tag is their stop string.

    Returns:
        The step; None for any other text: an answer, a second tag, words before the step, a blank step.

    Example:
        >>> parse_open_step("<step>A=47")
        'A=47'
        >>> parse_open_step("<answer>47</answer>") is None
        True
    """
    head, tag, step = text.partition(step_format.step_open)
    is_one_step = bool(tag) and not head.strip() and bool(step.strip()) and not any(t in step for t in step_format.tags)
    return step if is_one_step else None


def render_prefix(steps: Sequence[str], step_format: StepFormat = DEFAULT_STEP_FORMAT) -> str:
    """Return the text an assistant turn starts with when it continues `steps`; "" for no steps.

    Raises:
        ValueError: if a step is blank or contains one of the tags.

    Example:
        >>> render_prefix(("A=47", "B=58"))
        '<step>A=47</step><step>B=58</step>'
    """
    for step_index, step in enumerate(steps):
        _check_block(step, f"Step {step_index}", step_format)
    return "".join(f"{step_format.step_open}{step}{step_format.step_close}" for step in steps)


def render_solution(steps: Sequence[str], answer: str, step_format: StepFormat = DEFAULT_STEP_FORMAT) -> str:
    """Return the complete response of `steps` and `answer`; `parse_response` gives both back (the answer stripped).

    Raises:
        ValueError: if there is no step, or a step or the answer is blank or contains one of the tags.

    Example:
        >>> render_solution(("A=47",), "47")
        '<step>A=47</step><answer>47</answer>'
    """
    if not steps:
        raise ValueError("Found a solution without steps. A complete response has at least one; pass its steps.")
    _check_block(answer, "The answer", step_format)
    return f"{render_prefix(steps, step_format)}{step_format.answer_open}{answer}{step_format.answer_close}"


def _check_block(content: str, name: str, step_format: StepFormat) -> None:
    """Raise unless `content` is visible text without a tag."""
    if not content.strip():
        raise ValueError(f"{name} is blank ({content!r}). A block needs visible text; leave the block out instead.")
    for tag in step_format.tags:
        if tag in content:
            raise ValueError(
                f"{name} contains the tag {tag!r}: {content[:80]!r}. Steps are plain text without tags; read tagged "
                "text with parse_response first, or choose another StepFormat."
            )
