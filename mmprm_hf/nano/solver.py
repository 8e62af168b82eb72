"""Writes solutions of nano problems, right ones and wrong ones, and says of every step whether it is true.

A step is a chain of equalities over the problem's names and numbers ("A+B=47+58=105"). It is *right* if all
parts of the chain have the same value under the true facts, *wrong* if they have not, *unparsable* if it is
no such chain. So a step computed faithfully from a misread number is wrong, as its consequences are.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import re
from fractions import Fraction

from .families import COPY, READ, Blueprint, PlanStep

_TOKEN = re.compile(r"[A-Za-z]+|\d+|[+\-*/]")
_MAX_VALUE = 999


class StepTruth(enum.StrEnum):
    """What the exact checker says of one step."""

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
    """A number as written in a step, beside what it should be (None: it has no place there)."""

    stated: int
    true: int | None


Piece = str | Number


def true_facts(blueprint: Blueprint) -> dict[str, int]:
    """Every reading and every value that the right plan states, by name."""
    facts = dict(blueprint.readings)
    for step in blueprint.plan:
        facts[step.name] = _apply(step, facts)
    return facts


def _apply(step: PlanStep, values: dict[str, int]) -> int:
    """The value of a plan step; raises ArithmeticError where it is no integer in [0, 999]."""
    args = [values[arg] if isinstance(arg, str) else arg for arg in step.args]
    match step.op:
        case "read" | "copy":
            value = args[0]
        case "+1":
            value = args[0] + 1
        case "/5":
            value = args[0] // 5
        case "+":
            value = args[0] + args[1]
        case "-":
            value = args[0] - args[1]
        case "*":
            value = args[0] * args[1]
        case "/":
            value, rest = divmod(args[0], args[1])
            if rest:
                raise ArithmeticError(f"{args[0]} is not divisible by {args[1]}")
        case _:
            raise ValueError(f"Unknown operation {step.op!r} in plan step {step.name!r}.")
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
    """One solution with `noise`; raises ArithmeticError where an error leads to a value nobody would write."""
    plan = blueprint.wrong_plan if rng.random() < noise.wrong_plan else blueprint.plan
    right_constants = {step.name: step.args for step in blueprint.plan}
    stated = dict(blueprint.readings)
    hidden = {name for name in blueprint.readings if "." in name}
    steps: list[list[Piece]] = []
    for step in plan:
        if step.op in (READ, "+1", "/5"):
            value = _apply(step, blueprint.readings)
            if rng.random() < noise.misread:
                value = _misread(value, str(step.args[0]), blueprint, rng)
            steps.append([f"{step.name}=", Number(value, facts[step.name])])
        else:
            for arg in step.args:
                if arg in hidden and rng.random() < noise.misread:
                    stated[arg] = _misread(stated[arg], arg, blueprint, rng)
            value = _apply(step, stated)
            if step.op != COPY and rng.random() < noise.slip:
                value = _slip(value, rng)
            pieces: list[Piece] = [f"{step.name}="]
            if step.op != COPY:
                for position, arg in enumerate(step.args):
                    if isinstance(arg, str):
                        pieces.append(Number(stated[arg], facts.get(arg)))
                    else:
                        pieces.append(Number(arg, arg if arg in right_constants.get(step.name, ()) else None))
                    pieces.append(step.op if position == 0 else "=")
            steps.append([*pieces, Number(value, facts[step.name])])
        if not 0 <= value <= _MAX_VALUE:
            raise ArithmeticError(f"{value} is outside [0, {_MAX_VALUE}]")
        stated[step.name] = value
    return steps


def write_solution(
    blueprint: Blueprint, facts: dict[str, int], rng: random.Random, noise: Noise | None = None
) -> list[list[Piece]]:
    """Steps of one solution, each a list of text pieces and `Number`s; everything after an error is recomputed from it.

    Args:
        blueprint, facts: The problem and its `true_facts`.
        rng: Source of all choices.
        noise: None writes the right solution.
    """
    noise = noise or Noise()
    while True:
        try:
            return _write(blueprint, facts, noise, rng)
        except ArithmeticError:
            continue


def step_text(pieces: list[Piece]) -> str:
    """The step as a string."""
    return "".join(piece if isinstance(piece, str) else str(piece.stated) for piece in pieces)


def _value(expression: str, facts: dict[str, int]) -> Fraction | None:
    """Value of names and integers joined by + - * /, with the usual precedence; None if it is no such expression."""
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != expression.replace(" ", "") or len(tokens) % 2 == 0:
        return None
    total, product, sign = Fraction(0), None, 1
    operator = "+"
    for index, token in enumerate(tokens):
        if index % 2:
            if token not in ("+", "-", "*", "/"):
                return None
            operator = token
            continue
        if token.isdigit():
            number = Fraction(int(token))
        elif token in facts:
            number = Fraction(facts[token])
        else:
            return None
        if operator in ("+", "-"):
            total += sign * product if product is not None else 0
            product, sign = number, 1 if operator == "+" else -1
        elif operator == "*":
            product *= number
        elif number == 0:
            return None
        else:
            product /= number
    return total + sign * product


def check_step(step: str, facts: dict[str, int]) -> StepTruth:
    """Exact truth of one step under the problem's `facts` (see the module's first lines)."""
    parts = step.strip().split("=")
    if len(parts) < 2:
        return StepTruth.UNPARSABLE
    values = [_value(part.strip(), facts) for part in parts]
    if any(value is None for value in values):
        return StepTruth.UNPARSABLE
    return StepTruth.RIGHT if len(set(values)) == 1 else StepTruth.WRONG
