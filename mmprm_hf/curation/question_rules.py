"""Rules about a question: its length and language, and whether it refers to a figure."""

from __future__ import annotations

import re

from .config import CurationConfig
from .records import Failure, RawProblem

CHINESE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")  # and Japanese and Korean
FORMULA = re.compile(r"\$[^$]*\$|\\[A-Za-z]+|[{}^_\\$]")
_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
)
_ENGLISH = re.compile(
    r"\b(?:the|of|is|are|what|which|how|in|and|a|an|to|find|each|with|if|many|has|that|this|on|by|from|as|it|shown)\b",
    re.IGNORECASE,
)
_THINGS = (
    "shapes?|objects?|solids?|patterns?|pieces?|tiles?|cards?|dice|die|cubes?|nets?|triangles?|squares?|rectangles?|circles?"
    "|quadrangles?|polygons?|quadrilaterals?|towers?|buildings?|clocks?|scales?|blocks?|wheels?|networks?|discs?|disks?|balls?"
    "|areas?|parts?|regions?|cells?|dots?|fields?|houses?|bars?|rings?|lines?|sums?|calculations?|boxes|numbers?|letters?"
)
_REFERS = re.compile(
    r"\b(?:fig(?:ure)?s?|diagrams?|pictures?|pictured|images?|shown|shows?|showing|graphs?|charts?|table|grids?|drawings?"
    r"|drawn|sketch(?:es)?|below(?! (?:zero|sea|ground|freezing))|above(?! (?:zero|sea|ground))|illustrat\w*|photos?"
    r"|maps?|plots?|plotted|depict\w*|displayed|shaded|colou?red|marked|label(?:l?ed)|boards?|number line|cross-number"
    r"|on the (?:right|left|side)|adjoining|accompanying|beside|look(?:s|ed)? like|dotted|question mark|arrows?|hidden"
    rf"|(?:this|these|the following)(?: \w+){{0,2}} (?:{_THINGS})|(?:black|white|gr[ae]y) (?:{_THINGS}))\b"
    r"|(?<!地)[图圖](?!书|書|形的性质)|表(?=格|中|所示)|如右|如左|如下|所示|阴影|网格|数轴|方格",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"\d+(?:[.,]\d+)*"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twice|double|triple|half|thirds?|quarters?)\b",
    re.IGNORECASE,
)


def length_failure(problem: RawProblem, config: CurationConfig) -> Failure | None:
    """Return the failure of a question that is too short or too long; a Chinese character counts as three."""
    num_chars = len(problem.question) + 2 * len(CHINESE.findall(problem.question))
    if num_chars < config.min_question_chars:
        return "question_too_short", problem.question
    if num_chars > config.max_question_chars:
        return "question_too_long", f"{num_chars} characters"
    return None


def language_of(text: str) -> str:
    """Return the language of a question: by its script "zh", "ja", "ko", "ru", "ar", "el"; else "en" or "other".

    English is recognised by its commonest words. A text of fewer than four words counts as English, formulas do not
    count as words.

    Example:
        >>> [language_of(text) for text in ("What is $x$?", "如图, 求 $x$ 的值", "Quelle est la valeur de cet angle?")]
        ['en', 'zh', 'other']
    """
    words = FORMULA.sub(" ", text)
    num_letters = sum(character.isalpha() for character in words)
    for language, script in _SCRIPTS:
        count = len(script.findall(words))
        if count and count >= (0.05 if language == "ja" else 0.2) * num_letters:
            return language
    num_words = len(re.findall(r"[^\W\d_]{2,}", words))
    return "en" if num_words < 4 or len(_ENGLISH.findall(words)) >= 0.12 * num_words else "other"


def language_failure(problem: RawProblem, config: CurationConfig) -> Failure | None:
    """Return the failure of a question in a language that the configuration does not keep."""
    language = language_of(problem.question) if config.languages else None
    return None if language is None or language in config.languages else ("language", language)


def refers_to_figure(problem: RawProblem) -> bool:
    """Return whether a text refers to a figure: by a word for it or what it shows, by drawn choices, by few numbers.

    Example:
        >>> [refers_to_figure(RawProblem("1", text, "3")) for text in ("What is the shaded area?", "Is 1 + 1 = 3?")]
        [True, False]
    """
    is_drawn = bool(problem.options) and (
        problem.options == tuple(problem.letters)
        or all(re.fullmatch(r"\(image \d+\)", option) for option in problem.options)
    )
    num_numbers = len(_NUMBERS.findall(problem.question))
    gives_little = num_numbers == 0 or (num_numbers == 1 and not re.search(r"[$\\]", problem.question))
    return is_drawn or gives_little or _REFERS.search(problem.question) is not None
