r"""Whether two equations or inequalities say the same: they are multiples of each other, or have different solutions.

Equations are moved to one side. What is a constant multiple is equal. Where it is not, a solution of one (found by
Newton's method, in complex numbers) that does not solve the other shows that they differ; else they are undecided.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence

from .approximate import Approximate, TooLargeError, UndefinedError
from .nodes import Node, kinds_in
from .numeric import Point, compute, same_formula, unknowns

_NUM_STEPS = 60
_OPPOSITES = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def same_equation(first: Sequence[Node], second: Sequence[Node]) -> bool | None:
    """Return whether two equations, given by their two sides, say the same.

    Equations between numbers (2 + 2 = 4) are compared side by side: that both are true does not make them equal.

    Example:
        >>> from mmprm_hf.answers.expressions import parse
        >>> same_equation((parse("y"), parse("2x+1")), (parse("2x-y"), parse("-1")))
        True
        >>> same_equation((parse("x^2"), parse("-1")), (parse("x^2"), parse("-2")))
        False
    """
    if tuple(first) == tuple(second) or tuple(first) == tuple(reversed(second)):
        return True
    names = [set().union(*map(unknowns, sides)) for sides in (first, second)]
    if names[0] != names[1]:
        return False
    if not names[0]:
        is_same = [same_formula(a, b) for a, b in zip(first, second, strict=True)]
        return False if False in is_same else None
    differences = [("sum", left, ("negative", right)) for left, right in (first, second)]
    ratio = _constant_ratio(*differences)
    if ratio is not None:
        return True
    if {"application"} & kinds_in(differences[0]) | {"application"} & kinds_in(differences[1]):
        return None
    return _differ_in_solutions(differences, sorted(names[0]))


def same_inequality(first_sign: str, first: Sequence[Node], second_sign: str, second: Sequence[Node]) -> bool | None:
    r"""Return whether two inequalities (also ``\ne``, ``\approx``) say the same: ``x+y<2`` is ``2>y+x``."""
    names = [set().union(*map(unknowns, sides)) for sides in (first, second)]
    if names[0] != names[1]:
        return False
    if first_sign == second_sign:
        sides = [same_formula(a, b) for a, b in zip(first, second, strict=True)]
        if None not in sides and True in sides:
            return all(sides)  # mb < 1 is not mb < 2
    if first_sign not in _OPPOSITES or second_sign not in _OPPOSITES:
        return None if first_sign == second_sign else False
    ratio = _constant_ratio(*(("sum", left, ("negative", right)) for left, right in (first, second)))
    if ratio is None:
        return None if first_sign[0] == second_sign[0] else False
    return first_sign == (second_sign if ratio > 0 else _OPPOSITES[second_sign])


def _constant_ratio(first: Node, second: Node) -> float | None:
    """The real number by which one formula is a multiple of the other; None if it is not."""
    point = Point(0)
    try:
        values = [compute(node, point) for node in (first, second)]
        values = [value.value if isinstance(value, Approximate) else complex(value) for value in values]
        ratio = values[0] / values[1]
    except (UndefinedError, TooLargeError, OverflowError, ZeroDivisionError):
        return None
    if abs(ratio.imag) > 1e-9 * abs(ratio) or ratio == 0:
        return None
    # The ratio is known to the precision of floats alone: it is compared as the quotient of values at this one point.
    is_multiple = _is_multiple(first, second, ratio.real)
    return ratio.real if is_multiple else None


def _is_multiple(first: Node, second: Node, ratio: float) -> bool:
    for index in (1, 2, 3, 6):
        point = Point(index)
        try:
            values = [compute(node, point) for node in (first, second)]
        except (UndefinedError, TooLargeError, OverflowError):
            continue
        left, right = (value.value if isinstance(value, Approximate) else complex(value) for value in values)
        if abs(left - ratio * right) > 1e-9 * (abs(left) + abs(ratio * right)):
            return False
    return True


def _differ_in_solutions(differences: Sequence[Node], names: Sequence[str]) -> bool | None:
    """False if a solution of one equation, in the first name that has one, does not solve the other; else None."""
    for equation, other in (differences, reversed(differences)):
        for name in names:
            point = _solution(equation, name)
            if point is None:
                continue
            try:
                value, nearby = compute(other, point), compute(other, Point(1))
            except (UndefinedError, TooLargeError, OverflowError):
                continue
            sizes = [abs(v.value) if isinstance(v, Approximate) else abs(float(v)) for v in (value, nearby)]
            if sizes[0] > 1e-6 * (1 + sizes[1]):
                return False
            break
    return None


class _Solving(Point):
    """A point whose one name is free."""

    def __init__(self, free: str, value: complex) -> None:
        super().__init__(0)
        self.free, self.value = free, value

    def name(self, name: str):
        return Approximate(self.value, 1e-15) if name == self.free else super().name(name)


def _solution(equation: Node, name: str) -> Point | None:
    """A point where an equation holds, found by the secant method in complex numbers; None if it finds none."""
    before, now = 0.7 + 0.4j, 1.3 + 0.1j
    try:
        value_before = _at(equation, name, before)
        for _ in range(_NUM_STEPS):
            value = _at(equation, name, now)
            if abs(value) < 1e-12 * (1 + abs(now)):
                return _Solving(name, now)
            if value == value_before:
                return None
            before, now = now, now - value * (now - before) / (value - value_before)
            value_before = value
    except (UndefinedError, TooLargeError, OverflowError):
        return None
    return None


def _at(equation: Node, name: str, value: complex) -> complex:
    result = compute(equation, _Solving(name, value))
    return result.value if isinstance(result, Approximate) else complex(result)
