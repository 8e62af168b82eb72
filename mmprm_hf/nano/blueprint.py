"""What a family of the nano world returns: a problem's facts, its plans and its drawing.

A plan is a list of `PlanStep`. Every solution step that it renders is a chain of equalities ("A+B=47+58=105"), which is
what makes exact step checking possible.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from .drawing import PALE, PALETTE, Canvas

READ, COPY = "read", "copy"


@dataclasses.dataclass(frozen=True)
class PlanStep:
    """One step of a plan.

    Args:
        name: What the step states: a fact's name or a sum of names ("A+B").
        op: "read" (one fact from the figure), "copy" (one earlier value), one of + - * /, or one of the misreadings
            "+1" (a tick too many) and "/5" (the minute hand read as hours).
        args: Names of facts or earlier steps, or constants; two for + - * /, otherwise one.
    """

    name: str
    op: str
    args: tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A problem before it is drawn.

    Args:
        question: Text of the question; it states none of the readings.
        readings: What the figure shows, by name. Names with a dot ("A.price") never appear in solutions.
        plan: The right way to the answer, which its last step states.
        wrong_plan: The family's misconception, such as forgetting a half, ignoring a key or miscounting ticks.
        draw: Draws the figure; style (colours, side of a label) comes from the given random source.
        distractors: Other numbers in the figure, which a misreading may pick up.
        layout: Positions in the figure that belong to the problem's identity.
    """

    question: str
    readings: dict[str, int]
    plan: tuple[PlanStep, ...]
    wrong_plan: tuple[PlanStep, ...]
    draw: Callable[[random.Random], Canvas]
    distractors: tuple[int, ...] = ()
    layout: tuple[int | str, ...] = ()


def read_steps(*names: str) -> tuple[PlanStep, ...]:
    """Return the plan steps that read these facts from the figure."""
    return tuple(PlanStep(name, READ, (name,)) for name in names)


def styled_canvas(style: random.Random) -> tuple[Canvas, tuple[int, int, int], tuple[int, int, int]]:
    """Return a fresh canvas, a line colour and a fill."""
    return Canvas(), style.choice(PALETTE), style.choice(PALE)
