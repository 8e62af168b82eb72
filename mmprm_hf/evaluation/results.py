"""One form for the results of every evaluation: plain JSON, described by ``results.schema.json`` beside this file.

A document says what was evaluated and holds at least one section of figures; pages, plots, tables and cards are made
from it alone. Imports level 0 only.
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 1
SECTIONS: dict[str, str] = {
    "best_of_n": "`evaluators.best_of_n_report`: baselines, selections and oracle at the largest N",
    "curves": "`curves.best_of_n_curves`: every smaller N, and each selection against the majority vote",
    "diagnosis": "`diagnosis.diagnose`: why a PRM does or does not beat the majority vote",
    "exact_truth": "step scores and chosen solutions against a world's exact checker",
    "steps": "`step_runner.evaluate_steps`: a step-level benchmark",
}
"""Sections of figures, in the order of a page."""


def make_results(
    benchmark: str | None,
    *,
    policy: str | None = None,
    prm: str | None = None,
    settings: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a results document.

    Args:
        benchmark: What was evaluated on; None where it is not known (a file of candidates).
        policy, prm: As given by the user; None where they are not known.
        settings: Whatever else the figures depend on: split, temperature, seed.
        rows: ``num_rows``, ``num_used`` and ``problems``: rows per reason, of rows with a fault; perhaps
            ``num_not_asked``, usable ones beyond the number asked for.
        cost: As `answer_costs` gives it.
        **sections: By the names of `SECTIONS`; None leaves one out.

    Raises:
        ValueError: for an unknown section, or none at all.

    Example:
        >>> make_results("mathvision", prm="you/prm", best_of_n={"num_problems": 3})["best_of_n"]
        {'num_problems': 3}
    """
    if unknown := sorted(set(sections) - set(SECTIONS)):
        raise ValueError(f"Unknown sections {', '.join(unknown)}. Results have {', '.join(SECTIONS)}.")
    found = {name: dict(sections[name]) for name in SECTIONS if sections.get(name) is not None}
    if not found:
        raise ValueError(f"Found no section of figures. Give at least one of {', '.join(SECTIONS)}.")
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": benchmark,
        "policy": policy,
        "prm": prm,
        "settings": dict(settings or {}),
        "rows": None if rows is None else dict(rows),
        "cost": None if cost is None else dict(cost),
        **found,
    }


def results_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a results document."""
    path = importlib.resources.files("mmprm_hf.evaluation").joinpath("results.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


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
        seconds: Wall time over all rows of ``generate`` and ``score``, perhaps ``greedy``; None sums what the rows say.

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
        own = [row.get("seconds") for row in rows]
        stages = ("generate", "score")
        if rows and all(isinstance(one, Mapping) and all(stage in one for stage in stages) for one in own):
            seconds = {stage: math.fsum(one[stage] for one in own) for stage in stages}
    tokens = _tokens([candidate for row in rows for candidate in row["candidates"]])
    if not rows or (tokens is None and seconds is None):
        return None
    num_problems, num_candidates = len(rows), sum(len(row["candidates"]) for row in rows)
    greedy = [row["greedy"] for row in rows if row.get("greedy")]
    spent = dict(seconds or {})
    generate, score = spent.get("generate"), spent.get("score")
    chosen = None if generate is None or score is None else generate + score
    answers = {
        "greedy": _cost(_tokens(greedy), spent.get("greedy"), len(greedy)),
        "mean_pass_at_1": _cost(tokens, generate, num_candidates),
        "majority_vote": _cost(tokens, generate, num_problems),
        "best_of_n": _cost(tokens, chosen, num_problems),
        "weighted_vote": _cost(tokens, chosen, num_problems),
    }
    return {
        "num_tokens": tokens,
        "seconds": {name: round(value, 3) for name, value in spent.items()} or None,
        "answers": {name: cost for name, cost in answers.items() if cost is not None},
    }


def _tokens(candidates: Sequence[Mapping[str, Any]]) -> int | None:
    """Tokens generated; None where a candidate does not say, or none says more than 0."""
    counts = [candidate.get("num_tokens") for candidate in candidates]
    return sum(counts) if counts and None not in counts and any(counts) else None


def _cost(tokens: int | None, seconds: float | None, num_answers: int) -> dict[str, float | None] | None:
    if num_answers == 0 or (tokens is None and seconds is None):
        return None
    return {
        "tokens": None if tokens is None else round(tokens / num_answers, 2),
        "seconds": None if seconds is None else round(seconds / num_answers, 5),
    }


__all__ = ["SCHEMA_VERSION", "SECTIONS", "answer_costs", "make_results", "results_schema"]
