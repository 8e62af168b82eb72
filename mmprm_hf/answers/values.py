r"""Answer text as typed values: numbers with units, times, ratios, coordinates, several values, regions, formulas.

Reading takes a whole text or gives None; it never guesses. Rational numbers are fractions; others (``2\sqrt{3}``) are
floats that compare to 12 digits. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from fractions import Fraction

from .expressions import MAX_DEPTH, parse
from .nodes import Node
from .numerals import SCALE_WORDS, words_to_digits
from .numeric import Real, evaluate
from .regions import Region, read_region
from .splitting import is_balanced, nesting, outside_brackets, split_list
from .units import read_unit


@dataclasses.dataclass(frozen=True)
class Number:
    """A number: `raw` as written, `value` in the base unit of the dimension `unit` ("" for none)."""

    value: Real
    raw: Real
    unit: str = ""
    num_decimals: int = 0


@dataclasses.dataclass(frozen=True)
class Colon:
    """A clock time or a ratio, by its form: 7:35 is a time, 3:4 a ratio, 10:15 either."""

    parts: tuple[Real, ...]
    is_time: bool
    half_day: str = ""


@dataclasses.dataclass(frozen=True)
class BaseNumeral:
    """The digits of a number in another base, 221_3."""

    digits: str
    base: int


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula with names, or one that has no real value; `unit` as in `Number`."""

    node: Node
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Relation:
    """Formulas joined by signs: an equation without a name on one side, an inequality of several names, a chain."""

    signs: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class ValueList:
    """Coordinates or an interval (in brackets; the order matters), or several values (no brackets or "{}", any order).

    `names` are those of the parts (``x=3, y=-2``), "" for a part without one; all have none where it is empty. The
    brackets of a sequence with hyphens (5-4-3-2-1) are "-", those of sizes or factors (2 x 3) are "x".
    """

    brackets: str
    parts: tuple[Value, ...]
    names: tuple[str, ...] = ()

    @property
    def has_unknowns(self) -> bool:
        """Whether the parts are those of several unknowns: x and y, but not x_1 and x_2."""
        return bool(self.names) and all(self.names) and len({n.split("_")[0] for n in self.names}) == len(self.names)


Value = Number | Colon | BaseNumeral | Region | ValueList | Relation | Formula

MAX_CHARS = 1500
MAX_PARTS = 40
_SCALES = {"dozen": 12, **SCALE_WORDS}
_PLAIN = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_FRACTION = r"\\frac\s*(?:\{\s*(\d{1,40})\s*\}|(\d))\s*(?:\{\s*(\d{1,40})\s*\}|(\d))|(\d{1,40})\s*/\s*(\d{1,40})"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*[€£¥]?\s*(?:(?:(?P<whole>\d{{1,40}})(?:\s+|(?=\\frac)))?(?P<fraction>{_FRACTION})|(?P<plain>{_PLAIN})"
    r"(?:(?:[eE](?=[-+]?\d)|\s*(?:\\times|\\cdot|\*)\s*10\s*\^)\s*\{?\s*(?P<exponent>[-+]?\d{1,2})\s*\}?)?)"
)
_NAME = (
    r"(?:m ?)?(?:\\angle|\\triangle|\\Delta|∠|△)? ?(?:[A-Za-z]+|\\[A-Za-z]+)(?:_(?:\{ ?[\w ]+\}|\w+))?'?"
    r"(?: ?\((?:[A-Za-z]|\d+)(?:, ?(?:[A-Za-z]|\d+))*\))?"
)
_CONDITION = re.compile(r",?\s+for (?:all|any|every|each)\b(?: [a-z]+){0,4} ?[A-Za-z]?\s*$")
_DESCRIPTION = re.compile(r"[A-Za-z][a-z']+(?: [A-Za-z']+){1,7}(?=\s*=)")
_NAMED = re.compile(rf"(?P<name>{_NAME})\s*(?:=|\\approx|:(?=\s)|\b(?:is|equals)\b)\s*(?P<value>.+)", re.DOTALL)
_NAME_ONLY = re.compile(_NAME)
_NOT_A_NAME = re.compile(
    r"\\(?:frac|sqrt|begin|infty|pi|emptyset|times|cdot|pm|sum|int)\b|\\?(?:sin|cos|tan|log|ln|not|and)\b"
)
_UNIT_START = re.compile(r"(?<=[\d)}\]!]|[A-Za-z]) ?(?=[A-Za-z%])")
_UNIT_TEXT = re.compile(r"[A-Za-z%][A-Za-z /.]*(?:\^\s*\{?\s*[23]\s*\}?)?")
_SIGNS = re.compile(r"\\(?:le|ge|ne|approx|equiv)(?![A-Za-z])|[=<>]")
_SYSTEM = re.compile(r"\\begin ?\{cases\}(.*)\\end ?\{cases\}", re.DOTALL)
_COMPARATIVES = {
    "less than": "<", "fewer than": "<", "under": "<", "below": "<", "more than": ">", "greater than": ">",
    "over": ">", "above": ">", "at most": "\\le ", "no more than": "\\le ", "at least": "\\ge ",
    "no less than": "\\ge ", "no fewer than": "\\ge ",
}  # fmt: skip
_COMPARATIVE = re.compile(
    rf"^(?:is |are |was )?({'|'.join(sorted(_COMPARATIVES, key=len, reverse=True))})\s+(?=[-\d.\\])", re.IGNORECASE
)


