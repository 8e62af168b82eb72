r"""Answer text as typed values: numbers with units, clock times and ratios, coordinates, several values, regions.

Reading is exact or fails (None), it never guesses. Rational numbers stay fractions; others (``2\sqrt{3}``) are floats
that compare to 12 digits. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from fractions import Fraction

from .arithmetic import Real, TooLargeError, evaluate, is_close
from .numerals import digits_of_words
from .regions import Region, read_region, region_between, same_region
from .units import read_unit, units_agree


@dataclasses.dataclass(frozen=True)
class Number:
    """A number: `raw` as written, `value` in the base unit of the dimension `unit` ("" for none)."""

    value: Real
    raw: Real
    unit: str = ""
    num_decimals: int = 0


@dataclasses.dataclass(frozen=True)
class Colon:
    """A clock time or ratio, told apart by form: 7:35 is a time, 3:4 a ratio, 10:15 either."""

    parts: tuple[Real, ...]
    is_time: bool
    half_day: str = ""


@dataclasses.dataclass(frozen=True)
class _Sequence:
    """Coordinates or an interval (brackets kept, order matters), or several values (no brackets, in any order).

    `names` are those of unknowns (``x=3, y=-2``): with them the order does not matter, against values without it does.
    """

    brackets: str
    parts: tuple[Value, ...]
    names: tuple[str, ...] = ()


Value = Number | Colon | Region | _Sequence

_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
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


def name_of(text: str) -> str:
    r"""The name in ``AB = 5``, without angle signs and spaces; "" if there is none."""
    match = NAME.fullmatch(text.strip())
    return re.sub(r"\\(?:angle|triangle)|[∠△ {}]|^m(?=\\| |∠)", "", match.group("name")) if match else ""


def same_name(first: str, second: str) -> bool:
    """Whether two names are of the same thing: AB is BA, angle ABC is CBA."""
    return first == second or (first.isalpha() and first.isupper() and len(first) <= 3 and first == second[::-1])


@functools.lru_cache(maxsize=65536)
def read_value(text: str) -> Value | None:
    """The typed value of a whole cleaned text; None if it has another form."""
    text = text.strip()
    named = NAME.fullmatch(text)
    if named:
        text = named.group("value").strip()
    return _read_number(text) or _read_colon(text) or read_region(text) or _read_sequence(text)


# --- Numbers ------------------------------------------------------------------------------------------------------


def _read_number(text: str) -> Number | None:
    """A number with or without a unit, a compound (2 hours 30 minutes), number words, a formula without unknowns."""
    text = digits_of_words(text)
    if re.match(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?![\d/])", text):
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)  # 10 000
    match = NUMBER.match(text)
    raw = number_of(match) if match else None
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


def number_of(match: re.Match[str]) -> Fraction | None:
    """The value of a `NUMBER` match; None for a zero denominator or absurdly many digits."""
    sign = -1 if match.group("sign") == "-" else 1
    if match.group("fraction"):
        digits = [group for group in re.fullmatch(_FRACTION, match.group("fraction")).groups() if group]
        if int(digits[1]) == 0:
            return None
        return sign * (int(match.group("whole") or 0) + Fraction(int(digits[0]), int(digits[1])))
    plain = match.group("plain").replace(",", "")
    return None if len(plain) > 80 else sign * Fraction(plain) * Fraction(10) ** int(match.group("exponent") or 0)


def _with_unit(raw: Real, text: str, num_decimals: int) -> Number | None:
    """Number `raw` in the unit `text`: converted if known, as it is for a plain noun, None for anything else."""
    scale, _, rest = text.partition(" ")
    if scale in _SCALES:
        raw, text = raw * _SCALES[scale], rest
        if not text:
            return Number(raw, raw)
    unit = read_unit("degrees" if text in ("度", "°") else text)
    return None if unit is None else Number(raw * unit.factor, raw, unit.dimension, num_decimals)


def _read_formula(text: str) -> Number | None:
    r"""``2\sqrt{3}``, ``10^9``, ``12\pi cm``: a formula without unknowns, with or without a unit."""
    try:
        value = evaluate(text)
        if value is not None:
            return Number(value, value)
        match = _FORMULA_AND_UNIT.fullmatch(text) if len(text) <= 200 else None
        # A letter that touches the formula is an unknown: 2\pi r.
        if not match or (len(match.group("unit")) == 1 and match.group("unit") != "%" and not match.group("space")):
            return None
        value = evaluate(match.group("formula"))
    except TooLargeError:
        return None
    unit = read_unit(match.group("unit"))
    if value is None or unit is None:
        return None
    factor = unit.factor if isinstance(value, Fraction) else float(unit.factor)
    return Number(value * factor, value, unit.dimension)


# --- Times, ratios and several values -----------------------------------------------------------------------------


def _read_colon(text: str) -> Colon | None:
    """A clock time or ratio; "3 to 4" is a ratio too."""
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
    try:
        parts = tuple(evaluate(part.strip()) for part in texts)
    except TooLargeError:
        return None
    return None if None in parts else Colon(parts, False)


def _read_sequence(text: str) -> Value | None:
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
        is_several = isinstance(value, _Sequence) and not value.brackets and not brackets
        parts += value.parts if is_several else [value]
    names = tuple(name_of(part) for part in texts)
    is_named = all(names) and len({name.split("_")[0] for name in names}) == len(names) == len(parts)
    if None in parts:
        return None
    return _Sequence("" if brackets == "{}" else brackets, tuple(parts), names if is_named else ())


def _read_plus_minus(text: str) -> _Sequence | None:
    r"""``\pm 2`` as 2 and -2, ``1 \pm \sqrt{2}`` likewise."""
    if text.count("\\pm") != 1:
        return None
    parts = tuple(_read_number(text.replace("\\pm", sign).strip()) for sign in "+-")
    return None if None in parts else _Sequence("", parts)


# --- Comparison ---------------------------------------------------------------------------------------------------


def same_value(gold: Value, answer: Value) -> bool:
    """Whether a typed answer has the gold's value."""
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _same_number(gold, answer)
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        return _same_colon(gold, answer)
    if isinstance(gold, Colon) and isinstance(answer, Number):
        # 5:12 may be a time; the fraction 5/12 is none, and has to be that very one.
        is_fraction = (
            isinstance(answer.raw, Fraction)
            and answer.raw.denominator > 1
            and not answer.num_decimals
            and answer.raw.numerator == gold.parts[0]
        )
        is_plain_ratio = len(gold.parts) == 2 and (not gold.is_time or is_fraction) and not answer.unit
        return is_plain_ratio and is_close(gold.parts[0], gold.parts[1] * answer.value)
    if isinstance(gold, _Sequence) and isinstance(answer, _Sequence):
        return _same_sequence(gold, answer)
    regions = _as_region(gold), _as_region(answer)
    return (isinstance(gold, Region) or isinstance(answer, Region)) and None not in regions and same_region(*regions)


