"""Verdicts on free-form answers: a value, a formula or words against the gold.

Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ..data import Verdict
from .cleaning import clean_answer
from .equality import same_named_value, same_value
from .numerals import words_to_digits
from .numeric import unknowns
from .phrases import CONDITION, DOUBT, ORDERED, SENTENCE_END
from .sentences import has_known_names, mask_formulas, stated_value, stated_words
from .splitting import labelled_parts
from .texts import is_in_words, is_negated, same_text, tokens
from .values import Formula, Number, Value, ValueList, read_name, read_value

_STATED_GOLD = re.compile(r"[A-Za-z][A-Za-z' ]*\b(?:is|are|equals) ([-\d\\(].*)")  # The slope is -2
_FREE_NUMBER = re.compile(r"(?<![A-Za-z0-9_\\.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?")
_LEAD_IN = re.compile(r"\b(?:answer|result|solution)s? *(?:is|are|:|=|would be)|答案|选", re.IGNORECASE)
_NUMBER_WORD = re.compile(r"[A-Za-z]+(?:-[a-z]+)?|[零两二三四五六七八九十百千万亿]+")
_OPERATION = re.compile(
    r"\b(?:half|twice|thrice|double|triple|times(?= \w)|plus|minus|squared?|cubed?|roots?|divided|multiplied|factorial"
    r"|dozens?|percent|hundreds?|thousands?|millions?|power|reciprocal|opposite|negative|point)\b|[点倍半减加乘除负分方千百万亿]|\\(?:frac|sqrt)",
    re.IGNORECASE,
)

_NUMERAL = re.compile(
    r"\b(?:[IVXLCDM]{2,}|(?i:dozen|pair|point|half|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth))\b"
    r"|\d(?:st|nd|rd|th)\b|[点零空〇一二两三四五六七八九十百千万亿]"
)
"""What may be a number that is not read."""


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
    verdict = _verdict(answer, gold, written or answer)
    is_retracted = DOUBT.search(written) and not DOUBT.search(gold)  # "5 (rejected)", "the wrong answer is 5"
    is_retracted = is_retracted or re.search(r"(?<![A-Za-z])(?!no)[a-z]{2}!$", written.strip())  # xy! is a factorial
    has_lead_in = _LEAD_IN.search(written) and not _LEAD_IN.search(gold) and "\\boxed" not in written
    if verdict is Verdict.CORRECT and (is_retracted or has_lead_in):
        gold_value, stated = read_value(gold), stated_value(written)
        is_stated = bool(gold_value and stated and same_value(gold_value, stated))
        is_stated = is_stated or tokens(gold) == tokens(clean_answer(stated_words(written)))
        return verdict if is_stated else Verdict.UNDECIDED
    return verdict


def _verdict(answer: str, gold: str, written: str) -> Verdict:
    if answer == gold or (tokens(answer) and tokens(answer) == tokens(gold)):
        return Verdict.CORRECT
    if not any(character.isalnum() for character in answer):
        return Verdict.INCORRECT  # < and = can be answers
    is_same = _same_yes_or_no(gold, answer)
    if is_same is not None:
        return verdict_of(is_same)
    parts = labelled_parts(gold), labelled_parts(answer)
    if all(parts):
        return _verify_parts(*parts)
    if CONDITION.search(answer) and CONDITION.search(gold):
        return verdict_of(same_text(gold, answer))
    gold_value, answer_value = read_value(gold), read_value(answer)
    if gold_value is None or gold.casefold() == "no":
        return _verify_words(answer, gold, answer_value, written)
    if _is_range_around(answer, gold_value):
        return Verdict.UNDECIDED  # 70-75 where 70 is right
    names = read_name(answer).casefold(), read_name(gold).casefold()
    is_named = has_known_names(answer, answer_value) or names[0] == names[1] != ""
    if answer_value is not None and is_named:
        is_same = same_named_value(read_name(gold), gold_value, read_name(answer), answer_value)
        return verdict_of(None if is_same and ORDERED.search(gold + answer) else is_same)
    if answer_value is not None or is_in_words(answer):
        return _verify_sentence(answer, gold_value, written)
    letters = "".join(sorted(re.findall("[A-Z]", gold))) if "," in gold else ""
    is_word = answer.isalpha() and "".join(sorted(answer)) != letters  # ABD may be A, B and D
    is_clear = is_word and isinstance(gold_value, (Number, ValueList)) and not _NUMERAL.search(answer)
    return Verdict.INCORRECT if is_clear else Verdict.UNDECIDED


def _names_letter(text: str, name: str) -> bool:
    """Whether a text has a name that formulas can have, or may: it is no single letter."""
    return len(name) > 1 or bool(re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", text))


def _verify_parts(gold: dict[str, str], answer: dict[str, str]) -> Verdict:
    """Answers to the parts of a question, (a) 3 (b) 5: each is compared with its own."""
    if gold.keys() != answer.keys():
        return Verdict.UNDECIDED
    verdicts = {verify_free_form(answer[label], gold[label]) for label in gold}
    return next((v for v in (Verdict.INCORRECT, Verdict.UNDECIDED) if v in verdicts), Verdict.CORRECT)


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
        return Verdict.UNDECIDED if DOUBT.search(gold) else Verdict.CORRECT
    if gold.replace(" ", "").startswith(answer.replace(" ", "") + "("):
        return Verdict.UNDECIDED  # x = 2 (double root)
    if is_in_words(gold) or not answer_value:
        if not is_in_words(gold) and gold.replace(" ", "") in answer.replace(" ", ""):
            return Verdict.UNDECIDED
        is_same = same_text(gold, answer)
        stated = "" if is_same else clean_answer(stated_words(written))
        return verdict_of(True if stated and same_text(gold, stated) else is_same)
    return Verdict.UNDECIDED


def _same_yes_or_no(gold: str, answer: str) -> bool | None:
    """Whether an answer begins with the yes or no of the gold, and has no other; None for other golds and answers."""
    words = re.findall(r"\b(?:yes|no)\b", answer.casefold())
    begins = re.match(r"(?:yes|no)\b(?=[,.;!])", answer.casefold())
    if gold.casefold() not in ("yes", "no") or not begins or len(set(words)) > 1:
        return None
    return begins.group() == gold.casefold()


def _verify_sentence(answer: str, gold: Value, written: str) -> Verdict:
    """A sentence against a typed gold: what it states; if that is not clear, undecided where it may mean the gold."""
    is_cut = re.search(r"\b(?:or|and|is|are)$|[-+=*/]$", answer, re.IGNORECASE)  # before the (second) value
    stated = None if is_cut else stated_value(written)
    if stated is not None:
        return verdict_of(same_value(gold, stated))
    masked, formulas = mask_formulas(written)
    mentioned = {read_value(match.group().replace(" ", "")) for match in _FREE_NUMBER.finditer(masked)}
    mentioned |= {read_value(clean_answer(formula)) for formula in formulas}
    mentioned |= {
        read_value(word) for word in _NUMBER_WORD.findall(masked) if words_to_digits(word.casefold()) != word.casefold()
    }
    mentioned.discard(None)
    if is_negated(answer) and len(mentioned) == 1:
        return Verdict.INCORRECT  # x = 15 is not a solution
    names = unknowns(gold.node) if isinstance(gold, Formula) else ()
    if names and not any(_names_letter(answer, name) for name in names):
        return Verdict.UNDECIDED if mentioned or _NUMERAL.search(answer) else Verdict.INCORRECT  # C, and "none"
    if not isinstance(gold, (Number, ValueList)) or (isinstance(gold, Number) and isinstance(gold.raw, float)):
        return Verdict.UNDECIDED  # a set, a formula, infinity: there are many words for it
    if not mentioned and not _FREE_NUMBER.search(answer):
        return Verdict.UNDECIDED if _NUMERAL.search(answer) else Verdict.INCORRECT
    clause = re.split(r"[,;:] ", SENTENCE_END.split(masked.strip(" .\n"))[-1])[-1]
    parts = gold.parts if isinstance(gold, ValueList) else (gold,)
    names_gold = any(same_value(part, value) is not False for part in parts for value in mentioned)
    is_clear = not names_gold and not _OPERATION.search(clause)
    return Verdict.INCORRECT if is_clear else Verdict.UNDECIDED
