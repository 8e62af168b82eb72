r"""Whether two equations or inequalities say the same: whether they are multiples of each other.

All is moved to one side. Polynomials that are no multiples of each other are different equations; of other formulas
(``y = 1/x``, ``xy = 1``) that is undecided. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .approximate import Real, is_real
from .nodes import Node, kinds_in
from .numeric import Point, compute, is_close, same_formula, unknowns

OPPOSITES = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


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
    if _names(first) != _names(second):
        return None if "prime" in set().union(*map(kinds_in, (*first, *second))) else False  # y' may be dy/dx
    if not _names(first):
        return False if False in map(same_formula, first, second) else None
    if constant_ratio(first, second) is not None:
        return True
    return False if all(map(_is_polynomial, (*first, *second))) else None


def same_inequality(first_sign: str, first: Sequence[Node], second_sign: str, second: Sequence[Node]) -> bool | None:
    r"""Return whether two inequalities (also ``\ne``, ``\approx``) say the same: ``x+y<2`` is ``2>y+x``."""
    if _names(first) != _names(second):
        return False
    if first_sign == second_sign:
        sides = list(map(same_formula, first, second))
        if None not in sides and True in sides:
            return all(sides)  # mb < 1 is not mb < 2
    if first_sign not in OPPOSITES or second_sign not in OPPOSITES:
        return None if first_sign == second_sign else False
    ratio = constant_ratio(first, second)
    if ratio is None:
        return None if first_sign[0] == second_sign[0] else False
    return first_sign == (second_sign if ratio > 0 else OPPOSITES[second_sign])


def constant_ratio(first: Sequence[Node], second: Sequence[Node]) -> Real | None:
    """Return the number by which one equation is a multiple of the other; None if there is none."""
    ratios = []
    for point in map(Point, (0, 1, 2, 3, 6)):
        try:
            values = [compute(("sum", a, ("negative", b)), point) for a, b in (first, second)]
            ratios.append(values[0] / values[1])
        except ArithmeticError:
            continue
        if not is_real(ratios[-1]) or not is_close(ratios[-1], ratios[0]):
            return None
    return ratios[0] if len(ratios) > 1 and not is_close(ratios[0], Fraction(0)) else None


def _names(sides: Sequence[Node]) -> set[str]:
    return set().union(*map(unknowns, sides))


def _is_polynomial(node: Node) -> bool:
    """Whether a formula has its unknowns in sums, products and whole powers alone."""
    kind, *parts = node
    if not unknowns(node) or kind == "name":
        return True
    if kind == "power":
        return _is_polynomial(parts[0]) and parts[1][0] in ("num", "group") and not unknowns(parts[1])
    if kind == "quotient":
        return _is_polynomial(parts[0]) and not unknowns(parts[1])
    return kind in ("sum", "product", "negative", "group") and all(map(_is_polynomial, parts))
