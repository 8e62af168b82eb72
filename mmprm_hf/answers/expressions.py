r"""Formulas as trees: a parser that reads a cleaned text to its end or not at all.

A node is a tuple ``(kind, *content)``; `numeric` computes with it. What the parser does not know (a word, a macro, two
numbers side by side) makes the whole text unreadable: nothing is skipped and nothing is guessed. Where mathematicians
read a text in two ways (``1/2x``, ``f(x)``), the node keeps both. Standard library only.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from . import vocabulary
from .cleaning import text_to_closing_brace
from .nodes import Node

MAX_CHARS = 600
MAX_DEPTH = 30

_CLOSING = {"(": ")]", "[": ")]", "{": "}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_DIGIT = re.compile(r"\s*(\d)")
_INTEGER = re.compile(r"\s*(\d+)")
_INDEX = re.compile(r"\s*(?:\{\s*([A-Za-z0-9]+)\s*\}|([A-Za-z0-9]))")
_POINTS = re.compile(r"\s*(?:\{\s*([A-Z]{2,3})\s*\}|([A-Z]{2,3})(?![A-Za-z]))")
_BOUND = re.compile(r"=|\\(?:to|rightarrow|in)(?![A-Za-z])")


class _UnreadableError(ValueError):
    """Not a formula, or one that the parser does not know."""


@functools.lru_cache(maxsize=65536)
def parse(text: str) -> Node | None:
    r"""Return the tree of a cleaned formula; None if any part of it cannot be read.

    Example:
        >>> parse("x+1")
        ('sum', ('name', 'x'), ('num', Fraction(1, 1)))
        >>> parse("1 square") is None, parse("\\frac{1}{") is None
        (True, True)
    """
    if len(text) > MAX_CHARS or not text.strip():
        return None
    parser = _Parser(text)
    try:
        node = parser.union(0)
        return node if not parser.peek() else None
    except _UnreadableError:
        return None


class _Parser:
    """Recursive descent over a formula's text."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def peek(self) -> str:
        """The next token; "" at the end."""
        match = vocabulary.TOKEN.match(self.text, self.position)
        return match.group(1) if match else ""

    def take(self, expected: str = "") -> str:
        match = vocabulary.TOKEN.match(self.text, self.position)
        if not match or (expected and match.group(1) not in expected):
            raise _UnreadableError
        self.position = match.end()
        return match.group(1)

    def touches(self) -> bool:
        """Whether the next token begins without a space before it."""
        return self.position < len(self.text) and not self.text[self.position].isspace()

    def union(self, depth: int) -> Node:
        """The whole of a formula: sums, also joined by set operations."""
        node = self.sum(depth)
        while self.peek() in ("\\cup", "\\cap", "\\setminus", "\\mod"):
            node = ("call", self.take()[1:], node, self.sum(depth))
        return node

    def sum(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _UnreadableError
        terms = []
        while True:
            sign = self.take() if self.peek() in ("+", "-") else ""
            if not sign and terms:
                break
            if sign and self.peek() in ("+", "-"):
                raise _UnreadableError
            term = self.product(depth)
            terms.append(("negative", term) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else ("sum", *terms)

    def product(self, depth: int) -> Node:
        factors = [self.signed(depth)]
        while True:
            token = self.peek()
            if token in vocabulary.TIMES:
                self.take()
                is_cross = token == "\\times" and "vec" in str(factors[-1])
                right = self.signed(depth)
                factors.append(("call", "cross", factors.pop(), right) if is_cross else right)
            elif token in ("/", "\\div"):
                self.take()
                left = factors[0] if len(factors) == 1 else ("product", *factors)
                right = self.signed(depth)
                rest = [] if token == "\\div" or right[0] == "group" else self.implicit(depth, right)
                # 1/2x is a half of x, or one over 2x
                factors = [("slash", left, right, *rest) if rest else ("quotient", left, right)]
            elif self.begins_factor(factors[-1]):
                factors.append(self.power(depth))
            else:
                return factors[0] if len(factors) == 1 else ("product", *factors)

    def implicit(self, depth: int, last: Node) -> list[Node]:
        """Factors behind a divisor without a sign of multiplication."""
        factors = [last]
        while self.begins_factor(factors[-1]):
            factors.append(self.power(depth))
        return factors[1:]

    def begins_factor(self, last: Node) -> bool:
        """Whether a factor follows without a sign; two numbers side by side are not a product, but ``2^6 3^5`` is."""
        token = self.peek()
        if token == "\\dots" and last[0] == "num":
            raise _UnreadableError  # 3.14...
        if vocabulary.is_number(token):
            if last[0] in ("power", "group"):
                return True
            raise _UnreadableError
        if token in ("(", "[", "{", "\\lfloor", "\\lceil", "\\{"):
            return True
        return bool(token) and (token[0].isalpha() or (token[0] == "\\" and token[1:] in vocabulary.MACROS))

    def signed(self, depth: int) -> Node:
        if self.peek() in ("+", "-"):
            sign = self.take()
            operand = self.power(depth)
            return ("negative", operand) if sign == "-" else operand
        return self.power(depth)

    def power(self, depth: int) -> Node:
        """A base with what stands behind it: primes, factorials, degrees, powers."""
        node = self.base(depth + 1)
        while True:
            token = self.peek()
            if token == "!":
                self.take()
                is_double = self.peek() == "!" and self.touches()
                node = ("call", "double_factorial" if is_double and self.take() else "factorial", node)
            elif token == "'":
                self.take()
                node = ("call", "prime", node)
            elif token == "degrees":
                self.take()
                node = ("product", node, ("name", "degrees"))
            elif token == "^":
                self.take()
                exponent = self.exponent(depth + 1)
                is_inverse = exponent == ("name", "prime")
                node = ("call", "prime", node) if is_inverse else ("power", node, exponent)
            elif token == "_" and node[0] == "power" and node[1][0] == "name":  # v^2_0
                self.take()
                name, index = self.index(node[1][1], depth)
                if index is not None:
                    raise _UnreadableError
                node = ("power", ("name", name), node[2])
            else:
                return node

    def exponent(self, depth: int) -> Node:
        token = self.peek()
        if token in ("*", "'", "\\prime"):
            self.take()
            return ("name", "prime" if token != "*" else "*")
        if token in ("+", "-"):
            self.take()
            node = self.exponent_base(depth)
            return ("negative", node) if token == "-" else node
        return self.exponent_base(depth)

    def exponent_base(self, depth: int) -> Node:
        """An exponent without braces: one group, number or name, itself with powers (``9^9^9``)."""
        if vocabulary.is_number(self.peek()):
            node = ("num", Fraction(self.take().replace(",", "")))
        else:
            node = self.braced(depth) if self.peek() == "{" else self.base(depth)
        if self.peek() == "^":
            self.take()
            return ("power", node, self.exponent(depth + 1))
        return node

    def braced(self, depth: int) -> Node:
        self.take("{")
        token = self.peek()
        node = self.exponent(depth) if token in ("*", "'", "\\prime") else self.union(depth + 1)
        self.take("}")
        return node

    def base(self, depth: int) -> Node:
        token = self.peek()
        if depth > MAX_DEPTH or not token:
            raise _UnreadableError
        if token in _CLOSING:
            return self.group(depth)
        if vocabulary.is_number(token):
            return self.number(depth)
        if token[0].isalpha():
            return self.letters(depth)
        if token[0] == "\\" and len(token) > 1:
            return self.macro(depth)
        raise _UnreadableError

    def group(self, depth: int) -> Node:
        """A group in brackets; with commas, a tuple or an interval."""
        opening = self.take()
        parts = [self.union(depth + 1)]
        while self.peek() in (",", ";") and opening in "([{":
            self.take()
            parts.append(self.union(depth + 1))
        closing = self.take(_CLOSING[opening] if opening[0] != "\\" else (_CLOSING[opening],))
        if len(parts) > 1:
            return ("call", f"tuple {opening}{closing}", *parts)
        if opening in "([{" and opening + closing not in ("()", "[]", "{}"):
            raise _UnreadableError
        if opening == "|" and parts[0][0] == "matrix":
            return ("vmatrix", *parts[0][1:])
        name = {"|": "abs", "\\lfloor": "floor", "\\lceil": "ceil"}.get(opening)
        return ("call", name, parts[0]) if name else ("group", parts[0])

    def number(self, depth: int) -> Node:
        """A number; an integer before a fraction of digits is a mixed number."""
        literal = self.take()
        if "\\" in literal:
            return ("num", vocabulary.repeating_decimal(literal))
        value = Fraction(literal.replace(",", ""))
        if self.peek() == "_" and self.touches():
            raise _UnreadableError  # a base
        if literal.isdigit() and self.peek() == "\\frac":
            start = self.position
            fraction = self.base(depth)
            top, bottom = (part[1] if part[0] == "num" else None for part in fraction[1:3])
            if top is not None and bottom and top < bottom:
                return ("num", value + top / bottom)
            self.position = start
        return ("num", value)

    def letters(self, depth: int) -> Node:
        """A name, a function written in letters, or a product of names."""
        start = self.position
        run = self.take()
        known = vocabulary.SPELLINGS.get(run, run)
        if known in vocabulary.FUNCTIONS:
            return self.function(known, depth)
        if run in vocabulary.WORDS or run == "degrees":
            raise _UnreadableError
        if len(run) > 1 and run.isascii() and run.isupper() and len(run) <= 4:
            return self.subscripted("".join(sorted(run)) if len(run) == 2 else run, depth)
        if len(run) > 3:
            raise _UnreadableError
        self.position = start + len(self.text[start : self.position]) - len(run) + 1
        name = vocabulary.letter_name(run[0])
        if not name:
            raise _UnreadableError
        return self.subscripted(name, depth)

    def subscripted(self, name: str, depth: int) -> Node:
        """A name with its subscript; a digit that touches a letter is a subscript (v0), and ``f(`` may be a call."""
        if self.peek()[:1].isdigit() and self.touches():
            name += "_" + self.take()
        elif self.peek() == "_":
            self.take()
            name, index = self.index(name, depth)
            if index is not None:
                return ("call", f"{name}_", index)
        if name in ("f", "g", "h", "F", "G", "H") and self.peek() == "(" and self.touches():
            argument = self.group(depth)
            return ("application", name, argument[1] if argument[0] == "group" else argument)
        return ("name", name)

    def index(self, name: str, depth: int) -> tuple[str, Node | None]:
        """The name with a plain subscript, or the name and the formula that its subscript is."""
        plain = _INDEX.match(self.text, self.position)
        if plain:
            self.position = plain.end()
            return f"{name}_{plain.group(1) or plain.group(2)}", None
        return name, self.braced(depth) if self.peek() == "{" else self.base(depth)

    def macro(self, depth: int) -> Node:
        token = self.take()
        name = vocabulary.SPELLINGS.get(token[1:], token[1:])
        if name == "pi":
            return ("name", "pi")
        if name == "frac":
            return ("quotient", self.argument(depth), self.argument(depth))
        if name == "binom":
            return ("call", "binomial", self.argument(depth), self.argument(depth))
        if name == "sqrt":
            return self.root(depth)
        if name in vocabulary.FUNCTIONS:
            return self.function(name, depth)
        if name in vocabulary.BIG_OPERATORS:
            return self.big_operator(name, depth)
        points = _POINTS.match(self.text, self.position)
        if points and name in ("angle", "triangle", "vec", "overline"):
            self.position = points.end()
            return ("name", vocabulary.name_of_points(name, points.group(1) or points.group(2)))
        if name in vocabulary.DECORATIONS:
            return ("call", name, self.argument(depth))
        if name == "begin":
            return self.environment(token, depth)
        if name in vocabulary.SYMBOLS:
            return self.subscripted(name, depth)
        raise _UnreadableError

    def argument(self, depth: int) -> Node:
        """A macro's argument: a group, or one digit (``\\frac12``), or one macro or letter."""
        digit = _DIGIT.match(self.text, self.position)
        if digit:
            self.position = digit.end()
            return ("num", Fraction(digit.group(1)))
        node = self.base(depth + 1)
        return node[1] if node[0] == "group" else node

    def root(self, depth: int) -> Node:
        index: Node = ("num", Fraction(2))
        if self.peek() == "[":
            index = self.group(depth)[1]
        number = _INTEGER.match(self.text, self.position) if self.text[self.position :][:1] != "{" else None
        if number:  # \sqrt 3, \sqrt12: LaTeX takes one digit, who writes it means the number
            self.position = number.end()
            return ("call", "root", index, ("num", Fraction(number.group(1))))
        return ("call", "root", index, self.argument(depth))

    def function(self, name: str, depth: int) -> Node:
        """A function with its base, power and argument, with or without brackets."""
        base: tuple[Node, ...] = ()
        exponent: Node | None = None
        for _ in range(2):
            if self.peek() == "_" and name == "log" and not base:
                self.take()
                base = (self.braced(depth) if self.peek() == "{" else self.argument(depth),)
            elif self.peek() == "^" and exponent is None:
                self.take()
                exponent = self.exponent(depth)
        if exponent == ("negative", ("num", Fraction(1))) and name in vocabulary.INVERSES:
            name, exponent = vocabulary.INVERSES[name], None
        argument = self.function_argument(depth)
        arguments = argument[2:] if argument[0] == "call" and argument[1] in ("tuple ()", "tuple {}") else (argument,)
        node = ("call", name, *base, *arguments) if not base else ("call", "log_base", *base, *arguments)
        return node if exponent is None else ("power", node, exponent)

    def function_argument(self, depth: int) -> Node:
        if self.peek() in ("(", "[", "{", "|"):
            node = self.group(depth)
            return node[1] if node[0] == "group" else node
        factors = [self.signed(depth)]
        while (
            self.peek() not in ("(", "[") and not vocabulary.is_called(self.peek()) and self.begins_factor(factors[-1])
        ):
            factors.append(self.power(depth))
        if self.peek() == "/":
            raise _UnreadableError  # \sin x/2: of what is it the sine?
        return factors[0] if len(factors) == 1 else ("product", *factors)

    def big_operator(self, name: str, depth: int) -> Node:
        """A sum, product, integral, union or limit: its bounds and, to the end of the term, its body."""
        bounds = []
        while self.peek() in ("_", "^"):
            mark = self.take()
            if self.peek() == "{":
                self.take()
                inner = text_to_closing_brace(self.text, self.position) or ""
                nodes = [parse(part.strip()) for part in _BOUND.split(inner)]  # k=0, x \to 0, or one formula
                if None in nodes:
                    raise _UnreadableError
                self.position += len(inner) + 1
                bounds += [("text", mark), *nodes]
            else:
                bounds += [("text", mark), self.argument(depth)]
        return ("call", "sum_of" if name == "sum" else name, *bounds, self.product(depth + 1))

    def environment(self, token: str, depth: int) -> Node:
        """A matrix, row by row; a column of cases and the like likewise."""
        match = vocabulary.ENVIRONMENT.match(self.text, self.position - len(token))
        if not match or match.group("name") == "cases" or "\\begin" in match.group("body"):
            raise _UnreadableError
        self.position = match.end()
        lines = [line for line in re.split(r"\\\\", match.group("body")) if line.strip()]
        rows = [[parse(cell.strip()) for cell in line.split("&")] for line in lines]
        if not rows or len({len(row) for row in rows}) != 1 or any(None in row for row in rows):
            raise _UnreadableError
        kind = match.group("name") if match.group("name") in ("vmatrix", "Vmatrix") else "matrix"
        return (kind, len(rows), len(rows[0]), *(cell for row in rows for cell in row))
