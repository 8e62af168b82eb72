"""`PRMScorer`: step scores for candidates. The only caller of a PRM at inference.

Figure and question are encoded once per problem, each distinct step prefix once, and nothing that a store knows is
scored again. How far tokens are shared depends on the backbone (`sharing.find_sharing`); every way gives the scores
of `sharing="rows"`. Order in, order out. Empty or incomplete candidates get no score, never zero.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from tqdm.auto import tqdm

from ..data import Candidate, Problem, content_hash
from ..models import MMPRMModel, MMPRMProcessor, model_fingerprint, processor_fingerprint
from ..rows import problem_fingerprint
from .backbones import (
    TREE_KERNEL,
    forget_longer_rows,
    max_shared_length,
    packed_inputs,
    pair_cost,
    positions_at,
    prompt_positions,
    uses_tree_kernel,
    why_not_packed,
)
from .packing import pack_prefix_tree
from .prefix_cache import CacheSharing, TokenPool, run_prefixes, suffix_inputs, token_scores
from .row_plan import RowPlan, plan_rows
from .score_store import ScoreStore
from .sharing import find_sharing, why_not_shared

logger = logging.getLogger(__name__)

Solution = tuple[str, ...]
Layout = Literal["auto", "packed", "tree", "chain", "rows"]
LAYOUTS: tuple[Layout, ...] = ("auto", "packed", "tree", "chain", "rows")


@dataclasses.dataclass(frozen=True)
class _Job:
    """One problem with the distinct solutions to score, and after encoding their token ids."""

    problem: Problem
    solutions: tuple[Solution, ...]
    rows: tuple[tuple[int, ...], ...] = ()
    prompt: tuple[int, ...] = ()


def _num_characters(problem: Problem, solutions: Sequence[Solution]) -> int:
    """A rough size of what is read, before it is tokenized."""
    return len(problem.question) + sum(len(step) for steps in solutions for step in steps)


class PRMScorer:
    """Scores candidates with a PRM.

    Args:
        model: The PRM; it is put into eval mode.
        processor: Its processor.
        max_batch_tokens: Most tokens in one forward, padding included (those of cached prefixes count for every row);
            bounds memory. A single prompt or solution that is longer still runs alone.
        max_batch_problems: Most problems whose prompts are encoded together.
        layout: "auto" takes what is right for the backbone and costs least for the case. "tree": the common prefix
            once, then each distinct step prefix once. "packed": prompt and solutions of a problem as one row, however
            long. "chain": the common prefix once, then every solution on its own copy of the cache. "rows": every
            solution by itself (the oracle that tests compare with).
        store: Where scores are kept and looked up: a `ScoreStore`, a path for one, or None.

    Raises:
        ValueError: if the layout is wrong for the backbone, a bound is below 1, or model and processor do not fit.

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
                "both are at least 1."
            )
        if layout not in LAYOUTS:
            raise ValueError(f"Unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
        if model.config.marker_token_id != processor.marker_token_id:
            raise ValueError(
                f"The model's marker id is {model.config.marker_token_id} but the processor's is "
                f"{processor.marker_token_id}. Load both from the same checkpoint."
            )
        self.model = model.eval()
        self.processor = processor
        self._marker_is_word = processor.marker_is_word
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_problems = max_batch_problems
        self.store = store if store is None or isinstance(store, ScoreStore) else ScoreStore(store)
        if uses_tree_kernel(model):  # it knows packed rows only, one at a time
            self.sharing, reason, self.max_batch_problems = "rows", "", 1
            self.layout: Layout = "packed" if layout == "auto" else layout
            wrong = why_not_packed(model) if self.layout == "packed" else f"{TREE_KERNEL} takes packed rows only"
        else:
            self.sharing, reason = find_sharing(model)
            self.layout = self.sharing if layout == "auto" and self.sharing != "tree" else layout
            wrong = why_not_packed(model) if layout == "packed" else None
            if layout in ("packed", "tree", "chain") and layout != self.sharing:
                wrong = wrong or why_not_shared(model, "chain" if layout == "chain" else "tree")
        if wrong:
            raise ValueError(f"layout {layout!r} would be wrong: {wrong}. Leave it at 'auto'.")
        if layout == "auto" and reason:
            logger.warning("Scoring with layout %r: %s.", self.sharing, reason)
        self.max_shared_length = max_shared_length(model)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, *, dtype: Any = None, **options: Any) -> PRMScorer:
        """Return the scorer of the PRM at a path or hub id.

        Args:
            path: A checkpoint that `MMPRMModel` or `PRMTrainer` saved.
            dtype: As in transformers' `from_pretrained`; None keeps the checkpoint's.
            **options: Of the constructor.

        Raises:
            ValueError: if the checkpoint is not a PRM, and as the constructor.
        """
        model = MMPRMModel.from_pretrained(path, **({} if dtype is None else {"dtype": dtype}))
        return cls(model, MMPRMProcessor.from_pretrained(path), **options)

    def score(self, problem: Problem, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates of one problem with `step_scores` filled, in the same order.

        Args:
            problem: Question and figures.
            candidates: Parsed solutions; equal step tuples are scored once. Control tokens inside a step are read as
                plain text.

        Returns:
            Copies; `step_scores` is None for a candidate that is incomplete, empty, has a blank step, or writes a
            marker that is an ordinary word of the vocabulary.
        """
        return self.score_many([problem], [candidates])[0]

    def score_many(
        self, problems: Sequence[Problem], candidates_per_problem: Sequence[Sequence[Candidate]], progress: bool = False
    ) -> list[list[Candidate]]:
        """`score` for many problems at once, batched together.

        Args:
            problems: The problems.
            candidates_per_problem: One list of candidates per problem, maybe empty.
            progress: Show a bar.

        Returns:
            One list per problem, order kept.

        Raises:
            ValueError: if the two lists differ in length, a question is empty, or an image cannot be read.
        """
        if len(problems) != len(candidates_per_problem):
            raise ValueError(
                f"Found {len(problems)} problems but {len(candidates_per_problem)} lists of candidates; one list each."
            )
        solutions = [
            tuple(dict.fromkeys(tuple(c.steps) for c in candidates if c.complete and self.can_score(c.steps)))
            for candidates in candidates_per_problem
        ]
        scores = self.score_solutions(problems, solutions, progress=progress)
        by_steps = [dict(zip(s, found, strict=True)) for s, found in zip(solutions, scores, strict=True)]
        return [
            [dataclasses.replace(c, step_scores=by_steps[i].get(tuple(c.steps)) if c.complete else None) for c in row]
            for i, row in enumerate(candidates_per_problem)
        ]

    def score_solutions(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]], progress: bool = False
    ) -> list[list[tuple[float, ...]]]:
        """Step scores of distinct solutions, each a tuple of at least one step that is not blank, per problem."""
        known: list[dict[Solution, tuple[float, ...]]] = [{} for _ in problems]
        keys = self._store_keys(problems, solutions)
        for index, problem_keys in enumerate(keys):
            for solution, key in problem_keys.items():
                found = self.store.get(key)
                if found is not None:
                    known[index][solution] = found
        missing = [tuple(s for s in row if s not in known[i]) for i, row in enumerate(solutions)]
        # Neighbours of similar size pad little; the order is undone by index.
        order = sorted(
            (i for i, row in enumerate(missing) if row), key=lambda i: _num_characters(problems[i], missing[i])
        )
        with tqdm(total=len(order), desc="scoring", disable=not progress) as bar:
            for start in range(0, len(order), self.max_batch_problems):
                indices = order[start : start + self.max_batch_problems]
                found = self._score_jobs([_Job(problems[i], missing[i]) for i in indices])
                for index, rows in zip(indices, found, strict=True):
                    known[index].update(zip(missing[index], rows, strict=True))
                    for solution in missing[index] if keys else ():
                        self.store.put(keys[index][solution], known[index][solution])
                bar.update(len(indices))
        return [[known[i][tuple(s)] for s in row] for i, row in enumerate(solutions)]

    def can_score(self, steps: Sequence[str]) -> bool:
        """True for at least one step, none blank, and none that writes a marker that is a word of the vocabulary."""
        if not steps or not all(step.strip() for step in steps):
            return False
        marker = self.processor.marker_token
        if not (self._marker_is_word and any(marker in step for step in steps)):
            return True
        logger.warning("A candidate writes the step marker %r, a word of this tokenizer; it gets no score.", marker)
        return False

    def session(self, problem: Problem) -> ScoringSession:
        """Incremental scoring of one problem's solutions as they grow, for guided search."""
        return ScoringSession(self, problem)

    def _store_keys(self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]) -> list[dict]:
        """Store keys by solution, per problem; empty without a store."""
        if self.store is None:
            return []
        scored_by = (model_fingerprint(self.model), processor_fingerprint(self.processor))
        return [
            {s: content_hash(*scored_by, shown, list(s)) for s in row}
            for row, shown in zip(solutions, (problem_fingerprint(p.question, p.images) for p in problems), strict=True)
        ]

    # From here on: jobs with distinct solutions

    @torch.inference_mode()
    def _score_jobs(self, jobs: Sequence[_Job]) -> list[list[tuple[float, ...]]]:
        """Step scores per job and solution."""
        if self.layout == "rows":
            return [self._score_rows(job) for job in jobs]
        jobs, extra = self._encode(jobs)
        longest = max(len(row) for job in jobs for row in job.rows)
        if self.max_shared_length is not None and longest > self.max_shared_length:
            logger.warning(
                "Scoring %d problems row by row: a row has %d tokens, and the position embedding depends on a row's "
                "own length beyond %d.",
                len(jobs),
                longest,
                self.max_shared_length,
            )
            return [self._score_rows(job) for job in jobs]
        plan = plan_rows(
            [job.rows for job in jobs], pair_cost(self.model), self.max_batch_tokens, self.layout != "chain"
        )
        widest = plan.packed_width() if self.layout == "packed" else max(plan.lengths)
        if len(jobs) > 1 and len(jobs) * widest > self.max_batch_tokens:
            half = len(jobs) // 2  # their sizes are known only now; two smaller batches are encoded anew
            return [*self._score_jobs(jobs[:half]), *self._score_jobs(jobs[half:])]
        is_packed = self.layout == "packed" or (self.layout == "auto" and self._packs_better(jobs, plan, extra))
        scores = self._packed_scores(jobs, extra) if is_packed else self._shared_scores(jobs, plan, extra)
        marker = self.processor.marker_token_id
        return [
            [
                tuple(value for token, value in zip(row, values, strict=True) if token == marker)
                for row, values in zip(job.rows, job_scores, strict=True)
            ]
            for job, job_scores in zip(jobs, scores, strict=True)
        ]

    def _encode(self, jobs: Sequence[_Job]) -> tuple[list[_Job], dict[str, Any]]:
        """Jobs with their token ids, and the prompts' other inputs.

        Raises:
            ValueError: naming the problem whose text or image cannot be read.
        """

        def encode(some: Sequence[_Job]) -> Any:
            problems, solutions = [job.problem for job in some], [job.solutions for job in some]
            questions, images = [p.question for p in problems], [p.images for p in problems]
            return self.processor.encode_solutions(questions, images, solutions, control_tokens="as_text")

        try:
            rows, extra = encode(jobs)
        except ValueError:
            for job in jobs:
                try:
                    encode([job])
                except ValueError as error:
                    raise ValueError(f"Problem {job.problem.id!r} cannot be scored: {error}") from error
            raise
        encoded = []
        for job, job_rows in zip(jobs, rows, strict=True):
            flat = tuple(tuple(i for piece in pieces for i in piece) for pieces in job_rows)
            encoded.append(dataclasses.replace(job, rows=flat, prompt=tuple(job_rows[0][0])))
        return encoded, extra

    def _packs_better(self, jobs: Sequence[_Job], plan: RowPlan, extra: dict[str, Any]) -> bool:
        """Whether one packed row per job is right, fits the budget and costs less than prefixes and rows behind."""
        if len(jobs) * plan.packed_width() > self.max_batch_tokens or why_not_packed(self.model, extra):
            return False
        cost = pair_cost(self.model)
        return plan.packed_cost(cost) < plan.shared_cost(cost)

    def _score_rows(self, job: _Job) -> list[tuple[float, ...]]:
        """One forward per solution, prompt and figure included: slow, right for every backbone."""
        found = []
        for steps in job.solutions:
            row = self.processor(
                images=list(job.problem.images), text=job.problem.question, steps=steps, control_tokens="as_text"
            )
            if self.max_shared_length is not None:
                forget_longer_rows(self.model)
            (scores,) = self.model(**row.to(self.model.device)).step_scores()
            found.append(tuple(scores.tolist()))
        return found

    def _packed_scores(self, jobs: Sequence[_Job], extra: dict[str, Any]) -> list[list[list[float]]]:
        """A value per token of each row (the score at markers), from one packed row per problem."""
        reason = why_not_packed(self.model, extra)
        if reason:
            raise ValueError(f"layout 'packed' would be wrong: {reason}. Leave it at 'auto'.")
        trees = [pack_prefix_tree(job.rows) for job in jobs]
        inputs = packed_inputs(self.model, trees, [job.prompt for job in jobs], extra, self.processor.pad_token_id)
        values = token_scores(self.model, inputs)
        return [[values[p, index].tolist() for index in tree.token_index] for p, tree in enumerate(trees)]

    def _shared_scores(self, jobs: Sequence[_Job], plan: RowPlan, extra: dict[str, Any]) -> list[list[list[float]]]:
        """A value per token of each row: common prefixes in one forward, then what follows them."""
        lengths = plan.lengths
        prefixes = [list(job.rows[0][:length]) for job, length in zip(jobs, lengths, strict=True)]
        tables = prompt_positions(self.model, [job.prompt for job in jobs], extra)
        sharing: CacheSharing = "chain" if self.layout == "chain" else "tree"
        cache, mask, prefix_values = run_prefixes(self.model, self.processor, prefixes, tables, extra, sharing)
        values = [[list(prefix_values[p])] * len(job.rows) for p, job in enumerate(jobs)]
        for start, stop in plan.chunks:
            chunk = plan.subtrees[start:stop]
            owner = torch.tensor([p for p, _, _ in chunk])
            positions = [positions_at(tables[p], tree.position_ids + lengths[p]) for p, _, tree in chunk]
            trees = [tree for _, _, tree in chunk]
            pad = self.processor.pad_token_id
            inputs = suffix_inputs(self.model, trees, owner, mask, positions, cache, sharing, pad)
            found = token_scores(self.model, inputs, use_cache=True)
            for row, (p, members, tree) in enumerate(chunk):
                for member, index in zip(members, tree.token_index, strict=True):
                    values[p][member] = values[p][member] + found[row, index].tolist()
        return values


