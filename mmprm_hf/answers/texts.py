r"""Whether two answers in words are the same: True, False, or None where the rules cannot tell.

Words, signs, relations and names all count, in their order; formulas inside a text are compared by their values.
Standard library only.
"""

from __future__ import annotations

import difflib
import re

from .equality import same_named_value
from .splitting import outside_brackets
from .values import read_name, read_value

MISSPELT_LIKENESS = 0.85
"""Words that are more alike than this may be the same word, misspelt."""
_TOKEN = re.compile(r"\\\\|\\[A-Za-z]+|[\u4e00-\u9fff]|[^\W\d_\u4e00-\u9fff]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*|\S")
_WORD = re.compile(r"[^\W\d_]{2,}(?:'[a-z]+)?|[\u4e00-\u9fff]")
_OPENING_WORDS = frozenset(["it", "is", "are", "they", "on", "in", "at", "the", "an", "of"])
_FILLERS = frozenset(["the", "is", "are", "an"])
_NEGATION = re.compile(r"\b(?:not?|never|cannot|neither|nor|without)\b|n['’]t\b|[不没无非]", re.IGNORECASE)
_GENOTYPE = re.compile(r"(?:([A-Za-z])(?i:\1))+")
_JOINT = re.compile(r"\s*(?:[,;、]|\band\b|[和与])+\s*")


def is_negated(text: str) -> bool:
    """Return whether a text has a word that negates it."""
    return bool(_NEGATION.search(text))


def is_in_words(text: str) -> bool:
    """Return whether a text has words: a run of three letters outside LaTeX commands, "is", "or", or Chinese."""
    return bool(re.search(r"[^\W\d_]{3,}|[\u4e00-\u9fff]|\b(?:is|or)\b", re.sub(r"\\[A-Za-z]+", " ", text)))


def is_chinese(text: str) -> bool:
    """Return whether a text has a Chinese character."""
    return bool(re.search("[\u4e00-\u9fff]", text))


def likeness(first: str, second: str) -> float:
    """Return how alike two words are, in [0, 1], upper and lower case being the same."""
    return difflib.SequenceMatcher(None, first.casefold(), second.casefold()).ratio()


def tokens(text: str) -> tuple[str, ...]:
    """Return the words, numbers and signs of a text, without fillers, the case of plain words and closing marks.

    Example:
        >>> tokens("It is Isosceles."), tokens("Player A"), tokens("x < 2")
        (('isosceles',), ('player', 'A'), ('x', '<', '2'))
    """
    found = _TOKEN.findall(
        re.sub(r"(?<=[A-Za-z\u4e00-\u9fff])(?:[.,;:?]+(?=\s|$)|[,;])|(?<=[A-Za-z]{2})!+|[\"“”]", " ", text)
    )
    found = [_fold(token) for token in found]
    while len(found) > 1 and found[0] in _OPENING_WORDS:
        del found[0]
    if found[:1] == ["only"]:
        found.append(found.pop(0))  # only 2, 2 only
    return tuple(
        token
        for token, following in zip(found, [*found[1:], ""], strict=False)
        if token not in _FILLERS and not (token == "a" and re.fullmatch("(?!and|or)[a-z]{2,}", following))
    )


def _fold(token: str) -> str:
    """A word in lower case if its shape is a plain word's; Bb, CO and NaCl keep theirs."""
    is_plain = token.islower() or (token[1:].islower() and len(token) > 1) or (token.isupper() and len(token) > 3)
    is_short_word = token.casefold() in ("no", "yes", "all")
    return token.casefold() if is_short_word or (is_plain and not _GENOTYPE.fullmatch(token)) else token


def same_text(gold: str, answer: str) -> bool | None:
    """Return whether two cleaned texts in words say the same.

    Example:
        >>> same_text("It is north", "North."), same_text("F is 90-x", "F is 90+x"), same_text("odd", "oddd")
        (True, False, None)
    """
    gold_tokens, answer_tokens = tokens(gold), tokens(answer)
    if gold_tokens == answer_tokens:
        return True if gold_tokens else None
    if is_negated(gold) != is_negated(answer):
        return None if set(gold_tokens) & set(answer_tokens) and re.search(",|but", answer) else False
    if is_chinese(gold) != is_chinese(answer):
        return None  # the rules do not translate
    if len(gold_tokens) == len(answer_tokens) == 1:
        return None if likeness(gold_tokens[0], answer_tokens[0]) > MISSPELT_LIKENESS else False
    lists = [sorted(map(tokens, outside_brackets(text, _JOINT))) for text in (gold, answer)]
    if lists[0] == lists[1]:
        return True if len(lists[0]) == 2 else None  # blue and red, red and blue; of more, the order may be the point
    words = [[token for token in side if _WORD.fullmatch(token)] for side in (gold_tokens, answer_tokens)]
    if words[0] == words[1]:
        return _same_between_words(gold, answer)
    if len(words[0]) == len(words[1]) and all(
        first == second or (_GENOTYPE.fullmatch(first) and _GENOTYPE.fullmatch(second))
        for first, second in zip(*words, strict=True)
    ):
        return False  # BB and Bb
    return None if set(words[0]) & set(words[1]) else False


def _same_between_words(gold: str, answer: str) -> bool | None:
    """Whether the formulas between equal words are the same."""
    verdicts = set()
    for first, second in zip(_between_words(gold), _between_words(answer), strict=False):
        if tokens(first) == tokens(second):
            continue
        values = read_value(first), read_value(second)
        if None not in values:
            verdicts.add(same_named_value(read_name(first), values[0], read_name(second), values[1]))
        else:  # of the same form, a sign or a digit is another
            verdicts.add(False if first and len(tokens(first)) == len(tokens(second)) else None)
    return False if False in verdicts else None if None in verdicts else True


def _between_words(text: str) -> list[str]:
    pieces, current, macro_end = [], "", 0
    marks = re.compile(rf"\\[A-Za-z]+|{_WORD.pattern}")
    for match in marks.finditer(text):
        current += text[macro_end : match.start()]
        macro_end = match.end()
        if match.group()[0] == "\\" or _fold(match.group()) in _FILLERS | _OPENING_WORDS:
            current += match.group() if match.group()[0] == "\\" else " "
        else:
            pieces.append(current)
            current = ""
    pieces.append(current + text[macro_end:])
    return [re.sub(r"^[\s.,;:]+|[\s.,;:]+$", "", piece) for piece in pieces]
