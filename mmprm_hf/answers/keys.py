"""Keys of answers, for grouping: equivalent answers share one, so that only answers that share one are compared.

Other answers may share a key too; `voting` compares them. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from fractions import Fraction

from .choices import read_letter
from .equality import FUNCTION_NAME, equation_of
from .nodes import Node, substitute
from .numeric import Real, fingerprint, fingerprint_ratio, real_constant, unknowns
from .regions import Region
from .texts import tokens
from .values import Colon, Formula, Number, Relation, Value, ValueList, read_name, read_value

_DECIMALS = range(2, 13)
"""Numbers of decimals that a number may be rounded to and be the same answer, see `equality`."""


def keys_of(text: str) -> set[Hashable]:
    """Return the keys of a cleaned answer.

    Example:
        >>> bool(keys_of("0.33") & keys_of("1/3")), bool(keys_of("0.33") & keys_of("0.34"))
        (True, False)
    """
    keys: set[Hashable] = set()
    letter = choice_letter(text)
    if letter:
        keys.add(("letter", letter))
    name, value = read_name(text), read_value(text)
    if value is None:
        return keys | {("text", tuple(sorted(tokens(text))))}
    keys.update(_value_keys(value))
    function = FUNCTION_NAME.fullmatch(name)
    if function and isinstance(value, Formula):  # f(t) = 2t is f(x) = 2x
        keys.update(_value_keys(Formula(substitute(value.node, function[2], ("name", "x")))))
    relation = equation_of(name, value)
    if isinstance(relation, Relation):
        keys.update(_relation_keys(relation))
    return keys


def choice_letter(text: str) -> str:
    """Return the letter of an answer that begins with a choice letter, "" for others; d alone is a name."""
    letter = read_letter(text)
    return letter[0] if letter and not text[:1].islower() else ""


def _value_keys(value: Value) -> Iterator[Hashable]:
    if isinstance(value, Number):
        yield from _number_keys(value.raw, value.num_decimals)
        if value.unit == "percent":
            yield from _number_keys(value.raw / 100, value.num_decimals + 2)
        elif value.unit == "angle":
            yield from _size_keys(math.radians(value.raw))
        elif value.unit:
            yield from _size_keys(value.value, value.unit)
    elif isinstance(value, Colon):
        if value.is_time:
            yield "clock", value.parts[0] % 12, value.parts[1]
        if value.parts[1]:
            yield from _size_keys(value.parts[0] / value.parts[1])
        else:
            yield "ratio", "to nothing"
    elif isinstance(value, Formula):
        size = fingerprint(value.node)
        yield from _size_keys(size) if size is not None else [("formula", tuple(sorted(unknowns(value.node))))]
    elif isinstance(value, ValueList):
        yield from _list_keys(
            [p.raw for p in value.parts if isinstance(p, Number) and _is_finite(p.raw)], len(value.parts)
        )
    elif isinstance(value, Region):
        ends = [end for interval in value.intervals for end in (interval.low, interval.high)]
        yield from _list_keys([end for end in ends if _is_finite(end)], len(ends))
    elif not isinstance(value, Relation):
        yield type(value), str(value)


def _number_keys(number: Real, num_decimals: int = 0) -> Iterator[Hashable]:
    """By size, and by what the number may be rounded to."""
    yield from _size_keys(number)
    if isinstance(number, Fraction) and number.denominator == 1 and not num_decimals:
        return
    for places in [num_decimals] if num_decimals else _DECIMALS:
        try:
            scaled = Fraction(number) * 10**places
        except (OverflowError, ValueError):
            return  # infinite
        yield "rounded", places, math.ceil(scaled - Fraction(1, 2))
        yield "rounded", places, math.floor(scaled + Fraction(1, 2))


def _size_keys(number: Real, unit: str = "") -> Iterator[Hashable]:
    """Two texts of nine digits, of which floats that are equal up to rounding share one."""
    try:
        size = float(number)
    except OverflowError:
        yield unit, number
        return
    for factor in (1 - 1e-11, 1 + 1e-11):
        yield unit, f"{size * factor:.8e}" if abs(size) > 1e-12 else "0"


def _list_keys(numbers: list[Real], length: int) -> Iterator[Hashable]:
    """By length and by cells of the sum of what is a number: rounding moves it by less than a cell."""
    if not numbers:
        yield "list", length
        return
    cell = math.floor(sum(map(Fraction, numbers)) * 50 / length)
    yield from (("list", length, cell), ("list", length, cell + 1))


def _is_finite(number: Real) -> bool:
    return isinstance(number, Fraction) or math.isfinite(number)


def _relation_keys(relation: Relation) -> Iterator[Hashable]:
    """By names and, for one sign, by what multiples of an equation share."""
    last = real_constant(relation.sides[-1])
    if last is not None:
        yield from _size_keys(last)  # x+y = 5 may be 5
    names = tuple(sorted(set().union(*map(unknowns, relation.sides))))
    ratio = _ratio(relation.sides) if len(relation.sides) == 2 else None
    if ratio is None:
        yield "relation", len(relation.sides), names
    else:
        yield from ((names, *key) for key in _size_keys(ratio))


def _ratio(sides: tuple[Node, ...]) -> float | None:
    return fingerprint_ratio(("sum", sides[0], ("negative", sides[1])))
