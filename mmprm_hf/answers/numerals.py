"""Numbers written as words, in English and Chinese, as values and as digits; Chinese units as their symbols.

The one reader of number words: verdicts and the checks of `restructuring` use the same. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

_TEENS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = dict(zip(_TEENS.split(), range(20), strict=True)) | dict(
    zip(_TENS.split(), range(20, 100, 10), strict=True)
)
SCALE_WORDS = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
CHINESE_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_ORDINALS = (
    "fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
)
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "hundredth": 100, "thousandth": 1000} | dict(
    zip(_ORDINALS.split(), range(4, 21), strict=True)
)
"""Words of fractions in the singular, and their denominators."""
MAX_WORDS = 60
"""A text of more words is not a number with its unit."""
_CHINESE_NUMBER = "[零〇一二两三四五六七八九十百千万亿]{1,24}"
_CHINESE_UNITS = {
    "厘米": "cm", "公分": "cm", "毫米": "mm", "分米": "dm", "千米": "km", "公里": "km", "米": "m", "千克": "kg",
    "公斤": "kg", "克": "g", "毫升": "ml", "升": "l", "小时": "h", "分钟": "min", "秒": "s", "天": "day",
    "度": "degrees", "英尺": "ft", "英寸": "in", "元": "yuan",
}  # fmt: skip
_CHINESE_UNIT = "|".join(_CHINESE_UNITS)
_CHINESE_QUANTITY = re.compile(
    rf"(?<=[\d)}}])\s*(平方|立方)?({_CHINESE_UNIT})(?:(?:/|每)({_CHINESE_UNIT}))?(?![\u4e00-\u9fff])|"
    rf"(?<=[\d)}}])\s*({_CHINESE_UNIT})(?=\d)"
)


def read_number_words(words: Sequence[str]) -> tuple[int, int]:
    """Return the number that English words begin with, and how many words it takes; ``(0, 0)`` if there is none.

    Args:
        words: In lower case, without hyphens.

    Example:
        >>> read_number_words(["two", "hundred", "and", "five", "apples"]), read_number_words(["two", "three"])
        ((205, 4), (2, 1))
    """
    groups: list[tuple[int, int]] = []  # (value, scale); a scale multiplies all smaller ones before it
    section = num_words = 0
    previous = ""
    for index, word in enumerate(words):
        small, is_next = NUMBER_WORDS.get(word), num_words == index > 0
        if small is not None and (section % 100 == 0 or (NUMBER_WORDS.get(previous, 0) >= 20 and 0 < small < 10)):
            section += small
        elif is_next and word == "hundred":
            section *= 100
        elif is_next and word in SCALE_WORDS:
            _multiply_by_scale(groups, section, SCALE_WORDS[word])
            section = 0
        elif is_next and word == "and" and previous in SCALE_WORDS:
            previous = word
            continue
        else:
            break
        num_words, previous = index + 1, word
    return sum(value for value, _ in groups) + section, num_words


def _multiply_by_scale(groups: list[tuple[int, int]], section: int, scale: int, least: int = 0) -> None:
    """Close the section with a scale, which also multiplies the smaller scales before it: one thousand million."""
    while groups and groups[-1][1] < scale:
        section += groups.pop()[0]
    groups.append(((section or least) * scale, scale))


def chinese_value(numeral: str) -> int:
    """Return the value of a Chinese numeral; a scale without a digit before it counts once (十 is 10).

    Args:
        numeral: One character or more of `CHINESE_DIGITS` and `CHINESE_SCALES`.

    Example:
        >>> chinese_value("三百零五"), chinese_value("二〇二五"), chinese_value("十二万")
        (305, 2025, 120000)
    """
    if all(character in CHINESE_DIGITS for character in numeral):
        return int("".join(str(CHINESE_DIGITS[character]) for character in numeral))
    groups: list[tuple[int, int]] = []
    section = digit = 0
    least = 0 if numeral[0] in "零〇" else 1  # 万 alone is 10,000, 零万 is nothing
    for character in numeral:
        scale = CHINESE_SCALES.get(character)
        if scale is None:
            digit = CHINESE_DIGITS[character]
        elif scale < 10**4:
            section, digit = section + (digit or 1) * scale, 0
        else:
            _multiply_by_scale(groups, section + digit, scale, least)
            section, digit = 0, 0
    return sum(value for value, _ in groups) + section + digit


def words_to_digits(text: str) -> str:
    """Return `text` with the number words that it begins with as digits; unchanged if it is not read whole.

    Example:
        >>> words_to_digits("twenty-one apples"), words_to_digits("two thirds"), words_to_digits("三分之二")
        ('21 apples', '2/3', '2/3')
    """
    if text[:1].isascii():
        return _english_to_digits(text) if text[:1].isalpha() else text
    return _chinese_to_digits(text)


def chinese_to_symbols(text: str) -> str:
    """Return `text` with Chinese units behind numbers as symbols, large-number marks as digits and "比" as ":".

    Example:
        >>> chinese_to_symbols("5平方厘米"), chinese_to_symbols("3比4"), chinese_to_symbols("1和2")
        ('5 square cm', '3:4', '1 and 2')
    """
    if text.isascii():
        return text

    def symbol(match: re.Match[str]) -> str:
        power, unit, per, inner = match.groups()
        name = {"平方": "square ", "立方": "cubic ", None: ""}[power] + _CHINESE_UNITS[unit or inner]
        return f" {name}/{_CHINESE_UNITS[per]}" if per else f" {name} "

    text = re.sub(
        r"(\d{1,12}(?:\.\d{1,12})?)\s*([万亿])", lambda match: str(Fraction(match[1]) * CHINESE_SCALES[match[2]]), text
    )
    text = _CHINESE_QUANTITY.sub(symbol, text)
    text = re.sub(r"(?<=[\d)])\s*[比∶]\s*(?=\d)", ":", text)
    text = re.sub(r"(?<=[\d)}\]])\s*[和与及]\s*(?=[-\d(\\])", " and ", text)
    text = re.sub(r"(?<=[\d)}\]A-Za-z])\s*[且]\s*(?=[-\d(\\A-Za-z])", " and ", text)
    return re.sub(r"(?<=[\d)}\]])\s*或者?\s*(?=[-\d(\\A-Za-z])", " or ", text).strip()


def _english_to_digits(text: str) -> str:
    originals = re.sub("(?<=[A-Za-z])-(?=[A-Za-z])", " ", text).split(" ")
    if len(originals) > MAX_WORDS:
        return text
    words = [word.casefold() for word in originals]
    number, num_words = read_number_words(words)
    match words[num_words:]:
        case ["half" | "quarter" as part] if not num_words:
            return str(Fraction(1, PARTS[part]))
        case ["half", "a", "dozen", *rest] if not num_words:
            value = 6
        case ["a" | "an", "half" | "third" | "quarter" as part, *rest] if not num_words:
            value = Fraction(1, PARTS[part])
        case ["a", "dozen", *rest] if not num_words:
            value = 12
        case [word, *_] if not num_words or word in NUMBER_WORDS or word in SCALE_WORDS:
            return text  # no number, or "two three", which is not one either
        case ["and", "a" | "one", part, *rest] if part.rstrip("s") in PARTS:  # one and a half
            value = number + Fraction(1, PARTS[part.rstrip("s")])
        case [part, *rest] if part.rstrip("s") in PARTS:  # two thirds
            value = Fraction(number, PARTS[part.rstrip("s")])
        case rest:
            value = number
    return " ".join([str(value), *originals[len(originals) - len(rest) :]])


def _chinese_to_digits(text: str) -> str:
    if text == "一半":
        return "1/2"
    fraction = re.fullmatch(rf"(?:({_CHINESE_NUMBER})又)?({_CHINESE_NUMBER})分之({_CHINESE_NUMBER})", text)
    if fraction:
        whole, below, above = (_well_formed_value(part) if part else 0 for part in fraction.groups())
        below = 100 if fraction.group(2) == "百" else below
        if None in (whole, below, above) or not below:
            return text
        if below == 100 and not whole:
            return f"{above} percent"
        return str(whole + Fraction(above, below))
    number = re.match(_CHINESE_NUMBER, text)
    value = _well_formed_value(number.group()) if number else None
    return text if value is None else chinese_to_symbols(f"{value}{text[number.end() :]}")


def _well_formed_value(numeral: str) -> int | None:
    """The value of a numeral; None if it is not well formed (两三, 百五, 三五十)."""
    if all(character in CHINESE_DIGITS for character in numeral):
        is_well_formed = numeral == "两" or "两" not in numeral
    else:
        begins_well = numeral[0] in CHINESE_DIGITS or numeral[0] == "十"
        is_well_formed = begins_well and not re.search("[一二两三四五六七八九][零〇一二两三四五六七八九]", numeral)
    return chinese_value(numeral) if is_well_formed else None
