"""Verdicts on free-form answers: a value, a formula or words against the gold. All texts are cleaned.

Standard library only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from fractions import Fraction

from ..data import Verdict
from .arithmetic import is_too_large
from .equality import same_name, same_value
from .values import NUMBER, Colon, Number, Value, matched_number, read_name, read_value

CompareFormulas = Callable[[str, str], Verdict]
"""Compares two formulas: answer, gold."""
MISSPELT_LIKENESS = 0.85
"""Words that are more alike than this may be the same word, misspelt."""
_ANGLE = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*(\d+(?:\.\d+)?)\s+degrees\s*[)}]?")
_FREE_NUMBER = re.compile(rf"(?<![A-Za-z])(?:{NUMBER.pattern})")  # 0x10c4 does not name 4
_NUMBER_WORD = re.compile(
    r"(?i:\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b)|[零两二三四五六七八九十百千]+"
)
_NEGATION = re.compile(r"\b(?:not?|never|cannot|neither|nor|without)\b|n['’]t\b|[不没无非]")
_FILLERS = frozenset({"the", "a", "an", "is", "are", "it", "of", "on", "in", "at", "they", "and"})


def verify_free_form(answer: str, gold: str, compare: CompareFormulas) -> Verdict:
    """Return the verdict on a free-form answer."""
    if not any(character.isalnum() for character in answer):
        return Verdict.CORRECT if answer and answer == gold else Verdict.INCORRECT  # < and = can be answers
    if answer.casefold() == gold.casefold():
        return Verdict.CORRECT
    gold, answer = _in_radians(gold), _in_radians(answer)
    gold_value = read_value(gold)
    if gold_value is not None:
        return _verify_value(answer, gold, gold_value, compare)
    if not is_formula(gold):
        return _verify_words(answer, gold)
    if is_formula(answer):
        return verify_formula(answer, gold, compare)
    return Verdict.UNDECIDED if gold.replace(" ", "") in answer.replace(" ", "") else Verdict.INCORRECT


def verify_formula(answer: str, gold: str, compare: CompareFormulas) -> Verdict:
    """Return math-verify's verdict, UNDECIDED where it would run out of time or read an equation as its right side."""
    if is_too_large(answer) or is_too_large(gold):
        return Verdict.UNDECIDED
    if "=" not in gold and re.fullmatch(r".*[A-Za-z].*=\s*0", answer) and not read_name(answer):
        return Verdict.UNDECIDED  # x^2+y^2-4=0 is an equation, not the number 0
    return compare(answer, gold)


def is_formula(text: str) -> bool:
    """Return whether a text is a formula, not words: no "or", no run of three letters outside LaTeX commands."""
    return not re.search(r"[^\W\d_]{3,}|[\u4e00-\u9fff]|\bor\b", re.sub(r"\\[A-Za-z]+", " ", text))


def is_chinese(text: str) -> bool:
    """Return whether a text has a Chinese character."""
    return bool(re.search("[\u4e00-\u9fff]", text))


def likeness(first: str, second: str) -> float:
    """Return how alike two words are, in [0, 1], upper and lower case being the same."""
    return difflib.SequenceMatcher(None, first.casefold(), second.casefold()).ratio()


def _verify_value(answer: str, gold: str, gold_value: Value, compare: CompareFormulas) -> Verdict:
    names, answer_value = (read_name(gold), read_name(answer)), read_value(answer)
    if all(names) and not same_name(*names):
        return Verdict.INCORRECT  # AB = 5 is not CD = 5
    if _is_range_around(answer, gold_value):
        return Verdict.UNDECIDED  # 70-75 where 70 is right
    if answer_value is not None:
        return Verdict.CORRECT if same_value(gold_value, answer_value) else Verdict.INCORRECT
    if not is_formula(answer):
        return _verify_sentence(answer, gold_value)
    is_hopeless = answer.isalpha() or isinstance(gold_value, Colon)
    return Verdict.INCORRECT if is_hopeless else verify_formula(answer, gold, compare)


def _is_range_around(answer: str, gold: Value) -> bool:
    """Whether an answer is a range of numbers that holds the gold; read as a difference, it is never the gold."""
    ends = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*(?:-|to|~)\s*(\d{1,12}(?:\.\d{1,12})?)", answer)
    if not ends or not isinstance(gold, Number):
        return False
    low, high = (Fraction(end) for end in ends.groups())
    return low <= gold.raw <= high and low < high


def _in_radians(text: str) -> str:
    """Degrees behind sine and the like in radians: math-verify drops units, and the sine of 30 is not that of 30°."""
    return _ANGLE.sub(r"\1(\\frac{\2\\pi}{180})", text).strip()


def _verify_sentence(answer: str, gold: Value) -> Verdict:
    """A sentence against a typed gold: its part behind the last "=", else its only value; several are undecided."""
    if re.search(r"\b(?:or|and)$", answer, re.IGNORECASE):
        return Verdict.UNDECIDED  # cut off before the second value
    text = answer.rpartition("=")[2] if "=" in answer else ""
    value = read_value(text)
    if value is not None:
        return Verdict.CORRECT if same_value(gold, value) else Verdict.INCORRECT
    if len(list(NUMBER.finditer(text))) == 1:
        return _verify_sentence(text, gold)  # = 120 votes cast all together
    numbers = [matched_number(match) for match in _FREE_NUMBER.finditer(answer)]
    if not numbers and any(same_value(gold, value) for value in map(read_value, _NUMBER_WORD.findall(answer)) if value):
        return Verdict.UNDECIDED  # "there are seven apples", but also "two of them are red"
    values = {Number(number, number) for number in numbers if number is not None}
    if not isinstance(gold, Number):
        return Verdict.UNDECIDED if values else Verdict.INCORRECT
    if not any(same_value(gold, value) for value in values):
        return Verdict.INCORRECT
    return Verdict.CORRECT if len(values) == 1 else Verdict.UNDECIDED


def _verify_words(answer: str, gold: str) -> Verdict:
    """Words against words: undecided if they share words or look misspelt, wrong if not even that or if one negates."""
    gold, answer = gold.casefold(), answer.casefold()
    if bool(_NEGATION.search(gold)) != bool(_NEGATION.search(answer)):
        return Verdict.INCORRECT
    gold_words, answer_words = (
        [word for word in re.findall(r"\w+", text) if word not in _FILLERS] for text in (gold, answer)
    )
    if gold_words == answer_words and gold_words:
        return Verdict.CORRECT
    if not gold_words or is_chinese(gold) != is_chinese(answer):
        return Verdict.UNDECIDED  # the rules do not translate
    if len(gold_words) == len(answer_words) == 1:
        is_misspelt = likeness(gold_words[0], answer_words[0]) > MISSPELT_LIKENESS
        return Verdict.UNDECIDED if is_misspelt else Verdict.INCORRECT
    lists = [sorted(re.split(r"\s*(?:,|;|、|\band\b|[和与])+\s*", text)) for text in (gold, answer)]
    if lists[0] == lists[1]:
        return Verdict.CORRECT  # blue and red, red and blue
    return Verdict.UNDECIDED if set(gold_words) & set(answer_words) else Verdict.INCORRECT
