"""Verdicts on free-form answers: a value, a formula or words against the gold.

Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ..data import Verdict
from .equality import same_named_value, same_value
from .sentences import stated_value
from .texts import is_in_words, is_negated, same_text, tokens
from .values import NUMBER, Number, Value, matched_number, read_name, read_value

_STATED_GOLD = re.compile(r"[A-Za-z][A-Za-z' ]*\b(?:is|are|equals) ([-\d\\(].*)")  # The slope is -2
_FREE_NUMBER = re.compile(rf"(?<![A-Za-z])(?:{NUMBER.pattern})")  # 0x10c4 does not name 4
_NUMBER_WORD = re.compile(
    r"(?i:\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b)|[零两二三四五六七八九十百千]+"
)


def verdict_of(is_same: bool | None) -> Verdict:
    """Return CORRECT for True, INCORRECT for False, UNDECIDED for None."""
    return Verdict.UNDECIDED if is_same is None else Verdict.CORRECT if is_same else Verdict.INCORRECT


def verify_free_form(answer: str, gold: str, written: str = "") -> Verdict:
    """Return the verdict on a free-form answer.

    Args:
        answer: Cleaned, as `gold` is.
        gold: The right answer.
        written: The answer before it was cleaned; its sentences are read.
    """
    if not any(character.isalnum() for character in answer):
        return Verdict.CORRECT if answer and answer == gold else Verdict.INCORRECT  # < and = can be answers
    if answer == gold or (tokens(answer) and tokens(answer) == tokens(gold)):
        return Verdict.CORRECT
    gold_value, answer_value = read_value(gold), read_value(answer)
    if gold_value is None:
        return _verify_words(answer, gold, answer_value, written)
    if _is_range_around(answer, gold_value):
        return Verdict.UNDECIDED  # 70-75 where 70 is right
    if answer_value is not None:
        return verdict_of(same_named_value(read_name(gold), gold_value, read_name(answer), answer_value))
    if is_in_words(answer):
        return _verify_sentence(answer, gold_value, written or answer)
    return Verdict.INCORRECT if answer.isalpha() else Verdict.UNDECIDED


def _is_range_around(answer: str, gold: Value) -> bool:
    """Whether an answer is a range of numbers that holds the gold; read as a difference, it is never the gold."""
    ends = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*(?:-|to|~)\s*(\d{1,12}(?:\.\d{1,12})?)", answer)
    if not ends or not isinstance(gold, Number):
        return False
    low, high = (Fraction(end) for end in ends.groups())
    return low <= gold.raw <= high and low < high


def _verify_words(answer: str, gold: str, answer_value: Value | None, written: str) -> Verdict:
    """A gold in words, or one that is not read whole: the same text, the value that it states, or undecided."""
    stated = _STATED_GOLD.fullmatch(gold)
    stated_value_of_gold = read_value(stated.group(1)) if stated and answer_value else None
    if stated_value_of_gold is not None and same_value(stated_value_of_gold, answer_value):
        return Verdict.CORRECT
    if is_in_words(gold) or not answer_value:
        if not is_in_words(gold) and gold.replace(" ", "") in answer.replace(" ", ""):
            return Verdict.UNDECIDED
        return verdict_of(same_text(gold, answer))
    return Verdict.UNDECIDED


def _verify_sentence(answer: str, gold: Value, written: str) -> Verdict:
    """A sentence against a typed gold: what it states; if that is not clear, undecided where it names the gold."""
    is_cut = re.search(r"\b(?:or|and|is|are)$|[-+=*/]$", answer, re.IGNORECASE)  # before the (second) value
    stated = None if is_cut else stated_value(written)
    if stated is not None:
        return verdict_of(same_value(gold, stated))
    numbers = [matched_number(match) for match in _FREE_NUMBER.finditer(answer)]
    values = {Number(number, number) for number in numbers if number is not None}
    if is_negated(answer) and len(values) == 1:
        return Verdict.INCORRECT  # x = 15 is not a solution
    if not values and any(same_value(gold, value) for value in map(read_value, _NUMBER_WORD.findall(answer)) if value):
        return Verdict.UNDECIDED  # "there are seven apples", but also "two of them are red"
    if not isinstance(gold, Number):
        return Verdict.UNDECIDED if values else Verdict.INCORRECT
    return Verdict.UNDECIDED if any(same_value(gold, value) for value in values) else Verdict.INCORRECT
