"""Verdicts on choice problems: letters, values of options, and both at once. All texts are cleaned.

A letter counts where it stands alone or is what is called the answer, the option or the choice; a sentence that only
mentions it ("B is greater than A") is undecided. Standard library only.
"""

from __future__ import annotations

import re
import string

from ..data import Verdict
from .free_form import verify_free_form
from .phrases import CONCLUSION, DOUBT, JOINT, SUBJECT
from .texts import MISSPELT_LIKENESS, is_chinese, is_in_words, is_negated, likeness, tokens
from .values import read_value

_LETTER = re.compile(
    r"(?i:(?:option|choice|选项)\s*)?(?:[(\[]([A-Za-z])[)\]][.:、]?|([A-Za-z])(?:[.):、]|(?=$)))\s*(.*)", re.DOTALL
)
_AND = rf"(?:\s|,|&|{JOINT.pattern})*"
_LETTERS_ONLY = re.compile(rf"(?:\([A-Z]\){_AND}){{2,}}|(?:[A-Z]{_AND}){{2,}}")
_ANY_LETTER = re.compile(r"(?<![A-Za-z\\'’/])(?<!\\angle )([A-Z])(?![A-Za-z'’]|\s*[=(_^])")
_MENTIONED = rf"\(?[A-Z](?![A-Za-z'’])\)?(?:{_AND}\(?[A-Z](?![A-Za-z'’])\)?)*"
_RIGHT = (
    r"(?:the )?(?:final |only |best )*(?:correct|right|true|answer|option|choice|one)(?: (?:answer|option|choice|one))?"
)
_ASSERTED = re.compile(
    r"(?:i (?:think|believe)(?: that)? )?"
    r"(?:(?:(?:the |my )?(?:final |correct |right |best |only )*(?:answer|option|choice|réponse)\s*"
    r"(?:is|est|=|:|would be|must be|should be|can only be)"
    r"|(?:it|this|that)(?: is|['’]s| must be)|i?\s*(?:choose|chose|pick|select|go with)|leaving|leaves)\s*"
    r"|(?:正确)?(?:答案|选项)(?:应该?)?[是为选]?\s*[:：]?\s*|(?:故|应)?选择?\s*[:：]?\s*)?"
    r"(?:(?:therefore|thus|clearly|definitely|surely|for sure)\s+)?(?:the )?(?:option|choice|answer|选项)?\s*"
    r"(?-i:\(?([A-Z])(?![A-Za-z'’])\)?)\s*"
    rf"(?:is {_RIGHT}|项|选项|(?:项|选项)?是?(?:正确的?|答案))?"
    r"(?:,? (?:for sure|i think|(?:because|since|as)\b.*))?[ .!。]*",
    re.IGNORECASE | re.DOTALL,
)
_DENIED = re.compile(
    r"(?:(?i:.*(?:\b(?:not|non|neither|except|rule out|eliminate|exclude|(?:all|anything|everything) but)\b|n['’]t\b)"
    rf"|.*(?:不[是选能会]|排除|除了))(?:(?! (?:is|are)\b)[^A-Z:])*({_MENTIONED}).*"
    rf"|(?i:(?:the )?(?:option|choice|answer)?)\s*({_MENTIONED})\s*"
    r"(?i:(?:is|are)?\s*(?:not\b.*|n['’]t\b.*|wrong|incorrect|false|excluded|eliminated|ruled out|impossible)"
    r"|不.*|是?错.*|以外))[ .!。]*",
    re.DOTALL,
)
# The card for Michael must be A.
_STATED = re.compile(r"((?!.*\b(?:option|choice|answer)).+?)\s+(?:is|must be|would be)\s+\(?([A-Z])\)?[ .!]*")
_REASON = re.compile(r"(?:because|since|as)\b")
_CLAUSE_END = re.compile(r"[,;，；。]\s*|(?<=\?)\s+|[.!]\s+|\s+(?=(?:so|non|hence|therefore|thus|because|since) )")


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
    return letter.upper(), match.group(3).strip(" ,")


def read_letters(text: str) -> frozenset[str]:
    """Return the letters of an answer that names several and nothing else: "A, C", "AC", "A、C", "(A)(C)"."""
    return frozenset(re.findall("[A-Z]", text)) if _LETTERS_ONLY.fullmatch(text) else frozenset()


def verify_choice(answer: str, gold: str, options: tuple[str, ...], written: str = "") -> Verdict:
    """Return the verdict on a choice problem; a letter outside the options is read as a value.

    Args:
        answer: Cleaned, as `gold` and the options are.
        gold: The right letter, or the text of the right option.
        options: Texts in the order of their letters; empty where they are not known.
        written: The answer before it was cleaned.
    """
    letters = string.ascii_uppercase[: len(options)] if options else string.ascii_uppercase
    several = read_letters(gold)
    if len(several) > 1 and several <= set(letters) and gold not in options:
        return Verdict.CORRECT if read_letters(answer) == several else Verdict.INCORRECT
    gold_letter, _ = read_letter(gold) or _letter_and_option(gold, options) or ("", "")
    right = {gold_letter} if gold_letter and gold_letter in letters else _equal_options(gold, options)
    if not right:
        return verify_free_form(answer, gold, written)
    is_doubted = bool(DOUBT.search(written)) and not DOUBT.search(answer)  # cleaning took "the wrong answer is"
    letter, rest = read_letter(answer) or _letter_and_option(answer, options) or ("", answer)
    if letter and (letter not in letters or (answer.islower() and answer in options)):
        letter, rest = "", answer
    stated = _equal_options(rest or answer, options)
    if is_doubted and not _is_last_asserted(written, answer):
        return Verdict.UNDECIDED
    if letter and rest and not stated and re.match(r"[(\[].[)\]] [a-z]", answer) and not _REASON.match(rest):
        return _verdict_on_words(answer, options, right)  # (B) is the worst of all
    if letter and rest and not stated:
        return _verdict_beside_text(letter, rest, options, right)
    if letter and stated and letter not in stated and right & {letter, *stated}:
        return Verdict.UNDECIDED  # "(C) 14" where E is 14 and C or E is right
    if stated and not letter and len(stated) > 1 and stated & right:
        return Verdict.CORRECT if stated <= right else Verdict.UNDECIDED  # it fits several options
    if stated or letter:
        return Verdict.CORRECT if ({letter} if letter else stated) & right else Verdict.INCORRECT
    if len(read_letters(answer)) > 1:
        return Verdict.INCORRECT
    return _verdict_on_words(answer, options, right)


