"""Numbers to compute formulas with: fractions where they are exact, complex numbers of 60 digits with an error bound.

All are bounded in size, so that no formula takes long. A computation that would lose a term to rounding has no value:
equal within the error is then no proof. Standard library only.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

DIGITS = 60
MAX_BITS = 4096
"""Larger numbers are not exact; rounding must not make them equal to others either."""
MAX_FACTORIAL = 500
_NEEDED = Decimal("1e-35")
"""Values that differ by less, relative to their size, are equal; an error above it leaves that undecided."""
_LOST = Decimal("1e-40")
"""A term that is smaller than another by this factor is as good as lost when they are added."""
_TINY, _HUGE = Decimal("1e-20"), Decimal("1e20")
_TRAPS = [decimal.Overflow, decimal.InvalidOperation, decimal.DivisionByZero]
_WIDE = decimal.Context(prec=DIGITS + 12, Emax=10**5, Emin=-(10**5), traps=_TRAPS)
_EXACT = decimal.Context(prec=DIGITS, Emax=10**5, Emin=-(10**5), traps=_TRAPS)
_BOUND = decimal.Context(prec=5, rounding=decimal.ROUND_UP, Emax=10**6, Emin=-(10**6), traps=_TRAPS)
_ROUNDING = Decimal(f"1e-{DIGITS - 2}")
_ZERO, _ONE = Decimal(0), Decimal(1)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803")
_TURN = Decimal("6.28318530717958647692528676655900576839433879875021164194988918461563281257241799725607")


class TooLargeError(ArithmeticError):
    """A number of more than `MAX_BITS` bits, or too large to compute."""


class UndefinedError(ArithmeticError):
    """A division by zero, a function outside its domain, or a value that rounding has spoilt."""


@functools.total_ordering
@dataclasses.dataclass(frozen=True)
class Approximate:
    """A complex number and a bound of its error; computes with fractions, and compares by its real part."""

    real: Decimal
    imag: Decimal = _ZERO
    error: Decimal = _ZERO

    def __add__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        sizes = sorted((abs(self), abs(other)))
        if sizes[0] < _BOUND.multiply(sizes[1], _LOST) and not (self.is_nothing() or other.is_nothing()):
            raise UndefinedError
        return self.plus(other)

    def plus(self, other: Approximate) -> Approximate:
        """Return the sum, even if the smaller term is lost."""
        return _rounded(
            _EXACT.add(self.real, other.real),
            _EXACT.add(self.imag, other.imag),
            _BOUND.add(_BOUND.add(self.error, other.error), _BOUND.multiply(max(abs(self), abs(other)), _ROUNDING)),
        )

    def __mul__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        if not self.imag and not other.imag:
            real, imag = _EXACT.multiply(self.real, other.real), _ZERO
        else:
            real = _EXACT.subtract(_EXACT.multiply(self.real, other.real), _EXACT.multiply(self.imag, other.imag))
            imag = _EXACT.add(_EXACT.multiply(self.real, other.imag), _EXACT.multiply(self.imag, other.real))
        size, other_size = abs(self), abs(other)
        error = _BOUND.add(_BOUND.multiply(size, other.error), _BOUND.multiply(other_size, self.error))
        return _rounded(real, imag, _BOUND.fma(_BOUND.multiply(size, other_size), _ROUNDING, error))

    def __truediv__(self, other: Scalar) -> Approximate:
        other = approximate(other)
        if other.is_nothing():
            raise UndefinedError
        norm = _EXACT.fma(other.real, other.real, _EXACT.multiply(other.imag, other.imag))
        inverse_size = _BOUND.divide(_ONE, _BOUND.subtract(abs(other), other.error))
        error = _BOUND.multiply(_BOUND.multiply(inverse_size, inverse_size), other.error)
        inverse = _rounded(
            _EXACT.divide(other.real, norm),
            _EXACT.divide(other.imag.copy_negate(), norm) if other.imag else _ZERO,
            _BOUND.fma(inverse_size, _ROUNDING, error),
        )
        return self * inverse

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: Scalar) -> Approximate:
        return approximate(other) / self

    def __neg__(self) -> Approximate:
        return Approximate(self.real.copy_negate(), self.imag.copy_negate(), self.error)

    def __sub__(self, other: Scalar) -> Approximate:
        return self + -other

    def __rsub__(self, other: Scalar) -> Approximate:
        return -self + other

    def __abs__(self) -> Decimal:
        """The size, to five digits and rounded up."""
        if not self.imag:
            return _BOUND.plus(self.real.copy_abs())
        return _BOUND.sqrt(_BOUND.fma(self.real, self.real, _BOUND.multiply(self.imag, self.imag)))

    def __lt__(self, other: Real) -> bool:
        return self.real < (other.real if isinstance(other, Approximate) else other)

    def __float__(self) -> float:
        return float(self.real)

    def is_nothing(self) -> bool:
        """Whether the value is zero, or could be within its error."""
        return abs(self) <= 4 * self.error


Scalar = Fraction | Approximate
Real = Fraction | Approximate | float
"""A real number; a float is an infinity."""


def _rounded(real: Decimal, imag: Decimal, error: Decimal) -> Approximate:
    """A result; an imaginary part within the error is dropped, so that real values stay real."""
    return Approximate(real, _ZERO if abs(imag) <= error else imag, error)


def approximate(value: Scalar) -> Approximate:
    """Return a value with 60 digits and its error."""
    if isinstance(value, Approximate):
        return value
    result = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Approximate(result, _ZERO, _BOUND.multiply(abs(result), _ROUNDING))


def rough_sum(first: Scalar, second: Scalar) -> Scalar:
    """Return a sum that may lose the smaller term."""
    are_exact = isinstance(first, Fraction) and isinstance(second, Fraction)
    return first + second if are_exact else approximate(first).plus(approximate(second))


def is_real(value: Scalar) -> bool:
    """Return whether a value is a real number."""
    return isinstance(value, Fraction) or not value.imag


def checked(value: Scalar) -> Scalar:
    """Return the value.

    Raises:
        TooLargeError: if it is a fraction too large to go on with.
    """
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooLargeError
    return value


def are_equal(first: Scalar, second: Scalar) -> bool:
    """Return whether two values are equal: exactly if both are rational, to 35 digits otherwise.

    Raises:
        UndefinedError: if the errors are too large to tell.
    """
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    difference, size = approximate(first) - second, abs(approximate(first))
    if abs(difference) > 4 * difference.error:
        return False
    if difference.error > _NEEDED * max(size, _TINY):
        raise UndefinedError
    return True


def is_precise(value: Approximate) -> bool:
    """Return whether the error leaves at least 35 digits."""
    return value.error <= _NEEDED * max(abs(value), _TINY)


def power(base: Scalar, exponent: Scalar) -> Scalar:
    """Return a power; of a negative number with an odd root the real one, with other roots the principal one."""
    exact = _exact_power(base, exponent) if isinstance(base, Fraction) and isinstance(exponent, Fraction) else None
    if exact is not None:
        return exact
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and abs(exponent) <= 64:
        whole = math.prod([base] * abs(int(exponent)), start=Fraction(1))
        return whole if exponent >= 0 else 1 / whole
    is_odd_root = isinstance(exponent, Fraction) and exponent.denominator % 2 == 1
    if is_odd_root and is_real(base) and base < 0:
        return power(-base, exponent) * Fraction(-1 if exponent.numerator % 2 else 1)
    base = approximate(base)
    if base.is_nothing():
        raise UndefinedError
    return exponential(_logarithm(base) * exponent)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """A rational power that is rational; None if it is not, or too large to be exact."""
    if base == 0:
        if exponent <= 0:
            raise UndefinedError
        return Fraction(0)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator == 1:
        if abs(base) != 1 and abs(exponent) * size > MAX_BITS:
            return None
        return base ** int(exponent if abs(base) != 1 else exponent % 2)
    if exponent.denominator > 12 or base < 0 or abs(exponent.numerator) > 64:
        return None
    if size > 1000:  # more do not fit into a float
        raise TooLargeError
    root = Fraction(*(_nearest_root(part, exponent.denominator) for part in (base.numerator, base.denominator)))
    return root**exponent.numerator if root**exponent.denominator == base else None


def _nearest_root(number: int, degree: int) -> int:
    """The whole number whose power is nearest to `number`, by one step of Newton from the float."""
    root = round(number ** (1 / degree)) or 1
    return root - round(Fraction(root**degree - number, degree * root ** (degree - 1)))


def factorial(value: Scalar) -> Fraction:
    """Return the factorial of a whole number; others have none."""
    if not isinstance(value, Fraction) or value.denominator > 1 or value < 0:
        raise UndefinedError
    if value > MAX_FACTORIAL:
        raise TooLargeError
    return Fraction(math.factorial(int(value)))


PI = Approximate(_PI, _ZERO, _ROUNDING)
I = Approximate(_ZERO, _ONE)  # noqa: E741


def exponential(value: Scalar) -> Approximate:
    """Return e to a power."""
    value = approximate(value)
    if abs(value.real) > 10**5:
        raise TooLargeError
    _check_is_moderate(value)
    size = _EXACT.exp(value.real)
    sine, cosine = _sine_and_cosine(value.imag) if value.imag else (_ZERO, _ONE)
    error = _BOUND.multiply(_BOUND.plus(size), _BOUND.add(value.error * 2, _ROUNDING * (1 + abs(value))))
    return _rounded(_EXACT.multiply(size, cosine), _EXACT.multiply(size, sine), error)


def _check_is_moderate(value: Approximate) -> None:
    """Whether a function of the value keeps all digits that count."""
    if abs(value) > _HUGE or (abs(value) < _TINY and not value.is_nothing()):
        raise UndefinedError


def _logarithm(value: Scalar) -> Approximate:
    value = approximate(value)
    if value.is_nothing():
        raise UndefinedError
    size = _EXACT.sqrt(_EXACT.fma(value.real, value.real, _EXACT.multiply(value.imag, value.imag)))
    logarithm = _EXACT.ln(size)
    error = _BOUND.add(_BOUND.divide(value.error, abs(value)) * 2, _ROUNDING * (4 + abs(_BOUND.plus(logarithm))))
    if 4 * error < abs(logarithm) < _TINY:
        raise UndefinedError
    return _rounded(logarithm, _angle(value.real, value.imag), error)


def _sine_and_cosine(angle: Decimal) -> tuple[Decimal, Decimal]:
    turns = _EXACT.to_integral_value(_EXACT.divide(angle, _TURN))
    angle = _WIDE.divide(_WIDE.fma(turns, _TURN.copy_negate(), angle), Decimal(8))
    square = _WIDE.multiply(angle, angle).copy_negate()
    sine, cosine, term = angle, _ONE, angle
    for n in range(2, 60, 2):
        cosine = _WIDE.add(cosine, _WIDE.divide(_WIDE.multiply(term, angle.copy_negate()), Decimal(n)))
        term = _WIDE.divide(_WIDE.multiply(term, square), Decimal(n * (n + 1)))
        sine = _WIDE.add(sine, term)
        if not term or term.adjusted() < -DIGITS - 12:
            break
    for _ in range(3):  # the angle is doubled
        double = _WIDE.multiply(sine, cosine)
        sine, cosine = _WIDE.add(double, double), _WIDE.fma(cosine, cosine, _WIDE.multiply(sine, sine).copy_negate())
    return sine, cosine


def _angle(real: Decimal, imag: Decimal) -> Decimal:
    """The angle of a complex number, from that of floats and one step of correction."""
    if not imag:
        return _ZERO if real >= 0 else _PI
    size = _WIDE.sqrt(_WIDE.fma(real, real, _WIDE.multiply(imag, imag)))
    real, imag = _WIDE.divide(real, size), _WIDE.divide(imag, size)
    guess = Decimal(math.atan2(imag, real))
    sine, cosine = _sine_and_cosine(guess)
    rest = _WIDE.subtract(_WIDE.multiply(imag, cosine), _WIDE.multiply(real, sine))  # sine of the missing angle
    cube = _WIDE.multiply(_WIDE.multiply(rest, rest), rest)
    return _WIDE.add(guess, _WIDE.add(rest, _WIDE.divide(cube, Decimal(6))))


def _sine(value: Approximate) -> Approximate:
    _check_is_moderate(value)
    if value.imag:
        turned = exponential(I * value)
        return (turned - 1 / turned) / (I * Fraction(2))
    return Approximate(_sine_and_cosine(value.real)[0], _ZERO, value.error + _ROUNDING * (1 + abs(value)))


def _tangent(value: Approximate) -> Approximate:
    return _sine(value) / _sine(value + PI * Fraction(1, 2))


def _arctangent(value: Approximate) -> Approximate:
    _check_is_moderate(value)
    if value.imag:
        return (_logarithm(1 - I * value) - _logarithm(1 + I * value)) * I * Fraction(1, 2)
    return Approximate(_angle(_ONE, value.real), _ZERO, value.error + _ROUNDING * 4)


def _arcsine(value: Approximate) -> Approximate:
    _check_is_moderate(value)
    rest = 1 - value * value
    if not value.imag and rest > 0:
        error = _BOUND.add(_BOUND.divide(value.error, rest.real) * 4, _ROUNDING * 4)
        return Approximate(_angle(_EXACT.sqrt(rest.real), value.real), _ZERO, error)
    return -I * _logarithm(I * value + (rest if rest.is_nothing() else power(rest, Fraction(1, 2))))


def _hyperbolic(value: Approximate, sign: int) -> Approximate:
    return (exponential(value) + exponential(-value) * Fraction(sign)) * Fraction(1, 2)


FUNCTIONS: dict[str, Callable[[Approximate], Approximate]] = {
    "sin": _sine,
    "cos": lambda z: _sine(z + PI * Fraction(1, 2)),
    "tan": _tangent,
    "cot": lambda z: 1 / _tangent(z),
    "sec": lambda z: 1 / _sine(z + PI * Fraction(1, 2)),
    "csc": lambda z: 1 / _sine(z),
    "arcsin": _arcsine,
    "arccos": lambda z: PI * Fraction(1, 2) - _arcsine(z),
    "arctan": _arctangent,
    "sinh": lambda z: _hyperbolic(z, -1),
    "cosh": lambda z: _hyperbolic(z, 1),
    "tanh": lambda z: _hyperbolic(z, -1) / _hyperbolic(z, 1),
    "exp": exponential,
    "ln": _logarithm,
    "lg": lambda z: _logarithm(z) / _logarithm(Fraction(10)),
    "log": _logarithm,
}


def apply(name: str, argument: Scalar) -> Scalar:
    """Return the value of one of `FUNCTIONS`."""
    if argument == 0 and name in ("sin", "tan", "arcsin", "arctan", "sinh", "tanh"):
        return Fraction(0)
    if (argument == 0 and name in ("cos", "cosh", "exp", "sec")) or (argument == 1 and name in ("ln", "log", "lg")):
        return Fraction(name not in ("ln", "log", "lg"))
    return FUNCTIONS[name](approximate(argument))


def of_reals(name: str, values: list[Scalar]) -> Scalar:
    """Return "abs", "floor", "ceil", "max" or "min" of real numbers; what rounding makes an integer is that integer."""
    if name in ("floor", "ceil"):
        value = values[0] if isinstance(values[0], Fraction) else Fraction(values[0].real)
        error = 0 if isinstance(values[0], Fraction) else Fraction(4 * values[0].error)
        return Fraction(round(value) if abs(value - round(value)) <= error else getattr(math, name)(value))
    chosen = values[0] if name == "abs" else {"max": max, "min": min}[name](values)
    return -chosen if name == "abs" and chosen < 0 else chosen