class ScoringSession:
    """Step scores of one problem's growing solutions; every token is computed once as long as it is kept.

    Where the backbone does not allow it (`scorer.sharing` is not "tree"), each call scores whole solutions.

    Args:
        scorer: The scorer; its store is not used.
        problem: The problem.

    Example:
        >>> session = scorer.session(problem)  # doctest: +SKIP
        >>> session.score([("x = 2",), ("x = 3",)])  # doctest: +SKIP
        [(0.9,), (0.2,)]
        >>> session.keep([("x = 2",)])  # doctest: +SKIP
        >>> session.score([("x = 2", "so x + 1 = 3")])  # only the new step is computed  # doctest: +SKIP
        [(0.9, 0.8)]
    """

    def __init__(self, scorer: PRMScorer, problem: Problem):
        self.scorer, self.problem = scorer, problem
        self.num_computed_tokens = 0
        self._pool: TokenPool | None = None

    @torch.inference_mode()
    def score(self, solutions: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
        """Step scores of each solution (a list of steps that are not blank), in order.

        Raises:
            ValueError: on a blank step, or a question or image that cannot be read.
        """
        wanted = [tuple(solution) for solution in solutions]
        distinct = tuple(s for s in dict.fromkeys(wanted) if s)
        scores: dict[Solution, tuple[float, ...]] = {(): ()}
        rows = self._rows(distinct) if distinct and self.scorer.sharing == "tree" else []
        limit = self.scorer.max_shared_length
        if distinct and (not rows or (limit is not None and max(map(len, rows)) > limit)):
            (found,) = self.scorer._score_jobs([_Job(self.problem, distinct)])
            scores.update(zip(distinct, found, strict=True))
        elif distinct:
            pool, self._pool = self._pool, None  # a pool whose forward failed is not used again
            scores.update(zip(distinct, pool.scores(rows), strict=True))
            self._pool, self.num_computed_tokens = pool, pool.num_computed
        return [scores[solution] for solution in wanted]

    def keep(self, solutions: Sequence[Sequence[str]]) -> None:
        """Forgets all tokens but those of the problem and of these solutions (the live beams of a search)."""
        if self._pool is not None:
            self._pool.keep(self._rows([tuple(solution) for solution in solutions]))

    def _rows(self, solutions: Sequence[Solution]) -> list[list[int]]:
        """Token ids of solutions; the first call runs the prompt."""
        processor = self.scorer.processor
        if self._pool is None:
            (rows,), extra = processor.encode_solutions(
                [self.problem.question], [self.problem.images], [solutions], control_tokens="as_text"
            )
            self._pool = TokenPool(self.scorer.model, processor, rows[0][0], extra, self.scorer.max_batch_tokens)
            _, self._tail = processor.split_prompt(self.problem.question, len(self.problem.images))
        encoded = [processor.encode_steps(s, "as_text", self._tail) for s in solutions]
        return [[*self._pool.prompt, *(i for step in steps for i in step)] for steps in encoded]


__all__ = ["LAYOUTS", "Layout", "PRMScorer", "ScoringSession"]
