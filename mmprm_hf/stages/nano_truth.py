"""Step scores of the nano world's candidates against its exact step checker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data import Candidate, Verdict
from ..evaluation import false_positive_report, step_level_report
from ..nano import NanoProblem, StepTruth

if TYPE_CHECKING:
    from .demo_stage import NanoRun


@dataclasses.dataclass(frozen=True)
class LabelledSteps:
    """Steps of distinct candidates, flat over problems.

    Args:
        labels: 1 (right) or 0 (wrong) per step.
        scores: The PRM's step scores of the same steps.
        num_unparsable: Number of steps left out because the checker cannot read them.
    """

    labels: list[int]
    scores: list[float]
    num_unparsable: int


def label_steps(
    problems: Sequence[NanoProblem], candidates: Sequence[Sequence[Candidate]], *, by_prefix: bool
) -> LabelledSteps:
    """Return the exact labels of the scored steps of each problem's distinct candidates.

    Args:
        problems: The problems.
        candidates: One list of scored candidates per problem.
        by_prefix: If True, a step is right only if all steps before it are right too.
    """
    labels: list[int] = []
    scores: list[float] = []
    num_unparsable = 0
    for problem, row in zip(problems, candidates, strict=True):
        distinct = {candidate.steps: candidate.step_scores for candidate in row if candidate.step_scores}
        for steps, step_scores in distinct.items():
            checks = zip(problem.check(steps), problem.check_prefixes(steps), step_scores, strict=True)
            for truth, is_prefix_right, score in checks:
                if truth is StepTruth.UNPARSABLE:
                    num_unparsable += 1
                    continue
                labels.append(int(is_prefix_right if by_prefix else truth is StepTruth.RIGHT))
                scores.append(score)
    return LabelledSteps(labels, scores, num_unparsable)


@dataclasses.dataclass(frozen=True)
class RightAnswers:
    """Solutions with a right answer, as `evaluation.false_positive_report` takes them.

    Args:
        solutions: Step labels and step scores of each distinct solution, once per problem.
        chosen: Step labels of those that the PRM chose, at most one per problem.
        drawn_from: For each of `chosen`, the step labels of all solutions of its problem, copies included.
        num_unjudged: Number of distinct solutions left out because the checker cannot read one of their steps.
    """

    solutions: list[tuple[list[int], list[float]]]
    chosen: list[list[int]]
    drawn_from: list[list[list[int]]]
    num_unjudged: int


def right_answers(problems: Sequence[NanoProblem], rows: Sequence[Mapping[str, Any]]) -> RightAnswers:
    """Return the solutions with a right answer among candidate rows, with the exact labels of their steps."""
    solutions, chosen, drawn_from, num_unjudged = [], [], [], 0
    for problem, row in zip(problems, rows, strict=True):
        right = [
            candidate
            for candidate in row["candidates"]
            if candidate["complete"] and candidate["verdict"] == Verdict.CORRECT and candidate["step_scores"]
        ]
        labels: dict[tuple[str, ...], list[int]] = {}
        for steps, step_scores in {tuple(candidate["steps"]): candidate["step_scores"] for candidate in right}.items():
            truths = problem.check(steps)
            if StepTruth.UNPARSABLE in truths:
                num_unjudged += 1
                continue
            labels[steps] = [int(truth is StepTruth.RIGHT) for truth in truths]
            solutions.append((labels[steps], list(step_scores)))
        winner = () if row["chosen"] is None else tuple(row["candidates"][row["chosen"]]["steps"])
        if winner in labels:
            chosen.append(labels[winner])
            drawn_from.append([labels[tuple(c["steps"])] for c in right if tuple(c["steps"]) in labels])
    return RightAnswers(solutions, chosen, drawn_from, num_unjudged)


def exact_truth_section(test: NanoRun, train: NanoRun) -> dict[str, Any]:
    """Return the section ``exact_truth`` of a results document; thresholds are chosen on the train problems.

    Returns:
        ``step_level`` (every step by itself), ``prefix_level`` (a step is right only if all before it are, which Monte
        Carlo labels estimate) and ``false_positives`` (solutions with a right answer and a wrong step).
    """
    section: dict[str, Any] = {}
    for name, by_prefix in (("step_level", False), ("prefix_level", True)):
        steps = label_steps(test.problems, test.candidates, by_prefix=by_prefix)
        train_steps = label_steps(train.problems, train.candidates, by_prefix=by_prefix)
        report = step_level_report(
            steps.labels, steps.scores, train_labels=train_steps.labels, train_scores=train_steps.scores
        )
        section[name] = {**report, "num_unparsable": steps.num_unparsable}
    right = right_answers(test.problems, test.rows)
    report = false_positive_report(
        right.solutions,
        threshold=section["step_level"]["threshold"],
        chosen=right.chosen,
        drawn_from=right.drawn_from,
    )
    return {**section, "false_positives": {**report, "num_unjudged": right.num_unjudged}}
