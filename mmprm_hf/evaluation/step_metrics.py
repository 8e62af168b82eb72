"""Figures of step-level benchmarks from labels and scores. Pure: no I/O, no model.

Labels are 1 (right), 0 (wrong) or None (left out); a step is called right when ``score >= threshold``; the scores of a
solution are None where it was not scored. The threshold is reported with the split it was tuned on. Imports `metrics`
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import metrics

Labels = Sequence[Sequence[int | None]]
Scores = Sequence[Sequence[float] | None]

CONTROL_CATEGORY = "correct"  # PRMBench: original solutions, no part of its figure
RIGHT_ONLY_CATEGORY = "multi_solutions"  # PRMBench: all steps are right


def tuned_threshold(labels: Labels, scores: Scores) -> float:
    """Return the threshold of the best macro-F1 over the labelled steps of scored solutions.

    Raises:
        ValueError: if labels and scores do not fit, or no labelled step is scored.

    Example:
        >>> tuned_threshold([[1, None, 0], [1]], [[0.9, 0.1, 0.3], None])
        0.6
    """
    _check_lengths(labels, labels, scores)
    pairs = [
        (label, score)
        for solution_labels, solution_scores in zip(labels, scores, strict=True)
        if solution_scores is not None
        for label, score in zip(solution_labels, solution_scores, strict=True)
        if label is not None
    ]
    return metrics.best_threshold([label for label, _ in pairs], [score for _, score in pairs])[0]


def visual_process_bench_report(
    sources: Sequence[str], labels: Labels, scores: Scores, *, threshold: float, tuned_on: str
) -> dict[str, Any]:
    """Return macro-F1 as VisualProcessBench has it (arXiv 2503.10291): the mean of F1 of right and F1 of wrong steps.

    Neutral steps are dropped. ``macro_f1`` pools the steps of all sources (the paper's overall, which it calls a micro
    average); ``mean_of_sources`` is the unweighted mean, which others report. A labelled step of an unscored solution
    counts against both classes: as if its label's opposite had been called. That the official evaluation counts an
    answer it cannot parse in just this way is a reading of the paper, not checked against its code.

    Args:
        sources: Source of each solution.
        labels, scores: Per solution, one entry per step.
        threshold, tuned_on: The threshold and the split it was chosen on ("none" for one fixed beforehand).

    Returns:
        ``macro_f1``, ``f1_right``, ``f1_wrong``, ``mean_of_sources``, ``sources`` (the same per source), each with
        ``num_right``, ``num_wrong``, ``num_neutral``, ``num_unscored`` steps; ``threshold``, ``tuned_on``.

    Raises:
        ValueError: for lists that do not fit, or no labelled step.
    """
    _check_lengths(sources, labels, scores)
    by_source = {
        source: _class_figures(*_of_group(source, sources, labels, scores), threshold)
        for source in dict.fromkeys(sources)
    }
    mean = metrics.mean_or_none(figures["macro_f1"] for figures in by_source.values())
    if mean is None:
        raise ValueError(f"Found {len(labels)} solutions without a labelled step. Load samples with 1 or 0 labels.")
    return {
        **_class_figures(labels, scores, threshold),
        "mean_of_sources": mean,
        "sources": by_source,
        "threshold": threshold,
        "tuned_on": tuned_on,
    }


def process_bench_report(
    subsets: Sequence[str], first_errors: Sequence[int], scores: Scores, *, threshold: float, tuned_on: str
) -> dict[str, Any]:
    """Return ProcessBench's F1 (arXiv 2412.06559, section 3): the first error found, per subset and their mean.

    The predicted first error is the first step below `threshold`. An unscored solution is never right.

    Args:
        subsets: Subset of each solution.
        first_errors: 0-based index of each solution's first wrong step, -1 for none.
        scores: Per solution, one entry per step.
        threshold, tuned_on: The threshold and the split it was chosen on ("none" for one fixed beforehand).

    Returns:
        ``average_f1`` (unweighted mean over subsets; None if a subset lacks solutions with or without an error),
        ``subsets`` (`metrics.first_error_accuracy` of each), ``num_unscored`` solutions, ``threshold``, ``tuned_on``.

    Raises:
        ValueError: for lists that do not fit.

    Example:
        >>> report = process_bench_report(
        ...     ["math", "math"], [1, -1], [[0.9, 0.2], [0.8]], threshold=0.5, tuned_on="none"
        ... )
        >>> report["average_f1"]
        1.0
    """
    _check_lengths(subsets, first_errors, scores)
    predicted = [
        (0 if truth == -1 else -1) if row is None else metrics.predict_first_error(row, threshold)
        for truth, row in zip(first_errors, scores, strict=True)
    ]
    by_subset = {
        subset: metrics.first_error_accuracy(*_of_group(subset, subsets, first_errors, predicted))
        for subset in dict.fromkeys(subsets)
    }
    return {
        "average_f1": _mean_of_all([figures["f1"] for figures in by_subset.values()]),
        "subsets": by_subset,
        "num_unscored": sum(row is None for row in scores),
        "threshold": threshold,
        "tuned_on": tuned_on,
    }


def prm_bench_report(
    categories: Sequence[str], labels: Labels, scores: Scores, *, threshold: float, tuned_on: str
) -> dict[str, Any]:
    """Return PRMScore per category and in all (arXiv 2501.03124): 0.5 * F1 + 0.5 * F1_neg over pooled steps.

    F1 is that of right steps (a right step called right is a true positive) and F1_neg that of wrong steps, as in the
    official evaluation (ssmisya/PRMBench, ``mr_eval/tasks/prmtest_classified/task.py``). ``multi_solutions`` has right
    steps only and F1 alone. The total pools the steps of all categories but ``correct``, those of ``multi_solutions``
    included; the mean over categories stands beside it. Unscored solutions leave every figure and are counted, as
    there. Published figures differ for ReasonEval, whose redundancy head is used for redundancy and circular logic.

    Args:
        categories: Kind of error of each solution; "correct" for controls, which are reported apart.
        labels, scores: Per solution, one entry per step.
        threshold, tuned_on: The threshold and the split it was chosen on ("none" for one fixed beforehand).

    Returns:
        ``prm_score`` (None where a class has no step), ``f1_right``, ``f1_wrong``, ``num_right``, ``num_wrong``;
        ``categories`` (the same per category), ``mean_of_categories``, ``control_accuracy`` (share of the controls'
        steps called right), ``num_unscored`` solutions, ``threshold``, ``tuned_on``.

    Raises:
        ValueError: for lists that do not fit.

    Example:
        >>> report = prm_bench_report(["circular"], [[1, 0]], [[0.9, 0.2]], threshold=0.5, tuned_on="none")
        >>> report["prm_score"]
        1.0
    """
    _check_lengths(categories, labels, scores)
    scored = [row for row in zip(categories, labels, scores, strict=True) if row[2] is not None]
    by_category = {
        name: _prm_figures([row for row in scored if row[0] == name], threshold, name)
        for name in dict.fromkeys(categories)
        if name != CONTROL_CATEGORY
    }
    control_scores = [score for name, _, row in scored if name == CONTROL_CATEGORY for score in row]
    return {
        **_prm_figures([row for row in scored if row[0] != CONTROL_CATEGORY], threshold),
        "categories": by_category,
        "mean_of_categories": _mean_of_all([figures["prm_score"] for figures in by_category.values()]),
        "control_accuracy": metrics.mean_or_none(score >= threshold for score in control_scores),
        "num_unscored": len(scores) - len(scored),
        "threshold": threshold,
        "tuned_on": tuned_on,
    }


def _prm_figures(
    rows: Sequence[tuple[str, Sequence[int | None], Sequence[float]]], threshold: float, category: str | None = None
) -> dict[str, Any]:
    """PRMScore and what it is made of, over the pooled steps of some solutions."""
    figures = _class_figures([labels for _, labels, _ in rows], [scores for *_, scores in rows], threshold)
    has_both = figures["num_right"] and figures["num_wrong"]
    score = figures["f1_right"] if category == RIGHT_ONLY_CATEGORY else figures["macro_f1"] if has_both else None
    return {"prm_score": score, **{name: figures[name] for name in ("f1_right", "f1_wrong", "num_right", "num_wrong")}}


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is missing or there is none."""
    return None if None in values else metrics.mean_or_none(values)


