"""Whether two typed values are the same answer: True, False, or None where that cannot be told.

Units, percent, rounding, half days, ratios, lists in any order, equations up to a factor. Standard library only.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from .equations import same_equation, same_inequality
from .expressions import parse
from .nodes import Node, kinds_in, substitute
from .numeric import Real, is_close, real_constant, same_formula, unknowns
from .regions import Region, region_between, same_region
from .units import LETTER_UNITS, units_agree
from .values import BaseNumeral, Colon, Formula, Number, Relation, Value, ValueList
from .vocabulary import SYMBOLS

FUNCTION_NAME = re.compile(r"([A-Za-z]+)\(([a-z])\)")


def same_name(first: str, second: str) -> bool:
    """Return whether two names name the same thing: AB is BA, angle ABC is CBA, x_1 is an x."""
    is_reversed = first.isalpha() and first.isupper() and len(first) <= 3 and first == second[::-1]
    bases = first.partition("_")[0], second.partition("_")[0]
    return first == second or is_reversed or (bases[0] == bases[1] and bases[0] in (first, second))


def same_named_value(gold_name: str, gold: Value, answer_name: str, answer: Value) -> bool | None:
    """Return whether two values are the same where one or both have names: f(x) = x is f(t) = t, and y = x is f(x) = x.

    Example:
        >>> from mmprm_hf.answers import read_value
        >>> same_named_value("x", read_value("5"), "y", read_value("5"))
        False
    """
    if _is_description(gold_name) or _is_description(answer_name):
        is_same = same_value(gold, answer)
        has_two = gold_name and answer_name and gold_name.casefold() != answer_name.casefold()
        return None if is_same and has_two else is_same
    functions = [FUNCTION_NAME.fullmatch(name) for name in (gold_name, answer_name)]
    is_renamed = all(functions) and functions[0][1] == functions[1][1] and functions[0][2] != functions[1][2]
    if is_renamed and isinstance(answer, Formula):
        if functions[0][2] in unknowns(answer.node):
            return None if same_value(gold, answer) else False  # f(y) = x
        answer = Formula(substitute(answer.node, functions[1][2], ("name", functions[0][2])), answer.unit)
    if isinstance(gold, Relation) != isinstance(answer, Relation):
        gold, answer = equation_of(gold_name, gold), equation_of(answer_name, answer)
        return same_value(gold, answer)
    is_function = any(functions) and "y" in (gold_name, answer_name)
    if gold_name and answer_name and not (is_renamed or is_function or same_name(gold_name, answer_name)):
        return False  # AB = 5 is not CD = 5
    return same_value(gold, answer)


def _is_description(name: str) -> bool:
    """Whether a name is words ("Area of the base"), which others may say otherwise."""
    return " " in name or (bool(re.fullmatch("[A-Za-z][a-z]{2,}", name)) and name not in SYMBOLS)


def equation_of(name: str, value: Value) -> Value:
    """Return the equation y = 2x + 1 of a named formula; the value itself if it has no name."""
    left = parse(name) if name and isinstance(value, (Formula, Number)) else None
    return value if left is None else Relation(("=",), (left, _node(value)))


def same_value(gold: Value, answer: Value) -> bool | None:
    """Return whether a typed answer has the gold's value.

    Example:
        >>> from mmprm_hf.answers import read_value
        >>> same_value(read_value("5 cm"), read_value("0.05 m")), same_value(read_value("1/3"), read_value("0.334"))
        (True, False)
    """
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _same_number(gold, answer)
    if isinstance(gold, Colon) or isinstance(answer, Colon):
        return _same_colons(gold, answer)
    if isinstance(gold, BaseNumeral) or isinstance(answer, BaseNumeral):
        return _same_numeral(gold, answer)
    if isinstance(gold, ValueList) and isinstance(answer, ValueList):
        return _same_list(gold, answer)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relation(gold, answer)
    regions = _as_region(gold), _as_region(answer)
    if (isinstance(gold, Region) or isinstance(answer, Region)) and None not in regions:
        return same_region(*regions)
    if isinstance(gold, ValueList) or isinstance(answer, ValueList):
        return _same_list_and_other(*((gold, answer) if isinstance(gold, ValueList) else (answer, gold)))
    if isinstance(gold, Region) or isinstance(answer, Region):
        return False
    if isinstance(gold, Formula) and isinstance(answer, Formula) and gold.unit and answer.unit:
        return same_formula(gold.node, answer.node) if gold.unit == answer.unit else None
    return same_formula(_node(gold), _node(answer))


def rounds_to(exact: Real, decimal: Real, num_decimals: int) -> bool:
    """Return whether a value rounded to `num_decimals` is `decimal`; a half may be rounded up or down."""
    return abs(Fraction(exact) - Fraction(decimal)) * 2 * 10**num_decimals <= 1


def _node(value: Number | Formula) -> Node:
    if isinstance(value, Formula):
        return value.node
    if isinstance(value.raw, Fraction):
        return ("num", value.raw)
    return ("name", "infty") if math.isinf(value.raw) else ("num", Fraction(value.raw))


def _as_region(value: Value) -> Region | None:
    """A region, also that of a list which may be meant as an interval."""
    if isinstance(value, ValueList) and len(value.parts) == 2 and all(isinstance(part, Number) for part in value.parts):
        return region_between(value.brackets, value.parts[0].raw, value.parts[1].raw)
    return value if isinstance(value, Region) else None


def _same_colons(gold: Value, answer: Value) -> bool | None:
    if isinstance(gold, Colon) and isinstance(answer, Colon):
        return _same_colon(gold, answer)
    return isinstance(gold, Colon) and isinstance(answer, Number) and _same_ratio(gold, answer)


def _same_colon(gold: Colon, answer: Colon) -> bool:
    if gold.half_day and answer.half_day and gold.half_day != answer.half_day:
        return False
    if gold.is_time and answer.is_time and len(gold.parts) != len(answer.parts):
        gold, answer = (dataclasses.replace(t, parts=(*t.parts, Fraction(0))[:3]) for t in (gold, answer))  # 20:34:00
    if bool(gold.half_day) != bool(answer.half_day) and max(gold.parts[0], answer.parts[0]) > 12:
        return _on_24_hours(gold) == _on_24_hours(answer)
    is_ratio = not (gold.is_time and answer.is_time) and len(gold.parts) == len(answer.parts)
    return gold.parts == answer.parts or (is_ratio and _are_proportional(gold.parts, answer.parts))


def _are_proportional(first: Sequence[Real], second: Sequence[Real]) -> bool:
    """Whether one ratio is a positive multiple of the other."""
    if any((a == 0) != (b == 0) for a, b in zip(first, second, strict=True)):
        return False
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a != 0]
    return all(is_close(a * pairs[0][1], b * pairs[0][0]) and a * b > 0 for a, b in pairs)


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
    is_clock = gold.half_day or (gold.is_time and gold.parts[1] < 10)
    is_plain_ratio = len(gold.parts) == 2 and not is_clock and (not gold.is_time or is_fraction) and not answer.unit
    return is_plain_ratio and is_close(gold.parts[0], gold.parts[1] * answer.value)


def _same_numeral(gold: Value, answer: Value) -> bool | None:
    """Digits in another base; the same digits or the same value without the base are undecided."""
    if isinstance(gold, BaseNumeral) and isinstance(answer, BaseNumeral) and gold.base == answer.base:
        return gold.digits.lstrip("0") == answer.digits.lstrip("0")
    values = []
    for value in (gold, answer):
        if isinstance(value, BaseNumeral):
            values += [(value.digits, _in_base_ten(value))]
        elif isinstance(value, Number) and isinstance(value.raw, Fraction):
            values += [(str(value.raw), value.raw)]
        else:
            return False
    is_same_value = values[0][1] == values[1][1] is not None
    has_one_base = not (isinstance(gold, BaseNumeral) and isinstance(answer, BaseNumeral))
    return None if is_same_value or (has_one_base and values[0][0] == values[1][0]) else False


def _in_base_ten(numeral: BaseNumeral) -> Fraction | None:
    whole, _, decimals = numeral.digits.partition(".")
    try:
        return Fraction(int(whole + decimals, numeral.base), numeral.base ** len(decimals))
    except ValueError:
        return None


def _same_list(gold: ValueList, answer: ValueList) -> bool | None:
    if len(gold.parts) != len(answer.parts):
        return None if gold.brackets == answer.brackets == "x" and _product(gold) == _product(answer) else False
    sides = [list(zip(side.names or [""] * len(side.parts), side.parts, strict=True)) for side in (gold, answer)]
    in_order = _all(same_named_value(*a, *b) for a, b in zip(*sides, strict=True))
    is_ordered = gold.has_unknowns != answer.has_unknowns and not (gold.names and answer.names)
    if gold.brackets == answer.brackets == "x":
        return _any_order(*sides) or (None if _product(gold) == _product(answer) else False)
    brackets = {gold.brackets, answer.brackets}
    if len(brackets) > 1 and brackets not in ({"", "()"}, {"", "{}"}):
        return False
    if in_order or is_ordered or brackets.isdisjoint(("", "{}")):
        return in_order
    in_any_order = _any_order(*sides)
    return None if in_any_order and "()" in brackets else in_any_order


def _product(values: ValueList) -> Real:
    return math.prod(part.raw for part in values.parts)


def _any_order(first: Sequence[tuple[str, Value]], second: Sequence[tuple[str, Value]]) -> bool | None:
    """Whether two lists hold the same values, each as often."""
    unmatched, is_sure = list(second), True
    for part in first:
        verdicts = [same_named_value(*part, *other) for other in unmatched]
        if True in verdicts:
            del unmatched[verdicts.index(True)]
        elif None in verdicts:
            is_sure = False
        else:
            return False
    return True if is_sure else None


def _all(verdicts: Sequence[bool | None]) -> bool | None:
    verdicts = set(verdicts)
    return False if False in verdicts else None if None in verdicts else True


def _same_list_and_other(values: ValueList, other: Value) -> bool | None:
    """A list is not one value; but 1,22 may be 1.22, and 10-3-2 is 5."""
    parts = [part.raw for part in values.parts if isinstance(part, Number) and isinstance(part.raw, Fraction)]
    if len(parts) != len(values.parts) or not isinstance(other, Number):
        return False
    if values.brackets == "-":
        return None if is_close(parts[0] - sum(parts[1:]), other.raw) else False
    if values.brackets == "x":
        return is_close(math.prod(parts), other.raw)
    is_glued = len(parts) == 2 and not values.brackets and all(part.denominator == 1 for part in parts)
    return None if is_glued and other.num_decimals >= 2 and abs(other.raw - parts[0]) < 1 else False


def _same_relation(gold: Value, answer: Value) -> bool | None:
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        if len(gold.signs) != len(answer.signs):
            return False
        if len(gold.signs) > 1:
            return _same_chain(gold, answer)
        if gold.signs == answer.signs == ("=",):
            return same_equation(gold.sides, answer.sides)
        return same_inequality(gold.signs[0], gold.sides, answer.signs[0], answer.sides)
    relation, other = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
    if isinstance(other, (Number, Formula)) and set(relation.signs) == {"="}:
        last = relation.sides[-1]
        is_constant = real_constant(last) is not None and all(
            real_constant(side) is not None for side in relation.sides
        )
        is_same = same_formula(last, _node(other))
        is_stated = is_constant or (_is_quantity(relation.sides[0]) and real_constant(last) != 0)
        return is_same if is_stated or is_same is False else None  # x^2+y^2-4=0 is an equation, not the number 0
    if isinstance(other, (Number, Formula)):
        return None if True in (same_formula(side, _node(other)) for side in relation.sides) else False
    return False


def _is_quantity(node: Node) -> bool:
    r"""Whether a side of an equation names what was asked for (``a+b``, ``\sin A``); 2x+1 is to be solved."""
    has_number = "num" in kinds_in(node)
    return node[0] == "call" or len(unknowns(node)) > 1 or (node[0] in ("product", "quotient") and not has_number)


def _same_chain(gold: Relation, answer: Relation) -> bool | None:
    """``AB = CD = EF``: the same sides, in any order where all signs are "="."""
    if gold.signs != answer.signs:
        return False
    if set(gold.signs) == {"="}:
        unmatched = list(answer.sides)
        for side in gold.sides:
            match = next((other for other in unmatched if same_formula(side, other)), None)
            if match is None:
                return False
            unmatched.remove(match)
        return True
    return _all(same_formula(a, b) for a, b in zip(gold.sides, answer.sides, strict=True))


def _same_number(gold: Number, answer: Number) -> bool | None:
    """Equal values: units agree or one is missing, 30 % is 30 and 0.3, and 0.33 is 1/3 (never 0.334)."""
    if gold.unit and answer.unit:
        if gold.unit != answer.unit:
            is_same = _same_or_rounded(gold, answer)
            are_nouns = gold.unit.startswith("noun") or answer.unit.startswith("noun")
            return is_same if units_agree(gold.unit, answer.unit) else None if is_same and are_nouns else False
        has_same_scale = is_close(gold.value * answer.raw, answer.value * gold.raw)
        return is_close(gold.value, answer.value) or (has_same_scale and _same_or_rounded(gold, answer))
    with_unit, other = (gold, answer) if gold.unit else (answer, gold)
    if _same_or_rounded(gold, answer):
        return None if with_unit.unit in LETTER_UNITS else True  # 5 N: a force, or five times an unknown N
    if with_unit.unit == "percent":
        share = dataclasses.replace(with_unit, raw=with_unit.raw / 100, num_decimals=with_unit.num_decimals + 2)
        is_rounded = share.num_decimals == 2 and not is_close(share.raw, other.raw)  # 28 % need not be 5/18
        return (_same_or_rounded(share, other) or False) and (None if is_rounded else True)
    is_radians = with_unit.unit == "angle" and isinstance(other.raw, float)
    return is_radians and is_close(math.radians(with_unit.raw), other.raw)


def _same_or_rounded(first: Number, second: Number) -> bool:
    """Whether the numbers as written are equal, or one is the other rounded to two decimals or more."""
    if is_close(first.raw, second.raw):
        return True
    for decimal, exact in ((first, second), (second, first)):
        is_endless = isinstance(exact.raw, float) or exact.raw.denominator > 1
        has_two_digits = decimal.num_decimals >= 2 and abs(decimal.raw) * 10**decimal.num_decimals >= 10
        if has_two_digits and not exact.num_decimals and is_endless and math.isfinite(exact.raw):
            return rounds_to(exact.raw, decimal.raw, decimal.num_decimals)
    return False