def _as_region(value: Value) -> Region | None:
    """A region, also of a sequence that may be meant as an interval."""
    if isinstance(value, _Sequence) and len(value.parts) == 2 and all(isinstance(part, Number) for part in value.parts):
        return region_between(value.brackets, value.parts[0].raw, value.parts[1].raw)
    return value if isinstance(value, Region) else None


def _same_colon(gold: Colon, answer: Colon) -> bool:
    if gold.half_day and answer.half_day and gold.half_day != answer.half_day:
        return False
    if bool(gold.half_day) != bool(answer.half_day) and max(gold.parts[0], answer.parts[0]) > 12:
        return _on_24_hours(gold) == _on_24_hours(answer)
    is_ratio = not (gold.is_time and answer.is_time) and len(gold.parts) == len(answer.parts)
    pairs = list(zip(gold.parts, answer.parts, strict=False))
    return gold.parts == answer.parts or (
        is_ratio and pairs[0] != (0, 0) and all(is_close(a * pairs[0][1], b * pairs[0][0]) for a, b in pairs[1:])
    )


def _on_24_hours(time: Colon) -> tuple[Real, ...]:
    hour = time.parts[0] % 12 + (12 if time.half_day == "p" else 0) if time.half_day else time.parts[0]
    return (hour, *time.parts[1:])


def _same_sequence(gold: _Sequence, answer: _Sequence) -> bool:
    if len(gold.parts) != len(answer.parts):
        return False
    if gold.names and answer.names:
        named = dict(zip(answer.names, answer.parts, strict=True))
        return set(named) == set(gold.names) and all(
            same_value(part, named[name]) for name, part in zip(gold.names, gold.parts, strict=True)
        )
    has_names = bool(gold.names or answer.names)
    if gold.brackets != answer.brackets and not (has_names and {gold.brackets, answer.brackets} == {"", "()"}):
        return False
    if gold.brackets or has_names:
        return all(same_value(a, b) for a, b in zip(gold.parts, answer.parts, strict=True))
    left = list(answer.parts)
    for part in gold.parts:
        found = next((index for index, other in enumerate(left) if same_value(part, other)), None)
        if found is None:
            return False
        del left[found]
    return True


def _same_number(gold: Number, answer: Number) -> bool:
    """Equal values: units agree or one is missing, 30 % is 30 and 0.3, and 0.33 is 1/3 (never 0.334)."""
    if gold.unit and answer.unit:
        if gold.unit != answer.unit:
            return units_agree(gold.unit, answer.unit) and _same_or_rounded(gold, answer)
        has_same_scale = is_close(gold.value * answer.raw, answer.value * gold.raw)
        return is_close(gold.value, answer.value) or (has_same_scale and _same_or_rounded(gold, answer))
    if _same_or_rounded(gold, answer):
        return True
    with_unit, other = (gold, answer) if gold.unit else (answer, gold)
    if with_unit.unit == "percent":
        return _same_or_rounded(
            dataclasses.replace(with_unit, raw=with_unit.raw / 100, num_decimals=with_unit.num_decimals + 2), other
        )
    is_radians = with_unit.unit == "angle" and isinstance(other.raw, float)
    return is_radians and is_close(math.radians(with_unit.raw), other.raw)


def _same_or_rounded(first: Number, second: Number) -> bool:
    """Whether the numbers as written are equal, or one is the other rounded to two decimals or more."""
    if is_close(first.raw, second.raw):
        return True
    for decimal, exact in ((first, second), (second, first)):
        is_endless = isinstance(exact.raw, float) or exact.raw.denominator > 1
        if decimal.num_decimals >= 2 and not exact.num_decimals and is_endless and math.isfinite(exact.raw):
            return rounds_to(exact.raw, decimal.raw, decimal.num_decimals)
    return False


def rounds_to(exact: Real, decimal: Real, num_decimals: int) -> bool:
    """Whether a value rounded to `num_decimals` is `decimal`; a half may go either way."""
    return abs(Fraction(exact) - Fraction(decimal)) * 2 * 10**num_decimals <= 1