def _class_figures(labels: Labels, scores: Scores, threshold: float) -> dict[str, Any]:
    """F1 of both classes and their mean over pooled steps; an unscored step is called the opposite of its label."""
    flat, values = [], []
    num_neutral = num_unscored = 0
    for solution_labels, solution_scores in zip(labels, scores, strict=True):
        for label, score in zip(solution_labels, solution_scores or [None] * len(solution_labels), strict=True):
            if label is None:
                num_neutral += 1
                continue
            num_unscored += score is None
            flat.append(label)
            values.append((threshold - 1.0 if label else threshold + 1.0) if score is None else score)
    f1s = metrics.class_f1s(flat, values, threshold) if flat else (None, None)
    return {
        "macro_f1": sum(f1s) / 2.0 if flat else None,
        "f1_right": f1s[0],
        "f1_wrong": f1s[1],
        "num_right": sum(flat),
        "num_wrong": len(flat) - sum(flat),
        "num_neutral": num_neutral,
        "num_unscored": num_unscored,
    }


def _of_group(name: str, names: Sequence[str], *columns: Sequence[Any]) -> list[list[Any]]:
    """Each column's entries of one group."""
    return [[value for group, value in zip(names, column, strict=True) if group == name] for column in columns]


def _check_lengths(groups: Sequence[Any], truths: Sequence[Any], scores: Scores) -> None:
    """Raise ValueError unless all have one entry per solution, and labels and scores one per step."""
    if not len(groups) == len(truths) == len(scores) or not len(groups):
        raise ValueError(
            f"Found {len(groups)} groups, {len(truths)} truths and {len(scores)} lists of scores. "
            "Give one of each per solution, and at least one solution."
        )
    for index, (truth, row) in enumerate(zip(truths, scores, strict=True)):
        if row is not None and isinstance(truth, Sequence) and len(truth) != len(row):
            raise ValueError(
                f"Solution {index} has {len(truth)} labels and {len(row)} scores. Give one score per step, or None "
                "for a solution that was not scored."
            )
