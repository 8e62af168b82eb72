"""Best-of-N as a metric during training: the model in training selects among candidates of a fixed set.

Step metrics tell how well labels are predicted; what a PRM is for is selection, and the best checkpoint of one need
not be that of the other. The set is written once, so that only the scores change between evaluations.
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
from ..files import iter_jsonl
from ..models import MMPRMModel, MMPRMProcessor
from ..scoring import PRMScorer
from ..selection import aggregate, best_of_n, majority_vote
from .restoring import kept_modes

_SET_KEYS = {"id", "question", "images", "candidates"}


@dataclasses.dataclass(frozen=True)
class CandidateSet:
    """A problem with candidates whose answers were judged.

    Args:
        problem: Question and figures.
        candidates: At least one.
        is_correct: Whether each candidate's answer is right.
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    is_correct: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not self.candidates or len(self.candidates) != len(self.is_correct):
            raise ValueError(
                f"Found {len(self.candidates)} candidates and {len(self.is_correct)} marks is_correct for problem "
                f"{self.problem.id!r}. Give at least one candidate, and one mark each."
            )


def read_candidate_sets(path: str | Path) -> list[CandidateSet]:
    """Candidate sets of a JSON-lines file, a problem a line.

    A line is ``{"question": "..", "images": ["figure.png"], "candidates": [{"steps": [".."], "answer": "..",
    "is_correct": true}]}``; `images` may be missing, and so may a candidate's `answer`. Paths of images are relative
    to the file's folder. `id` of a set and `complete` of a candidate are taken too; what else a candidate has is not
    read.

    Raises:
        ValueError: for a line that is not such a set, naming it, or a file without any.
    """
    path = Path(path)
    sets = []
    for number, row in enumerate(iter_jsonl(path), start=1):
        try:
            sets.append(_candidate_set(row, number, path.parent))
        except ValueError as error:
            raise ValueError(f"Candidate set {number} of {path}: {error}") from error
    if not sets:
        raise ValueError(f"Found no candidate set in {path}. Write one problem a line.")
    return sets


def _candidate_set(row: Any, number: int, folder: Path) -> CandidateSet:
    if not isinstance(row, Mapping):
        raise ValueError(f"Found a {type(row).__name__}; a set is an object with question, images and candidates.")
    unknown = sorted(set(row) - _SET_KEYS)
    if unknown:
        raise ValueError(f"Found the unknown keys {unknown}; known are {', '.join(sorted(_SET_KEYS))}.")
    images, candidates = row.get("images") or [], row.get("candidates")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ValueError(f"Found images={images!r}; images are a list of paths.")
    paths = [folder / image for image in images]
    for image in paths:
        if not image.is_file():
            raise ValueError(f"Image {str(image)!r} does not exist. Paths are relative to the file's folder.")
    if not isinstance(candidates, list) or not candidates:
        raise ValueError(f"Found candidates={candidates!r}; candidates are a list with at least one.")
    for index, candidate in enumerate(candidates):
        _check_candidate(candidate, index)
    return CandidateSet(
        Problem(str(row.get("id", number)), row.get("question") or "", tuple(map(str, paths))),
        tuple(Candidate(tuple(c["steps"]), c.get("answer"), c.get("complete", True)) for c in candidates),
        tuple(c["is_correct"] for c in candidates),
    )


def _check_candidate(candidate: Any, index: int) -> None:
    """Raise unless it has steps (maybe none), a mark, and where it has an answer, one of text."""
    if not isinstance(candidate, Mapping):
        raise ValueError(f"Candidate {index} is a {type(candidate).__name__}; it is an object with steps, is_correct.")
    steps = candidate.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise ValueError(f"Candidate {index} has steps={steps!r}; steps are a list of texts.")
    for name in ("is_correct", "complete"):
        value = candidate.get(name, True if name == "complete" else None)
        if not isinstance(value, bool):
            raise ValueError(f"Candidate {index} has {name}={value!r}; it is true or false.")
    answer = candidate.get("answer")
    if not isinstance(answer, str | None):
        raise ValueError(f"Candidate {index} has answer={answer!r}; an answer is a text or null.")


