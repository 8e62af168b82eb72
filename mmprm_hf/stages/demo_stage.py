"""The embedded default end to end: nano problems -> candidates -> step scores -> table, files and report.

`run_demo` is what `mmprm demo` shows; `evaluate_nano` adds the step scores' quality against the exact step checker.
Top of the house: may import every room; nothing imports it but the CLI.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from ..data import Candidate, Verdict
from ..engines import SamplingConfig, TransformersEngine
from ..evaluation import (
    answer_costs,
    best_of_n_curves,
    best_of_n_report,
    diagnose,
    false_positive_report,
    make_results,
    step_level_report,
)
from ..files import write_json, write_jsonl
from ..nano import POLICY_PATH, PRM_PATH, NanoProblem, StepTruth, nano_problems
from ..publish import write_report
from ..rerank import generate_candidates, scored_candidates, winner_index
from ..scoring import PRMScorer
from .candidate_rows import judged_row

TEMPERATURE = 1.0
MAX_NEW_TOKENS = 128  # the longest right solution has 89
AGGREGATION = "min"


@dataclasses.dataclass(frozen=True)
class Models:
    """A loaded policy with its processor, the scorer of a loaded PRM, and the paths that both came from."""

    policy: Any
    policy_processor: Any
    scorer: PRMScorer
    paths: dict[str, str]


def load_models(policy: str | Path = POLICY_PATH, prm: str | Path = PRM_PATH) -> Models:
    """Policy and PRM with `from_pretrained`; the shipped nano models by default.

    Raises:
        ValueError: if `prm` is not a PRM.
    """
    names = {"policy": _display_name(policy), "prm": _display_name(prm)}
    return Models(
        policy=AutoModelForImageTextToText.from_pretrained(policy).eval(),
        policy_processor=AutoProcessor.from_pretrained(policy),
        scorer=PRMScorer.from_pretrained(prm),
        paths=names,
    )


def _display_name(path: str | Path) -> str:
    """How results name a checkpoint: no path of this machine for the shipped ones."""
    shipped = {str(POLICY_PATH): "nano policy (shipped)", str(PRM_PATH): "nano PRM (shipped)"}
    return shipped.get(str(path), str(path))


@dataclasses.dataclass(frozen=True)
class Solved:
    """Candidates of several problems, scored, with verdicts, and what they cost.

    Args:
        rows: One dict per problem, as `best_of_n_report` and `publish.reports` take them.
        candidates: The same candidates as objects, one list per problem.
        seconds: Wall time of "generate" (the candidates), "score", and "greedy".
    """

    rows: list[dict[str, Any]]
    candidates: list[list[Candidate]]
    seconds: dict[str, float]


def solve_nano(
    nano_problems: Sequence[NanoProblem], models: Models, num_candidates: int, seed: int = 0, progress: bool = True
) -> Solved:
    """Generate (temperature 1), verify and score `num_candidates` candidates per problem, and one greedy response."""
    targets = [nano.to_problem() for nano in nano_problems]
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    drafts = generate_candidates(_engine(models, TEMPERATURE), targets, num_candidates, seed=seed, progress=progress)
    seconds["generate"] = time.perf_counter() - start
    start = time.perf_counter()
    scored = models.scorer.score_many(targets, drafts, progress=progress)
    seconds["score"] = time.perf_counter() - start
    start = time.perf_counter()
    greedy = generate_candidates(_engine(models, 0.0), targets, 1, seed=seed)
    seconds["greedy"] = time.perf_counter() - start
    candidates = [scored_candidates(found, AGGREGATION) for found in scored]
    rows = [
        {
            "problem_id": problem.id,
            "question": problem.question,
            "answer": problem.answer,
            "figures": [f"figures/{problem.id}.png"],
            "chosen": winner_index(found, "best_of_n", AGGREGATION),
            "greedy": judged_row(best_guess[0], problem),
            "candidates": [judged_row(candidate, problem) for candidate in found],
        }
        for problem, found, best_guess in zip(targets, candidates, greedy, strict=True)
    ]
    return Solved(rows, candidates, {name: round(value, 3) for name, value in seconds.items()})


def _engine(models: Models, temperature: float) -> TransformersEngine:
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=MAX_NEW_TOKENS)
    return TransformersEngine(models.policy, models.policy_processor, sampling=sampling)


def _check_held_out(num_problems: int) -> None:
    if not 1 <= num_problems <= 500:
        raise ValueError(f"Found num_problems={num_problems}. The held-out set has 500 problems; choose 1 to 500.")


def run_demo(
    output: Path,
    *,
    num_problems: int = 200,
    num_candidates: int = 16,
    models: Models | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Solve held-out nano problems, rerank, and write ``results.json``, ``candidates.jsonl`` and ``index.html``.

    Args:
        output: Folder for the files; made if missing, files in it are replaced.
        num_problems: Held-out problems, 1 to 500.
        num_candidates: Candidates per problem.
        models: None loads the shipped ones.
        seed: Of the candidates; the problems are always the same.
        progress: Show progress bars.

    Returns:
        What stands in ``results.json``.
    """
    _check_held_out(num_problems)
    models = models or load_models()
    test = nano_problems("test", num_problems)
    solved = solve_nano(test, models, num_candidates, seed, progress)
    results = _results(solved, models, seed, num_problems)
    (output / "figures").mkdir(parents=True, exist_ok=True)
    for nano in test:
        nano.figure().save(output / "figures" / f"{nano.id}.png")
    write_jsonl(output / "candidates.jsonl", solved.rows)
    write_json(output / "results.json", results)
    write_report(output / "results.json", output / "index.html")
    return results


