"""OmegaPRM: Monte Carlo step estimates by tree search with bisection for the first error (Luo et al., 2024).

`search` is pure: no I/O, threads, clock or global randomness. The same problem, engine, verifier, configuration and
seeded generator give the same tree. A comment marks where it departs from published MM-PRM; `omegaprm_reference.py` is
the published search, step by step.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from ..data import Problem, Rollout, SearchTree, Verdict
from ..engines import RolloutEngine
from ..errors import MAX_COUNT, check_values
from .candidate_pool import CandidatePool
from .protocols import Prefix, Verifier
from .stopping import EstimateConfig
from .tree_draft import TreeDraft


@dataclasses.dataclass(frozen=True, kw_only=True)
class OmegaPRMConfig(EstimateConfig):
    """How much to search and what to select; the options of an estimate are those of `EstimateConfig`.

    The MM-PRM runs used 200 searches, 1,000 rollouts and L = 2,000 words. The defaults here are those of its Python
    code: 20 searches, 200 rollouts, L = 500. Both use 16 rollouts, c_puct 0.125, alpha 0.5, beta 0.9.

    Args:
        max_rollouts: The budget: the most rollouts for one problem.
        num_searches: The most (prefix, wrong rollout) pairs to bisect.
        c_puct: Weight of exploration U, at least 0.
        alpha: In (0, 1]; the lower, the more a prefix with a high MC estimate is preferred.
        beta: In (0, 1]; the lower, the more a short rollout is preferred.
        length_scale: L, the length in words at which the length factor is `beta`.
        estimate_every_step: After the searches, also estimate the steps that bisection passed over on the paths of the
            tree, shortest prefixes first, as far as the budget allows.

    Raises:
        ValueError: if a value is out of its range, or the budget does not cover one estimate.
    """

    max_rollouts: int = 200
    num_searches: int = 20
    c_puct: float = 0.125
    alpha: float = 0.5
    beta: float = 0.9
    length_scale: float = 500.0
    estimate_every_step: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(
            self,
            max_rollouts=(
                self.num_rollouts <= self.max_rollouts <= MAX_COUNT,
                f"at least num_rollouts and at most {MAX_COUNT}",
            ),
            num_searches=(self.num_searches >= 0, "at least 0"),
            c_puct=(self.c_puct >= 0, "at least 0"),
            alpha=(0 < self.alpha <= 1, "in (0, 1]"),
            beta=(0 < self.beta <= 1, "in (0, 1]"),
            length_scale=(self.length_scale > 0, "above 0"),
        )


async def search(
    problem: Problem, engine: RolloutEngine, verifier: Verifier, config: OmegaPRMConfig, rng: random.Random
) -> SearchTree:
    """Return the search tree of one problem.

    Selection takes the (prefix, wrong rollout) pair with the highest Q + U, see `CandidatePool`. Bisection over the
    rollout's steps then finds its first error within ``ceil(log2 T)`` estimates for T steps. The search stops when the
    budget does not cover the next estimate.

    Whole solutions are leaves: a correct one counts (1, 1), a bisected wrong one (0, 1).

    The search reaches a prefix because a rollout through it went wrong. The rollouts drawn together with that one are
    no free samples of the prefix, as they would bias its estimate (by up to 0.04 at 16 rollouts). Rollouts drawn from
    prefixes in between are.

    Args:
        problem: The problem, with a gold answer.
        engine, verifier: What writes rollouts, and what checks their answers.
        config: Budget and weights.
        rng: Seeded generator, the only source of randomness.

    Raises:
        NothingJudgedError: if not a single rollout from the start could be judged.
    """
    draft = TreeDraft(problem, engine, verifier, rng, config, config.max_rollouts)
    pool = CandidatePool(config)
    # The root's estimate never stops early: the search starts from its wrong rollouts.
    (rollouts,) = await draft.draw([((), config.num_rollouts)])
    _harvest(draft, pool, (), rollouts)
    for _ in range(config.num_searches):
        selected = pool.pop()
        if selected is None:
            break
        draft.select(*selected)
        if not await _bisect(draft, pool, *selected):
            break
    if config.estimate_every_step:
        await _estimate_every_step(draft)
    return draft.finish("omegaprm")


def _harvest(draft: TreeDraft, pool: CandidatePool, prefix: Prefix, rollouts: Sequence[Rollout]) -> None:
    """Add the correct rollouts drawn from a prefix as leaves, and the wrong ones as candidates if its MC is above 0."""
    for rollout in rollouts:
        if rollout.verdict is Verdict.CORRECT and rollout.steps:
            draft.add_leaf(prefix + rollout.steps, is_correct=True)
    num_correct, num_decided = draft.counts(prefix)
    if num_correct:
        pool.add(prefix, num_correct / num_decided, draft.record(prefix).num_visits, rollouts)


async def _bisect(draft: TreeDraft, pool: CandidatePool, prefix: Prefix, solution: Prefix) -> bool:
    """Find the first error of a wrong solution that continues `prefix`; return False once the budget is spent.

    Invariant: the first `low` steps can still lead to a correct answer, the first `high` steps cannot.
    """
    # Differs from MM-PRM: the whole wrong solution is known to be wrong; it is neither sampled nor judged again.
    draft.add_leaf(solution, is_correct=False)
    low, high = len(prefix), len(solution)
    while high - low > 1:
        # Differs from MM-PRM: the midpoint of an odd number of steps is rounded down; there it is rounded up.
        middle = (low + high) // 2
        target = solution[:middle]
        if not draft.record(target).is_estimated:
            # Differs from MM-PRM: the budget is checked before each estimate, not between searches.
            (rollouts,) = await draft.estimate([target])
            if not draft.record(target).is_estimated:
                return False
            _harvest(draft, pool, target, rollouts)
        num_correct, num_decided = draft.counts(target)
        if not num_decided:
            return True  # nothing is known of this prefix: leave the rollout, the budget may serve others
        # Differs from MM-PRM: a prefix that a correct rollout passes is not wrong, even if all its own samples are.
        if num_correct or draft.record(target).is_reached:
            low = middle
        else:
            high = middle
    return True


async def _estimate_every_step(draft: TreeDraft) -> None:
    """Estimate what bisection passed over: all prefixes of the tree's solutions, shortest first."""
    # Differs from MM-PRM: there only ends of segments have labels, while a PRM scores every step.
    # All decided rollouts serve, correct or not: prefixes chosen by outcome would not be a fair sample.
    solutions = [prefix + r.steps for prefix, r in draft.rollouts if r.verdict is not Verdict.UNDECIDED]
    prefixes = dict.fromkeys(solution[:length] for solution in solutions for length in range(1, len(solution)))
    missing = [prefix for prefix in prefixes if not draft.record(prefix).is_estimated]
    for prefix in sorted(missing, key=len):  # stable; one at a time, so that each serves the longer ones
        await draft.estimate([prefix])
