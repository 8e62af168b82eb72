"""Which candidates' answers say the same, for votes. Standard library only."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction

from .choices import read_letter
from .cleaning import clean_answer
from .equality import same_named_value
from .expressions import Node
from .numeric import Real, fingerprint
from .texts import same_text, tokens
from .values import Colon, Formula, Number, Region, Value, ValueList, read_name, read_value
from .verifier import MAX_RULE_CHARS

_CELL = Fraction(1, 100)
"""Numbers that are equal as rounded ones differ by less, see `equality`."""


def answers_equivalent(first: str | None, second: str | None) -> bool:
    """Return whether two candidates' answers say the same; symmetric, False where rules cannot tell or one is blank.

    Example:
        >>> answers_equivalent("0.50", "1/2"), answers_equivalent("(C)", "C. 30"), answers_equivalent("5 cm", "5 m")
        (True, True, False)
    """
    if not (first and first.strip() and second and second.strip()):
        return False
    return _equivalent(*(clean_answer(answer[-MAX_RULE_CHARS:]) for answer in (first, second)))


def group_answers(answers: Sequence[str | None]) -> list[int | None]:
    """Return a group per answer, numbered by first appearance and shared by equivalent answers; blank ones have None.

    An answer joins the earliest group whose first answer it is equivalent to. Being equivalent is not transitive (0.33
    and 0.333 are both 1/3), so that the groups may depend on the order; nothing else is in two groups. Answers are
    compared only where their values are near each other, so that time grows close to linearly.

    Example:
        >>> group_answers(["1/2", None, "0.5", "3"])
        [0, None, 0, 1]
    """
    representatives: list[str] = []
    groups_by_key: dict[Hashable, list[int]] = collections.defaultdict(list)
    group_by_text: dict[str, int] = {}
    groups: list[int | None] = []
    for answer in answers:
        if not answer or not answer.strip():
            groups.append(None)
            continue
        text = clean_answer(answer[-MAX_RULE_CHARS:])
        if text not in group_by_text:
            keys = list(dict.fromkeys(_keys(text)))
            nearby = sorted({group for key in keys for near in _near(key) for group in groups_by_key.get(near, ())})
            match = next((group for group in nearby if _equivalent(representatives[group], text)), None)
            if match is None:
                match = len(representatives)
                representatives.append(text)
                for key in keys:
                    groups_by_key[key].append(match)
            group_by_text[text] = match
        groups.append(group_by_text[text])
    return groups


def _equivalent(first: str, second: str) -> bool:
    """Whether two cleaned answers say the same."""
    first, second = sorted((first, second))
    if first == second:
        return True
    letters = read_letter(first), read_letter(second)
    if None not in letters:
        return letters[0][0] == letters[1][0]
    values = read_value(first), read_value(second)
    if None in values:
        return values == (None, None) and same_text(first, second) is True
    names = read_name(first), read_name(second)
    return any(same_named_value(names[a], values[a], names[b], values[b]) is True for a, b in ((0, 1), (1, 0)))


def _keys(text: str) -> Iterator[Hashable]:
    """Keys of a cleaned answer: equivalent answers have keys that are equal or near each other."""
    letter = read_letter(text)
    if letter is not None:
        yield "letter", letter[0]
    value = read_value(text)
    if value is None:
        yield "text", tuple(sorted(tokens(text)))
    else:
        yield from _value_keys(value)
        if read_name(text) or not isinstance(value, (Number, Formula, Colon, ValueList, Region)):
            yield ("relation",)


def _value_keys(value: Value) -> Iterator[Hashable]:
    if isinstance(value, Number):
        yield from _number_keys(value.raw)
        if value.unit == "percent":
            yield from _number_keys(value.raw / 100)
        elif value.unit == "angle":
            yield from _number_keys(math.radians(value.raw))
        elif value.unit:
            yield from _formula_keys(("num", Fraction(value.value)), value.unit)
    elif isinstance(value, Colon):
        yield "colon", len(value.parts)
        if len(value.parts) == 2 and value.parts[1]:
            yield from _number_keys(value.parts[0] / value.parts[1])
    elif isinstance(value, Formula):
        yield from _formula_keys(value.node, "")
    elif isinstance(value, ValueList):
        yield from _list_keys([part.raw for part in value.parts if isinstance(part, Number)], len(value.parts))
    elif isinstance(value, Region):
        ends = [end for interval in value.intervals for end in (interval.low, interval.high)]
        yield from _list_keys(ends, len(ends))


def _list_keys(numbers: Sequence[Real], length: int) -> Iterator[Hashable]:
    """By length and, where all parts are numbers, by their sum; it varies by less than a cell for each part."""
    if len(numbers) < length or not all(math.isfinite(number) for number in numbers):
        yield "list", length
    else:
        yield "sum", length, math.floor(sum(map(Fraction, numbers)) / _CELL / length)


def _number_keys(number: Real) -> Iterator[Hashable]:
    if math.isfinite(number):
        yield "number", 0, math.floor(Fraction(number) / _CELL)
    else:
        yield "infinite", number > 0


def _formula_keys(node: Node, unit: str) -> Iterator[Hashable]:
    value = fingerprint(node)
    if value is None:
        yield "formula", unit
    elif value > 1e6:  # the rounding of floats is relative
        yield "size", unit, math.floor(math.log(value) * 1e6)
    else:
        yield "number", unit or 0, math.floor(Fraction(value) / _CELL)


def _near(key: Hashable) -> Iterator[Hashable]:
    yield key
    if key[0] in ("number", "size", "sum"):
        for step in (-1, 1):
            yield (*key[:-1], key[-1] + step)
