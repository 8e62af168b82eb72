"""The candidates file: one problem per line with its judged candidates.

`mmprm rerank`, `evaluate` and `demo` write it; `evaluate`, `report` and `train` read it. A row has

- ``problem_id``, ``question`` (as the models read it), ``answer`` (the gold answer or None), ``subject`` (or None),
  ``figures`` (paths; figures that the run drew are relative to the file);
- ``candidates``: `Candidate.to_dict` of each with its ``verdict``; empty where the problem could not be shown to the
  models, with the reason in ``error``;
- ``chosen``: index of the selected candidate or None; ``greedy``: a judged candidate or None; optional are ``outcome``,
  ``num_tokens``, ``seconds`` and ``problem_key``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import Verdict
from ..errors import is_number
from ..files import iter_jsonl
from .cells import is_absent


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(is_number(entry) for entry in value.values())


_RULES = {
    "problem_id": (lambda value: isinstance(value, (str, int)), "a text or a whole number"),
    **dict.fromkeys(("question", "answer", "subject", "error", "outcome"), (_is_text, "a text")),
    "figures": (_are_texts, "a list of paths"),
    "num_tokens": (is_number, "a number"),
    "seconds": (_are_numbers, "an object of numbers"),
}


def is_candidates_file(path: str | Path) -> bool:
    """Return whether the first line of a file is a row of candidates."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            row = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and {"problem_id", "candidates"} <= row.keys()


def refuse_results(path: str | Path) -> None:
    """Raise if a file that should hold candidates holds results.

    Raises:
        ValueError: naming the verb that shows results, and where their candidates lie.
    """
    path = Path(path)
    if path.suffix != ".json" or not path.is_file():
        return
    try:
        is_results = "schema_version" in json.loads(path.read_bytes())
    except (ValueError, TypeError, RecursionError):
        return
    if is_results:
        raise ValueError(
            f"{path} holds results, not candidates. `mmprm report {path}` shows them; candidates are in a file such as "
            f"{path.with_name('candidates.jsonl')}."
        )


def read_candidate_rows(path: str | Path, *, need_verdicts: bool = False) -> list[dict[str, Any]]:
    """Return the checked rows of a candidates file, also those without candidates.

    Args:
        path: A JSON-lines file.
        need_verdicts: See `check_candidate_row`.

    Raises:
        ValueError: if there is no row, a line is not JSON, it holds results, or `check_candidate_row` refuses a row.
    """
    path = Path(path)
    refuse_results(path)
    rows = [
        check_candidate_row(row, f"row {number} of {path}", need_verdicts=need_verdicts)
        for number, row in enumerate(iter_jsonl(path), start=1)
    ]
    if not rows:
        raise ValueError(f"Found 0 rows in {path}. A candidates file has one problem per line; solve them again.")
    return rows


def check_candidate_row(row: Any, where: str, *, need_verdicts: bool = False) -> dict[str, Any]:
    """Return a row with its defaults filled in.

    A candidate without ``complete`` is complete, one without a ``verdict`` is undecided, and so are all candidates of a
    row whose gold answer is None.

    Args:
        row: One line of a candidates file.
        where: Words for its place, for errors, such as "row 3 of candidates.jsonl".
        need_verdicts: Refuse a candidate without a verdict.

    Raises:
        ValueError: if a value has the wrong type or is out of its range.

    Example:
        >>> row = check_candidate_row({"problem_id": "a", "candidates": [{"steps": ["2"]}]}, "row 1")
        >>> row["candidates"][0]["complete"], row["candidates"][0]["verdict"]
        (True, <Verdict.UNDECIDED: 'undecided'>)
    """
    if not isinstance(row, Mapping) or "problem_id" not in row:
        raise ValueError(f"Found {str(row)[:80]!r} in {where}. A row is an object with problem_id and candidates.")
    where = f"problem {row['problem_id']!r:.80}, {where}"
    for name, (is_right, rule) in _RULES.items():
        if not is_absent(row.get(name)) and not is_right(row[name]):
            raise ValueError(f"Found {name}={row[name]!r:.80} of {where}. It must be {rule}, or null.")
    candidates = row.get("candidates") or []
    if not isinstance(candidates, list):
        raise ValueError(f"Found candidates={str(candidates)[:80]!r} of {where}. They are a list of objects.")
    has_gold = "answer" not in row or not is_absent(row["answer"])
    checked = [_checked(candidate, index, where, has_gold) for index, candidate in enumerate(candidates)]
    chosen = row.get("chosen")
    if chosen is not None and (type(chosen) is not int or chosen not in range(len(checked))):
        raise ValueError(f"Found chosen={chosen!r} of {len(checked)} candidates of {where}. Use an index, or null.")
    for index, candidate in enumerate(candidates if need_verdicts else ()):
        if not candidate.get("verdict"):
            raise ValueError(
                f"Candidate {index} of {where} has no verdict. Each needs one of {', '.join(Verdict)}; judge the "
                "candidates first."
            )
    greedy = row.get("greedy")
    return {**row, "candidates": checked, "greedy": _checked(greedy, "greedy", where, has_gold) if greedy else None}


