"""Flat Monte Carlo labels: k rollouts after each step of m sampled responses (Math-Shepherd, VisualPRM).

Same signature and output as `omegaprm.search`, and as pure. Dearer than bisection, and unbiased in which prefixes
it estimates: every inner step of a response gets an estimate of its own.
"""

from __future__ import annotations

import dataclasses
import random

from mmprm_hf.data import Problem, SearchTree, Verdict
from mmprm_hf.engines import RolloutEngine
from mmprm_hf.labelling.omegaprm import TreeDraft, Verifier


@dataclasses.dataclass(frozen=True)
class FlatMCConfig:
    """How many responses and rollouts. VisualPRM used 4 responses of at most 16 steps and 16 rollouts per step.

    Args:
        num_responses: m, responses sampled from the start; they are the root's rollouts.
        num_rollouts: k, rollouts per estimated prefix.
        max_rollouts: The budget, responses included.

    Raises:
        ValueError: if a value is below 1, or the budget does not pay for the responses.
    """

    num_responses: int = 4
    num_rollouts: int = 16
    max_rollouts: int = 1024

    def __post_init__(self) -> None:
        for name in ("num_responses", "num_rollouts"):
            if getattr(self, name) < 1:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in FlatMCConfig; it must be at least 1.")
        if self.max_rollouts < self.num_responses:
            raise ValueError(
                f"Found max_rollouts={self.max_rollouts} in FlatMCConfig; it must pay for num_responses="
                f"{self.num_responses}. Raise the budget or sample fewer responses."
            )


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: FlatMCConfig, rng: random.Random
) -> SearchTree:
    """Return the tree of `num_responses` responses with an estimate after each of their inner steps.

    The last step of a response is known by its verdict: a leaf of (1, 1) or (0, 1). Undecided and incomplete
    responses are recorded and not continued. All prefixes are drawn in one call, in order of response and step,
    as far as the budget pays for them in full.

    Raises:
        NothingJudgedError: if no response could be judged.
    """
    draft = TreeDraft(problem, engine, verifier, rng, config.max_rollouts)
    (responses,) = await draft.draw([()], config.num_responses)
    prefixes: dict[tuple[str, ...], None] = {}  # a set that keeps its order
    for response in responses:
        if response.verdict is Verdict.UNDECIDED or not response.steps:
            continue
        draft.add_leaf(response.steps, is_correct=response.verdict is Verdict.CORRECT)
        prefixes.update(dict.fromkeys(response.steps[:length] for length in range(1, len(response.steps))))
    num_affordable = (config.max_rollouts - len(draft.rollouts)) // config.num_rollouts
    affordable = list(prefixes)[:num_affordable]
    if affordable:
        await draft.draw(affordable, config.num_rollouts)
    return draft.finish({"search": "flat_mc", **dataclasses.asdict(config)})
