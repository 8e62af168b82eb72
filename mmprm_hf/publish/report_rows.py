"""Rows of a candidates file, read, classified, grouped and picked for a report; no HTML here."""

from __future__ import annotations

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
        is_choice_possible = any(candidate["complete"] for candidate in candidates)
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
    then take turns until there are `num_problems`.
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
    picked = sorted(turns[:num_problems], key=lambda entry: (entry[1], entry[0]))
    return [(group, index) for _, _, group, index in picked]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the checked rows of a candidates file, and how many others there are by why they were not shown.

    Raises:
        ValueError: as `read_candidate_rows`, or for a row without a question or candidates that was not left out.
    """
    rows, reasons = [], Counter()
    for row in read_candidate_rows(path):
        if row.get("outcome") == "not_shown" or (row.get("error") and not row["candidates"]):
            reasons[str(row.get("error") or "no reason given")] += 1
            continue
        if missing := [key for key in ("question", "candidates") if not row.get(key)]:
            raise ValueError(
                f"Problem {row['problem_id']!r} of {path} has no {' and no '.join(missing)}. A report shows the "
                "question and at least one candidate; write the file with `mmprm rerank` or `mmprm evaluate`."
            )
        rows.append(row)
    return rows, dict(reasons.most_common())


def verdict_of(candidate: Mapping[str, Any]) -> Verdict:
    """The verdict as the evaluation counts it: an incomplete candidate is wrong."""
    return Verdict(candidate["verdict"]) if candidate["complete"] else Verdict.INCORRECT


def majority_choice(row: Mapping[str, Any]) -> int | None:
    """Index of the majority's candidate; None if nobody votes."""
    return majority_vote(group_answers([c["answer"] if c["complete"] else None for c in row["candidates"]]))


def group_candidates(candidates: Sequence[Mapping[str, Any]], chosen: int | None = None) -> list[list[int]]:
    """Return the indices of equal candidates together, best score first, those without a score last.

    Candidates are equal if steps, answer, completeness and verdict are, and the raw text of incomplete ones.

    Args:
        candidates: Dicts as in a candidates file, verdicts or not.
        chosen: Index of the selected candidate: first of its group, whose group is first among equal scores.
    """
    groups: dict[tuple, list[int]] = {}
    for index, row in enumerate(candidates):
        text = None if row["complete"] else row.get("text")
        key = (tuple(row["steps"]), row["answer"], row["complete"], row.get("verdict"), text)
        groups.setdefault(key, []).append(index)
    for indices in groups.values():
        indices.sort(key=lambda index: (index != chosen, index))

    def rank(indices: list[int]) -> tuple[bool, float, bool, int]:
        score = candidates[indices[0]].get("score")
        return score is None, -(score or 0.0), indices[0] != chosen, indices[0]

    return sorted(groups.values(), key=rank)
