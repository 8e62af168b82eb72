"""Guards against reward hacking: what of a response is scored, and which responses earn nothing.

A policy that is trained against a PRM finds what the PRM overrates. These guards are about the *form* of a solution
(empty, repeated, too many, too few steps); what a PRM believes of new and fluent nonsense no rule can mend. Each guard
has its measured effect in `recipes/grpo_with_prm/`. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from ..steps import ParsedResponse

# Soft hyphen, zero-width characters, blank Hangul letters, variation selectors: nothing of them is seen.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]+"
)
# "- ", "2. ", "(2) ", "a) ", "**Step 2:** ", "1.A": what numbers a step; not the beginning of 1.5 or of (2)(3).
_ENUMERATION = re.compile(
    r"\A[\s*_#]*(?:[-\u2013\u2022]\s+|step\s*\d+\s*[.):\u3001]?|\(\s*(?:\d+|[a-z])\s*\)(?=[\s*_]*[^\W_])"
    r"|(?:\d+|[a-z])\s*\)|\d+\s*[.:\u3001](?!\s*\d|\d)|\d+\s*[.:\u3001]\s+)[\s*_]*"
)
# Punctuation that carries no meaning; not that before a digit (1.5, .5, 3:2) unless a word ends there, nor operators
# and brackets.
_SILENT = re.compile(r"\s+|(?<=[^\W\d_])[.,:;?\"`\u2026\u3001\u3002]|[.,:;?\"`\u2026\u3001\u3002](?!\d)")
_THOUSANDS = re.compile(r"(?<=\d)(?<!\d{4}),(?=\d{3}(?!\d))")
_SIGN = re.compile(r"(?:\A|[^\w)\]}\s]|[^\w)\]}\s-]\s|\b(?:is|be|equals|=)\s)-\s?\Z")  # a minus that is no difference
_EDGES = ".,:;!?'\"()[]{}*_#~"


def normalise_step(step: str) -> str:
    """A step's text without case, spaces, numbering and punctuation that carries no meaning; "" if nothing is left.

    Example:
        >>> normalise_step("Step 2:  A = 47 .") == normalise_step("**a=47**")
        True
        >>> normalise_step("A-B=1.5") == normalise_step("A+B=15")
        False
    """
    text = _ENUMERATION.sub("", _plain(step), count=1)
    return _SILENT.sub("", text).strip(_EDGES)


@dataclasses.dataclass(frozen=True)
class GuardedSolution:
    """What is left of a response.

    Args:
        steps: The steps to score; empty if there is a fault.
        fault: Why the response earns nothing whatever its steps are worth ("malformed", "empty step", "marker", "too
            few steps", "too many steps", "answer not derived"); None if it is scored.
        num_steps: Steps that the policy wrote.
        num_repeats: Those of them that repeat an earlier one.
    """

    steps: tuple[str, ...]
    fault: str | None
    num_steps: int
    num_repeats: int


@dataclasses.dataclass(frozen=True)
class SolutionGuards:
    """Decides what of a parsed response is scored.

    Args:
        allow_empty_steps: False: a step without any letter or digit ("...", "-") is a fault. (A blank one always is: it
            breaks the step format.)
        drop_repeats: True: a step that says what an earlier step of the same solution says (`normalise_step`) is taken
            out before scoring, so that copies, also in cycles, change no reward.
        min_steps: Fewer steps, repeats not counted, are a fault.
        max_steps: More steps, repeats counted, are a fault; None for no limit.
        answer_in_last_step: True: a solution whose last step does not name its answer is a fault. The PRM sees no
            answer block, so that a few safe steps and a guess would earn the score of the safe steps; with this guard
            the guess must stand where the PRM judges it. Only for data whose answers are written in the steps as in
            the answer block (numbers, say; not letters of choices).

    Raises:
        ValueError: unless 1 <= min_steps <= max_steps.
    """

    allow_empty_steps: bool = False
    drop_repeats: bool = True
    min_steps: int = 1
    max_steps: int | None = None
    answer_in_last_step: bool = False

    def __post_init__(self) -> None:
        if self.min_steps < 1 or (self.max_steps is not None and self.max_steps < self.min_steps):
            raise ValueError(
                f"Found min_steps={self.min_steps}, max_steps={self.max_steps}. A solution has at least one step, and "
                "max_steps (None: no limit) is not below min_steps."
            )

    def check(self, response: ParsedResponse, marker_token: str) -> GuardedSolution:
        """The response's steps to score, or its fault."""
        kept: dict[str, str] = {}
        for step in response.steps:
            kept.setdefault(normalise_step(step), step)
        num_repeats = len(response.steps) - len(kept)
        fault = self._fault(response, marker_token, len(kept))
        steps = tuple(kept.values()) if self.drop_repeats else response.steps
        return GuardedSolution(() if fault else steps, fault, len(response.steps), num_repeats)

    def _fault(self, response: ParsedResponse, marker_token: str, num_distinct: int) -> str | None:
        if not response.complete:
            return "malformed"
        if any(marker_token in step for step in response.steps):
            return "marker"
        if not self.allow_empty_steps and not all(map(_says_something, response.steps)):
            return "empty step"
        if num_distinct < self.min_steps:
            return "too few steps"
        if self.max_steps is not None and len(response.steps) > self.max_steps:
            return "too many steps"
        if self.answer_in_last_step and not _names(response.steps[-1], response.answer):
            return "answer not derived"
        return None


def _names(step: str, answer: str) -> bool:
    """Whether a step names an answer, as a word or number of its own: 5 is not named in 75, 1.5 or x = -5."""
    step, answer = (_THOUSANDS.sub("", " ".join(_plain(text).split())) for text in (step, answer))
    before = r"(?<!\d)(?<!\d[.,])" if answer[:1].isdigit() else r"(?<![^\W\d_])" if answer[:1].isalpha() else ""
    after = r"(?!\d)(?![.,]\d)" if answer[-1:].isdigit() else r"(?![^\W\d_])" if answer[-1:].isalpha() else ""
    found = re.finditer(before + re.escape(answer) + after, step)
    return any(not (answer[:1].isdigit() and _SIGN.search(step, 0, match.start())) for match in found)


def _plain(text: str) -> str:
    """Compatibility forms and case folded, one minus, nothing invisible."""
    text = unicodedata.normalize("NFKC", _HIDDEN.sub("", text)).casefold()
    return _HIDDEN.sub("", text).replace("\u2212", "-")


def _says_something(step: str) -> bool:
    return any(character.isalnum() for character in _plain(step))


__all__ = ["GuardedSolution", "SolutionGuards", "normalise_step"]
