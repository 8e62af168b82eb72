"""`ProcessReward`: what a PRM thinks of the steps, as a reward function of TRL's `GRPOTrainer`.

Two failures are told apart. What the *policy* did wrong (format broken or cut, an empty step, a marker, too few or too
many steps) earns 0.0, the lowest reward: otherwise it could escape a low score by breaking the format. What it did
*not* do (a figure that cannot be read, a problem that cannot be shown to the PRM) gives None, is counted, and leaves
the other completions of the batch alone. TRL leaves None out of a completion's weighted sum of rewards.
"""

from __future__ import annotations

import collections
import copy
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import accelerate

from ..data import Problem
from ..errors import UnknownNameError, each_or_error
from ..models import MMPRMModel, MMPRMProcessor
from ..rows import problem_fingerprint
from ..scoring import PRMScorer, RecentScores
from ..selection import AGGREGATIONS
from .completions import CompletionReader, completion_problem
from .guards import GuardedSolution, SolutionGuards
from .shapes import PADDING_PROOF, SHAPES, Shape, outcome_reward, step_reward

logger = logging.getLogger(__name__)

Solution = tuple[str, ...]
_MIN_ROWS_TO_JUDGE = 64
_MAX_WARNINGS = 20


class ProcessReward:
    """A PRM as a reward function of `GRPOTrainer`, for vision-language policies and others.

    GRPO takes one number per completion, so the step scores become one: with ``shape="outcome"`` their aggregate in
    [0, 1] (`outcome_reward`); with ``shape="step"`` partial credit (`step_reward`). The PRM sees problem and steps and
    never the answer block: combine it with `AnswerReward`. See the module for 0.0 and None.

    A policy learns what a reward overrates. Under "min" a step added at the end can only lower the reward. "mean",
    "last", "max", "sum_logit" and "mean_odds" can be raised by adding steps, "step" by padding before the first error:
    give `max_steps` with them (a warning says so). Leaving out the hard steps raises every one of them, and pays most:
    give `min_steps` where the shortest honest solution is known, `answer_in_last_step` where steps name answers. What
    each hack earns: `recipes/grpo_with_prm/`.

    Args:
        prm: Path or hub id of a PRM (moved to this process's accelerator at the first call; only the path is pickled),
            a loaded `MMPRMModel` (stays where it is), or a `PRMScorer` (its store, if it has one, is used). Models of
            transformers 5.24 cannot be pickled once they have run; a path always can.
        processor: Processor of a loaded `MMPRMModel`; None loads it from the checkpoint that the model came from.
        aggregation: With ``shape="outcome"``: one of `selection.AGGREGATIONS`.
        shape: "outcome" or "step".
        step_format: How the policy writes steps, see `CompletionReader`; None finds it.
        threshold: With ``shape="step"``: a step with a score below it is wrong; in [0, 1].
        allow_empty_steps, drop_repeats, min_steps, max_steps, answer_in_last_step: Guards against reward hacking, see
            `SolutionGuards`. By default empty steps earn 0.0, repeats are not scored, and there is no limit.
        cache_size: Solutions whose scores are remembered between calls; 0 for none.
        max_unscorable_share: The largest share of all rows so far that may get None; with more, from 64 rows on, the
            training stops, which would otherwise go on without the PRM. 1.0 never stops it.
        name: The name that TRL logs the reward under.

    Raises:
        UnknownNameError: for an unknown shape or aggregation.
        ValueError: for an option out of range, or a processor too many or too few.

    Example:
        >>> trainer = GRPOTrainer(  # doctest: +SKIP
        ...     model="path/to/policy",
        ...     args=GRPOConfig(reward_weights=[0.5, 1.0]),
        ...     reward_funcs=[ProcessReward("path/to/prm"), AnswerReward()],
        ...     train_dataset=rows,  # columns prompt, images, answer
        ... )
    """

    def __init__(
        self,
        prm: str | os.PathLike | MMPRMModel | PRMScorer,
        processor: MMPRMProcessor | None = None,
        *,
        aggregation: str = "min",
        shape: Shape = "outcome",
        step_format: Any = None,
        threshold: float = 0.5,
        allow_empty_steps: bool = False,
        drop_repeats: bool = True,
        min_steps: int = 1,
        max_steps: int | None = None,
        answer_in_last_step: bool = False,
        cache_size: int = 16_384,
        max_unscorable_share: float = 0.5,
        name: str = "process_reward",
    ):
        for what, value, known in (("shape", shape, SHAPES), ("aggregation", aggregation, AGGREGATIONS)):
            if value not in known:
                raise UnknownNameError(what, value, known)
        if not (0 <= threshold <= 1 and 0 <= max_unscorable_share <= 1 and cache_size >= 0):
            raise ValueError(
                f"Found threshold={threshold}, max_unscorable_share={max_unscorable_share}, cache_size={cache_size}. "
                "The first two lie in [0, 1], the last is at least 0."
            )
        self.__name__ = name
        self.aggregation, self.shape, self.threshold = aggregation, shape, threshold
        self.reader, self.cache_size = CompletionReader(step_format), cache_size
        self.max_unscorable_share = max_unscorable_share
        self.guards = SolutionGuards(allow_empty_steps, drop_repeats, min_steps, max_steps, answer_in_last_step)
        if max_steps is None and (shape == "step" or aggregation not in PADDING_PROOF):
            logger.warning(
                "With shape %r and aggregation %r a policy can raise its reward by writing more steps; give max_steps.",
                shape,
                aggregation,
            )
        self.num_rows = self.num_unscorable = self._num_warnings = 0
        self._has_parsed = False
        self._prm, self._processor = prm, processor
        if isinstance(prm, MMPRMModel):
            if processor is None and not prm.name_or_path:
                raise ValueError("Found a PRM built in memory without its processor. Pass processor=...")
            self._processor = processor or MMPRMProcessor.from_pretrained(prm.name_or_path)
        elif processor is not None:
            raise ValueError("Found a processor beside a path or scorer, which has its own processor. Leave it out.")
        self._load()

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """Return one reward per completion, in order: in [0, 1], or None where nothing can be scored.

        Args:
            prompts, completions: As TRL passes them: messages or strings.
            completion_ids: Not used.
            **columns: The data set's columns, see `completion_problem`. TRL's ``log_metric``, if it is there, gets the
                share of every fault and the mean number of steps.

        Raises:
            ValueError: if the PRM gives NaN.
            RuntimeError: if more than `max_unscorable_share` of all rows could not be scored.
        """
        marker = self.scorer.processor.marker_token
        guarded = [self.guards.check(response, marker) for response in self.reader.read(completions)]
        problems: dict[str, Problem] = {}
        solutions: dict[str, dict[Solution, None]] = {}
        keys: list[str | None] = []
        for index, (prompt, solution) in enumerate(zip(prompts, guarded, strict=True)):
            try:
                problem = completion_problem(prompt, columns, index)
                key = problem_fingerprint(problem.question, problem.images)
            except ValueError as error:
                self._warn(error)
                keys.append(None)
                continue
            keys.append(key)
            problems.setdefault(key, problem)
            if not solution.fault:
                solutions.setdefault(key, {})[solution.steps] = None
        step_scores = self._score(problems, {key: list(distinct) for key, distinct in solutions.items()})
        rewards = [
            None if key is None else self._reward(solution, step_scores.get((key, solution.steps)))
            for key, solution in zip(keys, guarded, strict=True)
        ]
        self._count(guarded, rewards, columns.get("log_metric"))
        return rewards

    @property
    def scorer(self) -> PRMScorer:
        """The scorer; ready from the first call on, when the process knows its accelerator."""
        if not self._is_ready:
            if self._scorer is None:
                self._scorer = PRMScorer(self._prm, self._processor)
            if not isinstance(self._prm, (MMPRMModel, PRMScorer)):
                self._scorer.model.to(accelerate.PartialState().device)
            if self._scorer.store is None and self.cache_size:
                self._scorer.store = RecentScores(self.cache_size)
            self._is_ready = True
        return self._scorer

    def _reward(self, solution: GuardedSolution, step_scores: Sequence[float] | None) -> float | None:
        if solution.fault:
            return 0.0
        if step_scores is None:
            return None
        if not step_scores:  # the processor cannot write these steps: see `_score_apart`
            return 0.0
        if self.shape == "step":
            return step_reward(step_scores, self.threshold)
        return outcome_reward(step_scores, self.aggregation)

    def _score(
        self, problems: Mapping[str, Problem], solutions: Mapping[str, list[Solution]]
    ) -> dict[tuple[str, Solution], tuple[float, ...]]:
        """Step scores by problem and solution; absent where the problem cannot be shown, () by the policy's fault."""

        def score_problems(keys: Sequence[str]) -> list[list[tuple[float, ...]]]:
            return self.scorer.score_solutions([problems[key] for key in keys], [solutions[key] for key in keys])

        step_scores: dict[tuple[str, Solution], tuple[float, ...]] = {}
        for key, result in zip(solutions, each_or_error(score_problems, list(solutions)), strict=True):
            if isinstance(result, ValueError):
                result = self._score_apart(problems[key], solutions[key])
            step_scores |= {(key, steps): scores for steps, scores in zip(solutions[key], result, strict=False)}
        return step_scores

    def _score_apart(self, problem: Problem, solutions: list[Solution]) -> list[tuple[float, ...]]:
        """Scores of a problem's solutions, () for one at fault; none at all if the problem cannot be shown."""
        try:
            self.scorer.processor.encode_prompts([problem.question], [problem.images])
        except ValueError as error:
            self._warn(error)
            return []
        results = each_or_error(lambda batch: self.scorer.score_solutions([problem], [batch])[0], solutions)
        for error in (result for result in results if isinstance(result, ValueError)):
            logger.info("A solution of problem %s earns nothing: %s", problem.id, error)
        return [() if isinstance(result, ValueError) else result for result in results]

    def _warn(self, error: ValueError) -> None:
        self._num_warnings += 1
        if self._num_warnings <= _MAX_WARNINGS:
            logger.warning("A completion gets no process reward: %s", error)

    def _count(self, guarded: Sequence[GuardedSolution], rewards: Sequence[float | None], log_metric: Any) -> None:
        """Report what was seen to TRL's log, and raise if there is hardly anything to train on."""
        num_unscorable = sum(reward is None for reward in rewards)
        self.num_rows += len(rewards)
        self.num_unscorable += num_unscorable
        faults = collections.Counter(solution.fault for solution in guarded)
        if guarded and faults["malformed"] == len(guarded) and not self._has_parsed:
            logger.warning(
                "None of %d completions can be read in the step format %s. TRL decodes without special tokens: tags "
                "that are special tokens of the policy never arrive here; add them as ordinary ones.",
                len(guarded),
                self.reader.step_format or "of any kind",
            )
        self._has_parsed |= faults["malformed"] < len(guarded)
        if log_metric is not None and guarded:
            totals = {
                "malformed": faults["malformed"],
                "empty_steps": faults["empty step"],
                "wrong_length": faults["too few steps"] + faults["too many steps"],
                "answer_not_derived": faults["answer not derived"],
                "unscorable": num_unscorable,
                "num_steps": sum(solution.num_steps for solution in guarded),
                "num_repeats": sum(solution.num_repeats for solution in guarded),
            }
            for name, total in totals.items():
                log_metric(f"{self.__name__}/{name}", total / len(guarded))
        if self.num_rows >= _MIN_ROWS_TO_JUDGE and self.num_unscorable > self.max_unscorable_share * self.num_rows:
            raise RuntimeError(
                f"{self.num_unscorable} of {self.num_rows} completions could not be scored, more than "
                f"max_unscorable_share={self.max_unscorable_share}; the warnings above name the reasons. Correct the "
                "data (figures, a `question` column without control tokens), or raise the share."
            )

    def _load(self) -> None:
        """Load the scorer of a path. That of a model is made at the first call: a model that has run is not pickled."""
        self._is_ready = False
        if isinstance(self._prm, MMPRMModel):
            self._scorer = None
        elif isinstance(self._prm, PRMScorer):
            self._scorer = copy.copy(self._prm)
        else:
            self._scorer = PRMScorer.from_pretrained(self._prm)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is loaded or made from a path or object that is pickled itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_scorer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()
