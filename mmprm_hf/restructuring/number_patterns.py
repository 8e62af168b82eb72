"""How solutions write numbers: cleaning, and one pattern for all numbers and for what only looks like one.

Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from ..answers import CHINESE_DIGITS, CHINESE_SCALES, NUMBER_WORDS, SCALE_WORDS

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
SPOKEN = {
    word: {Fraction(number) for number in numbers.split()}
    for words, numbers in {
        "half halves 半": "1/2 2", "third thirds": "1/3 3", "quarter quarters": "1/4 4", "once single": "1",
        "twice double both pair square squared 平方 双 倍": "2", "cube cubed cubic triple 立方": "3", "dozen": "12",
    }.items()
    for word in words.split()
}  # fmt: skip

_CLEANING = (
    # Layout and pictures: their numbers are not the solution's.
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
_CHINESE = f"[{''.join([*CHINESE_DIGITS, *CHINESE_SCALES])}]"
_NUMBER_WORD = "|".join(NUMBER_WORDS)
_SCALE_WORD = "|".join(SCALE_WORDS)
_SPOKEN_WORD = "|".join(word for word in SPOKEN if word.isascii())
TOKEN = re.compile(
    # Labels, which are passed over.
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
    """Return a text with plain digits, without layout, each operator written in one way."""
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
