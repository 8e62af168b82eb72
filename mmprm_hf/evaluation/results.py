"""One form for the results of every evaluation: plain JSON, as `mmprm_hf.rows.check_results` describes and checks it.

A document says what was evaluated and has at least one section of figures. Imports level 0 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..rows import RESULTS_VERSION, check_results


def make_results(
    benchmark: str | None,
    *,
    policy: str | None = None,
    prm: str | None = None,
    settings: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
    best_of_n: Mapping[str, Any] | None = None,
    subjects: Mapping[str, Any] | None = None,
    curves: Mapping[str, Any] | None = None,
    diagnosis: Mapping[str, Any] | None = None,
    exact_truth: Mapping[str, Any] | None = None,
    steps: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a checked results document.

    Args:
        benchmark: What was evaluated on; None where it is not known (a file of candidates).
        policy, prm: As the user named them; None where they are not known.
        settings: Whatever else the figures depend on: split, temperature, seed.
        rows: ``num_rows``, ``num_used`` and ``problems``: rows per reason, of rows with a fault; perhaps
            ``num_not_asked``, usable ones beyond the number asked for.
        cost: As `answer_costs` gives it.
        best_of_n, subjects, curves, diagnosis: As `best_of_n_report`, `best_of_n_by_subject`, `best_of_n_curves` and
            `diagnose` give them.
        exact_truth: Step scores and chosen solutions against a world's exact checker.
        steps: As `evaluate_steps` gives it. A section that is None is left out.

    Raises:
        ValueError: for no section, or figures that `check_results` refuses.
    """
    sections = {
        "best_of_n": best_of_n,
        "subjects": subjects,
        "curves": curves,
        "diagnosis": diagnosis,
        "exact_truth": exact_truth,
        "steps": steps,
    }
    document = {
        "schema_version": RESULTS_VERSION,
        "benchmark": benchmark,
        "policy": policy,
        "prm": prm,
        "settings": dict(settings or {}),
        "rows": None if rows is None else dict(rows),
        "cost": None if cost is None else dict(cost),
        **{name: dict(section) for name, section in sections.items() if section is not None},
    }
    return check_results(document, "the figures of this evaluation")


def answer_costs(
    rows: Sequence[Mapping[str, Any]], seconds: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Return what one answer costs by each way of choosing it.

    A single sample costs its own tokens and its share of generating; a vote costs all candidates of the problem; what
    the PRM chooses costs scoring besides. Seconds are wall time divided by the number of answers, so they depend on the
    machine and on how many problems ran together.

    Args:
        rows: As `evaluators.best_of_n_report` takes them; candidates have ``num_tokens``, problems perhaps ``seconds``
            (``generate`` and ``score``).
        seconds: Wall time over all rows of ``generate`` and ``score``, perhaps ``greedy``; None sums those of the rows.

    Returns:
        ``num_tokens`` (generated in all, without greedy responses), ``seconds`` (per stage, or None) and ``answers``:
        per metric of `best_of_n_report` that has a cost ``tokens`` and ``seconds`` (None where they are not known).
        None if neither tokens nor seconds are known.

    Example:
        >>> rows = [{"candidates": [{"num_tokens": 10}, {"num_tokens": 30}]}]
        >>> answer_costs(rows, {"generate": 4.0, "score": 1.0})["answers"]["best_of_n"]
        {'tokens': 40.0, 'seconds': 5.0}
    """
    if seconds is None:
        by_row = [row.get("seconds") or {} for row in rows]
        if rows and all("generate" in row and "score" in row for row in by_row):
            seconds = {stage: math.fsum(row[stage] for row in by_row) for stage in ("generate", "score")}
    tokens = _tokens([candidate for row in rows for candidate in row["candidates"]])
    if not rows or (tokens is None and seconds is None):
        return None
    num_problems, num_candidates = len(rows), sum(len(row["candidates"]) for row in rows)
    greedy = [row["greedy"] for row in rows if row.get("greedy")]
    seconds = dict(seconds or {})
    generate, score = seconds.get("generate"), seconds.get("score")
    generate_and_score = None if generate is None or score is None else generate + score
    answers = {
        "greedy": _cost(_tokens(greedy), seconds.get("greedy"), len(greedy)),
        "mean_pass_at_1": _cost(tokens, generate, num_candidates),
        "majority_vote": _cost(tokens, generate, num_problems),
        "best_of_n": _cost(tokens, generate_and_score, num_problems),
        "weighted_vote": _cost(tokens, generate_and_score, num_problems),
    }
    return {
        "num_tokens": tokens,
        "seconds": {name: round(value, 3) for name, value in seconds.items()} or None,
        "answers": {name: cost for name, cost in answers.items() if cost is not None},
    }


def _tokens(candidates: Sequence[Mapping[str, Any]]) -> int | None:
    """Tokens generated; None where a candidate has no count, or all counts are 0."""
    counts = [candidate.get("num_tokens") for candidate in candidates]
    return sum(counts) if counts and None not in counts and any(counts) else None


def _cost(tokens: int | None, seconds: float | None, num_answers: int) -> dict[str, float | None] | None:
    if num_answers == 0 or (tokens is None and seconds is None):
        return None
    return {
        "tokens": None if tokens is None else round(tokens / num_answers, 2),
        "seconds": None if seconds is None else round(seconds / num_answers, 5),
    }
