"""Whether two numbers, clock times, ratios or numerals are the same answer: True, False, or None for undecided.

Units, percent, rounding and half days. Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from .approximate import PI, Real
from .numeric import is_close, rounds_to
from .quantities import BaseNumeral, Colon, Number
from .units import LETTER_UNITS, conversion, may_agree

_YEN = frozenset(("yen_or_yuan", "yen", "yuan"))


def same_number(gold: Number, answer: Number) -> bool | None:
    """Equal values: units agree or one is missing, 30 % is 30 and 0.3, and 0.33 is 1/3 (never 0.334)."""
    if gold.unit and answer.unit:
        return _same_with_units(gold, answer)
    with_unit, other = (gold, answer) if gold.unit else (answer, gold)
    is_same = _same_or_rounded(gold, answer)
    is_share = with_unit.unit == "percent" and 0 < abs(other.raw) < 1
    if is_same is not False:  # 5 N: a force, or five times an unknown N; 0.5 % may be meant to be 0.005
        return None if with_unit.unit in LETTER_UNITS or is_share else is_same
    if with_unit.unit == "percent":
        share = dataclasses.replace(with_unit, raw=with_unit.raw / 100, num_decimals=with_unit.num_decimals + 2)
        is_rounded = share.num_decimals == 2 and not is_close(share.raw, other.raw)  # 28 % need not be 5/18
        return (_same_or_rounded(share, other) or False) and (None if is_rounded else True)
    is_radians = with_unit.unit == "angle" and not isinstance(other.raw, Fraction)
    if is_radians and is_close(with_unit.raw * PI / 180, other.raw):
        return True
    is_money = with_unit.unit == "dollars" and is_close(with_unit.value, other.raw)
    return None if is_money else False  # 75 cents, 0.75


def _same_with_units(gold: Number, answer: Number) -> bool | None:
    factor = conversion(answer.unit, gold.unit)
    if factor is None:
        if _same_or_rounded(gold, answer) is False:
            return False
        units = gold.unit, answer.unit
        may_be_same = any(unit.startswith("noun") for unit in units) or {*units} <= _YEN
        return True if may_agree(*units) else None if may_be_same else False
    converted = dataclasses.replace(answer, value=answer.value * factor)
    if is_close(gold.value, converted.value):
        return True
    has_same_scale = is_close(gold.value * answer.raw, converted.value * gold.raw)
    return has_same_scale and _same_or_rounded(gold, answer)


def _same_or_rounded(first: Number, second: Number) -> bool | None:
    """Whether the numbers as written are equal, or one is the other rounded to two decimals or more."""
    if is_close(first.raw, second.raw):
        return True
    for decimal, exact in ((first, second), (second, first)):
        if isinstance(decimal.raw, float) or isinstance(exact.raw, float):
            continue  # infinite
        is_endless = not isinstance(exact.raw, Fraction) or exact.raw.denominator > 1
        has_two_digits = decimal.num_decimals >= 2 and abs(decimal.raw) * 10**decimal.num_decimals >= 10
        if has_two_digits and not exact.num_decimals and is_endless:
            if rounds_to(exact.raw, decimal.raw, decimal.num_decimals):
                return True
            if decimal.num_decimals >= 14 and abs(exact.raw - decimal.raw) * 10**14 <= abs(exact.raw):
                return True if decimal.raw == Fraction(repr(float(exact.raw))) else None  # printed by a program
            return False
    return False


def same_colons(gold: object, answer: object) -> bool | None:
    """Return whether a time or ratio is the same as another value; 3/4 is 3:4."""
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        return _same_colon(gold, answer)
    colon, other = (gold, answer) if isinstance(gold, Colon) else (answer, gold)
    if not isinstance(other, Number) or isinstance(other.raw, float):
        return False
    if colon.half_day and other.raw == colon.parts[0]:
        return None  # 7 pm, 7
    return _same_ratio(colon, other)


def _same_colon(gold: Colon, answer: Colon) -> bool | None:
    if gold.half_day and answer.half_day and gold.half_day != answer.half_day:
        return False
    if gold.is_time and answer.is_time and len(gold.parts) != len(answer.parts):
        gold, answer = (dataclasses.replace(t, parts=(*t.parts, Fraction(0))[:3]) for t in (gold, answer))  # 20:34:00
    if bool(gold.half_day) != bool(answer.half_day):
        without = answer if gold.half_day else gold
        is_afternoon = without.parts[0] < 12 and "p" in (gold.half_day, answer.half_day)
        return _on_24_hours(gold) == _on_24_hours(answer) or (is_afternoon and gold.parts == answer.parts)
    if gold.parts == answer.parts:
        return (gold.is_time and answer.is_time) or (gold.is_ratio and answer.is_ratio)
    if not (gold.is_ratio and answer.is_ratio) or len(gold.parts) != len(answer.parts):
        return False
    is_proportional = _are_proportional(gold.parts, answer.parts)
    return None if is_proportional and gold.is_time and answer.is_time else is_proportional  # 1:20, 2:40


def _are_proportional(first: Sequence[Real], second: Sequence[Real]) -> bool:
    """Whether one ratio is a positive multiple of the other."""
    if any((a == 0) or (b == 0) for a, b in zip(first, second, strict=True)):
        return False
    pairs = list(zip(first, second, strict=True))
    return all(is_close(a * pairs[0][1], b * pairs[0][0]) and a * b > 0 for a, b in pairs)


def _on_24_hours(time: Colon) -> tuple[Real, ...]:
    hour = time.parts[0] % 12 + (12 if time.half_day == "p" else 0) if time.half_day else time.parts[0]
    return (hour, *time.parts[1:])


def _same_ratio(gold: Colon, answer: Number) -> bool | None:
    """3/4 is 3:4; but 5:12 may be a time as well, which only the fraction 5/12 itself is taken for."""
    is_fraction = (
        isinstance(answer.raw, Fraction)
        and answer.raw.denominator > 1
        and not answer.num_decimals
        and answer.raw.numerator == gold.parts[0]
    )
    is_clock = gold.half_day or (gold.is_time and gold.parts[1] < 10)
    is_plain_ratio = len(gold.parts) == 2 and gold.is_ratio and not is_clock and not answer.unit
    is_plain_ratio &= not gold.is_time or is_fraction
    is_same = is_plain_ratio and is_close(gold.parts[0], gold.parts[1] * answer.value)
    return None if is_same and gold.parts[1] == 1 else is_same  # 5:1 may be 5


def same_numeral(gold: object, answer: object) -> bool | None:
    """Digits in another base; the same digits or the same value without the base are undecided."""
    if isinstance(gold, BaseNumeral) and isinstance(answer, BaseNumeral) and gold.base == answer.base:
        return gold.digits.lstrip("0") == answer.digits.lstrip("0")
    values = []
    for value in (gold, answer):
        if isinstance(value, BaseNumeral):
            values += [(value.digits, value.value)]
        elif isinstance(value, Number) and isinstance(value.raw, Fraction):
            values += [(str(value.raw), value.raw)]
        else:
            return False
    is_same_value = values[0][1] == values[1][1] is not None
    has_one_base = not (isinstance(gold, BaseNumeral) and isinstance(answer, BaseNumeral))
    return None if is_same_value or (has_one_base and values[0][0] == values[1][0]) else False
