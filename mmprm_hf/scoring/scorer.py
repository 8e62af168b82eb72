"""`PRMScorer`: step scores of candidates.

Figure and question are encoded once per problem and each distinct step prefix once, as far as the backbone allows it
(`layouts.py`); nothing that a store contains is scored again. Every layout gives the scores of ``layout="rows"``.
Order in, order out. Empty or incomplete candidates get no score, never zero.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..data import Candidate, Problem, content_hash
from ..errors import UnknownNameError, each_or_error, loading
from ..models import MMPRMModel, MMPRMProcessor, model_fingerprint, processor_fingerprint
from ..nano import checkpoint_or_nano
from ..progress import progress_bar
from ..rows import problem_fingerprint
from . import forwards
from .backbones import max_shared_length, packed_obstacle, pair_cost, uses_tree_kernel
from .forwards import EncodedBatch, Job, Solution, StepScores
from .layouts import Layout, choose_layout
from .row_plan import RowPlan, plan_rows
from .score_store import ScoreStore
from .session import ScoringSession

logger = logging.getLogger(__name__)

_DTYPES = ("auto", "float32", "bfloat16", "float16")
_SCORER_OPTIONS = ("max_batch_tokens", "max_batch_problems", "layout", "store")
_MODEL_OPTIONS = ("attn_implementation", "low_cpu_mem_usage", "max_memory", "offload_folder", "quantization_config")
_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only")


class PRMScorer:
    """Scores candidates with a PRM.

    Args:
        model: The PRM; it is put into eval mode.
        processor: Its processor.
        max_batch_tokens: Most tokens in one forward, padding included and cached prefixes counted for every row; bounds
            memory. A single prompt or solution that is longer still runs, alone.
        max_batch_problems: Most problems whose prompts are encoded together.
        layout: How solutions share tokens; every layout gives the same scores. "rows": every solution by itself.
            "chain": the common prefix once, then every solution on its own copy of the cache. "tree": the common prefix
            once, then each distinct step prefix once. "packed": prompt and solutions of a problem as one row. "auto":
            the one that is right for the backbone and costs least for the batch.
        store: Where scores are looked up and stored: a `ScoreStore`, a path for one, or None.

    Raises:
        ValueError: if the layout is wrong for the backbone, a limit is below 1, or model and processor do not fit.

    Example:
        >>> scorer = PRMScorer(model, processor)  # doctest: +SKIP
        >>> scorer.score(problem, candidates)[0].step_scores  # doctest: +SKIP
        (0.93, 0.88, 0.12)
    """

    def __init__(
        self,
        model: MMPRMModel,
        processor: MMPRMProcessor,
        *,
        max_batch_tokens: int = 32768,
        max_batch_problems: int = 8,
        layout: Layout = "auto",
        store: ScoreStore | str | os.PathLike | None = None,
    ):
        if max_batch_tokens < 1 or max_batch_problems < 1:
            raise ValueError(
                f"Found max_batch_tokens={max_batch_tokens}, max_batch_problems={max_batch_problems}; "
                "both must be at least 1."
            )
        if model.config.marker_token_id != processor.marker_token_id:
            raise ValueError(
                f"The model's marker id is {model.config.marker_token_id} but the processor's is "
                f"{processor.marker_token_id}. Load both from the same checkpoint."
            )
        self.model = model.eval()
        self.processor = processor
        self.layout = choose_layout(self.model, layout)
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_problems = 1 if uses_tree_kernel(model) else max_batch_problems
        self.store = store if store is None or isinstance(store, ScoreStore) else ScoreStore(store)
        self.max_shared_length = max_shared_length(model)
        self._marker_is_word = processor.marker_is_word

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        *,
        dtype: Any = None,
        torch_dtype: Any = None,
        device: Any = None,
        device_map: Any = None,
        **options: Any,
    ) -> PRMScorer:
        """Return the scorer of the PRM at a path or hub id.

        Args:
            path: A checkpoint that `MMPRMModel` or `PRMTrainer` saved; "nano" for the shipped PRM.
            dtype: A `torch.dtype` or its name, or "auto"; None keeps the checkpoint's. `torch_dtype` is its older name.
            device: Where the model is put; None leaves it where it was loaded.
            device_map: As in transformers' `from_pretrained`, such as "auto"; instead of `device`.
            **options: The constructor's other arguments; and those of transformers' `from_pretrained` that concern the
                model (``attn_implementation``, ``quantization_config``, ``max_memory``, ``offload_folder``,
                ``low_cpu_mem_usage``) or the Hub (``revision``, ``token``, ``cache_dir``, ``local_files_only``).

        Raises:
            CheckpointError: if the checkpoint is missing, broken or not a PRM.
            UnknownNameError: for another option, or another name of a dtype.
            ValueError: as the constructor, and for both names of an argument.

        Example:
            >>> scorer = PRMScorer.from_pretrained("nano", dtype="float32")
            >>> type(scorer.model).__name__
            'MMPRMModel'
        """
        path = checkpoint_or_nano(path, "PRM")
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f"Found a {type(path).__name__} as the path of a PRM. Give a folder or hub id; a PRM that is loaded "
                "already goes into PRMScorer(model, processor)."
            )
        _check_one_of({"dtype": dtype, "torch_dtype": torch_dtype})
        _check_one_of({"device": device, "device_map": device_map})
        model_options = _model_options(dtype if torch_dtype is None else torch_dtype, device_map, options)
        hub_options = {name: options[name] for name in _HUB_OPTIONS if name in options}
        with loading("PRM", path):
            model = MMPRMModel.from_pretrained(path, **model_options, **hub_options)
            processor = MMPRMProcessor.from_pretrained(path, **hub_options)
        settings = {name: options[name] for name in _SCORER_OPTIONS if name in options}
        return cls(model if device is None else model.to(device), processor, **settings)

    def score(self, problem: Problem, candidates: Sequence[Candidate | Sequence[str]]) -> list[Candidate]:
        """Return the candidates of one problem with `step_scores`, in the same order.

        Args:
            problem: Question and figures.
            candidates: Parsed solutions, or lists of steps; equal step tuples are scored once. Control tokens inside a
                step are read as plain text.

        Returns:
            Copies; `step_scores` is None for a candidate that is incomplete, and for one that `can_score` refuses, of
            which a warning is logged.
        """
        return self.score_many([problem], [candidates])[0]

    def score_many(
        self,
        problems: Sequence[Problem],
        candidates_per_problem: Sequence[Sequence[Candidate | Sequence[str]]],
        progress: bool = False,
    ) -> list[list[Candidate]]:
        """`score` for many problems at once, batched together; one list per problem, in the same order.

        Args:
            problems: The problems.
            candidates_per_problem: One list of candidates, or of lists of steps, per problem; a list may be empty.
            progress: Show a progress bar.

        Raises:
            ValueError: if the two lists differ in length, an entry is not a `Problem` or a list of `Candidate`s, or
                naming the problem whose text or image cannot be read.
        """
        candidates_per_problem = [_as_candidates(candidates) for candidates in candidates_per_problem]
        if len(problems) != len(candidates_per_problem):
            raise ValueError(
                f"Found {len(problems)} problems but {len(candidates_per_problem)} lists of candidates; one list each."
            )
        _warn_of_blanks(problems, candidates_per_problem)
        solutions = [
            tuple(dict.fromkeys(tuple(c.steps) for c in candidates if c.complete and self.can_score(c.steps)))
            for candidates in candidates_per_problem
        ]
        scores = self.score_solutions(problems, solutions, progress=progress)
        scored = []
        for candidates, distinct, step_scores in zip(candidates_per_problem, solutions, scores, strict=True):
            by_steps = dict(zip(distinct, step_scores, strict=True))
            values = [by_steps.get(tuple(c.steps)) if c.complete else None for c in candidates]
            scored.append([dataclasses.replace(c, step_scores=v) for c, v in zip(candidates, values, strict=True)])
        return scored

    def score_solutions(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]], progress: bool = False
    ) -> list[list[StepScores]]:
        """Return the step scores of distinct solutions per problem, each of at least one step and no blank step."""
        for problem in problems:
            forwards.check_problem(problem)
        solutions = [tuple(map(forwards.checked_steps, row)) for row in solutions]
        keys = self._store_keys(problems, solutions)
        known: list[dict[Solution, StepScores]] = [{} for _ in problems]
        for index, problem_keys in enumerate(keys):
            stored = {solution: self.store.get(key) for solution, key in problem_keys.items()}
            known[index] = {solution: scores for solution, scores in stored.items() if scores is not None}
        missing = [tuple(s for s in row if s not in known[i]) for i, row in enumerate(solutions)]
        # Neighbours of similar size need little padding; results are put back by index.
        order = sorted(
            (i for i, row in enumerate(missing) if row), key=lambda i: _num_characters(problems[i], missing[i])
        )
        with progress_bar(total=len(order), desc="scoring", is_shown=progress) as bar:
            for start in range(0, len(order), self.max_batch_problems):
                indices = order[start : start + self.max_batch_problems]
                jobs = [Job(problems[i], missing[i]) for i in indices]
                for index, job, scores in zip(indices, jobs, each_or_error(self.score_jobs, jobs), strict=True):
                    if isinstance(scores, ValueError):
                        raise ValueError(f"Problem {job.problem.id!r} cannot be scored: {scores}") from scores
                    known[index].update(zip(job.solutions, scores, strict=True))
                    for solution in job.solutions if keys else ():
                        self.store.put(keys[index][solution], known[index][solution])
                bar.update(len(indices))
        return [[known[i][tuple(s)] for s in row] for i, row in enumerate(solutions)]

    def can_score(self, steps: Sequence[str]) -> bool:
        """Whether there is a step, none is blank, and none contains a marker that is a word of the vocabulary."""
        if not steps or not all(step.strip() for step in steps):
            return False
        marker = self.processor.marker_token
        if not (self._marker_is_word and any(marker in step for step in steps)):
            return True
        logger.warning("A candidate writes the step marker %r, a word of this tokenizer; it gets no score.", marker)
        return False

    def session(self, problem: Problem) -> ScoringSession:
        """Return a session that scores one problem's solutions as they grow, for guided search."""
        return ScoringSession(self, problem)

    @torch.inference_mode()
    def score_jobs(self, jobs: Sequence[Job]) -> list[list[StepScores]]:
        """Return the step scores of each job's solutions, computed together; the store is not used."""
        if self.layout == "rows":
            return [forwards.score_alone(self.model, self.processor, job) for job in jobs]
        batch = forwards.encode_jobs(self.processor, jobs)
        longest = max(len(row) for rows in batch.rows for row in rows)
        if self.max_shared_length is not None and longest > self.max_shared_length:
            logger.warning(
                f"Scoring {len(jobs)} problems row by row: a row has {longest} tokens, and the position embedding "
                f"depends on a row's own length beyond {self.max_shared_length}."
            )
            return [forwards.score_alone(self.model, self.processor, job) for job in jobs]
        branches = self.layout != "chain"
        plan = plan_rows(batch.rows, pair_cost(self.model), self.max_batch_tokens, branches)
        width = plan.packed_width() if self.layout == "packed" else max(plan.lengths)
        if len(jobs) > 1 and len(jobs) * width > self.max_batch_tokens:
            half = len(jobs) // 2  # sizes are known only now; two smaller batches are encoded again
            return [*self.score_jobs(jobs[:half]), *self.score_jobs(jobs[half:])]
        if self.layout == "packed" or (self.layout == "auto" and self._packing_is_cheaper(batch, plan)):
            return forwards.score_packed(self.model, self.processor, batch)
        return forwards.score_behind_prefixes(self.model, self.processor, batch, plan, branches)

    def _packing_is_cheaper(self, batch: EncodedBatch, plan: RowPlan) -> bool:
        """Whether one packed row per job is right, fits into the budget and costs less than rows behind prefixes."""
        if len(batch.rows) * plan.packed_width() > self.max_batch_tokens or packed_obstacle(self.model, batch.extra):
            return False
        cost = pair_cost(self.model)
        return plan.packed_cost(cost) < plan.shared_cost(cost)

    def _store_keys(self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]) -> list[dict]:
        """Store keys by solution, per problem; empty without a store."""
        if self.store is None:
            return []
        scored_by = (model_fingerprint(self.model), processor_fingerprint(self.processor))
        fingerprints = [problem_fingerprint(problem.question, problem.images) for problem in problems]
        return [
            {solution: content_hash(*scored_by, fingerprint, list(solution)) for solution in row}
            for row, fingerprint in zip(solutions, fingerprints, strict=True)
        ]


