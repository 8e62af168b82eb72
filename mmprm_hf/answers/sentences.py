r"""The value that a sentence states: "Therefore, the area is $6\sqrt{2}$." is about ``6\sqrt{2}``.

A sentence states a value only where all of it is read by a grammar: [conclusion] [subject] copula VALUE, "there are
VALUE things", "they need VALUE things", "VALUE is the answer". Nothing is looked for inside a sentence: what mentions
a number without stating it ("half of 5", "5 is wrong") has no value. Standard library only.
"""

from __future__ import annotations

import re

from .cleaning import clean_answer
from .equality import same_value
from .numerals import words_to_digits
from .phrases import (
    ARITHMETIC,
    CHINESE_COUNT,
    CONCLUSION,
    COPULA,
    DOUBT,
    HAS,
    HYPOTHESIS,
    IS_THE_ANSWER,
    LEAD_IN,
    NEEDED,
    NEUTRAL_END,
    NEUTRAL_SENTENCE,
    QUANTITY,
    SENTENCE_END,
    SUBJECT,
    THERE_ARE,
)
from .splitting import outside_brackets
from .values import Number, Value, ValueList, read_name, read_value
from .vocabulary import SYMBOLS

MAX_FORMULAS = 500
MAX_CHARS = 400
"""A longer sentence states nothing."""
_FORMULA = re.compile(
    r"\\\(.+?\\\)|\\\[.+?\\\]|(?<!\\)\$\$.+?\$\$"
    r"|(?<!\\)\$(?:\s(?:\\.|[^$\\])+|(?!\s)(?:\\.|[^$\\])*?(?:\\.|[^\s$\\]))\$(?!\d)",  # not $5 + $6
    re.DOTALL,
)
_BOLD = re.compile(r"(?<![A-Za-z0-9_*])\*\*(?=[^\s*])(.+?)(?<=[^\s*])\*\*(?!\*)")
_FIRST_MARK = 0xE000
_MARK = re.compile("[\ue000-\uf8ff]")


def stated_value(text: str) -> Value | None:
    """Return the value that a text states, as it was written, with its marks; None if it states none or several.

    Of several sentences the last counts: if it is no conclusion ("so", "the answer is"), all must state its value.

    Example:
        >>> stated_value("They have 3 and 4. Thus, the sum of both is **7**, as was claimed.").raw
        Fraction(7, 1)
        >>> stated_value("It is half of 4") is None, stated_value("5 is wrong.") is None
        (True, True)
    """
    if _MARK.search(text) or text.rstrip().endswith(("?", "？")):
        return None
    masked, formulas = mask_formulas(re.sub(r"\b(it|that)['’]s\b", r"\1 is", text, flags=re.IGNORECASE))
    sentences = [sentence.strip(" \n\t*_:!") for sentence in SENTENCE_END.split(masked)]
    sentences = [sentence for sentence in sentences if re.search(r"\w|[\ue000-\uf8ff]", sentence)]
    while len(sentences) > 1 and NEUTRAL_SENTENCE.fullmatch(sentences[-1]) and not _doubts(sentences[-1]):
        sentences.pop()
    if not sentences:
        return None
    value, rank = _statement(sentences[-1], formulas)
    others = [_statement(sentence, formulas) for sentence in sentences[:-1]] if value is not None else []
    agrees = (other in (None, value) or other_rank < rank or other_rank == rank == 1 for other, other_rank in others)
    return value if all(agrees) else None


def stated_words(text: str) -> str:
    """Return what a sentence in words calls its subject; "" if it states nothing.

    Example:
        >>> stated_words("So the color of the line is light blue."), stated_words("It may be blue.")
        ('light blue', '')
    """
    sentence = text.strip(" \n\t*_:!.。")
    if len(sentence) > MAX_CHARS or SENTENCE_END.search(sentence):
        return ""
    conclusions = list(CONCLUSION.finditer(sentence))
    clause = sentence[conclusions[-1].end() :] if conclusions else sentence
    if HYPOTHESIS.search(sentence) or _doubts(clause):
        return ""
    there_are = THERE_ARE.match(clause)
    if there_are:
        return clause[there_are.end() :]
    copulas = (copula for copula in COPULA.finditer(clause) if SUBJECT.fullmatch(clause[: copula.start()].strip()))
    copula = next(copulas, None)
    return clause[copula.end() :].strip("*_ ") if copula else ""


def mask_formulas(text: str) -> tuple[str, list[str]]:
    """Return a text without bold, each of its formulas as one character of the private area, and the formulas."""
    formulas: list[str] = []

    def mask(match: re.Match[str]) -> str:
        if len(formulas) == MAX_FORMULAS:
            return match.group()
        formulas.append(match.group())
        is_last = match.group().rstrip(")]$\\ \n").endswith(".")
        return chr(_FIRST_MARK + len(formulas) - 1) + (". " if is_last else "")

    return _FORMULA.sub(mask, _BOLD.sub(r"\1", text)), formulas


def _value_of_sum(match: re.Match[str]) -> str:
    """The value of a sum that is right; the whole text of one that is not."""
    terms = re.sub(r"(?<![A-Za-z])x(?![A-Za-z])|×", "*", match.group("sum"))
    terms = re.sub(r"[$€£]|[A-Za-z]+(?:/[A-Za-z]+)?", "", terms).replace("÷", "/")
    computed = read_value(clean_answer(re.sub(r"([-+*/])", r" \1 ", terms)))
    value = read_value(match.group("value").lstrip("$€£"))
    is_right = isinstance(computed, Number) and value is not None and same_value(value, computed)
    return match.group("value") if is_right else match.group()