def _is_last_asserted(written: str, answer: str) -> bool:
    """Whether the last clause of an answer that doubts something asserts what cleaning left of it."""
    last = next((clause for clause in reversed(_CLAUSE_END.split(written)) if clause and clause.strip(" .")), "")
    return not DOUBT.search(last) and last.rstrip(" .*$)").endswith(answer.rstrip(" .*$)"))


def _verdict_beside_text(letter: str, rest: str, options: tuple[str, ...], right: set[str]) -> Verdict:
    """A letter beside text that is no option: "B. because ...", "(D) 71" where D is 56, "B. not 12"."""
    if letter not in right:
        return Verdict.INCORRECT
    rest = rest.removeprefix(f"{letter}, ")
    is_odd = DOUBT.search(rest) or _is_another_value(rest, options)
    return Verdict.UNDECIDED if is_odd and not _REASON.match(rest) else Verdict.CORRECT


def _letter_and_option(text: str, options: tuple[str, ...]) -> tuple[str, str] | None:
    """The letter and the text of "C Cecile", where that is option C or there are no options."""
    last = re.fullmatch(r"(.*\S)\s*\(([A-Z])\)", text)  # 20 cm (B)
    letter, rest = last.groups()[::-1] if last else text.partition(" ")[::2]
    index = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
    if index < 0 or not rest:
        return None
    is_option = index < len(options) and tokens(options[index]) == tokens(rest)
    return (letter, rest) if is_option or (not options and re.fullmatch("[A-Z][a-z]+", rest)) else None


def _verdict_on_words(answer: str, options: tuple[str, ...], right: set[str]) -> Verdict:
    """A sentence about letters, or words that look most like the right option."""
    asserted, denied, unclear = _letters_of_clauses(answer)
    if asserted or denied or unclear - {"?"}:
        is_clear = len(asserted) == 1 and not asserted & (denied | unclear)
        if is_clear and not unclear:
            return Verdict.CORRECT if asserted & right else Verdict.INCORRECT
        is_denied = right <= denied and not right & (asserted | unclear)
        return Verdict.INCORRECT if is_denied or not right & (asserted | unclear) else Verdict.UNDECIDED
    is_possible = _is_misspelt(answer, options, right) or _is_translated(answer, options, right)
    is_possible = is_possible or _mentions(answer, options, right)  # "Doris ate the most"
    return Verdict.UNDECIDED if is_possible else Verdict.INCORRECT


def _mentions(answer: str, options: tuple[str, ...], right: set[str]) -> bool:
    """Whether the words of a right option stand in an answer that joins no two things."""
    texts = (text for letter, text in zip(string.ascii_uppercase, options, strict=False) if letter in right)
    in_words = (text for text in texts if len(text) > 1 and text.replace(" ", "").isalpha())
    is_named = any(re.search(rf"(?<![A-Za-z]){re.escape(text)}(?![A-Za-z])", answer) for text in in_words)
    return is_named and not JOINT.search(answer)


def _letters_of_clauses(text: str) -> tuple[set[str], set[str], set[str]]:
    """The letters that the clauses of an answer call the answer, those that they deny, and those of other clauses."""
    asserted: set[str] = set()
    denied: set[str] = set()
    unclear: set[str] = set()
    text = re.sub(r"\bnot (\(?[A-Z]\)?),? but (?=\(?[A-Z](?![A-Za-z]))", r"not \1, ", text)
    for clause in filter(None, map(str.strip, _CLAUSE_END.split(text))):
        clause = CONCLUSION.sub("", f"{clause} ").strip() if not _REASON.match(clause) else clause
        clause = re.sub(r"^(?:so|and|no,|yes)\b,?\s*", "", clause, flags=re.IGNORECASE)
        assertion, denial = _ASSERTED.fullmatch(clause), _DENIED.fullmatch(clause)
        letters = set(_ANY_LETTER.findall(re.sub(r"\bI\b(?= [a-z])|^A(?= [A-Za-z]{3})", "", clause)))
        stated = _STATED.fullmatch(clause)
        if stated and letters == {stated.group(2)} and SUBJECT.fullmatch(stated.group(1)) and not DOUBT.search(clause):
            asserted |= letters
        elif denial and letters == set(re.findall("[A-Z]", denial.group(1) or denial.group(2))):
            denied |= letters
        elif assertion:
            asserted.add(assertion.group(1))
        else:
            is_retraction = DOUBT.search(clause) and not _REASON.match(clause)
            unclear |= letters or ({"?"} if is_retraction else set())
    return asserted, denied, unclear


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
