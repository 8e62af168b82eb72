r"""What can be mended in a raw problem without guessing; every repair is named and counted.

A string of LaTeX that went through an escaping too much has lost its backslashes (``\frac`` became a form feed and
"rac"). They are restored where what is left is no word; after tabs and line breaks, which texts have too, otherwise
only in formulas. Answers come wrapped in ``$$``; places of figures are written ``<image1>``. Standard library only.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import string

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

# The control character that an escape sequence stands for, and LaTeX's words behind its letter.
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
_PLACEHOLDER = re.compile(r"<\s*image[\s_-]*(\d*)\s*>", re.IGNORECASE)
_LETTER_OPTION = re.compile(r"\s*(?:option\s+)?[(\[]?([A-Z])[)\].:]?\s*", re.IGNORECASE)
_WRAPPED = (
    re.compile(r"\$\$(.+)\$\$", re.DOTALL),
    re.compile(r"\$([^$]+)\$", re.DOTALL),
    re.compile(r"\\\(((?:(?!\\\().)+)\\\)", re.DOTALL),
    re.compile(r"\\\[((?:(?!\\\[).)+)\\\]", re.DOTALL),
    re.compile(r"\\(?:boxed|fbox)\s*\{(.+)\}", re.DOTALL),
)


def repair(problem: RawProblem) -> RawProblem:
    """The problem with all repairs made, and their names.

    Example:
        >>> mended = repair(RawProblem("1", "What is x?<image1>", "$$\\x0crac{1}{2}$$", ("figure.png",)))
        >>> mended.question, mended.answer, mended.repairs
        ('What is x?', '\\\\frac{1}{2}', ('control_characters', 'placeholder_removed', 'answer_unwrapped'))
    """
    made: dict[str, None] = dict.fromkeys(problem.repairs)

    def mended(name: str, old: str, new: str) -> str:
        if new != old:
            made[name] = None
        return new

    def plain(text: str) -> str:
        text = mended("control_characters", text, _restored(text))
        text = mended("invisible_characters", text, _SPACES.sub(" ", _INVISIBLE.sub("", text)))
        return mended("line_breaks", text, _broken_lines(text)).strip()

    question, answer = plain(problem.question), plain(problem.answer)
    options = tuple(plain(option) for option in problem.options)
    texts, name = _without_placeholders((question, *options), len(problem.images))
    if name:
        made[name] = None
    question, options = texts[0], texts[1:]
    options = tuple(mended("stray_dollar", option, _without_stray_dollar(option)) for option in options)
    if not options and (found := inline_options(question)) and _letter(answer):
        question, options = found
        made["options_extracted"] = None
    letters = [_LETTER_OPTION.fullmatch(option) for option in options]
    if (
        options
        and all(letters)
        and [m.group(1).upper() for m in letters] == list(string.ascii_uppercase[: len(options)])
    ):
        plain_letters = tuple(string.ascii_uppercase[: len(options)])
        if plain_letters != options:
            made["option_letters"] = None
        options = plain_letters
    answer = mended("answer_unwrapped", problem.answer if not made else answer, _unwrapped(answer))
    if options and (letter := _letter(answer)) and letter in string.ascii_uppercase[: len(options)]:
        answer = mended("answer_letter", answer, letter)
    return dataclasses.replace(problem, question=question, answer=answer, options=options, repairs=tuple(made))


def _restored(text: str) -> str:
    for character, (letter, words) in _ESCAPES.items():
        text = re.sub(re.escape(character) + words, rf"\\{letter}", text) if character in text else text
    if any(character in text for character in _ESCAPES_IN_FORMULAS):
        text = _IN_DOLLARS.sub(lambda match: _restored_formula(match.group()), text)
    return _CONTROLS.sub(" ", text)


def _restored_formula(formula: str) -> str:
    for character, (letter, words) in _ESCAPES_IN_FORMULAS.items():
        formula = re.sub(re.escape(character) + words, rf"\\{letter}", formula)
    return formula


def _broken_lines(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    if "\\n" in text:
        ends = [0, *(place for match in _IN_DOLLARS.finditer(text) for place in match.span()), len(text)]
        parts = [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]
        text = "".join(part if index % 2 else _BREAK_WRITTEN_OUT.sub("\n", part) for index, part in enumerate(parts))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ ]+(?=\n|\Z)", "", text))


def _without_placeholders(texts: tuple[str, ...], num_images: int) -> tuple[tuple[str, ...], str | None]:
    """Texts without the places of figures, and the repair's name.

    One figure with one place needs no name. Several places with one figure are a composite in which the places' names
    are drawn; with as many figures they are counted in reading order. Either way the text goes on naming them.
    """
    found = [match.group(1) for text in texts for match in _PLACEHOLDER.finditer(text)]
    if not found:
        return texts, None
    names = set(found)
    is_one = len(names) == 1 and (num_images <= 1 or names == {""}) and (len(found) == 1 or names != {""})
    if is_one and all(_PLACEHOLDER.sub("", text).strip() for text in texts[1:]):  # no option is a figure's place
        return tuple(_tidy(_PLACEHOLDER.sub(" ", text)) for text in texts), "placeholder_removed"
    numbers = itertools.count(1)  # of places without a number, in reading order

    def named(match: re.Match[str]) -> str:
        return f" (image {match.group(1) or next(numbers)}) "

    return tuple(_tidy(_PLACEHOLDER.sub(named, text)) for text in texts), "placeholders_named"


def _tidy(text: str) -> str:
    """Single spaces, none before punctuation and line ends: what stays where a place was taken out."""
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
    """Question and choices of a text that ends in "A. ... B. ... C. ..."; None if it does not.

    What asks is the question: letters before or amid a question ("the jars hold A. 3 l, B. 4 l. Which ...?") are none.
    What stands below the last choice's line goes back to the question.
    """
    for pattern in _MARKS:
        marks = list(re.finditer(pattern, question))
        # The last "A" from which the letters go on in order to the end of the text.
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


def _letter(answer: str) -> str | None:
    match = _LETTER_OPTION.fullmatch(answer)
    return match.group(1).upper() if match else None


def _unwrapped(answer: str) -> str:
    """Without what encloses the whole answer."""
    while True:
        answer = answer.strip()
        found = next((m.group(1) for pattern in _WRAPPED if (m := pattern.fullmatch(answer))), None)
        if found is None or "$" in found or not _is_balanced(found):
            return answer
        answer = found


def _is_balanced(text: str) -> bool:
    """Whether every brace that closes was opened in the text, and none stays open."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


__all__ = ["REPAIRS", "inline_options", "repair"]
