"""Rules about an answer: one of one question, among the options, verifiable, and not stated in the question."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..answers import Number, RuleVerifier, clean_answer, read_value
from ..data import Verdict
from .config import CurationConfig
from .question_rules import CHINESE, FORMULA
from .records import Failure, RawProblem

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
_NO_ANSWERS = re.compile(
    r"\A\W*(?:略|见(?:解析|图|答案|详解).*|证明(?:见.*|略|过程.*)|答案不唯一.*|n/?a|none|null|nan|unknown|proof.*"
    r"|(?:please )?(?:see|refer to) .*|answers? (?:may|will) vary.*|as shown (?:in|on|above|below).*"
    r"|open[- ]ended.*)\W*\Z",
    re.IGNORECASE | re.DOTALL,
)
_LEAD = (
    r"(?:\b(?i:answer|ans|solution|correct (?:option|choice|answer))\b\s*(?:(?i:is)\b|[:：.=])|答案\s*[是为:：]?"
    r"|[答解]\s*[:：]|故选\s*[:：]?|<answer>|\\boxed\s*\{{)[\s$({{\[*（]*(?:\w+\s*=\s*)?{answer}(?![\w/]|[.,]\d)"
)
_IN_THE_BLANK = r"[(（]\s*{answer}\s*[)）]\s*[.。]?\s*\Z"  # 则 x 的值是 ( B )
_SOLUTIONS = re.compile(r"【\s*(?:解答|解析|分析|答案)\s*】")


def answer_type(problem: RawProblem) -> str:
    """Return "choice", "number" or "text", by the options and the form of the answer."""
    if problem.options:
        return "choice"
    return "number" if isinstance(read_value(clean_answer(problem.answer)), Number) else "text"


def parts_failure(problem: RawProblem) -> Failure | None:
    """Return the failure of a question with several parts, or of an answer that names several options."""
    answer = problem.answer
    if problem.options:  # statements to choose from: one letter answers them all
        is_several = re.fullmatch(r"[(\[]?[A-H](?:\s*[,，、&和]?\s*(?:and\s+)?[A-H])+[)\]]?", answer)
        is_failure = is_several and answer not in problem.options
        return ("multi_part", f"several letters: {answer}") if is_failure else None
    second_part = _second_part(problem.question, _PART_MARKS, must_ask=True)
    second_part = second_part or _second_part(answer, (*_PART_MARKS, ("①", "②")), must_ask=False)
    if second_part is not None:
        return "multi_part", second_part[:60].strip()
    num_asked = max(len(re.findall(r"[?？]", problem.question)), len(re.findall(r"_{2,}", problem.question)))
    num_answers = len([part for part in _SEVERAL.split(answer) if part.strip()])
    return ("multi_part", f"{num_asked} questions: {answer}") if min(num_asked, num_answers) > 1 else None


def _second_part(text: str, marks: Sequence[tuple[str, str]], must_ask: bool) -> str | None:
    """What begins with the mark of a second part; where `must_ask`, only if both parts ask something."""
    for first, second in marks:
        start = re.search(first, text)
        then = re.compile(second).search(text, start.end()) if start else None
        if then and (not must_ask or all(map(_ASKS.search, (text[start.end() : then.start()], text[then.end() :])))):
            return text[then.start() :]
    return None


def option_failure(problem: RawProblem) -> Failure | None:
    """Return the failure of options that are damaged or repeated, or of an answer that is none of them."""
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
    is_option = any(answer == letter or _equals(letter, answer, "choice", options) for letter in problem.letters)
    return None if is_option else ("answer_not_among_options", f"{answer} of {len(options)}")


def _damaged(options: Sequence[str]) -> str | None:
    """An option that is blank, or that begins with 0 although other, longer numbers do not."""
    numbers = [match.group(1) if (match := re.fullmatch(r"\$?\s*(\d+)\s*\$?", option)) else "" for option in options]
    for option, number in zip(options, numbers, strict=True):
        longer = [other for other in numbers if len(other) > len(number)]
        if not option.strip() or (len(number) > 1 and number[0] == "0" and longer and all(n[0] != "0" for n in longer)):
            return option
    return None


def _equals(answer: str, gold: str, answer_type: str, options: Sequence[str]) -> bool:
    return RuleVerifier().verify(answer, gold, answer_type=answer_type, options=options) is Verdict.CORRECT


def answer_failure(problem: RawProblem, config: CurationConfig) -> Failure | None:
    """Return the failure of an answer that rules cannot verify."""
    answer = problem.answer
    if _NO_ANSWERS.search(answer) or not re.search(r"[^\W_]|\\[A-Za-z]|[<>=≤≥∞∅]", answer):
        return "answer_unverifiable", answer
    if answer_type(problem) == "text":
        num_words = len(re.findall(r"[^\W\d_]{2,}", FORMULA.sub(" ", answer))) + len(CHINESE.findall(answer)) // 2
        if num_words > config.max_answer_words:
            return "answer_unverifiable", f"{num_words} words"
    is_verifiable = _equals(answer, answer, answer_type(problem), problem.options)
    return None if is_verifiable else ("answer_unverifiable", answer)


def leak_failure(problem: RawProblem) -> Failure | None:
    """Return the failure of a question that states its answer."""
    if match := _SOLUTIONS.search(problem.question):
        return "answer_leaked", problem.question[match.start() : match.start() + 60].strip()
    answer = problem.answer.strip("$ ")
    values, option = [answer], problem.option(answer)
    if option is not None:
        if match := re.search(_IN_THE_BLANK.format(answer=answer), problem.question):
            return "answer_leaked", match.group()
        option = option.strip("$ ")
        values += [option] if option not in problem.letters else []
    for value in filter(None, values):
        # A letter must be in upper case: "the answer is a fraction" does not say A.
        text = re.escape(value) if len(value) == 1 else f"(?i:{re.escape(value)})"
        if match := re.search(_LEAD.format(answer=text), problem.question):
            return "answer_leaked", match.group()
    return None
