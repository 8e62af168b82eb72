"""Step-level benchmarks with a PRM: samples to step scores, and both to a result that is plain JSON.

A sample that a PRM cannot be shown gets no scores, never zeros, and is counted. Imports levels 0 and 1 and this room.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from tqdm.auto import tqdm

from ..data import Problem
from .calibration import reliability, score_profile
from .step_metrics import chosen_threshold, prm_bench_report, process_bench_report, visual_process_bench_report
from .step_samples import StepSample

logger = logging.getLogger(__name__)

Benchmark = Literal["visualprocessbench", "processbench", "prmbench"]
BENCHMARKS: tuple[Benchmark, ...] = ("visualprocessbench", "processbench", "prmbench")
StepScores = tuple[float, ...]


class Scorer(Protocol):
    """What scores solutions: `PRMScorer`, or anything with this method."""

    def score_solutions(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[tuple[str, ...]]]
    ) -> list[list[StepScores]]:
        """Step scores per problem and solution."""


def score_samples(
    scorer: Scorer, samples: Sequence[StepSample], *, batch_size: int = 32, progress: bool = False
) -> list[StepScores | None]:
    """Score every sample's steps, given its question and figures.

    Args:
        scorer: A `PRMScorer`, or anything with `score_solutions(problems, solutions)`; its `can_score(steps)` is asked
            where it has one.
        samples: The samples.
        batch_size: Samples per call of the scorer, which may cut them further.
        progress: Show a bar.

    Returns:
        One score per step and sample, order kept; None for a sample with a blank step, one that `can_score` refuses,
        and one on which the scorer raises ValueError (a figure that cannot be decoded): each is named in the log.

    Raises:
        ValueError: if the scorer gives another number of scores than there are steps, or batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"Found batch_size={batch_size}; it is at least 1.")
    can_score = getattr(scorer, "can_score", lambda steps: True)
    found: list[StepScores | None] = [None] * len(samples)
    shown = [i for i, s in enumerate(samples) if all(step.strip() for step in s.steps) and can_score(s.steps)]
    shown.sort(key=lambda i: len(samples[i].question) + sum(map(len, samples[i].steps)))  # so that batches pad little
    for index in sorted(set(range(len(samples))) - set(shown)):
        logger.warning("Sample %r is not scored: a step is blank, or none that this PRM can read.", samples[index].id)
    with tqdm(total=len(shown), desc="scoring", disable=not progress) as bar:
        for start in range(0, len(shown), batch_size):
            indices = shown[start : start + batch_size]
            for index, scores in zip(indices, _batch(scorer, [samples[i] for i in indices]), strict=True):
                found[index] = scores
            bar.update(len(indices))
    return found


def evaluate_steps(
    benchmark: Benchmark,
    samples: Sequence[StepSample],
    scores: Sequence[Sequence[float] | None],
    *,
    threshold: float | None = None,
    tuned_on: str | None = None,
    train_samples: Sequence[StepSample] | None = None,
    train_scores: Sequence[Sequence[float] | None] | None = None,
) -> dict[str, Any]:
    """Return a benchmark's figures as a plain dict: the section "steps" of `results.make_results`.

    Args:
        benchmark: One of `BENCHMARKS`.
        samples: As its loader gives them.
        scores: As `score_samples` gives them.
        threshold: Give it with `tuned_on`, the split it was chosen on ("none" for one fixed beforehand); or leave it to
            be chosen (best macro-F1 of steps) on `train_samples` and `train_scores`.

    Returns:
        ``num_samples``, ``num_unscored_samples``, the report of `step_metrics`, and of all labelled steps that are
        scored ``calibration`` (`calibration.reliability`; None if there are none) and ``by_step`` (`score_profile`).

    Raises:
        ValueError: for an unknown benchmark, lists that do not fit, or a threshold without its split.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"Unknown benchmark {benchmark!r}; choose one of {', '.join(BENCHMARKS)}.")
    if len(samples) != len(scores):
        raise ValueError(f"Found {len(samples)} samples and {len(scores)} lists of scores. Give one list per sample.")
    for sample, row in zip(samples, scores, strict=True):
        _check_number(sample, row)
    train_labels = None if train_samples is None else [sample.labels for sample in train_samples]
    threshold, tuned_on = chosen_threshold(threshold, tuned_on, train_labels, train_scores)
    categories, labels = [sample.category for sample in samples], [sample.labels for sample in samples]
    at = {"threshold": threshold, "tuned_on": tuned_on}
    if benchmark == "visualprocessbench":
        report = visual_process_bench_report(categories, labels, scores, **at)
    elif benchmark == "processbench":
        report = process_bench_report(categories, [_first_error(sample) for sample in samples], scores, **at)
    else:
        report = prm_bench_report(categories, labels, scores, **at)
    labelled = [
        (index, score, label == 1)
        for sample, row in zip(samples, scores, strict=True)
        if row is not None
        for index, (score, label) in enumerate(zip(row, sample.labels, strict=True))
        if label is not None
    ]
    return {
        "num_samples": len(samples),
        "num_unscored_samples": sum(row is None for row in scores),
        **report,
        "calibration": reliability([score for _, score, _ in labelled], [right for _, _, right in labelled])
        if labelled
        else None,
        "by_step": score_profile("step_index", labelled),
    }


def _batch(scorer: Scorer, samples: Sequence[StepSample]) -> list[StepScores | None]:
    """Scores of samples in one call; where that fails, one by one, so that only the bad ones go without."""
    try:
        rows = scorer.score_solutions([sample.to_problem() for sample in samples], [[s.steps] for s in samples])
    except ValueError as error:
        if len(samples) == 1:
            logger.warning("Sample %r is not scored: %s", samples[0].id, error)
            return [None]
        return [scores for sample in samples for scores in _batch(scorer, [sample])]
    found = [tuple(scores) for (scores,) in rows]
    for sample, scores in zip(samples, found, strict=True):
        _check_number(sample, scores)
    return found


def _check_number(sample: StepSample, scores: Sequence[float] | None) -> None:
    """Raises ValueError unless there is one score per step, or none at all."""
    if scores is not None and len(scores) != len(sample.steps):
        raise ValueError(
            f"Found {len(scores)} scores for the {len(sample.steps)} steps of sample {sample.id!r}. "
            "A scorer gives one score per step; a sample that is not scored has None."
        )


def _first_error(sample: StepSample) -> int:
    """Raises ValueError where it is not told."""
    if sample.first_error is None:
        raise ValueError(f"Sample {sample.id!r} has no first_error. Load ProcessBench with `load_process_bench`.")
    return sample.first_error


__all__ = ["BENCHMARKS", "Benchmark", "Scorer", "evaluate_steps", "score_samples"]
