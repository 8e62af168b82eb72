"""Flat Monte Carlo labels: k rollouts after each step of m sampled responses (Math-Shepherd, VisualPRM).

Pure, with the signature and output of `omegaprm.search`. It costs more than bisection, and which prefixes it estimates
does not depend on outcomes: every inner step of a response gets an estimate of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import random

from ..data import Problem, SearchTree, Verdict
from ..engines import RolloutEngine
from ..errors import COUNT_RULE, MAX_COUNT, check_values, is_count
from .protocols import Prefix, Verifier
from .stopping import EstimateConfig
from .tree_draft import TreeDraft


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatMCConfig(EstimateConfig):
    """How many responses to sample; the options of an estimate are those of `EstimateConfig`.

    VisualPRM used 4 responses of at most 16 steps and 16 rollouts per step.

    Args:
        num_responses: m, responses sampled from the start; they are the root's rollouts.
        max_rollouts: The budget, responses included.

    Raises:
        ValueError: if a value is out of its range, or the budget does not cover the responses.
    """

    num_responses: int = 4
    max_rollouts: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(
            self,
            num_responses=(is_count(self.num_responses, MAX_COUNT), COUNT_RULE),
            max_rollouts=(self.max_rollouts >= self.num_responses, "at least num_responses, which it must cover"),
        )


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: FlatMCConfig, rng: random.Random
) -> SearchTree:
    """Return the tree of `num_responses` responses with an estimate after each of their inner steps.

    The verdict on a response settles its last step: a leaf of (1, 1) or (0, 1). Undecided and incomplete responses are
    recorded, but no estimates follow them.

    With `reuse_rollouts`, prefixes are estimated by length, so that rollouts drawn from shorter ones serve longer ones.
    These free samples are unbiased here, because every prefix is estimated whatever became of the rollouts through it.
    Without it, all prefixes are drawn at once, in order of response and step. Either way the budget is kept.

    Raises:
        NothingJudgedError: if not a single response could be judged.
    """
    draft = TreeDraft(problem, engine, verifier, rng, config, config.max_rollouts)
    (responses,) = await draft.draw([((), config.num_responses)])
    prefixes: dict[Prefix, None] = {}  # a set that keeps its order
    for response in responses:
        if response.verdict is Verdict.UNDECIDED or not response.steps:
            continue
        draft.add_leaf(response.steps, is_correct=response.verdict is Verdict.CORRECT)
        prefixes.update(dict.fromkeys(response.steps[:length] for length in range(1, len(response.steps))))
    if config.reuse_rollouts:
        for _, level in itertools.groupby(sorted(prefixes, key=len), key=len):
            await draft.estimate(list(level))
    else:
        await draft.estimate(list(prefixes))
    return draft.finish("flat_mc")
