"""`AnswerReward`: whether the answer is right, as a reward function of TRL's `GRPOTrainer`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..answers import RuleVerifier
from ..data import Verdict
from ..engines import gather_or_cancel, run_async
from .completions import CompletionReader, completion_problem

logger = logging.getLogger(__name__)


class AnswerReward:
    """Whether the answer is right, as a reward function of `GRPOTrainer`: 1.0, 0.0, or None where it is undecided.

    An incomplete or malformed response earns 0.0 as well. TRL leaves None (no gold answer, or an undecided verdict) out
    of its sum, so that beside decided ones of its group it counts as 0 for this function;
    ``multi_objective_aggregation="normalize_then_sum"`` leaves it out of the group's mean, too.

    Args:
        verifier: Anything with ``async judge(problem, answer) -> Verdict``; None is `RuleVerifier`.
        step_format: How the policy writes steps, see `CompletionReader`; None finds it.
        answer_column: The data set's column of gold answers.
        name: The name that TRL logs the reward under.

    Example:
        >>> AnswerReward()(["1 + 1 = ?"], ["<step>1+1=2</step><answer>2</answer>"], answer=["2"])
        [1.0]
    """

    def __init__(
        self,
        verifier: Any = None,
        step_format: Any = None,
        *,
        answer_column: str = "answer",
        name: str = "answer_reward",
    ):
        self.__name__ = name
        self.verifier = RuleVerifier() if verifier is None else verifier
        self.reader, self.answer_column = CompletionReader(step_format), answer_column

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """Return one reward per completion, in order.

        Raises:
            ValueError: if there is no column of gold answers.
        """
        if self.answer_column not in columns:
            raise ValueError(
                f"Found no column {self.answer_column!r} of gold answers among {', '.join(map(repr, columns))}. Add it "
                "to the data set, or name another with answer_column."
            )
        columns = {**columns, "answer": columns[self.answer_column]}
        responses = self.reader.read(completions)

        async def reward(index: int) -> float | None:
            try:
                problem = completion_problem(prompts[index], columns, index, with_images=False)
            except ValueError as error:
                logger.warning("A completion gets no answer reward: %s", error)
                return None
            if problem.answer is None or not problem.answer.strip():
                return None
            response = responses[index]
            if not response.complete:
                return 0.0
            verdict = await self.verifier.judge(problem, response.answer)
            return None if verdict is Verdict.UNDECIDED else float(verdict is Verdict.CORRECT)

        return run_async(gather_or_cancel(reward(index) for index in range(len(completions))))
