"""Evaluation of what lies on disk: candidates (best-of-N table, diagnosis), and step-level benchmarks with a PRM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor

from ..evaluation.curves import best_of_n_curves
from ..evaluation.diagnosis import diagnose, format_diagnosis
from ..evaluation.evaluators import METRIC_NAMES, best_of_n_report, format_table
from ..evaluation.step_runner import evaluate_steps, score_samples
from ..evaluation.step_samples import load_prm_bench, load_process_bench, load_visual_process_bench
from ..files import iter_jsonl, write_json
from ..nano import PRM_PATH
from ..scoring import PRMScorer

LOADERS = {
    "visualprocessbench": load_visual_process_bench,
    "processbench": load_process_bench,
    "prmbench": load_prm_bench,
}


def evaluate_candidates(
    path: Path,
    output: Path | None = None,
    *,
    aggregation: str = "min",
    with_diagnosis: bool = False,
    with_curves: bool = False,
) -> dict[str, Any]:
    """The best-of-N table of a ``candidates.jsonl`` that `mmprm rerank --data` or `mmprm demo` wrote.

    Args:
        path: The file: one problem a line, with its judged candidates and their step scores.
        output: File for the results, or None.
        aggregation: One of `selection.AGGREGATIONS`; step scores are kept, so that any may be tried.
        with_diagnosis: Add `diagnose`'s numbers under "diagnosis".
        with_curves: Add `best_of_n_curves` under "curves": every smaller N, and each selection against majority vote.

    Returns:
        The report, with ``num_left_out``: problems without candidates (they could not be shown) or without a gold
        answer.

    Raises:
        ValueError: if no problem is left, or as `best_of_n_report` (all need equally many candidates).
    """
    rows, num_left_out = [], 0
    for row in iter_jsonl(path):
        if not row.get("candidates") or row.get("answer") is None:
            num_left_out += 1
            continue
        rows.append(row)
    if not rows:
        raise ValueError(
            f"Found no problem with candidates and a gold answer in {path} ({num_left_out} without). Candidates come "
            "from `mmprm rerank --data` or `mmprm demo`."
        )
    results = {**best_of_n_report(rows, aggregation=aggregation), "num_left_out": num_left_out}
    if with_diagnosis:
        results["diagnosis"] = diagnose(rows, aggregation=aggregation)
    if with_curves:
        results["curves"] = best_of_n_curves(rows, aggregation=aggregation)
    if output is not None:
        write_json(output, results)
    return results


def format_evaluation(results: dict[str, Any]) -> str:
    """The table, and curves and diagnosis where there are any."""
    lines = [format_table(results)]
    if results.get("num_left_out"):
        lines.append(f"left out: {results['num_left_out']} problems without candidates or without a gold answer")
    if "curves" in results:
        lines += ["", _format_curves(results["curves"])]
    if "diagnosis" in results:
        lines += ["", format_diagnosis(results["diagnosis"])]
    return "\n".join(lines)


def _format_curves(found: dict[str, Any]) -> str:
    """A line per metric, a column per N, and the comparison with majority vote."""

    def percent(value: float | None) -> str:
        return f"{'-':>8}" if value is None else f"{100 * value:>8.1f}"

    sizes = [point["n"] for point in found["sizes"]]
    lines = [f"{'expected over all subsets of N':<32}" + "".join(f"{f'N = {size}':>8}" for size in sizes)]
    for name, points in found["curves"].items():
        words = METRIC_NAMES[name].format(n="N")
        lines.append(f"{words:<32}" + "".join(percent(point["value"]) for point in points))
    for name, points in found["against_majority_vote"].items():
        words = f"{METRIC_NAMES[name].format(n='N')} - vote"
        lines.append(f"{words:<32}" + "".join(percent(point["difference"]) for point in points))
        lines.append(
            f"{'  p (paired sign flips)':<32}"
            + "".join(f"{'-':>8}" if point["p_value"] is None else f"{point['p_value']:>8.3f}" for point in points)
        )
    drawn = [point["n"] for point in found["sizes"] if not point["is_exact"]]
    if drawn:
        lines.append(f"N = {', '.join(map(str, drawn))}: votes over drawn subsets, see monte_carlo_error")
    return "\n".join(lines)


def evaluate_step_benchmark(
    benchmark: str,
    data: str,
    output: Path | None = None,
    *,
    prm: str | Path | None = None,
    threshold: float | None = None,
    tuned_on: str | None = None,
    train_data: str | None = None,
    num_samples: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """A PRM's step scores on VisualProcessBench, ProcessBench or PRMBench.

    Args:
        benchmark: "visualprocessbench", "processbench" or "prmbench".
        data: ``.jsonl`` file, dataset folder or hub id.
        output: File for the results, or None.
        prm: Path or hub id; None takes the shipped nano PRM.
        threshold: In [0, 1]; a step with a score below it is called wrong. `tuned_on` says where it was chosen.
        tuned_on: A split in words; "none" (fixed beforehand) where only a threshold is given.
        train_data: Rows of the same benchmark on which the threshold is chosen instead.
        num_samples: The first so many of the samples; None takes all.
        progress: Show bars.

    Returns:
        What `evaluation.step_runner.evaluate_steps` does, with ``prm``.

    Raises:
        ValueError: for an unknown benchmark, no usable sample, or neither or both of threshold and train data.
    """
    if benchmark not in LOADERS:
        raise ValueError(f"Unknown step benchmark {benchmark!r}; choose one of {', '.join(LOADERS)}.")
    if (threshold is None) == (train_data is None):
        raise ValueError(
            f"Found threshold={threshold} and train data {train_data!r}. Give one of them: a threshold that was fixed "
            "elsewhere, or rows of other problems to choose it on."
        )
    samples, counts = LOADERS[benchmark](data)
    samples = samples[:num_samples]
    if not samples:
        raise ValueError(f"Found no usable sample in {data} ({counts}). Check the file's form and its figures.")
    model = AutoModel.from_pretrained(prm or PRM_PATH)
    if model.config.model_type != "mm_prm":
        raise ValueError(f"{str(prm)!r} is no PRM: its model_type is {model.config.model_type!r}, expected 'mm_prm'.")
    scorer = PRMScorer(model, AutoProcessor.from_pretrained(prm or PRM_PATH))
    chosen: dict[str, Any] = {"threshold": threshold, "tuned_on": tuned_on or "none"}
    if train_data is not None:
        train_samples, _ = LOADERS[benchmark](train_data)
        train_scores = score_samples(scorer, train_samples, progress=progress)
        chosen = {"tuned_on": tuned_on or Path(train_data).name, "train_samples": train_samples}
        chosen["train_scores"] = train_scores
    scores = score_samples(scorer, samples, progress=progress)
    results = {
        **evaluate_steps(benchmark, samples, scores, row_counts=counts, **chosen),
        "prm": "nano PRM (shipped)" if prm is None else str(prm),
    }
    if output is not None:
        write_json(output, results)
    return results


def format_steps(results: dict[str, Any]) -> str:
    """The figures of a step benchmark as lines: overall first, then each part."""
    head = f"{results['benchmark']}: {results['num_samples']} samples, {results['num_unscored_samples']} not scored; "
    lines = [f"{head}threshold {results['threshold']:.3f}, tuned on {results['tuned_on']}"]
    parts = next((results[key] for key in ("sources", "subsets", "categories") if key in results), {})
    overall = {key: value for key, value in results.items() if key != "threshold"}
    for name, found in {"overall": overall, **parts}.items():
        shown = "  ".join(f"{key} {value:.3f}" for key, value in found.items() if isinstance(value, float))
        lines.append(f"  {name:<22}{shown}")
    rows = results.get("rows")
    if rows and rows["problems"]:
        lines.append(f"rows: {rows['num_kept']} of {rows['num_rows']} usable; {rows['problems']}")
    return "\n".join(lines)


__all__ = ["evaluate_candidates", "evaluate_step_benchmark", "format_evaluation", "format_steps"]
