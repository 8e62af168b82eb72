"""Words, macros and tokens that formulas are made of. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_FUNCTION_NAMES = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp abs max min gcd lcm det"
_SYMBOL_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau upsilon phi chi psi
    omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar infty partial nabla imath jmath aleph
    emptyset circ odot prime ldots cdots dots mathbb
"""
_DECORATION_NAMES = "overline bar hat vec tilde dot ddot widehat overrightarrow underline"
_BIG_OPERATOR_NAMES = "sum prod int iint oint bigcup bigcap lim"
_SHORT_WORDS = """
    is are was if or and to of in at as by for the all any not no so but on be it its per mod an we he us up off out one
    two six ten yes has had can may nor non due via
"""

FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
SPELLINGS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot"}
INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
SYMBOLS = frozenset(_SYMBOL_NAMES.split())
VARIANTS = {"varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma"}
DECORATIONS = frozenset(_DECORATION_NAMES.split())
BIG_OPERATORS = frozenset(_BIG_OPERATOR_NAMES.split())
WORDS = frozenset(_SHORT_WORDS.split())
"""Words that are no product of names."""
TIMES = frozenset(("*", "\\times", "\\cdot", "\\ast"))
MACROS = FUNCTIONS | SYMBOLS | DECORATIONS | BIG_OPERATORS | SPELLINGS.keys() | VARIANTS.keys()
MACROS |= {"frac", "sqrt", "binom", "pi", "begin"}
"""Macros that a factor can begin with."""

_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
TOKEN = re.compile(
    r"\s*(\d*\.\d*\\(?:overline|bar|dot)\s*\{?\s*\d+\s*\}?"  # a repeating decimal
    rf"|{_DIGITS}|\\[A-Za-z]+|\\\\|[^\W\d_]+|\S)"
)
ENVIRONMENT = re.compile(
    r"\\begin\s*\{\s*(?P<name>[bpvV]?matrix|smallmatrix|array|cases)\s*\}\s*(?:\{[lcr|\s]*\})?(?P<body>.*?)"
    r"\\end\s*\{\s*(?P=name)\s*\}",
    re.DOTALL,
)


def is_number(token: str) -> bool:
    return token[:1].isdecimal() or (token[:1] == "." and len(token) > 1)


def repeating_decimal(literal: str) -> Fraction:
    head, digits = re.fullmatch(r"(\d*\.\d*)\\[a-z]+\s*\{?\s*(\d+)\s*\}?", literal).groups()
    places = len(head.partition(".")[2])
    return Fraction(f"0{head}0") + Fraction(int(digits), 10**places * (10 ** len(digits) - 1))


def letter_name(letter: str) -> str:
    """A letter's name; Greek ones as their macros."""
    if letter.isascii():
        return letter
    words = unicodedata.name(letter, "").split()
    if words[:1] != ["GREEK"]:
        return ""
    return words[-1].lower() if "SMALL" in words else words[-1].capitalize()
