r"""Answer text without markup, as the readers of values expect it.

Cleaning removes boxes, delimiters and lead-ins and writes each symbol in one way. It never changes a value: signs,
relations, names and their order stay. Standard library only.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from .numerals import chinese_to_symbols
from .vocabulary import CHARACTERS, MACRO_SYNONYMS

_MACRO = (
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mathcal|boldsymbol|operatorname|mbox|hbox)"
)
_BLANK = r"(?<!\\)\\(?:[,;:!> ]|q?quad\b|(?:left|right|displaystyle|limits|bf|rm|it|big|Big|bigl|bigr|Bigl|Bigr)\b)|~"
_CURRENCY = r"(?P<symbol>\\\$|[€£¥₹₩₽])"
_AMOUNT = re.compile(
    rf"(?P<sign>-?)\s*{_CURRENCY}\s*(?P<amount>-?\d[\d,]*(?:\.\d+)?(?: (?:thousand|million|billion|trillion))?)"
    r"(?=$|[\s.;$}*)/?!]|,(?![\d\\])|\\[\])])(?! *(?:(?!per\b|and\b|or\b|an?\b)[a-z]|\\frac))"
)
_WHOLE_AMOUNT = re.compile(rf"(?P<sign>-?)\s*{_CURRENCY}\s*(?P<amount>(?:[^A-Za-z$€£¥₹₩₽]|\\(?!\$)[A-Za-z]*)+)")
_FRACTIONS = "¼-¾⅐-⅞"
_REPLACEMENTS = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"\x0c(?=[A-Za-z])", r"\\f"),  # \frac and \boxed that went through a reader of escapes
        (r"\x08(?=[A-Za-z])", r"\\b"),
        (r"<\|[^<>|]*\|>|<\|[^<>|]*\|?$", " "),  # marks of a chat template
        (rf"{_MACRO}\s*\*?\s*\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}", r" \1 "),
        (rf"{_MACRO} ?([A-Za-z0-9])(?![A-Za-z])", r" \1 "),  # \mathrm e
        (r"(?<![A-Za-z0-9_)}\]*])\*\*(?=[^\s*])(.+?)(?<=[^\s*])\*\*", r" \1 "),  # bold; other ** are powers
        (r"(?<![\w)}\]])__(?=\S)(.+?)(?<=\S)__(?!\w)|`", r" \1 "),
        (r"(?<=[\w)}\]]) ?\*\* ?(?=[\w(+-])", "^"),
        (r"\*\*", " "),
        (r"\\right\s*\.", " "),
        (r"(?<=\d),\s*\\!\s*(?=\d{3}(?!\d))", ","),  # 1,\!000
        (r"(?<=\d)\\[,!] ?(?=\d{3}(?!\d))", ""),  # 1\,000
        (r"\$|(?<!\\)\\[()\[\]]", " "),
        (r"^\s*~\s*(?=\d)", r"\\sim "),
        (_BLANK, " "),
        (r"\\%", "%"),
        (r"(?<!\\)\\([{}_&#])", r"\1"),
        (r"(?<=[\d}])\{((?:square ?|cubic ?)?(?:[cdkm]?m|[a-z]{4,}))\}", r" \1 "),  # 18{cm}
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?\b", " degrees "),
        (r"\{,\}", ","),
        (r"(?<![\w.])(0[xX][\dA-Fa-f]+)(?!\w)", r" \1 "),
        (r"(?<!\b0)(?<=\d) ?[xX] ?(?=\d)|(?<=\d) [xX] (?=\d)", r"\\times "),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"!=", r"\\ne "),
        (r"\.{3,}", r"\\dots "),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"\\sqrt\s*(\d+(?:\.\d+)?)(?![\d.])", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])sqrt(?![A-Za-z])", r"\\sqrt"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\(\s*\\?mod\b\s*([^()]*)\)|\\mod\s*\{([^{}]*)\}|(?<![A-Za-z\\])mod(?![A-Za-z])", r"\\mod \1\2"),
        (r"\s+", " "),
        (r"^\{ ?(\w \\in \\mathbb ?\{\w\}) ?[:|]", r"{\1 |"),
    )
)
_LEAD_IN = re.compile(
    r"(?:\b(?<!wrong )(?<!incorrect )(?:final |correct |right )?(?:answer|result|solution)\s*(?:is|are|:|=|would be)"
    r"|答案\s*[是为:]?|故选|(?<!不)选(?!项)择?)\s*:?\s*",
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
    text = re.sub(r"\x08oxed\b", r"\\boxed", text)
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z]{2}|[()\[\]{}])", r"\\", text)  # escaped twice
    text = _CLOSING_WORDS.sub("", text if text.isascii() else _to_ascii(text))
    text = re.sub(r"\\\\|\\([A-Za-z]+)", lambda macro: MACRO_SYNONYMS.get(macro.group(1), macro.group()), text)
    is_formula_last = bool(re.search(r"[$)\]}][.,;\s]*$", text))
    text = ", ".join(closed_boxes(text)) or text
    text += "}" * num_open_braces(text)  # a formula that is cut off is read as far as it goes
    text = _with_currency_behind(text)
    for _ in range(2):  # macros may be nested once: \text{\textbf{C}}
        for pattern, replacement in _REPLACEMENTS:
            text = pattern.sub(replacement, text)
    text = chinese_to_symbols(text)
    lead_ins = list(_LEAD_IN.finditer(text))
    has_lead_in = bool(lead_ins) and bool(text[lead_ins[-1].end() :].strip(" ."))
    if has_lead_in:
        text = text[lead_ins[-1].end() :]
    text = re.sub(r"^(?:=|\\approx(?![A-Za-z]))\s*(?=.*\w)", "", _CONJUNCTION.sub("", text.strip()))
    text = text.rstrip(".,;\\").strip()
    ends_a_sentence = (has_lead_in and not is_formula_last) or re.search(r"[A-Za-z]{2}!$", text)
    if ends_a_sentence or not re.search(r"[\d)}A-Za-z]!!?$", text):
        text = text.rstrip("!.,; ") or text  # "5!" alone is a factorial, "The answer is 5!" is not
    return text


def _to_ascii(text: str) -> str:
    """The text with symbols as macros, raised and lowered characters as powers and indices, wide ones as plain."""
    text = re.sub(rf"(?<=[\dA-Za-z])(?=[{_FRACTIONS}])", " ", text).translate(CHARACTERS)
    pieces: list[str] = []
    kind = ""
    for character in text:
        decomposition = "" if character.isascii() else unicodedata.decomposition(character)
        new_kind = {"<super>": "^", "<sub>": "_"}.get(decomposition.partition(" ")[0], "")
        if new_kind != kind:
            pieces.append(("}" if kind else "") + (f"{new_kind}{{" if new_kind else ""))
            kind = new_kind
        pieces.append(character if decomposition.startswith("<circle>") else unicodedata.normalize("NFKC", character))
    text = "".join(pieces) + ("}" if kind else "")
    return text.replace("\u2044", "/").replace("\u2212", "-")


def _with_currency_behind(text: str) -> str:
    r"""The text with amounts as numbers and their units: ``\$5`` is 5 dollars, €5 is 5 €."""
    if len(re.findall(r"(?<!\\)\$", text)) == 1:
        text = re.sub(r"(?<![\w\\}])\$(?=-?[\d.])", r"\\$", text)  # one alone is no mark of a formula

    def unit(match: re.Match[str]) -> str:
        symbol = match.group("symbol").replace("\\$", "dollars")
        return f"{match.group('sign')}{match.group('amount').strip()} {symbol} "

    text = _AMOUNT.sub(unit, text)
    text = re.sub(r"(?<=\d) ?\\\$", " dollars ", text)
    whole = _WHOLE_AMOUNT.fullmatch(text.strip())
    return unit(whole) if whole else text.replace("\\$", " ")


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
        end = _closing_braces(text, escape).get(start - 1)
        if end is not None:
            return text[start:end]
    return None


@functools.lru_cache(maxsize=32)
def _closing_braces(text: str, escape: str) -> dict[int, int]:
    """Where each opening brace is closed, for all braces in one pass."""
    closings: dict[int, int] = {}
    opened: list[int] = []
    for match in re.finditer(r"[{}]", text):
        index = match.start()
        if match.group() == "{":
            opened.append(index)  # of a box or a group, whatever stands before it
        elif opened and (not escape or text[index - 1 : index] != escape):
            closings[opened.pop()] = index
    return closings


def num_open_braces(text: str) -> int:
    """Return how many braces of groups (not of sets, ``\\{``) a text opens and does not close."""
    return len(re.findall(r"(?<!\\)\{", text)) - len(re.findall(r"(?<!\\)\}", text))
