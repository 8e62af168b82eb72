"""What a labelling run costs: one row per problem, one per session, and their sum.

A problem's row counts all that was paid for it in all sessions, also if it failed. Seconds add up over sessions; those
of problems overlap, because many are in flight.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..data import Rollout
from .journal import ProblemJournal


@dataclasses.dataclass(frozen=True)
class LabelSummary:
    """The total ledger of a run folder, as `summary.json` contains it.

    Args:
        num_problems: Problems of the run, duplicates included.
        num_trees, num_failed, num_duplicates: Those with a tree, those without one, and those equal in content to an
            earlier one, which are labelled once.
        num_resumed: Trees of earlier sessions.
        num_mixed: Trees whose root estimate lies strictly between 0 and 1; only these give label rows.
        num_requests, num_rollouts, num_incomplete, num_undecided: Paid for in all sessions, over all problems of the
            folder that ended in a tree or a failure.
        num_requests_replayed: Requests answered from journals in the sessions that ended the problems.
        tokens_in, tokens_out: Prompt tokens, once per request, and generated ones; 0 if the engine does not count them.
        verifier_calls, judge_calls, judge_cache_hits, judge_tokens_in, judge_tokens_out: Questions to the verifier, and
            what it asked of a judge model.
        num_solutions_judged, num_solutions_undecided: Solutions that a step judge looked at, and those on which it gave
            no verdict.
        step_judge_calls, step_judge_tokens_in, step_judge_tokens_out: What the step judge used.
        seconds: Duration of all sessions.
        sessions: One dict per start of the run: when, how long, and what was new in it.
        faults: Incomplete rollouts by `steps.FAULTS`, the most frequent first; empty in files of earlier versions.
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
    faults: dict[str, int] = dataclasses.field(default_factory=dict)


_FIELDS = [field.name for field in dataclasses.fields(LabelSummary)]
COSTS = tuple(_FIELDS[_FIELDS.index("num_requests") : _FIELDS.index("seconds")])
"""The counts of a ledger row, which `LabelSummary` adds up."""


def ledger_row(
    problem_id: str, problem_key: str, outcome: str, journal: ProblemJournal, num_undecided: int
) -> dict[str, Any]:
    """Return one problem's row; `outcome` is "tree" or the class of the error."""
    counts = {**journal.costs, "num_requests_replayed": journal.num_replayed, "num_undecided": num_undecided}
    return {
        "problem_id": problem_id,
        "problem_key": problem_key,
        "outcome": outcome,
        **{name: counts.get(name, 0) for name in COSTS},
        "faults": dict(sorted(journal.faults.items())),
        "seconds": round(journal.seconds, 3),
    }


def total_costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums of all counts over ledger rows."""
    totals = dict.fromkeys(COSTS, 0)
    for row in rows:
        for name in COSTS:
            totals[name] += row.get(name, 0)  # an earlier version counted less
    return totals


def total_faults(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many incomplete rollouts of ledger rows have which fault, the most frequent first."""
    totals: Counter[str] = Counter()
    for row in rows:
        totals.update(row.get("faults", {}))  # an earlier version has none
    return dict(sorted(totals.items(), key=lambda entry: (-entry[1], entry[0])))


class Session:
    """What is new since this start of the run."""

    def __init__(self) -> None:
        self.start = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.num_requests = self.num_rollouts = self.tokens_in = self.tokens_out = self.num_trees = 0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def add_answer(self, rollouts: tuple[Rollout, ...]) -> None:
        """Count one answer of the engine."""
        self.num_requests += 1
        self.num_rollouts += len(rollouts)
        self.tokens_in += rollouts[0].num_prompt_tokens
        self.tokens_out += sum(rollout.num_tokens for rollout in rollouts)

    def to_dict(self, num_retries: int) -> dict[str, Any]:
        """Return a plain dict for `summary.json`."""
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
