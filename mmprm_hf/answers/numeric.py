r"""Whether two formulas are equal: both are computed at the same points, exactly where rational, else to 60 digits.

Two different formulas agree at a point that was not chosen for them only by accident, so that agreement at all points
is equality and disagreement at all is inequality; anything between is None (undecided). Points are positive, whole and
negative; they also take turns in the two readings of ``1/2x``, ``\log x``, ``f(x)`` and ``|A|``: what is equal in one
reading alone is undecided. So is what no point can compute. Standard library only.
"""

from __future__ import annotations

import functools
import math
import operator
import zlib
from collections.abc import Sequence
from fractions import Fraction

from .approximate import (
    FUNCTIONS,
    PI,
    Approximate,
    I,
    Real,
    Scalar,
    UndefinedError,
    apply,
    approximate,
    are_equal,
    checked,
    exponential,
    factorial,
    is_precise,
    is_real,
    of_reals,
    power,
    rough_sum,
)
from .expressions import parse
from .nodes import Node, is_ambiguous_size, kinds_in, names_in, substitute

_CONSTANTS = {"pi": PI, "e": exponential(Fraction(1)), "i": I, "imath": I, "degrees": PI * Fraction(1, 180)}
_AMBIGUOUS = {"slash", "application", "log", "mod"}
_OPERATORS = {"sum_of", "prod", "int", "lim", "bigcup", "bigcap", "det", "vmatrix", "cup", "cap", "setminus"}
"""What another formula may state in closed form."""
_KNOWN_KINDS = {"num", "name", "group", "negative", "sum", "product", "quotient", "power", "call"} | (
    FUNCTIONS.keys() - {"log"}
    | {
        "root",
        "log_base",
        "factorial",
        "double_factorial",
        "binomial",
        "abs",
        "floor",
        "ceil",
        "max",
        "min",
        "gcd",
        "remainder",
    }
    | {"lcm", "sum_of", "prod", "text", "vmatrix", "det"}
)
_PERIODIC = {"sin", "cos", "tan", "cot", "floor", "ceil", "factorial", "binomial", "mod", "remainder", "gcd", "lcm"}
"""Functions of which formulas may be equal for whole numbers alone."""
_NUM_POINTS, _LEAST_POINTS = 12, 3
_WHOLE = (4, 5, 8, 9, 10, 11)
_POSITIVE = (0, 1, 2, 3, *_WHOLE)
_MAX_TERMS = 200
_LEAST, _MOST = Fraction(1, 10**30), Fraction(10**30)
"""A formula with a constant beyond these is compared exactly or not at all: rounding would lose the small ones."""


