"""Runs a search over many problems: concurrency on one engine, resume, files, ledger.

Files of a run folder: ``run.json`` (what made it), ``trees.jsonl`` (one tree per line), ``failures.jsonl``
(problems without a tree, with the reason; tried again by the next run), ``summary.json`` (the ledger).
An interrupted run that is started again ends with the same bytes in ``trees.jsonl`` as an uninterrupted one,
as far as the engine's rollouts depend on the request alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.data import SCHEMA_VERSION, Problem, Rollout, SearchTree, Verdict, content_hash
from mmprm_hf.engines import ProblemInputError, RolloutEngine, RolloutRequest
from mmprm_hf.labelling.omegaprm import NothingJudgedError, Verifier

Search = Callable[[Problem, RolloutEngine, Verifier, Any, random.Random], Awaitable[SearchTree]]
_Waiting = tuple[list[RolloutRequest], asyncio.Future]

# The share of undecided rollouts is not judged on fewer than this while the run goes on (it is at its end).
_MIN_ROLLOUTS_FOR_SHARE = 200


class EngineFailedError(RuntimeError):
    """The engine itself failed: the run stops, trees written so far stay, and the next run goes on from there."""


class TooManyUndecidedError(RuntimeError):
    """The verifier leaves more undecided than the run allows: labels from the rest would be a biased choice."""


@dataclasses.dataclass(frozen=True)
class LabelSummary:
    """The ledger of a run folder.

    Args:
        num_problems, num_trees, num_failed: Problems asked for, with a tree, without one.
        num_resumed: Trees that an earlier run had written.
        num_mixed: Trees whose root estimate lies strictly between 0 and 1 (these give label rows).
        num_rollouts, num_tokens, num_undecided, num_incomplete: Over all trees of the folder.
        num_verifier_calls, seconds: Of this run alone.
    """

    num_problems: int
    num_trees: int
    num_failed: int
    num_resumed: int
    num_mixed: int
    num_rollouts: int
    num_tokens: int
    num_undecided: int
    num_incomplete: int
    num_verifier_calls: int
    seconds: float


class BatchingEngine:
    """Front that joins the requests of concurrent searches into one `generate` call of the engine behind it.

    A call goes out when every live search waits for one, or `max_batch_rollouts` are wanted. Each search keeps its
    own seeds, so what travels together does not matter. A problem at fault fails alone; the others are sent again.

    Args:
        engine: The engine behind.
        num_searches: Searches that live now; each says `leave` at its end.
        max_batch_rollouts: Send once this many rollouts are wanted.
        on_rollouts: Told the number of rollouts of each answer.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        num_searches: int,
        max_batch_rollouts: int = 4096,
        on_rollouts: Callable[[int], None] = lambda num_rollouts: None,
    ) -> None:
        self.identity = engine.identity
        self._engine, self._num_searches, self._on_rollouts = engine, num_searches, on_rollouts
        self._max_batch_rollouts = max_batch_rollouts
        self._waiting: list[_Waiting] = []
        self._num_in_engine = 0  # calls sent on and not answered yet
        self._tasks: set[asyncio.Task[None]] = set()

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        """Return the rollouts of these requests, in order, from a call shared with other searches."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((list(requests), future))
        self._send_if_due()
        return await future

    def leave(self) -> None:
        """One search has ended: nobody needs to wait for it."""
        self._num_searches -= 1
        self._send_if_due()

    def _send_if_due(self) -> None:
        self._waiting = [(requests, future) for requests, future in self._waiting if not future.done()]  # cancelled
        num_rollouts = sum(request.num_samples for requests, _ in self._waiting for request in requests)
        is_due = (
            len(self._waiting) + self._num_in_engine >= self._num_searches or num_rollouts >= self._max_batch_rollouts
        )
        if self._waiting and is_due:
            task = asyncio.create_task(self._send(self._waiting))
            self._num_in_engine += len(self._waiting)
            self._waiting = []
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, waiting: list[_Waiting]) -> None:
        while waiting:
            try:
                answers = await self._answers([request for requests, _ in waiting for request in requests])
            except ProblemInputError as error:
                is_bad = [any(r.problem.id == error.problem_id for r in requests) for requests, _ in waiting]
                if not any(is_bad):
                    is_bad = [True] * len(waiting)
                at_fault = [pair for pair, bad in zip(waiting, is_bad, strict=True) if bad]
                waiting = [pair for pair, bad in zip(waiting, is_bad, strict=True) if not bad]
                self._settle(at_fault, error)
                continue
            except Exception as error:  # noqa: BLE001 (whatever an engine raises must reach those who wait for it)
                failure = EngineFailedError(f"The engine failed with {type(error).__name__}: {error}")
                failure.__cause__ = error
                self._settle(waiting, failure)
                return
            self._on_rollouts(sum(map(len, answers)))
            self._settle(waiting, answers)
            return

    def _settle(self, waiting: list[_Waiting], outcome: list[tuple[Rollout, ...]] | Exception) -> None:
        """Give each call its share of the answers, or the error."""
        self._num_in_engine -= len(waiting)
        start = 0
        for requests, future in waiting:
            end = start + len(requests)
            if not future.done():
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome[start:end])
            start = end

    async def _answers(self, requests: list[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        answers = await self._engine.generate(requests)
        wanted, found = [request.num_samples for request in requests], [len(rollouts) for rollouts in answers]
        if wanted != found:
            raise ValueError(
                f"asked for {wanted} rollouts per request and got {found}; an engine answers every request"
            )
        return answers


class _CountingVerifier:
    """Passes questions on and counts them."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.num_calls = 0

    async def judge(self, problem: Problem, answer: str | None) -> Verdict:
        self.num_calls += 1
        return await self._verifier.judge(problem, answer)


