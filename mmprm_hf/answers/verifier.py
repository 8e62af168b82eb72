"""Verification of answers by rules, with tri-state verdicts; a judge is only for what rules leave undecided.

An answer is cleaned of markup, read as a typed value (number with unit, clock time or ratio, coordinates, several
values, choice letter, words) and compared exactly. math-verify decides the rest of LaTeX. No rule ever raises on
model text, and failure (no gold, an unreadable gold, a timeout) is UNDECIDED, never wrong.

Standard library only; math-verify runs in processes of its own, see `mmprm_hf.formula_pool`.
"""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, ClassVar

from ..data import Problem, Verdict
from .arithmetic import is_too_large
from .cleaning import clean_answer
from .formula_pool import shared_pool
from .values import NUMBER, Colon, Number, Value, name_of, number_of, read_value, rounds_to, same_name, same_value

MAX_RULE_CHARS = 2000
"""Longer answers are read from their last 2000 characters only: degenerate loops must not cost minutes."""


_Compare = Callable[[str, str], Verdict]
"""Compares two formulas: answer, gold."""


class RuleVerifier:
    """Verifier that judges by rules alone. Stateless, picklable, safe in any thread and in an event loop."""

    identity: ClassVar[dict[str, Any]] = {"verifier": "rules", "version": 3}
    """What judged: the version rises whenever a verdict may change."""

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        """Return the verdict on `answer` to `problem`, see `verify`; formulas do not hold up the event loop.

        ``problem.meta["precision"]``, where a source gives it, is the number of decimals that its gold is rounded to.
        """
        known: dict[tuple[str, str], Verdict] = {}

        def compare(answer: str, gold: str) -> Verdict:
            verdict = known.get((answer, gold)) or shared_pool().remembered(answer, gold)
            if verdict is None:
                raise _FormulaNeeded(answer, gold)
            return verdict

        precision = problem.meta.get("precision")
        while True:  # the rules are pure and fast: they start again with one formula more
            try:
                return _verify(answer, problem.answer, problem.answer_type, problem.options, precision, compare)
            except _FormulaNeeded as needed:
                known[needed.args] = await shared_pool().verify_async(*needed.args)

    def verify(
        self,
        answer: str | None,
        gold: str | None,
        *,
        answer_type: str = "number",
        options: Sequence[str] = (),
        precision: int | None = None,
    ) -> Verdict:
        """Return whether `answer` is right.

        Missing units are forgiven and given ones compared (5 cm is 5, but not 5 m); 30 % is 30 and 0.3.

        Args:
            answer: The answer block's text. None or blank is INCORRECT where there is a gold: no answer is never
                right. (Searches do not ask about incomplete rollouts: those are counted apart.)
            gold: The right answer; None or blank gives UNDECIDED.
            answer_type: "number", "choice" or "text". "choice" reads letters and `options`; the other two are told
                apart by the gold's own form.
            options: Choices in letter order; non-empty makes it a choice problem whatever `answer_type` says.
            precision: Decimals that the gold is rounded to: answers that round to it are right. None where the problem
                asks for no rounding (0.33 is then 1/3, but never 0.334).

        Returns:
            UNDECIDED also for a gold that cannot be read, a timeout, a letter that contradicts the value beside it, a
            formula cut off as long as it is the gold's beginning, a misspelt option, and wordy answers that a reader
            could take either way.

        Example:
            >>> RuleVerifier().verify("$\\\\frac{1}{2}$", "0.5")
            <Verdict.CORRECT: 'correct'>
            >>> RuleVerifier().verify("(C) 30", "C", answer_type="choice", options=["10", "20", "30"])
            <Verdict.CORRECT: 'correct'>
        """
        # Differs from MM-PRM: rules first and exact, and what fails is undecided; there a language model judges at
        # temperature 0.5 and every failure counts as a wrong answer.
        return _verify(answer, gold, answer_type, options, precision, shared_pool().verify)


class _FormulaNeeded(Exception):
    """The rules come down to these two formulas (answer, gold), which nobody has compared yet."""


def _verify(
    answer: str | None,
    gold: str | None,
    answer_type: str,
    options: Sequence[str],
    precision: int | None,
    compare: _Compare,
) -> Verdict:
    if gold is None or not gold.strip():
        return Verdict.UNDECIDED
    if answer is None or not answer.strip():
        return Verdict.INCORRECT
    is_cut = answer.count("{") > answer.count("}")
    gold, answer = clean_answer(gold), clean_answer(answer[-MAX_RULE_CHARS:])
    if is_cut:
        letter = string.ascii_uppercase.find(gold) if len(gold) == 1 else -1
        whole = (clean_answer(options[letter]) if 0 <= letter < len(options) else gold).replace(" ", "")
        beginning = answer.replace(" ", "").rstrip("}")
        if beginning and whole.startswith(beginning) and whole.rstrip("}") != beginning:
            return Verdict.UNDECIDED  # \frac{1 of \frac{1}{2}: as the gold begins, and nobody knows how it went on
    if options or answer_type == "choice":
        return _verify_choice(answer, gold, tuple(clean_answer(option) for option in options), compare)
    verdict = _verify_value(answer, gold, compare)
    is_rounded = (
        precision is not None and verdict is Verdict.INCORRECT and _rounds_to_gold(answer, gold, int(precision))
    )
    return Verdict.CORRECT if is_rounded else verdict


