"""Runs a search over many problems on one engine: concurrency, resume, failures, ledger.

A run may be killed at any moment and started again: nothing journaled is generated twice, and `trees.jsonl` ends with
the same bytes as an uninterrupted run's, as far as engine and verifier depend on the request alone. The parts:
`run_folder` (files), `journal` (answers of one problem), `engine_gate` (faults of the engine), `ledger` (costs).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

from ..data import SCHEMA_VERSION, Problem, Rollout, SearchTree, content_hash
from ..engines import RolloutEngine
from ..errors import EngineUnavailableError, FolderInUseError, ProblemInputError, RunStoppedError, StorageFailedError
from ..files import write_json
from ..rows import problem_key
from .engine_gate import EngineFailedError, EngineGate, FaultTolerance, RequestFailedError
from .journal import JournaledEngine, JournaledVerifier, ProblemJournal
from .ledger import LabelSummary, Session, ledger_row, total_costs
from .omegaprm import Verifier
from .progress import Progress
from .run_folder import RunFolder, read_trees
from .run_health import (
    MIN_FOR_SHARE,
    NothingLabelledError,
    ProblemUndecidedError,
    RunHealth,
    TooManyUndecidedError,
    undecided_counts,
)

logger = logging.getLogger(__name__)

Search = Callable[[Problem, RolloutEngine, Verifier, Any, random.Random], Awaitable[SearchTree]]

# A kill loses at most so much of the ledger's times.
_SUMMARY_SECONDS = 2.0


def label_problems(
    problems: Iterable[Problem],
    engine: RolloutEngine,
    verifier: Verifier,
    search: Search,
    config: Any,
    output_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    max_in_flight: int = 64,
    max_undecided: float = 0.2,
    tolerance: FaultTolerance = FaultTolerance(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> LabelSummary:
    """Search every problem that has no tree yet in `output_dir`, and return the folder's ledger.

    Problems are known by their content (`problem_key`): equal ones are labelled once, and moved figures or new ids run
    nothing again. A problem's randomness comes from `seed` and its key. A problem that fails is recorded in
    `failures.jsonl` and tried again by the next run, at no cost for what is journaled.

    Args:
        problems: Problems with distinct ids, taken one by one as they are needed; `trees.jsonl` ends in their order.
        engine: What writes. If it has `async prepare()`, that is awaited before its `identity` is read.
        verifier: What judges; `prepare`, `identity` and `usage` (problem id to counts of judge calls) are optional.
        search: `omegaprm.search`, `flat_mc.search`, or another callable with that signature; its name, or its
            `identity` if it has one, is part of what makes the run. One that asks more than engine and verifier has
            `journaled(journal)`, which returns it with those questions journaled (`ConsensusSearch`).
        config: The search's frozen dataclass.
        output_dir: The run folder, made if absent.
        seed: Seed of the run.
        max_in_flight: Problems searched at a time; their requests go to the engine as they come.
        max_undecided: In [0, 1]; the most complete rollouts, as a share, that may stay without a verdict: of a
            problem, or it fails; of the run, or it stops. The same share of judged solutions may be left open by a step
            judge, of the run.
        tolerance: How much failing of the engine to put up with.
        progress: Show a progress bar.

    Raises:
        ValueError: if ids repeat, a limit is out of range, another configuration made the folder, or another process
            holds it.
        RunStoppedError: if the run cannot go on: `EngineFailedError`, `TooManyUndecidedError`, `NothingLabelledError`
            or `StorageFailedError`. Start it again to go on from what is kept.
    """
    return asyncio.run(
        label_problems_async(
            problems,
            engine,
            verifier,
            search,
            config,
            output_dir,
            seed=seed,
            max_in_flight=max_in_flight,
            max_undecided=max_undecided,
            tolerance=tolerance,
            progress=progress,
        )
    )


async def label_problems_async(
    problems: Iterable[Problem],
    engine: RolloutEngine,
    verifier: Verifier,
    search: Search,
    config: Any,
    output_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    max_in_flight: int = 64,
    max_undecided: float = 0.2,
    tolerance: FaultTolerance = FaultTolerance(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> LabelSummary:
    """`label_problems` for callers with an event loop of their own (notebooks, servers)."""
    if max_in_flight < 1:
        raise ValueError(f"Found max_in_flight={max_in_flight}; at least one problem must be in flight.")
    if not 0 <= max_undecided <= 1:
        raise ValueError(f"Found max_undecided={max_undecided}; it is a share and lies in [0, 1].")
    if isinstance(problems, Sequence):
        _check_ids(problems)
    settings = _Settings(search, config, seed, max_in_flight, max_undecided, tolerance)
    with RunFolder(output_dir) as folder:
        await _prepare(engine, verifier, search)
        folder.open_run(run_identity(search, config, engine, verifier, seed))
        num_problems = len(problems) if isinstance(problems, Sized) else None
        run = _Run(folder, engine, verifier, settings, Progress(Session(), num_problems, progress))
        try:
            await run.label_all(iter(problems))
        finally:
            run.progress.close()
            summary = run.write_summary()
    return summary


async def _prepare(*parts: Any) -> None:
    """Let engine, verifier and search find out what they are, where they need to (the model behind a server)."""
    for part in parts:
        if hasattr(part, "prepare"):
            try:
                await part.prepare()
            except EngineUnavailableError as error:
                raise EngineFailedError(f"{type(part).__name__} is not ready: {error}") from error


def run_identity(search: Search, config: Any, engine: RolloutEngine, verifier: Verifier, seed: int) -> dict[str, Any]:
    """What makes a run, as `run.json` holds it; results of different ones are never mixed.

    Raises:
        ValueError: if the search is a callable without a name or an `identity`.
    """
    if not hasattr(search, "identity") and not hasattr(search, "__qualname__"):
        raise ValueError(
            f"The search is a {type(search).__name__} without a name. A run is known by its search; give the callable "
            "an `identity` attribute that tells all its settings."
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "search": search.identity if hasattr(search, "identity") else f"{search.__module__}.{search.__qualname__}",
        "config": dataclasses.asdict(config),
        "engine": engine.identity,
        "verifier": getattr(verifier, "identity", type(verifier).__qualname__),
        "seed": seed,
    }


def _check_ids(problems: Sequence[Problem]) -> None:
    """A list is checked before anything is paid for."""
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise _repeated_id(problem.id)
        seen.add(problem.id)


def _repeated_id(problem_id: str) -> ValueError:
    return ValueError(
        f"Problem id {problem_id!r} appears twice. Trees name their problem by id; make the ids distinct."
    )


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What a run is to do, apart from engine, verifier and folder."""

    search: Search
    config: Any
    seed: int
    max_in_flight: int
    max_undecided: float
    tolerance: FaultTolerance