def label_problems(
    problems: Sequence[Problem],
    engine: RolloutEngine,
    verifier: Verifier,
    search: Search,
    config: Any,
    output_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    max_in_flight: int = 64,
    max_undecided: float = 0.2,
    progress: bool = True,
) -> LabelSummary:
    """Search every problem that has no tree yet in `output_dir`, and return the folder's ledger.

    A problem's randomness comes from `seed` and its id alone. A problem that fails is recorded with its reason and
    tried again by the next run; a failing engine stops the run.

    Args:
        problems: Problems with distinct ids; `trees.jsonl` ends in their order.
        engine, verifier: What writes and what judges.
        search: `omegaprm.search`, `flat_mc.search`, or another function with that signature.
        config: The search's frozen dataclass.
        output_dir: The run folder, made if absent.
        seed: Seed of the run.
        max_in_flight: Problems searched at a time; their requests travel in shared engine calls.
        max_undecided: In [0, 1]; the most complete rollouts, as a share, that may stay without a verdict.
        progress: Show a progress bar with rollouts per second.

    Raises:
        ValueError: if ids repeat, a limit is out of range, or the folder was made by another run configuration.
        TooManyUndecidedError: if more than `max_undecided` of the complete rollouts have no verdict.
        EngineFailedError: if the engine raised anything but `ProblemInputError`.
    """
    _check_arguments(problems, max_in_flight, max_undecided)
    run = {
        "schema_version": SCHEMA_VERSION,
        "search": f"{search.__module__}.{search.__qualname__}",
        "config": dataclasses.asdict(config),
        "engine": engine.identity,
        "verifier": type(verifier).__qualname__,
        "seed": seed,
    }
    started = time.monotonic()
    journal = _Journal(Path(output_dir), run, max_undecided)
    todo = [problem for problem in problems if problem.id not in journal.trees]
    num_resumed = len(problems) - len(todo)
    counting = _CountingVerifier(verifier)
    with journal, _progress_bar(len(problems), num_resumed, progress) as bar:
        asyncio.run(_search_all(todo, engine, counting, search, config, seed, max_in_flight, journal, bar))
        journal.check_undecided(min_rollouts=1)
    journal.rewrite_in_order([problem.id for problem in problems])
    summary = journal.summary([problem.id for problem in problems], num_resumed, counting.num_calls, started)
    _write_atomically(journal.folder / "summary.json", _dump(dataclasses.asdict(summary), indent=2) + "\n")
    return summary


