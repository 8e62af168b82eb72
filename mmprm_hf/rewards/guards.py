"""Guards against reward hacking: which steps of a response are scored, and which responses earn nothing.

A policy that is trained against a PRM finds what the PRM overrates. These guards judge the *form* of a solution (empty,
repeated, too many, too few steps). No rule can stop a PRM from believing new and fluent nonsense. The measured effect
of each guard is in `recipes/grpo_with_prm/`. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from ..steps import ParsedResponse

# Soft hyphen, zero-width characters, blank Hangul letters, variation selectors: none of them is visible.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]+"
)
# Numbering of a step: "- ", "2. ", "(2) ", "a) ", "**Step 2:** ", "1.A"; not the beginning of 1.5 or of (2)(3).
_ENUMERATION = re.compile(
    r"\A[\s*_#]*(?:[-\u2013\u2022]\s+|step\s*\d+\s*[.):\u3001]?|\(\s*(?:\d+|[a-z])\s*\)(?=[\s*_]*[^\W_])"
    r"|(?:\d+|[a-z])\s*\)|\d+\s*[.:\u3001](?!\s*\d|\d)|\d+\s*[.:\u3001]\s+)[\s*_]*"
)
# Punctuation that carries no meaning; not that before a digit (1.5, .5, 3:2) unless a word ends there, nor operators
# and brackets.
_SILENT = re.compile(r"\s+|(?<=[^\W\d_])[.,:;?\"`\u2026\u3001\u3002]|[.,:;?\"`\u2026\u3001\u3002](?!\d)")
_THOUSANDS = re.compile(r"(?<=\d)(?<!\d{4}),(?=\d{3}(?!\d))")
_SIGN = re.compile(r"(?:\A|[^\w)\]}\s]|[^\w)\]}\s-]\s|\b(?:is|be|equals|=)\s)-\s?\Z")  # a minus that is a sign
_EDGES = ".,:;!?'\"()[]{}*_#~"


def normalise_step(step: str) -> str:
    """Return a step's text without case, spaces, numbering and meaningless punctuation; "" if nothing is left.

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
    """The steps of a response that are scored, or its fault.

    Args:
        steps: The steps to score; empty if there is a fault.
        fault: Why the response earns nothing whatever its steps are worth ("malformed", "empty step", "marker", "too
            few steps", "too many steps", "answer not derived"); None if it is scored.
        num_steps: Number of steps that the policy wrote.
        num_repeats: Number of those that repeat an earlier one.
    """

    steps: tuple[str, ...]
    fault: str | None
    num_steps: int
    num_repeats: int


@dataclasses.dataclass(frozen=True)
class SolutionGuards:
    """Decides which steps of a parsed response are scored.

    Args:
        allow_empty_steps: If False, a step without any letter or digit ("...", "-") is a fault. (A blank step always
            is: it breaks the step format.)
        drop_repeats: If True, a step that repeats an earlier one of the same solution (`normalise_step`) is not scored,
            so that copies, also in cycles, change no reward.
        min_steps: Fewer steps, repeats not counted, are a fault.
        max_steps: More steps, repeats counted, are a fault; None for no limit.
        answer_in_last_step: If True, a solution whose last step does not name its answer is a fault. The PRM sees no
            answer block, so that a few safe steps and a guess would earn the score of the safe steps; with this guard
            the guess must stand where the PRM judges it. Only for data whose steps write answers as the answer block
            does (numbers, say; not letters of choices).

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
        """Return the response's steps to score, or its fault."""
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
    matches = re.finditer(before + re.escape(answer) + after, step)
    return any(not (answer[:1].isdigit() and _SIGN.search(step, 0, match.start())) for match in matches)


def _plain(text: str) -> str:
    """The text with compatibility forms and case folded, one kind of minus, and no invisible characters."""
    text = unicodedata.normalize("NFKC", _HIDDEN.sub("", text)).casefold()
    return _HIDDEN.sub("", text).replace("\u2212", "-")


def _says_something(step: str) -> bool:
    return any(character.isalnum() for character in _plain(step))