def _rounds_to_gold(answer: str, gold: str, precision: int) -> bool:
    """Whether an answer with more decimals than asked for is the gold once it is rounded."""
    values = read_value(gold), read_value(answer)
    if not all(isinstance(value, Number) for value in values) or name_of(gold) != name_of(answer):
        return False
    is_finer = values[1].num_decimals > precision or isinstance(values[1].raw, float)
    units_match = values[0].unit == values[1].unit or not (values[0].unit and values[1].unit)
    return is_finer and units_match and rounds_to(values[1].raw, values[0].raw, precision)


def answers_equivalent(first: str | None, second: str | None) -> bool:
    """Return whether two candidates' answers say the same; symmetric, False where rules cannot tell or one is blank.

    Example:
        >>> answers_equivalent("0.50", "1/2"), answers_equivalent("(C)", "C. 30"), answers_equivalent("5 cm", "5 m")
        (True, True, False)
    """
    if not (first and first.strip() and second and second.strip()):
        return False
    first, second = sorted((clean_answer(first[-MAX_RULE_CHARS:]), clean_answer(second[-MAX_RULE_CHARS:])))
    if first == second:
        return True
    letters = _read_letter(first), _read_letter(second)
    if None not in letters:
        return letters[0][0] == letters[1][0]
    names = name_of(first), name_of(second)
    if all(names) and not same_name(*names):
        return False
    values = read_value(first), read_value(second)
    if None not in values:
        return same_value(*values) or same_value(values[1], values[0])
    if values != (None, None) or not (_is_formula(first) and _is_formula(second)):
        return first.casefold() == second.casefold()
    return _compare_formulas(first, second, shared_pool().verify) is Verdict.CORRECT


def group_answers(answers: Sequence[str | None]) -> list[int | None]:
    """Return a group id per answer, numbered by first appearance and shared by equivalent answers; None stays None.

    Each answer is compared with the first of every group, so the ids depend on the order alone; blank is None.

    Example:
        >>> group_answers(["1/2", None, "0.5", "3"])
        [0, None, 0, 1]
    """
    representatives: list[str] = []
    known: dict[str, int] = {}
    groups: list[int | None] = []
    for answer in answers:
        if answer is None or not answer.strip():
            groups.append(None)
            continue
        if answer not in known:
            matches = (index for index, other in enumerate(representatives) if answers_equivalent(other, answer))
            known[answer] = next(matches, len(representatives))
            if known[answer] == len(representatives):
                representatives.append(answer)
        groups.append(known[answer])
    return groups


# --- Choices ------------------------------------------------------------------------------------------------------

_LETTER = re.compile(
    r"(?i:option|choice|选项)?\s*(?:[(\[]([A-Za-z])[)\]][.:、]?|([A-Za-z])(?:[.):、]|(?=$)))\s*(.*)", re.DOTALL
)
_LETTERS_ONLY = re.compile(r"(?:\(?[A-Z]\)?(?:\s|,|、|&|and\b|or\b)*){2,}")
_NAMED_LETTER = re.compile(r"\(([A-Z])\)|(?:\b(?:is|be|option|choice)|['’]s) ([A-Z])$|[是选为]([A-Z])$")


def _read_letter(text: str) -> tuple[str, str] | None:
    """``(letter, what stands behind it)`` of a text that begins with a choice letter; None if it does not."""
    match = _LETTER.fullmatch(text)
    letter = match and (match.group(1) or match.group(2))
    if not letter or (letter.islower() and match.group(3)):
        return None
    return letter.upper(), match.group(3).strip()