def split_name(text: str) -> tuple[str, str]:
    r"""Return the name and the rest of ``AB = 5``; the name is "" if there is none, and has no angle signs and spaces.

    Of a chain (``z = 1 + 1 = 2``) the rest is what stands behind the last sign.
    """
    text = _CONDITION.sub("", text.strip())
    description = _DESCRIPTION.match(text)
    if description:  # Volume of the locker = 20 * 2 = 40
        return description.group(), split_name(f"A{text[description.end() :]}")[1]
    match = _NAMED.fullmatch(text)
    if match and not _NOT_A_NAME.match(match.group("name")):
        name, value = match.group("name"), match.group("value").strip()
        sides = outside_brackets(value, re.compile("="))
        are_read = all(parse(side.strip()) is not None for side in sides[:-1])
        if are_read and len(split_relation(sides[-1].replace("\\approx", ""))[0]) == 1:
            return _plain_name(name), sides[-1].strip()
    sides = outside_brackets(text, re.compile("="))
    if len(sides) > 1 and parse(sides[-1].strip()) is None and all(evaluate(s.strip()) is not None for s in sides[:-1]):
        return "", sides[-1].strip()  # 3/16 = 0.0011_2
    if len(sides) == 2 and _NAME_ONLY.fullmatch(sides[1].strip()) and evaluate(sides[0].strip()) is not None:
        return _plain_name(sides[1].strip()), sides[0].strip()  # 2 = y
    return "", text.strip()


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
    return re.sub(r"\\(?:angle|triangle)|[∠△ {}\\]|^m(?=\\| |∠)", "", name)


@functools.lru_cache(maxsize=65536)
def read_value(text: str) -> Value | None:
    """Return the typed value of a whole cleaned text (see `clean_answer`); None if it has another form.

    Example:
        >>> read_value("seven"), read_value("7:35").is_time, read_value("about 7")
        (Number(value=Fraction(7, 1), raw=Fraction(7, 1), unit='', num_decimals=0), True, None)
    """
    if len(text) > MAX_CHARS or nesting(text) > MAX_DEPTH:
        return None
    text = split_name(text)[1]
    text = _COMPARATIVE.sub(lambda match: _COMPARATIVES[match.group(1).casefold()], text, count=1)
    system = _SYSTEM.fullmatch(text)
    if system and "&" not in text:
        text = "; ".join(line for line in system.group(1).split("\\\\") if line.strip())
    for approximate in ("\\approx", "\\sim"):
        head, sign, tail = text.partition(approximate)
        if sign and _is_approximately(head.strip(), tail.strip()):
            text = head.strip()  # \sqrt{3}/3 \approx 0.577
    for brackets, separator in (("-", "-"), ("x", " ?\\\\times ?")):  # 5-4-3, 11-15, 4 x 6 x 16
        if re.fullmatch(rf"\d{{1,9}}(?:{separator}\d{{1,9}})+", text):
            return ValueList(brackets, tuple(Number(n, n) for n in map(Fraction, re.split(separator, text))))
    is_tuple = bool(re.search("[,;]", _outer_brackets(text)[1])) and bool(_outer_brackets(text)[0])
    readers = () if is_tuple else (_read_number, _read_colon, _read_numeral)  # (3,331) is not 3331
    for read in (*readers, read_region, _read_list, _read_relation, _read_formula):
        value = read(text)
        if value is not None:
            return value
    return None


