"""Verification of answers by rules, with three verdicts; a judge is only for what the rules leave undecided.

An answer is cleaned of markup, read to its end as a typed value (number with a unit, clock time or ratio, coordinates,
several values, formula, equation, choice letter, words) and compared; formulas are computed at points, see `numeric`.
No rule raises on the text of a model, and what cannot be read whole is UNDECIDED, never right.

Standard library only; safe in any thread.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from ..data import Problem, Verdict
from .choices import verify_choice
from .cleaning import clean_answer, num_open_braces
from .extraction import MAX_RULE_CHARS, answer_to_read
from .free_form import verify_free_form
from .numeric import rounds_to
from .texts import is_in_words
from .values import Number, read_name, read_value


class RuleVerifier:
    """Verifier that judges by rules alone. Stateless, picklable, safe in any thread and in an event loop."""

    identity: ClassVar[dict[str, Any]] = {"verifier": "rules", "version": 5}
    """What judges: the version rises whenever a verdict may change."""

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        """Return the verdict on `answer` to `problem`, see `verify`.

        ``problem.meta["precision"]``, where a source gives it, is the number of decimals that its gold is rounded to.
        """
        return self.verify(
            answer,
            problem.answer,
            answer_type=problem.answer_type,
            options=problem.options,
            precision=problem.meta.get("precision"),
        )

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

        A missing unit is forgiven and a given one compared (5 cm is 5, but not 5 m); 30 % is 30 and 0.3.

        Args:
            answer: Text of the answer block. None or blank is INCORRECT where there is a gold: no answer is never
                right. (Searches do not ask about incomplete rollouts: those are counted apart.)
            gold: The right answer; None or blank gives UNDECIDED.
            answer_type: "number", "choice" or "text". "choice" reads letters and `options`; the gold's own form tells
                the other two apart.
            options: Choices in letter order; non-empty makes it a choice problem whatever `answer_type` is.
            precision: Decimals that the gold is rounded to: answers that round to it are right. None where the problem
                asks for no rounding (0.33 is then 1/3, but never 0.334).

        Returns:
            UNDECIDED also for a gold that cannot be read, a letter that contradicts the value beside it, a
            formula that is cut off and begins as the gold does, a misspelt option, a value that the answer itself
            doubts ("5 (rejected)"), and wordy answers that a reader could take either way.

        Example:
            >>> RuleVerifier().verify("$\\\\frac{1}{2}$", "0.5")
            <Verdict.CORRECT: 'correct'>
            >>> RuleVerifier().verify("(C) 30", "C", answer_type="choice", options=["10", "20", "30"])
            <Verdict.CORRECT: 'correct'>
        """
        # Differs from MM-PRM: rules first and exact, and what fails is undecided; there a language model judges at
        # temperature 0.5 and every failure counts as a wrong answer.
        return _verify(answer, gold, answer_type, options, precision)


def _verify(
    answer: str | None,
    gold: str | None,
    answer_type: str,
    options: Sequence[str],
    precision: int | None,
) -> Verdict:
    if gold is None or not gold.strip():
        return Verdict.UNDECIDED
    if answer is None or not answer.strip():
        return Verdict.INCORRECT
    if answer.strip() == gold.strip():
        return Verdict.CORRECT
    written = answer_to_read(answer)
    if written is None or max(map(len, (gold, *options))) > MAX_RULE_CHARS:
        return Verdict.UNDECIDED
    is_cut = num_open_braces(written) > 0 or bool(re.search(r"[-+*/=^]\s*$", written))
    gold, answer = clean_answer(gold), clean_answer(written)
    options = tuple(clean_answer(option) for option in options)
    if is_cut and _begins_as_the_gold(answer, gold, options):
        return Verdict.UNDECIDED
    if options or answer_type == "choice":
        return verify_choice(answer, gold, options, written)
    verdict = verify_free_form(answer, gold, written)
    if is_cut and verdict is Verdict.UNDECIDED and not is_in_words(answer):
        return Verdict.INCORRECT  # it does not begin as the gold does
    if verdict is Verdict.INCORRECT and precision is not None and _rounds_to_gold(answer, gold, int(precision)):
        return Verdict.CORRECT
    return verdict


def _begins_as_the_gold(answer: str, gold: str, options: Sequence[str]) -> bool:
    r"""Whether a formula that is cut off may have gone on as the gold does: ``\frac{1`` of ``\frac{1}{2}``."""
    letter = string.ascii_uppercase.find(gold) if len(gold) == 1 else -1
    whole = (options[letter] if 0 <= letter < len(options) else gold).replace(" ", "")
    beginning = answer.replace(" ", "").rstrip("}")
    return bool(beginning) and whole.startswith(beginning) and whole.rstrip("}") != beginning


def _rounds_to_gold(answer: str, gold: str, precision: int) -> bool:
    """Whether an answer with more decimals than the problem asks for rounds to the gold."""
    gold_value, value = read_value(gold), read_value(answer)
    if not (isinstance(gold_value, Number) and isinstance(value, Number)) or read_name(gold) != read_name(answer):
        return False
    is_finer = value.num_decimals > precision or not isinstance(value.raw, Fraction)
    units_match = gold_value.unit == value.unit or not (gold_value.unit and value.unit)
    return is_finer and units_match and rounds_to(value.raw, gold_value.raw, precision)
