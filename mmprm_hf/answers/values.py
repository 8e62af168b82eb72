r"""Answer text as typed values: numbers with units, times, ratios, coordinates, several values, regions, formulas.

Reading takes a whole text or gives None; it never guesses. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from fractions import Fraction

from .expressions import MAX_DEPTH, parse
from .nodes import Node
from .numeric import evaluate, is_close, rounds_to
from .quantities import NUMBER, BaseNumeral, Colon, Number, matched_number, read_quantity, split_unit
from .regions import Region, read_region
from .splitting import is_balanced, nesting, outside_brackets, split_list
from .units import SYMBOLS

__all__ = ["NUMBER", "BaseNumeral", "Colon", "Number", "matched_number", "read_name", "read_value"]


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula with names, or one that has no real value; `unit` as in `Number`, `factor` that of its unit."""

    node: Node
    unit: str = ""
    factor: Fraction = Fraction(1)


@dataclasses.dataclass(frozen=True)
class Relation:
    """Formulas joined by signs: an equation without a name on one side, an inequality of several names, a chain."""

    signs: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class ValueList:
    """Coordinates or an interval (in brackets; the order matters), or several values (no brackets or "{}", any order).

    `names` are those of the parts (``x=3, y=-2``), "" for a part without one; all have none where it is empty. The
    brackets of a sequence with hyphens (5-4-3-2-1) are "-", those of sizes or factors (2 x 3) are "x". `joint` is "or"
    or "and" where one of these joins the parts.
    """

    brackets: str
    parts: tuple[Value, ...]
    names: tuple[str, ...] = ()
    joint: str = ""

    @property
    def has_unknowns(self) -> bool:
        """Whether the parts are those of several unknowns: x and y, but not x_1 and x_2."""
        return bool(self.names) and all(self.names) and len({n.split("_")[0] for n in self.names}) == len(self.names)


Value = Number | Colon | BaseNumeral | Region | ValueList | Relation | Formula

MAX_CHARS = 1500
MAX_PARTS = 40
_NAME = (
    r"(?:m ?)?(?:\\angle|\\triangle|\\Delta|∠|△)? ?(?:[A-Za-z]+|\\[A-Za-z]+)(?:_(?:\{ ?[\w ]+\}|\w+))?'?"
    r"(?: ?\((?:[A-Za-z]|\d+)(?:, ?(?:[A-Za-z]|\d+))*\))?"
)
_CONDITION = re.compile(
    r",?\s+for (?:all|any|every|each)(?: real| positive)?(?: integers?| numbers?| values?)?(?: of)?(?: [A-Za-z])?\s*$"
)
_DESCRIPTION = re.compile(r"[A-Za-z][a-z']+(?: [A-Za-z']+){1,7}(?=\s*=)")
_NAMED = re.compile(rf"(?P<name>{_NAME})\s*(?:=|\\approx|:(?=\s)|\b(?:is|equals)\b)\s*(?P<value>.+)", re.DOTALL)
_POINT = re.compile(r"(?P<name>[A-Z](?:_\{?\w\}?|')?) ?(?P<value>[(\[](?=.*[,;]).*[)\]])", re.DOTALL)
_NAME_ONLY = re.compile(_NAME)
_NOT_A_NAME = re.compile(
    r"\\(?:frac|sqrt|begin|infty|pi|emptyset|times|cdot|pm|sum|int)\b|\\?(?:sin|cos|tan|log|ln|not|and)\b"
    r"|(?!(?:sum|max|min|sup|inf|age|deg|dim|det|gcd|lcm)\b)[a-z]{2,3}(?![A-Za-z])"  # xy = 4 is an equation
)
_ORDINAL = re.compile(r"\d(?:st|nd|rd|th)\b")
_DATE = re.compile(r"\d{1,4}/\d{1,2}/\d{1,4}")
_SIGNS = re.compile(r"\\(?:le|ge|ne|approx|equiv)(?![A-Za-z])|[=<>]")
_MODULUS = re.compile(r"(.+?)\\equiv\s*(.+?)\s*\\mod\s*(.+)", re.DOTALL)
_SYSTEM = re.compile(r"\\begin ?\{cases\}(.*)\\end ?\{cases\}", re.DOTALL)
_ALTERNATIVE = re.compile(r";|\bor\b|\\(?:lor|vee)(?![A-Za-z])")
_BOTH = re.compile(r"\band\b|\\(?:land|wedge)(?![A-Za-z])")
_SYNONYMS = {
    "infinity": "\\infty", "{}": "\\emptyset", "{ }": "\\emptyset", "empty set": "\\emptyset",
    "the empty set": "\\emptyset", "all real numbers": "\\mathbb{R}", "all reals": "\\mathbb{R}",
}  # fmt: skip
_COMPARATIVES = {
    "less than": "<", "fewer than": "<", "under": "<", "below": "<", "more than": ">", "greater than": ">",
    "over": ">", "above": ">", "at most": "\\le ", "no more than": "\\le ", "at least": "\\ge ",
    "no less than": "\\ge ", "no fewer than": "\\ge ", "大于": ">", "小于": "<", "至少": "\\ge ", "至多": "\\le ",
}  # fmt: skip
_COMPARATIVE = re.compile(
    rf"^(?:is |are |was )?({'|'.join(sorted(_COMPARATIVES, key=len, reverse=True))})\s*(?=[-\d.\\])", re.IGNORECASE
)
_OR_MORE = re.compile(r"(\d[\d,./]*) or (?:(more|greater)|less|fewer)")


