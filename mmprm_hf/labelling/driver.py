"""Runs a search over many problems on one engine: concurrency, resuming, failures, ledger.

A run may be killed at any moment and started again: nothing journaled is generated twice, and `trees.jsonl` ends with
the same bytes as an uninterrupted run's, as far as engine and verifier depend on the request alone. The parts:
`run_folder` (files), `problem_queue` (what needs a search), `journal` (answers of one problem), `engine_gate` (faults
of the engine), `run_health` (when to stop), `ledger` (costs).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from typing import Any

from ..data import SCHEMA_VERSION, Problem, Rollout, SearchTree, content_hash
from ..engines import RolloutEngine, run_async
from ..errors import COUNT_RULE, MAX_COUNT, EngineUnavailableError, RunStoppedError, check_values, is_count
from ..files import write_json
from .engine_gate import EngineGate, FaultTolerance
from .failures import EngineFailedError, RequestFailedError, undecided_counts
from .journal import ProblemJournal
from .journaled import JournaledEngine, JournaledVerifier
from .ledger import LabelSummary, Session, ledger_row, total_costs, total_faults
from .problem_queue import ProblemQueue, check_distinct_ids
from .progress import Progress
from .protocols import Search, Verifier
from .run_folder import RunFolder
from .run_health import RunHealth

logger = logging.getLogger(__name__)

# How much of the ledger's times a kill may lose.
_SUMMARY_SECONDS = 2.0
# Problems whose responses show the policy's step format.
_NUM_FORMAT_PROBLEMS = 4


@dataclasses.dataclass(frozen=True)
class LabelRun:
    """All that a labelling run is made with, except its problems.

    Args:
        engine: Writes rollouts. An optional `async prepare()` is awaited before its `identity` is read.
        verifier: Checks answers. `prepare`, `identity` and `usage` (problem id to counts of judge calls) are optional.
        search: `omegaprm.search`, `flat_mc.search`, or another callable with that signature, known by its name or its
            `identity`. If it asks more than engine and verifier, `journaled(journal)` returns it with those questions
            journaled (`ConsensusSearch`).
        config: The search's frozen dataclass.
        output_dir: The run folder, created if absent.
        seed: Seed of the run. A problem's randomness comes from it and the problem's content.
        max_in_flight: Problems that are searched at a time; their requests go to the engine as they come.
        max_undecided: In [0, 1]; the largest share of complete rollouts that may have no verdict: of a problem, or it
            fails; of the run, or it stops. The same limit holds for the solutions that a step judge leaves undecided.
        tolerance: How many failures of the engine to tolerate.
        progress: Show a progress bar.

    Raises:
        ValueError: if a limit is out of its range.
    """

    engine: RolloutEngine
    verifier: Verifier
    search: Search
    config: Any
    output_dir: str | os.PathLike[str]
    seed: int = 0
    max_in_flight: int = 64
    max_undecided: float = 0.2
    tolerance: FaultTolerance = FaultTolerance()
    progress: bool = True

    def __post_init__(self) -> None:
        check_values(
            self,
            max_in_flight=(is_count(self.max_in_flight, MAX_COUNT), COUNT_RULE),
            max_undecided=(0 <= self.max_undecided <= 1, "in [0, 1]"),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies the run, as `run.json` records it; results of different runs are never mixed.

        Raises:
            ValueError: if the search has neither a name nor an `identity`.
        """
        search = self.search
        if not hasattr(search, "identity") and not hasattr(search, "__qualname__"):
            raise ValueError(
                f"The search is a {type(search).__name__} without a name. A run is identified by its search; give the "
                "callable an `identity` attribute that contains all its settings."
            )
        return {
            "schema_version": SCHEMA_VERSION,
            "search": search.identity if hasattr(search, "identity") else f"{search.__module__}.{search.__qualname__}",
            "config": dataclasses.asdict(self.config),
            "engine": self.engine.identity,
            "verifier": getattr(self.verifier, "identity", type(self.verifier).__qualname__),
            "seed": self.seed,
        }


