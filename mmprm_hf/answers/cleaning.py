r"""Answer text without markup, as the readers of values expect it.

Cleaning removes boxes, delimiters and lead-ins and writes each symbol in one way; it decides nothing. Standard library
only.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from .numerals import chinese_to_symbols

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_REPLACEMENTS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\x0c(?=[A-Za-z])", r"\\f"),  # \frac and \boxed that went through a reader of escapes
        (r"\x08(?=[A-Za-z])", r"\\b"),
        (
            r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|hbox)\s*\{([^{}]*)\}",
            r" \1 ",
        ),
        (r"\\\$|\$|\\[()\[\]]", " "),
        (r"(?<=\d)\\[,!](?=\d{3}(?!\d))", ""),  # 1\,000
        (r"\\[,;:!> ]|~|\\q?quad\b|\\(?:left|right|displaystyle|bf|rm|it)\b", " "),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\{,\}", ","),
        (r"\\%", "%"),
        (r"\\([{}])", r"\1"),
        (r"(?<=[\d}])\{((?:square ?|cubic ?)?(?:[cdkm]?m|[a-z]{4,}))\}", r" \1 "),  # 18{cm}
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?\b|\\circ\b|°", " degrees "),
        (r"\\colon\b|∶", ":"),
        (r"[−–—]", "-"),
        (r"×|(?<=\d) ?[xX] ?(?=\d)", r"\\times "),
        (r"≤|⩽|<=|\\leq?(?:slant)?(?![A-Za-z])", r"\\le "),
        (r"≥|⩾|>=|\\geq?(?:slant)?(?![A-Za-z])", r"\\ge "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"∞", r"\\infty "),
        (r"∪", r"\\cup "),
        (r"∈", r"\\in "),
        (r"±", r"\\pm "),
        (r"≈", r"\\approx "),
        (r"∅|\\varnothing(?![A-Za-z])", r"\\emptyset "),
        (r"^\(\d\) +(?=\S)", ""),
        (r"π|(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"√\s*(\d+)", r"\\sqrt{\1}"),
        (r"√|(?<![A-Za-z\\])sqrt(?![A-Za-z])", r"\\sqrt"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\*\*|__|`", ""),
        (r"[【】「」]", " "),
        (r"\s+", " "),
    )
)
_LEAD_IN = re.compile(
    r"(?:\b(?:final |correct |right )?(?:answer|result|solution)\s*(?:is|are|:|=|would be)|答案\s*[是为:]?|故选"
    r"|选(?!项)择?)\s*:?\s*",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=65536)
def clean_answer(text: str) -> str:
    r"""Return an answer without boxes, math delimiters, text macros, lead-ins and closing punctuation.

    Example:
        >>> clean_answer("The answer is $\\boxed{5\\text{ cm}}$."), clean_answer("**3\\dfrac12**")
        ('5 cm', '3\\frac12')
    """
    text = re.sub(r"[⁰¹²³⁴-⁹]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"\x08oxed\b", r"\\boxed", text)
    text = unicodedata.normalize("NFKC", text.replace("°", r"\degree ")).replace("\u2044", "/").replace("。", ".")
    text = _last_box(text)
    text += "}" * (text.count("{") - text.count("}"))  # a formula that is cut off is read as far as it goes
    for _ in range(2):  # macros may be nested once: \text{\textbf{C}}
        for pattern, replacement in _REPLACEMENTS:
            text = pattern.sub(replacement, text)
    text = chinese_to_symbols(text)
    lead_ins = list(_LEAD_IN.finditer(text))
    has_lead_in = bool(lead_ins) and bool(text[lead_ins[-1].end() :].strip(" ."))
    if has_lead_in:
        text = text[lead_ins[-1].end() :]
    text = text.strip().rstrip(".,;").strip()
    if has_lead_in or not re.search(r"[\d)}]!$", text):
        text = text.rstrip("!.,; ")  # "5!" alone is a factorial, "The answer is 5!" is not
    return text


def _last_box(text: str) -> str:
    r"""Content of the last ``\boxed{...}``; the text itself if there is none, or it is not closed."""
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    content = text_to_closing_brace(text, text.index("{", start) + 1) if start >= 0 else None
    return text if content is None else content


def text_to_closing_brace(text: str, start: int) -> str | None:
    """Return the text from `start`, just behind an opening brace, to the brace that closes it; None if none does."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return None