def _is_approximately(exact: str, rounded: str) -> bool:
    first, second = evaluate(exact), evaluate(rounded)
    return None not in (first, second) and abs(first - second) <= abs(first) / 100


def _read_number(text: str) -> Number | None:
    """A number with or without a unit, a compound (2 hours 30 minutes), number words, a formula without unknowns."""
    negative = re.match(r"(?:minus|negative)\s+(?=\w)", text, re.IGNORECASE)
    if negative:
        value = _read_number(text[negative.end() :])
        return value and dataclasses.replace(value, value=-value.value, raw=-value.raw)
    text = words_to_digits(text)
    if re.match(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?![\d/.])", text):
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)  # 10 000
    match = NUMBER.match(text)
    raw = matched_number(match) if match else None
    if raw is None or re.match("0[0-9]*,", text):
        return _read_constant(text)
    num_decimals = len((match.group("plain") or "").partition(".")[2])
    if match.group("exponent"):
        num_decimals = max(0, num_decimals - int(match.group("exponent"))) if num_decimals >= 2 else 0
    rest = text[match.end() :].strip()
    if not rest:
        return Number(raw, raw, "", num_decimals)
    compound = re.fullmatch(r"([A-Za-z]+),?\s*(?:and )?(\d.*)", rest)
    if compound:
        first, second = _with_unit(raw, compound.group(1), 0), _read_number(compound.group(2))
        is_sum = first and second and first.unit == second.unit != ""
        total = first.value + second.value if is_sum else None
        return Number(total, total, first.unit) if is_sum else None
    return _with_unit(raw, rest, num_decimals) or _read_constant(text)


def matched_number(match: re.Match[str]) -> Fraction | None:
    """Return the value of a `NUMBER` match; None for a zero denominator or more than 80 characters."""
    sign = -1 if match.group("sign") == "-" else 1
    if match.group("fraction"):
        digits = [group for group in re.fullmatch(_FRACTION, match.group("fraction")).groups() if group]
        if int(digits[1]) == 0:
            return None
        return sign * (int(match.group("whole") or 0) + Fraction(int(digits[0]), int(digits[1])))
    plain = match.group("plain").replace(",", "")
    return None if len(plain) > 80 else sign * Fraction(plain) * Fraction(10) ** int(match.group("exponent") or 0)


def _with_unit(raw: Real, text: str, num_decimals: int) -> Number | None:
    """Number `raw` in the unit `text`: converted if the unit is known, as it is for a noun; None for anything else."""
    scale, _, rest = text.partition(" ")
    if scale in _SCALES:
        raw, text = raw * _SCALES[scale], rest
        if not text:
            return Number(raw, raw)
    unit = read_unit("degrees" if text in ("度", "°") else text)
    return None if unit is None else Number(raw * unit.factor, raw, unit.dimension, num_decimals)


def _read_constant(text: str) -> Number | None:
    r"""``2\sqrt{3}``, ``10^9``, ``12\pi cm``: a formula without unknowns, with or without a unit."""
    value = evaluate(text)
    if value is not None:
        return Number(value, value)
    formula, unit = _split_unit(text)
    value = evaluate(formula) if unit else None
    if value is None:
        return None
    unit = read_unit(unit)
    factor = unit.factor if isinstance(value, Fraction) else float(unit.factor)
    return Number(value * factor, value, unit.dimension)


def _split_unit(text: str) -> tuple[str, str]:
    """A formula and the unit behind it; no unit if there is none."""
    for start in _UNIT_START.finditer(text[:300]):
        formula, unit = text[: start.start()], text[start.end() :]
        has_letter = formula[-1:].isalpha() and not re.search(r"\\[A-Za-z]+$", formula)
        # A letter that touches the formula is an unknown: 2\pi r.
        is_apart = bool(start.group()) or (len(unit) > 1 and not has_letter) or unit == "%"
        if is_apart and _UNIT_TEXT.fullmatch(unit) and read_unit(unit) is not None and parse(formula) is not None:
            return formula, unit
    return text, ""


