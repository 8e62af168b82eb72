"""Whether a restructured solution still states what the original stated: the reason if it does not.

Every rule is pure and rejects in doubt: a lost row costs one request, a changed one teaches the policy something false.
Standard library only, beside the rules for answers.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from ..answers import RuleVerifier, extract_answer
from ..data import Verdict
from ..steps import TAGGED, ParsedResponse, StepFormat
from .config import CheckConfig
from .numbers import missing_numbers, read_numbers

REASONS = {
    "format": "not steps and one answer, or cut off",
    "marker_in_text": "a tag, mark or control token inside a step",
    "few_steps": "too few steps",
    "repeated_step": "a step occurs more often than in the original",
    "too_short": "much shorter than the original",
    "too_long": "much longer than the original",
    "numbers_added": "a number that neither question nor original has",
    "numbers_lost": "too few of the original's numbers left",
    "answer_changed": "another final answer",
    "original_wrong": "the original's own answer is not the gold one",
    "answer_undecided": "rules cannot compare the final answers",
    "not_writable": "the step format cannot hold the steps",
}
"""Why a reply is rejected, in the order of the rules."""
UNREPAIRABLE = frozenset({"original_wrong"})
"""Reasons that lie in the original: another attempt would not help."""
MAX_OWN_ANSWER_CHARS = 80
"""A longer "own answer" of the original is only its last paragraph, because nothing in it announces the answer. That
another answer does not look like it proves nothing."""
_CONTROL = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|<<<|>>>|</?\s*(?:image|img|video|think|prm|s|bos|eos|pad|unk|IMG_CONTEXT)\s*/?>|```",
    re.IGNORECASE,
)
# <Step>, < / answer >, <step 2>: the parser takes none of them for a tag, but a reader would.
_TAG_NAMES = "|".join(sorted({re.escape(re.sub(r"[\W_]+", "", tag)) for tag in TAGGED.tags}))
_NEAR_TAG = re.compile(rf"<\s*/?\s*(?:{_TAG_NAMES})\b[^<>\n]{{0,20}}>", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a solution is rejected: a key of `REASONS` (or of the run's own reasons), and what was seen."""

    reason: str
    detail: str = ""


def check_restructured(
    original: str,
    parsed: ParsedResponse,
    answer: str | None,
    *,
    question: str = "",
    answer_type: str = "text",
    options: Sequence[str] = (),
    config: CheckConfig | None = None,
) -> Rejection | None:
    """Return the first rule that the restructured solution breaks; None if it keeps them all.

    Args:
        original: The free-form solution.
        parsed: The restructured one.
        answer: The gold answer; None compares with the answer that the original itself gives.
        question: Its numbers may be used, as those of the options.
        answer_type, options: See `RuleVerifier.verify`.
        config: Thresholds; None takes the defaults.

    Example:
        >>> check_restructured("3+4=7, 7-2=5", ParsedResponse(("3+4=7", "7-3=4"), "4", True), "5")
        Rejection(reason='numbers_lost', detail='2 of 5 lost: 2, 5')
    """
    config = config or CheckConfig()
    return (
        _check_form(parsed)
        or _check_steps(original, parsed, config)
        or _check_length(original, parsed, config)
        or _check_numbers(original, parsed, [question, *options], config)
        or _check_answer(original, parsed.answer or "", answer, answer_type, options)
    )


def check_writable(parsed: ParsedResponse, step_format: StepFormat) -> Rejection | None:
    """Return a rejection if steps and answer would be read as others in a step format; None if they can be written."""
    try:
        step_format.render(parsed.steps, parsed.answer or "")
    except ValueError as error:
        return Rejection("not_writable", str(error))
    return None


def _check_form(parsed: ParsedResponse) -> Rejection | None:
    if not parsed.complete or parsed.answer is None:
        return Rejection("format", f"{len(parsed.steps)} whole steps, answer {_short(parsed.answer or 'missing')}")
    for text in (*parsed.steps, parsed.answer):
        marker = _CONTROL.search(text) or _NEAR_TAG.search(text)
        if marker:
            return Rejection("marker_in_text", _short(marker.group()))
    return None


def _check_steps(original: str, parsed: ParsedResponse, config: CheckConfig) -> Rejection | None:
    if len(parsed.steps) < config.min_steps:
        return Rejection("few_steps", f"{len(parsed.steps)} of at least {config.min_steps}")
    # What the original itself repeats (an executed loop, "Simplifying, we get:") is content.
    squeezed_original, counts = _squeeze(original).casefold(), Counter[str]()
    for step in parsed.steps:
        squeezed = _squeeze(step).casefold()
        counts[squeezed] += 1
        if counts[squeezed] > max(1, squeezed_original.count(squeezed)):
            return Rejection("repeated_step", _short(step))
    return None


def _check_length(original: str, parsed: ParsedResponse, config: CheckConfig) -> Rejection | None:
    before, after = len(_squeeze(original)), sum(len(_squeeze(step)) for step in parsed.steps)
    if after < config.min_length_ratio * before:
        return Rejection("too_short", f"{after} of {before} characters")
    if after > config.max_length_ratio * before + config.length_slack:
        return Rejection("too_long", f"{after} for {before} characters")
    return None


def _check_numbers(
    original: str, parsed: ParsedResponse, context: Sequence[str], config: CheckConfig
) -> Rejection | None:
    """Numbers of the steps alone may not be new: those of the answer (0.4 for 2/5) are the answer check's concern."""
    before = read_numbers(original)
    added = missing_numbers(read_numbers(*parsed.steps), before, read_numbers(*context))
    if added:
        return Rejection("numbers_added", _short(", ".join(added)))
    lost = missing_numbers(before, read_numbers(*parsed.steps, parsed.answer or ""))
    if len(before.stated) - len(lost) < config.min_numbers_kept * len(before.stated):
        return Rejection("numbers_lost", _short(f"{len(lost)} of {len(before.stated)} lost: {', '.join(lost)}"))
    return None


def _check_answer(
    original: str, answer: str, gold: str | None, answer_type: str, options: Sequence[str]
) -> Rejection | None:
    own_answer = extract_answer(original) or ""

    def verify(first: str, second: str) -> Verdict:
        return RuleVerifier().verify(first, second, answer_type=answer_type, options=options)

    def compare_with_own() -> Verdict:
        """Either may be the wordy one: 5 for "so 7 - 2 = 5"."""
        verdicts = (verify(answer, own_answer), verify(own_answer, answer))
        if Verdict.CORRECT in verdicts:
            return Verdict.CORRECT
        is_decided = verdicts[0] is verdicts[1] and len(own_answer) <= MAX_OWN_ANSWER_CHARS
        return verdicts[0] if is_decided else Verdict.UNDECIDED

    has_gold = bool(gold and gold.strip())
    verdict = verify(answer, gold) if has_gold else compare_with_own()
    detail = _short(f"{answer!r} for {(gold if has_gold else own_answer)!r}")
    if verdict is Verdict.CORRECT:
        return None
    if verdict is Verdict.UNDECIDED:
        return Rejection("answer_undecided", detail)
    is_own = has_gold and compare_with_own() is Verdict.CORRECT
    return Rejection("original_wrong" if is_own else "answer_changed", detail)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
