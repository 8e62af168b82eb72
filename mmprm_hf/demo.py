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

from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from .data import Candidate
from .engines import SamplingConfig, TransformersEngine
from .evaluation.diagnosis import diagnose
from .evaluation.evaluators import best_of_n_report, step_level_report
from .files import write_json, write_jsonl
from .nano import POLICY_PATH, PRM_PATH
from .nano.solver import StepTruth
from .nano.world import NanoProblem, problems
from .publish.reports import write_report
from .rerank.candidates import generate_candidates, select, with_scores
from .scoring import PRMScorer
from .stages.rerank_stage import judged_row

TEMPERATURE = 1.0
MAX_NEW_TOKENS = 128  # the longest right solution has 89
AGGREGATION = "min"


@dataclasses.dataclass(frozen=True)
class Models:
    """A loaded policy and a loaded PRM, with their processors and the paths they came from."""

    policy: Any
    policy_processor: Any
    prm: Any
    prm_processor: Any
    paths: dict[str, str]


def load_models(policy: str | Path = POLICY_PATH, prm: str | Path = PRM_PATH) -> Models:
    """Policy and PRM with `from_pretrained`; the shipped nano models by default.

    Raises:
        ValueError: if `prm` is a checkpoint but no PRM.
    """
    names = {"policy": _display_name(policy), "prm": _display_name(prm)}
    prm_model = AutoModel.from_pretrained(prm)
    if prm_model.config.model_type != "mm_prm":
        raise ValueError(
            f"{str(prm)!r} is no PRM: its model_type is {prm_model.config.model_type!r}, expected 'mm_prm'. "
            "Give a checkpoint saved by MMPRMModel or PRMTrainer."
        )
    return Models(
        policy=AutoModelForImageTextToText.from_pretrained(policy).eval(),
        policy_processor=AutoProcessor.from_pretrained(policy),
        prm=prm_model,
        prm_processor=AutoProcessor.from_pretrained(prm),
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
    scorer = PRMScorer(models.prm, models.prm_processor)
    scored = scorer.score_many(targets, drafts, progress=progress)
    seconds["score"] = time.perf_counter() - start
    start = time.perf_counter()
    greedy = generate_candidates(_engine(models, 0.0), targets, 1, seed=seed)
    seconds["greedy"] = time.perf_counter() - start
    candidates = [with_scores(found, AGGREGATION) for found in scored]
    rows = [
        {
            "problem_id": problem.id,
            "question": problem.question,
            "answer": problem.answer,
            "figures": [f"figures/{problem.id}.png"],
            "chosen": select(found, "best_of_n", AGGREGATION),
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
    nano_problems = problems("test", num_problems)
    solved = solve_nano(nano_problems, models, num_candidates, seed, progress)
    results = {
        **best_of_n_report(solved.rows, aggregation=AGGREGATION),
        **models.paths,
        "temperature": TEMPERATURE,
        "seed": seed,
        "seconds": solved.seconds,
    }
    (output / "figures").mkdir(parents=True, exist_ok=True)
    for nano in nano_problems:
        nano.figure().save(output / "figures" / f"{nano.id}.png")
    write_jsonl(output / "candidates.jsonl", solved.rows)
    write_json(output / "results.json", results)
    write_report(output / "results.json", output / "candidates.jsonl", output / "index.html")
    return results


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
    """
    _check_held_out(num_problems)
    models = models or load_models()
    test, train = problems("test", num_problems), problems("train", num_train_problems)
    solved = solve_nano(test, models, num_candidates, seed, progress)
    solved_train = solve_nano(train, models, num_candidates, seed + 1, progress)
    results = {**best_of_n_report(solved.rows, aggregation=AGGREGATION), **models.paths, "seconds": solved.seconds}
    for name, prefix in (("step_level", False), ("prefix_level", True)):
        labels, scores, num_unparsable = step_truth(test, solved.candidates, prefix)
        train_labels, train_scores, _ = step_truth(train, solved_train.candidates, prefix)
        report = step_level_report(labels, scores, train_labels=train_labels, train_scores=train_scores)
        results[name] = {**report, "num_unparsable": num_unparsable}
    if with_diagnosis:
        results["diagnosis"] = diagnose(solved.rows, aggregation=AGGREGATION)
    if output is not None:
        write_json(output, results)
    return results


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


def format_step_level(results: dict[str, Any]) -> str:
    """The step-level part of `evaluate_nano` as a small plain-text table."""
    header = f"{'step scores against exact truth':<34}"
    header += f"{'AUROC':>8}{'macro-F1':>10}{'accuracy':>10}{'threshold':>11}{'steps':>8}"
    lines = [header, "-" * len(header)]
    for key, title in (("step_level", "each step by itself"), ("prefix_level", "step and all before it")):
        row = results[key]
        lines.append(
            f"{title:<34}{row['auroc']:>8.3f}{row['macro_f1']:>10.3f}{row['accuracy']:>10.3f}"
            f"{row['threshold']:>11.3f}{row['num_steps']:>8}"
        )
    num_unparsable = results["step_level"]["num_unparsable"]
    lines.append(f"thresholds chosen on train problems; {num_unparsable} unparsable steps left out")
    return "\n".join(lines)
