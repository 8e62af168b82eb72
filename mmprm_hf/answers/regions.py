r"""Sets of real numbers as answers write them: ``2 \le x < 5``, ``x<-2 or x>2``, ``(-\infty,-2)\cup(2,\infty)``.

All forms are read into the same intervals, so that they compare with each other. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re

from .expressions import parse
from .numeric import Real, evaluate, is_close, linear
from .units import Unit, read_unit

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
    """A union of intervals in ascending order, in `unit`; `variable` is the name of the unknown, "" without one."""

    intervals: tuple[Interval, ...]
    variable: str = ""
    unit: str = ""


_RELATION = re.compile(r"(\\leq?(?![A-Za-z])|\\geq?(?![A-Za-z])|\\ne(?![A-Za-z])|[<>])")
_ANONYMOUS = "the value"
_VARIABLE = r"the value|[A-Za-z](?:_\{?\w\}?)?(?:\([a-z]\))?|\\[a-z]+"
_OPENING, _CLOSING = {"(": False, "[": True}, {")": False, "]": True}
_REALS = re.compile(r"\\mathbb ?\{? ?R ?\}?(?: ?(?:\\setminus|\\backslash|-) ?\{(?P<holes>[^{}]*)\})?")
_END_UNIT = re.compile(r"(?<=[\d)}]) ?([A-Za-z%$µ][^()\\,;<>=]*)$")


@functools.lru_cache(maxsize=16384)
def read_region(text: str) -> Region | None:
    r"""Return the region of a cleaned text; None for another form, an empty interval, or plain ``(1,2)`` (a point too).

    Example:
        >>> same_region(read_region("x \\le 3"), read_region("(-\\infty,3]"))
        True
    """
    marks = r"[<>]|\\(?:[lg]eq?|ne|infty|cup|in|mathbb)(?![A-Za-z])"
    if len(text) > MAX_CHARS or not re.search(marks, text):
        return None
    text, variable, unit = text.strip(), "", ""
    builder = re.fullmatch(rf"\{{\s*({_VARIABLE})\s*(?:\||:)(.*)\}}", text)
    if builder:
        variable, text = builder.groups()
    member = re.match(rf"\s*({_VARIABLE})?\s*\\in\s*(?=[(\[]|\\mathbb)", text)
    if member:
        variable, text = member.group(1) or variable, text[member.end() :]
    intervals: list[Interval] = []
    for part in re.split(r"\\cup|\\vee|\\lor|\bor\b|\bU\b", text):
        reals = _REALS.fullmatch(part.strip())
        if reals:
            region = _without_points([evaluate(end.strip()) for end in (reals.group("holes") or "").split(",") if end])
        else:
            region = _read_inequalities(part) if _RELATION.search(part) else _read_interval(part)
        names = (region.variable, variable) if region else ()
        if region is None or (all(names) and names[0] != names[1]) or (intervals and region.unit != unit):
            return None
        intervals += region.intervals
        variable, unit = variable or region.variable, region.unit
    intervals.sort(key=lambda interval: (interval.low, interval.high))
    return Region(tuple(intervals), variable, unit)


def region_between(brackets: str, low: Real, high: Real) -> Region | None:
    """Return the region of one interval, e.g. of ``"[)"``; None for an empty one or other brackets."""
    if brackets[:1] not in _OPENING or brackets[1:] not in _CLOSING or not low <= high:
        return None
    return Region((Interval(low, high, _OPENING[brackets[0]], _CLOSING[brackets[1]]),))


def same_region(first: Region, second: Region) -> bool | None:
    """Return whether two regions hold the same numbers, interval by interval, and unknowns and units do not differ.

    None if only one of them has a unit.
    """
    if first.variable and second.variable and first.variable != second.variable:
        return False
    is_same = len(first.intervals) == len(second.intervals) and all(
        is_close(a.low, b.low)
        and is_close(a.high, b.high)
        and (a.is_low_closed or a.low == -math.inf) == (b.is_low_closed or b.low == -math.inf)
        and (a.is_high_closed or a.high == math.inf) == (b.is_high_closed or b.high == math.inf)
        for a, b in zip(first.intervals, second.intervals, strict=True)
    )
    if first.unit != second.unit:
        return False if first.unit and second.unit else None
    return is_same


def _read_interval(text: str) -> Region | None:
    match = re.fullmatch(r"\s*([(\[])([^,;]+)[,;]([^,;]+)([)\]])\s*", text)
    if not match:
        return None
    opening, low, high, closing = match.groups()
    low, high = evaluate(low.strip()), evaluate(high.strip())
    return None if low is None or high is None else region_between(opening + closing, low, high)


def _without_points(points: list[Real | None]) -> Region | None:
    """All real numbers but some."""
    if None in points:
        return None
    ends = [-math.inf, *sorted(points), math.inf]
    return Region(tuple(Interval(low, high, False, False) for low, high in itertools.pairwise(ends)))


def _read_inequalities(text: str) -> Region | None:
    """One chain, or several joined by "and", which must all hold; ``x \\ne 1`` and ``|x-2| < 5`` alone."""
    ends: list[tuple[str, bool, Real, bool]] = []  # unknown, is the upper end, where, is it closed
    units = set()
    for chain in re.split(r"\band\b|,|\\land|\\wedge", text):
        sides = [part.strip() for part in _RELATION.split(chain)]
        signs = [_sign(relation) for relation in sides[1::2]]
        if len(signs) not in (1, 2) or len({"<" in sign for sign in signs}) > 1 or (signs != ["!="] and "!=" in signs):
            return None
        unit = _END_UNIT.search(sides[-1])
        known = read_unit(unit.group(1)) if unit else None
        if unit and known is None:
            return None
        if unit:
            sides[-1] = sides[-1][: unit.start()]
        units.add(known)
        if not sides[0]:  # "less than 20 years"
            sides[0] = _ANONYMOUS
        if signs == ["!="] or "|" in sides[0]:
            return _hole_or_size(sides[0], signs[0], sides[-1]) if chain == text and not known else None
        for left, sign, right in zip(sides[::2], signs, sides[2::2], strict=False):
            end = _end(left, sign, right)
            if end is None:
                return None
            ends.append(end)
    if len({name for name, *_ in ends}) != 1 or len(units) != 1:
        return None
    unit = units.pop() or Unit("")
    lows = [(end, not is_closed) for _, is_upper, end, is_closed in ends if not is_upper]
    highs = [(end, is_closed) for _, is_upper, end, is_closed in ends if is_upper]
    low, is_low_open = max(lows, default=(-math.inf, True))
    high, is_high_closed = min(highs, default=(math.inf, False))
    if not low <= high:
        return None
    name = ends[0][0]
    low, high = (end if isinstance(end, float) else end * unit.factor for end in (low, high))
    interval = Interval(low, high, not is_low_open, is_high_closed)
    return Region((interval,), "" if name == _ANONYMOUS else name, unit.dimension)


def _hole_or_size(left: str, sign: str, right: str) -> Region | None:
    r"""``x \ne 1``, ``|x-2| \le 5``, ``|x| > 3``."""
    if sign == "!=":
        ends = _end(left, "<", right)
        return ends and dataclasses.replace(_without_points([ends[2]]), variable=ends[0])
    size, bound = parse(left), evaluate(right)
    form = linear(size[2]) if size and size[:2] == ("call", "abs") and bound is not None and bound > 0 else None
    if form is None or isinstance(bound, float):
        return None
    name, slope, at_zero = form
    low, high = sorted((end - at_zero) / slope for end in (-bound, bound))
    is_closed = "=" in sign
    if "<" in sign:
        return Region((Interval(low, high, is_closed, is_closed),), name)
    return Region((Interval(-math.inf, low, False, is_closed), Interval(high, math.inf, is_closed, False)), name)


def _end(left: str, sign: str, right: str) -> tuple[str, bool, Real, bool] | None:
    """The end of the interval that an inequality, linear in one unknown, describes."""
    is_less, is_closed = "<" in sign, "=" in sign
    for name, other, is_name_left in ((left, right, True), (right, left, False)):
        if re.fullmatch(_VARIABLE, name) and name not in ("\\pi", "e", "i"):
            end = evaluate(other)
            if end is not None:
                return name, is_less == is_name_left, end, is_closed
    nodes = parse(left), parse(right)
    form = None if None in nodes else linear(("sum", nodes[0], ("negative", nodes[1])))
    if form is None:
        return None
    name, slope, at_zero = form
    return name, is_less == (slope > 0), -at_zero / slope, is_closed


def _sign(relation: str) -> str:
    r"""A relation as ``<``, ``<=``, ``>``, ``>=`` or ``!=``."""
    return {"\\l": "<=", "\\g": ">=", "\\n": "!="}.get(relation[:2], relation)