def _results(solved: Solved, models: Models, seed: int, num_problems: int, **sections: Any) -> dict[str, Any]:
    """The results document of a run on the nano world's test problems."""
    return make_results(
        "nano",
        **models.paths,
        settings={"split": "test", "temperature": TEMPERATURE, "seed": seed, "aggregation": AGGREGATION},
        rows={"num_rows": num_problems, "num_used": num_problems, "problems": {}},
        cost=answer_costs(solved.rows, solved.seconds),
        best_of_n=best_of_n_report(solved.rows, aggregation=AGGREGATION),
        **sections,
    )


def evaluate_nano(
    output: Path | None = None,
    *,
    num_problems: int = 500,
    num_train_problems: int = 200,
    num_candidates: int = 16,
    models: Models | None = None,
    seed: int = 0,
    progress: bool = True,
    with_diagnosis: bool = False,
    with_curves: bool = False,
) -> dict[str, Any]:
    """The best-of-N table on held-out problems, and step scores against the exact step checker.

    Steps come from the policy's own candidates, each distinct complete one once per problem. ``step_level`` takes
    every step by itself as right or wrong; ``prefix_level`` calls a step right only if all before
    it are right too, which is what Monte Carlo labels estimate. Thresholds are chosen on train problems.

    Args:
        output: File for the results, or None.
        num_problems, num_train_problems: Test problems to report on, train problems to choose thresholds on.
        num_candidates, models, seed, progress: As in `run_demo`.
        with_diagnosis: Add `diagnose`'s numbers under "diagnosis".
        with_curves: Add `best_of_n_curves` under "curves".

    Returns:
        Results with ``best_of_n`` and ``exact_truth``: the two step-level reports and ``false_positives``, solutions
        with a right answer and a wrong step.
    """
    _check_held_out(num_problems)
    models = models or load_models()
    test, train = nano_problems("test", num_problems), nano_problems("train", num_train_problems)
    solved = solve_nano(test, models, num_candidates, seed, progress)
    solved_train = solve_nano(train, models, num_candidates, seed + 1, progress)
    truth = {}
    for name, prefix in (("step_level", False), ("prefix_level", True)):
        labels, scores, num_unparsable = step_truth(test, solved.candidates, prefix)
        train_labels, train_scores, _ = step_truth(train, solved_train.candidates, prefix)
        report = step_level_report(labels, scores, train_labels=train_labels, train_scores=train_scores)
        truth[name] = {**report, "num_unparsable": num_unparsable}
    solutions, chosen, drawn_from, num_unjudged = right_answers(test, solved.rows)
    threshold = truth["step_level"]["threshold"]
    lucky = false_positive_report(solutions, threshold=threshold, chosen=chosen, drawn_from=drawn_from)
    truth["false_positives"] = {**lucky, "num_unjudged": num_unjudged}
    results = _results(
        solved,
        models,
        seed,
        num_problems,
        exact_truth=truth,
        curves=best_of_n_curves(solved.rows, aggregation=AGGREGATION) if with_curves else None,
        diagnosis=diagnose(solved.rows, aggregation=AGGREGATION) if with_diagnosis else None,
    )
    if output is not None:
        write_json(output, results)
    return results


def right_answers(
    nano_problems: Sequence[NanoProblem], rows: Sequence[dict[str, Any]]
) -> tuple[list[tuple[list[int], list[float]]], list[list[int]], list[list[list[int]]], int]:
    """Solutions with a right answer, as `exact_truth.false_positive_report` takes them.

    Returns:
        Step labels and scores of each distinct one, once per problem; step labels of those that the PRM chose, and for
        each of these the labels of all candidates of its problem with a right answer; and how many distinct ones were
        left out because the checker cannot read one of their steps.
    """
    solutions, chosen, drawn_from, num_unjudged = [], [], [], 0
    for nano, row in zip(nano_problems, rows, strict=True):
        right = [
            candidate
            for candidate in row["candidates"]
            if candidate["complete"] and candidate["verdict"] == Verdict.CORRECT and candidate["step_scores"]
        ]
        labels: dict[tuple[str, ...], list[int]] = {}
        for steps, scores in {tuple(candidate["steps"]): candidate["step_scores"] for candidate in right}.items():
            truths = nano.check(steps)
            if StepTruth.UNPARSABLE in truths:
                num_unjudged += 1
                continue
            labels[steps] = [int(truth is StepTruth.RIGHT) for truth in truths]
            solutions.append((labels[steps], list(scores)))
        winner = () if row["chosen"] is None else tuple(row["candidates"][row["chosen"]]["steps"])
        if winner in labels:
            chosen.append(labels[winner])
            drawn_from.append([labels[tuple(c["steps"])] for c in right if tuple(c["steps"]) in labels])
    return solutions, chosen, drawn_from, num_unjudged


def step_truth(
    nano_problems: Sequence[NanoProblem], candidates: Sequence[Sequence[Candidate]], prefix: bool
) -> tuple[list[int], list[float], int]:
    """Labels and scores of the steps of distinct candidates, flat; and how many unparsable steps were left out."""
    labels: list[int] = []
    scores: list[float] = []
    num_unparsable = 0
    for nano, found in zip(nano_problems, candidates, strict=True):
        distinct = {candidate.steps: candidate.step_scores for candidate in found if candidate.step_scores}
        for steps, step_scores in distinct.items():
            truths = nano.check(steps)
            prefixes = nano.check_prefixes(steps)
            for truth, prefix_right, score in zip(truths, prefixes, step_scores, strict=True):
                if truth is StepTruth.UNPARSABLE:
                    num_unparsable += 1
                    continue
                labels.append(int(prefix_right if prefix else truth is StepTruth.RIGHT))
                scores.append(score)
    return labels, scores, num_unparsable
