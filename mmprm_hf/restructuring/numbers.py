r"""The numbers that a solution states, for comparing two writings of the same solution.

A number may be read in several ways (1,200 is one number or two; 3/4 is a value or two numbers; 50 % is 50 or 0.5), and
each of them counts as its having been stated. Signs are not read: minus and subtraction look the same. Numbers of
steps, figures and equations are labels and no numbers; indices (x_1) and small numbers in words (two sides) may
*support* a number in the other text and are never asked for. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

from .number_patterns import CHINESE_DIGITS, CHINESE_SCALES, SCALES, SMALL_WORDS, SPOKEN, TOKEN, clean_text

MAX_DIGITS = 40
"""Longer runs of digits are degenerate output; they are read by their first 40 digits."""


@dataclasses.dataclass(frozen=True)
class Mention:
    """A number where it stands in a text.

    Args:
        text: As it is written, after cleaning.
        readings: Each way to read it, as the set of values it then states; the most likely one first.
        is_stated: False for an index and a small number in words, which only support the other text.
    """

    text: str
    readings: tuple[frozenset[Fraction], ...]
    is_stated: bool = True


@dataclasses.dataclass(frozen=True)
class NumberSet:
    """The numbers of one or several texts.

    Args:
        stated: By their most likely reading, once each, in order of appearance.
        known: Every value in any reading, those that only support included.
    """

    stated: tuple[Mention, ...]
    known: frozenset[Fraction]

    def lacks(self, mention: Mention) -> bool:
        """True if no reading of `mention` is known here."""
        return not any(reading <= self.known for reading in mention.readings)


def read_numbers(*texts: str) -> NumberSet:
    r"""Return the numbers of all texts together.

    Example:
        >>> [str(m.text) for m in read_numbers("Step 1: $\\frac{3}{4}$ of 1,200 is 900.").stated]
        ['\\frac{3}{4}', '1,200', '900']
    """
    stated: dict[frozenset[Fraction], Mention] = {}
    known: set[Fraction] = set()
    for mention in (found for text in texts for found in _mentions(text)):
        known.update(*mention.readings)
        if mention.is_stated:
            stated.setdefault(mention.readings[0], mention)
    return NumberSet(tuple(stated.values()), frozenset(known))


def _mentions(text: str) -> Iterator[Mention]:
    """Numbers of one text in order."""
    for match in TOKEN.finditer(clean_text(text)):
        readings, is_stated = _read(match)
        if readings:
            yield Mention(match.group().strip(), tuple(frozenset(reading) for reading in readings), is_stated)


def _read(match: re.Match[str]) -> tuple[list[set[Fraction]], bool]:
    """Readings of one token, most likely first, and whether it is stated; no reading for a label."""
    found = match.groupdict()
    if found["label"]:
        return [], False
    if found["index"]:
        return [{Fraction(int(re.sub(r"\D", "", found["index"])[:MAX_DIGITS]))}], False
    if found["named"]:
        return [{Fraction(int(found["of_name"][:MAX_DIGITS]))}], False
    if top := found["top"] or found["top1"] or found["top2"]:
        return _ratio(_plain(top), _plain(found["bottom"] or found["bottom1"] or found["bottom2"])), True
    if found["share"]:
        (value, *_), *_ = map(tuple, _any_plain(found["of_share"]))
        return [{value / 100}, {value}], True
    if found["under"]:
        return _ratio(_any_plain(found["over"]), _any_plain(found["under"])), True
    if found["plain"]:
        return _read_plain(found), True
    if found["chinese"]:
        return _read_chinese(found["chinese"])
    if found["words"]:
        value = _words_value(found["words"])
        readings = [{Fraction(value)}] + ([{Fraction(value, 100)}] if found["words_percent"] else [])
        return readings, value > 10 or bool(found["words_percent"])
    return [SPOKEN[found["spoken"].casefold()]], False


def _ratio(tops: list[set[Fraction]], bottoms: list[set[Fraction]]) -> list[set[Fraction]]:
    """A fraction as one value, or as its two numbers."""
    top, bottom = (next(iter(readings[0])) for readings in (tops, bottoms))
    apart = [tops[0] | bottoms[0]]
    return [{top / bottom}, *apart] if bottom else apart


def _plain(text: str) -> list[set[Fraction]]:
    """A number in digits; with thousands marked, also as several numbers."""
    joined = re.sub("[, ]", "", text)
    whole, _, decimals = joined.partition(".")
    value = Fraction(f"{whole[:MAX_DIGITS] or 0}.{decimals[:MAX_DIGITS] or 0}")
    if joined == text:
        return [{value}]
    return [{value}, {Fraction(part) for part in re.split("[, ]", text)}]


def _any_plain(text: str) -> list[set[Fraction]]:
    if text[0] in CHINESE_DIGITS or text[0] in CHINESE_SCALES:
        return [{Fraction(_chinese_value(text))}]
    return _plain(text)


def _read_plain(found: dict[str, str | None]) -> list[set[Fraction]]:
    """A number in digits with what belongs to it: a power of ten, a percent sign, a scale."""
    readings = _plain(found["plain"])
    (value,) = readings[0]
    power = found["power"] or found["exponent"]
    if power:
        scaled = value * Fraction(10) ** int(power)
        return [{scaled}, {value, Fraction(10), Fraction(abs(int(power)))}]
    after = (found["after"] or "").strip().casefold()
    if after in ("%", "percent", "per cent"):
        return [*readings, {value / 100}]
    if after:
        scale = SCALES.get(after) or CHINESE_SCALES[after]
        return [{value * scale}, *readings]
    return readings


def _read_chinese(text: str) -> tuple[list[set[Fraction]], bool]:
    """三十五 is stated; a single character (一个, 两边) and characters in a row (一一对应) only support."""
    digits = [Fraction(CHINESE_DIGITS[c]) for c in text if c in CHINESE_DIGITS]
    if len(text) == 1:
        return [{Fraction(_chinese_value(text))}] if text in "十" or digits else [], False
    if text[0] in "百千万亿":  # 千万, 万一, 百分: words
        return [set(digits)] if digits else [], False
    is_row = len(digits) == len(text)
    if is_row and not (len(text) >= 3 and set("〇零") & set(text)):
        return [set(digits)], False
    return [{Fraction(_chinese_value(text))}], True


def _chinese_value(text: str) -> int:
    """三百零五 is 305, 二〇二五 is 2025, 三万二千 is 32000."""
    if all(c in CHINESE_DIGITS for c in text):
        return int("".join(str(CHINESE_DIGITS[c]) for c in text)[:MAX_DIGITS])
    total = section = digit = 0
    for character in text[:MAX_DIGITS]:
        if character in CHINESE_DIGITS:
            digit = CHINESE_DIGITS[character]
        elif character in "万亿":
            total, section, digit = (total + section + digit or 1) * CHINESE_SCALES[character], 0, 0
        else:
            section, digit = section + (digit or 1) * CHINESE_SCALES[character], 0
    return total + section + digit


def _words_value(text: str) -> int:
    """Forty-two is 42, two hundred and five is 205; "two three" is its last word."""
    total = section = 0
    last = 10**12
    for word in re.split("[ -]+", text.casefold()):
        if word in SCALES:
            scale = SCALES[word]
            if scale == 100:
                section = (section or 1) * 100
            else:
                total, section = total + (section or 1) * scale, 0
            last = scale
        elif word in SMALL_WORDS:
            value = SMALL_WORDS[word]
            fits = (20 <= last < 100 and value < 10) or last >= 100
            section, last = (section + value if fits else value), value
    return total + section


def missing_numbers(wanted: NumberSet, *given: NumberSet) -> list[str]:
    """Texts of the numbers that `wanted` states and none of `given` knows."""
    together = NumberSet((), _union(numbers.known for numbers in given))
    return [mention.text for mention in wanted.stated if together.lacks(mention)]


def _union(sets: Iterable[frozenset[Fraction]]) -> frozenset[Fraction]:
    return frozenset().union(*sets)
