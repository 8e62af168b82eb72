r"""The numbers that a solution states, for comparing two writings of the same solution.

A number may be read in several ways (1,200 is one number or two; 3/4 is a value or two numbers; 50 % is 50 or 0.5),
and a text that has any of them states it. Signs are not read: minus and subtraction look the same. Numbers of steps,
figures and equations are labels, not numbers; indices (x_1) and small numbers in words (two sides) may *support* a
number of the other text and are never required. Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ..answers import CHINESE_DIGITS, CHINESE_SCALES, SCALE_WORDS, chinese_value, read_number_words
from .number_patterns import SPOKEN, TOKEN, clean_text

MAX_DIGITS = 40
"""Only the first 40 digits of a longer run are read: such a run is degenerate output."""


class Mention(NamedTuple):
    """A number as it is written (after cleaning), and each way to read it as the values that it then states.

    The most likely reading comes first.
    """

    text: str
    readings: tuple[frozenset[Fraction], ...]


class NumberSet(NamedTuple):
    """The numbers of one or several texts.

    `stated` has each number once by its most likely reading, in order; `known` has all values of any reading, including
    those that only support.
    """

    stated: tuple[Mention, ...]
    known: frozenset[Fraction]


def read_numbers(*texts: str) -> NumberSet:
    r"""Return the numbers of all texts together.

    Example:
        >>> [mention.text for mention in read_numbers("Step 1: $\\frac{3}{4}$ of 1,200 is 900.").stated]
        ['\\frac{3}{4}', '1,200', '900']
    """
    stated: dict[frozenset[Fraction], Mention] = {}
    known: set[Fraction] = set()
    for match in (match for text in texts for match in TOKEN.finditer(clean_text(text))):
        readings, is_stated = _read(match)
        known.update(*readings)
        if is_stated:
            mention = Mention(match.group().strip(), tuple(frozenset(reading) for reading in readings))
            stated.setdefault(mention.readings[0], mention)
    return NumberSet(tuple(stated.values()), frozenset(known))


def missing_numbers(required: NumberSet, *available: NumberSet) -> list[str]:
    """Return the texts of the numbers that `required` states and none of `available` knows in any reading.

    Example:
        >>> missing_numbers(read_numbers("3/4 of 12 is 9"), read_numbers("0.75"), read_numbers("12"))
        ['9']
    """
    known = {value for numbers in available for value in numbers.known}
    return [mention.text for mention in required.stated if not any(reading <= known for reading in mention.readings)]


def _read(match: re.Match[str]) -> tuple[list[set[Fraction]], bool]:
    """Readings of one token, most likely first, and whether it is stated; no reading for a label."""
    groups = match.groupdict()
    if groups["label"]:
        return [], False
    if index := groups["index"] or groups["of_name"]:
        return [{Fraction(int(re.sub(r"\D", "", index)[:MAX_DIGITS]))}], False
    if top := groups["top"] or groups["top1"] or groups["top2"]:
        return _ratio(_read_digits(top), _read_digits(groups["bottom"] or groups["bottom1"] or groups["bottom2"])), True
    if groups["share"]:
        value = next(iter(_read_integer(groups["of_share"])[0]))
        return [{value / 100}, {value}], True
    if groups["under"]:
        return _ratio(_read_integer(groups["over"]), _read_integer(groups["under"])), True
    if groups["plain"]:
        return _read_plain(groups), True
    if groups["chinese"]:
        return _read_chinese(groups["chinese"])
    if groups["words"]:
        return _read_words(groups["words"], bool(groups["words_percent"]))
    return [SPOKEN[groups["spoken"].casefold()]], False


def _ratio(tops: list[set[Fraction]], bottoms: list[set[Fraction]]) -> list[set[Fraction]]:
    """A fraction as one value, or as its two numbers."""
    top, bottom = (next(iter(readings[0])) for readings in (tops, bottoms))
    apart = [tops[0] | bottoms[0]]
    return [{top / bottom}, *apart] if bottom else apart


def _read_digits(text: str) -> list[set[Fraction]]:
    """A number in digits; with its thousands marked, also as several numbers."""
    joined = re.sub("[, ]", "", text)
    whole, _, decimals = joined.partition(".")
    value = Fraction(f"{whole[:MAX_DIGITS] or 0}.{decimals[:MAX_DIGITS] or 0}")
    if joined == text:
        return [{value}]
    return [{value}, {Fraction(part) for part in re.split("[, ]", text)}]


def _read_integer(text: str) -> list[set[Fraction]]:
    """A number in digits or Chinese."""
    is_chinese = text[0] in CHINESE_DIGITS or text[0] in CHINESE_SCALES
    return [{Fraction(chinese_value(text[:MAX_DIGITS]))}] if is_chinese else _read_digits(text)


def _read_plain(groups: dict[str, str | None]) -> list[set[Fraction]]:
    """A number in digits with what belongs to it: a power of ten, a percent sign, a scale."""
    readings = _read_digits(groups["plain"])
    (value,) = readings[0]
    power = groups["power"] or groups["exponent"]
    if power:
        scaled = value * Fraction(10) ** int(power)
        return [{scaled}, {value, Fraction(10), Fraction(abs(int(power)))}]
    after = (groups["after"] or "").strip().casefold()
    if after in ("%", "percent", "per cent"):
        return [*readings, {value / 100}]
    if after:
        scale = SCALE_WORDS.get(after) or CHINESE_SCALES[after]
        return [{value * scale}, *readings]
    return readings


def _read_chinese(text: str) -> tuple[list[set[Fraction]], bool]:
    """三十五 is stated; a single character (一个, 两边) and characters in a row (一一对应) only support."""
    digits = [Fraction(CHINESE_DIGITS[character]) for character in text if character in CHINESE_DIGITS]
    if text == "十" or (len(text) == 1 and digits):
        return [{Fraction(chinese_value(text))}], False
    is_word = text[0] in "百千万亿"  # 千万, 万一, 百分
    is_row = len(digits) == len(text) and (len(text) < 3 or not set("〇零") & set(text))
    if is_word or is_row:
        return [set(digits)] if digits else [], False
    return [{Fraction(chinese_value(text[:MAX_DIGITS]))}], True


def _read_words(text: str, is_percent: bool) -> tuple[list[set[Fraction]], bool]:
    """Forty-two is 42; "two three" (two three-digit numbers) is its last number. Small numbers only support."""
    words = ["one" if word == "a" else word for word in re.split("[ -]+", text.casefold())]
    value = 0
    while words:
        number, num_words = read_number_words(words)
        value, words = number if num_words else value, words[max(num_words, 1) :]
    readings = [{Fraction(value)}] + ([{Fraction(value, 100)}] if is_percent else [])
    return readings, value > 10 or is_percent
