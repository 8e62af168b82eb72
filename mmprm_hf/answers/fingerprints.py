"""Numbers that equal formulas share, by which answers are grouped before they are compared. Standard library only."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from .approximate import Scalar, approximate, rough_sum
from .nodes import Node
from .numeric import Point, compute


def fingerprint(node: Node) -> Decimal | None:
    """Return a number that equal formulas share up to rounding, from two points; None where there is none."""
    try:
        values = [compute(node, Point(index, may_lose=True)) for index in (0, 2)]
        return _size(rough_sum(values[0] * Fraction(7, 19), values[1]))
    except ArithmeticError:
        return None


def fingerprint_ratio(node: Node) -> Decimal | None:
    """Return a number that multiples of a formula share up to rounding; None where there is none."""
    try:
        values = [compute(node, Point(index, may_lose=True)) for index in (0, 3)]
        return _size(values[0] / values[1])
    except ArithmeticError:
        return None


def _size(value: Scalar) -> Decimal | None:
    """The size of a value, to more digits than a float has; None if rounding has spoilt these."""
    value = approximate(value)
    if value.is_nothing():
        return Decimal(0)
    size = (value.real * value.real + value.imag * value.imag).sqrt() if value.imag else value.real.copy_abs()
    return size if value.error < size * Decimal("1e-20") else None
