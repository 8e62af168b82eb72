r"""Numbers with units, clock times, ratios and numerals of other bases, read from a whole text or not at all.

Rational numbers are fractions; others (``2\sqrt{3}``) have 60 digits. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

from .expressions import parse
from .numerals import PARTS, SCALE_WORDS, words_to_digits
from .numeric import Real, evaluate
from .units import Unit, read_unit


@dataclasses.dataclass(frozen=True)
class Number:
    """A number: `raw` as written, `value` in the base unit of the dimension `unit` ("" for none)."""

    value: Real
    raw: Real
    unit: str = ""
    num_decimals: int = 0


@dataclasses.dataclass(frozen=True)
class Colon:
    """A clock time or a ratio, by its form: 7:35 is a time, 3:4 a ratio, 10:15 either; 7:05 is no ratio."""

    parts: tuple[Real, ...]
    is_time: bool
    half_day: str = ""
    is_ratio: bool = True


@dataclasses.dataclass(frozen=True)
class BaseNumeral:
    """The digits of a number in another base, 221_3."""

    digits: str
    base: int

    @property
    def value(self) -> Fraction | None:
        """The number; None for digits that the base does not have."""
        whole, _, decimals = self.digits.partition(".")
        try:
            return Fraction(int(whole + decimals, self.base), self.base ** len(decimals))
        except ValueError:
            return None


ENDLESS = 60
"""The decimals of a repeating decimal, which no other decimal rounds to."""
_SCALES = {"dozen": 12, "score": 20, "lakh": 10**5, "crore": 10**7, **SCALE_WORDS}
_OPERATIONS = {"squared": "({})^2", "cubed": "({})^3", "factorial": "({})!"}
_PLAIN = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_FRACTION = r"\\frac\s*(?:\{\s*(\d{1,40})\s*\}|(\d))\s*(?:\{\s*(\d{1,40})\s*\}|(\d))|(\d{1,40})\s*/\s*(\d{1,40})"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?:(?P<whole>\d{{1,40}})(?:\s+|(?=\\frac)))?(?P<fraction>{_FRACTION})|(?P<plain>{_PLAIN})"
    r"(?:(?:[eE](?=[-+]?\d)|\s*(?:\\times|\\cdot|\*)\s*10\s*\^)\s*\{?\s*(?P<exponent>[-+]?\d{1,2})\s*\}?)?)"
)
_REPEATING = (
    (re.compile(r"(\d*\.\d*)\((\d{1,30})\)"), r"\1\\overline{\2}"),  # 0.(36)
    (re.compile(r"\\dot ?\{? ?(\d) ?\}? ?(?:(\d*) ?\\dot ?\{? ?(\d) ?\}?)?"), r"\\overline{\1\2\3}"),
    (re.compile(r"(\d*\.\d*?)(?=\d{3})(\d{1,6}?)\2+ ?\\dots"), r"\1\\overline{\2}"),  # 0.1666...
)
_ENDLESS = re.compile(r"[-+]?\d*\.\d*\\overline\{\d+\}")
_ARC = re.compile(r"([\d.]+) ?(?:'|minutes?|min)(?: ?([\d.]+) ?(?:''|\"|seconds?|sec))?(?!\w)")
_UNIT_START = re.compile(r"(?<=[\d)}\]!]|[A-Za-z]) ?(?=[A-Za-z%µΩÅ$¢€£¥₹₩₽]|\\Omega|\\mu)")
_UNIT_TEXT = re.compile(r"[^=<>,;()]{1,60}")
_NOON = {"noon": "12:00 pm", "12 noon": "12:00 pm", "12:00 noon": "12:00 pm", "midnight": "12:00 am"}
_NOON |= {"12 midnight": "12:00 am", "12:00 midnight": "12:00 am"}
_CLOCK = re.compile(r"(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))? ?([ap])(?:m|\. ?m\.?)", re.IGNORECASE)


def read_quantity(text: str) -> Number | Colon | BaseNumeral | None:
    """Return the number, time, ratio or numeral that a whole text is."""
    for read in (_read_clock, read_number, _read_ratio, _read_numeral):
        value = read(text)
        if value is not None:
            return value
    return None


def read_number(text: str) -> Number | None:
    """Return a number with or without a unit, a compound (2 hours 30 minutes), number words, a constant formula."""
    negative = re.match(r"(?:minus|negative)\s+(?=[\w\\])", text, re.IGNORECASE)
    if negative:
        value = read_number(text[negative.end() :])
        return value and dataclasses.replace(value, value=-value.value, raw=-value.raw)
    text = words_to_digits(text)
    for pattern, replacement in _REPEATING:
        text = pattern.sub(replacement, text)
    text = re.sub(r"^(\d{1,9}) out of (\d{1,9})$", r"\1/\2", text)
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
        return _read_compound(raw, *compound.groups())
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


def _read_compound(raw: Fraction, unit: str, text: str) -> Number | None:
    """3 hours 20 minutes, -3 ft 2 in (-38 in), 30 degrees 15'."""
    first = _with_unit(abs(raw), unit, 0)
    if first is None or first.unit.startswith("noun"):
        return None
    arc = _ARC.fullmatch(text) if first.unit == "angle" else None
    if arc:
        seconds = Fraction(arc.group(1)) * 60 + Fraction(arc.group(2) or 0)
        total = first.value + seconds / 3600
    else:
        second = read_number(text)
        if second is None or second.unit != first.unit:
            return None
        total = first.value + second.value
    total = -total if raw < 0 else total
    return Number(total, total, first.unit)