def _verify_choice(answer: str, gold: str, options: tuple[str, ...], compare: _Compare) -> Verdict:
    """Verdict on a choice problem; all texts cleaned. A letter outside the options is read as a value."""
    letters = string.ascii_uppercase[: len(options)] if options else string.ascii_uppercase
    gold_read = _read_letter(gold)
    gold_letters = (
        [gold_read[0]] if gold_read and gold_read[0] in letters else _options_equal_to(gold, options, compare)
    )
    if not gold_letters:
        return _verify_value(answer, gold, compare)

    def verdict_on(named: set[str]) -> Verdict:
        return Verdict.CORRECT if named & set(gold_letters) else Verdict.INCORRECT

    read = _read_letter(answer)
    if read and (read[0] not in letters or (answer.islower() and answer in options)):
        read = None
    stated = _options_equal_to(read[1] if read else answer, options, compare)
    if read and stated and read[0] not in stated and set(gold_letters) & {read[0], *stated}:
        return Verdict.UNDECIDED  # "(C) 14" where E is 14 and C or E is right
    if read and read[0] in gold_letters and not stated and _is_no_option(read[1], options):
        return Verdict.UNDECIDED  # "(D) 71" where D is right and 56
    if stated:
        return verdict_on({read[0]} if read else set(stated))
    if _LETTERS_ONLY.fullmatch(answer) and len(set(re.findall("[A-Z]", answer))) > 1:
        return Verdict.INCORRECT
    if read:
        return verdict_on({read[0]})
    named = {"".join(groups) for groups in _NAMED_LETTER.findall(answer)}
    if len(named) == 1:
        return verdict_on(named)
    is_maybe = _misspells(answer, options, gold_letters) or _is_in_other_language(answer, options, gold_letters)
    return Verdict.UNDECIDED if is_maybe else Verdict.INCORRECT


def _misspells(answer: str, options: tuple[str, ...], gold_letters: Sequence[str]) -> bool:
    """Whether an answer in words looks most like the right option: Ernest for Ernst, or its cut beginning."""
    if _is_formula(answer) or read_value(answer) is not None:
        return False
    words = [option for option in options if not _is_formula(option) and read_value(option) is None]
    likeness = {word: difflib.SequenceMatcher(None, answer.casefold(), word.casefold()).ratio() for word in words}
    closest = max(likeness, key=likeness.get, default="")
    return likeness.get(closest, 0) > 0.85 and string.ascii_uppercase[options.index(closest)] in gold_letters


def _is_in_other_language(answer: str, options: tuple[str, ...], gold_letters: Sequence[str]) -> bool:
    """Whether answer and right option are words, one of them in Chinese: rules do not translate."""
    right = next(
        (text for letter, text in zip(string.ascii_uppercase, options, strict=False) if letter in gold_letters), ""
    )
    is_words = not _is_formula(right) and read_value(right) is None and not re.search("[A-Za-z0-9]", answer)
    return is_words and _is_chinese(answer) != _is_chinese(right) and read_value(answer) is None


def _is_no_option(text: str, options: tuple[str, ...]) -> bool:
    """Whether the text behind a letter is a value although (all options being values) no option has it."""
    is_value = read_value(text) is not None or (bool(re.search(r"\d", text)) and _is_formula(text))
    are_values = (read_value(option) or (re.search(r"\d", option) and _is_formula(option)) for option in options)
    return is_value and bool(options) and all(are_values)


def _options_equal_to(text: str, options: tuple[str, ...], compare: _Compare) -> list[str]:
    """Letters of all options whose value is `text`."""
    pairs = zip(string.ascii_uppercase, options, strict=False)
    return [letter for letter, option in pairs if _verify_value(text, option, compare) is Verdict.CORRECT]


# --- Values, formulas and words -----------------------------------------------------------------------------------


def _verify_value(answer: str, gold: str, compare: _Compare) -> Verdict:
    """Verdict on a free-form answer; both texts cleaned."""
    if not any(character.isalnum() for character in answer):
        return Verdict.CORRECT if answer and answer == gold else Verdict.INCORRECT  # < and = can be answers
    if answer.casefold() == gold.casefold():
        return Verdict.CORRECT
    gold, answer = _in_radians(gold), _in_radians(answer)
    gold_value, answer_value = read_value(gold), read_value(answer)
    if gold_value is not None:
        names = name_of(gold), name_of(answer)
        if all(names) and not same_name(*names):
            return Verdict.INCORRECT  # AB = 5 is not CD = 5
        if _is_range_around(answer, gold_value):
            return Verdict.UNDECIDED  # 70-75 where 70 is right
        if answer_value is not None:
            return Verdict.CORRECT if same_value(gold_value, answer_value) else Verdict.INCORRECT
        if not _is_formula(answer):
            return _verify_wordy(answer, gold_value)
        is_hopeless = answer.isalpha() or isinstance(gold_value, Colon)
        return Verdict.INCORRECT if is_hopeless else _compare_formulas(answer, gold, compare)
    if not _is_formula(gold):
        return _verify_words(answer, gold)
    if _is_formula(answer):
        return _compare_formulas(answer, gold, compare)
    return Verdict.UNDECIDED if gold.replace(" ", "") in answer.replace(" ", "") else Verdict.INCORRECT


