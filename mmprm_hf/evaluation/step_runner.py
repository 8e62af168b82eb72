"""Step-level benchmarks with a PRM: samples to step scores, and both to a section of results that is plain JSON.

A sample that a PRM cannot be shown gets no scores, never zeros, and is counted. Imports level 0 and this room.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .. import metrics
from ..data import Problem
from ..errors import UnknownNameError, each_or_error
from ..progress import progress_bar
from ..rows import FigureRules
from .profiles import score_profile
from .step_metrics import prm_bench_report, process_bench_report, visual_process_bench_report
from .step_samples import Counts, StepSample, load_prm_bench, load_process_bench, load_visual_process_bench

logger = logging.getLogger(__name__)

StepScores = tuple[float, ...]
BATCH_SIZE = 32  # samples per call of the scorer, which may cut them further

STEP_BENCHMARKS: dict[str, Callable[..., tuple[list[StepSample], Counts]]] = {
    "visualprocessbench": load_visual_process_bench,
    "processbench": load_process_bench,
    "prmbench": load_prm_bench,
}
"""The loader of each step-level benchmark."""


class SolutionScorer(Protocol):
    """What scores solutions: `PRMScorer`, or anything with this method."""

    def score_solutions(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[tuple[str, ...]]]
    ) -> list[list[StepScores]]:
        """Step scores per problem and solution."""


def load_step_benchmark(
    benchmark: str,
    data: str | os.PathLike[str],
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> tuple[list[StepSample], Counts]:
    """Return the samples of a benchmark with ``num_rows``, ``num_kept`` and ``problems`` (rows per fault).

    Args:
        benchmark: A name of `STEP_BENCHMARKS`.
        data: As its loader takes it: a ``.jsonl`` file, a dataset's folder or a hub id.
        rules: Which figures besides those in the data's folder may be read and fetched; one benchmark has figures.
        columns: Our names of columns to those of the data, where they differ.

    Raises:
        ValueError: for an unknown benchmark, a column that is not there, or no usable sample.
    """
    if benchmark not in STEP_BENCHMARKS:
        raise UnknownNameError("step benchmark", benchmark, STEP_BENCHMARKS)
    options = {"rules": rules} if benchmark == "visualprocessbench" else {}
    samples, counts = STEP_BENCHMARKS[benchmark](data, columns=columns, **options)
    if not samples:
        raise ValueError(f"Found no usable sample in {data} ({counts}). Check the file's form and its figures.")
    return samples, counts


def score_samples(
    scorer: SolutionScorer, samples: Sequence[StepSample], *, progress: bool = False
) -> list[StepScores | None]:
    """Return every sample's step scores, given its question and figures, in the order of the samples.

    Args:
        scorer: A `PRMScorer`, or anything with `score_solutions(problems, solutions)`; if it has `can_score(steps)`,
            that is asked first.
        samples: The samples.
        progress: Show a bar.

    Returns:
        One score per step and sample; None for a sample with a blank step, one that `can_score` refuses, and one on
        which the scorer raises ValueError (a figure that cannot be decoded): each is named in the log.

    Raises:
        ValueError: if the scorer gives another number of scores than there are steps.
    """
    can_score = getattr(scorer, "can_score", lambda steps: True)
    scores: list[StepScores | None] = [None] * len(samples)
    indices = [i for i, s in enumerate(samples) if all(step.strip() for step in s.steps) and can_score(s.steps)]
    for index in sorted(set(range(len(samples))) - set(indices)):
        logger.warning("Sample %r is not scored: this PRM cannot read one of its steps.", samples[index].id)
    indices.sort(key=lambda i: len(samples[i].question) + sum(map(len, samples[i].steps)))  # so that batches pad little

    def score_batch(batch: Sequence[StepSample]) -> list[list[StepScores]]:
        return scorer.score_solutions([sample.to_problem() for sample in batch], [[s.steps] for s in batch])

    with progress_bar(total=len(indices), desc="scoring", is_shown=progress) as bar:
        for start in range(0, len(indices), BATCH_SIZE):
            batch = indices[start : start + BATCH_SIZE]
            results = each_or_error(score_batch, [samples[index] for index in batch])
            for index, result in zip(batch, results, strict=True):
                if isinstance(result, ValueError):
                    logger.warning("Sample %r is not scored: %s", samples[index].id, result)
                    continue
                scores[index] = tuple(result[0])
                _check_number(samples[index], scores[index])
            bar.update(len(batch))
    return scores


def evaluate_steps(
    benchmark: str,
    samples: Sequence[StepSample],
    scores: Sequence[Sequence[float] | None],
    *,
    threshold: float,
    tuned_on: str,
) -> dict[str, Any]:
    """Return a benchmark's figures as a plain dict: the section "steps" of `make_results`.

    Args:
        benchmark: A name of `STEP_BENCHMARKS`.
        samples: As its loader gives them.
        scores: As `score_samples` gives them.
        threshold, tuned_on: The threshold and the split it was chosen on ("none" for one fixed beforehand).

    Returns:
        ``num_samples``, ``num_unscored_samples``, the report of `step_metrics`, and of all labelled steps that are
        scored ``calibration`` (`metrics.reliability`; None if there are none) and ``by_step`` (`score_profile`).

    Raises:
        ValueError: for an unknown benchmark, or lists that do not fit.
    """
    if benchmark not in STEP_BENCHMARKS:
        raise UnknownNameError("step benchmark", benchmark, STEP_BENCHMARKS)
    if len(samples) != len(scores):
        raise ValueError(f"Found {len(samples)} samples and {len(scores)} lists of scores. Give one list per sample.")
    for sample, row in zip(samples, scores, strict=True):
        _check_number(sample, row)
    categories, labels = [sample.category for sample in samples], [sample.labels for sample in samples]
    at = {"threshold": threshold, "tuned_on": tuned_on}
    if benchmark == "visualprocessbench":
        report = visual_process_bench_report(categories, labels, scores, **at)
    elif benchmark == "processbench":
        report = process_bench_report(categories, [_first_error(sample) for sample in samples], scores, **at)
    else:
        report = prm_bench_report(categories, labels, scores, **at)
    return {
        "num_samples": len(samples),
        "num_unscored_samples": sum(row is None for row in scores),
        **report,
        **_calibration(labels, scores),
    }


def _calibration(
    labels: Sequence[Sequence[int | None]], scores: Sequence[Sequence[float] | None]
) -> dict[str, dict[str, Any] | list[dict[str, Any]] | None]:
    """Reliability and profile of the labelled steps that are scored."""
    steps = [
        (step_index, score, label == 1)
        for solution_labels, solution_scores in zip(labels, scores, strict=True)
        for step_index, (score, label) in enumerate(zip(solution_scores or (), solution_labels, strict=False))
        if label is not None
    ]
    calibration = (
        metrics.reliability([score for _, score, _ in steps], [right for *_, right in steps]) if steps else None
    )
    return {"calibration": calibration, "by_step": score_profile("step_index", steps)}


def _check_number(sample: StepSample, scores: Sequence[float] | None) -> None:
    """Raise ValueError unless there is one score per step, or none at all."""
    if scores is not None and len(scores) != len(sample.steps):
        raise ValueError(
            f"Found {len(scores)} scores for the {len(sample.steps)} steps of sample {sample.id!r}. "
            "A scorer gives one score per step; a sample that is not scored has None."
        )


def _first_error(sample: StepSample) -> int:
    if sample.first_error is None:
        raise ValueError(f"Sample {sample.id!r} has no first_error. Load ProcessBench with `load_process_bench`.")
    return sample.first_error
