"""Whether a restructured solution still says what the original said: one reason if not, None if it does.

Every rule is pure and errs on the side of rejecting: a lost row costs one request, a changed one teaches the policy
something false. Standard library only, beside the rules for answers.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from ..answers import RuleVerifier, extract_answer
from ..data import Verdict
from ..steps import DEFAULT_STEP_FORMAT, ParsedResponse, StepFormat
from .numbers import missing_numbers, read_numbers

REASONS = {
    "format": "not steps and one answer, or cut off",
    "marker_in_text": "a tag, mark or control token inside a step",
    "few_steps": "not cut into enough steps",
    "repeated_step": "a step stands there more often than in the original",
    "too_short": "much shorter than the original",
    "too_long": "much longer than the original",
    "numbers_added": "a number that neither question nor original has",
    "numbers_lost": "too few of the original's numbers left",
    "answer_changed": "another final answer",
    "original_wrong": "the original's own answer is not the gold one",
    "answer_undecided": "rules cannot compare the final answers",
}
"""Why a reply is rejected, in the order in which the rules are asked."""
UNREPAIRABLE = frozenset({"original_wrong"})
"""Reasons that lie in the original: another attempt would not help."""
MAX_OWN_ANSWER_CHARS = 80
"""An original's own answer that is longer is its last paragraph, for want of anything that says "the answer is": that
another answer does not look like it proves nothing."""
_CONTROL = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|<<<|>>>|</?\s*(?:image|img|video|think|prm|s|bos|eos|pad|unk|IMG_CONTEXT)\s*/?>|```",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Thresholds of the checks.

    Args:
        min_steps: The fewest steps. 2: a solution in one piece gives a search nothing to bisect and a PRM one label;
            1 keeps one-line solutions too.
        min_numbers_kept: The least share of the original's distinct numbers that must be left. Below 1 because leaving
            out an aside ("there are 3 ways, here is one") is no loss; 0.8 lets one in five go, and of fewer than five
            none. In [0, 1].
        min_length_ratio: The least length, in characters without whitespace, as a multiple of the original's. Half:
            headings and filler of an original may go, its reasoning may not.
        max_length_ratio: The greatest. Twice: formulas may be written out; more is a new solution or a loop.
        length_slack: Characters on top of the greatest length, for originals of one line ("8").

    Raises:
        ValueError: if a value is out of its range.
    """

    min_steps: int = 2
    min_numbers_kept: float = 0.8
    min_length_ratio: float = 0.5
    max_length_ratio: float = 2.0
    length_slack: int = 100

    def __post_init__(self) -> None:
        rules = {
            "min_steps": (self.min_steps >= 1, "at least 1"),
            "min_numbers_kept": (0 <= self.min_numbers_kept <= 1, "in [0, 1]"),
            "min_length_ratio": (0 <= self.min_length_ratio <= 1, "in [0, 1]"),
            "max_length_ratio": (self.max_length_ratio >= 1, "at least 1"),
            "length_slack": (self.length_slack >= 0, "at least 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in CheckConfig; it must be {rule}.")


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a solution is not taken: a key of `REASONS` (or of the run's own reasons), and what was seen."""

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
    step_format: StepFormat = DEFAULT_STEP_FORMAT,
) -> Rejection | None:
    """Return the first rule that the restructured solution breaks, None if it keeps them all.

    Args:
        original: The free-form solution.
        parsed: The restructured one.
        answer: The gold answer; None compares with the answer that the original itself gives.
        question: Its numbers may be used; the options' too.
        answer_type, options: See `RuleVerifier.verify`.
        config: None takes the defaults.
        step_format: Whose tags may not stand inside a step, however they are written.

    Example:
        >>> check_restructured("3+4=7, 7-2=5", ParsedResponse(("3+4=7", "7-3=4"), "4", True), "5")
        Rejection(reason='numbers_lost', detail='2 of 5 lost: 2, 5')
    """
    config = config or CheckConfig()
    return (
        _check_form(original, parsed, config, step_format)
        or _check_length(original, parsed, config)
        or _check_numbers(original, parsed, [question, *options], config)
        or _check_answer(original, parsed.answer or "", answer, answer_type, options)
    )


def _check_form(
    original: str, parsed: ParsedResponse, config: CheckConfig, step_format: StepFormat
) -> Rejection | None:
    if not parsed.complete or parsed.answer is None:
        return Rejection("format", f"{len(parsed.steps)} whole steps, answer {_short(parsed.answer or 'missing')}")
    # <Step>, < / answer >, <step 2>: what parsing does not take for a tag, a reader would.
    names = "|".join(sorted({re.escape(re.sub(r"[\W_]+", "", tag)) for tag in step_format.tags} - {""}))
    near_tag = re.compile(rf"<\s*/?\s*(?:{names})\b[^<>\n]{{0,20}}>", re.IGNORECASE) if names else None
    for text in (*parsed.steps, parsed.answer):
        found = _CONTROL.search(text) or (near_tag and near_tag.search(text))
        if found:
            return Rejection("marker_in_text", _short(found.group()))
    if len(parsed.steps) < config.min_steps:
        return Rejection("few_steps", f"{len(parsed.steps)} of at least {config.min_steps}")
    # What the original itself repeats (an executed loop, "Simplifying, we get:") is content.
    before, seen = _squeeze(original).casefold(), Counter[str]()
    for step in parsed.steps:
        key = _squeeze(step).casefold()
        seen[key] += 1
        if seen[key] > max(1, before.count(key)):
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
    """The answer's own numbers may be written in another form (0.4 for 2/5): the answer's check is about them."""
    before = read_numbers(original)
    added = missing_numbers(read_numbers(*parsed.steps), before, read_numbers(*context))
    if added:
        return Rejection("numbers_added", _short(", ".join(added)))
    lost = missing_numbers(before, read_numbers(*parsed.steps, parsed.answer or ""))
    if len(before.stated) - len(lost) < config.min_numbers_kept * len(before.stated):
        return Rejection("numbers_lost", _short(f"{len(lost)} of {len(before.stated)} lost: {', '.join(lost)}"))
    return None


def _check_answer(
    original: str, found: str, gold: str | None, answer_type: str, options: Sequence[str]
) -> Rejection | None:
    own = extract_answer(original) or ""

    def verify(answer: str, reference: str) -> Verdict:
        return RuleVerifier().verify(answer, reference, answer_type=answer_type, options=options)

    def compare_with_own() -> Verdict:
        """Either may be the wordy one: 5 for "so 7 - 2 = 5"."""
        verdicts = (verify(found, own), verify(own, found))
        if Verdict.CORRECT in verdicts:
            return Verdict.CORRECT
        is_decided = verdicts[0] is verdicts[1] and len(own) <= MAX_OWN_ANSWER_CHARS
        return verdicts[0] if is_decided else Verdict.UNDECIDED

    has_gold = bool(gold and gold.strip())
    verdict = verify(found, gold) if has_gold else compare_with_own()
    detail = _short(f"{found!r} for {(gold if has_gold else own)!r}")
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
