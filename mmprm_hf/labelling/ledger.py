"""What a labelling run costs: one row per problem, one per session, and their sum.

A problem's row counts all that was paid for it in all sessions, also for a problem that failed. Seconds add up over
sessions; those of problems overlap, since many are in flight.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..data import Rollout
from .journal import ProblemJournal

COSTS = (
    "num_requests",
    "num_requests_replayed",
    "num_rollouts",
    "num_incomplete",
    "num_undecided",
    "tokens_in",
    "tokens_out",
    "verifier_calls",
    "judge_calls",
    "judge_cache_hits",
    "judge_tokens_in",
    "judge_tokens_out",
    "num_solutions_judged",
    "num_solutions_undecided",
    "step_judge_calls",
    "step_judge_tokens_in",
    "step_judge_tokens_out",
)


@dataclasses.dataclass(frozen=True)
class LabelSummary:
    """The ledger of a run folder in total; `summary.json` holds the same.

    Args:
        num_problems: Problems asked for, duplicates included.
        num_trees, num_failed, num_duplicates: Of them, with a tree; without one; equal to an earlier one in content
            (labelled once).
        num_resumed: Trees that were there before.
        num_mixed: Trees whose root estimate lies strictly between 0 and 1 (these give label rows).
        num_requests, num_rollouts, num_incomplete, num_undecided: Paid for in all sessions, over all problems of the
            folder that ended in a tree or a failure.
        num_requests_replayed: Answered from journals in the sessions that ended the problems.
        tokens_in: Prompt tokens, once per request; 0 where the engine does not tell.
        tokens_out: Tokens generated.
        verifier_calls: Questions to the verifier.
        judge_calls, judge_cache_hits, judge_tokens_in, judge_tokens_out: What the verifier asked of a judge model.
        num_solutions_judged, num_solutions_undecided: Solutions that a step judge looked at; those of them on which it
            said nothing.
        step_judge_calls, step_judge_tokens_in, step_judge_tokens_out: What that took.
        seconds: Of all sessions.
        sessions: One dict per start of the run: when, how long, and what was new in it.
    """

    num_problems: int
    num_trees: int
    num_failed: int
    num_duplicates: int
    num_resumed: int
    num_mixed: int
    num_requests: int
    num_requests_replayed: int
    num_rollouts: int
    num_incomplete: int
    num_undecided: int
    tokens_in: int
    tokens_out: int
    verifier_calls: int
    judge_calls: int
    judge_cache_hits: int
    judge_tokens_in: int
    judge_tokens_out: int
    num_solutions_judged: int
    num_solutions_undecided: int
    step_judge_calls: int
    step_judge_tokens_in: int
    step_judge_tokens_out: int
    seconds: float
    sessions: tuple[dict[str, Any], ...]


def ledger_row(
    problem_id: str, problem_key: str, outcome: str, journal: ProblemJournal, num_undecided: int
) -> dict[str, Any]:
    """One problem's row: `outcome` is "tree" or the class of the error."""
    costs = {
        **journal.costs,
        "num_requests_replayed": journal.num_replayed,
        "num_undecided": num_undecided,
    }
    return {
        "problem_id": problem_id,
        "problem_key": problem_key,
        "outcome": outcome,
        **{name: costs.get(name, 0) for name in COSTS},
        "seconds": round(journal.seconds, 3),
    }


def total_costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sums over ledger rows."""
    totals = dict.fromkeys(COSTS, 0)
    for row in rows:
        for name in COSTS:
            totals[name] += row.get(name, 0)  # a ledger of an earlier version counts less
    return totals


class Session:
    """What is new since this start of the run."""

    def __init__(self) -> None:
        self.start = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.num_requests = self.num_rollouts = self.tokens_in = self.tokens_out = self.num_trees = 0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def add_answer(self, rollouts: tuple[Rollout, ...]) -> None:
        """Count one answer of the engine."""
        self.num_requests += 1
        self.num_rollouts += len(rollouts)
        self.tokens_in += rollouts[0].num_prompt_tokens
        self.tokens_out += sum(rollout.num_tokens for rollout in rollouts)

    def to_dict(self, num_retries: int) -> dict[str, Any]:
        """Plain dict for `summary.json`."""
        return {
            "start": self.start,
            "seconds": round(self.seconds, 3),
            "num_requests": self.num_requests,
            "num_rollouts": self.num_rollouts,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "num_trees": self.num_trees,
            "num_retries": num_retries,
        }
