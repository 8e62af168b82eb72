"""The embedded default end to end: nano problems -> candidates -> step scores -> table, files and report.

`run_demo` is what `mmprm demo` shows; `evaluate_nano` adds the step scores' quality against the exact step checker.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from ..data import Candidate
from ..engines import SamplingConfig, TransformersEngine
from ..errors import loading
from ..evaluation import answer_costs, best_of_n_by_subject, best_of_n_curves, best_of_n_report, diagnose, make_results
from ..files import sealed, write_json, write_jsonl
from ..nano import POLICY_PATH, PRM_PATH, NanoProblem, nano_problems
from ..publish import write_report
from ..rerank import RerankConfig, generate_candidates, solve
from ..scoring import PRMScorer
from .candidate_rows import judged_row
from .nano_truth import exact_truth_section

TEMPERATURE = 1.0
MAX_NEW_TOKENS = 128  # the longest right solution has 89
AGGREGATION = "min"
_NUM_HELD_OUT = 500


@dataclasses.dataclass(frozen=True)
class Models:
    """A loaded policy with its processor, the scorer of a loaded PRM, and the names of both."""

    policy: Any
    policy_processor: Any
    scorer: PRMScorer
    names: dict[str, str]

    def engine(self, sampling: SamplingConfig) -> TransformersEngine:
        """Return the policy's engine with these settings."""
        return TransformersEngine(self.policy, self.policy_processor, sampling=sampling)


def load_models(policy: str | Path = POLICY_PATH, prm: str | Path = PRM_PATH) -> Models:
    """Return policy and PRM, loaded from paths or hub ids; the shipped nano models by default.

    Raises:
        CheckpointError: if one is missing, broken, or not what it should be.
    """
    shipped = {str(POLICY_PATH): "nano policy (shipped)", str(PRM_PATH): "nano PRM (shipped)"}
    with loading("policy", policy):
        model, processor = AutoModelForImageTextToText.from_pretrained(policy), AutoProcessor.from_pretrained(policy)
    return Models(
        policy=model.eval(),
        policy_processor=processor,
        scorer=PRMScorer.from_pretrained(prm),
        names={kind: shipped.get(str(path), str(path)) for kind, path in (("policy", policy), ("prm", prm))},
    )


@dataclasses.dataclass(frozen=True)
class NanoRun:
    """Nano problems with their candidates, scored and judged, and the cost.

    Args:
        problems: The problems.
        rows: One candidate row per problem, see `rows.read_candidate_rows`.
        candidates: The same candidates as objects, one tuple per problem.
        seconds: Wall time of "generate" (the candidates), "score", and "greedy".
    """

    problems: Sequence[NanoProblem]
    rows: list[dict[str, Any]]
    candidates: list[tuple[Candidate, ...]]
    seconds: dict[str, float]


def solve_nano(
    problems: Sequence[NanoProblem], models: Models, num_candidates: int, seed: int = 0, progress: bool = True
) -> NanoRun:
    """Solve nano problems by best-of-n, and write one greedy response for each."""
    targets = [problem.to_problem() for problem in problems]
    config = RerankConfig(aggregation=AGGREGATION, num_candidates=num_candidates, seed=seed)
    sampling = SamplingConfig(temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS)
    solved = solve(targets, models.engine, models.scorer, config, sampling, progress=progress)
    seconds = {stage: sum(problem.seconds[stage] for problem in solved) for stage in ("generate", "score")}
    start = time.perf_counter()
    greedy = generate_candidates(models.engine(dataclasses.replace(sampling, temperature=0.0)), targets, 1, seed=seed)
    seconds["greedy"] = time.perf_counter() - start
    rows = [
        {
            "problem_id": target.id,
            "question": target.question,
            "subject": problem.family,
            "answer": target.answer,
            "figures": [f"figures/{target.id}.png"],
            "chosen": result.chosen,
            "greedy": judged_row(greedy_candidate, target),
            "candidates": [judged_row(candidate, target) for candidate in result.candidates],
        }
        for problem, target, result, (greedy_candidate,) in zip(problems, targets, solved, greedy, strict=True)
    ]
    rounded = {stage: round(value, 3) for stage, value in seconds.items()}
    return NanoRun(problems, rows, [result.candidates for result in solved], rounded)


def _check_held_out(num_problems: int) -> None:
    if not 1 <= num_problems <= _NUM_HELD_OUT:
        raise ValueError(
            f"Found num_problems={num_problems}. The held-out set has {_NUM_HELD_OUT} problems; choose 1 to "
            f"{_NUM_HELD_OUT}."
        )


def run_demo(
    output: str | Path,
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
        models: Policy and PRM; None loads the shipped ones.
        seed: Seed of the candidates; the problems are always the same.
        progress: Show progress bars.

    Returns:
        The content of ``results.json``.
    """
    output = Path(output)
    _check_held_out(num_problems)
    models = models or load_models()
    run = solve_nano(nano_problems("test", num_problems), models, num_candidates, seed, progress)
    results = _results(run, models, seed)
    (output / "figures").mkdir(parents=True, exist_ok=True)
    for problem in run.problems:
        problem.figure().save(output / "figures" / f"{problem.id}.png")
    write_jsonl(output / "candidates.jsonl", map(sealed, run.rows))
    write_json(output / "results.json", results)
    write_report(output / "results.json", output / "index.html")
    return results


def evaluate_nano(
    output: str | Path | None = None,
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
    """Return the best-of-N table on held-out problems, and step scores against the exact step checker.

    Steps come from the policy's own candidates, each distinct complete one once per problem.

    Args:
        output: File for the results; None writes none.
        num_problems, num_train_problems: Test problems to report on, train problems to choose thresholds on.
        num_candidates, models, seed, progress: As in `run_demo`.
        with_diagnosis: Add `diagnose`'s numbers under "diagnosis".
        with_curves: Add `best_of_n_curves` under "curves".

    Returns:
        Results with ``best_of_n`` and ``exact_truth`` (see `nano_truth.exact_truth_section`).
    """
    output = None if output is None else Path(output)
    _check_held_out(num_problems)
    models = models or load_models()
    test = solve_nano(nano_problems("test", num_problems), models, num_candidates, seed, progress)
    train = solve_nano(nano_problems("train", num_train_problems), models, num_candidates, seed + 1, progress)
    results = _results(
        test,
        models,
        seed,
        exact_truth=exact_truth_section(test, train),
        curves=best_of_n_curves(test.rows, aggregation=AGGREGATION) if with_curves else None,
        diagnosis=diagnose(test.rows, aggregation=AGGREGATION) if with_diagnosis else None,
    )
    if output is not None:
        write_json(output, results)
    return results


def _results(run: NanoRun, models: Models, seed: int, **sections: Any) -> dict[str, Any]:
    """The results document of a run on the nano world's test problems."""
    return make_results(
        "nano",
        **models.names,
        settings={"split": "test", "temperature": TEMPERATURE, "seed": seed, "aggregation": AGGREGATION},
        rows={"num_rows": len(run.rows), "num_used": len(run.rows), "problems": {}},
        cost=answer_costs(run.rows, run.seconds),
        best_of_n=best_of_n_report(run.rows, aggregation=AGGREGATION),
        subjects=best_of_n_by_subject(run.rows, aggregation=AGGREGATION),
        **sections,
    )
