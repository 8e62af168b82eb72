"""The steps of one written solution, whatever its format: what is scored of a text. Standard library only."""

from __future__ import annotations

from .formats import read_solution
from .tagged import TAGGED
from .thoughts import split_thought


def solution_steps(text: str, *, thoughts: bool = False) -> tuple[str, ...]:
    """Return the steps of a solution in any step format: tagged, numbered, in paragraphs, or one a line.

    Args:
        text: What a policy or a person wrote. An answer line at its end is not a step.
        thoughts: Whether the paragraphs of a thought before the solution (``<think>...</think>``) are its first steps;
            they are left out otherwise.

    Raises:
        ValueError: if there is no step, a tag of a step is not closed, or the thought never ends and is left out.

    Example:
        >>> solution_steps("<think>Boxes first.</think>3 * 4 = 12\\n12 - 2 = 10\\nAnswer: 10")
        ('3 * 4 = 12', '12 - 2 = 10')
        >>> solution_steps("<think>Boxes first.</think>3 * 4 = 12", thoughts=True)
        ('Boxes first.', '3 * 4 = 12')
    """
    _, solution, is_open = split_thought(text)
    if is_open and not thoughts:
        raise ValueError(
            "Found a thought that never ends, and no solution behind it. Close it with </think>, or ask for the steps "
            "of thoughts too (--thoughts, thoughts=True)."
        )
    opened, closed = (solution.count(tag) for tag in (TAGGED.step_open, TAGGED.step_close))
    if opened != closed:
        raise ValueError(f"Found {opened} opening and {closed} closing tags of steps. Close every step, or use none.")
    parsed = TAGGED.parse(text) if opened else read_solution(text)
    steps = parsed.steps if opened else tuple(step.strip() for step in parsed.steps)
    steps = (*parsed.thought_steps, *steps) if thoughts else steps
    if not steps:
        raise ValueError("Found a solution without steps. Write one step per line, or blank lines between steps.")
    return steps
