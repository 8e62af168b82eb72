r"""Whether two formulas are equal: both are computed at the same points, exactly where they are rational.

Two different formulas agree at a point that was not chosen for them only by accident, so that agreement at all points
is equality and disagreement at all is inequality; anything between is None (undecided). Points are positive, whole and
negative; they also take turns in the two readings of ``1/2x``, ``\log x`` and ``f(x)``: what is equal in one reading
alone is undecided. So is what no point can compute. Standard library only.
"""

from __future__ import annotations

import cmath
import functools
import math
import zlib
from collections.abc import Sequence
from fractions import Fraction

from .approximate import (
    EPSILON,
    FUNCTIONS,
    Approximate,
    Scalar,
    TooLargeError,
    UndefinedError,
    apply,
    approximate,
    are_equal,
    checked,
    factorial,
    is_real,
    of_reals,
    power,
)
from .expressions import parse
from .nodes import Node, kinds_in, names_in, substitute

Real = Fraction | float

_CONSTANTS = {"pi": math.pi, "e": math.e, "i": 1j, "imath": 1j, "degrees": math.pi / 180}
_AMBIGUOUS = {"slash", "application", "log"}
_OPERATORS = {"sum_of", "prod", "int", "lim", "bigcup", "bigcap", "det", "vmatrix"}
"""What another formula may state in closed form."""
_KNOWN_KINDS = {"num", "name", "group", "negative", "sum", "product", "quotient", "power", "call"} | (
    FUNCTIONS.keys() - {"log"} | {"root", "log_base", "factorial", "binomial", "abs", "floor", "ceil", "max", "min"}
)
_PERIODIC = {"sin", "cos", "tan", "cot", "floor", "ceil", "factorial", "binomial"}
"""Functions of which formulas may be equal for whole numbers alone."""
_NUM_POINTS = 8
_WHOLE, _POSITIVE = (4, 5), (0, 1, 2, 3, 4, 5)


