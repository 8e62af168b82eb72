"""Which candidates' answers say the same, for votes. Standard library only."""

from __future__ import annotations

import collections
from collections.abc import Hashable, Sequence

from .cleaning import clean_answer
from .equality import same_named_value
from .keys import choice_letter, keys_of
from .texts import same_text
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
    return _equivalent(*(clean_answer(answer[-MAX_RULE_CHARS:]) for answer in (first, second)))


def group_answers(answers: Sequence[str | None]) -> list[int | None]:
    """Return a group per answer, numbered by first appearance and shared by equivalent answers; blank ones have None.

    An answer joins the earliest group whose first answer it is equivalent to. Being equivalent is not transitive (0.33
    and 0.333 are both 1/3), so that the groups may depend on the order; nothing else is in two groups. Answers are
    compared only where they share a key (`keys`), so that time grows close to linearly.

    Example:
        >>> group_answers(["1/2", None, "0.5", "3"])
        [0, None, 0, 1]
    """
    representatives: list[str] = []
    groups_by_key: dict[Hashable, list[int]] = collections.defaultdict(list)
    group_by_text: dict[str, int] = {}
    groups: list[int | None] = []
    for answer in answers:
        if not answer or not answer.strip():
            groups.append(None)
            continue
        text = clean_answer(answer[-MAX_RULE_CHARS:])
        if text not in group_by_text:
            keys = keys_of(text)
            nearby = sorted({group for key in keys for group in groups_by_key.get(key, ())})
            match = next((group for group in nearby if _equivalent(representatives[group], text)), None)
            if match is None:
                match = len(representatives)
                representatives.append(text)
                for key in keys:
                    groups_by_key[key].append(match)
            group_by_text[text] = match
        groups.append(group_by_text[text])
    return groups


def _equivalent(first: str, second: str) -> bool:
    """Whether two cleaned answers say the same."""
    first, second = sorted((first, second))
    if first == second:
        return True
    letters = choice_letter(first), choice_letter(second)
    if all(letters):
        return letters[0] == letters[1]
    values = read_value(first), read_value(second)
    if None in values:
        return values == (None, None) and same_text(first, second) is True
    names = read_name(first), read_name(second)
    return any(same_named_value(names[a], values[a], names[b], values[b]) is True for a, b in ((0, 1), (1, 0)))
