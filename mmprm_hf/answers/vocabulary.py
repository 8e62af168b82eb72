"""Words, macros and tokens that formulas are made of. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_FUNCTION_NAMES = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp abs max min gcd lcm det"
_SYMBOL_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau upsilon phi chi psi
    omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar infty partial nabla imath jmath aleph
    emptyset circ odot prime dots mathbb angle triangle
"""
_DECORATION_NAMES = "overline hat vec tilde dot ddot widehat underline"
_BIG_OPERATOR_NAMES = "sum prod int iint oint bigcup bigcap lim"
_SHORT_WORDS = """
    is are was if or and to of in at as by for the all any not no so but on be it its per mod an we he us up off out one
    two six ten yes has had can may nor non due via
"""

CHARACTERS = str.maketrans(
    {character: text for characters, text in (
        ("°º˚", "\\degree "), ("′’", "'"), ("″", "''"), ("•·∙⋅∗", "\\cdot "), ("÷", "\\div "), ("×", "\\times "),
        ("≤⩽≦", "\\le "), ("≥⩾≧", "\\ge "), ("≠", "\\ne "), ("∞", "\\infty "), ("∪", "\\cup "), ("∩", "\\cap "),
        ("∈", "\\in "), ("±", "\\pm "), ("∓", "\\mp "), ("≈≒", "\\approx "), ("≡", "\\equiv "), ("∅", "\\emptyset "),
        ("π", "\\pi "), ("√", "\\sqrt"), ("∛", "\\sqrt[3]"), ("∠", "\\angle "), ("△", "\\triangle "), ("∧", "\\land "),
        ("∨", "\\lor "), ("¬", "\\neg "), ("→⟶", "\\to "), ("⟨〈", "("), ("⟩〉", ")"), ("ℝ", "\\mathbb{R}"),
        ("ℤ", "\\mathbb{Z}"), ("ℚ", "\\mathbb{Q}"), ("ℕ", "\\mathbb{N}"), ("ℂ", "\\mathbb{C}"), ("∶", ":"), ("∣", "|"),
        ("−–—‐‑", "-"), ("…", "..."), ("【】「」", " "), ("。", "."), ("℃", "\\degree C"), ("℉", "\\degree F"),
        ("∖", "\\setminus "), ("∑", "\\sum "), ("∫", "\\int "), ("⌊", "\\lfloor "), ("⌋", "\\rfloor "),
        ("⌈", "\\lceil "), ("⌉", "\\rceil "), ("™®", " "),
    ) for character in characters}
)  # fmt: skip
"""Unicode characters as the macros or plain characters that the parser reads."""
_SYNONYMS = (
    ("\\le", "leq leqslant leqq"), ("\\ge", "geq geqslant geqq"), ("\\ne", "neq"), ("<", "lt"), (">", "gt"),
    ("\\emptyset", "varnothing"), ("\\frac", "dfrac tfrac cfrac"), ("\\binom", "dbinom tbinom"), (":", "colon"),
    ("\\to", "rightarrow longrightarrow"), ("|", "lvert rvert vert mid"), ("(", "langle"), (")", "rangle"),
    ("\\land", "wedge"), ("\\lor", "vee"), ("\\neg", "lnot"), ("\\mod", "bmod pmod"), ("\\overline", "bar"),
    ("\\dots", "ldots cdots dotsc dotsb"), ("\\vec", "overrightarrow"), ("\\setminus", "backslash smallsetminus"),
    ("€", "euro texteuro"), ("£", "pounds sterling textsterling"), ("¥", "yen textyen"), ("\\$", "dollar textdollar"),
    ("\\phi", "varphi"), ("\\epsilon", "varepsilon"), ("\\theta", "vartheta"), ("\\rho", "varrho"),
    ("\\sigma", "varsigma"),
)  # fmt: skip
MACRO_SYNONYMS = {macro: text for text, macros in _SYNONYMS for macro in macros.split()}
"""Other names of macros, and the text that stands for them."""
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
SPELLINGS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot"}
INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
SYMBOLS = frozenset(_SYMBOL_NAMES.split())
DECORATIONS = frozenset(_DECORATION_NAMES.split())
BIG_OPERATORS = frozenset(_BIG_OPERATOR_NAMES.split())
WORDS = frozenset(_SHORT_WORDS.split())
"""Words that are no product of names."""
TIMES = frozenset(("*", "\\times", "\\cdot", "\\ast"))
MACROS = FUNCTIONS | SYMBOLS | DECORATIONS | BIG_OPERATORS | SPELLINGS.keys()
MACROS |= {"frac", "sqrt", "binom", "pi", "begin"}
"""Macros that a factor can begin with."""

_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
TOKEN = re.compile(
    r"\s*(\d*\.\d*\\(?:overline)\s*\{?\s*\d+\s*\}?"  # a repeating decimal
    rf"|{_DIGITS}|\\[A-Za-z]+|\\\\|[^\W\d_]+|\S)"
)
ENVIRONMENT = re.compile(
    r"\\begin\s*\{\s*(?P<name>[bpvV]?matrix|smallmatrix|array|cases)\s*\}\s*(?:\{[lcr|\s]*\})?(?P<body>.*?)"
    r"\\end\s*\{\s*(?P=name)\s*\}",
    re.DOTALL,
)


def is_number(token: str) -> bool:
    return token[:1].isdecimal() or (token[:1] == "." and len(token) > 1)


def is_called(token: str) -> bool:
    """Return whether a token begins what is no argument of the function before it: a bracket, a function, a sum."""
    return token in ("(", "[") or token.removeprefix("\\") in FUNCTIONS | SPELLINGS.keys() | BIG_OPERATORS


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
    words = [word.replace("LAMDA", "LAMBDA") for word in words]
    return words[-1].lower() if "SMALL" in words else words[-1].capitalize()


def name_of_points(macro: str, letters: str) -> str:
    """The name of an angle, triangle, vector or line through points: angle ABC is CBA, the line AB is AB or BA."""
    if macro == "overline" and len(letters) == 2:
        return "".join(sorted(letters))
    return f"{macro} {min(letters, letters[::-1]) if macro == 'angle' else letters}"
