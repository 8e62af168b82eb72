"""Best-of-N as a metric during training: the model selects among the candidates of a fixed file at every evaluation.

Step metrics measure how well labels are predicted. A PRM is for selection, and the checkpoint that selects best need
not be the one that predicts labels best. The candidates stay the same, so that only the scores change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from ..answers import group_answers
from ..data import Candidate, Problem
from ..models import MMPRMProcessor, figure_size
from ..rows import FigureFinder, FigureRules, candidate_outcome, read_candidate_rows, row_images
from ..scoring import PRMScorer
from ..selection import aggregate, outcome_by_selection
from .restoring import kept_modes
from .starting import inner_prm


@dataclasses.dataclass(frozen=True)
class CandidateSet:
    """A problem with its judged candidates.

    Args:
        problem: Question and figures.
        candidates: At least one.
        outcomes: Per candidate 1.0 (right), 0.0 (wrong or incomplete) or None (undecided, which counts nowhere).
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    outcomes: tuple[float | None, ...]


def read_candidate_sets(
    path: str | Path,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
) -> list[CandidateSet]:
    """Return the candidate sets of a candidates file, as `mmprm rerank`, `evaluate` and `demo` write it.

    Problems without candidates (they could not be shown to a model) or without any decided candidate are left out.

    Args:
        path: The file.
        rules: Which figures besides those in the file's folder may be read and fetched.

    Raises:
        ValueError: for a bad row or a figure that cannot be read or lies elsewhere, naming it, or a file without a
            usable problem.
    """
    path = Path(path)
    finder = FigureFinder(path.parent, rules)
    rows = [row for row in read_candidate_rows(path, need_verdicts=True) if row["candidates"]]
    sets = [_candidate_set(row, finder, path) for row in rows]
    sets = [candidate_set for candidate_set in sets if set(candidate_set.outcomes) != {None}]
    if not sets:
        raise ValueError(f"Found no problem with judged candidates in {path}. Write it with `mmprm rerank --data`.")
    return sets


def _candidate_set(row: Mapping[str, Any], finder: FigureFinder, path: Path) -> CandidateSet:
    try:
        figures = finder.find(row.get("figures") or row_images(row))
        for figure in figures:
            figure_size(figure)
    except ValueError as error:
        raise ValueError(
            f"Problem {row['problem_id']!r} of {path} has a figure that cannot be used: {error}"
        ) from error
    candidates = [
        dataclasses.replace(Candidate.from_dict(candidate), step_scores=None, score=None)
        for candidate in row["candidates"]
    ]
    problem = Problem(str(row["problem_id"]), row.get("question") or "", tuple(figures))
    return CandidateSet(problem, tuple(candidates), tuple(map(candidate_outcome, row["candidates"])))


class BestOfNCallback(TrainerCallback):
    """Adds best-of-N accuracy on fixed candidates to the metrics of every evaluation.

    So the best checkpoint can be chosen by it (``metric_for_best_model="eval_best_of_n"``). ``eval_best_of_n`` is the
    share of problems whose selected candidate is right. Beside it stand ``eval_mean_pass_at_1``, ``eval_oracle`` and,
    if any candidate has an answer, ``eval_majority_vote``; see `selection.outcome_by_selection`.

    With several processes every process scores all candidates with its own copy of the model and takes over the numbers
    of the main process, so that all choose the same checkpoint. A model that is sharded over processes (FSDP, DeepSpeed
    ZeRO-3) cannot be scored this way.

    Args:
        candidate_sets: What to select from.
        aggregation: Step scores to one number, see `selection.AGGREGATIONS`.
        max_batch_tokens: The most tokens of one forward, see `PRMScorer`; optimizer and gradients stay in memory too.

    Raises:
        ValueError: for no sets, or an unknown aggregation.

    Example:
        >>> callback = BestOfNCallback(read_candidate_sets("candidates.jsonl"))  # doctest: +SKIP
        >>> PRMTrainer(model, args, train_dataset=rows, eval_dataset=held_out, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self, candidate_sets: Sequence[CandidateSet], aggregation: str = "min", max_batch_tokens: int = 8192
    ) -> None:
        aggregate((), aggregation)  # raises for an unknown one
        if not candidate_sets:
            raise ValueError("Found 0 candidate sets. Best-of-N needs at least one problem.")
        self.candidate_sets, self.aggregation = list(candidate_sets), aggregation
        self.max_batch_tokens = max_batch_tokens
        self.trainer: Any = None  # set by PRMTrainer
        self._scorer: PRMScorer | None = None

    def on_evaluate(self, args, state, control, metrics=None, model=None, processing_class=None, **kwargs):
        """Scores, selects, and adds the values to `metrics` in place and to the trainer's log."""
        if metrics is None or not self._is_last_split(metrics):
            return
        progress = state.is_world_process_zero and not args.disable_tqdm
        shared = [self.score(model, processing_class, progress)]
        broadcast_object_list(shared)  # the main process's values; nothing happens in a single process
        values = {f"eval_{name}": value for name, value in shared[0].items()}
        metrics.update(values)
        if self.trainer is not None:
            self.trainer.log(dict(values))

    def score(self, model: Any, processor: MMPRMProcessor, progress: bool = False) -> dict[str, float]:
        """Returns the metrics of a PRM, which may be wrapped; the train or eval mode of every module stays."""
        prm = inner_prm(model)
        with kept_modes(prm):
            if self._scorer is None or self._scorer.model is not prm:
                self._scorer = PRMScorer(prm, processor, max_batch_tokens=self.max_batch_tokens)
            prm.eval()
            scored = self._scorer.score_many(
                [candidate_set.problem for candidate_set in self.candidate_sets],
                [candidate_set.candidates for candidate_set in self.candidate_sets],
                progress=progress,
            )
        values = mean_outcomes(self.candidate_sets, scored, self.aggregation)
        has_answers = any(candidate.answer for candidates in scored for candidate in candidates)
        names = ("best_of_n", "mean_pass_at_1", "oracle", *(("majority_vote",) if has_answers else ()))
        return {name: values[name] for name in names}

    def _is_last_split(self, metrics: Mapping[str, float]) -> bool:
        """Whether metrics are those of the last eval split: several are evaluated one after the other."""
        splits = getattr(self.trainer, "eval_dataset", None)
        if not isinstance(splits, dict):
            return True
        evaluated = [name for name in splits if f"eval_{name}_loss" in metrics]
        return not evaluated or evaluated[-1] == list(splits)[-1]


def mean_outcomes(
    candidate_sets: Sequence[CandidateSet], scored: Sequence[Sequence[Candidate]], aggregation: str
) -> dict[str, float]:
    """Return the mean over problems of `selection.outcome_by_selection`; a mean leaves undecided problems out.

    Candidates that cannot be scored (no step scores) are never selected.
    """
    values: dict[str, list[float]] = {}
    for candidate_set, candidates in zip(candidate_sets, scored, strict=True):
        step_scores = [candidate.step_scores or () for candidate in candidates]
        groups = group_answers([candidate.answer if candidate.complete else None for candidate in candidates])
        outcomes = outcome_by_selection(candidate_set.outcomes, step_scores, groups, aggregation)
        for name, outcome in outcomes.items():
            values.setdefault(name, []).extend([] if outcome is None else [outcome])
    return {name: fmean(outcomes) if outcomes else float("nan") for name, outcomes in values.items()}
