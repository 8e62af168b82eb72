"""Whether two typed values are the same answer: units, percent, rounding, half days, ratios, lists in any order.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

from .arithmetic import Real, is_close
from .regions import Region, region_between, same_region
from .units import units_agree
from .values import Colon, Number, Value, ValueList


def same_name(first: str, second: str) -> bool:
    """Return whether two names name the same thing: AB is BA, angle ABC is CBA."""
    return first == second or (first.isalpha() and first.isupper() and len(first) <= 3 and first == second[::-1])


def same_value(gold: Value, answer: Value) -> bool:
    """Return whether a typed answer has the gold's value.

    Example:
        >>> from mmprm_hf.answers import read_value
        >>> same_value(read_value("5 cm"), read_value("0.05 m")), same_value(read_value("1/3"), read_value("0.334"))
        (True, False)
    """
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _same_number(gold, answer)
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        return _same_colon(gold, answer)
    if isinstance(gold, Colon) and isinstance(answer, Number):
        return _same_ratio(gold, answer)
    if isinstance(gold, ValueList) and isinstance(answer, ValueList):
        return _same_list(gold, answer)
    regions = _as_region(gold), _as_region(answer)
    return (isinstance(gold, Region) or isinstance(answer, Region)) and None not in regions and same_region(*regions)


def rounds_to(exact: Real, decimal: Real, num_decimals: int) -> bool:
    """Return whether a value rounded to `num_decimals` is `decimal`; a half may be rounded up or down."""
    return abs(Fraction(exact) - Fraction(decimal)) * 2 * 10**num_decimals <= 1


def _as_region(value: Value) -> Region | None:
    """A region, also that of a list which may be meant as an interval."""
    if isinstance(value, ValueList) and len(value.parts) == 2 and all(isinstance(part, Number) for part in value.parts):
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


def _same_ratio(gold: Colon, answer: Number) -> bool:
    """3/4 is 3:4; but 5:12 may be a time as well, which only the fraction 5/12 itself is taken for."""
    is_fraction = (
        isinstance(answer.raw, Fraction)
        and answer.raw.denominator > 1
        and not answer.num_decimals
        and answer.raw.numerator == gold.parts[0]
    )
    is_plain_ratio = len(gold.parts) == 2 and (not gold.is_time or is_fraction) and not answer.unit
    return is_plain_ratio and is_close(gold.parts[0], gold.parts[1] * answer.value)


def _same_list(gold: ValueList, answer: ValueList) -> bool:
    if len(gold.parts) != len(answer.parts):
        return False
    if gold.names and answer.names:
        by_name = dict(zip(answer.names, answer.parts, strict=True))
        return set(by_name) == set(gold.names) and all(
            same_value(part, by_name[name]) for name, part in zip(gold.names, gold.parts, strict=True)
        )
    has_names = bool(gold.names or answer.names)
    if gold.brackets != answer.brackets and not (has_names and {gold.brackets, answer.brackets} == {"", "()"}):
        return False
    if gold.brackets or has_names:
        return all(same_value(a, b) for a, b in zip(gold.parts, answer.parts, strict=True))
    unmatched = list(answer.parts)
    for part in gold.parts:
        match = next((index for index, other in enumerate(unmatched) if same_value(part, other)), None)
        if match is None:
            return False
        del unmatched[match]
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
        share = dataclasses.replace(with_unit, raw=with_unit.raw / 100, num_decimals=with_unit.num_decimals + 2)
        return _same_or_rounded(share, other)
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
