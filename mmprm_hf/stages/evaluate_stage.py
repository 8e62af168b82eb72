"""Evaluation of what lies on disk: candidates (best-of-N table, diagnosis), and step-level benchmarks with a PRM.

Every result is a document of `evaluation.results`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import (
    METRIC_NAMES,
    answer_costs,
    best_of_n_curves,
    best_of_n_report,
    diagnose,
    evaluate_steps,
    format_diagnosis,
    format_table,
    load_prm_bench,
    load_process_bench,
    load_visual_process_bench,
    make_results,
    score_samples,
)
from ..files import iter_jsonl, write_json
from ..nano import PRM_PATH
from ..scoring import PRMScorer
from .run_settings import data_name, prm_name, read_settings, result_settings

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
        Results; ``rows`` counts problems without candidates (they could not be shown) and without a gold answer. What
        made the candidates is read from the ``config.json`` beside the file, where there is one.

    Raises:
        ValueError: if no problem is left, or as `best_of_n_report` (all need equally many candidates).
    """
    made_by = read_settings(path.parent) or {}
    results = table_of_rows(
        list(iter_jsonl(path)),
        made_by.get("benchmark"),
        {**result_settings(made_by), "candidates": path.name},
        where=str(path),
        aggregation=aggregation,
        with_diagnosis=with_diagnosis,
        with_curves=with_curves,
    )
    if output is not None:
        write_json(output, results)
    return results


def table_of_rows(
    rows: Sequence[Mapping[str, Any]],
    benchmark: str | None,
    settings: Mapping[str, Any],
    *,
    where: str,
    aggregation: str = "min",
    with_diagnosis: bool = False,
    with_curves: bool = False,
) -> dict[str, Any]:
    """Results of candidate rows, those that cannot be judged counted by reason.

    Args:
        rows: Lines of a ``candidates.jsonl``.
        benchmark: As in `make_results`.
        settings: What made the rows; ``policy`` and ``prm`` in it become the results' own.
        where: The rows' place, for errors.
        aggregation, with_diagnosis, with_curves: As in `evaluate_candidates`.

    Raises:
        ValueError: as `evaluate_candidates`.
    """
    used, problems = [], Counter()
    for row in rows:
        if not row.get("candidates"):
            problems[short_reason(row.get("error") or "no candidates")] += 1
        elif row.get("answer") is None:
            problems["no gold answer"] += 1
        else:
            used.append(row)
    if not used:
        raise ValueError(
            f"Found no problem with candidates and a gold answer in {where}: "
            f"{dict(problems.most_common(5)) or 'no row'}. Candidates come from `mmprm rerank --data`, `mmprm evaluate "
            "--benchmark` or `mmprm demo`."
        )
    rest = dict(settings)
    return make_results(
        benchmark,
        policy=rest.pop("policy", None),
        prm=rest.pop("prm", None),
        settings={**rest, "aggregation": aggregation},
        rows={"num_rows": len(rows), "num_used": len(used), "problems": dict(problems.most_common())},
        cost=answer_costs(used),
        best_of_n=best_of_n_report(used, aggregation=aggregation),
        curves=best_of_n_curves(used, aggregation=aggregation) if with_curves else None,
        diagnosis=diagnose(used, aggregation=aggregation) if with_diagnosis else None,
    )


_NUM_REASONS = 8  # shown on the terminal; the results have all


