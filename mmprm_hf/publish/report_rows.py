"""Rows of a results run, read, checked and picked for a report; no HTML here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..answers import group_answers
from ..data import Verdict, content_hash
from ..rows import read_candidate_rows
from ..selection import majority_vote

GROUPS: dict[str, str] = {
    "rescued": "PRM's choice right, majority wrong",
    "lost": "PRM's choice wrong, majority right",
    "missed": "PRM's choice and majority wrong, although a candidate was right",
    "solved": "PRM's choice and majority right",
    "unsolved": "No candidate right",
    "undecided": "Not judged",
}
"""What a problem can show, in page order."""


def classify(row: Mapping[str, Any]) -> str:
    """Return the key in `GROUPS` of one candidates row.

    As in the evaluation an incomplete candidate is wrong and does not vote, and a problem without a majority has a
    wrong one. A problem is "undecided" if the choice or the majority is, if nothing was chosen among complete
    candidates, or if there is no gold answer.
    """
    if row.get("answer") is None:
        return "undecided"
    candidates = row["candidates"]
    verdicts = [verdict_of(candidate) for candidate in candidates]
    majority = majority_choice(row)
    if row.get("chosen") is not None:
        chosen_verdict = verdicts[row["chosen"]]
    else:
        is_choice_possible = any(candidate.get("complete", True) for candidate in candidates)
        chosen_verdict = Verdict.UNDECIDED if is_choice_possible else Verdict.INCORRECT
    majority_verdict = Verdict.INCORRECT if majority is None else verdicts[majority]
    if Verdict.UNDECIDED in (chosen_verdict, majority_verdict):
        return "undecided"
    is_right, is_majority_right = chosen_verdict is Verdict.CORRECT, majority_verdict is Verdict.CORRECT
    if is_right or is_majority_right:
        return "solved" if is_right and is_majority_right else "rescued" if is_right else "lost"
    if Verdict.CORRECT in verdicts:
        return "missed"
    return "undecided" if Verdict.UNDECIDED in verdicts else "unsolved"


def pick_problems(rows: Sequence[Mapping[str, Any]], num_problems: int) -> list[tuple[str, int]]:
    """Return ``(group, row index)`` of the problems to show, in page order; all of them if there are few.

    Within a group (`classify`) problems stand in the order of a hash of their id, so none is hand-picked; the groups
    then take turns until `num_problems` are found.
    """
    members: dict[str, list[int]] = {group: [] for group in GROUPS}
    for index, row in enumerate(rows):
        members[classify(row)].append(index)
    for indices in members.values():
        indices.sort(key=lambda index: (content_hash(str(rows[index]["problem_id"])), index))
    turns = sorted(
        (turn, order, group, index)
        for order, (group, indices) in enumerate(members.items())
        for turn, index in enumerate(indices)
    )
    shown = sorted(turns[:num_problems], key=lambda entry: (entry[1], entry[0]))
    return [(group, index) for _, _, group, index in shown]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the checked rows of a candidates file, and how many others there are by why they were not shown.

    Rows of problems that could not be shown to the models have no candidates and leave; complete candidates of a row
    without a gold answer are undecided; infinite scores (never JSON proper) become None.
    """
    rows = read_candidate_rows(path)
    shown, reasons = [], Counter()
    for row in rows:
        if row.get("outcome") == "not_shown" or (row.get("error") and not row.get("candidates")):
            reasons[str(row.get("error") or "no reason given")] += 1
        else:
            shown.append(_check_row(row, path))
    return shown, dict(reasons.most_common())


def parse_json(text: str, where: str) -> dict[str, Any]:
    """The JSON object in `text`; ValueError naming `where` for anything else."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is no JSON ({error}). Was its writing cut short? Write it again.") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{where} holds a {type(parsed).__name__}. Expected a JSON object.")
    return parsed


def _check_row(row: dict[str, Any], path: Path) -> dict[str, Any]:
    """The row itself, if it has all that the page is made of."""
    if missing := [key for key in ("problem_id", "question", "candidates") if not row.get(key)]:
        raise ValueError(
            f"A row of {path} ({row.get('problem_id')!r}) has no {', '.join(missing)}. "
            "A row needs problem_id, question and at least one candidate; write the file with the rerank stage."
        )
    return row


def verdict_of(candidate: Mapping[str, Any]) -> Verdict:
    """The verdict as the evaluation counts it: an incomplete candidate is wrong."""
    if not candidate.get("complete", True):
        return Verdict.INCORRECT
    return Verdict(candidate.get("verdict") or Verdict.UNDECIDED)


def majority_choice(row: Mapping[str, Any]) -> int | None:
    """Index of the majority's candidate; None if nobody votes."""
    voters = [c.get("answer") if c.get("complete", True) else None for c in row["candidates"]]
    return majority_vote(group_answers(voters))
