"""How numbers are written: cleaning, and one pattern for all of them and for what only looks like one.

Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
CHINESE_DIGITS = dict(zip("〇零一二三四五六七八九两", (0, *range(10), 2), strict=True))
CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
SMALL_WORDS = {
    word: int(number)
    for number, word in re.findall(
        r"(\d+) (\w+)",
        "0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven 12 twelve 13 thirteen "
        "14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen 20 twenty 30 thirty 40 forty 50 fifty "
        "60 sixty 70 seventy 80 eighty 90 ninety",
    )
}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
SPOKEN = {
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
_NUMBER_WORD = "|".join(SMALL_WORDS)
_SCALE_WORD = "|".join(SCALES)
_SPOKEN_WORD = "|".join(word for word in SPOKEN if word.isascii())
TOKEN = re.compile(
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


def clean_text(text: str) -> str:
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
