"""Numbers written as words, in English and Chinese, as digits; units written in Chinese as their symbols.

Only a text that begins with a number word, and is read whole, is changed: "one of them" stays. Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
}  # fmt: skip
_HAN_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_HAN_NUMBER = "[零〇一二两三四五六七八九十百千万亿]{1,12}"
_HAN_UNITS = {
    "厘米": "cm", "公分": "cm", "毫米": "mm", "分米": "dm", "千米": "km", "公里": "km", "米": "m", "千克": "kg",
    "公斤": "kg", "克": "g", "毫升": "ml", "升": "l", "小时": "h", "分钟": "min", "秒": "s", "天": "day",
    "度": "degrees", "英尺": "ft", "英寸": "in", "元": "yuan",
}  # fmt: skip
_HAN_UNIT = "|".join(_HAN_UNITS)
_HAN_QUANTITY = re.compile(
    rf"(?<=[\d)}}])\s*(平方|立方)?({_HAN_UNIT})(?:(?:/|每)({_HAN_UNIT}))?(?![\u4e00-\u9fff])|"
    rf"(?<=[\d)}}])\s*({_HAN_UNIT})(?=\d)"
)


def digits_of_words(text: str) -> str:
    """Return `text` with the number words that it begins with as digits; unchanged if it does not begin with any.

    Example:
        >>> digits_of_words("twenty-one apples"), digits_of_words("two thirds"), digits_of_words("三分之二")
        ('21 apples', '2/3', '2/3')
    """
    if text[:1].isascii():
        return _english(text) if text[:1].isalpha() else text
    return _chinese(text)


def symbols_of_chinese(text: str) -> str:
    """Return `text` with Chinese units behind numbers as symbols, large-number marks as powers and "比" as ":".

    Example:
        >>> symbols_of_chinese("5平方厘米"), symbols_of_chinese("3比4"), symbols_of_chinese("1和2")
        ('5 square cm', '3:4', '1 and 2')
    """
    if text.isascii():
        return text

    def symbol(match: re.Match[str]) -> str:
        power, unit, per, inner = match.groups()
        name = {"平方": "square ", "立方": "cubic ", None: ""}[power] + _HAN_UNITS[unit or inner]
        return f" {name}/{_HAN_UNITS[per]}" if per else f" {name} "

    text = re.sub(
        r"(\d{1,12}(?:\.\d{1,12})?)\s*([万亿])", lambda match: str(Fraction(match[1]) * _HAN_SCALES[match[2]]), text
    )
    text = _HAN_QUANTITY.sub(symbol, text)
    text = re.sub(r"(?<=[\d)])\s*[比∶]\s*(?=\d)", ":", text)
    text = re.sub(r"(?<=[\d)}\]])\s*[和与及]\s*(?=[-\d(\\])", " and ", text)
    return re.sub(r"(?<=[\d)}\]])\s*或者?\s*(?=[-\d(\\A-Za-z])", " or ", text).strip()


def _english(text: str) -> str:
    words = text.casefold().replace("-", " ").split(" ")[:12]
    total, current, used, tens_open = 0, 0, 0, False
    for index, word in enumerate(words):
        if word in _ONES and (current % 100 == 0 or (tens_open and 0 < _ONES[word] < 10)):
            current, tens_open, used = current + _ONES[word], False, index + 1
        elif word in _TENS and current % 100 == 0:
            current, tens_open, used = current + _TENS[word], True, index + 1
        elif word in _SCALES and used == index and index:
            scale, tens_open, used = _SCALES[word], False, index + 1
            total, current = (total, current * scale) if scale == 100 else (total + current * scale, 0)
        elif not (word == "and" and used == index and index and words[index - 1] in _SCALES):
            break
    whole, rest = Fraction(total + current), words[used:]
    if not used:
        return _fraction_of(rest, text)
    if rest and rest[0] in (*_ONES, *_TENS, *_SCALES):
        return text  # "two three" is no number
    if rest[:1] == ["and"] and (rest[1:2] in (["a"], ["one"])) and rest[2:3] and rest[2].rstrip("s") in _PARTS:
        return _joined(whole + Fraction(1, _PARTS[rest[2].rstrip("s")]), rest[3:])  # one and a half
    if rest and (rest[0] in _PARTS or rest[0].rstrip("s") in _PARTS) and rest[0] != "second":
        return _joined(whole / _PARTS.get(rest[0], _PARTS.get(rest[0].rstrip("s"), 1)), rest[1:])  # two thirds
    return _joined(whole, rest)


def _fraction_of(words: list[str], text: str) -> str:
    """ "half", "a half", "a quarter"; other texts unchanged."""
    rest = words[1:] if words[0] in ("a", "an") else words
    if rest and rest[0] in ("half", "quarter", "third") and (len(words) == len(rest) + 1 or len(words) == 1):
        return _joined(Fraction(1, _PARTS[rest[0]]), rest[1:])
    return text


def _joined(value: Fraction, rest: list[str]) -> str:
    return " ".join([str(value), *rest])


def _chinese(text: str) -> str:
    if text == "一半":
        return "1/2"
    parts = re.fullmatch(rf"(?:({_HAN_NUMBER})又)?({_HAN_NUMBER})分之({_HAN_NUMBER})", text)
    if parts:
        whole, below, above = (_han_value(part) if part else 0 for part in parts.groups())
        below = 100 if parts.group(2) == "百" else below
        if None in (whole, below, above) or not below:
            return text
        if below == 100 and not whole:
            return f"{above} percent"
        return str(whole + Fraction(above, below))
    number = re.match(_HAN_NUMBER, text)
    value = _han_value(number.group()) if number else None
    return text if value is None else symbols_of_chinese(f"{value}{text[number.end() :]}")


def _han_value(text: str) -> int | None:
    """The value of a numeral (三十二, 一百零五, 二〇二四); None if it is not well formed."""
    if all(character in _HAN_DIGITS for character in text):
        if "两" in text and len(text) > 1:
            return None
        return int("".join(str(_HAN_DIGITS[character]) for character in text))
    if text[0] not in _HAN_DIGITS and text[0] != "十":
        return None
    total, section, digit = 0, 0, None
    for character in text:
        if character in _HAN_DIGITS:
            if digit:
                return None
            digit = _HAN_DIGITS[character]
        elif _HAN_SCALES[character] < 10**4:
            section += (1 if digit is None else digit) * _HAN_SCALES[character]
            digit = None
        else:
            total, section, digit = (total + section + (digit or 0)) * _HAN_SCALES[character], 0, None
    return total + section + (digit or 0)
