"""The verdicts of the library math-verify, for tables that stand beside tables graded by it.

`RuleVerifier` is stricter: math-verify takes the part of a text that it can read for the whole (docs/answers.md
measures both).
"""

from __future__ import annotations

import importlib.metadata
import threading
from typing import Any

from ..data import Problem, Verdict

_MARKS = ("$", "\\(", "\\[", "\\boxed")


class MathVerifyVerifier:
    """Verifier that asks math-verify alone, as its documentation shows: ``verify(parse(gold), parse(answer))``.

    A text without marks of a formula is read as one formula. In the main thread a formula has `timeout_seconds`;
    in another thread there is no limit, since math-verify's needs a signal.

    Args:
        timeout_seconds: The most whole seconds for reading a text, and for comparing two.

    Example:
        >>> MathVerifyVerifier().verify("$\\\\frac{1}{2}$", "0.5")
        <Verdict.CORRECT: 'correct'>
    """

    def __init__(self, timeout_seconds: int = 5) -> None:
        self.timeout_seconds = timeout_seconds
        self.identity: dict[str, Any] = {
            "verifier": "math-verify",
            "version": importlib.metadata.version("math-verify"),
        }

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        """Return the verdict on `answer` to `problem`, see `verify`."""
        return self.verify(answer, problem.answer)

    def verify(self, answer: str | None, gold: str | None) -> Verdict:
        """Return CORRECT or INCORRECT as math-verify says; UNDECIDED for a gold that it cannot read.

        Args:
            answer: Text of the answer; None or blank is INCORRECT.
            gold: The right answer.
        """
        import math_verify

        timeout = self.timeout_seconds if threading.current_thread() is threading.main_thread() else None
        parsed_gold, parsed = (
            math_verify.parse(text if any(mark in text for mark in _MARKS) else f"${text}$", parsing_timeout=timeout)
            for text in (gold or "", answer or "")
        )
        if not parsed_gold:
            return Verdict.UNDECIDED
        is_right = math_verify.verify(parsed_gold, parsed, timeout_seconds=timeout)
        return Verdict.CORRECT if is_right else Verdict.INCORRECT