async def _search_all(
    problems: Sequence[Problem],
    engine: RolloutEngine,
    verifier: Verifier,
    search: Search,
    config: Any,
    seed: int,
    max_in_flight: int,
    journal: _Journal,
    bar: Any,
) -> None:
    """Keep `max_in_flight` searches going until all problems have a tree or a failure."""
    started, num_rollouts = time.monotonic(), 0

    def show_rate(num_new: int) -> None:
        nonlocal num_rollouts
        num_rollouts += num_new
        bar.set_postfix_str(f"{num_rollouts / max(time.monotonic() - started, 1e-9):.0f} rollouts/s")

    num_workers = min(max_in_flight, len(problems))
    front = BatchingEngine(engine, num_workers, on_rollouts=show_rate)
    queue = iter(problems)

    async def work() -> None:
        try:
            for problem in queue:
                rng = random.Random(content_hash(seed, problem.id))
                try:
                    journal.add_tree(await search(problem, front, verifier, config, rng))
                except (EngineFailedError, TooManyUndecidedError):
                    raise
                except Exception as error:  # noqa: BLE001 (the one recording boundary: a reason, not a crash)
                    journal.add_failure(problem.id, error)
                bar.update()
        finally:
            front.leave()

    workers = [asyncio.create_task(work()) for _ in range(num_workers)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


class _Journal:
    """The run folder: what is done, appended line by line, and put in order at the end."""

    def __init__(self, folder: Path, run: dict[str, Any], max_undecided: float) -> None:
        self.folder, self.max_undecided = folder, max_undecided
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder / "run.json", run)
        self.trees_path, self.failures_path = folder / "trees.jsonl", folder / "failures.jsonl"
        _drop_torn_line(self.trees_path)
        self.trees = {tree.problem_id: _Facts.of(tree) for tree in _iter_trees(self.trees_path)}
        self.failures: dict[str, dict[str, str]] = {}
        # Counts behind the undecided share; failed problems count too, though they have no tree.
        self.num_undecided = sum(facts.num_undecided for facts in self.trees.values())
        self.num_complete = sum(facts.num_rollouts - facts.num_incomplete for facts in self.trees.values())

    def __enter__(self) -> _Journal:
        self._trees_file = self.trees_path.open("a", encoding="utf-8")
        self._failures_file = self.failures_path.open("w", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self._trees_file.close()
        self._failures_file.close()

    def add_tree(self, tree: SearchTree) -> None:
        _append(self._trees_file, _dump(tree.to_dict()))
        facts = self.trees[tree.problem_id] = _Facts.of(tree)
        self.num_undecided += facts.num_undecided
        self.num_complete += facts.num_rollouts - facts.num_incomplete
        self.check_undecided(_MIN_ROLLOUTS_FOR_SHARE)

    def add_failure(self, problem_id: str, error: Exception) -> None:
        row = {"problem_id": problem_id, "error": type(error).__name__, "reason": str(error)}
        _append(self._failures_file, _dump(row))
        self.failures[problem_id] = row
        if isinstance(error, NothingJudgedError):
            self.num_undecided += error.num_undecided
            self.num_complete += error.num_undecided
            self.check_undecided(_MIN_ROLLOUTS_FOR_SHARE)

    def check_undecided(self, min_rollouts: int) -> None:
        """Raise if too large a share of the complete rollouts has no verdict."""
        if self.num_complete >= min_rollouts and self.num_undecided > self.max_undecided * self.num_complete:
            raise TooManyUndecidedError(
                f"{self.num_undecided} of {self.num_complete} complete rollouts have no verdict, above max_undecided="
                f"{self.max_undecided}. Labels from the rest would be a biased choice; check the verifier and the gold "
                f"answers (reasons in {self.failures_path.name}), or raise max_undecided, then start the run again."
            )

    def rewrite_in_order(self, problem_ids: Sequence[str]) -> None:
        """Put trees (and failures) in the order of the problems; trees of other problems follow."""
        lines: dict[str, bytes] = {}
        with self.trees_path.open("rb") as file:
            for line in file:
                lines[json.loads(line)["problem_id"]] = line
        order = [*(i for i in problem_ids if i in lines), *sorted(lines.keys() - set(problem_ids))]
        _write_atomically(self.trees_path, (lines[problem_id] for problem_id in order))
        rows = [self.failures[problem_id] for problem_id in problem_ids if problem_id in self.failures]
        _write_atomically(self.failures_path, "".join(_dump(row) + "\n" for row in rows))

    def summary(
        self, problem_ids: Sequence[str], num_resumed: int, num_verifier_calls: int, started: float
    ) -> LabelSummary:
        """The ledger."""
        facts = list(self.trees.values())
        return LabelSummary(
            num_problems=len(problem_ids),
            num_trees=sum(problem_id in self.trees for problem_id in problem_ids),
            num_failed=len(self.failures),
            num_resumed=num_resumed,
            num_mixed=sum(row.is_mixed for row in facts),
            num_rollouts=sum(row.num_rollouts for row in facts),
            num_tokens=sum(row.num_tokens for row in facts),
            num_undecided=sum(row.num_undecided for row in facts),
            num_incomplete=sum(row.num_incomplete for row in facts),
            num_verifier_calls=num_verifier_calls,
            seconds=round(time.monotonic() - started, 3),
        )


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What the ledger needs of a tree (the tree itself stays on disk)."""

    num_rollouts: int
    num_tokens: int
    num_undecided: int
    num_incomplete: int
    is_mixed: bool

    @classmethod
    def of(cls, tree: SearchTree) -> _Facts:
        num_tokens = sum(rollout.num_tokens for _, rollout in tree.rollouts)
        is_mixed = 0 < tree.nodes[0].num_correct < tree.nodes[0].num_decided
        return cls(tree.num_rollouts, num_tokens, tree.num_undecided, tree.num_incomplete, is_mixed)


def read_trees(path: str | os.PathLike[str]) -> list[SearchTree]:
    """Return the trees of a ``trees.jsonl`` file, or of a run folder, in file order.

    Raises:
        ValueError: if a line is no tree of this schema version (the line number is named).
    """
    path = Path(path)
    return list(_iter_trees(path / "trees.jsonl" if path.is_dir() else path))


def _iter_trees(path: Path) -> Iterator[SearchTree]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield SearchTree.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"Line {number} of {path.name} is not a search tree ({error}). Only the last line may be torn; "
                    "remove the broken line and start the run again."
                ) from error


def _check_arguments(problems: Sequence[Problem], max_in_flight: int, max_undecided: float) -> None:
    if max_in_flight < 1:
        raise ValueError(f"Found max_in_flight={max_in_flight}; at least one problem must be in flight.")
    if not 0 <= max_undecided <= 1:
        raise ValueError(f"Found max_undecided={max_undecided}; it is a share and lies in [0, 1].")
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise ValueError(f"Problem id {problem.id!r} appears twice. Trees are kept by id; make the ids distinct.")
        seen.add(problem.id)


def _claim(path: Path, run: dict[str, Any]) -> None:
    """Write what makes this run, or refuse a folder that another configuration made."""
    if not path.exists():
        _write_atomically(path, _dump(run, indent=2) + "\n")
        return
    found, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(_dump(run))
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        details = "; ".join(f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} now" for key in differing)
        raise ValueError(
            f"The folder {path.parent.name!r} holds trees of another run ({details}). Trees of different runs are not "
            "mixed; choose another output_dir, or go back to the settings in its run.json."
        )


def _drop_torn_line(path: Path) -> None:
    """Cut a last line that an interrupted write left without its end; make the file if absent."""
    path.touch()
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _append(file: Any, line: str) -> None:
    """One line in one write, on disk before the next."""
    file.write(line + "\n")
    file.flush()


def _write_atomically(path: Path, content: str | Iterator[bytes]) -> None:
    """Replace a file as a whole: readers see the old content or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.writelines([content.encode("utf-8")] if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _dump(row: Any, indent: int | None = None) -> str:
    return json.dumps(row, ensure_ascii=False, indent=indent)


def _progress_bar(num_problems: int, num_done: int, is_shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=num_problems, initial=num_done, disable=not is_shown, desc="label", unit="problem")
