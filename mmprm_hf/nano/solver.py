"""Writes solutions of nano problems, right and wrong ones, and checks every step exactly.

A step is a chain of equalities over the problem's names and numbers ("A+B=47+58=105"). It is *right* if all its parts
have the same value under the true facts, *wrong* if they have not, *unparsable* if it is not such a chain. So a step
that is computed faithfully from a misread number is wrong, and so are its consequences.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import random
import re
from fractions import Fraction

from .blueprint import COPY, READ, Blueprint, PlanStep

_MAX_VALUE = 999
_READINGS = (READ, "+1", "/5")  # operations on a value of the figure, read rightly or not
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_PRECEDENCE = ("[+-]", "[*/]")


class StepTruth(enum.StrEnum):
    """What the exact checker finds about one step."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"


@dataclasses.dataclass(frozen=True)
class Noise:
    """How often a writer errs, as probabilities in [0, 1].

    Args:
        misread: Per value read from the figure.
        slip: Per computed result.
        wrong_plan: Per solution: the family's misconception is followed.
    """

    misread: float = 0.0
    slip: float = 0.0
    wrong_plan: float = 0.0


@dataclasses.dataclass(frozen=True)
class Number:
    """A number as a step states it, beside the true one (None: no such number belongs there)."""

    stated: int
    true: int | None


Piece = str | Number


def true_facts(blueprint: Blueprint) -> dict[str, int]:
    """Return every reading and every value that the right plan states, by name."""
    facts = dict(blueprint.readings)
    for step in blueprint.plan:
        facts[step.name] = _apply(step, facts)
    return facts


def _apply(step: PlanStep, values: dict[str, int]) -> int:
    """The value of a plan step; ArithmeticError where it is not an integer in [0, 999]."""
    first, *second = [values[arg] if isinstance(arg, str) else arg for arg in step.args]
    match step.op:
        case "read" | "copy":
            value = first
        case "+1":
            value = first + 1
        case "/5":
            value = first // 5
        case "/" if first % second[0]:
            raise ArithmeticError(f"{first} is not divisible by {second[0]}")
        case _:
            value = int(_OPERATIONS[step.op](first, second[0]))
    return _checked(value)


def _checked(value: int) -> int:
    if not 0 <= value <= _MAX_VALUE:
        raise ArithmeticError(f"{value} is outside [0, {_MAX_VALUE}]")
    return value


def _misread(value: int, name: str, blueprint: Blueprint, rng: random.Random) -> int:
    """Another number a reader could take `value` for: one from elsewhere in the figure, or a near one."""
    others = [v for key, v in blueprint.readings.items() if key != name] + list(blueprint.distractors)
    near = [value + 1, value - 1, value + 10, value - 10, value + rng.choice([2, 3, -2, -3])]
    if value >= 10:
        near.append(value % 10 * 10 + value // 10)
    pool = [v for v in (others if others and rng.random() < 0.4 else near) if v != value and v >= 0]
    return rng.choice(pool) if pool else value + 1


def _slip(value: int, rng: random.Random) -> int:
    """A near miss of a computed value."""
    return value + rng.choice([1, -1, 1, -1, 10, -10, 2, -2, 9])


def _write(blueprint: Blueprint, facts: dict[str, int], noise: Noise, rng: random.Random) -> list[list[Piece]]:
    """One solution with `noise`; ArithmeticError where an error leads to a value that nobody would write."""
    plan = blueprint.wrong_plan if rng.random() < noise.wrong_plan else blueprint.plan
    stated = dict(blueprint.readings)
    steps: list[list[Piece]] = []
    for step in plan:
        if step.op in _READINGS:
            value = _apply(step, blueprint.readings)
            if rng.random() < noise.misread:
                value = _misread(value, str(step.args[0]), blueprint, rng)
        else:
            for arg in step.args:
                is_hidden = arg in blueprint.readings and "." in arg  # read on the way: no step states it
                if is_hidden and rng.random() < noise.misread:
                    stated[arg] = _misread(stated[arg], arg, blueprint, rng)
            value = _apply(step, stated)
            if step.op != COPY and rng.random() < noise.slip:
                value = _slip(value, rng)
        steps.append([f"{step.name}=", *_operands(step, stated, facts, blueprint), Number(value, facts[step.name])])
        stated[step.name] = _checked(value)
    return steps


def _operands(step: PlanStep, stated: dict[str, int], facts: dict[str, int], blueprint: Blueprint) -> list[Piece]:
    """The calculation between a step's name and its result ("47+58="); none for readings and copies."""
    if step.op not in _OPERATIONS:
        return []
    right_args = {right.name: right.args for right in blueprint.plan}.get(step.name, ())
    first, second = (
        Number(stated[arg], facts.get(arg)) if isinstance(arg, str) else Number(arg, arg if arg in right_args else None)
        for arg in step.args
    )
    return [first, step.op, second, "="]


def write_solution(
    blueprint: Blueprint, facts: dict[str, int], rng: random.Random, noise: Noise | None = None
) -> list[list[Piece]]:
    """Return the steps of one solution, each a list of texts and `Number`s; what follows an error is computed from it.

    Args:
        blueprint, facts: The problem and its `true_facts`.
        rng: Source of all choices.
        noise: None writes the right solution.
    """
    while True:
        try:
            return _write(blueprint, facts, noise or Noise(), rng)
        except ArithmeticError:
            continue


def step_text(pieces: list[Piece]) -> str:
    """Return the step as a string."""
    return "".join(piece if isinstance(piece, str) else str(piece.stated) for piece in pieces)


def _value(expression: str, facts: dict[str, int], level: int = 0) -> Fraction:
    """Value of names and integers joined by + - * /, with the usual precedence.

    Raises:
        ValueError, KeyError, ZeroDivisionError: if it is not such an expression.
    """
    if level == len(_PRECEDENCE):
        term = expression.strip(" ")
        if not re.fullmatch(r"[A-Za-z]+|\d+", term):
            raise ValueError(f"{term!r} is neither a name nor an integer")
        return Fraction(int(term) if term.isdigit() else facts[term])
    first, *others = re.split(f"({_PRECEDENCE[level]})", expression)
    value = _value(first, facts, level + 1)
    for operation, operand in zip(others[::2], others[1::2], strict=True):
        value = _OPERATIONS[operation](value, _value(operand, facts, level + 1))
    return value


def check_step(step: str, facts: dict[str, int]) -> StepTruth:
    """Return the exact truth of one step under the problem's `facts`.

    Example:
        >>> str(check_step("A+B=47+58=105", {"A": 47, "B": 58}))
        'right'
    """
    parts = step.strip().split("=")
    if len(parts) < 2:
        return StepTruth.UNPARSABLE
    try:
        values = {_value(part.strip(), facts) for part in parts}
    except (ValueError, KeyError, ZeroDivisionError):
        return StepTruth.UNPARSABLE
    return StepTruth.RIGHT if len(values) == 1 else StepTruth.WRONG