def _read_colon(text: str) -> Colon | None:
    """A clock time or a ratio; "3 to 4" is a ratio too."""
    match = re.fullmatch(
        r"([\d.]{1,12}(?:\s*(?::|\bto\b)\s*[\d.]{1,12}){1,3})\s*([ap])?\.?\s*(?:m\.?)?", text, re.IGNORECASE
    )
    if not match:
        return _read_ratio(text)
    texts = re.split(r"\s*(?::|to)\s*", match.group(1), flags=re.IGNORECASE)
    if not all(re.fullmatch(r"\d+(?:\.\d+)?", part) for part in texts):
        return None
    parts = tuple(Fraction(part) for part in texts)
    is_time = ":" in text and all(re.fullmatch(r"[0-5]\d", part) for part in texts[1:]) and parts[0] <= 24
    return Colon(parts, is_time and len(parts) <= 3, (match.group(2) or "").casefold())


def _read_ratio(text: str) -> Colon | None:
    r"""A ratio of formulas, ``1:\sqrt{2}``."""
    texts = text.split(":")
    if not 2 <= len(texts) <= 4:
        return None
    parts = tuple(evaluate(part.strip()) for part in texts)
    return None if None in parts else Colon(parts, False)


def _read_numeral(text: str) -> BaseNumeral | None:
    match = re.fullmatch(r"(-?[\dA-F]*\d[\dA-F.]*)\s*_\s*(?:\{\s*(\d{1,2})\s*\}|(\d{1,2}))", text)
    return BaseNumeral(match.group(1), int(match.group(2) or match.group(3))) if match else None


def _read_list(text: str) -> ValueList | Number | None:
    """Coordinates, an interval, a set, or several values joined by commas, "and", "or"; (5) is 5."""
    vector = _read_vector_of_names(text)
    if vector is not None:
        return vector
    brackets, inner = _outer_brackets(text)
    texts = split_list(inner, has_words=not brackets)
    if len(texts) < 2:
        return _read_single(brackets, inner, text)
    if len(texts) > MAX_PARTS:
        return None
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
    return ValueList(brackets, tuple(parts), tuple(names) if any(names) else ())


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
    match = re.fullmatch(r"(?:[A-Z] ?)?([(\[{])(.*)([)\]}])", text, re.DOTALL)
    if not match or not is_balanced(match.group(2)):
        return "", text
    return match.group(1) + match.group(3), match.group(2)


def _read_single(brackets: str, inner: str, text: str) -> Value | None:
    if brackets in ("()", "{}") and inner.strip():
        return read_value(inner.strip()) if brackets == "{}" or not _SIGNS.search(inner) else None
    return _read_plus_minus(text)


def _read_plus_minus(text: str) -> ValueList | None:
    r"""``\pm 2`` as 2 and -2, ``1 \pm \sqrt{2}`` likewise."""
    if "\\pm" not in text or "(" in text[:1]:
        return None
    other = {"+": "-", "-": "+"}
    parts = tuple(read_value(text.replace("\\pm", sign).replace("\\mp", other[sign]).strip()) for sign in "+-")
    return None if None in parts else ValueList("", parts)


def _read_relation(text: str) -> Relation | None:
    r"""``x^2+y^2=4``, ``x+y<3``, ``AB=CD=EF``."""
    texts, signs = split_relation(text)
    sides = tuple(parse(side.strip()) for side in texts)
    return Relation(signs, sides) if signs and None not in sides else None


def _read_formula(text: str) -> Formula | None:
    r"""A formula with unknowns; words alone are none."""
    if re.fullmatch(r"[A-Za-z]{2,}(?: [A-Za-z]+)*", text):
        return None
    formula, unit = _split_unit(text)
    is_unit = len(unit) > 1 and not re.match("noun|angle", read_unit(unit).dimension)
    node = parse(formula if is_unit else text)
    return None if node is None else Formula(node, read_unit(unit).dimension if is_unit else "")