def _compare_formulas(answer: str, gold: str, compare: _Compare) -> Verdict:
    """math-verify on two formulas, unless it would only run out of time or read an equation as its right side."""
    if is_too_large(answer) or is_too_large(gold):
        return Verdict.UNDECIDED
    if "=" not in gold and re.fullmatch(r".*[A-Za-z].*=\s*0", answer) and not name_of(answer):
        return Verdict.UNDECIDED  # x^2+y^2-4=0 is an equation, and not the number 0
    return compare(answer, gold)


def _is_range_around(answer: str, gold: Value) -> bool:
    """Whether an answer is a range of numbers that holds the gold; a difference of such a form is never the gold."""
    ends = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*(?:-|to|~)\s*(\d{1,12}(?:\.\d{1,12})?)", answer)
    if not ends or not isinstance(gold, Number):
        return False
    low, high = (Fraction(end) for end in ends.groups())
    return low <= gold.raw <= high and low < high


_ANGLE = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*(\d+(?:\.\d+)?)\s+degrees\s*[)}]?")


def _in_radians(text: str) -> str:
    """Degrees behind sine and the like in radians: math-verify drops units, and the sine of 30 is not that of 30°."""
    return _ANGLE.sub(r"\1(\\frac{\2\\pi}{180})", text).strip()


def _is_formula(text: str) -> bool:
    """Whether a text is a formula rather than words: no "or", no run of three letters outside LaTeX commands."""
    return not re.search(r"[^\W\d_]{3,}|[\u4e00-\u9fff]|\bor\b", re.sub(r"\\[A-Za-z]+", " ", text))


def _verify_wordy(answer: str, gold: Value) -> Verdict:
    """A sentence against a typed gold: its part behind the last "=", else its only value; several are undecided."""
    if re.search(r"\b(?:or|and)$", answer, re.IGNORECASE):
        return Verdict.UNDECIDED  # cut off before the second value
    text = answer.rpartition("=")[2] if "=" in answer else ""
    tail = read_value(text)
    if tail is None and len(list(NUMBER.finditer(text))) == 1:
        return _verify_wordy(text, gold)  # = 120 votes cast all together
    if tail is not None:
        return Verdict.CORRECT if same_value(gold, tail) else Verdict.INCORRECT
    numbers = [number_of(match) for match in _FREE_NUMBER.finditer(answer)]
    if not numbers and any(same_value(gold, value) for value in map(read_value, _NUMBER_WORD.findall(answer)) if value):
        return Verdict.UNDECIDED  # "there are seven apples", but also "two of them are red"
    values = {Number(number, number) for number in numbers if number is not None}
    is_named = any(same_value(gold, value) for value in values)
    if not isinstance(gold, Number):
        return Verdict.UNDECIDED if values else Verdict.INCORRECT
    if not is_named:
        return Verdict.INCORRECT
    return Verdict.CORRECT if len(values) == 1 else Verdict.UNDECIDED


def _is_chinese(text: str) -> bool:
    return bool(re.search("[\u4e00-\u9fff]", text))


_FREE_NUMBER = re.compile(rf"(?<![A-Za-z])(?:{NUMBER.pattern})")  # 4 is not named in 0x10c4
_NUMBER_WORD = re.compile(
    r"(?i:\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b)|[零两二三四五六七八九十百千]+"
)
_NEGATION = re.compile(r"\b(?:not?|never|cannot|neither|nor|without)\b|n['’]t\b|[不没无非]")


def _verify_words(answer: str, gold: str) -> Verdict:
    """Words against words: undecided if they share words or look misspelt, wrong if not even that or if one negates."""
    fillers = {"the", "a", "an", "is", "are", "it", "of", "on", "in", "at", "they", "and"}
    gold, answer = gold.casefold(), answer.casefold()
    if bool(_NEGATION.search(gold)) != bool(_NEGATION.search(answer)):
        return Verdict.INCORRECT
    gold_words, answer_words = (
        [word for word in re.findall(r"\w+", text) if word not in fillers] for text in (gold, answer)
    )
    if gold_words == answer_words and gold_words:
        return Verdict.CORRECT
    if not gold_words or _is_chinese(gold) != _is_chinese(answer):
        return Verdict.UNDECIDED  # rules do not translate
    if len(gold_words) == len(answer_words) == 1:
        likeness = difflib.SequenceMatcher(None, gold_words[0], answer_words[0]).ratio()
        return Verdict.UNDECIDED if likeness > 0.85 else Verdict.INCORRECT
    lists = [sorted(re.split(r"\s*(?:,|;|、|\band\b|[和与])+\s*", text)) for text in (gold, answer)]
    if lists[0] == lists[1]:
        return Verdict.CORRECT  # blue and red, red and blue
    return Verdict.UNDECIDED if set(gold_words) & set(answer_words) else Verdict.INCORRECT
