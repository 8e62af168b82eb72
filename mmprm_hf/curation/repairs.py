r"""What can be repaired in a raw problem without guessing; every repair has a name and is counted.

LaTeX that was escaped once too often has lost its backslashes (``\frac`` became a form feed and "rac"). They are
restored where what is left is not a word; after tabs and line breaks, which texts have too, otherwise only in formulas.
Answers come wrapped in ``$$``; figures are marked in the text as ``<image1>``.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import string
from typing import Any

from ..models import PLACEHOLDER
from .records import RawProblem

REPAIRS = {
    "control_characters": "a backslash that had become a control character was restored, or the character taken out",
    "invisible_characters": "byte order marks, zero-width and no-break spaces",
    "line_breaks": "line breaks written as backslash and n; spaces at line ends; more than one blank line",
    "placeholder_removed": "the place of the one figure (`<image1>`) was taken out of the text",
    "placeholders_named": "places of several figures became (image 1), (image 2): the names drawn in a composite "
    "figure, or the reading order",
    "stray_dollar": "an escaped dollar sign at the end of an option",
    "options_extracted": "choices that stood in the question became options",
    "option_letters": "options that are mere letters, as (A) or A), became A",
    "answer_unwrapped": "dollar signs, a box or spaces around the answer",
    "answer_letter": "the answer's letter without brackets, or in upper case",
}
"""Name of a repair: what it does."""

# Control characters that escape sequences became: the letter of each, and the rest of LaTeX's words.
_ESCAPES = {
    "\f": ("f", r"(?=rac|lat|loor|orall)"),
    "\b": ("b", r"(?=eta|inom|oxed|ar|egin|ullet|ecause|ig|mod|ot)"),
    "\v": ("v", r"(?=ec|ert|artriangle|dots|arphi|artheta)"),
    "\a": ("a", r"(?=ngle|lpha|pprox|rc|st)"),
    "\r": ("r", r"(?=ight[)\]}|.])"),
    "\t": ("t", r"(?=imes|heta|riangle|ext\{|extbf|extrm|frac)"),
}
_ESCAPES_IN_FORMULAS = {
    "\r": ("r", r"(?=ight|ho(?![a-z])|angle|ceil|floor|m\b)"),
    "\t": ("t", r"(?=imes|heta|riangle|ext\b|extbf|extrm|ext\{|frac|au(?![a-z])|(?:an|anh|o|op)(?![a-z]))"),
    "\n": ("n", r"(?=(?:eq|e|u|abla|ot|otin|mid|i|leq|geq|parallel|exists)(?![a-z]))"),
}
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_IN_DOLLARS = re.compile(r"\$\$.+?\$\$|(?<!\\)\$[^$]+?(?<!\\)\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
# "\n" written out before a word, unless it is one of LaTeX's own words.
_BREAK_WRITTEN_OUT = re.compile(
    r"(?<!\\)\\n(?!(?:eq|e|u|abla|ot|otin|mid|i|leq|geq|less|gtr|subseteq|parallel|atural|exists|earrow|warrow|ewline"
    r"|cong|sim|prec|succ|ormalsize|onumber|leftarrow|rightarrow|Leftarrow|Rightarrow)(?![a-zA-Z]))"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u3000]")
_LETTER_OPTION = re.compile(r"\s*(?:option\s+)?[(\[]?([A-Z])[)\].:]?\s*", re.IGNORECASE)
_WRAPPED = (
    re.compile(r"\$\$(.+)\$\$", re.DOTALL),
    re.compile(r"\$([^$]+)\$", re.DOTALL),
    re.compile(r"\\\(((?:(?!\\\().)+)\\\)", re.DOTALL),
    re.compile(r"\\\[((?:(?!\\\[).)+)\\\]", re.DOTALL),
    re.compile(r"\\(?:boxed|fbox)\s*\{(.+)\}", re.DOTALL),
)


def repair(problem: RawProblem) -> RawProblem:
    """Return the problem with all repairs made, and their names in `repairs`.

    Example:
        >>> repaired = repair(RawProblem("1", "What is x?<image1>", "$$\\x0crac{1}{2}$$", ("figure.png",)))
        >>> repaired.question, repaired.answer, repaired.repairs
        ('What is x?', '\\\\frac{1}{2}', ('control_characters', 'placeholder_removed', 'answer_unwrapped'))
    """
    names: dict[str, None] = dict.fromkeys(problem.repairs)

    def noted(name: str, old: Any, new: Any) -> Any:
        if new != old:
            names[name] = None
        return new

    def plain(text: str) -> str:
        text = noted("control_characters", text, _restored(text))
        text = noted("invisible_characters", text, _SPACES.sub(" ", _INVISIBLE.sub("", text)))
        return noted("line_breaks", text, _broken_lines(text)).strip()

    question, answer = plain(problem.question), plain(problem.answer)
    options = tuple(map(plain, problem.options))
    (question, *options), name = _without_placeholders((question, *options), len(problem.images))
    if name:
        names[name] = None
    options = tuple(noted("stray_dollar", option, _without_stray_dollar(option)) for option in options)
    if not options and (split := inline_options(question)) and _read_letter(answer):
        question, options = noted("options_extracted", None, split)
    letters = tuple(string.ascii_uppercase[: len(options)])
    if tuple(map(_read_letter, options)) == letters:
        options = noted("option_letters", options, letters)
    answer = noted("answer_unwrapped", answer if names else problem.answer, _unwrapped(answer))
    if _read_letter(answer) in letters:
        answer = noted("answer_letter", answer, _read_letter(answer))
    return dataclasses.replace(problem, question=question, answer=answer, options=options, repairs=tuple(names))


def _restored(text: str) -> str:
    text = _with_backslashes(text, _ESCAPES)
    text = _IN_DOLLARS.sub(lambda match: _with_backslashes(match.group(), _ESCAPES_IN_FORMULAS), text)
    return _CONTROLS.sub(" ", text)


def _with_backslashes(text: str, escapes: dict[str, tuple[str, str]]) -> str:
    for character, (letter, words) in escapes.items():
        text = re.sub(re.escape(character) + words, rf"\\{letter}", text)
    return text


def _broken_lines(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    if "\\n" in text:
        ends = [0, *(end for match in _IN_DOLLARS.finditer(text) for end in match.span()), len(text)]
        parts = [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]
        text = "".join(part if index % 2 else _BREAK_WRITTEN_OUT.sub("\n", part) for index, part in enumerate(parts))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ ]+(?=\n|\Z)", "", text))


def _without_placeholders(texts: tuple[str, ...], num_images: int) -> tuple[tuple[str, ...], str | None]:
    """Texts without the marks of figures, and the repair's name; (texts, None) if there are none.

    The mark of the only figure is removed. Marks of several figures are counted in reading order. Several marks and one
    figure are a composite, in which their names are drawn. In both cases the text keeps naming the figures.
    """
    marks = [match.group(1) for text in texts for match in PLACEHOLDER.finditer(text)]
    if not marks:
        return texts, None
    names = set(marks)
    is_one = len(names) == 1 and (num_images <= 1 or names == {""}) and (len(marks) == 1 or names != {""})
    if is_one and all(PLACEHOLDER.sub("", text).strip() for text in texts[1:]):  # no option is a figure
        return tuple(_tidy(PLACEHOLDER.sub(" ", text)) for text in texts), "placeholder_removed"
    numbers = itertools.count(1)  # for marks without a number

    def named(match: re.Match[str]) -> str:
        return f" (image {match.group(1) or next(numbers)}) "

    return tuple(_tidy(PLACEHOLDER.sub(named, text)) for text in texts), "placeholders_named"


def _tidy(text: str) -> str:
    """The text without the spaces that a removed mark leaves: double ones, and those before punctuation."""
    text = re.sub(r"[ ]{2,}", " ", text)
    text = re.sub(r"[ ]*\n[ ]*", "\n", text)
    return re.sub(r"\n{2,}\Z|[ ]+(?=[.,;:?!](?:\s|\Z))", "", text).strip()


def _without_stray_dollar(option: str) -> str:
    r"""``$\frac{6}{5} \$`` as ``$\frac{6}{5}$``: the closing sign had been escaped."""
    is_open = len(re.findall(r"(?<!\\)\$", option)) % 2 == 1
    return re.sub(r"\s*\\\$\Z", "$", option) if is_open else option


_MARKS = (r"[(（]\s*([A-F])\s*[)）]\s*", r"(?<![A-Za-z\\(（])([A-F])\s*[.．、)）]\s*")
_ASKS_IN_OPTION = re.compile(r"[?？]\s*\S|\b(?:which|what|how many|find|calculate|determine)\b|求", re.IGNORECASE)


def inline_options(question: str) -> tuple[str, tuple[str, ...]] | None:
    """Return question and choices of a text that ends in "A. ... B. ... C. ..."; None if it does not.

    Letters before or within the question itself are not choices ("the jars hold A. 3 l, B. 4 l. Which ...?"). Lines
    below the last choice belong to the question.
    """
    for pattern in _MARKS:
        marks = list(re.finditer(pattern, question))
        # The last "A" that begins letters in order up to the end of the text.
        for start in range(len(marks) - 1, -1, -1):
            letters = [mark.group(1) for mark in marks[start:]]
            if letters[0] != "A":
                continue
            if not 3 <= len(letters) <= 6 or letters != list(string.ascii_uppercase[: len(letters)]):
                break
            ends = [mark.start() for mark in marks[start + 1 :]] + [len(question)]
            options = [question[m.end() : end].strip() for m, end in zip(marks[start:], ends, strict=True)]
            options[-1], _, below = options[-1].partition("\n")
            stem = f"{question[: marks[start].start()].strip()}\n{below.strip()}".strip()
            is_whole = stem and all(options) and not any(map(_ASKS_IN_OPTION.search, options))
            return (stem, tuple(option.strip() for option in options)) if is_whole else None
    return None


def _read_letter(answer: str) -> str | None:
    match = _LETTER_OPTION.fullmatch(answer)
    return match.group(1).upper() if match else None


def _unwrapped(answer: str) -> str:
    """Without what encloses the whole answer."""
    while True:
        answer = answer.strip()
        inner = next((match.group(1) for pattern in _WRAPPED if (match := pattern.fullmatch(answer))), None)
        if inner is None or "$" in inner or not _is_balanced(inner):
            return answer
        answer = inner


def _is_balanced(text: str) -> bool:
    """Whether all braces are closed in the order in which they are opened."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0
