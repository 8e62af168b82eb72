r"""The numbers that a solution states, for comparing two writings of the same solution.

A number may be read in several ways (1,200 is one number or two; 3/4 is a value or two numbers; 50 % is 50 or 0.5), and
each of them counts as its having been stated. Signs are not read: minus and subtraction look the same. Numbers of
steps, figures and equations are labels and no numbers; indices (x_1) and small numbers in words (two sides) may
*support* a number in the other text and are never asked for. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator
from fractions import Fraction

MAX_DIGITS = 40
"""Longer runs of digits are degenerate output; they are read by their first 40 digits."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_CHINESE_DIGITS = dict(zip("〇零一二三四五六七八九两", (0, *range(10), 2), strict=True))
_CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_SMALL_WORDS = {
    word: int(number)
    for number, word in re.findall(
        r"(\d+) (\w+)",
        "0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven 12 twelve 13 thirteen "
        "14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen 20 twenty 30 thirty 40 forty 50 fifty "
        "60 sixty 70 seventy 80 eighty 90 ninety",
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SPOKEN = {
    word: {Fraction(number) for number in numbers.split()}
    for words, numbers in {
        "half halves 半": "1/2 2", "third thirds": "1/3 3", "quarter quarters": "1/4 4", "once single": "1",
        "twice double both pair square squared 平方 双 倍": "2", "cube cubed cubic triple 立方": "3", "dozen": "12",
    }.items()
    for word in words.split()
}  # fmt: skip

_CLEANING = (
    # Layout and pictures: their numbers are nobody's.
    (r"!\[[^\]\n]*\]\([^)\n]*\)|<\s*(?:img|image)[^>\n]*>", " "),
    (
        r"\\[hv]space\*?\s*\{[^}]*\}|\\\\\s*\[[\d.]+\s*(?:pt|em|ex|cm|mm)\]|\\(?:tag|label|ref|eqref)\*?\s*\{[^}]*\}",
        " ",
    ),
    (r"[①-⑳⑴-⒇⒈-⒛]", " "),  # labels of lines and equations
)
_MARKUP = (
    (r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}", r" \1 "),
    (r"\*\*|__|`|\$", " "),
    (r"\{,\}", ","),
    (r"(?<=\d)(?:\\[,;:! ]|~)(?=\d{3}(?!\d))", " "),
    (r"\\%", "%"),
    (r"\\[dtc]frac", r"\\frac"),
    (r"(\\[A-Za-z]+)(?=\d)", r"\1 "),  # \times5, \sqrt2
    (r"(?<=\d)[ \t]*(?:[xX×]|\\times\b)[ \t]*(?=\d)", r" \\times "),
    (r"\u2044", "/"),
)
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d{1,3}(?: \d{3})+(?! ?\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+"
_CHINESE = "[〇零一二三四五六七八九两十百千万亿]"
_NUMBER_WORD = "|".join(_SMALL_WORDS)
_SCALE_WORD = "|".join(_SCALES)
_SPOKEN_WORD = "|".join(word for word in _SPOKEN if word.isascii())
_TOKEN = re.compile(
    # Labels, read past and dropped.
    r"(?P<label>\bsteps[ \t]*\d+(?:[ \t]*(?:,|and|&|-|to)[ \t]*\d+)*"
    r"|\bstep[ \t]*(?:no\.?|number|\#)?[ \t]*\(?\d+\)?(?!\.?\d)"
    r"|第[ \t]*(?:\d+|[〇零一二三四五六七八九十]+)[ \t]*步|步骤[ \t]*(?:\d+|[一二三四五六七八九十]+)"
    r"|\b(?:fig(?:ure|\.)?|eq(?:uation|n|\.)?)[ \t]*\(?\d+\)?(?!\.?\d)|图[ \t]*\(?\d+\)?(?![\d.])|式[ \t]*\(\d+\)"
    r"|(?:^|(?<=\n))[ \t]*(?:[-#>•][ \t]*)*"
    r"(?:\(\d{1,2}\)(?=[ \t]*(?:[^\W\d_]|\\|\n|$))|\d{1,2}(?:\.(?=\s|[^\W\d])|[)、](?=\s|[^\W\d]))))"
    rf"|\\frac\s*(?:\{{\s*(?P<top>{_PLAIN})\s*\}}|(?P<top1>\d))\s*(?:\{{\s*(?P<bottom>{_PLAIN})\s*\}}|(?P<bottom1>\d))"
    rf"|(?P<top2>\d+)[ \t]*/[ \t]*(?P<bottom2>\d+)(?![\d.]*\d)"
    r"|(?P<index>_\s*\{?\s*\d+\s*\}?)"
    rf"|(?P<named>(?<![A-Za-z\\])[A-Za-z](?=\d))(?P<of_name>\d+)"
    rf"|(?P<share>百分之)(?P<of_share>{_PLAIN}|{_CHINESE}+)"
    rf"|(?P<under>\d+|{_CHINESE}+)[ \t]*分之[ \t]*(?P<over>\d+|{_CHINESE}+)"
    rf"|(?P<plain>{_PLAIN})(?:"
    r"[ \t]*(?:\\times|\\cdot|\*)[ \t]*10[ \t]*\^[ \t]*\{?[ \t]*(?P<power>-?\d{1,2})[ \t]*\}?"
    r"|[eE](?P<exponent>[-+]?\d{1,2})(?![A-Za-z\d]))?(?P<after>[ \t]*(?:%|percent\b|per cent\b|hundred\b|thousand\b"
    r"|million\b|billion\b|[百千万亿](?!分)))?"
    rf"|(?P<chinese>{_CHINESE}+)"
    rf"|\b(?P<words>(?:{_NUMBER_WORD}|a(?=[ -](?:{_SCALE_WORD})))"
    rf"(?:(?:[ -]|(?:(?<=hundred)|(?<=thousand))[ ]and[ ])(?:{_NUMBER_WORD}|{_SCALE_WORD})\b)*)"
    r"(?![A-Za-z])(?P<words_percent>[ ]per ?cent\b)?"
    rf"|(?P<spoken>\b(?:{_SPOKEN_WORD})\b|平方|立方|半|双|倍)",
    re.IGNORECASE,
)


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
    for match in _TOKEN.finditer(_clean(text)):
        readings, is_stated = _read(match)
        if readings:
            yield Mention(match.group().strip(), tuple(frozenset(reading) for reading in readings), is_stated)


def _clean(text: str) -> str:
    """Plain digits, no layout, one way to write each operator."""
    for pattern, replacement in _CLEANING:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    text = re.sub("[⁰¹²³⁴-⁹]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀-₉]+", lambda match: "_{" + match.group().translate(_SUBSCRIPTS) + "}", text)
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = unicodedata.normalize("NFKC", text)
    # NFKC knows digits of full width; other scripts' digits (Arabic-Indic, say) have their value too.
    text = re.sub(r"\d", lambda match: str(unicodedata.digit(match.group(), match.group())), text)
    for pattern, replacement in _MARKUP:
        text = re.sub(pattern, replacement, text)
    return text


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
    return [_SPOKEN[found["spoken"].casefold()]], False


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
    if text[0] in _CHINESE_DIGITS or text[0] in _CHINESE_SCALES:
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
        scale = _SCALES.get(after) or _CHINESE_SCALES[after]
        return [{value * scale}, *readings]
    return readings


def _read_chinese(text: str) -> tuple[list[set[Fraction]], bool]:
    """三十五 is stated; a single character (一个, 两边) and characters in a row (一一对应) only support."""
    digits = [Fraction(_CHINESE_DIGITS[c]) for c in text if c in _CHINESE_DIGITS]
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
    if all(c in _CHINESE_DIGITS for c in text):
        return int("".join(str(_CHINESE_DIGITS[c]) for c in text)[:MAX_DIGITS])
    total = section = digit = 0
    for character in text[:MAX_DIGITS]:
        if character in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS[character]
        elif character in "万亿":
            total, section, digit = (total + section + digit or 1) * _CHINESE_SCALES[character], 0, 0
        else:
            section, digit = section + (digit or 1) * _CHINESE_SCALES[character], 0
    return total + section + digit


def _words_value(text: str) -> int:
    """Forty-two is 42, two hundred and five is 205; "two three" is its last word."""
    total = section = 0
    last = 10**12
    for word in re.split("[ -]+", text.casefold()):
        if word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                section = (section or 1) * 100
            else:
                total, section = total + (section or 1) * scale, 0
            last = scale
        elif word in _SMALL_WORDS:
            value = _SMALL_WORDS[word]
            fits = (20 <= last < 100 and value < 10) or last >= 100
            section, last = (section + value if fits else value), value
    return total + section


def missing_numbers(wanted: NumberSet, *given: NumberSet) -> list[str]:
    """Texts of the numbers that `wanted` states and none of `given` knows."""
    together = NumberSet((), _union(numbers.known for numbers in given))
    return [mention.text for mention in wanted.stated if together.lacks(mention)]


def _union(sets: Iterable[frozenset[Fraction]]) -> frozenset[Fraction]:
    return frozenset().union(*sets)
