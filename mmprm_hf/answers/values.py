r"""Answer text as typed values: numbers with units, clock times and ratios, coordinates, several values, regions.

Reading is exact or gives None; it never guesses. Rational numbers are fractions; others (``2\sqrt{3}``) are floats that
compare to 12 digits. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from fractions import Fraction

from .arithmetic import Real, evaluate
from .numerals import SCALE_WORDS, words_to_digits
from .regions import Region, read_region
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
class ValueList:
    """Coordinates or an interval (with brackets; the order matters), or several values (no brackets, in any order).

    `names` are those of unknowns (``x=3, y=-2``): their order matters only against values without names.
    """

    brackets: str
    parts: tuple[Value, ...]
    names: tuple[str, ...] = ()


Value = Number | Colon | Region | ValueList

_SCALES = {"dozen": 12, **SCALE_WORDS}
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_FRACTION = r"\\frac\s*(?:\{\s*(\d{1,40})\s*\}|(\d))\s*(?:\{\s*(\d{1,40})\s*\}|(\d))|(\d{1,40})\s*/\s*(\d{1,40})"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*[€£¥]?\s*(?:(?:(?P<whole>\d{{1,40}})(?:\s+|(?=\\frac)))?(?P<fraction>{_FRACTION})|(?P<plain>{_PLAIN})"
    r"(?:\s*(?:[eE]|\\times\s*10\s*\^|\\cdot\s*10\s*\^)\s*\{?\s*(?P<exponent>[-+]?\d{1,2})\s*\}?)?)"
)
NAME = re.compile(
    r"(?P<name>(?:m ?)?(?:\\angle|\\triangle|∠|△)? ?[A-Za-z]+(?:_\{?\w+\}?)?|\([a-z], ?[a-z]\))"
    r"\s*(?:=|\\approx|:(?=\s)|\b(?:is|equals)\b)\s*(?P<value>[^=]+)"
)
_FORMULA_AND_UNIT = re.compile(
    r"(?P<formula>.*(?:[\d)}\]!]|\\pi))(?P<space>\s*)(?P<unit>(?:[A-Za-z%][A-Za-z /.]*)(?:\^\s*\{?\s*[23]\s*\}?)?)"
)


def read_name(text: str) -> str:
    r"""Return the name in ``AB = 5``, without angle signs and spaces; "" if there is none."""
    match = NAME.fullmatch(text.strip())
    return re.sub(r"\\(?:angle|triangle)|[∠△ {}]|^m(?=\\| |∠)", "", match.group("name")) if match else ""


@functools.lru_cache(maxsize=65536)
def read_value(text: str) -> Value | None:
    """Return the typed value of a whole cleaned text (see `clean_answer`); None if it has another form.

    Example:
        >>> read_value("seven"), read_value("7:35").is_time, read_value("about 7")
        (Number(value=Fraction(7, 1), raw=Fraction(7, 1), unit='', num_decimals=0), True, None)
    """
    text = text.strip()
    named = NAME.fullmatch(text)
    if named:
        text = named.group("value").strip()
    return _read_number(text) or _read_colon(text) or read_region(text) or _read_list(text)


def _read_number(text: str) -> Number | None:
    """A number with or without a unit, a compound (2 hours 30 minutes), number words, a formula without unknowns."""
    text = words_to_digits(text)
    if re.match(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?![\d/])", text):
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)  # 10 000
    match = NUMBER.match(text)
    raw = matched_number(match) if match else None
    if raw is None:
        return _read_formula(text)
    num_decimals = len((match.group("plain") or "").partition(".")[2])
    rest = text[match.end() :].strip()
    if not rest:
        return Number(raw, raw, "", num_decimals)
    compound = re.fullmatch(r"([A-Za-z]+),?\s*(?:and )?(\d.*)", rest)
    if compound:
        first, second = _with_unit(raw, compound.group(1), 0), _read_number(compound.group(2))
        is_sum = first and second and first.unit == second.unit != ""
        total = first.value + second.value if is_sum else None
        return Number(total, total, first.unit) if is_sum else None
    return _with_unit(raw, rest, num_decimals) or _read_formula(text)


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


def _read_formula(text: str) -> Number | None:
    r"""``2\sqrt{3}``, ``10^9``, ``12\pi cm``: a formula without unknowns, with or without a unit."""
    value = evaluate(text)
    if value is not None:
        return Number(value, value)
    match = _FORMULA_AND_UNIT.fullmatch(text) if len(text) <= 200 else None
    # A letter that touches the formula is an unknown: 2\pi r.
    if not match or (len(match.group("unit")) == 1 and match.group("unit") != "%" and not match.group("space")):
        return None
    value, unit = evaluate(match.group("formula")), read_unit(match.group("unit"))
    if value is None or unit is None:
        return None
    factor = unit.factor if isinstance(value, Fraction) else float(unit.factor)
    return Number(value * factor, value, unit.dimension)


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


def _read_list(text: str) -> Value | None:
    """Coordinates, an interval, a set, or several values joined by commas, "and", "or"; (5) is 5."""
    match = re.fullmatch(r"(?:[A-Z] ?)?([(\[{])(.*)([)\]}])", text)
    brackets, inner = (match.group(1) + match.group(3), match.group(2)) if match else ("", text)
    if brackets and re.search(r"[(\[{][^)\]}]*[,;]", inner):
        brackets, inner = "", text  # (1,2), (3,4): several bracketed values
    if brackets and not re.search("[,;]", inner):
        return _read_number(inner.strip()) if brackets == "()" else None
    separator = r"[,;](?![^(\[]*[)\]])" + ("" if brackets else r"|\band\b|\bor\b|、")
    texts = [part for part in re.split(separator, inner) if part.strip()]
    if len(texts) < 2 and not brackets:
        return _read_plus_minus(text)
    if len(texts) < 2 or len(texts) > 20:
        return None
    parts: list[Value | None] = []
    for part in texts:
        value = read_value(part)
        is_several = isinstance(value, ValueList) and not value.brackets and not brackets
        parts += value.parts if is_several else [value]
    names = tuple(read_name(part) for part in texts)
    is_named = all(names) and len({name.split("_")[0] for name in names}) == len(names) == len(parts)
    if None in parts:
        return None
    return ValueList("" if brackets == "{}" else brackets, tuple(parts), names if is_named else ())


def _read_plus_minus(text: str) -> ValueList | None:
    r"""``\pm 2`` as 2 and -2, ``1 \pm \sqrt{2}`` likewise."""
    if text.count("\\pm") != 1:
        return None
    parts = tuple(_read_number(text.replace("\\pm", sign).strip()) for sign in "+-")
    return None if None in parts else ValueList("", parts)