def label_problems(problems: Iterable[Problem], run: LabelRun) -> LabelSummary:
    """Search every problem that has no tree yet in the run folder, and return the folder's ledger.

    Problems are known by their content (`problem_key`): equal ones are labelled once, and moved figures or new ids
    repeat nothing. A problem that fails is recorded in `failures.jsonl`; the next run tries it again, at no cost for
    what is journaled. Works inside a running event loop too.

    Args:
        problems: Problems with distinct ids, read one by one as they are needed; `trees.jsonl` ends in their order.
        run: Everything else.

    Raises:
        ValueError: if ids repeat, the folder was made with other settings, or another process holds it.
        RunStoppedError: if the run cannot continue: `EngineFailedError`, `TooManyUndecidedError`,
            `NothingLabelledError` or `StorageFailedError`. Start it again to resume from what is kept.
    """
    return run_async(label_problems_async(problems, run))


async def label_problems_async(problems: Iterable[Problem], run: LabelRun) -> LabelSummary:
    """Do what `label_problems` does, in the caller's event loop."""
    check_distinct_ids(problems)
    with RunFolder(run.output_dir) as folder:
        for part in (run.engine, run.verifier, run.search):
            await _prepare(part)
        problems = await _settle(run.engine, problems, folder.saved_identity().get("engine", {}))
        folder.open_run(run.identity)
        driver = _Driver(problems, run, folder)
        try:
            await driver.label_all()
        finally:
            driver.progress.close()
            summary = driver.write_summary()
    return summary


async def _prepare(part: Any) -> None:
    """Let an engine, verifier or search find out what it is, if it needs to (the model behind a server)."""
    if hasattr(part, "prepare"):
        try:
            await part.prepare()
        except EngineUnavailableError as error:
            raise EngineFailedError(f"{type(part).__name__} is not ready: {error}") from error


async def _settle(engine: Any, problems: Iterable[Problem], identity: Mapping[str, Any]) -> Iterable[Problem]:
    """Let an engine find out in which step format its policy writes, or take that of the run that is resumed.

    Returns the problems, of which the first ones may have been read.
    """
    if not hasattr(engine, "settle"):
        return problems
    try:
        await engine.settle((), identity)
        if engine.step_format is not None:
            return problems
        first = list(itertools.islice(problems, _NUM_FORMAT_PROBLEMS))
        await engine.settle(first, identity)
    except EngineUnavailableError as error:
        raise EngineFailedError(f"{type(engine).__name__} is not ready: {error}") from error
    # An iterator gives each problem once.
    return itertools.chain(first, problems) if iter(problems) is problems else problems


