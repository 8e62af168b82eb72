"""The journal of one problem: every answer that was paid for, on disk before the search sees it.

One line per request and per verdict. Undecided verdicts are counted but asked for again, because the reason (a judge
that is down) may have gone. Journals are not synced: after a power cut whatever follows a broken line is cut off, and
so is what follows one that was changed since.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Rollout, Verdict
from ..files import append_line, open_log, read_lines, sealed
from ..steps import count_faults
from .protocols import Prefix

logger = logging.getLogger(__name__)

# prefix, number of samples, seed, how often this search made the same request before
RequestKey = tuple[tuple[str, ...], int, int, int]


class ProblemJournal:
    """Questions and answers about one problem, on disk line by line.

    Args:
        path: Its file, created with the first line.
        header: What the answers belong to (problem, run). A file with another header is set aside and not read.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path, self._header = path, dict(header)
        self.answers: dict[RequestKey, tuple[Rollout, ...]] = {}
        self.verdicts: dict[str | None, Verdict] = {}  # decided ones, by answer
        self.step_verdicts: dict[Prefix, tuple[Verdict, ...]] = {}  # by solution, if one of them is decided
        self._undecided_solutions: set[Prefix] = set()
        self.costs: Counter[str] = Counter()  # for the ledger
        self.faults: Counter[str] = Counter()  # of incomplete rollouts
        self.num_replayed = 0  # requests that were answered from the journal
        self.incomplete_example: Rollout | None = None
        self.undecided_example: str | None = None
        self._seconds_before = 0.0
        self._has_header = path.exists() and self._load()
        self._started = time.monotonic()

    def add_answer(self, key: RequestKey, rollouts: tuple[Rollout, ...]) -> None:
        """Put the answer to a request on disk."""
        self._add({"request": key, "rollouts": [rollout.to_dict() for rollout in rollouts]})

    def add_verdict(self, answer: str | None, verdict: Verdict, usage: Mapping[str, int]) -> None:
        """Put a verdict on disk, with its cost."""
        self._add({"answer": answer, "verdict": str(verdict), "usage": dict(usage)})

    def add_step_verdicts(self, solution: Prefix, verdicts: Sequence[Verdict], usage: Mapping[str, int]) -> None:
        """Put a step judge's verdicts on a solution on disk, with their cost."""
        self._add({"solution": list(solution), "verdicts": [str(v) for v in verdicts], "usage": dict(usage)})

    @property
    def seconds(self) -> float:
        """Time spent on the problem in all sessions, as far as it is journaled."""
        return self._seconds_before + time.monotonic() - self._started

    def delete(self) -> None:
        """Delete the file, once the tree is on disk."""
        self._path.unlink(missing_ok=True)

    def _add(self, row: dict[str, Any]) -> None:
        rows = [{**row, "seconds": round(self.seconds, 3)}]
        append_line(self._path, *map(sealed, rows if self._has_header else [self._header, *rows]))
        self._has_header = True
        self._count(row)

    def _count(self, row: Mapping[str, Any]) -> None:
        """Take in one line of the file."""
        if "request" in row:
            prefix, num_samples, seed, occurrence = row["request"]
            rollouts = tuple(Rollout.from_dict(rollout) for rollout in row["rollouts"])
            self.answers[tuple(prefix), num_samples, seed, occurrence] = rollouts
            incomplete = [rollout for rollout in rollouts if not rollout.complete]
            self.incomplete_example = self.incomplete_example or next(iter(incomplete), None)
            self.faults.update(count_faults(rollout.fault for rollout in incomplete))
            self.costs.update(
                num_requests=1,
                num_rollouts=len(rollouts),
                num_incomplete=len(incomplete),
                tokens_in=rollouts[0].num_prompt_tokens,
                tokens_out=sum(rollout.num_tokens for rollout in rollouts),
            )
        elif "solution" in row:
            solution, verdicts = tuple(row["solution"]), tuple(map(Verdict, row["verdicts"]))
            if all(verdict is Verdict.UNDECIDED for verdict in verdicts):
                self._undecided_solutions.add(solution)
            else:
                self._undecided_solutions.discard(solution)
                self.step_verdicts[solution] = verdicts
            self.costs["num_solutions_undecided"] = len(self._undecided_solutions)
            self.costs["num_solutions_judged"] = len(self._undecided_solutions) + len(self.step_verdicts)
            self.costs.update(row["usage"])
        else:
            verdict = Verdict(row["verdict"])
            if verdict is Verdict.UNDECIDED:
                self.undecided_example = row["answer"]
            else:
                self.verdicts[row["answer"]] = verdict
            self.costs.update({"verifier_calls": 1, **row["usage"]})

    def _load(self) -> bool:
        """Read the file up to its first broken line and cut it there; return whether it has this header."""
        end = 0
        try:
            open_log(self._path)
            for start, length, row in read_lines(self._path):
                if end:
                    self._count(row)
                    self._seconds_before = row["seconds"]
                elif row != json.loads(json.dumps(self._header)):
                    self._set_aside(row)
                    return False
                end = start + length
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("Journal %s: what follows byte %d is asked for again (%s).", self._path.name, end, error)
            os.truncate(self._path, end)
        return end > 0

    def _set_aside(self, header: Any) -> None:
        """Keep a journal that belongs to something else, under another name."""
        stale = self._path.with_name(self._path.name + ".stale")
        os.replace(self._path, stale)
        logger.warning(
            "Journal %s belongs to another run or problem (%s there, %s now): it is not used, and kept as %s.",
            self._path.name,
            header,
            self._header,
            stale.name,
        )