def split_name(text: str) -> tuple[str, str]:
    r"""Return the name and the rest of ``AB = 5`` or ``A(1,2)``; the name is "" if there is none, and has no spaces.

    Of a chain (``z = 1 + 1 = 2``) the rest is what stands behind the last sign, if the sides before it are equal to it.
    """
    text = _CONDITION.sub("", text.strip())
    description = _DESCRIPTION.match(text)
    if description:  # Volume of the locker = 20 * 2 = 40
        return description.group(), split_name(f"A{text[description.end() :]}")[1]
    point = _POINT.fullmatch(text)
    if point and is_balanced(point.group("value")[1:-1]):
        return _plain_name(point.group("name")), point.group("value")
    match = _NAMED.fullmatch(text)
    if match and not _NOT_A_NAME.match(match.group("name")):
        name, value = match.group("name"), match.group("value").strip()
        sides = [side.strip() for side in outside_brackets(value, re.compile("="))]
        is_one = len(split_relation(sides[-1].replace("\\approx", ""))[0]) == 1
        if is_one and all(_is_same_constant(side, sides[-1]) for side in sides[:-1]):
            return _plain_name(name), sides[-1]
    sides = [side.strip() for side in outside_brackets(text, re.compile("="))]
    if len(sides) > 1 and parse(sides[-1]) is None and all(_is_same_constant(side, sides[-1]) for side in sides[:-1]):
        return "", sides[-1]  # 3/16 = 0.0011_2
    if len(sides) == 2 and _NAME_ONLY.fullmatch(sides[1]) and evaluate(sides[0]) is not None:
        return _plain_name(sides[1]), sides[0]  # 2 = y
    return "", text.strip()


def _is_same_constant(side: str, last: str) -> bool:
    """Whether a side of a chain is a constant and has the value of its last side, up to rounding."""
    value, result = evaluate(side), read_quantity(last)
    if isinstance(result, BaseNumeral):
        return value is not None and value == result.value
    if value is None or not isinstance(result, Number):
        return False
    return is_close(value, result.raw) or (
        result.num_decimals > 0 and rounds_to(value, result.raw, result.num_decimals)
    )


