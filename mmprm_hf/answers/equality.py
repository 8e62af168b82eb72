"""Whether two typed values are the same answer: True, False, or None where that cannot be told.

Units, percent, rounding, half days, ratios, lists in any order, equations up to a factor. Standard library only.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from .equations import OPPOSITES, same_equation, same_inequality
from .expressions import parse
from .nodes import Node, substitute
from .numeric import Real, is_close, real_constant, same_formula, unknowns
from .regions import Region, region_between, same_region
from .same_quantity import same_colons, same_number, same_numeral
from .values import BaseNumeral, Colon, Formula, Number, Relation, Value, ValueList
from .vocabulary import SYMBOLS

FUNCTION_NAME = re.compile(r"([A-Za-z]+)\(([a-z])\)")
_COUNTS = frozenset("BCNPU")
"""Letters of C(5,2), N(0,1) and the like, which are no names of points."""


def same_name(first: str, second: str) -> bool:
    """Return whether two names name the same thing: AB is BA, angle ABC is CBA or ABC, x_1 is an x."""
    marks = {name[:1] for name in (first, second) if name[:1] in ("∠", "△")}
    if len(marks) == 2:
        return False
    first, second = first.strip("∠△"), second.strip("∠△")
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
        if isinstance(answer, Relation) and len(answer.signs) > 1 and gold_name:
            return None if same_value(gold, answer) is not False else False  # x = 3, x = y-1 = 3
        gold, answer = equation_of(gold_name, gold), equation_of(answer_name, answer)
        return same_value(gold, answer)
    counted = [_binomial(name, value) for name, value in ((gold_name, gold), (answer_name, answer))]
    if isinstance(gold, ValueList) != isinstance(answer, ValueList) and any(counted):
        gold, answer = counted[0] or gold, counted[1] or answer
        is_number = all(isinstance(value, (Number, Formula)) for value in (gold, answer))
        return None if is_number and same_value(gold, answer) is not False else False  # C(5,2) may be a point
    is_function = any(functions) and "y" in (gold_name, answer_name)
    if gold_name and answer_name and not (is_renamed or is_function or same_name(gold_name, answer_name)):
        return False  # AB = 5 is not CD = 5
    is_same = same_value(gold, answer)
    is_named_tuple = isinstance(gold, ValueList) and gold_name != answer_name and {gold_name, answer_name} & _COUNTS
    return None if is_same and is_named_tuple else is_same  # C(5,2) and (5,2)


def _binomial(name: str, value: Value) -> Formula | None:
    """C(5,2) and P(5,2) as numbers of choices; None for others."""
    is_count = name in ("C", "P") and isinstance(value, ValueList) and len(value.parts) == 2
    if not is_count or not all(isinstance(part, (Number, Formula)) for part in value.parts):
        return None
    total, part = map(_node, value.parts)
    binomial = ("call", "binomial", total, part)
    return Formula(binomial if name == "C" else ("product", binomial, ("call", "factorial", part)))


def _is_description(name: str) -> bool:
    """Whether a name is words ("Area of the base"), which others may say otherwise."""
    return " " in name or (bool(re.fullmatch("[A-Za-z][a-z]{2,}", name)) and name not in SYMBOLS)


def equation_of(name: str, value: Value) -> Value:
    """Return the equation y = 2x + 1 of a named formula; the value itself if it has no name."""
    left = parse(name) if name and isinstance(value, (Formula, Number)) else None
    return value if left is None else Relation(("=",), (left, _node(value)))


@functools.lru_cache(maxsize=4096)  # sets inside sets are compared in many orders
def same_value(gold: Value, answer: Value) -> bool | None:
    """Return whether a typed answer has the gold's value.

    Example:
        >>> from mmprm_hf.answers import read_value
        >>> same_value(read_value("5 cm"), read_value("0.05 m")), same_value(read_value("1/3"), read_value("0.334"))
        (True, False)
    """
    if isinstance(gold, Number) and isinstance(answer, Number):
        return same_number(gold, answer)
    if isinstance(gold, Colon) or isinstance(answer, Colon):
        return same_colons(gold, answer)
    if isinstance(gold, BaseNumeral) or isinstance(answer, BaseNumeral):
        return same_numeral(gold, answer)
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
        if gold.unit != answer.unit:
            return None
        gold, answer = (Formula(("product", ("num", f.factor), f.node)) for f in (gold, answer))
    return same_formula(_node(gold), _node(answer))


def _node(value: Number | Formula) -> Node:
    if isinstance(value, Formula):
        return value.node
    if isinstance(value.raw, float):
        return ("name", "infty") if value.raw > 0 else ("negative", ("name", "infty"))
    return ("num", value.raw)


def _as_region(value: Value) -> Region | None:
    """A region, also that of a list which may be meant as an interval."""
    if isinstance(value, ValueList) and len(value.parts) == 2 and all(isinstance(part, Number) for part in value.parts):
        return region_between(value.brackets, value.parts[0].raw, value.parts[1].raw)
    return value if isinstance(value, Region) else None


def _same_list(gold: ValueList, answer: ValueList) -> bool | None:
    if len(gold.parts) != len(answer.parts):
        return None if gold.brackets == answer.brackets == "x" and _product(gold) == _product(answer) else False
    sides = [list(zip(side.names or [""] * len(side.parts), side.parts, strict=True)) for side in (gold, answer)]
    in_order = _all(same_part(*a, *b) for a, b in zip(*sides, strict=True))
    is_ordered = gold.has_unknowns != answer.has_unknowns and not (gold.names and answer.names)
    if gold.brackets == answer.brackets == "x":
        return _any_order(*sides) or (None if _product(gold) == _product(answer) else False)
    brackets, joints = {gold.brackets, answer.brackets}, {gold.joint, answer.joint}
    if len(brackets) > 1 and brackets not in ({"", "()"}, {"", "{}"}):
        return None if in_order and "" in brackets else False  # [2014, 2016] may be an interval
    if (
        "or" in joints
        and len(joints) > 1
        and (gold.has_unknowns or answer.has_unknowns or _has_conditions(gold, joints))
    ):
        return False  # x > 2 or y < 3 is not x > 2 and y < 3
    if in_order or is_ordered or brackets.isdisjoint(("", "{}")):
        return in_order
    in_any_order = _any_order(*sides)
    return None if in_any_order and "()" in brackets else in_any_order or _roots_in_any_order(*sides)


def _has_conditions(values: ValueList, joints: set[str]) -> bool:
    """Whether "or" and "and" make a difference: between conditions, and between statements (``p \\lor q``)."""
    kinds = (Region, Relation, Formula) if "and" in joints else (Region, Relation)
    are_things = "and" in joints and all(isinstance(part, Number) and "noun" in part.unit for part in values.parts)
    return are_things or any(isinstance(part, kinds) for part in values.parts)


def same_part(gold_name: str, gold: Value, answer_name: str, answer: Value) -> bool | None:
    """Return whether two parts of lists are the same: unlike alone, a set of one value in a list is not the value."""
    are_sets = [isinstance(value, ValueList) for value in (gold, answer)]
    if are_sets[0] != are_sets[1] and "{}" in (getattr(gold, "brackets", ""), getattr(answer, "brackets", "")):
        return None
    return same_named_value(gold_name, gold, answer_name, answer)


def _roots_in_any_order(first: Sequence[tuple[str, Value]], second: Sequence[tuple[str, Value]]) -> bool | None:
    """x_1 = 2 and x_2 = 3 may be x_1 = 3 and x_2 = 2: None if the values are the same, else False."""
    names = [sorted(name for name, _ in side) for side in (first, second)]
    are_roots = names[0] == names[1] and all(re.fullmatch(r"x_\d", name) for name in names[0])
    is_same = are_roots and _any_order([("", value) for _, value in first], [("", value) for _, value in second])
    return None if is_same else False


def _product(values: ValueList) -> Real:
    return math.prod(part.raw for part in values.parts)


def _any_order(first: Sequence[tuple[str, Value]], second: Sequence[tuple[str, Value]]) -> bool | None:
    """Whether two lists hold the same values, each as often."""
    unmatched, is_sure = list(second), True
    for part in first:
        verdicts = [same_part(*part, *other) for other in unmatched]
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
    """A list is not one value; but {5} may be 5, 1,22 may be 1.22, 10-3-2 is 5, and a list may be a vector."""
    if values.brackets == "{}" and len(values.parts) == 1:
        is_empty = isinstance(other, Formula) and other.node == ("name", "emptyset")
        return not is_empty and same_part("", values.parts[0], "", other)
    if isinstance(other, Formula) and other.node[0] == "matrix":
        return None if _same_matrix(values, other.node) is not False else False
    parts = [part.raw for part in values.parts if isinstance(part, Number) and isinstance(part.raw, Fraction)]
    if len(parts) != len(values.parts) or not isinstance(other, Number):
        return False
    if values.brackets == "-":
        return None if is_close(parts[0] - sum(parts[1:]), other.raw) else False
    if values.brackets == "x":
        return is_close(math.prod(parts), other.raw)
    is_glued = len(parts) == 2 and not values.brackets and all(part.denominator == 1 for part in parts)
    return None if is_glued and other.num_decimals >= 2 and abs(other.raw - parts[0]) < 1 else False


def _same_matrix(values: ValueList, matrix: Node) -> bool | None:
    """Whether a list, or a list of rows, holds what a matrix does."""
    _, height, width, *cells = matrix
    rows = [row.parts if isinstance(row, ValueList) else (row,) for row in values.parts]
    entries = [entry for row in rows for entry in row]
    has_shape = {len(row) for row in rows} == {width} or (1 in (height, width) and {len(row) for row in rows} == {1})
    if not has_shape or len(entries) != len(cells):
        return False
    return _all(same_value(entry, Formula(cell)) for entry, cell in zip(entries, cells, strict=True))


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
    if not isinstance(other, (Number, Formula)):
        return False
    verdicts = [same_formula(side, _node(other)) for side in relation.sides]
    if set(relation.signs) == {"="} and verdicts[-1] is not None:
        is_constant = all(real_constant(side) is not None for side in relation.sides)
        is_stated = _is_quantity(relation.sides[0], len(relation.sides))
        return verdicts[-1] and (True if (is_constant and all(verdicts)) or is_stated else None)
    return None if True in verdicts else False


def _is_quantity(side: Node, num_sides: int) -> bool:
    r"""Whether a side names what was asked for: a limit, a ratio of lengths, or A in ``A = \pi r^2 = 9\pi``."""
    is_operator = side[0] == "call" and side[1] in ("lim", "sum_of", "prod", "int")
    are_lengths = side[0] == "quotient" and all(part[0] == "name" and part[1][1:].isupper() for part in side[1:])
    return is_operator or are_lengths or (side[0] == "name" and num_sides > 2)


def _same_chain(gold: Relation, answer: Relation) -> bool | None:
    """``AB = CD = EF``: the same sides, in any order where all signs are "="; a < b < c is c > b > a."""
    if gold.signs != answer.signs:
        answer = Relation(tuple(OPPOSITES.get(sign, sign) for sign in answer.signs[::-1]), answer.sides[::-1])
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