def _doubts(text: str) -> bool:
    return bool(DOUBT.search(text))


def _statement(sentence: str, formulas: list[str]) -> tuple[Value | None, int]:
    """The value that a masked sentence states, and its rank: 2 for the answer, 1 for a conclusion or sum, else 0."""
    if len(sentence) > MAX_CHARS:
        return None, 0
    sentence, written = ARITHMETIC.sub(_value_of_sum, sentence), sentence
    conclusions = list(CONCLUSION.finditer(sentence))
    clause = sentence[conclusions[-1].end() :] if conclusions else sentence
    premise = re.sub(r"[(（].*?[)）]", "", sentence[: conclusions[-1].start()]) if conclusions else ""
    if HYPOTHESIS.search(premise):
        return None, 0
    while (lead_in := LEAD_IN.match(clause)) and not _doubts(lead_in.group()):
        clause = clause[lead_in.end() :]
    clause = clause.strip(" .,。，")
    if _doubts(clause):
        return None, 0
    is_answer = bool(re.match(r"(?:the )?(?:final |correct )?(?:answer|result)\b|答案", clause, re.IGNORECASE))
    return _clause_value(clause, formulas), 2 if is_answer else int(bool(conclusions) or sentence != written)


def _clause_value(clause: str, formulas: list[str]) -> Value | None:
    ended = NEUTRAL_END.sub("", clause)
    for text in dict.fromkeys((clause, ended)):
        value = _stated_by(text, formulas)
        if value is not None:
            return value
    return None


def _stated_by(clause: str, formulas: list[str]) -> Value | None:
    """The value of a clause in one of the forms of the grammar."""
    answer = IS_THE_ANSWER.search(clause)
    if answer:
        return _read(clause[: answer.start()], formulas)
    there_are = THERE_ARE.match(clause)
    if there_are:
        return _quantity(clause[there_are.end() :], formulas)
    for copula in COPULA.finditer(clause):
        value = _read(clause[copula.end() :], formulas)
        if value is not None and SUBJECT.fullmatch(clause[: copula.start()].strip()):
            return value
    has = HAS.match(clause)
    if has:
        return _quantity(clause[has.end() :], formulas) or _purpose(clause, formulas)
    twice = re.fullmatch(r"(\S+) \((\w+)\)", clause)  # 7 (seven)
    if twice:
        first, second = (_read(text, formulas) for text in twice.groups())
        return first if first is not None and first == second else None
    clause = re.sub(r"^(?:(?:the )?(?:final )?answer|exactly|only)\s+", "", clause, flags=re.IGNORECASE)
    return _read(clause, formulas) or _purpose(clause, formulas)


def _quantity(text: str, formulas: list[str]) -> Value | None:
    """The value of "50 whole numbers left", "858颗糖果", "2 hours to walk to the store"."""
    value = _read(text, formulas)
    if text.endswith((" each", " apiece")):
        return None
    if value is not None and (_MARK.search(text) or isinstance(value, Number)):  # 720 a year is no product
        return value
    match = QUANTITY.fullmatch(text)
    if not match or re.search(r"[\d\ue000-\uf8ff]|\b(?:each|apiece)\b", match.group("tail") or ""):
        return None
    return _read(match.group("value") + match.group("noun"), formulas)


def _purpose(text: str, formulas: list[str]) -> Value | None:
    """The value of "20 workers are needed to make 7 of them"."""
    match = NEEDED.search(text)
    return _quantity(match.group(1), formulas) if match else None


def _read(text: str, formulas: list[str]) -> Value | None:
    """The value that a masked text is as a whole; None for plain words, which are no value in a sentence."""
    written = _MARK.sub(lambda match: formulas[ord(match.group()) - _FIRST_MARK], text)
    cleaned = clean_answer(written) if len(written) <= MAX_CHARS else ""
    count = CHINESE_COUNT.fullmatch(cleaned)
    if count:
        return _end_of_chain(count.group("number"))
    is_value = bool(_MARK.search(text) or re.search(r"\d|\\", cleaned)) or cleaned != words_to_digits(cleaned)
    value = _end_of_chain(cleaned) if is_value else None
    return value if has_known_names(cleaned, value) else None


def has_known_names(text: str, value: Value | None) -> bool:
    """Whether a value, and each part of a list, has no name, a symbol, or words that a value can be the value of.

    "Let x = 5" and "19, attained at x = 2" have not.
    """
    names = value.names if isinstance(value, ValueList) else ()
    return all(map(_is_known, (read_name(text), *names))) and "that" not in names  # 3.6 m, that is 3 m 60 cm


def _is_known(name: str) -> bool:
    is_symbol = not re.fullmatch(r"[A-Za-z][a-z]{2,}|.* .*", name) or name in SYMBOLS
    return is_symbol or bool(SUBJECT.fullmatch(name))


def _end_of_chain(text: str) -> Value | None:
    """The value of a text, of a chain of equal constants (3 + 10 = 13) that of its end."""
    inner = text[1:-1] if re.fullmatch(r"\([^()]*=[^()]*\)", text) else text
    sides = [read_value(side.strip()) for side in outside_brackets(inner, re.compile("="))]
    if len(sides) > 1 and all(isinstance(side, Number) for side in sides):
        return sides[-1] if all(same_value(sides[-1], side) for side in sides[:-1]) else None
    return read_value(text)
