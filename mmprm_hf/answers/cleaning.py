r"""Answer text without markup, as the readers of values expect it.

Cleaning removes boxes, delimiters and lead-ins and writes each symbol in one way. It never changes a value: signs,
relations, names and their order stay. Standard library only.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from .numerals import chinese_to_symbols

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_MACRO = (
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mathcal|boldsymbol|operatorname|mbox|hbox)"
)
_BLANK = r"(?<!\\)\\(?:[,;:!> ]|q?quad\b|(?:left|right|displaystyle|limits|bf|rm|it|big|Big|bigl|bigr|Bigl|Bigr)\b)|~"
_REPLACEMENTS = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"\x0c(?=[A-Za-z])", r"\\f"),  # \frac and \boxed that went through a reader of escapes
        (r"\x08(?=[A-Za-z])", r"\\b"),
        (r"<\|[^<>|]*\|>|<\|[^<>|]*\|?$", " "),  # marks of a chat template
        (rf"{_MACRO}\s*\*?\s*\{{([^{{}}]*)\}}", r" \1 "),
        (rf"{_MACRO} ?([A-Za-z0-9])(?![A-Za-z])", r" \1 "),  # \mathrm e
        (r"(?<![A-Za-z0-9_)}\]*])\*\*(?=[^\s*])(.+?)(?<=[^\s*])\*\*", r" \1 "),  # bold; other ** are powers
        (r"(?<![\w)}\]])__(?=\S)(.+?)(?<=\S)__(?!\w)|`", r" \1 "),
        (r"\*\*(?=$|[\s.,;])", " "),
        (r"(?<=[\w)}\]]) ?\*\* ?(?=[\w(+-])", "^"),
        (r"\*\*", " "),
        (r"\\right\s*\.", " "),
        (r"(?<=\d),\s*\\[,!]\s*(?=\d{3}(?!\d))", ","),  # 1,\!000
        (r"(?<=\d)\\[,!] ?(?=\d{3}(?!\d))", ""),  # 1\,000
        (r"\\\$\s*(\d[\d,.]*\d|\d)(?=$|[\s.,;$}*)]|\\[\])])(?! *(?:[a-z]|\\frac))", r"\1 dollars "),
        (r"\\\$|\$|(?<!\\)\\[()\[\]]", " "),
        (_BLANK, " "),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\(?:text)?(?:dollar|euro|sterling|yen|pounds)(?![A-Za-z])", " "),
        (r"\{,\}", ","),
        (r"\\%", "%"),
        (r"(?<!\\)\\([{}_&#])", r"\1"),
        (r"(?<=[\d}])\{((?:square ?|cubic ?)?(?:[cdkm]?m|[a-z]{4,}))\}", r" \1 "),  # 18{cm}
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?\b|°", " degrees "),
        (r"\\colon\b|∶", ":"),
        (r"[−–—‐‑]", "-"),
        (r"[′’]", "'"),
        (r"[•·∙⋅∗]", r"\\cdot "),
        (r"÷", r"\\div "),
        (r"×|(?<=\d) ?[xX] ?(?=\d)", r"\\times "),
        (r"≤|⩽|<=|\\leq?(?:slant)?(?![A-Za-z])", r"\\le "),
        (r"≥|⩾|>=|\\geq?(?:slant)?(?![A-Za-z])", r"\\ge "),
        (r"≠|!=|\\neq?(?![A-Za-z])", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"∞", r"\\infty "),
        (r"∪", r"\\cup "),
        (r"∈", r"\\in "),
        (r"±", r"\\pm "),
        (r"≈|≒", r"\\approx "),
        (r"∅|\\varnothing(?![A-Za-z])", r"\\emptyset "),
        (r"^\(\d\) +(?!and\b|or\b|[-(,&+*/=])(?=\S)", ""),
        (r"π|(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"√\s*(\d+)", r"\\sqrt{\1}"),
        (r"√|(?<![A-Za-z\\])sqrt(?![A-Za-z])", r"\\sqrt"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"[【】「」]", " "),
        (r"\s+", " "),
    )
)
_LEAD_IN = re.compile(
    r"(?:\b(?:final |correct |right )?(?:answer|result|solution)\s*(?:is|are|:|=|would be)|答案\s*[是为:]?|故选"
    r"|选(?!项)择?)\s*:?\s*",
    re.IGNORECASE,
)
_CONJUNCTION = re.compile(r"^(?:so|thus|hence|therefore),? (?=[^a-z]*[\d\\=])", re.IGNORECASE)
_CLOSING_WORDS = re.compile(r"(?<=[\d)}\].$])\s*I hope (?:it|this) is correct\.?\s*$", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
MAX_CHARS_BETWEEN_BOXES = 60


@functools.lru_cache(maxsize=65536)
def clean_answer(text: str) -> str:
    r"""Return an answer without boxes, math delimiters, text macros, lead-ins and closing punctuation.

    Several boxes in one sentence are a list of answers; else the last box is the answer.

    Example:
        >>> clean_answer("The answer is $\\boxed{5\\text{ cm}}$."), clean_answer("**3\\dfrac12**")
        ('5 cm', '3\\frac12')
        >>> clean_answer("\\boxed{3} and \\boxed{4}"), clean_answer("2**3")
        ('3, 4', '2^3')
    """
    text = re.sub(r"[⁺⁻]?[⁰¹²³⁴-⁹]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"\x08oxed\b", r"\\boxed", text)
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z]{2}|[()\[\]{}])", r"\\", text)  # escaped twice
    text = unicodedata.normalize("NFKC", text.replace("°", r"\degree ").replace("′", "'")).replace("\u2044", "/")
    text = _CLOSING_WORDS.sub("", text.replace("。", "."))
    is_formula_last = bool(re.search(r"[$)\]}][.,;\s]*$", text))
    text = ", ".join(closed_boxes(text)) or text
    text += "}" * num_open_braces(text)  # a formula that is cut off is read as far as it goes
    for _ in range(2):  # macros may be nested once: \text{\textbf{C}}
        for pattern, replacement in _REPLACEMENTS:
            text = pattern.sub(replacement, text)
    text = chinese_to_symbols(text)
    lead_ins = list(_LEAD_IN.finditer(text))
    has_lead_in = bool(lead_ins) and bool(text[lead_ins[-1].end() :].strip(" ."))
    if has_lead_in:
        text = text[lead_ins[-1].end() :]
    text = (
        re.sub(r"^(?:=|\\approx(?![A-Za-z]))\s*(?=.*\w)", "", _CONJUNCTION.sub("", text.strip()))
        .rstrip(".,;\\")
        .strip()
    )
    if (
        (has_lead_in and not is_formula_last)
        or not re.search(r"[\d)}A-Za-z]!$", text)
        or re.search(r"[A-Za-z]{2}!$", text)
    ):
        text = text.rstrip("!.,; ")  # "5!" alone is a factorial, "The answer is 5!" is not
    return text


def closed_boxes(text: str) -> list[str]:
    r"""Return the contents of the last ``\boxed{...}`` and of those before it in its sentence.

    Example:
        >>> closed_boxes("\\boxed{3} or \\boxed{4}"), closed_boxes("\\boxed{3}. No, it is \\boxed{4}.")
        (['3', '4'], ['4'])
    """
    contents: list[str] = []
    end = 0
    for box in _BOX.finditer(text):
        content = text_to_closing_brace(text, box.end())
        if box.start() < end or content is None:
            continue  # inside the box before it, or cut off
        if not _is_joint(text[end : box.start()]):
            contents.clear()
        contents.append(content)
        end = box.end() + len(content) + 1
    return contents


def _is_joint(between: str) -> bool:
    """Whether the text between two boxes may stand inside one sentence that names both."""
    is_short = len(between) <= MAX_CHARS_BETWEEN_BOXES
    text = re.sub(r"\\[A-Za-z]+|[A-Za-z]\w*(?:\([a-z]\))?\s*=\s*$", " ", between)  # and y_2 = \boxed{...}
    return is_short and not re.search(
        r"[.!?。:]\s|\n\s*\n|</|[-+*/=<>\d]|\b(?:wait|no|not|so|then|but|thus)\b", text, re.IGNORECASE
    )


def text_to_closing_brace(text: str, start: int) -> str | None:
    """Return the text from `start`, just behind an opening brace, to the brace that closes it; None if none does."""
    for escape in ("\\", ""):  # the brace of a set is no brace, unless no other closes
        depth = 1
        for index in range(start, len(text)):
            if text[index] in "{}" and text[index - 1] != escape:
                depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return text[start:index]
    return None


def num_open_braces(text: str) -> int:
    """Return how many braces of groups (not of sets, ``\\{``) a text opens and does not close."""
    return len(re.findall(r"(?<!\\)\{", text)) - len(re.findall(r"(?<!\\)\}", text))
