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
from ..data import Candidate, Problem, Verdict
from ..models import MMPRMModel, MMPRMProcessor
from ..rows import read_candidate_rows, row_images
from ..scoring import PRMScorer
from ..selection import aggregate, outcome_by_selection
from .restoring import kept_modes


@dataclasses.dataclass(frozen=True)
class CandidateSet:
    """A problem with candidates whose answers were judged.

    Args:
        problem: Question and figures.
        candidates: At least one.
        verdicts: One per candidate; what is undecided counts nowhere.
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]

    def __post_init__(self) -> None:
        if not self.candidates or len(self.candidates) != len(self.verdicts):
            raise ValueError(
                f"Found {len(self.candidates)} candidates and {len(self.verdicts)} verdicts for problem "
                f"{self.problem.id!r}. Give at least one candidate, and one verdict each."
            )

    @property
    def outcomes(self) -> list[float | None]:
        """Per candidate 1.0 (right), 0.0 (wrong or incomplete) or None (undecided)."""
        return [
            0.0 if not c.complete else None if v is Verdict.UNDECIDED else float(v is Verdict.CORRECT)
            for c, v in zip(self.candidates, self.verdicts, strict=True)
        ]


def read_candidate_sets(path: str | Path) -> list[CandidateSet]:
    """Return the candidate sets of a candidates file, as `mmprm rerank` and `mmprm evaluate` write it.

    Paths of figures are looked for beside the file first. Problems without candidates (they could not be shown to a
    model) and without any decided candidate are left out.

    Raises:
        ValueError: for a bad row, naming it, a figure that does not exist, or a file without a usable problem.
    """
    path = Path(path)
    sets = [
        _candidate_set(row, path.parent) for row in read_candidate_rows(path, need_verdicts=True) if row["candidates"]
    ]
    sets = [found for found in sets if any(outcome is not None for outcome in found.outcomes)]
    if not sets:
        raise ValueError(f"Found no problem with judged candidates in {path}. Write it with `mmprm rerank --data`.")
    return sets


def _candidate_set(row: Mapping[str, Any], folder: Path) -> CandidateSet:
    figures = [_beside(folder, figure) for figure in row.get("figures") or row_images(row)]
    for figure in figures:
        if not Path(figure).is_file():
            raise ValueError(
                f"Image {figure!r} of problem {row['problem_id']!r} does not exist. Paths are relative to the "
                "candidates file, or to where the command runs."
            )
    return CandidateSet(
        Problem(str(row["problem_id"]), row.get("question") or "", tuple(figures)),
        tuple(dataclasses.replace(Candidate.from_dict(c), step_scores=None, score=None) for c in row["candidates"]),
        tuple(candidate["verdict"] for candidate in row["candidates"]),
    )


def _beside(folder: Path, figure: str) -> str:
    return str(folder / figure) if (folder / figure).is_file() else figure


class BestOfNCallback(TrainerCallback):
    """Adds best-of-N accuracy on fixed candidates to the metrics of an evaluation, so that the best checkpoint can
    follow it (``metric_for_best_model="eval_best_of_n"``).

    `eval_best_of_n` is the share of problems whose selected candidate is right (ties in the score go to the higher
    mean step score; no candidate with steps: wrong), `eval_mean_pass_at_1` the mean over problems of the share of
    right candidates, `eval_oracle` the share of problems with a right candidate, and `eval_majority_vote`, where any
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
            CandidateSet(found.problem, found.candidates[:num_candidates], found.verdicts[:num_candidates])
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
        return selection_accuracies(self.candidate_sets, scored, self.aggregation)["best_of_n"]

    def _is_last_split(self, metrics: Mapping[str, float]) -> bool:
        """Of several eval splits, which are evaluated one after the other, only the last one's metrics are added to."""
        splits = getattr(self.trainer, "eval_dataset", None)
        if not isinstance(splits, dict):
            return True
        named = [name for name in splits if f"eval_{name}_loss" in metrics]
        return not named or named[-1] == list(splits)[-1]


def selection_accuracies(
    candidate_sets: Sequence[CandidateSet], scored: Sequence[Sequence[Candidate]], aggregation: str
) -> dict[str, float]:
    """Return the mean over problems of `selection.outcome_by_selection`, undecided problems left out of each mean.

    Args:
        candidate_sets: What is selected from.
        scored: The same candidates with step scores (None: not scorable, never selected).
        aggregation: Step scores to one number.
    """
    values: dict[str, list[float]] = {}
    for found, candidates in zip(candidate_sets, scored, strict=True):
        step_scores = [candidate.step_scores or () for candidate in candidates]
        groups = group_answers([c.answer if c.complete else None for c in candidates])
        for name, value in outcome_by_selection(found.outcomes, step_scores, groups, aggregation).items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: fmean(found) if found else float("nan") for name, found in values.items()}


def baselines(candidate_sets: Sequence[CandidateSet]) -> dict[str, float]:
    """What selection without a model gets: `mean_pass_at_1`, `oracle`, and `majority_vote` where an answer is given."""
    values = selection_accuracies(candidate_sets, [found.candidates for found in candidate_sets], "min")
    has_answers = any(candidate.answer for found in candidate_sets for candidate in found.candidates)
    names = ("mean_pass_at_1", "oracle", *(("majority_vote",) if has_answers else ()))
    return {name: values[name] for name in names}


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


__all__ = ["BestOfNCallback", "CandidateSet", "baselines", "read_candidate_sets", "selection_accuracies"]