class Point:
    """Values for the names of a formula, and the reading of what can be read in two ways."""

    def __init__(self, index: int, *, may_lose: bool = False) -> None:
        self.index = index
        self.may_lose = may_lose
        """Whether a sum may lose its smaller terms: enough for a fingerprint, not for a verdict."""
        self.is_second_reading = index % 2 == 1
        self.num_terms = 0  # of sums, nested ones too
        self.has_branch = False
        """Whether a root or logarithm left the real numbers, where equal formulas may take different branches."""

    def name(self, name: str) -> Scalar:
        """Return the value of a name, a small rational number that depends on the name and the point."""
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        seed = zlib.crc32(f"{name} {self.index}".encode())
        if self.index in _WHOLE:
            return Fraction(5 + seed % 41)
        value = Fraction(101 + seed % 397, 211 + seed // 397 % 60)
        return value * (17 if self.index == 3 else 1) * (-1 if self.index in (6, 7) else 1)


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
    is_ambiguous = bool(_AMBIGUOUS & (kinds[0] | kinds[1])) or is_ambiguous_size(first) or is_ambiguous_size(second)
    num_points = _NUM_POINTS if unknowns(first) | unknowns(second) else 2 if is_ambiguous else 1
    sizes = [{kind for kind in side if isinstance(kind, tuple)} for side in kinds]
    if sizes[0] != sizes[1]:
        return False if max(map(len, sizes)) == 1 else None  # a matrix is no number, nor one of another size
    must_be_exact = _has_extremes(first) or _has_extremes(second)
    is_whole = (kinds[0] | kinds[1]) & (_PERIODIC | _OPERATORS)
    indices = () if is_ambiguous else _WHOLE if is_whole else _POSITIVE
    outcomes: list[tuple[Point, bool]] = []
    verdict = None
    for point in map(Point, range(num_points)):
        try:
            values = compute(first, point), compute(second, point)
            if must_be_exact and not all(isinstance(value, Fraction) for value in values):
                continue
            outcomes.append((point, are_equal(*values)))
        except ArithmeticError:
            continue
        verdict = _verdict(outcomes, num_points == 1, indices)
        if verdict is False and point.index in indices:
            break
    is_known = num_points == 1 and _is_known(first) and _is_known(second)
    has_other_form = not is_known and kinds[0] & _OPERATORS != kinds[1] & _OPERATORS
    if verdict is True and num_points == _NUM_POINTS and len(outcomes) < _LEAST_POINTS:
        return None
    return None if verdict is False and (has_other_form or _differ_by_case(first, second)) else verdict


def _has_extremes(node: Node) -> bool:
    """Whether a formula has a constant so large or small that another one could be lost beside it."""
    if node[0] == "num":
        return isinstance(node[1], Fraction) and node[1] != 0 and not _LEAST <= abs(node[1]) <= _MOST
    if node[0] == "power" and node[1][0] == node[2][0] == "num" and node[1][1] != 0:
        return abs(math.log10(abs(node[1][1])) * node[2][1]) > 30 if abs(node[2][1]) < 10**6 else True
    if node[0] == "power" and node[2][0] == "negative" and node[2][1][0] == "num":
        return _has_extremes(("power", node[1], node[2][1]))
    return any(_has_extremes(part) for part in node[1:] if isinstance(part, tuple))


def _differ_by_case(first: Node, second: Node) -> bool:
    """Whether the constant of an integral is C in one formula and c in the other."""
    names = unknowns(first), unknowns(second)
    if {*(names[0] - names[1]), *(names[1] - names[0])} != {"C", "c"}:
        return False
    upper, lower = (first, second) if "C" in names[0] else (second, first)
    return same_formula(upper, substitute(lower, "c", ("name", "C"))) is True


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
    if unknowns(node) or not _is_known(node):
        return None
    try:
        value = compute(node, Point(0))
    except ArithmeticError:
        return None
    if isinstance(value, Fraction):
        return value
    return value if is_real(value) and is_precise(value) and not _has_extremes(node) else None


def _is_known(node: Node) -> bool:
    return all(kind in _KNOWN_KINDS for kind in kinds_in(node) if isinstance(kind, str))


@functools.lru_cache(maxsize=65536)
def evaluate(text: str) -> Real | None:
    r"""Return the real value of a cleaned formula; None if it has names, is not read whole, is complex or too large.

    Example:
        >>> evaluate("\\frac{3}{2}-1"), float(evaluate("\\sqrt{3}/2")), evaluate("2x")
        (Fraction(1, 2), 0.8660254037844386, None)
    """
    sign = {"\\infty": math.inf, "+\\infty": math.inf, "-\\infty": -math.inf}.get(text.replace(" ", ""))
    if sign is not None:
        return sign
    node = parse(text)
    return None if node is None or node == ("name", "e") else real_constant(node)


def is_close(first: Real, second: Real) -> bool:
    """Return whether two real values are equal: exactly if both are rational, to 35 digits otherwise."""
    if isinstance(first, float) or isinstance(second, float):
        return first == second  # infinite
    try:
        return are_equal(first, second)
    except UndefinedError:
        return False


def rounds_to(exact: Real, decimal: Real, num_decimals: int) -> bool:
    """Return whether a value rounded to `num_decimals` is `decimal`; a half may be rounded up or down."""
    values = [value if isinstance(value, Fraction) else Fraction(value.real) for value in (exact, decimal)]
    return abs(values[0] - values[1]) * 2 * 10**num_decimals <= 1


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
    return (name, slope, values[0]) if is_linear and not is_close(slope, Fraction(0)) else None


def compute(node: Node, point: Point) -> Scalar:
    """Return the value of a tree at a point.

    Raises:
        ArithmeticError: if it has none, or is too large to compute.
    """
    kind, *parts = node
    if kind == "num":
        return parts[0]
    if kind == "name":
        return point.name(parts[0])
    if kind == "call":
        return checked(_call(parts[0], parts[1:], point))
    if kind in ("matrix", "vmatrix", "Vmatrix"):
        return checked(_matrix(kind, *parts[:2], [compute(cell, point) for cell in parts[2:]]))
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
        return functools.reduce(rough_sum, values) if point.may_lose else sum(rest, start=first)
    if kind == "product":
        return math.prod(rest, start=first)
    if kind == "quotient":
        return first / rest[0]
    if kind == "slash":
        divisor, *factors = rest
        factor = math.prod(factors, start=Fraction(1))
        return first / (divisor * factor) if point.is_second_reading else first / divisor * factor
    if kind == "power":
        return _power(first, rest[0], point)
    return first  # a group


def _power(base: Scalar, exponent: Scalar, point: Point) -> Scalar:
    is_whole = isinstance(exponent, Fraction) and exponent.denominator % 2
    point.has_branch |= not is_whole and (not is_real(base) or base < 0)
    return power(base, exponent)


def _matrix(kind: str, height: int, width: int, cells: Sequence[Scalar]) -> Scalar:
    """A determinant, or a sum of the entries, each times a number of its own: linear, as matrices are."""
    if kind == "vmatrix" and height == width <= 6:
        return _determinant([cells[row * width : (row + 1) * width] for row in range(height)])
    seeds = (zlib.crc32(f"matrix {height} {width} {index}".encode()) for index in range(len(cells)))
    values = [Fraction(1 + seed % 9973, 997) * cell for seed, cell in zip(seeds, cells, strict=True)]
    total = sum(values[1:], start=values[0])
    return total if kind == "matrix" else generic(kind, [total])


def _determinant(rows: Sequence[Sequence[Scalar]]) -> Scalar:
    if len(rows) == 1:
        return rows[0][0]
    minors = ([(*row[:column], *row[column + 1 :]) for row in rows[1:]] for column in range(len(rows)))
    terms = [
        entry * _determinant(minor) * Fraction((-1) ** column)
        for column, (entry, minor) in enumerate(zip(rows[0], minors, strict=True))
    ]
    return sum(terms[1:], start=terms[0])


def _call(name: str, arguments: Sequence[Node], point: Point) -> Scalar:
    if any(argument[0] == "text" for argument in arguments):
        return _big_operator(name, arguments, point)
    if name in ("abs", "det") and arguments[0][0] == "matrix":
        return compute(("vmatrix", *arguments[0][1:]), point)
    values = [compute(argument, point) for argument in arguments]
    if name == "abs" and is_ambiguous_size(("call", name, *arguments)) and point.is_second_reading:
        return generic("size", values)
    if name == "root":
        return _power(values[1], Fraction(1) / values[0], point)
    if name == "log_base" and len(values) == 2:
        return _function("ln", values[1], point) / _function("ln", values[0], point)
    if name == "factorial":
        return factorial(values[0])
    if name == "binomial":
        total, part = values
        return factorial(total) / (factorial(part) * factorial(total + part * Fraction(-1)))
    if name == "mod" and not point.is_second_reading:
        return _of_integers("remainder", values)
    if name in ("gcd", "lcm", "remainder", "double_factorial"):
        return _of_integers(name, values)
    if name in ("abs", "floor", "ceil", "max", "min") and all(map(is_real, values)):
        return of_reals(name, values)
    if len(values) == 1 and name in FUNCTIONS:
        return _function(name, values[0], point)
    if name in ("cup", "cap"):
        return generic(name, values[:1]) + generic(name, values[1:])  # in any order
    return generic(name, values)


def _of_integers(name: str, values: Sequence[Scalar]) -> Scalar:
    """A function of whole numbers, which has no value for others."""
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise UndefinedError
    numbers = [int(value) for value in values]
    if name == "remainder" and len(numbers) == 2 and numbers[1] > 0:
        return Fraction(numbers[0] % numbers[1])
    if name == "double_factorial" and 0 <= numbers[0] <= _MAX_TERMS:
        return Fraction(math.prod(range(numbers[0], 0, -2)))
    if name in ("gcd", "lcm"):
        return Fraction(getattr(math, name)(*numbers))
    raise UndefinedError


def _big_operator(name: str, arguments: Sequence[Node], point: Point) -> Scalar:
    r"""A sum or product over whole numbers, term by term; any other operator as an unknown, linear one."""
    *bounds, body = arguments
    match [bound[1] if bound[0] in ("text", "name") else bound for bound in bounds]:
        case ["_", str(index), low, "^", high] | ["^", high, "_", str(index), low] if name in ("sum_of", "prod"):
            low, high = (("name", end) if isinstance(end, str) else end for end in (low, high))
            bound = f"bound {str(body).count('sum_of') + str(body).count('prod')}"  # nested ones have others
            body = substitute(body, index, ("name", bound))
            bounds = [("text", "_"), low, ("text", "^"), high]
            ends = [compute(end, point) if end != ("name", "infty") else None for end in (low, high)]
            if all(isinstance(end, Fraction) and end.denominator == 1 for end in ends):
                point.num_terms += max(0, int(ends[1] - ends[0]))
                if point.num_terms <= _MAX_TERMS:
                    indices = range(int(ends[0]), int(ends[1]) + 1)
                    terms = (compute(substitute(body, bound, ("num", Fraction(term))), point) for term in indices)
                    join = operator.mul if name == "prod" else operator.add
                    return functools.reduce(lambda a, b: checked(join(a, b)), terms, Fraction(name == "prod"))
            elif unknowns(low) | unknowns(high) and None not in ends:
                raise UndefinedError  # it has a value for whole numbers alone
    values = [compute(bound, point) for bound in bounds if bound[0] != "text"]
    weight = generic(f"{name} {''.join(bound[1] for bound in bounds if bound[0] == 'text')}", values)
    value = compute(body, point)
    return generic(name, [weight, value]) if name == "prod" else weight * value  # linear, as sums are


def _function(name: str, argument: Scalar, point: Point) -> Scalar:
    is_logarithm = name in ("ln", "lg", "log")
    is_arc = name in ("arcsin", "arccos")
    if is_real(argument) and ((is_logarithm and argument < 0) or (is_arc and not -1 <= argument <= 1)):
        point.has_branch = True
    return apply("lg" if name == "log" and point.is_second_reading else name, argument)


def generic(name: str, values: Sequence[Scalar]) -> Approximate:
    """Return the value of an unknown function: equal for equal arguments, unlike other names', of both signs."""
    total = approximate(Fraction(-1) + Fraction(zlib.crc32(name.encode()) % 9973, 5000))
    for index, value in enumerate(values):
        weight = Fraction(3, 10) + Fraction(zlib.crc32(f"{name} {index}".encode()) % 9973, 7000)
        total += apply("sin", approximate(value) * weight + 1) * (3 + index * weight)
    return total
