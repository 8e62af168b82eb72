"""Solutions written step by step, the PRM choosing what is continued: beam search, DVTS, beam annealing.

The three share one loop: draw one more step behind every kept prefix, score what is new, keep the best prefixes of each
group. They differ in a `SearchPlan` alone. All problems of a call advance together, so that the engine joins their
requests, and generation and scoring never run at the same time (a policy and a PRM may share one base).

A complete solution is a candidate from the moment it is drawn. It goes on competing with the open prefixes: while it is
among the best it fills a slot in which no prefix is continued, and a problem's search ends when complete solutions fill
all slots.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from ..data import Candidate, Problem, Rollout, content_hash
from ..engines import RolloutEngine, RolloutRequest, run_async
from ..errors import UnknownNameError
from ..scoring import PRMScorer, ScoringSession
from ..selection import aggregate
from ..steps import CUT, MALFORMED, STEP_END, TAGGED, StepFormat
from .candidates import GUIDED_SEARCHES, check_step_scores

Steps = tuple[str, ...]

ANNEALING_DECAY = 0.7
"""Each round of beam annealing draws this share of the one before. It starts with twice the draws of a beam search, so
that a solution of five steps costs about as many tokens."""


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """How many steps are drawn and how many prefixes are kept, round by round.

    Args:
        num_draws: Continuations drawn in each group in round 0, where all of them start from nothing.
        beam_width: Continuations drawn per kept prefix in later rounds.
        num_groups: Independent searches of a problem, whose prefixes do not compete (DVTS).
        decay: Factor of the draws from round to round, in (0, 1].
    """

    num_draws: int
    beam_width: int
    num_groups: int = 1
    decay: float = 1.0

    def num_drawn(self, depth: int) -> int:
        """Return the continuations drawn in a group in round `depth` while no complete solution fills a slot."""
        return max(self.beam_width, round(self.num_draws * self.decay**depth))

    def num_kept(self, depth: int) -> int:
        """Return the slots of a group after round `depth`, each for a prefix or a complete solution."""
        return max(1, self.num_drawn(depth + 1) // self.beam_width)


def search_plan(strategy: str, num_candidates: int, beam_width: int | None = None) -> SearchPlan:
    """Return the plan of a strategy that draws about `num_candidates` continuations a round.

    Args:
        strategy: "beam_search" (Snell et al. 2024, arXiv 2408.03314): the best N / M of N prefixes, each continued M
            times. "dvts" (diverse verifier tree search, Beeching et al. 2024): N / M groups, each of which continues
            its best prefix M times. "beam_annealing": a beam search that begins with 2 N and narrows by
            `ANNEALING_DECAY` a round.
        num_candidates: N, at least 1.
        beam_width: M, at most N; None takes the smallest divisor of N that is at least its square root.

    Raises:
        UnknownNameError: for a strategy that is not a guided search.
        ValueError: for a beam width that is not in 1..N.

    Example:
        >>> search_plan("dvts", 16)
        SearchPlan(num_draws=4, beam_width=4, num_groups=4, decay=1.0)
    """
    if strategy not in GUIDED_SEARCHES:
        raise UnknownNameError("guided search", strategy, GUIDED_SEARCHES)
    divisors = (m for m in range(1, num_candidates + 1) if num_candidates % m == 0 and m * m >= num_candidates)
    width = next(divisors, 0) if beam_width is None else beam_width
    if not 1 <= width <= num_candidates:
        raise ValueError(
            f"Found beam_width={beam_width} with num_candidates={num_candidates}. Each kept prefix is continued "
            "beam_width times, out of num_candidates in all: choose 1 to num_candidates."
        )
    if strategy == "beam_search":
        return SearchPlan(num_candidates, width)
    if strategy == "dvts":
        return SearchPlan(width, width, num_groups=num_candidates // width)
    return SearchPlan(2 * num_candidates, width, decay=ANNEALING_DECAY)


@dataclasses.dataclass(frozen=True)
class SearchLimits:
    """What holds for every prefix of a search.

    Args:
        aggregation: One of `selection.AGGREGATIONS`; ranks prefixes.
        max_steps, max_new_tokens: The most steps and tokens of a solution; a longer one is incomplete.
        seed: Seed of the draws.
    """

    aggregation: str = "min"
    max_steps: int = 32
    max_new_tokens: int = 1024
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class GuidedSolutions:
    """The solutions that a guided search drew for one problem.

    Args:
        candidates: Every complete solution that was drawn, scored (equal ones as often as they were drawn), then what
            was cut or malformed, incomplete.
        num_tokens: Tokens generated in all; a candidate's own `num_tokens` counts its path alone.
    """

    candidates: tuple[Candidate, ...]
    num_tokens: int


def guided_search(
    engine: RolloutEngine,
    scorer: PRMScorer,
    problems: Sequence[Problem],
    plan: SearchPlan,
    limits: SearchLimits = SearchLimits(),  # noqa: B008 (frozen)
) -> tuple[list[GuidedSolutions], float, float]:
    """Search all problems together; equal seeds give equal solutions of a problem, whatever else is in the list.

    Args:
        engine: Writes steps one by one.
        scorer: Scores them, incrementally (`PRMScorer.session`).
        problems: What to solve.
        plan: How many steps are drawn and kept.
        limits: What holds for every prefix.

    Returns:
        The solutions of each problem, and the seconds spent on drawing and on scoring.

    Raises:
        ProblemInputError: if a problem cannot be shown to the policy.
        ValueError: if one cannot be shown to the PRM.
    """
    searches = [_Search(problem, engine, scorer, plan, limits) for problem in problems]
    generate_seconds = score_seconds = 0.0
    while any(search.is_open for search in searches):
        start = time.perf_counter()
        requests = [(search, group, request) for search in searches for group, request in search.requests()]
        rollouts_by_request = run_async(engine.generate([request for _, _, request in requests]))
        for (search, group, request), rollouts in zip(requests, rollouts_by_request, strict=True):
            search.take(group, request.prefix, rollouts)
        generated = time.perf_counter()
        for search in searches:
            if search.is_open:
                search.end_round()
        generate_seconds += generated - start
        score_seconds += time.perf_counter() - generated
    return [search.solutions() for search in searches], generate_seconds, score_seconds


@dataclasses.dataclass
class _Group:
    """Prefixes that compete: those kept, best first, what this round drew behind them, and all complete solutions."""

    kept: list[Steps]
    num_open_slots: int
    drawn: dict[Steps, None] = dataclasses.field(default_factory=dict)
    complete: dict[Steps, None] = dataclasses.field(default_factory=dict)


class _Search:
    """The state of one problem's search."""

    def __init__(
        self, problem: Problem, engine: RolloutEngine, scorer: PRMScorer, plan: SearchPlan, limits: SearchLimits
    ) -> None:
        self.engine = engine
        self.problem, self.scorer, self.plan, self.limits = problem, scorer, plan, limits
        self.session: ScoringSession | None = scorer.session(problem)
        self.depth = self.num_tokens = 0
        self.groups = [_Group(kept=[()], num_open_slots=1) for _ in range(plan.num_groups)]
        self.path_tokens: dict[Steps, int] = {(): 0}  # of the first draw that wrote a prefix
        self.scores: dict[Steps, tuple[float, ...]] = {}
        self.complete: list[Candidate] = []
        self.incomplete: list[Candidate] = []

    @property
    def step_format(self) -> StepFormat:
        """What the engine writes; known from its first rollouts on."""
        return getattr(self.engine, "step_format", None) or TAGGED

    @property
    def is_open(self) -> bool:
        return any(group.kept for group in self.groups)

    def requests(self) -> list[tuple[_Group, RolloutRequest]]:
        """One request per kept prefix; the group's draws are shared out evenly, the best prefixes first."""
        requests = []
        num_slots = 1 if self.depth == 0 else self.plan.num_kept(self.depth - 1)
        for index, group in enumerate(self.groups):
            if not group.kept:
                continue
            num_draws = round(self.plan.num_drawn(self.depth) * group.num_open_slots / num_slots)
            share, rest = divmod(max(len(group.kept), num_draws), len(group.kept))
            seed = int(content_hash(self.limits.seed, self.problem.id, index, self.depth, length=8), 16)
            for rank, prefix in enumerate(group.kept):
                requests.append((group, RolloutRequest(self.problem, prefix, share + (rank < rest), seed, True)))
        return requests

    def take(self, group: _Group, prefix: Steps, rollouts: Sequence[Rollout]) -> None:
        """Sort what was drawn behind a prefix into complete solutions, longer prefixes, and what is neither."""
        limits = self.limits
        for rollout in rollouts:
            self.num_tokens += rollout.num_tokens
            num_tokens = self.path_tokens[prefix] + rollout.num_tokens
            is_step = rollout.finish_reason == STEP_END
            steps = (*prefix, *rollout.steps)
            is_within = len(steps) <= limits.max_steps and num_tokens <= limits.max_new_tokens
            text = self.step_format.render_prefix(prefix) + rollout.text
            candidate = Candidate(
                steps, rollout.answer, rollout.complete, text, num_tokens=num_tokens, fault=rollout.fault
            )
            if rollout.complete and is_within:
                self.complete.append(candidate)
                group.complete[steps] = None
            elif is_step and is_within:
                self.path_tokens.setdefault(steps, num_tokens)
                group.drawn[steps] = None
            else:
                fault = rollout.fault or CUT
                self.incomplete.append(dataclasses.replace(candidate, complete=False, fault=fault))

    def end_round(self) -> None:
        """Score what the round drew, and keep the best of each group."""
        self._drop_unreadable()
        self._score()
        for group in self.groups:
            if group.kept:
                self._keep_best(group, self.plan.num_kept(self.depth))
        self.depth += 1
        if self.is_open:
            self.session.keep([steps for group in self.groups for steps in group.kept])
        else:
            self.session = None  # its cache is not needed any more

    def _drop_unreadable(self) -> None:
        """Prefixes with a marker that is a word: the PRM cannot read them, now or later."""
        for group in self.groups:
            for steps in [steps for steps in group.drawn if not self.scorer.can_score(steps)]:
                del group.drawn[steps]
                text = self.step_format.render_prefix(steps)
                num_tokens = self.path_tokens[steps]
                self.incomplete.append(Candidate(steps, None, False, text, num_tokens=num_tokens, fault=MALFORMED))

    def _score(self) -> None:
        pool = dict.fromkeys(steps for group in self.groups for steps in (*group.drawn, *group.complete))
        unscored = [steps for steps in pool if steps not in self.scores and self.scorer.can_score(steps)]
        step_scores = self.session.score(unscored)
        check_step_scores(step_scores)
        self.scores.update(zip(unscored, step_scores, strict=True))

    def _keep_best(self, group: _Group, num_slots: int) -> None:
        pool = [(steps, True) for steps in group.drawn if steps in self.scores]
        pool += [(steps, False) for steps in group.complete if steps in self.scores]
        best = sorted(pool, key=lambda entry: self._rank(self.scores[entry[0]]), reverse=True)[:num_slots]
        group.kept = [steps for steps, is_prefix in best if is_prefix]
        group.num_open_slots = num_slots - sum(not is_prefix for _, is_prefix in best)
        group.drawn = {}

    def _rank(self, step_scores: Sequence[float]) -> tuple[float, float]:
        return aggregate(step_scores, self.limits.aggregation), aggregate(step_scores, "mean")

    def solutions(self) -> GuidedSolutions:
        complete = [dataclasses.replace(c, step_scores=self.scores.get(c.steps)) for c in self.complete]
        return GuidedSolutions((*complete, *self.incomplete), self.num_tokens)