def _with_unit(raw: Real, text: str, num_decimals: int) -> Number | None:
    """Number `raw` in the unit `text`: converted if the unit is known, as it is for a noun; None for anything else."""
    scale, _, rest = text.partition(" ")
    if scale in _SCALES:
        raw, text = raw * _SCALES[scale], rest
        if not text:
            return Number(raw, raw)
    if text in _OPERATIONS:
        return _read_constant(_OPERATIONS[text].format(raw))
    if text.removesuffix("s") in PARTS and isinstance(raw, Fraction) and raw.denominator == 1:
        raw /= PARTS[text.removesuffix("s")]
        return Number(raw, raw)
    unit = read_unit("degrees" if text in ("度", "°") else text)
    return None if unit is None else Number(raw * unit.factor, raw, unit.dimension, num_decimals)


def _read_constant(text: str) -> Number | None:
    r"""``2\sqrt{3}``, ``10^9``, ``12\pi cm``: a formula without unknowns, with or without a unit."""
    value = evaluate(text)
    if value is not None:
        return Number(value, value, "", ENDLESS if _ENDLESS.fullmatch(text) else 0)
    formula, unit = split_unit(text)
    value = evaluate(formula) if unit else None
    return value if value is None else Number(value * unit.factor, value, unit.dimension)


def split_unit(text: str) -> tuple[str, Unit | None]:
    """Return a formula and the unit behind it; no unit if there is none."""
    for start in _UNIT_START.finditer(text[:300]):
        formula, unit = text[: start.start()], text[start.end() :]
        has_letter = formula[-1:].isalpha() and not re.search(r"\\[A-Za-z]+$", formula)
        # A letter that touches the formula is an unknown: 2\pi r.
        is_apart = bool(start.group()) or (len(unit) > 1 and not has_letter) or not unit.isalpha()
        if is_apart and _UNIT_TEXT.fullmatch(unit) and read_unit(unit) is not None and parse(formula) is not None:
            return formula, read_unit(unit)
    return text, None


def _read_clock(text: str) -> Colon | None:
    """7 pm, 7:30 a.m., noon."""
    match = _CLOCK.fullmatch(_NOON.get(text.casefold(), text))
    if not match or not 0 < int(match.group(1)) <= 12:
        return None
    parts = tuple(Fraction(part or 0) for part in match.groups()[: 3 if match.group(3) else 2])
    return Colon(parts, True, match.group(4).casefold(), False)


def _read_ratio(text: str) -> Colon | None:
    r"""A clock time or a ratio of numbers, of formulas too (``1:\sqrt{2}``); "3 to 4" is a ratio."""
    texts = re.split(r"\s*:\s*" if ":" in text else r"\s+to\s+", text)
    if not 2 <= len(texts) <= 4:
        return None
    parts = tuple(evaluate(part.strip()) for part in texts)
    if None in parts or any(isinstance(part, float) for part in parts):
        return None
    is_clock = all(re.fullmatch(r"[0-5]\d", part) for part in texts[1:]) and re.fullmatch(r"\d{1,2}", texts[0])
    is_time = bool(is_clock) and ":" in text and parts[0] <= 24 and len(parts) <= 3
    return Colon(parts, is_time, "", not any(re.fullmatch(r"0\d+", part) for part in texts))


def _read_numeral(text: str) -> BaseNumeral | None:
    match = re.fullmatch(
        r"\(?(-?[\dA-Fa-f]*\d[\dA-Fa-f]*(?:\.[\dA-Fa-f]+)?|[A-Fa-f]+)\)?(?: ?_ ?(?:\{ ?(\d{1,2}) ?\}|(\d{1,2}))|"
        r" (?:in )?base (\d{1,2}))",
        text,
    )
    if not match:
        hexadecimal = re.fullmatch(r"0[xX]([\dA-Fa-f]{1,40})", text)
        return BaseNumeral(hexadecimal.group(1).upper().lstrip("0"), 16) if hexadecimal else None
    base = int(match.group(2) or match.group(3) or match.group(4))
    digits = match.group(1).upper()
    return BaseNumeral(digits.lstrip("0"), base) if 2 <= base <= 36 else None
