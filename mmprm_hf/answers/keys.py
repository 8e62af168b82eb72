"""Keys of answers, for grouping: equivalent answers share one, so that only answers that share one are compared.

Other answers may share a key too; `voting` compares them. Standard library only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator
from decimal import Decimal
from fractions import Fraction

from .approximate import PI
from .choices import read_letter
from .equality import FUNCTION_NAME, equation_of
from .fingerprints import fingerprint, fingerprint_ratio
from .nodes import substitute
from .numeric import Real, real_constant, unknowns
from .regions import Region
from .texts import tokens
from .values import Colon, Formula, Number, Relation, Value, ValueList, read_name, read_value

_DECIMALS = range(2, 13)
"""Numbers of decimals that a number may be rounded to and be the same answer, see `equality`."""

_ROUNDING = Decimal("1e-14")


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
        words = tokens(text)
        return keys | {("text", words if text.replace(" ", "").isalpha() else tuple(sorted(words)))}
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
            yield from _size_keys(value.raw * PI / 180)
        elif value.unit:
            yield from _size_keys(value.value, value.unit)
    elif isinstance(value, Colon):
        if value.is_time:
            yield "clock", value.parts[0] % 12, value.parts[1]
        if value.parts[1] != 0:
            yield from _size_keys(value.parts[0] / value.parts[1])
        else:
            yield "ratio", str(value.parts[0])
    elif isinstance(value, Formula):
        size = fingerprint(value.node)
        yield from _fingerprint_keys("", size) if size is not None else [("formula", str(value.node))]
    elif isinstance(value, ValueList):
        yield from _list_keys("list", list(map(_size_of, value.parts)))
        if value.brackets == "{}" and len(value.parts) == 1:
            yield from _value_keys(value.parts[0])
    elif isinstance(value, Region):
        ends = [end for interval in value.intervals for end in (interval.low, interval.high)]
        yield from _list_keys("list", list(map(_float, ends)))
    elif not isinstance(value, Relation):
        yield type(value), str(value)


def _number_keys(number: Real, num_decimals: int = 0) -> Iterator[Hashable]:
    """By size, and by what the number may be rounded to."""
    yield from _size_keys(number)
    if isinstance(number, float) or (isinstance(number, Fraction) and number.denominator == 1 and not num_decimals):
        return
    exact = number if isinstance(number, Fraction) else Fraction(number.real)
    for places in [num_decimals] if num_decimals else _DECIMALS:
        scaled = exact * 10**places
        yield "rounded", places, math.ceil(scaled - Fraction(1, 2))
        yield "rounded", places, math.floor(scaled + Fraction(1, 2))


def _float(number: Real) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _size_keys(number: Real, unit: str = "") -> Iterator[Hashable]:
    """Two texts of twelve digits, of which floats that are equal up to rounding share one."""
    size = _float(number)
    if math.isinf(size):
        yield unit, str(number)
        return
    for factor in (1 - 1e-14, 1 + 1e-14):
        yield unit, f"{size * factor:.11e}" if abs(size) > 1e-12 else "0"


def _fingerprint_keys(kind: Hashable, size: Decimal) -> Iterator[Hashable]:
    """As `_size_keys`, for sizes beyond those of floats; x - x and the number 0 share one."""
    if not size:
        yield kind, "0"
        return
    for factor in (1 - _ROUNDING, 1 + _ROUNDING):
        yield kind, f"{size * factor:.11e}"


def _size_of(value: Value) -> float:
    """A number that equal parts of a list share up to rounding; 0 for those that have none."""
    if isinstance(value, Number):
        return _float(value.raw)
    if isinstance(value, Formula):
        return float(fingerprint(value.node) or 0)
    return sum(map(_size_of, value.parts)) if isinstance(value, ValueList) else 0.0


def _list_keys(kind: str, sizes: list[float]) -> Iterator[Hashable]:
    """By length and cells of means of waves of all sizes, in any order: rounding moves a mean by less than a cell."""
    sizes = [size if abs(size) < 1e6 else math.copysign(1e5 * math.log10(abs(size)), size) for size in sizes]
    finite = [size for size in sizes if math.isfinite(size)]
    cells = []
    for frequency in (1.3, 0.7, 0.31, 0.11):
        mean = sum(math.sin(frequency * size + 1) for size in finite) / len(sizes)
        cells.append(math.floor(mean * 50))
    for shifts in itertools.product((0, 1), repeat=len(cells)):
        yield (kind, len(sizes), *(cell + shift for cell, shift in zip(cells, shifts, strict=True)))


def _relation_keys(relation: Relation) -> Iterator[Hashable]:
    """By names and, for one sign, by what multiples of an equation share; for more, by their sides."""
    last = real_constant(relation.sides[-1])
    if last is not None:
        yield from _size_keys(last)  # A = 2x = 6 may be 6
    names = tuple(sorted(set().union(*map(unknowns, relation.sides))))
    if len(relation.sides) > 2:
        yield from _list_keys(str(names), [float(fingerprint(side) or 0) for side in relation.sides])
        return
    ratio = fingerprint_ratio(("sum", relation.sides[0], ("negative", relation.sides[1])))
    yield from _fingerprint_keys(names, ratio) if ratio is not None else [("relation", names)]
