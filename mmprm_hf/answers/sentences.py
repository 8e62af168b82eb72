r"""The answer that a sentence states: "Therefore, the area is $6\sqrt{2}$." is about ``6\sqrt{2}``.

Looks at the text as it was written, with the marks of bold and of formulas. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .cleaning import clean_answer
from .numerals import words_to_digits
from .texts import is_in_words
from .values import Value, read_value

MAX_SENTENCES = 3
_SENTENCE_END = re.compile(r"(?<=[^\d\s])[.!?]\**(?=\s+[A-Z\\*$]|\s*$)|(?<=[\d)}$])\.(?=\s+[A-Z\\]|\s*$)|。|\n\s*\n")
_WEAK_VERBS = "have has had by of at approximately about exactly only 有 到 共"
_VERBS = f"is are was were be equals? becomes? gives? contains? costs? {_WEAK_VERBS}"
_VERB = re.compile(rf"(?:\b(?:{'|'.join(_VERBS.split())}|equal to)\b|[=≈]|[为是到有成得共]|等于)\s*:?\s*")
_FORMULA = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]|(?<!\\)\$\$?(.+?)(?<!\\)\$\$?", re.DOTALL)
_BOLD = re.compile(r"(?<![A-Za-z0-9_*])\*\*(?=[^\s*])(.+?)(?<=[^\s*])\*\*(?!\*)")
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.\\{^])(?:[-−]\s?)?[$€£¥]?\s?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?"
    r"(?![\d^]|\s(?:or )?(?:more|less|fewer)\b)"
)
_CLAUSE_WORDS = (
    "when where which for in on at occurring because since so if as with from to left out after than per altogether "
    "all that given under"
)
_CLAUSE_END = re.compile(rf",\s(?!\d)|;\s|[，；]|\s\(|\s+(?:{'|'.join(_CLAUSE_WORDS.split())})\b")
_DENIAL = re.compile(r"\b(?:not|never|cannot|neither|nor)\b|n['’]t\b|不(?!同)|没|非", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"[a-z]{3,}(?<!and)(?<!from)(?<!between) (\d[\d,]*(?:\.\d+)?)\s*\.?\s*$")
_FIRST_NUMBER = re.compile(
    r"\s*(?:(?:therefore|thus|so|hence|then|finally)\s*,?\s+)?(\d[\d,]*(?:\.\d+)?)(?=\s+(?!or\b|more\b|less\b|fewer\b|of\b|out\b)[a-z]{2})",
    re.IGNORECASE,
)
_COMPARATIVE = re.compile(
    r"(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|other|rather) than"
    r"|\b(?:but|except(?: for)?|excluding|without|minus|negative|step|part|case|question|problem)"
    r"|at (?:most|least)|up to|under|over|above|below|nearly|almost|[大小多少高低]于|超过|不足|至[少多])\s*$",
    re.IGNORECASE,
)


def stated_value(text: str) -> Value | None:
    """Return the value that the end of a text states; None if there is none, or more than one could be meant.

    Example:
        >>> stated_value("So they need 6 hours for it. Thus, the sum of 3 and 4 is **7**, as was claimed.").raw
        Fraction(7, 1)
        >>> stated_value("It is between 3 and 4 apples") is None
        True
    """
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if re.search(r"[^\s*_.$]", sentence)]
    is_whole = bool(re.search(r"[.!?。)$*\]]\s*$", text))  # else it is cut off: what it says before concludes nothing
    for sentence in reversed(sentences[-MAX_SENTENCES if is_whole else -1 :]):
        values = list(_values_of(sentence))
        if values:
            return values[0]
        if re.search(r"\d", sentence):
            return None
    return None


def _values_of(sentence: str) -> Iterator[Value]:
    """Values that a sentence may state, the likeliest first."""
    bold = [
        read_value(clean_answer(content)) or next(_only_value(content), None) for content in _BOLD.findall(sentence)
    ]
    if len(bold) == 1 and bold[0] is not None and not _DENIAL.search(sentence.partition("**")[0][-20:]):
        yield bold[0]
    plain = _BOLD.sub(r"\1", sentence)
    hidden = _hide_formulas(plain)
    is_only = len(_FORMULA.findall(plain)) + len(_NUMBER.findall(hidden)) <= 1
    for verb in reversed(list(_VERB.finditer(hidden))):
        if verb.group().strip(": ").casefold() in _WEAK_VERBS.split() and not is_only:
            continue  # 3 bags of 12
        value = _value_at_start(plain[verb.end() :])
        if value is not None and not _COMPARATIVE.search(plain[: verb.end()]) and not _is_denied(plain, verb):
            yield value
    if _DENIAL.search(plain):
        return
    for number in (_LAST_NUMBER.search(plain), _FIRST_NUMBER.match(plain)):
        if number and not _COMPARATIVE.search(plain[: number.start(1)]):
            yield read_value(clean_answer(number.group(1)))
    yield from _only_value(plain)


def _is_denied(sentence: str, verb: re.Match[str]) -> bool:
    """Whether the clause of a verb negates it: "is not 5", "5 is not a solution"."""
    before = re.split(r"[,，;；(（。]", sentence[: verb.end()])[-1]
    after = re.split(r"[,，;；)）。]|\b(?:when|where|because|since)\b", sentence[verb.end() :])[0]
    return bool(_DENIAL.search(before + " " + after))


def _hide_formulas(text: str) -> str:
    """The text with formulas as blanks of the same length, so that nothing in them is taken for a verb."""
    return _FORMULA.sub(lambda match: "\0" * len(match.group()), text)


def _value_at_start(text: str) -> Value | None:
    """The value that a text begins with, to its end or to the end of its clause."""
    text = text.strip().rstrip(".")
    if text.count(")") > text.count("("):
        text = text[: text.rindex(")")]
    hidden = _hide_formulas(text)
    ends = [len(text), *(end.start() for end in _CLAUSE_END.finditer(hidden))]
    for end in sorted(set(ends), reverse=True):
        clause = text[:end].strip()
        value = _read(clause) if len(clause) <= 120 else None
        if value is not None:
            return value
    formula = _FORMULA.match(text)
    rest = text[formula.end() :] if formula else ""
    if formula and not re.match(r"\s*(?:[-+*/=<>^,]|and\b|or\b)", rest):
        return read_value(clean_answer(formula.group()))
    number = _NUMBER.match(text)
    if number and re.match(r"\s+[A-Za-z]|\s*[\u4e00-\u9fff]", text[number.end() :]):
        return read_value(clean_answer(number.group()))
    return None


def _read(clause: str) -> Value | None:
    cleaned = clean_answer(clause)
    if not re.search(r"\d|\\", cleaned) and cleaned == words_to_digits(cleaned):
        return None  # a word is no value in a sentence
    return read_value(cleaned)


def _only_value(sentence: str) -> Iterator[Value]:
    """The only formula or number of a sentence."""
    formulas = [next(filter(None, groups)) for groups in _FORMULA.findall(sentence)]
    numbers = list(_NUMBER.finditer(_hide_formulas(sentence)))
    if len(formulas) == 1 and not numbers:
        value = read_value(clean_answer(formulas[0]))
        if value is not None:
            yield value
    different = {read_value(clean_answer(number.group())) for number in numbers}
    if not formulas and len(different) == 1 and not _COMPARATIVE.search(sentence[: numbers[0].start()]):
        value = different.pop()
        if value is not None and is_in_words(sentence):
            yield value
