r"""Sets of real numbers as answers write them: ``2 \le x < 5``, ``x<-2 or x>2``, ``(-\infty,-2)\cup(2,\infty)``.

All forms are read into the same intervals, so that they compare with each other. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re

from .expressions import parse
from .nodes import Node
from .numeric import Real, evaluate, is_close, linear

MAX_CHARS = 200


@dataclasses.dataclass(frozen=True)
class Interval:
    """All numbers between two ends; an end that `is_closed` belongs to it."""

    low: Real
    high: Real
    is_low_closed: bool
    is_high_closed: bool


@dataclasses.dataclass(frozen=True)
class Region:
    """A union of intervals in ascending order; `variable` is the name of the unknown, "" if the text has none."""

    intervals: tuple[Interval, ...]
    variable: str = ""


_RELATION = re.compile(r"(\\leq?(?![A-Za-z])|\\geq?(?![A-Za-z])|[<>])")
_ANONYMOUS = "the value"
_VARIABLE = r"the value|[A-Za-z](?:_\{?\w\}?)?(?:\([a-z]\))?|\\[a-z]+"
_OPENING, _CLOSING = {"(": False, "[": True}, {")": False, "]": True}


@functools.lru_cache(maxsize=16384)
def read_region(text: str) -> Region | None:
    r"""Return the region of a cleaned text; None for another form, an empty interval, or plain ``(1,2)`` (a point too).

    Example:
        >>> same_region(read_region("x \\le 3"), read_region("(-\\infty,3]"))
        True
    """
    if len(text) > MAX_CHARS or not re.search(r"[<>]|\\[lg]eq?(?![A-Za-z])|\\infty|\\cup|\\in(?![A-Za-z])", text):
        return None
    text, variable = text.strip(), ""
    builder = re.fullmatch(rf"\{{\s*({_VARIABLE})\s*(?:\||\\mid|:)(.*)\}}", text)
    if builder:
        variable, text = builder.groups()
    member = re.match(rf"\s*({_VARIABLE})?\s*\\in\s*(?=[(\[])", text)
    if member:
        variable, text = member.group(1) or variable, text[member.end() :]
    intervals: list[Interval] = []
    for part in re.split(r"\\cup|\\vee|\\lor|\bor\b|\bU\b", text):
        region = _read_inequalities(part) if _RELATION.search(part) else _read_interval(part)
        if region is None or (region.variable and variable and region.variable != variable):
            return None
        intervals += region.intervals
        variable = variable or region.variable
    intervals.sort(key=lambda interval: (interval.low, interval.high))
    return Region(tuple(intervals), variable)


def region_between(brackets: str, low: Real, high: Real) -> Region | None:
    """Return the region of one interval, e.g. of ``"[)"``; None for an empty one or other brackets."""
    if brackets[:1] not in _OPENING or brackets[1:] not in _CLOSING or not low <= high:
        return None
    return Region((Interval(low, high, _OPENING[brackets[0]], _CLOSING[brackets[1]]),))


def same_region(first: Region, second: Region) -> bool:
    """Return whether two regions hold the same numbers, interval by interval, and their unknowns do not differ."""
    if first.variable and second.variable and first.variable != second.variable:
        return False
    return len(first.intervals) == len(second.intervals) and all(
        is_close(a.low, b.low)
        and is_close(a.high, b.high)
        and (a.is_low_closed or a.low == -math.inf) == (b.is_low_closed or b.low == -math.inf)
        and (a.is_high_closed or a.high == math.inf) == (b.is_high_closed or b.high == math.inf)
        for a, b in zip(first.intervals, second.intervals, strict=True)
    )


def _read_interval(text: str) -> Region | None:
    match = re.fullmatch(r"\s*([(\[])([^,;]+)[,;]([^,;]+)([)\]])\s*", text)
    if not match:
        return None
    opening, low, high, closing = match.groups()
    low, high = evaluate(low.strip()), evaluate(high.strip())
    return None if low is None or high is None else region_between(opening + closing, low, high)


def _read_inequalities(text: str) -> Region | None:
    """One chain, or several joined by "and", which must all hold."""
    ends: list[tuple[str, bool, Real, bool]] = []  # unknown, is the upper end, where, is it closed
    for chain in re.split(r"\band\b|,|\\land|\\wedge", text):
        sides = [part.strip() for part in _RELATION.split(chain)]
        signs = [_sign(relation) for relation in sides[1::2]]
        if len(signs) not in (1, 2) or len({"<" in sign for sign in signs}) > 1:
            return None
        if not sides[0]:  # "less than 20 years"
            sides = [_ANONYMOUS, signs[0], re.sub(r"(?<=\d) ?[A-Za-z ]+$", "", sides[2])]
        for left, sign, right in zip(sides[::2], signs, sides[2::2], strict=False):
            end = _end(left, sign, right)
            if end is None:
                return None
            ends.append(end)
    if len({name for name, *_ in ends}) != 1:
        return None
    lows = [(end, not is_closed) for _, is_upper, end, is_closed in ends if not is_upper]
    highs = [(end, is_closed) for _, is_upper, end, is_closed in ends if is_upper]
    low, is_low_open = max(lows, default=(-math.inf, True))
    high, is_high_closed = min(highs, default=(math.inf, False))
    if not low <= high:
        return None
    name = ends[0][0]
    interval = Interval(low, high, not is_low_open, is_high_closed)
    return Region((interval,), "" if name == _ANONYMOUS else name)


def _end(left: str, sign: str, right: str) -> tuple[str, bool, Real, bool] | None:
    """The end of the interval that an inequality, linear in one unknown, describes."""
    is_less, is_closed = "<" in sign, "=" in sign
    for name, other, is_name_left in ((left, right, True), (right, left, False)):
        if re.fullmatch(_VARIABLE, name) and name not in ("\\pi", "e", "i"):
            end = evaluate(other)
            if end is not None:
                return name, is_less == is_name_left, end, is_closed
    nodes = parse(left), parse(right)
    found = None if None in nodes else linear(_difference(*nodes))
    if found is None:
        return None
    name, slope, at_zero = found
    return name, is_less == (slope > 0), -at_zero / slope, is_closed


def _difference(left: Node, right: Node) -> Node:
    return ("sum", left, ("negative", right))


def _sign(relation: str) -> str:
    """A relation as ``<``, ``<=``, ``>`` or ``>=``."""
    return relation if relation in "<>" else ("<=" if relation.startswith("\\l") else ">=")