def split_relation(text: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the sides of a relation and the signs between them, those inside brackets left alone."""
    sides = outside_brackets(text, _SIGNS)
    signs, position = [], 0
    for side in sides[:-1]:
        sign = _SIGNS.match(text, position + len(side))
        signs.append(sign.group())
        position = sign.end()
    return sides, tuple(signs)


def read_name(text: str) -> str:
    r"""Return the name in ``AB = 5``; "" if there is none."""
    return split_name(text)[0]


def _plain_name(name: str) -> str:
    name = re.sub(r"\\angle|\bm(?=\\angle|∠)", "∠", name).replace("\\triangle", "△").replace("\\Delta", "Δ")
    return re.sub(r"[ {}\\]|^m(?=∠)", "", name).replace("∠∠", "∠")


@functools.lru_cache(maxsize=65536)
def read_value(text: str) -> Value | None:
    """Return the typed value of a whole cleaned text (see `clean_answer`); None if it has another form.

    Example:
        >>> read_value("seven"), read_value("7:35").is_time, read_value("about 7")
        (Number(value=Fraction(7, 1), raw=Fraction(7, 1), unit='', num_decimals=0), True, None)
    """
    if len(text) > MAX_CHARS or nesting(text) > MAX_DEPTH or _DATE.fullmatch(text) or _ORDINAL.search(text):
        return None
    text = split_name(text)[1]
    text = _SYNONYMS.get(text.casefold(), text)
    text = _COMPARATIVE.sub(lambda match: _COMPARATIVES[match.group(1).casefold()], text, count=1)
    more = _OR_MORE.fullmatch(text)
    if more:
        text = ("\\ge " if more.group(2) else "\\le ") + more.group(1)
    system = _SYSTEM.fullmatch(text)
    if system and "&" not in text:
        text = "; ".join(line for line in system.group(1).split("\\\\") if line.strip())
    for approximate in ("\\approx", "\\sim"):
        head, sign, tail = text.partition(approximate)
        if sign and _is_same_constant(head.strip(), tail.strip()):
            text = (head if evaluate(tail.strip()) is not None else tail).strip()  # \sqrt{3}/3 \approx 0.577
    for brackets, separator in (("-", "-"), ("x", " ?\\\\times ?")):  # 5-4-3, 11-15, 4 x 6 x 16
        if re.fullmatch(rf"\d{{1,9}}(?:{separator}\d{{1,9}})+", text):
            return ValueList(brackets, tuple(Number(n, n) for n in map(Fraction, re.split(separator, text))))
    brackets, inner = _outer_brackets(text)
    is_list = brackets == "{}" or (brackets and re.search("[,;]", inner))
    readers = () if is_list else (read_quantity,)  # (3,331) is not 3331
    for read in (*readers, read_region, _read_list, _read_relation, _read_formula):
        value = read(text)
        if value is not None:
            return value
    return None


def _read_list(text: str) -> Value | None:
    """Coordinates, an interval, a set, or several values joined by commas, "and", "or"; (5) is 5, {5} is a set."""
    vector = _read_vector_of_names(text)
    if vector is not None:
        return vector
    brackets, inner = _outer_brackets(text)
    is_choice = not brackets and _ALTERNATIVE.search(text.replace(";", ""))
    joint = "or" if is_choice else "and" if not brackets and _BOTH.search(text) else ""
    texts = split_list(inner, has_words=not brackets)
    if len(texts) < 2:
        return _read_single(brackets, inner, text)
    if len(texts) > MAX_PARTS:
        return None
    alternatives = [] if brackets else [side.strip() for side in outside_brackets(text, _ALTERNATIVE) if side.strip()]
    alternatives = list(map(read_value, alternatives)) if len(alternatives) > 1 else []
    if alternatives and all(isinstance(value, ValueList) and value.has_unknowns for value in alternatives):
        return ValueList("", tuple(alternatives), (), "or")  # a=1, b=2 or a=3, b=4
    parts: list[Value] = []
    names: list[str] = []
    for part in texts:
        value = read_value(part)
        if value is None:
            return None
        is_several = isinstance(value, ValueList) and not value.brackets and not value.names and not brackets
        new_parts = value.parts if is_several else (value,)
        parts += new_parts
        names += [read_name(part)] * len(new_parts)
    return ValueList(brackets, tuple(parts), tuple(names) if any(names) else (), joint)


def _read_vector_of_names(text: str) -> ValueList | None:
    """``(x, y) = (1, 2)``: coordinates with their names."""
    sides = outside_brackets(text, re.compile("="))
    if len(sides) != 2 or _outer_brackets(sides[0].strip())[0] != "()":
        return None
    names = [name.strip() for name in split_list(_outer_brackets(sides[0].strip())[1], has_words=False)]
    value = read_value(sides[1].strip())
    if not all(map(_NAME_ONLY.fullmatch, names)) or not isinstance(value, ValueList) or value.names:
        return None
    if value.brackets == "()" and len(value.parts) == len(names):
        return ValueList("()", value.parts, tuple(map(_plain_name, names)))
    return value if all(isinstance(part, ValueList) for part in value.parts) else None  # (x, y) = (1, 2), (3, 4)


def _outer_brackets(text: str) -> tuple[str, str]:
    """The brackets around a whole text and what they hold; no brackets if they belong to parts of it."""
    match = re.fullmatch(r"([(\[{])(.*)([)\]}])", text, re.DOTALL)
    if not match or not is_balanced(match.group(2)):
        return "", text
    return match.group(1) + match.group(3), match.group(2)


def _read_single(brackets: str, inner: str, text: str) -> Value | None:
    if brackets not in ("()", "{}") or not inner.strip():
        return _read_plus_minus(text)
    value = read_value(inner.strip()) if brackets == "{}" or not _SIGNS.search(inner) else None
    return value if value is None or brackets == "()" else ValueList("{}", (value,))


def _read_plus_minus(text: str) -> ValueList | None:
    r"""``\pm 2`` as 2 and -2, ``1 \pm \sqrt{2}`` likewise."""
    if "\\pm" not in text or "(" in text[:1]:
        return None
    other = {"+": "-", "-": "+"}
    parts = tuple(read_value(text.replace("\\pm", sign).replace("\\mp", other[sign]).strip()) for sign in "+-")
    return None if None in parts else ValueList("", parts)


def _read_relation(text: str) -> Relation | None:
    r"""``x^2+y^2=4``, ``x+y<3``, ``AB=CD=EF``, ``x \equiv 3 \mod 7``."""
    congruence = _MODULUS.fullmatch(text)
    if congruence:
        left, right, modulus = (parse(part.strip(" ()")) for part in congruence.groups())
        is_read = None not in (left, right, modulus)
        rest = ("call", "remainder", right, modulus)
        return Relation(("\\equiv", "\\mod"), (left, rest, modulus)) if is_read else None
    texts, signs = split_relation(text)
    sides = tuple(parse(side.strip()) for side in texts)
    return Relation(signs, sides) if signs and None not in sides else None


def _read_formula(text: str) -> Formula | None:
    r"""A formula with unknowns; words alone are none, but letters without a vowel (mgh) are."""
    if re.fullmatch(r"[A-Za-z]{2,}(?: [A-Za-z]+)*", text) and not _is_product(text):
        return None
    formula, unit = split_unit(text)
    is_unit = unit is not None and not re.match("noun|angle", unit.dimension) and not text[-2:-1].isspace()
    node = parse(formula if is_unit else text)
    return None if node is None else Formula(node, *((unit.dimension, unit.factor) if is_unit else ()))


def _is_product(text: str) -> bool:
    letters = text.replace(" ", "")
    is_word = re.search("[aeiouyAEIOUY]|^d", letters) or letters.isupper() or letters in SYMBOLS
    return len(letters) <= 6 and len(set(letters.casefold())) > 1 and not is_word
