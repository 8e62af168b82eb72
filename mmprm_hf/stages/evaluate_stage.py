"""Evaluation of what lies on disk: candidates (best-of-N table, diagnosis), and step-level benchmarks with a PRM.

Every result is a document of `mmprm_hf.evaluation.make_results`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import (
    answer_costs,
    best_of_n_by_subject,
    best_of_n_curves,
    best_of_n_report,
    diagnose,
    evaluate_steps,
    load_step_benchmark,
    make_results,
    score_samples,
    tuned_threshold,
)
from ..files import iter_jsonl, write_json
from ..nano import PRM_PATH
from ..rows import FigureRules, check_candidate_row, is_absent, refuse_results
from ..scoring import PRMScorer
from .run_settings import data_name, prm_name, read_settings, result_settings


def evaluate_candidates(
    path: str | Path,
    output: str | Path | None = None,
    *,
    aggregation: str = "min",
    with_diagnosis: bool = False,
    with_curves: bool = False,
) -> dict[str, Any]:
    """Return the best-of-N table of a candidates file that `mmprm rerank --data` or `mmprm demo` wrote.

    Args:
        path: The file, or its folder: one problem a line, with its judged candidates and their step scores.
        output: File for the results, or None.
        aggregation: One of `selection.AGGREGATIONS`; the file keeps step scores, so that any may be tried.
        with_diagnosis: Add the section "diagnosis", see `diagnose`.
        with_curves: Add the section "curves", see `best_of_n_curves`.

    Returns:
        Results; ``rows`` counts problems without candidates (they could not be shown) and without gold answer. Policy,
        PRM and settings are those of the ``config.json`` beside the file, where there is one.

    Raises:
        ValueError: if no problem is left, or as `best_of_n_report` (all need equally many candidates).
    """
    path = Path(path)
    output = None if output is None else Path(output)
    path = path / "candidates.jsonl" if path.is_dir() else path
    config = read_settings(path.parent) or {}
    results = table_of_rows(
        read_evaluated_rows(path),
        config.get("benchmark"),
        {**result_settings(config), "candidates": path.name},
        where=str(path),
        aggregation=aggregation,
        with_diagnosis=with_diagnosis,
        with_curves=with_curves,
    )
    if output is not None:
        write_json(output, results)
    return results


def read_evaluated_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a candidates file as they are, those with candidates checked.

    Raises:
        ValueError: naming the row and what is wrong with it.
    """
    path = Path(path)
    refuse_results(path)
    rows = list(iter_jsonl(path))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or row.get("candidates"):
            check_candidate_row(row, f"row {number} of {path}", need_verdicts=False)
    return rows


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
    """Return the results of candidate rows, those that cannot be judged counted by reason.

    Args:
        rows: Rows of a candidates file.
        benchmark: As in `make_results`.
        settings: The settings of the run; ``policy`` and ``prm`` in it become the results' own.
        where: Where the rows are from, for errors.
        aggregation, with_diagnosis, with_curves: As in `evaluate_candidates`.

    Raises:
        ValueError: as `evaluate_candidates`.
    """
    used, problems = [], Counter()
    for row in rows:
        if not row.get("candidates"):
            problems[short_reason(str(row.get("error") or "no candidates"))] += 1
        elif is_absent(row.get("answer")):
            problems["no gold answer"] += 1
        else:
            used.append(row)
    if not used:
        raise ValueError(
            f"Found no problem with candidates and a gold answer in {where}: "
            f"{dict(problems.most_common(5)) or 'no row'}. `mmprm rerank --data`, `mmprm evaluate answers` and `mmprm "
            "demo` write candidates."
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
        subjects=best_of_n_by_subject(used, aggregation=aggregation),
        curves=best_of_n_curves(used, aggregation=aggregation) if with_curves else None,
        diagnosis=diagnose(used, aggregation=aggregation) if with_diagnosis else None,
    )


def short_reason(error: str) -> str:
    """Return an error's text as a reason to count by: its first sentence without quotations and paths.

    Example:
        >>> short_reason("Image '/a/b/1.png' does not exist. Give another path.")
        'Image … does not exist'
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|(?:/[^\s/:,;)]+){2,}/?", "…", error.split("\n")[0])
    return text.split(". ")[0].rstrip(".")[:120]


def evaluate_step_benchmark(
    benchmark: str,
    data: str,
    output: str | Path | None = None,
    *,
    prm: Any = None,
    threshold: float | None = None,
    tuned_on: str | None = None,
    train_data: str | None = None,
    num_samples: int | None = None,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a PRM's step scores on VisualProcessBench, ProcessBench or PRMBench.

    Args:
        benchmark: A name of `evaluation.STEP_BENCHMARKS`.
        data: ``.jsonl`` file, dataset folder or hub id.
        output: File for the results, or None.
        prm: Path or hub id; or a scorer with ``score_solutions``, named by its class; None takes the shipped nano PRM.
        threshold: In [0, 1]; a step with a score below it is called wrong.
        tuned_on: Where the threshold was chosen, in words; "none" for one that was fixed beforehand. None with a
            threshold reads "not reported".
        train_data: Rows of the same benchmark on which the threshold is chosen instead.
        num_samples: The first `num_samples` samples; None takes all.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data (and of the train data), where they differ.
        progress: Show bars.

    Returns:
        Results with the section ``steps``, see `evaluate_steps`; ``rows`` has the loader's counts.

    Raises:
        ValueError: for an unknown benchmark, no usable sample, a threshold outside [0, 1], train data that are the
            evaluated ones, or neither or both of threshold and train data.
    """
    _check_threshold(data, threshold, train_data)
    usable, counts = load_step_benchmark(benchmark, data, rules, columns)
    samples = usable[:num_samples]
    scorer = prm if hasattr(prm, "score_solutions") else PRMScorer.from_pretrained(prm or PRM_PATH)
    settings: dict[str, Any] = {"data": data_name(data)}
    if train_data is not None:
        train_samples, train_counts = load_step_benchmark(benchmark, train_data, rules, columns)
        settings |= {"train data": data_name(train_data), "train rows": train_counts}
        train_scores = score_samples(scorer, train_samples, progress=progress)
        threshold = tuned_threshold([sample.labels for sample in train_samples], train_scores)
        tuned_on = tuned_on or Path(train_data).name
    scores = score_samples(scorer, samples, progress=progress)
    rows = {"num_rows": counts["num_rows"], "num_used": len(samples), "num_not_asked": len(usable) - len(samples)}
    results = make_results(
        benchmark,
        prm=prm_name(prm) or "nano PRM (shipped)",
        settings=settings,
        rows={**rows, "problems": counts["problems"]},
        steps=evaluate_steps(benchmark, samples, scores, threshold=threshold, tuned_on=tuned_on or "not reported"),
    )
    if output is not None:
        write_json(output, results)
    return results


def _check_threshold(data: str, threshold: float | None, train_data: str | None) -> None:
    """Raise unless there is a threshold in [0, 1], or train data other than the evaluated ones."""
    if (threshold is None) == (train_data is None):
        raise ValueError(
            f"Found threshold={threshold} and train data {train_data!r}. Give one of the two: --threshold (one that "
            "was fixed elsewhere) or --train-data (rows of other problems to choose it on)."
        )
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"Found threshold={threshold}. Step scores lie in [0, 1]; so does the threshold.")
    if train_data is not None and _is_same(data, train_data):
        raise ValueError(f"{train_data} is what is evaluated. Choose the threshold on rows of other problems.")


def _is_same(first: str, second: str) -> bool:
    paths = Path(first), Path(second)
    return first == second or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))