class _Driver:
    """One session of a run."""

    def __init__(self, problems: Iterable[Problem], run: LabelRun, folder: RunFolder) -> None:
        self.run, self.folder, self.session = run, folder, Session()
        num_problems = len(problems) if isinstance(problems, Sized) else None
        self.progress = Progress(self.session, num_problems, run.progress)
        self.queue = ProblemQueue(problems, folder, self.progress, on_unreadable=self._fail)
        self.gate = EngineGate(run.engine, run.tolerance, self._on_answer)
        self.health = RunHealth(folder, run.max_undecided, run.tolerance.max_engine_failures)
        self._to_retry: list[Problem] = []  # the engine failed at them in this pass
        self._engine_retries_before = self._engine_retries()
        self._summary_written = time.monotonic()

    async def label_all(self) -> None:
        """Search all problems, then those at which the engine failed, as long as it answers."""
        await self._label_each(self.queue.take)
        num_answers = -1
        while self._to_retry and self.session.num_requests > num_answers:
            problems, self._to_retry, num_answers = iter(self._to_retry), [], self.session.num_requests

            async def take_again(problems: Any = problems) -> Problem | None:
                return next(problems, None)

            await self._label_each(take_again)
        self.health.check_shares()
        keys = self.queue.keys
        if keys and not any(key in self.folder.trees for key in keys.values()):
            raise self.health.nothing_labelled()
        self.folder.put_in_order(keys)
        if self.folder.failures:
            row = next(iter(self.folder.failures.values()))
            logger.warning(
                "%d problems have no tree (failures.jsonl; the next run tries them again), such as %s: %s",
                len(self.folder.failures),
                row["problem_id"],
                row["reason"],
            )

    async def _label_each(self, take: Callable[[], Awaitable[Problem | None]]) -> None:
        """Keep `max_in_flight` searches going until there is no further problem."""

        async def work() -> None:
            while (problem := await take()) is not None:
                await self._label(problem)

        workers = [asyncio.create_task(work()) for _ in range(self.run.max_in_flight)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _label(self, problem: Problem) -> None:
        """Search one problem, and put its tree or its failure on disk."""
        key = self.queue.keys[problem.id]
        if self.folder.failed_before.get(key) == RequestFailedError.__name__:
            self.gate.expect_failure(problem.id)
        header = {"schema_version": SCHEMA_VERSION, "problem_key": key, "run": self.folder.run_hash}
        journal = ProblemJournal(self.folder.journal_path(key), header)
        try:
            tree = await self._search(problem, key, journal)
            self.health.check_problem(problem.id, tree, journal.costs)
        except RunStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 (the one recording boundary: a reason, not a crash)
            self._fail(problem, error, journal)
            return
        cost = ledger_row(problem.id, key, "tree", journal, tree.num_undecided)
        if problem.id not in self.folder.failures:  # a failure of this session moved the bar already
            self.progress.advance()
        self.folder.add_tree(dataclasses.replace(tree, problem_key=key), cost)
        journal.delete()
        self.session.num_trees += 1
        self.health.add_tree(tree, cost)

    async def _search(self, problem: Problem, key: str, journal: ProblemJournal) -> SearchTree:
        engine = JournaledEngine(journal, self.run.engine.identity, self.gate.ask)
        verifier = JournaledVerifier(journal, self.run.verifier)
        search = self.run.search
        if hasattr(search, "journaled"):  # it asks more than engine and verifier
            search = search.journaled(journal)
        return await search(problem, engine, verifier, self.run.config, random.Random(content_hash(self.run.seed, key)))

    def _fail(self, problem: Problem, error: Exception, journal: ProblemJournal | None = None) -> None:
        """Record a problem without a tree; its journal is kept."""
        if problem.id not in self.folder.failures:
            self.progress.advance()
        key, cost = self.queue.keys[problem.id], None
        if journal is not None:
            cost = ledger_row(problem.id, key, type(error).__name__, journal, undecided_counts(error)[0])
        self.folder.add_failure(problem.id, key, error, cost)
        if isinstance(error, RequestFailedError):
            self._to_retry.append(problem)
        self.health.add_failure(problem.id, key, error, journal)

    def _on_answer(self, rollouts: tuple[Rollout, ...]) -> None:
        self.session.add_answer(rollouts)
        self.progress.refresh()
        if time.monotonic() - self._summary_written >= _SUMMARY_SECONDS:
            self.write_summary()

    def _engine_retries(self) -> int:
        return getattr(self.run.engine, "usage", {}).get("retries", 0)

    def write_summary(self) -> LabelSummary:
        """Write the ledger's current total, and return it."""
        num_retries = self.gate.num_retries + self._engine_retries() - self._engine_retries_before
        sessions = (*self.folder.past_sessions, self.session.to_dict(num_retries))
        # Of this run's problems alone: the folder may have trees of others, from a run of more problems.
        keys = self.queue.distinct_keys
        trees = [self.folder.trees[key] for key in keys if key in self.folder.trees]
        costs = [self.folder.costs[key] for key in keys if key in self.folder.costs]
        summary = LabelSummary(
            num_problems=len(self.queue.keys),
            num_trees=len(trees),
            num_failed=len(self.folder.failures),
            num_duplicates=self.queue.num_duplicates,
            num_resumed=self.queue.num_resumed,
            num_mixed=sum(facts.is_mixed for facts in trees),
            **total_costs(costs),
            seconds=round(sum(session["seconds"] for session in sessions), 3),
            sessions=sessions,
            faults=total_faults(costs),
        )
        write_json(self.folder.summary_path, dataclasses.asdict(summary))
        self._summary_written = time.monotonic()
        return summary