class Point:
    """Values for the names of a formula, and the reading of what can be read in two ways."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_second_reading = index % 2 == 1
        self.has_branch = False
        """Whether a root or logarithm left the real numbers, where equal formulas may take different branches."""

    def name(self, name: str) -> Scalar:
        """Return the value of a name, a small rational number that depends on the name and the point."""
        if name in _CONSTANTS:
            return Approximate(complex(_CONSTANTS[name]), 0.0 if name in ("i", "imath") else EPSILON)
        seed = zlib.crc32(f"{name} {self.index}".encode())
        if self.index in _WHOLE:
            return Fraction(5 + seed % 41)
        value = Fraction(101 + seed % 397, 211 + seed // 397 % 60)
        return value * (17 if self.index == 3 else 1) * (-1 if self.index >= 6 else 1)


def unknowns(node: Node) -> set[str]:
    """Return the names of a formula that are not constants."""
    return names_in(node) - _CONSTANTS.keys()


def same_formula(first: Node, second: Node) -> bool | None:
    r"""Return whether two formulas are equal for all values of their names; None if that cannot be told.

    Example:
        >>> same_formula(parse("(x+1)^2"), parse("x^2+2x+1")), same_formula(parse("x+1"), parse("x+2"))
        (True, False)
    """
    if first == second:
        return True
    kinds = kinds_in(first), kinds_in(second)
    is_ambiguous = bool(_AMBIGUOUS & (kinds[0] | kinds[1]))
    num_points = _NUM_POINTS if unknowns(first) | unknowns(second) else 2 if is_ambiguous else 1
    outcomes = []
    for point in map(Point, range(num_points)):
        try:
            outcomes.append((point, are_equal(compute(first, point), compute(second, point))))
        except (UndefinedError, TooLargeError):
            continue
    sizes = [{kind for kind in side if isinstance(kind, tuple)} for side in kinds]
    if sizes[0] != sizes[1]:
        return False if max(map(len, sizes)) == 1 else None  # a matrix is no number, nor one of another size
    has_other_form = kinds[0] & _OPERATORS != kinds[1] & _OPERATORS
    indices = () if is_ambiguous else _WHOLE if (kinds[0] | kinds[1]) & _PERIODIC else _POSITIVE
    verdict = _verdict(outcomes, num_points == 1, indices)
    return None if verdict is False and has_other_form else verdict


def _verdict(outcomes: Sequence[tuple[Point, bool]], is_constant: bool, indices: Sequence[int]) -> bool | None:
    """True if all points agree; False if none does, or if one of those with `indices` does not."""
    clean = [(point, is_same) for point, is_same in outcomes if not point.has_branch]
    considered = clean if len(clean) >= 2 else outcomes
    verdicts = {is_same for _, is_same in considered}
    if verdicts == {True}:
        return True
    if not verdicts or (len(clean) < 2 and not is_constant):
        return None
    differs = any(point.index in indices and not is_same for point, is_same in clean)
    return False if verdicts == {False} or differs else None


def real_constant(node: Node) -> Real | None:
    """Return the real value of a formula of numbers and known functions; None for others and for two readings."""
    if unknowns(node) or not kinds_in(node) <= _KNOWN_KINDS:
        return None
    try:
        value = compute(node, Point(0))
    except (UndefinedError, TooLargeError):
        return None
    if isinstance(value, Fraction):
        return value
    return value.value.real if is_real(value) and math.isfinite(value.value.real) else None


@functools.lru_cache(maxsize=65536)
def evaluate(text: str) -> Real | None:
    r"""Return the real value of a cleaned formula; None if it has names, is not read whole, is complex or too large.

    Example:
        >>> evaluate("\\frac{3}{2}-1"), evaluate("\\sqrt{3}/2"), evaluate("2x")
        (Fraction(1, 2), 0.8660254037844386, None)
    """
    sign = {"\\infty": math.inf, "+\\infty": math.inf, "-\\infty": -math.inf}.get(text.replace(" ", ""))
    if sign is not None:
        return sign
    node = parse(text)
    return None if node is None or node == ("name", "e") else real_constant(node)


def is_close(first: Real, second: Real) -> bool:
    """Return whether two real values are equal: exactly if both are rational, to 12 digits otherwise."""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    try:
        return math.isclose(first, second, rel_tol=1e-12, abs_tol=1e-14 if 0 in (first, second) else 0.0)
    except OverflowError:
        return False


def linear(node: Node) -> tuple[str, Real, Real] | None:
    """Return ``(name, slope, value at 0)`` of a formula that is linear in its only name; None for others."""
    names = unknowns(node)
    if len(names) != 1 or kinds_in(node) & {"call", "application"}:
        return None
    (name,) = names
    values = [real_constant(substitute(node, name, ("num", Fraction(n)))) for n in (0, 1, 2, -5)]
    if None in values:
        return None
    slope = values[1] - values[0]
    is_linear = is_close(values[2] - values[1], slope) and is_close(values[0] - values[3], 5 * slope)
    return (name, slope, values[0]) if is_linear and slope != 0 else None


def fingerprint(node: Node) -> float | None:
    """Return a number that equal formulas share up to rounding (the size at one point); None where there is none."""
    try:
        return abs(approximate(compute(node, Point(0))).value)
    except (UndefinedError, TooLargeError):
        return None


def fingerprint_ratio(node: Node) -> float | None:
    """Return a number that multiples of a formula share up to rounding; None where there is none."""
    try:
        return abs(approximate(compute(node, Point(0)) / compute(node, Point(1))).value)
    except (UndefinedError, TooLargeError, ZeroDivisionError):
        return None


def compute(node: Node, point: Point) -> Scalar:
    """Return the value of a tree at a point.

    Raises:
        UndefinedError: if it has none.
        TooLargeError: if it is too large to compute.
    """
    kind, *parts = node
    if kind == "num":
        return parts[0]
    if kind == "name":
        return point.name(parts[0])
    if kind == "call":
        return checked(_call(parts[0], parts[1:], point))
    if kind in ("matrix", "vmatrix", "Vmatrix"):
        return checked(_matrix(kind, *parts[:2], parts[2:], point))
    if kind == "application":
        argument = compute(parts[1], point)
        return generic(parts[0], [argument]) if point.is_second_reading else point.name(parts[0]) * argument
    if kind == "product" and sum("matrix" in kinds_in(part) for part in parts) > 1:
        return generic("product", [compute(part, point) for part in parts])  # the order of matrices matters
    return checked(_arithmetic(kind, [compute(part, point) for part in parts], point))


def _arithmetic(kind: str, values: list[Scalar], point: Point) -> Scalar:
    first, *rest = values
    if kind == "negative":
        return first * Fraction(-1)
    if kind == "sum":
        return sum(rest, start=first)
    if kind == "product":
        return math.prod(rest, start=first)
    if kind == "quotient":
        return _quotient(first, rest[0])
    if kind == "slash":
        divisor, *factors = rest
        factor = math.prod(factors, start=Fraction(1))
        return _quotient(first, divisor * factor) if point.is_second_reading else _quotient(first, divisor) * factor
    if kind == "power":
        return _power(first, rest[0], point)
    return first  # a group


def _quotient(first: Scalar, second: Scalar) -> Scalar:
    if isinstance(second, Fraction) and second == 0:
        raise UndefinedError
    return first / second


def _power(base: Scalar, exponent: Scalar, point: Point) -> Scalar:
    is_whole = isinstance(exponent, Fraction) and exponent.denominator % 2
    point.has_branch |= not is_whole and (not is_real(base) or approximate(base).value.real < 0)
    return power(base, exponent)


def _matrix(kind: str, height: int, width: int, cells: Sequence[Node], point: Point) -> Scalar:
    """A sum of the entries, each times a number of its own: linear, so that multiples and sums come out right."""
    seeds = (zlib.crc32(f"{kind} {height} {width} {index}".encode()) for index in range(len(cells)))
    values = [Fraction(1 + seed % 9973, 997) * compute(cell, point) for seed, cell in zip(seeds, cells, strict=True)]
    total = sum(values[1:], start=values[0])
    return total if kind == "matrix" else generic(kind, [total])


def _call(name: str, arguments: Sequence[Node], point: Point) -> Scalar:
    values = [compute(argument, point) for argument in arguments if argument[0] != "text"]
    marks = "".join(argument[1] for argument in arguments if argument[0] == "text")
    if name in ("sum_of", "int", "prod", "lim") or marks:
        weight = generic(f"{name} {marks}", values[:-1])
        return generic(name, [weight, values[-1]]) if name == "prod" else weight * values[-1]  # linear, as sums are
    if name == "root":
        return _power(values[1], _quotient(Fraction(1), values[0]), point)
    if name == "log_base" and len(values) == 2:
        return _function("ln", values[1], point) / _function("ln", values[0], point)
    if name == "factorial":
        return factorial(values[0])
    if name == "binomial":
        total, part = values
        return factorial(total) / (factorial(part) * factorial(total + part * Fraction(-1)))
    if name in ("abs", "floor", "ceil", "max", "min") and all(map(is_real, values)):
        return of_reals(name, values)
    if len(values) == 1 and name in FUNCTIONS:
        return _function(name, values[0], point)
    if name in ("cup", "cap"):
        return generic(name, values[:1]) + generic(name, values[1:])  # in any order
    return generic(name, values)


def _function(name: str, argument: Scalar, point: Point) -> Scalar:
    value = approximate(argument).value
    is_logarithm = name in ("ln", "lg", "log")
    point.has_branch |= (is_logarithm and value.real < 0) or (name in ("arcsin", "arccos") and abs(value) > 1)
    return apply("lg" if name == "log" and point.is_second_reading else name, argument)


def generic(name: str, values: Sequence[Scalar]) -> Approximate:
    """Return the value of an unknown function: equal for equal arguments, and like that of no other name."""
    total, error = complex(1.5 + zlib.crc32(name.encode()) % 9973 / 5000), 1e-15
    for index, value in enumerate(map(approximate, values)):
        weight = 0.3 + zlib.crc32(f"{name} {index}".encode()) % 9973 / 7000
        bounded = value.value / (1 + abs(value.value) / 50)  # large arguments must not lose their digits in the sine
        total += cmath.sin(weight * bounded) * (1.3 + index * weight)
        error += 4 * (value.error + abs(value.value) * EPSILON)
    return Approximate(total, error)