class _Run:
    """One session: which problems are asked for, and what became of them."""

    def __init__(
        self, folder: RunFolder, engine: RolloutEngine, verifier: Verifier, settings: _Settings, progress: Progress
    ) -> None:
        self.folder, self.engine, self.verifier, self.settings = folder, engine, verifier, settings
        self.progress, self.session = progress, progress.session
        self.gate = EngineGate(engine, settings.tolerance, self._on_answer)
        shares = {key: (facts.num_undecided, facts.num_complete) for key, facts in folder.trees.items()}
        self.health = RunHealth(shares, settings.max_undecided)
        for key, cost in folder.costs.items():
            self.health.note_judged(key, cost.get("num_solutions_undecided", 0), cost.get("num_solutions_judged", 0))
        self.problems: dict[str, str | None] = {}  # id -> key, in order; None where a figure cannot be read
        self._id_of_key: dict[str, str] = {}  # of equal problems the first
        self._num_resumed = self._num_duplicates = 0
        self._num_failed_by_judge = 0  # without a tree in between
        self._to_retry: list[Problem] = []  # failed by the engine's fault in this pass
        self._taking = asyncio.Lock()
        self._engine_retries_before = self._engine_retries()
        self._summary_written = time.monotonic()

    async def label_all(self, source: Iterator[Problem]) -> None:
        """Search all problems; those that the engine failed are searched again as long as it answers."""
        await self._work_off(lambda: self._take_new(source))
        num_answers = -1
        while self._to_retry and self.session.num_requests > num_answers:
            again, self._to_retry, num_answers = iter(self._to_retry), [], self.session.num_requests
            await self._work_off(lambda again=again: self._take_again(again))
        self.health.check_undecided()
        self.health.check_judged()
        if self.problems and not any(key in self.folder.trees for key in self.problems.values()):
            raise self.health.nothing_labelled()
        self.folder.put_in_order(list(self.problems.items()))
        if self.folder.failures:
            row = next(iter(self.folder.failures.values()))
            logger.warning(
                "%d problems have no tree (failures.jsonl; the next run tries them again), such as %s: %s",
                len(self.folder.failures),
                row["problem_id"],
                row["reason"],
            )

    async def _work_off(self, take: Callable[[], Awaitable[Problem | None]]) -> None:
        """Keep `max_in_flight` searches going until there is no further problem."""

        async def work() -> None:
            while (problem := await take()) is not None:
                await self._label(problem)

        workers = [asyncio.create_task(work()) for _ in range(self.settings.max_in_flight)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _take_again(self, source: Iterator[Problem]) -> Problem | None:
        return next(source, None)

    async def _take_new(self, source: Iterator[Problem]) -> Problem | None:
        """The next problem that needs a search. Keys are taken in order, so the first of equal ones is labelled."""
        async with self._taking:
            while True:
                problem, key, error = await asyncio.to_thread(_next_with_key, source)  # reads and decodes figures
                if problem is None:
                    return None
                if problem.id in self.problems:
                    raise _repeated_id(problem.id)
                self.problems[problem.id] = key
                if key is None:
                    self._fail(problem, None, error)
                elif key in self._id_of_key:
                    self._num_duplicates += 1
                    self.progress.skip()
                    logger.info("Problem %s equals %s: labelled once.", problem.id, self._id_of_key[key])
                elif key in self.folder.trees:
                    self._id_of_key[key] = problem.id
                    self._num_resumed += 1
                    self.progress.skip()
                    self.folder.journal_path(key).unlink(missing_ok=True)  # a kill came between tree and deletion
                else:
                    self._id_of_key[key] = problem.id
                    if self.folder.failed_before.get(key) == RequestFailedError.__name__:
                        self.gate.expect_failure(problem.id)
                    return problem

    async def _label(self, problem: Problem) -> None:
        """Search one problem, and put what came of it on disk."""
        key, settings = self.problems[problem.id], self.settings
        header = {"schema_version": SCHEMA_VERSION, "problem_key": key, "run": self.folder.run_hash}
        journal = ProblemJournal(self.folder.journal_path(key), header)
        engine = JournaledEngine(journal, self.engine.identity, self.gate.ask)
        verifier = JournaledVerifier(journal, self.verifier)
        search = settings.search
        if hasattr(search, "journaled"):  # it asks more than engine and verifier
            search = search.journaled(journal)
        rng = random.Random(content_hash(settings.seed, key))
        try:
            tree = await search(problem, engine, verifier, settings.config, rng)
            num_complete = tree.num_rollouts - tree.num_incomplete
            if tree.num_undecided > settings.max_undecided * num_complete:
                raise ProblemUndecidedError(problem.id, tree.num_undecided, num_complete, settings.max_undecided)
            self.health.check_problem_judged(problem.id, journal.costs)
        except RunStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 (the one recording boundary: a reason, not a crash)
            self._fail(problem, journal, error)
            return
        cost = ledger_row(problem.id, key, "tree", journal, tree.num_undecided)
        self.folder.add_tree(dataclasses.replace(tree, problem_key=key), cost)
        journal.delete()
        self.session.num_trees += 1
        self._num_failed_by_judge = 0
        self.progress.advance()
        self.health.add_tree(key, tree.num_undecided, num_complete)
        self.health.note_judged(key, cost["num_solutions_undecided"], cost["num_solutions_judged"])
        self.health.check_judged(MIN_FOR_SHARE)

    def _fail(self, problem: Problem, journal: ProblemJournal | None, error: Exception) -> None:
        """Record a problem without a tree; its journal stays."""
        if problem.id not in self.folder.failures:
            self.progress.advance()
        key = self.problems[problem.id]
        cost = None
        if journal is not None:
            cost = ledger_row(problem.id, key, type(error).__name__, journal, undecided_counts(error)[0])
        self.folder.add_failure(problem.id, key, error, cost)
        if isinstance(error, RequestFailedError):
            self._to_retry.append(problem)
        if isinstance(error, EngineUnavailableError):  # not of the engine, whose faults are told apart: of a judge
            self._num_failed_by_judge += 1
            if self._num_failed_by_judge >= self.settings.tolerance.max_engine_failures:
                raise EngineFailedError(
                    f"{self._num_failed_by_judge} problems failed with no tree in between, last with {error} Start the "
                    "run again when the server is back: no rollout is paid for twice."
                ) from error
        self.health.add_failure(problem.id, key, error, journal)

    def _on_answer(self, rollouts: tuple[Rollout, ...]) -> None:
        self.session.add_answer(rollouts)
        self.progress.answered()
        if time.monotonic() - self._summary_written >= _SUMMARY_SECONDS:
            self.write_summary()

    def _engine_retries(self) -> int:
        return getattr(self.engine, "usage", {}).get("retries", 0)

    def write_summary(self) -> LabelSummary:
        """Write the ledger as things stand."""
        num_retries = self.gate.num_retries + self._engine_retries() - self._engine_retries_before
        sessions = (*self.folder.past_sessions, self.session.to_dict(num_retries))
        summary = LabelSummary(
            num_problems=len(self.problems),
            num_trees=sum(key in self.folder.trees for key in self._id_of_key),
            num_failed=len(self.folder.failures),
            num_duplicates=self._num_duplicates,
            num_resumed=self._num_resumed,
            num_mixed=sum(facts.is_mixed for facts in self.folder.trees.values()),
            **total_costs(self.folder.costs.values()),
            seconds=round(sum(session["seconds"] for session in sessions), 3),
            sessions=sessions,
        )
        write_json(self.folder.summary_path, dataclasses.asdict(summary))
        self._summary_written = time.monotonic()
        return summary


def _next_with_key(source: Iterator[Problem]) -> tuple[Problem | None, str | None, Exception | None]:
    """The next problem with its key, or with what is wrong with its figures."""
    problem = next(source, None)
    if problem is None:
        return None, None, None
    try:
        return problem, problem_key(problem), None
    except Exception as error:  # noqa: BLE001 (recorded like a failed search: one odd file must not end a long run)
        return problem, None, ProblemInputError(problem.id, str(error))


__all__ = [
    "EngineFailedError",
    "FaultTolerance",
    "FolderInUseError",
    "LabelSummary",
    "NothingLabelledError",
    "ProblemUndecidedError",
    "RequestFailedError",
    "RunStoppedError",
    "StorageFailedError",
    "TooManyUndecidedError",
    "label_problems",
    "label_problems_async",
    "read_trees",
]
