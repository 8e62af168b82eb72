"""`PRMScorer`: step scores for candidates. The only caller of a PRM at inference.

Figure and question are encoded once per problem; every distinct candidate is scored once, on a copy of the problem's
key-value cache. Backbones for which that would be wrong are scored row by row, with a logged reason. Order in, order
out. Empty or incomplete candidates get no score, never zero.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterator, Sequence

import torch
from tqdm.auto import tqdm

from .data import Candidate, Problem
from .models.modeling_mm_prm import MMPRMModel
from .models.processing_mm_prm import MMPRMProcessor, pad_rows

logger = logging.getLogger(__name__)

# Attention of these needs token types on the suffix; they are scored row by row.
_BIDIRECTIONAL_IMAGES = ("gemma3", "gemma4", "paligemma")


@dataclasses.dataclass(frozen=True)
class _Job:
    """One problem with its distinct step tuples."""

    problem: Problem
    solutions: tuple[tuple[str, ...], ...]


def is_scorable(candidate: Candidate) -> bool:
    """True for a complete candidate with at least one step and no blank step; others get no step scores."""
    return candidate.complete and bool(candidate.steps) and all(step.strip() for step in candidate.steps)


class PRMScorer:
    """Scores candidates with a PRM.

    Args:
        model: The PRM; it is put into eval mode.
        processor: Its processor.
        max_batch_tokens: Most tokens (prefix copies included) in one forward of the suffixes; bounds memory.
        max_batch_problems: Most problems whose prefixes are encoded together.
        share_prefix: None shares the prefix where the backbone allows it; False scores every row by itself (the
            oracle that tests compare with).

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
        max_batch_problems: int = 4,
        share_prefix: bool | None = None,
    ):
        if max_batch_tokens < 1 or max_batch_problems < 1:
            raise ValueError(
                f"Found max_batch_tokens={max_batch_tokens}, max_batch_problems={max_batch_problems}; "
                "both are at least 1."
            )
        if model.config.marker_token_id != processor.marker_token_id:
            raise ValueError(
                f"The model's marker id is {model.config.marker_token_id} but the processor's is "
                f"{processor.marker_token_id}. Load both from the same checkpoint."
            )
        self.model = model.eval()
        self.processor = processor
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_problems = max_batch_problems
        reason = why_not_shared(model)
        if share_prefix and reason:
            raise ValueError(f"The prefix cannot be shared: {reason}. Leave share_prefix at None.")
        if reason and share_prefix is None:
            logger.info("Scoring row by row: %s.", reason)
        self.share_prefix = not reason if share_prefix is None else share_prefix

    def score(self, problem: Problem, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates of one problem with `step_scores` filled, in the same order.

        Args:
            problem: Question and figures.
            candidates: Parsed solutions; equal step tuples are scored once. Control tokens inside a step are read as
                plain text.

        Returns:
            Copies; `step_scores` is None for a candidate that is incomplete, empty, or has a blank step.
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
        distinct = [
            tuple(dict.fromkeys(tuple(c.steps) for c in candidates if is_scorable(c)))
            for candidates in candidates_per_problem
        ]
        # Neighbours of similar length pad little; the order is undone by index.
        order = sorted((i for i, d in enumerate(distinct) if d), key=lambda i: len(problems[i].question))
        scores: dict[int, dict[tuple[str, ...], tuple[float, ...]]] = {}
        with tqdm(total=len(order), desc="scoring", disable=not progress) as bar:
            for start in range(0, len(order), self.max_batch_problems):
                indices = order[start : start + self.max_batch_problems]
                jobs = [_Job(problems[i], distinct[i]) for i in indices]
                found = self._score_shared(jobs) if self.share_prefix else self._score_rows(jobs)
                for index, job, job_scores in zip(indices, jobs, found, strict=True):
                    scores[index] = dict(zip(job.solutions, job_scores, strict=True))
                bar.update(len(indices))
        return [
            [
                dataclasses.replace(c, step_scores=scores[i][tuple(c.steps)] if is_scorable(c) else None)
                for c in candidates
            ]
            for i, candidates in enumerate(candidates_per_problem)
        ]

    @torch.inference_mode()
    def _score_shared(self, jobs: Sequence[_Job]) -> list[list[tuple[float, ...]]]:
        """Prefixes of all problems in one forward, then all suffixes on copies of their caches."""
        device = self.model.device
        prompts, extra = self.processor.encode_prompts(
            [job.problem.question for job in jobs], [job.problem.images for job in jobs]
        )
        prefix = self.processor.pad(prompts, extra).to(device)
        prefix_mask = prefix["attention_mask"]  # (problems, prefix)
        cache = self.model(**prefix, use_cache=True).cache
        width = prefix_mask.shape[1]
        suffixes = [self._suffix(steps) for job in jobs for steps in job.solutions]
        owners = [index for index, job in enumerate(jobs) for _ in job.solutions]
        found: list[tuple[float, ...]] = []
        for start, stop in _row_chunks(suffixes, width, self.max_batch_tokens):
            owner = torch.tensor(owners[start:stop], device=device)
            ids = pad_rows(suffixes[start:stop], self.processor.pad_token_id).to(device)  # (rows, suffix)
            mask = pad_rows([[1] * len(suffix) for suffix in suffixes[start:stop]], 0).to(device)
            rows_cache = cache if stop - start == len(suffixes) else copy.deepcopy(cache)
            rows_cache.reorder_cache(owner)
            num_prefix = prefix_mask.sum(-1)[owner]  # (rows,)
            output = self.model(
                input_ids=ids,
                attention_mask=torch.cat([prefix_mask[owner], mask], dim=1),
                position_ids=num_prefix[:, None] + torch.arange(ids.shape[1], device=device),
                cache=rows_cache,
                use_cache=True,
            )
            found += _as_tuples(output.step_scores())
        return _by_job(found, jobs)

    @torch.inference_mode()
    def _score_rows(self, jobs: Sequence[_Job]) -> list[list[tuple[float, ...]]]:
        """One forward per candidate, prompt and figure included: slow, right for every backbone."""
        found: list[tuple[float, ...]] = []
        for job in jobs:
            for steps in job.solutions:
                row = self.processor(
                    images=list(job.problem.images), text=job.problem.question, steps=steps, control_tokens="as_text"
                )
                found += _as_tuples(self.model(**row.to(self.model.device)).step_scores())
        return _by_job(found, jobs)

    def _suffix(self, steps: Sequence[str]) -> list[int]:
        """Ids of all steps with their markers."""
        return [i for step in self.processor.encode_steps(steps, control_tokens="as_text") for i in step]


def why_not_shared(model: MMPRMModel) -> str | None:
    """Why a padded, shared prefix cache would be wrong for the model's backbone; None where it is right."""
    text_config = model.config.get_text_config()
    if hasattr(model.vlm, "get_rope_index"):
        return f"{type(model.vlm).__name__} has multi-axis positions"
    if any(kind != "full_attention" for kind in getattr(text_config, "layer_types", None) or ()):
        return f"{type(model.vlm).__name__} has layers without full attention"
    if getattr(text_config, "sliding_window", None) and getattr(text_config, "use_sliding_window", True):
        return f"{type(model.vlm).__name__} has a sliding window"
    if model.config.vlm_config.model_type.startswith(_BIDIRECTIONAL_IMAGES):
        return f"{type(model.vlm).__name__} reads token types in its attention"
    return None


def _row_chunks(suffixes: Sequence[Sequence[int]], width: int, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose padded size, prefix included, stays within `max_tokens` (at least one row each)."""
    start, longest = 0, 0
    for index, suffix in enumerate(suffixes):
        longest = max(longest, len(suffix))
        if index > start and (index + 1 - start) * (width + longest) > max_tokens:
            yield start, index
            start, longest = index, len(suffix)
    if suffixes:
        yield start, len(suffixes)


def _as_tuples(scores: Sequence[torch.Tensor]) -> list[tuple[float, ...]]:
    return [tuple(row.tolist()) for row in scores]


def _by_job(found: list[tuple[float, ...]], jobs: Sequence[_Job]) -> list[list[tuple[float, ...]]]:
    """Splits the flat list of rows back into one list per job."""
    rows = iter(found)
    return [[next(rows) for _ in job.solutions] for job in jobs]


__all__ = ["PRMScorer", "is_scorable", "why_not_shared"]
