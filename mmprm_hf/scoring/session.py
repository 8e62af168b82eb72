"""`ScoringSession`: step scores of one problem's solutions as a search lengthens them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from ..data import Problem
from .backbones import attention_argument, positions_at, prompt_positions, stack_positions
from .forwards import Job, Solution, StepScores, check_problem, checked_steps
from .prefix_cache import run_prefixes, token_scores

if TYPE_CHECKING:
    from .scorer import PRMScorer


class ScoringSession:
    """Step scores of one problem's growing solutions; every token is computed once as long as it is kept.

    If the scorer's layout is neither "auto" nor "tree", each call scores whole solutions.

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
        check_problem(problem)
        self.scorer, self.problem = scorer, problem
        self.num_computed_tokens = 0
        self._pool: _TokenPool | None = None

    @torch.inference_mode()
    def score(self, solutions: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return the step scores of each solution (a list of steps, none of them blank), in order.

        Raises:
            ValueError: for a blank step, a solution that is not a list of steps, or a question or image that cannot be
                read.
        """
        asked = [checked_steps(solution) for solution in solutions]
        distinct = tuple(solution for solution in dict.fromkeys(asked) if solution)
        scores: dict[Solution, StepScores] = {(): ()}
        if distinct:
            scores.update(zip(distinct, self._scores(distinct), strict=True))
        return [scores[solution] for solution in asked]

    def _scores(self, solutions: tuple[Solution, ...]) -> list[StepScores]:
        limit = self.scorer.max_shared_length
        rows = self._rows(solutions) if self.scorer.layout in ("auto", "tree") else []
        if not rows or (limit is not None and max(map(len, rows)) > limit):
            (scores,) = self.scorer.score_jobs([Job(self.problem, solutions)])
            return scores
        pool, self._pool = self._pool, None  # a pool whose forward fails is not used again
        scores = pool.scores(rows)
        self._pool, self.num_computed_tokens = pool, pool.num_computed
        return scores

    def keep(self, solutions: Sequence[Sequence[str]]) -> None:
        """Forget all tokens but those of the problem and of these solutions (the live beams of a search)."""
        if self._pool is not None:
            self._pool.keep(self._rows([checked_steps(solution) for solution in solutions]))

    def _rows(self, solutions: Sequence[Solution]) -> list[list[int]]:
        """Token ids of solutions; the first call runs the prompt."""
        processor = self.scorer.processor
        if self._pool is None:
            (rows,), extra = processor.encode_solutions(
                [self.problem.question], [self.problem.images], [solutions], control_tokens="as_text"
            )
            self._pool = _TokenPool(self.scorer.model, processor, rows[0][0], extra, self.scorer.max_batch_tokens)
            _, self._tail = processor.split_prompt(self.problem.question, len(self.problem.images))
        encoded = [processor.encode_steps(steps, "as_text", self._tail) for steps in solutions]
        return [[*self._pool.prompt, *(i for step in steps for i in step)] for steps in encoded]


class _TokenPool:
    """The tokens of a problem computed so far: one growing cache row, with the tree that they form.

    The prompt is run at once; `extra` are its other inputs. One forward computes at most `max_tokens` new tokens.
    """

    def __init__(
        self, model: PreTrainedModel, processor: Any, prompt: list[int], extra: dict[str, Any], max_tokens: int
    ):
        self.model, self.prompt, self.max_tokens = model, prompt, max_tokens
        (self._table,) = prompt_positions(model, [prompt], extra)
        prefixes, (values,) = run_prefixes(model, processor, [prompt], [self._table], extra, branches=True)
        self._cache = prefixes.cache
        self.num_computed = len(prompt)
        # Of each token: its score (0 if it is not a marker), its depth, and its children by (token's index, token id).
        self._values: list[float] = values
        self._depths = list(range(len(prompt)))
        self._children: dict[tuple[int, int], int] = {(i - 1, token): i for i, token in enumerate(prompt)}
        # (token, token): whether the row's token attends to the column's; tokens of the prompt are never run again.
        self._attends = torch.ones(len(prompt), len(prompt), dtype=torch.bool)

    def scores(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """Return the step scores of rows that begin with the prompt; unseen tokens are computed first."""
        new = self._add_tokens(rows)
        start = len(self._depths) - len(new)
        for offset in range(0, len(new), self.max_tokens):  # parents come before their children
            self._run(new[offset : offset + self.max_tokens], start + offset)
        marker = self.model.config.marker_token_id
        return [
            tuple(self._values[i] for i, token in zip(self._path(row), row, strict=True) if token == marker)
            for row in rows
        ]

    def keep(self, rows: Sequence[Sequence[int]]) -> None:
        """Forget all tokens but those of the prompt and of these rows."""
        kept = sorted({*range(len(self.prompt)), *(i for row in rows for i in self._path(row))})
        index = torch.tensor(kept)
        for layer in self._cache.layers:
            layer.keys, layer.values = (old.index_select(2, index.to(old.device)) for old in (layer.keys, layer.values))
        renumbered = {-1: -1, **{old: new for new, old in enumerate(kept)}}
        self._children = {
            (renumbered[parent], token): renumbered[child]
            for (parent, token), child in self._children.items()
            if child in renumbered
        }
        self._values = [self._values[i] for i in kept]
        self._depths = [self._depths[i] for i in kept]
        self._attends = self._attends[index][:, index]

    def _path(self, row: Sequence[int]) -> list[int]:
        """Indices of a row's tokens, as far as they are known."""
        path, node = [], -1
        for token in row:
            node = self._children.get((node, token))
            if node is None:
                break
            path.append(node)
        return path

    def _add_tokens(self, rows: Sequence[Sequence[int]]) -> list[int]:
        """Add the rows' unseen tokens to the tree and return their ids in order."""
        new, parents = [], []
        for row in rows:
            node = -1
            for depth, token in enumerate(row):
                child = self._children.get((node, token))
                if child is None:
                    child = self._children[node, token] = len(self._depths)
                    self._depths.append(depth)
                    new.append(token)
                    parents.append(node)
                node = child
        num_old = len(self._attends)
        self._attends = torch.nn.functional.pad(self._attends, (0, len(new), 0, len(new)))
        for index, parent in enumerate(parents, start=num_old):
            self._attends[index] = self._attends[parent]
            self._attends[index, index] = True
        return new

    def _run(self, new: list[int], start: int) -> None:
        """Compute the tokens from index `start` on in one row behind all earlier ones."""
        stop = start + len(new)
        depths, attends = torch.tensor(self._depths[:stop]), self._attends[start:stop, :stop]

        def make_mask(window: int | None) -> torch.Tensor:
            mask = attends if window is None else attends & (depths[start:, None] - depths[None] < window)
            return mask[None, None]

        inputs = {
            "input_ids": torch.tensor([new]),
            "position_ids": stack_positions([positions_at(self._table, depths[start:])], len(new)),
            "attention_mask": attention_argument(self.model, make_mask),
            "cache": self._cache,
        }
        self._values += token_scores(self.model, inputs, use_cache=True)[0].tolist()
        self.num_computed += len(new)
