"""From problems to scored candidates and a winner, by any strategy: what pipeline, demo, CLI and recipes share."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from ..data import Candidate, Problem
from ..engines import RolloutEngine, SamplingConfig
from ..errors import COUNT_RULE, MAX_COUNT, UnknownNameError, check_values, is_count
from ..progress import progress_bar
from ..scoring import PRMScorer
from ..selection import AGGREGATIONS
from ..steps import CUT, count_faults, fault_words
from .candidates import (
    GUIDED_SEARCHES,
    STRATEGIES,
    check_step_scores,
    generate_candidates,
    scored_candidates,
    winner_index,
)
from .guided_search import SearchLimits, guided_search, search_plan

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RerankConfig:
    """How a problem is solved.

    Args:
        strategy: best_of_n, majority_vote, weighted_vote, beam_search, dvts or beam_annealing.
        aggregation: How step scores become one number (`selection.AGGREGATIONS`); for published MM-PRM checkpoints
            the paper found mean_odds best.
        num_candidates: Solutions drawn; of a guided search, steps drawn in a round.
        beam_width: Guided searches: continuations of a kept prefix; None chooses one, see `search_plan`.
        max_steps: Guided searches: the most steps of a solution.
        seed: Equal seeds give equal candidates of a problem.

    Raises:
        UnknownNameError: for an unknown strategy or aggregation.
        ValueError: for a number out of its range.
    """

    strategy: str = "best_of_n"
    aggregation: str = "min"
    num_candidates: int = 16
    beam_width: int | None = None
    max_steps: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("strategy", STRATEGIES), ("aggregation", AGGREGATIONS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        check_values(
            self,
            num_candidates=(is_count(self.num_candidates, MAX_COUNT), COUNT_RULE),
            beam_width=(self.beam_width is None or is_count(self.beam_width, MAX_COUNT), COUNT_RULE),
            max_steps=(is_count(self.max_steps, MAX_COUNT), COUNT_RULE),
            seed=(type(self.seed) is int, "a whole number"),
        )
        if self.is_guided:
            search_plan(self.strategy, self.num_candidates, self.beam_width)

    @property
    def is_guided(self) -> bool:
        """Whether the PRM chooses after every step."""
        return self.strategy in GUIDED_SEARCHES


@dataclasses.dataclass(frozen=True)
class SolvedProblem:
    """One problem with its candidates.

    Args:
        candidates: All of them, scored.
        chosen: Index of the winner; None if no candidate is complete.
        num_tokens: Tokens generated, those of dropped prefixes included.
        seconds: This problem's share of the wall time of "generate" and "score".
    """

    candidates: tuple[Candidate, ...]
    chosen: int | None
    num_tokens: int
    seconds: dict[str, float]


def solve(
    problems: Sequence[Problem],
    make_engine: Callable[[SamplingConfig], RolloutEngine],
    scorer: PRMScorer,
    config: RerankConfig = RerankConfig(),  # noqa: B008 (frozen)
    sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
    *,
    problems_per_call: int = 32,
    progress: bool = False,
) -> list[SolvedProblem]:
    """Draw candidates for each problem, score them and choose, in the order of the problems.

    Args:
        problems: With ids that tell them apart.
        make_engine: Returns the engine for sampling settings; called once.
        scorer: The PRM.
        config: Strategy and numbers.
        sampling: How tokens are drawn.
        problems_per_call: Problems that the engine is given together, and that are searched together.
        progress: Show bars.

    Raises:
        ProblemInputError: if a problem cannot be shown to the policy.
        ValueError: if one cannot be shown to the PRM.
        RunStoppedError: if the PRM gives NaN.

    Problems without a complete candidate are counted in a warning, with the likely reason.
    """
    if not problems:
        return []
    engine = make_engine(sampling)
    if config.is_guided:
        limits = SearchLimits(config.aggregation, config.max_steps, sampling.max_new_tokens, config.seed)
        solved = _search(problems, engine, scorer, config, limits, problems_per_call, progress)
    else:
        solved = _draw_and_choose(problems, engine, scorer, config, problems_per_call, progress)
    _warn_of_unsolved(solved, getattr(engine, "sampling", sampling).max_new_tokens)  # of a server: as many as fit
    return solved


def _warn_of_unsolved(solved: Sequence[SolvedProblem], max_new_tokens: int) -> None:
    """Say why problems have no complete candidate."""
    candidates = [candidate for result in solved if result.chosen is None for candidate in result.candidates]
    if not candidates:
        return
    faults = count_faults(candidate.fault for candidate in candidates)
    remedies = []
    if CUT in faults:
        remedies.append(f"raise max_new_tokens={max_new_tokens}")
    if set(faults) != {CUT}:
        remedies.append('ask the policy for a form that can be read (instruct="always") or name another step_format')
    num_unsolved = sum(result.chosen is None for result in solved)
    logger.warning(
        "No complete candidate for %d of %d problems. Of their %d candidates: %s. To change it, %s.",
        num_unsolved,
        len(solved),
        len(candidates),
        fault_words(faults),
        "; ".join(remedies),
    )


def _search(
    problems: Sequence[Problem],
    engine: RolloutEngine,
    scorer: PRMScorer,
    config: RerankConfig,
    limits: SearchLimits,
    problems_per_call: int,
    progress: bool,
) -> list[SolvedProblem]:
    """Solutions that the PRM chooses among after every step."""
    plan = search_plan(config.strategy, config.num_candidates, config.beam_width)
    solved: list[SolvedProblem] = []
    with progress_bar(total=len(problems), desc="solving", unit="problem", is_shown=progress) as bar:
        for start in range(0, len(problems), problems_per_call):
            chunk = problems[start : start + problems_per_call]
            solutions, generate_seconds, score_seconds = guided_search(engine, scorer, chunk, plan, limits)
            seconds = _share(generate_seconds, score_seconds, len(chunk))
            solved += [_solved(result.candidates, result.num_tokens, seconds, config) for result in solutions]
            bar.update(len(chunk))
    return solved


def _draw_and_choose(
    problems: Sequence[Problem],
    engine: RolloutEngine,
    scorer: PRMScorer,
    config: RerankConfig,
    problems_per_call: int,
    progress: bool,
) -> list[SolvedProblem]:
    """Whole solutions, then their scores, then the choice."""
    start = time.perf_counter()
    drafts = generate_candidates(
        engine,
        problems,
        config.num_candidates,
        seed=config.seed,
        problems_per_call=problems_per_call,
        progress=progress,
    )
    generated = time.perf_counter()
    # A scorer that is not ours may know no bars.
    scored = scorer.score_many(problems, drafts, **({"progress": True} if progress else {}))
    seconds = _share(generated - start, time.perf_counter() - generated, len(problems))
    return [_solved(row, sum(c.num_tokens for c in row), seconds, config) for row in scored]


def _solved(
    candidates: Sequence[Candidate], num_tokens: int, seconds: dict[str, float], config: RerankConfig
) -> SolvedProblem:
    check_step_scores(candidate.step_scores or () for candidate in candidates)
    scored = tuple(scored_candidates(candidates, config.aggregation))
    chosen = winner_index(scored, config.strategy, config.aggregation) if scored else None
    return SolvedProblem(scored, chosen, num_tokens, seconds)


def _share(generate_seconds: float, score_seconds: float, num_problems: int) -> dict[str, float]:
    return {"generate": generate_seconds / num_problems, "score": score_seconds / num_problems}
