"""Numbers to compute formulas with: fractions where they are exact, complex floats with a bound of their error.

All are bounded in size, so that no formula takes long. Standard library only.
"""

from __future__ import annotations

import cmath
import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

MAX_BITS = 4096
"""Larger numbers are not exact; rounding to a float must not make them equal to others either."""
EPSILON = 4e-16
MAX_FACTORIAL = 500
MAX_GAMMA = 150


class TooLargeError(ArithmeticError):
    """A number of more than `MAX_BITS` bits, or too large for a float."""


class UndefinedError(ArithmeticError):
    """A division by zero, a function outside its domain, or a value that rounding has spoilt."""


@dataclasses.dataclass(frozen=True)
class Approximate:
    """A complex number and a bound of its error; with fractions it adds, multiplies and divides."""

    value: complex
    error: float

    def __add__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        total = self.value + other.value
        return Approximate(total, self.error + other.error + EPSILON * abs(total))

    def __mul__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        product = self.value * other.value
        error = abs(self.value) * other.error + abs(other.value) * self.error
        return Approximate(product, error + EPSILON * abs(product))

    def __truediv__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        if abs(other.value) <= 4 * other.error:
            raise UndefinedError
        quotient = self.value / other.value
        error = (self.error + abs(quotient) * other.error) / (abs(other.value) - other.error)
        return Approximate(quotient, error + EPSILON * abs(quotient))

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: Scalar) -> Approximate:
        return approximate(other) / self


Scalar = Fraction | Approximate


def approximate(value: Scalar) -> Approximate:
    """Return a value as a float with its error."""
    if isinstance(value, Approximate):
        return value
    try:
        result = float(value)
    except OverflowError:
        raise TooLargeError from None
    return Approximate(complex(result), abs(result) * EPSILON)


def is_real(value: Scalar) -> bool:
    """Return whether a value is a real number."""
    return isinstance(value, Fraction) or value.value.imag == 0


def checked(value: Scalar) -> Scalar:
    """Return the value.

    Raises:
        TooLargeError: if it is too large to go on with.
    """
    if isinstance(value, Fraction):
        is_small = max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS
    else:
        is_small = cmath.isfinite(value.value) and math.isfinite(value.error)
    if not is_small:
        raise TooLargeError
    return value


def are_equal(first: Scalar, second: Scalar) -> bool:
    """Return whether two values are equal: exactly if both are rational, within their errors otherwise.

    Raises:
        UndefinedError: if the errors are too large to tell.
    """
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    first, second = approximate(first), approximate(second)
    bound = 4 * (first.error + second.error)
    if abs(first.value - second.value) > bound:
        return False
    if bound > 1e-8 * max(abs(first.value), abs(second.value), 1e-3):
        raise UndefinedError
    return True


def power(base: Scalar, exponent: Scalar) -> Scalar:
    """Return a power; of a negative number with an odd root the real one, with other roots the principal one."""
    exact = _exact_power(base, exponent) if isinstance(base, Fraction) and isinstance(exponent, Fraction) else None
    if exact is not None:
        return exact
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and abs(exponent) <= 64:
        whole = math.prod([base] * abs(int(exponent)), start=Fraction(1))
        return whole if exponent >= 0 else 1 / whole
    if (
        isinstance(exponent, Fraction)
        and exponent.denominator % 2
        and is_real(base)
        and approximate(base).value.real < 0
    ):
        return power(base * Fraction(-1), exponent) * Fraction(-1 if exponent.numerator % 2 else 1)
    base, exponent = approximate(base), approximate(exponent)
    if base.value == 0:
        raise UndefinedError
    logarithm = cmath.log(base.value)
    if abs((logarithm * exponent.value).real) > 700:
        raise TooLargeError
    result = base.value**exponent.value
    relative = abs(exponent.value) * base.error / abs(base.value) + abs(logarithm) * exponent.error
    return Approximate(result, abs(result) * (relative + EPSILON * (1 + abs(logarithm * exponent.value))))


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """A rational power that is rational; None if it is not, or too large to be exact."""
    if base == 0:
        if exponent <= 0:
            raise UndefinedError
        return Fraction(0)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator == 1:
        is_small = abs(base) == 1 or abs(exponent) * size <= MAX_BITS
        return base ** int(exponent if abs(base) != 1 else exponent % 2) if is_small else None
    if exponent.denominator > 12 or base < 0 or abs(exponent.numerator) > 64:
        return None
    if size > 1000:  # more do not fit into a float
        raise TooLargeError
    root = Fraction(*(round(part ** (1 / exponent.denominator)) or 1 for part in (base.numerator, base.denominator)))
    return root**exponent.numerator if root**exponent.denominator == base else None


def factorial(value: Scalar) -> Scalar:
    """Return a factorial, that of fractions by the gamma function."""
    if isinstance(value, Fraction) and value.denominator == 1:
        if value < 0:
            raise UndefinedError
        if value > MAX_FACTORIAL:
            raise TooLargeError
        return Fraction(math.factorial(int(value)))
    argument = approximate(value)
    if abs(argument.value.real) > MAX_GAMMA:
        raise TooLargeError
    try:
        result = math.gamma(argument.value.real + 1) if is_real(value) else math.nan
    except ValueError:
        raise UndefinedError from None
    return Approximate(complex(result), abs(result) * (1e-13 + 100 * argument.error))


FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "cot": lambda z: 1 / cmath.tan(z),
    "sec": lambda z: 1 / cmath.cos(z), "csc": lambda z: 1 / cmath.sin(z), "arcsin": cmath.asin, "arccos": cmath.acos,
    "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "exp": cmath.exp,
    "ln": cmath.log, "lg": cmath.log10, "log": cmath.log,
}  # fmt: skip


def apply(name: str, argument: Scalar) -> Scalar:
    """Return the value of one of `FUNCTIONS`; its error comes from its slope."""
    if name in ("ln", "log", "lg") and argument == 1:
        return Fraction(0)
    argument = approximate(argument)
    step = max(argument.error, 1e-7 * (abs(argument.value) + 1e-3))
    try:
        result, moved = FUNCTIONS[name](argument.value), FUNCTIONS[name](argument.value + step)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UndefinedError from None
    slope = abs(moved - result) / step
    return Approximate(result, slope * (argument.error + EPSILON * abs(argument.value)) + 2 * EPSILON * abs(result))


def of_reals(name: str, values: list[Scalar]) -> Scalar:
    """Return "abs", "floor", "ceil", "max" or "min" of real numbers; a float next to an integer is that integer."""
    reals = [value if isinstance(value, Fraction) else value.value.real for value in values]
    if name in ("floor", "ceil"):
        is_near = isinstance(reals[0], float) and abs(reals[0] - round(reals[0])) < 1e-9
        return Fraction(round(reals[0]) if is_near else getattr(math, name)(reals[0]))
    chosen = values[0] if name == "abs" else values[reals.index({"max": max, "min": min}[name](reals))]
    return chosen * Fraction(-1) if name == "abs" and reals[0] < 0 else chosen