def _checked(candidate: Any, index: int | str, where: str, has_gold: bool) -> dict[str, Any]:
    name = f"Candidate {index} of {where}"
    if not isinstance(candidate, Mapping):
        raise ValueError(f"{name} is a {type(candidate).__name__}. A candidate is an object with steps and verdict.")
    steps, scores = candidate.get("steps") or [], candidate.get("step_scores") or None
    if not isinstance(steps, (list, tuple)) or not all(isinstance(step, str) for step in steps):
        raise ValueError(f"{name} has steps={str(steps)[:80]!r}. Steps are a list of texts.")
    if scores is not None:
        _check_scores(scores, len(steps), name)
    complete = True if is_absent(candidate.get("complete")) else candidate["complete"]
    if not isinstance(complete, bool):
        raise ValueError(f"{name} has complete={complete!r}. It must be true or false.")
    answer, verdict = candidate.get("answer"), candidate.get("verdict") or Verdict.UNDECIDED
    answer = None if is_absent(answer) and not isinstance(answer, str) else answer
    if not isinstance(answer, str | None):
        raise ValueError(f"{name} has answer={answer!r}. An answer is a text or null.")
    if not isinstance(verdict, str) or verdict not in tuple(Verdict):
        raise ValueError(f"{name} has verdict={verdict!r}. Use one of {', '.join(Verdict)}; judge it again.")
    if not isinstance(candidate.get("fault") or "", str):
        raise ValueError(f"{name} has fault={candidate['fault']!r:.80}. Why it is incomplete is a text.")
    score = candidate.get("score")
    return {
        **candidate,
        "steps": list(steps),
        "answer": answer,
        "complete": complete,
        "step_scores": scores,
        "score": score if is_number(score) and math.isfinite(score) else None,
        "verdict": Verdict(verdict) if has_gold else Verdict.UNDECIDED,
    }


def candidate_outcome(candidate: Mapping[str, Any]) -> float | None:
    """Return 1.0 for a right candidate, 0.0 for one that is wrong or incomplete, None for an undecided one.

    Example:
        >>> candidate_outcome({"complete": False, "verdict": "correct"})
        0.0
    """
    if not candidate["complete"]:
        return 0.0
    verdict = Verdict(candidate["verdict"])
    return None if verdict is Verdict.UNDECIDED else float(verdict is Verdict.CORRECT)


def _check_scores(scores: Any, num_steps: int, name: str) -> None:
    """Raise unless there is one number in [0, 1] per step."""
    if not isinstance(scores, (list, tuple)) or len(scores) != num_steps:
        raise ValueError(
            f"{name} has {num_steps} steps but step_scores={str(scores)[:80]!r}. Each step needs one score; score the "
            "candidates again."
        )
    for score in scores:
        if not is_number(score) or not 0 <= score <= 1:
            raise ValueError(f"{name} has the step score {score!r}. It must be a number in [0, 1], not a percentage.")
