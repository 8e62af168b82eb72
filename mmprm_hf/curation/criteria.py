"""Inclusion criteria of one problem: every rule keeps it or drops it with a named reason.

Rules look at a repaired problem. They are heuristics about texts, written to be read and argued with; each is a line
in the drop table of the card.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

from ..answers import Number, RuleVerifier, clean_answer, read_value
from ..data import Verdict
from .config import CurationConfig
from .figures import Figure
from .records import RawProblem

CRITERIA = {
    "unreadable_row": "The row lacks a question, or a field is of a kind that cannot be read.",
    "no_answer": "There is no answer.",
    "no_figure": "There is no figure.",
    "figure_unreadable": "A figure is missing, cut or of an unknown format.",
    "figure_too_small": "The shorter side of a figure is below {min_figure_side} pixels.",
    "figure_too_large": "The longer side of a figure is above {max_figure_side} pixels, or more than "
    "{max_aspect_ratio} times the shorter.",
    "question_too_short": "The question has fewer than {min_question_chars} characters (a Chinese one is three).",
    "question_too_long": "The question has more than {max_question_chars} characters.",
    "language": "The language is none of: {languages}.",
    "multi_part": "The question has several parts with an answer each, or the answer names several options.",
    "choice_without_options": "The answer is the letter of a choice, but there are no options.",
    "answer_not_among_options": "The answer names none of the options.",
    "options_damaged": "An option is blank, or a number that lost its leading digits (03 beside 1006).",
    "options_repeated": "Two options say the same, so that two letters are right.",
    "answer_unverifiable": "The rules cannot tell that the answer equals itself, it is prose of more than "
    "{max_answer_words} words, or none at all (see solution, 略).",
    "answer_leaked": "The question states its answer.",
    "figure_not_needed": "Nothing tells that a figure is needed: no word for one or for what is drawn, no drawn "
    "choices, and the text gives formulas or several numbers of its own.",
    "solved_without_figure": "A model without the figure gets more than {max_text_only_share} of its answers right.",
    "in_benchmark": "A benchmark that shall stay unseen has the problem, or a variant of it.",
    "conflicting_answers": "Another problem has the same text and figure and another answer.",
    "duplicate": "Another kept problem has the same text, answer and figure.",
    "near_duplicate": "Another kept problem has the same answer and nearly the same text, or like text and figure.",
    "in_test": "The test split has the problem, or a variant of it.",
    "over_the_limit": "The split is full.",
}
"""Reason for dropping a problem: the rule. In the order in which rules are asked; the first one that fails counts."""


def criteria_in_words(config: CurationConfig) -> dict[str, str]:
    """`CRITERIA` with the limits of a configuration."""
    limits = {
        name: getattr(config, name)
        for name in (
            "min_figure_side", "max_figure_side", "max_aspect_ratio", "min_question_chars", "max_question_chars",
            "max_answer_words", "max_text_only_share",
        )
    }  # fmt: skip
    limits["languages"] = ", ".join(config.languages) or "any (all are kept)"
    return {reason: words.format(**limits) for reason, words in CRITERIA.items()}


def why_dropped(
    problem: RawProblem, figures: Sequence[Figure], config: CurationConfig, *, needs_figure: bool = True
) -> tuple[str, str] | None:
    """The first criterion that a problem fails, with what was seen; None if it passes all.

    Args:
        problem: Repaired.
        figures: Of all its images.
        config: The limits.
        needs_figure: Ask for `refers_to_figure`, too; False where a model without the figure will be asked.
    """
    for rule in (*_RULES, _needs_figure) if needs_figure else _RULES:
        if found := rule(problem, figures, config):
            return found
    return None


Found = tuple[str, str] | None
Rule = Callable[[RawProblem, Sequence[Figure], CurationConfig], Found]


def _figure_sizes(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    if not figures:
        return "no_figure", "no image"
    for figure in figures:
        short, long = sorted(figure.size)
        words = f"{figure.size[0]} x {figure.size[1]} pixels"
        if short < config.min_figure_side:
            return "figure_too_small", words
        if long > config.max_figure_side or long > config.max_aspect_ratio * short:
            return "figure_too_large", words
    return None


_CHINESE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def _length(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    num_chars = len(problem.question) + 2 * len(_CHINESE.findall(problem.question))
    if num_chars < config.min_question_chars:
        return "question_too_short", problem.question
    if num_chars > config.max_question_chars:
        return "question_too_long", f"{num_chars} characters"
    return None


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
_FORMULA = re.compile(r"\$[^$]*\$|\\[A-Za-z]+|[{}^_\\$]")


def language_of(text: str) -> str:
    """The language of a question: by script "zh", "ja", "ko", "ru", "ar", "el"; of Latin ones "en" or "other".

    English is told by its commonest words; a text of fewer than four words counts as English. Formulas do not count.

    Example:
        >>> [language_of(text) for text in ("What is $x$?", "如图, 求 $x$ 的值", "Quelle est la valeur de cet angle?")]
        ['en', 'zh', 'other']
    """
    words = _FORMULA.sub(" ", text)
    letters = sum(character.isalpha() for character in words)
    for language, pattern in _SCRIPTS:
        count = len(pattern.findall(words))
        if count and count >= (0.05 if language == "ja" else 0.2) * letters:
            return language
    num_words = len(re.findall(r"[^\W\d_]{2,}", words))
    return "en" if num_words < 4 or len(_ENGLISH.findall(words)) >= 0.12 * num_words else "other"


def _language(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    if not config.languages:
        return None
    language = language_of(problem.question)
    return None if language in config.languages else ("language", language)


_ASKS = re.compile(
    r"\?|？|\b(?:find|calculate|compute|determine|what|how|which|prove|show that|express|write|draw|state)\b"
    r"|求|计算|证明|写出|判断|多少|何|画出|说明",
    re.IGNORECASE,
)
# Not "Figure (1)", "f (1)", "图(1)".
_BEFORE = r"(?<![A-Za-z图第式])(?<!\b[A-Za-z] )(?<!igure )(?<!ig\. )(?<!tep )"
_CLAUSE = r"(?:(?m:^)|(?<=[.?!:;。？：；]))\s*"
_PART_MARKS = (
    (rf"{_BEFORE}[(（]\s*1\s*[)）]", rf"{_BEFORE}[(（]\s*2\s*[)）]"),
    (rf"{_BEFORE}[(（]\s*a\s*[)）]", rf"{_BEFORE}[(（]\s*b\s*[)）]"),
    (rf"{_BEFORE}[(（]\s*(?:i|ⅰ)\s*[)）]", rf"{_BEFORE}[(（]\s*(?:ii|ⅱ)\s*[)）]"),
    (rf"{_BEFORE}[(（]\s*(?:I|Ⅰ)\s*[)）]", rf"{_BEFORE}[(（]\s*(?:II|Ⅱ)\s*[)）]"),
    (rf"{_CLAUSE}(?:Part\s+)?a\s*[).:]\s", rf"{_CLAUSE}(?:Part\s+)?b\s*[).:]\s"),
    (r"\bPart A\b", r"\bPart B\b"),
    (r"\bQuestion 1\b", r"\bQuestion 2\b"),
    (rf"{_CLAUSE}1\s*[).、]\s", rf"{_CLAUSE}2\s*[).、]\s"),
    (r"①\s*(?=[求证计写判画])", r"②\s*(?=[求证计写判画])"),
)
_SEVERAL = re.compile(r"\s*[;；]\s*|\s+and\s+|\s*和\s*")


def _multi_part(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    if problem.options:  # statements to choose from; one letter answers them all
        is_several = re.fullmatch(r"[(\[]?[A-H](?:\s*[,，、&和]?\s*(?:and\s+)?[A-H])+[)\]]?", problem.answer)
        is_option = problem.answer in problem.options
        return ("multi_part", f"several letters: {problem.answer}") if is_several and not is_option else None
    for text in (problem.question, problem.answer):
        for first, second in (*_PART_MARKS, ("①", "②")) if text is problem.answer else _PART_MARKS:
            start = re.search(first, text)
            then = re.compile(second).search(text, start.end()) if start else None
            if not then:
                continue
            parts = text[start.end() : then.start()], text[then.end() :]
            if text is problem.answer or all(map(_ASKS.search, parts)):
                return "multi_part", text[then.start() : then.start() + 60].strip()
    num_asked = max(len(re.findall(r"[?？]", problem.question)), len(re.findall(r"_{2,}", problem.question)))
    num_answers = len([part for part in _SEVERAL.split(problem.answer) if part.strip()])
    return ("multi_part", f"{num_asked} questions: {problem.answer}") if min(num_asked, num_answers) > 1 else None


def _options(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    options, answer = problem.options, problem.answer
    if not options:
        is_letter = re.fullmatch(r"[(\[]?[A-F][)\].]?", answer) is not None
        return ("choice_without_options", answer) if is_letter else None
    if len(options) < 2:
        return "options_damaged", f"one option: {options[0]}"
    if (damaged := _damaged(options)) is not None:
        return "options_damaged", repr(damaged)
    plain = [re.sub(r"[\s$]+", " ", option).strip().casefold() for option in options]
    repeated = next((option for index, option in enumerate(plain) if option in plain[:index]), None)
    if repeated is not None:
        return "options_repeated", repeated
    letters = string.ascii_uppercase[: len(options)]
    if (len(answer) == 1 and answer in letters) or any(_is_right(answer, letter, options) for letter in letters):
        return None
    return "answer_not_among_options", f"{answer} of {len(options)}"


def _damaged(options: Sequence[str]) -> str | None:
    """An option that is blank, or that begins with 0 though other, longer numbers do not."""
    numbers = [match.group(1) if (match := re.fullmatch(r"\$?\s*(\d+)\s*\$?", option)) else "" for option in options]
    for option, number in zip(options, numbers, strict=True):
        longer = [other for other in numbers if len(other) > len(number)]
        if not option.strip() or (len(number) > 1 and number[0] == "0" and longer and all(n[0] != "0" for n in longer)):
            return option
    return None


def _is_right(answer: str, letter: str, options: tuple[str, ...]) -> bool:
    return RuleVerifier().verify(letter, answer, answer_type="choice", options=options) is Verdict.CORRECT


_NO_ANSWERS = re.compile(
    r"\A\W*(?:略|见(?:解析|图|答案|详解).*|证明(?:见.*|略|过程.*)|答案不唯一.*|n/?a|none|null|nan|unknown|proof.*"
    r"|(?:please )?(?:see|refer to) .*|answers? (?:may|will) vary.*|as shown (?:in|on|above|below).*"
    r"|open[- ]ended.*)\W*\Z",
    re.IGNORECASE | re.DOTALL,
)


def _verifiable(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    answer = problem.answer
    if _NO_ANSWERS.search(answer) or not re.search(r"[^\W_]|\\[A-Za-z]|[<>=≤≥∞∅]", answer):
        return "answer_unverifiable", answer
    if not problem.options and answer_type_of(problem) == "text":
        num_words = len(re.findall(r"[^\W\d_]{2,}", _FORMULA.sub(" ", answer))) + len(_CHINESE.findall(answer)) // 2
        if num_words > config.max_answer_words:
            return "answer_unverifiable", f"{num_words} words"
    verdict = RuleVerifier().verify(answer, answer, answer_type=answer_type_of(problem), options=problem.options)
    return None if verdict is Verdict.CORRECT else ("answer_unverifiable", answer)


_LEAD = (
    r"(?:\b(?i:answer|ans|solution|correct (?:option|choice|answer))\b\s*(?:(?i:is)\b|[:：.=])|答案\s*[是为:：]?"
    r"|[答解]\s*[:：]|故选\s*[:：]?|<answer>|\\boxed\s*\{{)[\s$({{\[*（]*(?:\w+\s*=\s*)?{answer}(?![\w/]|[.,]\d)"
)
_IN_THE_BLANK = r"[(（]\s*{answer}\s*[)）]\s*[.。]?\s*\Z"  # 则 x 的值是 ( B )
_SOLUTIONS = re.compile(r"【\s*(?:解答|解析|分析|答案)\s*】")


def _leaked(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    if found := _SOLUTIONS.search(problem.question):
        return "answer_leaked", problem.question[found.start() : found.start() + 60].strip()
    answer, letters = problem.answer.strip("$ "), string.ascii_uppercase[: len(problem.options)]
    values = [answer]
    if len(answer) == 1 and answer in letters:
        if found := re.search(_IN_THE_BLANK.format(answer=answer), problem.question):
            return "answer_leaked", found.group()
        option = problem.options[letters.index(answer)].strip("$ ")
        values += [option] if option not in letters else []
    for value in filter(None, values):
        # A letter must stand as one: "the answer is a fraction" does not say A.
        text = re.escape(value) if len(value) == 1 else f"(?i:{re.escape(value)})"
        if found := re.search(_LEAD.format(answer=text), problem.question):
            return "answer_leaked", found.group()
    return None


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


def refers_to_figure(problem: RawProblem) -> bool:
    """Whether the text leans on a figure: a word for one or what is drawn, drawn choices, or too little to reckon with.

    Example:
        >>> [refers_to_figure(RawProblem("1", text, "3")) for text in ("What is the shaded area?", "Is 1 + 1 = 3?")]
        [True, False]
    """
    letters = tuple(string.ascii_uppercase[: len(problem.options)])
    is_drawn = bool(problem.options) and (
        problem.options == letters or all(re.fullmatch(r"\(image \d+\)", option) for option in problem.options)
    )
    num_numbers = len(_NUMBERS.findall(problem.question))
    gives_little = num_numbers == 0 or (num_numbers == 1 and not re.search(r"[$\\]", problem.question))
    return is_drawn or gives_little or _REFERS.search(problem.question) is not None


def _needs_figure(problem: RawProblem, figures: Sequence[Figure], config: CurationConfig) -> Found:
    return None if refers_to_figure(problem) else ("figure_not_needed", problem.question[:80])


_RULES: tuple[Rule, ...] = (
    _figure_sizes, _length, _language, _multi_part, _options, _verifiable, _leaked,
)  # fmt: skip


def answer_type_of(problem: RawProblem) -> str:
    """ "choice", "number" or "text", by the options and the answer's form."""
    if problem.options:
        return "choice"
    return "number" if isinstance(read_value(clean_answer(problem.answer)), Number) else "text"


__all__ = ["CRITERIA", "answer_type_of", "criteria_in_words", "language_of", "refers_to_figure", "why_dropped"]
