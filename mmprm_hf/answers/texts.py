r"""Whether two answers in words are the same: True, False, or None where the rules cannot tell.

Words, signs, relations and names all count, in their order; formulas inside a text are compared by their values. Only
of plain words are fillers and the case of a first letter left out. Standard library only.
"""

from __future__ import annotations

import difflib
import re

from .equality import same_named_value
from .phrases import DENIAL
from .values import read_name, read_value

MISSPELT_LIKENESS = 0.85
"""Words that are more alike than this may be the same word, misspelt."""
_TOKEN = re.compile(r"\\\\|\\[A-Za-z]+|[\u4e00-\u9fff]|[^\W\d_\u4e00-\u9fff]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*|\S")
_WORD = re.compile(r"[^\W\d_]{2,}(?:'[a-z]+)?|[\u4e00-\u9fff]")
_PLAIN = re.compile(r"(?:[^\W\d_]|[.,;:!?\"“”，；：！？、' -])*")
_LETTER = re.compile(r"(?<![^\W\d_'])[B-Zb-zα-ω](?![^\W\d_'])")
_OPENING_WORDS = frozenset(["it", "is", "are", "they", "on", "in", "at", "the", "an", "of"])
_FILLERS = frozenset(["the", "is", "are", "an", "a"])
_GENOTYPE = re.compile(r"(?:([A-Za-z])(?i:\1))+")
_THING = r"([^\W\d]+|\d+(?: [a-z]+){1,2})"
_PAIR = re.compile(rf"{_THING}( and | , |[和与、，]){_THING}", re.IGNORECASE)
_VOWEL = re.compile("[aeiouyAEIOUY]")


def is_negated(text: str) -> bool:
    """Return whether a text has a word that negates it."""
    return bool(DENIAL.search(text))


def is_in_words(text: str) -> bool:
    """Return whether a text has words: a run of three letters outside LaTeX commands, "is", "or", or Chinese."""
    return bool(re.search(r"[^\W\d_]{3,}|[\u4e00-\u9fff]|\b(?:is|or|[Ii]t['’]s)\b", re.sub(r"\\[A-Za-z]+", " ", text)))


def is_chinese(text: str) -> bool:
    """Return whether a text has a Chinese character."""
    return bool(re.search("[\u4e00-\u9fff]", text))


def likeness(first: str, second: str) -> float:
    """Return how alike two words are, in [0, 1], upper and lower case being the same."""
    return difflib.SequenceMatcher(None, first.casefold(), second.casefold()).ratio()


def tokens(text: str) -> tuple[str, ...]:
    """Return the words, numbers and signs of a text; of plain words without fillers, marks and the case of a capital.

    Example:
        >>> tokens("It is Isosceles."), tokens("Player A"), tokens("x, y")
        (('isosceles',), ('player', 'A'), ('x', ',', 'y'))
    """
    is_plain = bool(_PLAIN.fullmatch(text)) and not _LETTER.search(text)
    if is_plain:
        text = re.sub(r"[.:;!?\"“”，；：！？、]|,(?=\s*$)", " ", text)
    words = [_fold(token) for token in _TOKEN.findall(text)]
    if words[:1] == ["only"]:
        words.append(words.pop(0))  # only 2, 2 only
    if not is_plain or all(word in _FILLERS | _OPENING_WORDS for word in words):
        return tuple(words)
    while len(words) > 1 and words[0] in _OPENING_WORDS:
        del words[0]
    return tuple(word for word in words if word not in _FILLERS)


def _fold(token: str) -> str:
    """A word in lower case if its shape is a plain word's; Bb, CO, NaCl, mgh and ABCD keep theirs."""
    is_short_word = token.casefold() in ("no", "yes", "all", "none", "true", "false") or token in ("It", "Is")
    is_capitalised = token[1:].islower() and len(token) > 2 and bool(_VOWEL.search(token))
    return token.casefold() if is_short_word or is_capitalised and not _GENOTYPE.fullmatch(token) else token


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
        return _same_word(gold_tokens[0], answer_tokens[0])
    pairs = [_PAIR.fullmatch(("" if is_chinese(gold) else " ").join(side)) for side in (gold_tokens, answer_tokens)]
    if all(pairs) and pairs[0].group(1, 3) == pairs[1].group(1, 3):
        return True  # red and blue, red, blue
    if all(pairs) and pairs[0].groups() == pairs[1].groups()[::-1] and pairs[0].group(2) in (" and ", "和", "与"):
        return True  # blue and red, red and blue
    things = [[token for token in side if token != ","] for side in (gold_tokens, answer_tokens)]
    if things[0] == things[1] and all(token.isalpha() and len(token) > 1 for token in things[0]):
        return True  # hello, world
    if sorted(things[0]) == sorted(things[1]) and is_in_words(gold) and all(map(str.isalnum, things[0])):
        return None  # the order may be the point, but not of March 5, 2021
    words = [[token for token in side if _WORD.fullmatch(token)] for side in (gold_tokens, answer_tokens)]
    if words[0] == words[1]:
        return _same_between_words(gold, answer)
    if len(words[0]) == len(words[1]) and all(
        first == second or (_GENOTYPE.fullmatch(first) and _GENOTYPE.fullmatch(second))
        for first, second in zip(*words, strict=True)
    ):
        return False  # BB and Bb
    return None if set(words[0]) & set(words[1]) else False


def _same_word(gold: str, answer: str) -> bool | None:
    """Words that differ: maybe misspelt, in other case, or names multiplied in another order."""
    is_short = len(gold) < 3 or not _VOWEL.search(gold)
    is_product = gold.islower() and is_short and sorted(gold) == sorted(answer)
    return None if is_product or likeness(gold, answer) > MISSPELT_LIKENESS else False


def _same_between_words(gold: str, answer: str) -> bool | None:
    """Whether the formulas between equal words are the same."""
    verdicts = set()
    for first, second in zip(_between_words(gold), _between_words(answer), strict=False):
        if first == second:
            continue
        values = read_value(first), read_value(second)
        if None not in values:
            verdicts.add(same_named_value(read_name(first), values[0], read_name(second), values[1]))
        else:  # of the same form, a sign or a digit is another
            verdicts.add(False if first and len(tokens(first)) == len(tokens(second)) else None)
    return False if False in verdicts else None if None in verdicts else True


def _between_words(text: str) -> list[str]:
    """What stands between the words of a text, outside of macros."""
    pieces = re.split(rf"(\\[A-Za-z]+)|(?:{_WORD.pattern})", text)
    joined = [""]
    for index, piece in enumerate(pieces):
        if index % 2 or (index and pieces[index - 1]):
            joined[-1] += piece or ""
        else:
            joined.append(piece)
    return [re.sub(r"^[\s.,;:]+|[\s.,;:]+$", "", piece) for piece in joined]
