"""Which candidates' answers say the same, for votes. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import Verdict
from .choices import read_letter
from .cleaning import clean_answer
from .equality import same_name, same_value
from .formula_pool import SHARED_POOL
from .free_form import is_formula, verify_formula
from .values import read_name, read_value
from .verifier import MAX_RULE_CHARS


def answers_equivalent(first: str | None, second: str | None) -> bool:
    """Return whether two candidates' answers say the same; symmetric, False where rules cannot tell or one is blank.

    Example:
        >>> answers_equivalent("0.50", "1/2"), answers_equivalent("(C)", "C. 30"), answers_equivalent("5 cm", "5 m")
        (True, True, False)
    """
    if not (first and first.strip() and second and second.strip()):
        return False
    first, second = sorted(clean_answer(answer[-MAX_RULE_CHARS:]) for answer in (first, second))
    if first == second:
        return True
    letters = read_letter(first), read_letter(second)
    if None not in letters:
        return letters[0][0] == letters[1][0]
    names = read_name(first), read_name(second)
    if all(names) and not same_name(*names):
        return False
    values = read_value(first), read_value(second)
    if None not in values:
        return same_value(*values) or same_value(values[1], values[0])
    if values != (None, None) or not (is_formula(first) and is_formula(second)):
        return first.casefold() == second.casefold()
    return verify_formula(first, second, SHARED_POOL.verify) is Verdict.CORRECT


def group_answers(answers: Sequence[str | None]) -> list[int | None]:
    """Return a group per answer, numbered by first appearance and shared by equivalent answers; blank ones have None.

    Each answer is compared with the first of every group, so that the groups depend on the order alone.

    Example:
        >>> group_answers(["1/2", None, "0.5", "3"])
        [0, None, 0, 1]
    """
    representatives: list[str] = []
    group_by_answer: dict[str, int] = {}
    for answer in answers:
        if answer and answer.strip() and answer not in group_by_answer:
            matches = (index for index, other in enumerate(representatives) if answers_equivalent(other, answer))
            group_by_answer[answer] = next(matches, len(representatives))
            if group_by_answer[answer] == len(representatives):
                representatives.append(answer)
    return [group_by_answer.get(answer) for answer in answers]
