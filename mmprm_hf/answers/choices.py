"""Verdicts on choice problems: letters, values of options, and both at once. All texts are cleaned.

Standard library only.
"""

from __future__ import annotations

import re
import string

from ..data import Verdict
from .free_form import verify_free_form
from .texts import MISSPELT_LIKENESS, is_chinese, is_in_words, is_negated, likeness, tokens
from .values import read_value

_LETTER = re.compile(
    r"(?i:option|choice|选项)?\s*(?:[(\[]([A-Za-z])[)\]][.:、]?|([A-Za-z])(?:[.):、]|(?=$)))\s*(.*)", re.DOTALL
)
_JOINT = r"(?:\s|,|、|&|and\b|or\b|[和与或])*"
_DENIAL = r"(?:\b(?:not|neither|nor|except|than|non)\b|n't\b|不[是选能会]|排除)"
_LETTERS_ONLY = re.compile(rf"(?:\([A-Z]\){_JOINT}){{2,}}|(?:[A-Z]{_JOINT}){{2,}}")
_NAMED_LETTER = re.compile(
    r"\(([A-Z])\)|(?:\b(?:is|be|est|answer|option|choice|for sure)|['’]s|[是选为])[: ]*([A-Z])(?![A-Za-z'’])"
    r"|^([A-Z])(?= ?(?:is\b|项|选项|,|$))"
)
_DENIED_LETTER = re.compile(rf"{_DENIAL}[^.。A-Z]*?(?<![A-Za-z])(?:\(?[A-Z](?![a-z])\)?{_JOINT})+")


def read_letter(text: str) -> tuple[str, str] | None:
    """Return ``(letter, text behind it)`` of a text that begins with a choice letter; None if it does not.

    Example:
        >>> read_letter("(C) 30"), read_letter("30 cm")
        (('C', '30'), None)
    """
    match = _LETTER.fullmatch(text) if len(read_letters(text)) < 2 else None
    letter = match and (match.group(1) or match.group(2))
    if not letter or (letter.islower() and match.group(3)):
        return None
    return letter.upper(), match.group(3).strip()


def read_letters(text: str) -> frozenset[str]:
    """Return the letters of an answer that names several and nothing else: "A, C", "AC", "A、C", "(A)(C)"."""
    return frozenset(re.findall("[A-Z]", text)) if _LETTERS_ONLY.fullmatch(text) else frozenset()


def verify_choice(answer: str, gold: str, options: tuple[str, ...]) -> Verdict:
    """Return the verdict on a choice problem; a letter outside the options is read as a value."""
    letters = string.ascii_uppercase[: len(options)] if options else string.ascii_uppercase
    several = read_letters(gold)
    if len(several) > 1 and several <= set(letters) and gold not in options:
        return Verdict.CORRECT if read_letters(answer) == several else Verdict.INCORRECT
    gold_letter, _ = read_letter(gold) or _letter_and_option(gold, options) or ("", "")
    right = {gold_letter} if gold_letter and gold_letter in letters else _equal_options(gold, options)
    if not right:
        return verify_free_form(answer, gold)

    letter, rest = read_letter(answer) or _letter_and_option(answer, options) or ("", answer)
    if letter and (letter not in letters or (answer.islower() and answer in options)):
        letter, rest = "", answer
    stated = _equal_options(rest or answer, options)
    if letter and stated and letter not in stated and right & {letter, *stated}:
        return Verdict.UNDECIDED  # "(C) 14" where E is 14 and C or E is right
    if letter in right and not stated and _is_another_value(rest, options):
        return Verdict.UNDECIDED  # "(D) 71" where D is right and 56
    if stated and not letter and len(stated) > 1 and stated & right:
        return Verdict.CORRECT if stated <= right else Verdict.UNDECIDED  # it fits several options
    if stated:
        return Verdict.CORRECT if ({letter} if letter else stated) & right else Verdict.INCORRECT
    if len(read_letters(answer)) > 1:
        return Verdict.INCORRECT
    if letter:
        return Verdict.CORRECT if letter in right else Verdict.INCORRECT
    return _verdict_on_words(answer, options, right)


def _letter_and_option(text: str, options: tuple[str, ...]) -> tuple[str, str] | None:
    """The letter and the text of "C Cecile", where that is option C or there are no options."""
    letter, _, rest = text.partition(" ")
    index = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
    if index < 0 or not rest:
        return None
    is_option = index < len(options) and tokens(options[index]) == tokens(rest)
    return (letter, rest) if is_option or (not options and re.fullmatch("[A-Z][a-z]+", rest)) else None


def _verdict_on_words(answer: str, options: tuple[str, ...], right: set[str]) -> Verdict:
    """A sentence that names one letter, or words that look most like the right option."""
    asserted = _DENIED_LETTER.sub(" ", answer)
    named = {"".join(groups) for groups in _NAMED_LETTER.findall(asserted)}
    if len(named) == 1:
        return Verdict.CORRECT if named & right else Verdict.INCORRECT
    is_possible = _is_misspelt(answer, options, right) or _is_translated(answer, options, right)
    return Verdict.UNDECIDED if is_possible else Verdict.INCORRECT


def _equal_options(text: str, options: tuple[str, ...]) -> set[str]:
    """Letters of all options that say what `text` says: those of the same text if there are any, else of its value."""
    pairs = list(zip(string.ascii_uppercase, options, strict=False))
    for is_same in (
        lambda option: _packed(option) == _packed(text),
        lambda option: tokens(option) == tokens(text) != (),
    ):
        exact = {letter for letter, option in pairs if is_same(option)}
        if exact:
            return exact
    return {letter for letter, option in pairs if verify_free_form(text, option) is Verdict.CORRECT}


def _packed(text: str) -> str:
    return text.replace(" ", "")


def _is_another_value(text: str, options: tuple[str, ...]) -> bool:
    """Whether the text behind a letter is a value, as all options are, though none of them."""
    is_value = read_value(text) is not None and bool(re.search(r"\d", text))
    are_values = (read_value(option) is not None and re.search(r"\d|\\", option) for option in options)
    return is_value and bool(options) and all(are_values)


def _is_misspelt(answer: str, options: tuple[str, ...], right: set[str]) -> bool:
    """Whether an answer in words looks most like the right option: Ernest for Ernst, or its beginning."""
    if not _is_only_words(answer):
        return False
    in_words = {letter: o for letter, o in zip(string.ascii_uppercase, options, strict=False) if _is_only_words(o)}
    closest = max(in_words, key=lambda letter: likeness(answer, in_words[letter]), default="")
    return closest in right and likeness(answer, in_words[closest]) > MISSPELT_LIKENESS and not is_negated(answer)


def _is_only_words(text: str) -> bool:
    return is_in_words(text) and read_value(text) is None


def _is_translated(answer: str, options: tuple[str, ...], right: set[str]) -> bool:
    """Whether answer and right option are words, one of them in Chinese: the rules do not translate."""
    option = next((text for letter, text in zip(string.ascii_uppercase, options, strict=False) if letter in right), "")
    are_words = _is_only_words(option) and not re.search("[A-Za-z0-9]", answer) and read_value(answer) is None
    return are_words and is_chinese(answer) != is_chinese(option)