class BestOfNCallback(TrainerCallback):
    """Adds best-of-N accuracy on fixed candidates to the metrics of an evaluation, so that the best checkpoint can
    follow it (``metric_for_best_model="eval_best_of_n"``).

    `eval_best_of_n` is the share of problems whose selected candidate is right (ties in the score go to the higher
    mean step score; no candidate with steps: wrong), `eval_mean_accuracy` the mean over problems of the share of
    right candidates, `eval_oracle` the share of problems with a right candidate, and `eval_majority`, where any
    candidate has an answer, the share whose largest group of equal answers is right.

    Under several processes every process scores the whole set with its own copy of the model, and takes the main
    process's numbers, so that all of them agree on which checkpoint is best. A model that is sharded over processes
    (FSDP, DeepSpeed ZeRO-3) cannot be scored so.

    Args:
        candidate_sets: What to select from.
        aggregation: Step scores to one number, see `selection.AGGREGATIONS`.
        num_candidates: The first so many candidates of each problem; None: all.
        every: Score at every so-manieth evaluation; the first one is scored.
        max_batch_tokens: Most tokens in one forward, see `PRMScorer`; optimizer and gradients stay in memory beside it.

    Raises:
        ValueError: for no sets, an unknown aggregation, a number below 1, or a set with too few candidates.

    Example:
        >>> callback = BestOfNCallback(read_candidate_sets("candidates.jsonl"))  # doctest: +SKIP
        >>> PRMTrainer(model, args, train_dataset=rows, eval_dataset=held_out, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        candidate_sets: Sequence[CandidateSet],
        aggregation: str = "min",
        num_candidates: int | None = None,
        every: int = 1,
        max_batch_tokens: int = 8192,
    ):
        aggregate((), aggregation)  # raises with the list of close matches
        if not candidate_sets:
            raise ValueError("Found 0 candidate sets. Best-of-N needs at least one problem.")
        if every < 1 or (num_candidates is not None and num_candidates < 1):
            raise ValueError(f"Found every={every}, num_candidates={num_candidates}; both are at least 1.")
        smallest = min(candidate_sets, key=lambda found: len(found.candidates))
        if num_candidates is not None and len(smallest.candidates) < num_candidates:
            raise ValueError(
                f"Found {len(smallest.candidates)} candidates of problem {smallest.problem.id!r}, but "
                f"num_candidates={num_candidates}. Lower it, or leave the problem out."
            )
        self.candidate_sets = [
            CandidateSet(found.problem, found.candidates[:num_candidates], found.is_correct[:num_candidates])
            for found in candidate_sets
        ]
        self.aggregation, self.every, self.max_batch_tokens = aggregation, every, max_batch_tokens
        self.baselines = baselines(self.candidate_sets)
        self.trainer: Any = None  # given by PRMTrainer
        self._scorer: PRMScorer | None = None
        self._num_evaluations = 0

    def on_train_begin(self, args, state, control, **kwargs):
        """Refuses a best checkpoint by a metric that only some evaluations have."""
        metric = str(args.metric_for_best_model or "").removeprefix("eval_")
        if self.every > 1 and metric in ("best_of_n", *(name for name in self.baselines)):
            raise ValueError(
                f"metric_for_best_model={args.metric_for_best_model!r} needs its value at every evaluation, but "
                f"every={self.every}. Set every=1, or evaluate less often (eval_steps)."
            )

    def on_evaluate(self, args, state, control, metrics=None, model=None, processing_class=None, **kwargs):
        """Scores, selects, and adds the values to `metrics` in place and to the trainer's log."""
        if metrics is None or not self._is_last_split(metrics):
            return
        self._num_evaluations += 1
        if (self._num_evaluations - 1) % self.every:
            return
        progress = state.is_world_process_zero and not args.disable_tqdm
        found = [{"best_of_n": self.score(model, processing_class, progress), **self.baselines}]
        broadcast_object_list(found)  # the main process's; does nothing in a single process
        values = {f"eval_{name}": value for name, value in found[0].items()}
        metrics.update(values)
        if self.trainer is not None:
            self.trainer.log(dict(values))

    def score(self, model: Any, processor: MMPRMProcessor, progress: bool = False) -> float:
        """Best-of-N accuracy under a model, maybe wrapped; every module's train or eval mode stays."""
        prm = _prm_inside(model)
        with kept_modes(prm):
            if self._scorer is None or self._scorer.model is not prm:
                self._scorer = PRMScorer(prm, processor, max_batch_tokens=self.max_batch_tokens)
            prm.eval()
            scored = self._scorer.score_many(
                [found.problem for found in self.candidate_sets],
                [found.candidates for found in self.candidate_sets],
                progress=progress,
            )
        return best_of_n_accuracy(scored, [found.is_correct for found in self.candidate_sets], self.aggregation)

    def _is_last_split(self, metrics: Mapping[str, float]) -> bool:
        """Of several eval splits, which are evaluated one after the other, only the last one's metrics are added to."""
        splits = getattr(self.trainer, "eval_dataset", None)
        if not isinstance(splits, dict):
            return True
        named = [name for name in splits if f"eval_{name}_loss" in metrics]
        return not named or named[-1] == list(splits)[-1]


def best_of_n_accuracy(
    scored: Sequence[Sequence[Candidate]], is_correct: Sequence[Sequence[bool]], aggregation: str
) -> float:
    """Share of problems whose selected candidate is right; ties go to the higher mean step score, then to the first.

    Args:
        scored: Per problem, candidates with step scores (None: not scorable, never selected).
        is_correct: Per problem, whether each one's answer is right.
        aggregation: Step scores to one number.
    """
    is_won = []
    for candidates, marks in zip(scored, is_correct, strict=True):
        step_scores = [candidate.step_scores or () for candidate in candidates]
        scores = [aggregate(values, aggregation) for values in step_scores]
        winner = best_of_n(scores, tie_breakers=[aggregate(values, "mean") for values in step_scores])
        is_won.append(bool(step_scores[winner]) and marks[winner])
    return fmean(is_won)


def baselines(candidate_sets: Sequence[CandidateSet]) -> dict[str, float]:
    """What selection without a model gets: `mean_accuracy`, `oracle`, and `majority` where any answer is given."""
    marks = [found.is_correct for found in candidate_sets]
    values = {"mean_accuracy": fmean(map(fmean, marks)), "oracle": fmean(map(any, marks))}
    if any(candidate.answer for found in candidate_sets for candidate in found.candidates):
        winners = [
            majority_vote(group_answers([c.answer if c.complete else None for c in found.candidates]))
            for found in candidate_sets
        ]
        values["majority"] = fmean(w is not None and m[w] for w, m in zip(winners, marks, strict=True))
    return values


def _prm_inside(model: Any) -> MMPRMModel:
    """The PRM inside whatever wraps it: compilation, DDP, an adapter (whose weights stay in effect)."""
    while not isinstance(model, MMPRMModel):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        if inner is None:
            raise ValueError(f"Found a {type(model).__name__}; best-of-N is scored with an MMPRMModel, maybe wrapped.")
        model = inner
    return model


__all__ = ["BestOfNCallback", "CandidateSet", "baselines", "best_of_n_accuracy", "read_candidate_sets"]