def _model_options(dtype: Any, device_map: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What `MMPRMModel.from_pretrained` is given of these options, all of which are checked."""
    known = (*_SCORER_OPTIONS, *_MODEL_OPTIONS, *_HUB_OPTIONS)
    for name in options:
        if name not in known:
            names = sorted([*known, "dtype", "device", "device_map"])
            raise UnknownNameError("option", name, names, " of PRMScorer.from_pretrained")
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise UnknownNameError("dtype", dtype, _DTYPES)
    named = {"dtype": dtype, "device_map": device_map, **{name: options.get(name) for name in _MODEL_OPTIONS}}
    return {name: value for name, value in named.items() if value is not None}


def _check_one_of(arguments: Mapping[str, Any]) -> None:
    """Refuse two arguments that mean the same and are both given."""
    if all(value is not None for value in arguments.values()):
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ValueError(f"Found {given}. Give one of the two.")


def _warn_of_blanks(problems: Sequence[Problem], candidates_per_problem: Sequence[Sequence[Candidate]]) -> None:
    """Log once which solutions without steps, or with a blank one, get no score."""
    unscored = [
        (problem, index, candidate.steps)
        for problem, candidates in zip(problems, candidates_per_problem, strict=True)
        for index, candidate in enumerate(candidates)
        if candidate.complete and not (candidate.steps and all(step.strip() for step in candidate.steps))
    ]
    if not unscored:
        return
    problem, index, steps = unscored[0]
    blank = next((step_index for step_index, step in enumerate(steps) if not step.strip()), None)
    logger.warning(
        "Solution %d of %.60r has %s: it gets no score%s. Leave out blank steps and empty solutions.",
        index,
        getattr(problem, "question", problem),
        "no steps" if blank is None else f"a blank step at step_index {blank}",
        f" ({len(unscored) - 1} more like it)" if len(unscored) > 1 else "",
    )


def _as_candidates(candidates: Sequence[Candidate | Sequence[str]]) -> list[Candidate]:
    """One problem's candidates, each list of steps made into a candidate."""
    if not isinstance(candidates, (list, tuple)):
        raise ValueError(
            f"Found {candidates!r:.80} where a list of candidates was expected. Give a list such as "
            "[['A=22', 'B=61']] or [Candidate(steps=('A=22', 'B=61'))]."
        )
    if candidates and all(isinstance(entry, str) for entry in candidates):
        raise ValueError(
            f"Found {candidates!r:.80}, the steps of one solution, where a list of solutions was expected. Put it "
            "into a list: [['A=22', 'B=61']]."
        )
    return [c if isinstance(c, Candidate) else Candidate(steps=forwards.checked_steps(c)) for c in candidates]


def _num_characters(problem: Problem, solutions: Sequence[Solution]) -> int:
    """The rough size of a job, before it is tokenized."""
    return len(problem.question) + sum(len(step) for steps in solutions for step in steps)
