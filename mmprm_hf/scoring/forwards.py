"""Forwards of problems with their solutions under each layout, from text and images to step scores.

All layouts return the same scores per problem and solution. Nothing is looked up or stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..data import Problem
from ..models import MMPRMModel, MMPRMProcessor
from .backbones import forget_longer_rows, packed_inputs, packed_obstacle, prompt_positions
from .packing import pack_prefix_tree
from .prefix_cache import run_prefixes, suffix_inputs, token_scores
from .row_plan import RowPlan

Solution = tuple[str, ...]
StepScores = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Job:
    """A problem and distinct solutions to be scored, none with a blank step."""

    problem: Problem
    solutions: tuple[Solution, ...]


def checked_steps(solution: Sequence[str]) -> Solution:
    """Return a solution as a tuple of steps (ValueError for a text, which would be read letter by letter)."""
    if not isinstance(solution, (list, tuple)) or not all(isinstance(step, str) for step in solution):
        raise ValueError(f"Found the solution {solution!r:.80}. It must be a list of steps, such as ['A=22', 'B=61'].")
    return tuple(solution)


def check_problem(problem: Problem) -> None:
    """Raise a ValueError unless it is a `Problem`."""
    if not isinstance(problem, Problem):
        hint = " Give its to_problem()." if hasattr(problem, "to_problem") else ""
        raise ValueError(f"Found a {type(problem).__name__} where a Problem was expected, {problem!r:.80}.{hint}")


@dataclasses.dataclass(frozen=True)
class EncodedBatch:
    """Jobs as token ids."""

    rows: list[list[tuple[int, ...]]]  # per job, of each solution's whole row
    prompts: list[tuple[int, ...]]  # per job
    extra: dict[str, Any]  # the prompts' other inputs, from `MMPRMProcessor.encode_prompts`


def encode_jobs(processor: MMPRMProcessor, jobs: Sequence[Job]) -> EncodedBatch:
    """Return jobs as token ids (ValueError for text or an image that cannot be read)."""
    questions, images = [job.problem.question for job in jobs], [job.problem.images for job in jobs]
    solutions = [job.solutions for job in jobs]
    pieces, extra = processor.encode_solutions(questions, images, solutions, control_tokens="as_text")
    rows = [[tuple(i for piece in solution for i in piece) for solution in job_pieces] for job_pieces in pieces]
    return EncodedBatch(rows, [tuple(job_pieces[0][0]) for job_pieces in pieces], extra)


def score_alone(model: MMPRMModel, processor: MMPRMProcessor, job: Job) -> list[StepScores]:
    """Return scores from one forward per solution, prompt and figure included: slow, and right for every backbone."""
    problem, scores = job.problem, []
    for steps in job.solutions:
        row = processor(images=list(problem.images), text=problem.question, steps=steps, control_tokens="as_text")
        forget_longer_rows(model)
        (step_scores,) = model(**row.to(model.device)).step_scores()
        scores.append(tuple(step_scores.tolist()))
    return scores


def score_packed(model: MMPRMModel, processor: MMPRMProcessor, batch: EncodedBatch) -> list[list[StepScores]]:
    """Return scores from one packed row per job.

    Raises:
        ValueError: if the prompts have inputs with which packed rows would be wrong.
    """
    obstacle = packed_obstacle(model, batch.extra)
    if obstacle:
        raise ValueError(f"layout 'packed' would be wrong: {obstacle}. Leave it at 'auto'.")
    trees = [pack_prefix_tree(rows) for rows in batch.rows]
    values = token_scores(model, packed_inputs(model, trees, batch.prompts, batch.extra, processor.pad_token_id))
    token_values = [[values[p, index].tolist() for index in tree.token_index] for p, tree in enumerate(trees)]
    marker = processor.marker_token_id
    return [_at_markers(marker, rows, row_values) for rows, row_values in zip(batch.rows, token_values, strict=True)]


def score_behind_prefixes(
    model: MMPRMModel, processor: MMPRMProcessor, batch: EncodedBatch, plan: RowPlan, branches: bool
) -> list[list[StepScores]]:
    """Return scores from one forward of the common prefixes and then forwards of what follows ("tree" or "chain")."""
    prefixes = [rows[0][:length] for rows, length in zip(batch.rows, plan.lengths, strict=True)]
    tables = prompt_positions(model, batch.prompts, batch.extra)
    cached, prefix_values = run_prefixes(model, processor, prefixes, tables, batch.extra, branches)
    token_values = [[list(prefix_values[p])] * len(rows) for p, rows in enumerate(batch.rows)]
    for start, stop in plan.chunks:
        chunk = plan.subtrees[start:stop]
        owners, trees = [p for p, _, _ in chunk], [tree for _, _, tree in chunk]
        inputs = suffix_inputs(model, cached, trees, owners, processor.pad_token_id)
        values = token_scores(model, inputs, use_cache=True)
        for row, (p, members, tree) in enumerate(chunk):
            for member, index in zip(members, tree.token_index, strict=True):
                token_values[p][member] = token_values[p][member] + values[row, index].tolist()
    marker = processor.marker_token_id
    return [_at_markers(marker, rows, row_values) for rows, row_values in zip(batch.rows, token_values, strict=True)]


def _at_markers(marker: int, rows: Sequence[Sequence[int]], values: Sequence[Sequence[float]]) -> list[StepScores]:
    """The values of rows' tokens at their markers."""
    pairs = [zip(row, row_values, strict=True) for row, row_values in zip(rows, values, strict=True)]
    return [tuple(value for token, value in pair if token == marker) for pair in pairs]
