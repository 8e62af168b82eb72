r"""The value of a formula without unknowns: exact where it is rational, a float where it is not, None where unreadable.

It decides ``2\sqrt{3}`` against ``\sqrt{12}`` or 3.46 without a computer algebra system. What it reads is bounded in
length, depth and size, so that no text makes it slow. Standard library only.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction

Real = Fraction | float

MAX_CHARS = 300
MAX_DEPTH = 30
MAX_BITS = 4096
"""Larger numbers are not computed; rounding to a float must not make them equal to others either."""


class _TooLargeError(ValueError):
    """A number of more than `MAX_BITS` bits: a tower of powers, a huge factorial."""


class _UnreadableError(ValueError):
    """Not a formula without unknowns."""


def evaluate(text: str) -> Real | None:
    r"""Return the value of a cleaned formula; None if it is none, has unknowns, is ambiguous (``1/2\pi``) or too large.

    Example:
        >>> evaluate("\\frac{3}{2}-1"), evaluate("\\sqrt{3}/2"), evaluate("2x")
        (Fraction(1, 2), 0.8660254037844386, None)
    """
    return _evaluate(text)[0]


def is_too_large(text: str) -> bool:
    """Return whether a formula holds a number that nothing should compute (`MAX_BITS`)."""
    return _evaluate(text)[1]


@functools.lru_cache(maxsize=65536)
def _evaluate(text: str) -> tuple[Real | None, bool]:
    """The value, and whether it is too large."""
    if len(text) > MAX_CHARS or not re.search(r"\d|\\pi|\\infty", text):
        return None, False
    infinite = re.fullmatch(r"\s*([-+]?)\s*\\infty\s*", text)
    if infinite:
        return (-math.inf if infinite.group(1) == "-" else math.inf), False
    parser = _Parser(text)
    try:
        value = parser.sum(0)
        is_whole = not parser.peek()
    except _UnreadableError:
        return None, False
    except (_TooLargeError, OverflowError):
        return None, True
    return (value if is_whole and (isinstance(value, Fraction) or math.isfinite(value)) else None), False


def is_close(first: Real, second: Real) -> bool:
    """Return whether two values are equal: exactly if both are rational, to 12 digits otherwise."""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    try:
        return math.isclose(first, second, rel_tol=1e-12, abs_tol=1e-14)
    except OverflowError:
        return False


_TOKEN = re.compile(r"\s*(\\[A-Za-z]+|\d+(?:\.\d+)?|\.\d+|[-+*/^(){}\[\]!|]|degrees\b)")
_FUNCTIONS = {"\\sin": math.sin, "\\cos": math.cos, "\\tan": math.tan, "\\ln": math.log, "\\arctan": math.atan}
_CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}
_DIGIT = re.compile(r"\s*(\d)")
_PROPER_FRACTION = re.compile(r"\s*\\frac\s*\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}")


class _Parser:
    """Recursive descent over a formula's text."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def peek(self) -> str:
        """The next token; "" at the end."""
        match = _TOKEN.match(self.text, self.position)
        if match:
            return match.group(1)
        if self.text[self.position :].strip():
            raise _UnreadableError
        return ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise _UnreadableError
        self.position = _TOKEN.match(self.text, self.position).end()
        return token

    def sum(self, depth: int) -> Real:
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product(depth)
            value = _checked(value + term if sign == "+" else value - term)
        return value

    def product(self, depth: int) -> Real:
        value, is_divided = self.signed(depth), False
        while True:
            token = self.peek()
            if token in ("*", "\\times", "\\cdot"):
                self.take()
                value = _checked(value * self.signed(depth))
            elif token in ("/", "\\div"):
                self.take()
                value, is_divided = _divided(value, self.signed(depth)), True
            elif token and (token in ("(", "[", "{") or (token[0] == "\\" and token != "\\pm")):
                if is_divided:
                    raise _UnreadableError  # 1/2\pi: of what is it a half?
                value = _checked(value * self.power(depth))
            else:
                return value

    def signed(self, depth: int) -> Real:
        sign = self.take() if self.peek() in ("+", "-") else "+"
        value = self.power(depth)
        return value if sign == "+" else -value

    def power(self, depth: int) -> Real:
        value = self.base(depth)
        while self.peek() == "!":
            self.take()
            value = _factorial(value)
        if self.peek() == "^":
            self.take()
            value = _power(value, self.group(depth) if self.peek() in ("{", "(") else self.signed(depth + 1))
        return value

    def group(self, depth: int) -> Real:
        opening = self.take()
        value = self.sum(depth + 1)
        self.take(_CLOSING[opening])
        return abs(value) if opening == "|" else value

    def base(self, depth: int) -> Real:
        token = self.peek()
        if depth > MAX_DEPTH:
            raise _UnreadableError
        if token in _CLOSING:
            return self.group(depth)
        if token[:1].isdigit() or token[:1] == ".":
            return self.number()
        if token not in ("\\pi", "\\frac", "\\sqrt", "\\binom", *_FUNCTIONS):
            raise _UnreadableError
        self.take()
        if token == "\\pi":
            return math.pi
        if token == "\\sqrt":
            return self.root(depth)
        if token == "\\frac":
            return _divided(self.argument(depth), self.argument(depth))
        if token == "\\binom":
            return _binomial(self.argument(depth), self.argument(depth))
        angle = self.power(depth + 1)
        if self.peek() == "degrees":
            self.take()
            angle = math.radians(angle)
        try:
            return _FUNCTIONS[token](angle)
        except (ValueError, OverflowError):
            raise _UnreadableError from None

    def number(self) -> Real:
        """A number; an integer before a fraction of digits is a mixed number."""
        literal = self.take()
        value = Fraction(literal)
        mixed = _PROPER_FRACTION.match(self.text, self.position)
        if mixed and literal.isdigit() and int(mixed.group(1)) < int(mixed.group(2)):
            self.position = mixed.end()
            value += Fraction(int(mixed.group(1)), int(mixed.group(2)))
        return value

    def argument(self, depth: int) -> Real:
        """A macro's argument: a group, or one digit (``\\frac12``), or one macro."""
        digit = _DIGIT.match(self.text, self.position)
        if digit:
            self.position = digit.end()
            return Fraction(digit.group(1))
        return self.base(depth + 1)

    def root(self, depth: int) -> Real:
        index = Fraction(2)
        if self.peek() == "[":
            index = self.group(depth)
        value = self.base(depth + 1)
        if value < 0 or index not in (2, 3, 4, 5):
            raise _UnreadableError
        if isinstance(value, Fraction):
            if _num_bits(value) > 1000:  # more do not fit into a float
                raise _TooLargeError
            top, bottom = (round(part ** (1 / int(index))) for part in (value.numerator, value.denominator))
            exact = Fraction(top, max(bottom, 1))
            if exact ** int(index) == value:
                return exact
        return float(value) ** (1 / int(index))


def _num_bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _checked(value: Real) -> Real:
    if _num_bits(value) > MAX_BITS if isinstance(value, Fraction) else math.isinf(value):
        raise _TooLargeError
    return value


def _divided(value: Real, divisor: Real) -> Real:
    if divisor == 0:
        raise _UnreadableError
    return _checked(value / divisor)


def _power(value: Real, exponent: Real) -> Real:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(value, Fraction):
        if abs(exponent) * _num_bits(value) > MAX_BITS and abs(value) not in (0, 1):
            raise _TooLargeError
        if value == 0 and exponent <= 0:
            raise _UnreadableError
        return value ** int(exponent) if abs(value) != 1 else value ** int(exponent % 2)
    if value < 0 or (value == 0 and exponent <= 0):
        raise _UnreadableError
    return float(value) ** float(exponent)


def _factorial(value: Real) -> Real:
    if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
        raise _UnreadableError
    if value > 500:
        raise _TooLargeError
    return Fraction(math.factorial(int(value)))


def _binomial(total: Real, part: Real) -> Real:
    if not all(isinstance(n, Fraction) and n.denominator == 1 and 0 <= n <= 500 for n in (total, part)):
        raise _UnreadableError
    return Fraction(math.comb(int(total), int(part)))
