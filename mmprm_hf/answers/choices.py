"""Verdicts on choice problems: letters, values of options, and both at once. All texts are cleaned.

Standard library only.
"""

from __future__ import annotations

import re
import string

from ..data import Verdict
from .free_form import MISSPELT_LIKENESS, CompareFormulas, is_chinese, is_formula, likeness, verify_free_form
from .values import read_value

_LETTER = re.compile(
    r"(?i:option|choice|选项)?\s*(?:[(\[]([A-Za-z])[)\]][.:、]?|([A-Za-z])(?:[.):、]|(?=$)))\s*(.*)", re.DOTALL
)
_LETTERS_ONLY = re.compile(r"(?:\(?[A-Z]\)?(?:\s|,|、|&|and\b|or\b)*){2,}")
_NAMED_LETTER = re.compile(r"\(([A-Z])\)|(?:\b(?:is|be|option|choice)|['’]s) ([A-Z])$|[是选为]([A-Z])$")


def read_letter(text: str) -> tuple[str, str] | None:
    """Return ``(letter, text behind it)`` of a text that begins with a choice letter; None if it does not.

    Example:
        >>> read_letter("(C) 30"), read_letter("30 cm")
        (('C', '30'), None)
    """
    match = _LETTER.fullmatch(text)
    letter = match and (match.group(1) or match.group(2))
    if not letter or (letter.islower() and match.group(3)):
        return None
    return letter.upper(), match.group(3).strip()


def verify_choice(answer: str, gold: str, options: tuple[str, ...], compare: CompareFormulas) -> Verdict:
    """Return the verdict on a choice problem; a letter outside the options is read as a value."""
    letters = string.ascii_uppercase[: len(options)] if options else string.ascii_uppercase
    gold_letter, _ = read_letter(gold) or ("", "")
    right = {gold_letter} if gold_letter and gold_letter in letters else set(_equal_options(gold, options, compare))
    if not right:
        return verify_free_form(answer, gold, compare)

    def verdict_on(named: set[str]) -> Verdict:
        return Verdict.CORRECT if named & right else Verdict.INCORRECT

    letter, rest = read_letter(answer) or ("", answer)
    if letter and (letter not in letters or (answer.islower() and answer in options)):
        letter, rest = "", answer
    stated = _equal_options(rest, options, compare)
    if letter and stated and letter not in stated and right & {letter, *stated}:
        return Verdict.UNDECIDED  # "(C) 14" where E is 14 and C or E is right
    if letter in right and not stated and _is_another_value(rest, options):
        return Verdict.UNDECIDED  # "(D) 71" where D is right and 56
    if stated:
        return verdict_on({letter} if letter else set(stated))
    if _LETTERS_ONLY.fullmatch(answer) and len(set(re.findall("[A-Z]", answer))) > 1:
        return Verdict.INCORRECT
    if letter:
        return verdict_on({letter})
    named = {"".join(groups) for groups in _NAMED_LETTER.findall(answer)}
    if len(named) == 1:
        return verdict_on(named)
    is_possible = _is_misspelt(answer, options, right) or _is_translated(answer, options, right)
    return Verdict.UNDECIDED if is_possible else Verdict.INCORRECT


def _equal_options(text: str, options: tuple[str, ...], compare: CompareFormulas) -> list[str]:
    """Letters of all options whose value is `text`."""
    pairs = zip(string.ascii_uppercase, options, strict=False)
    return [letter for letter, option in pairs if verify_free_form(text, option, compare) is Verdict.CORRECT]


def _is_another_value(text: str, options: tuple[str, ...]) -> bool:
    """Whether the text behind a letter is a value, as all options are, though none of them."""
    is_value = read_value(text) is not None or (bool(re.search(r"\d", text)) and is_formula(text))
    are_values = (read_value(option) or (re.search(r"\d", option) and is_formula(option)) for option in options)
    return is_value and bool(options) and all(are_values)


def _is_in_words(text: str) -> bool:
    return not is_formula(text) and read_value(text) is None


def _is_misspelt(answer: str, options: tuple[str, ...], right: set[str]) -> bool:
    """Whether an answer in words looks most like the right option: Ernest for Ernst, or its beginning."""
    if not _is_in_words(answer):
        return False
    closest = max(filter(_is_in_words, options), key=lambda option: likeness(answer, option), default="")
    is_close = likeness(answer, closest) > MISSPELT_LIKENESS
    return is_close and string.ascii_uppercase[options.index(closest)] in right


def _is_translated(answer: str, options: tuple[str, ...], right: set[str]) -> bool:
    """Whether answer and right option are words, one of them in Chinese: the rules do not translate."""
    option = next((text for letter, text in zip(string.ascii_uppercase, options, strict=False) if letter in right), "")
    are_words = _is_in_words(option) and not re.search("[A-Za-z0-9]", answer) and read_value(answer) is None
    return are_words and is_chinese(answer) != is_chinese(option)