def short_reason(error: str) -> str:
    """An error's text as a reason to count by: without what it quotes, paths and anything behind a line's end.

    Example:
        >>> short_reason("Image '/a/b/1.png' does not exist. Give another path.")
        'Image … does not exist'
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|(?:/[^\s/:,;)]+){2,}/?", "…", error.split("\n")[0])
    return text.split(". ")[0].rstrip(".")[:120]


def format_evaluation(results: dict[str, Any]) -> str:
    """The table, and curves and diagnosis where there are any."""
    lines = [format_table(results["best_of_n"], results["cost"])]
    rows = results["rows"]
    if rows and rows["problems"]:
        lines.append(f"left out: {rows['num_rows'] - rows['num_used']} of {rows['num_rows']} problems")
        lines += [f"  {count} x {reason}" for reason, count in list(rows["problems"].items())[:_NUM_REASONS]]
        more = list(rows["problems"].values())[_NUM_REASONS:]
        lines += [f"  {sum(more)} for {len(more)} other reasons"] if more else []
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
        lines.append(f"{'  p (paired sign flips)':<32}" + "".join(_p_value(point["p_value"]) for point in points))
    drawn = [point["n"] for point in found["sizes"] if not point["is_exact"]]
    if drawn:
        lines.append(f"N = {', '.join(map(str, drawn))}: votes over drawn subsets, see monte_carlo_error")
    return "\n".join(lines)


def _p_value(value: float | None) -> str:
    return f"{'-' if value is None else '<0.001' if value < 0.001 else format(value, '.3f'):>8}"


def evaluate_step_benchmark(
    benchmark: str,
    data: str,
    output: Path | None = None,
    *,
    prm: Any = None,
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
        prm: Path or hub id; or any scorer with ``score_solutions(problems, solutions)``, see `step_runner.Scorer`,
            which results name by its class; None takes the shipped nano PRM.
        threshold: In [0, 1]; a step with a score below it is called wrong.
        tuned_on: Where the threshold was chosen, in words; "none" for one that was fixed beforehand. None with a
            threshold reads "not told".
        train_data: Rows of the same benchmark on which the threshold is chosen instead.
        num_samples: The first so many of the samples; None takes all.
        progress: Show bars.

    Returns:
        Results with the section ``steps`` (`evaluation.step_runner.evaluate_steps`); ``rows`` has the loader's counts.

    Raises:
        ValueError: for an unknown benchmark, no usable sample, a threshold outside [0, 1], train data that are the
            evaluated ones, or neither or both of threshold and train data.
    """
    if benchmark not in LOADERS:
        raise ValueError(f"Unknown step benchmark {benchmark!r}; choose one of {', '.join(LOADERS)}.")
    if (threshold is None) == (train_data is None):
        raise ValueError(
            f"Found threshold={threshold} and train data {train_data!r}. Give one of them: a threshold that was fixed "
            "elsewhere, or rows of other problems to choose it on."
        )
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"Found threshold={threshold}. Step scores lie in [0, 1]; so does the threshold.")
    if train_data is not None and _is_same(data, train_data):
        raise ValueError(f"{train_data} is what is evaluated. Choose the threshold on rows of other problems.")
    samples, counts = _usable(benchmark, data)
    samples = samples[:num_samples]
    scorer = prm if hasattr(prm, "score_solutions") else PRMScorer.from_pretrained(prm or PRM_PATH)
    chosen: dict[str, Any] = {"threshold": threshold, "tuned_on": tuned_on or "not told"}
    settings: dict[str, Any] = {"data": data_name(data)}
    if train_data is not None:
        train_samples, train_counts = _usable(benchmark, train_data)
        settings |= {"train data": data_name(train_data), "train rows": train_counts}
        train_scores = score_samples(scorer, train_samples, progress=progress)
        chosen = {"tuned_on": tuned_on or Path(train_data).name, "train_samples": train_samples}
        chosen["train_scores"] = train_scores
    scores = score_samples(scorer, samples, progress=progress)
    results = make_results(
        benchmark,
        prm=prm_name(prm) or "nano PRM (shipped)",
        settings=settings,
        rows={
            "num_rows": counts["num_rows"],
            "num_used": len(samples),
            "num_not_asked": counts["num_kept"] - len(samples),
            "problems": counts["problems"],
        },
        steps=evaluate_steps(benchmark, samples, scores, **chosen),
    )
    if output is not None:
        write_json(output, results)
    return results


def _usable(benchmark: str, data: str) -> tuple[list[Any], dict[str, Any]]:
    """Samples and counts of a benchmark's rows; at least one sample."""
    samples, counts = LOADERS[benchmark](data)
    if not samples:
        raise ValueError(f"Found no usable sample in {data} ({counts}). Check the file's form and its figures.")
    return samples, counts


def _is_same(first: str, second: str) -> bool:
    paths = Path(first), Path(second)
    return first == second or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))


def format_steps(results: dict[str, Any]) -> str:
    """The figures of a step benchmark as lines: overall first, then each part."""
    steps = results["steps"]
    head = f"{results['benchmark']}: {steps['num_samples']} samples, {steps['num_unscored_samples']} not scored; "
    words = {"none": "fixed beforehand", "not told": "where it was chosen is not told"}
    tuned = words.get(steps["tuned_on"], f"tuned on {steps['tuned_on']}")
    lines = [f"{head}threshold {steps['threshold']:.3f}, {tuned}"]
    parts = next((steps[key] for key in ("sources", "subsets", "categories") if key in steps), {})
    overall = {key: value for key, value in steps.items() if key != "threshold"}
    for name, found in {"overall": overall, **parts}.items():
        shown = "  ".join(
            f"{key} {'not measured' if value is None else f'{value:.3f}'}"
            for key, value in found.items()
            if value is None or isinstance(value, float)
        )
        lines.append(f"  {name:<22}{shown}")
    rows, train_rows = results["rows"], results["settings"].get("train rows")
    if rows["num_not_asked"]:
        lines.append(f"{rows['num_not_asked']} more usable rows were not asked for")
    if rows["problems"]:
        lines.append(f"rows: {rows['num_used']} of {rows['num_rows']} used; with a fault: {rows['problems']}")
    if train_rows and train_rows["problems"]:
        kept = f"{train_rows['num_kept']} of {train_rows['num_rows']}"
        lines.append(f"train rows: {kept} used; with a fault: {train_rows['problems']}")
    return "\n".join(lines)


__all__ = [
    "evaluate_candidates",
    "evaluate_step_benchmark",
    "format_evaluation",
    "format_steps",
    "short_reason",
    "table_of_rows",
]
