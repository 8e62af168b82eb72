"""The folder of a labelling run: who may write to it, and what is finished.

Files: ``run.json`` (what made it), ``trees.jsonl`` (one tree a line), ``failures.jsonl`` (problems without a tree, with
the reason), ``ledger.jsonl`` (one row of costs per problem), ``summary.json`` (their sum), ``journal/`` (answers to
unfinished problems). During a run lines are appended; at its end they are put in the order of the problems.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import SCHEMA_VERSION, SearchTree, content_hash
from ..errors import is_number
from ..files import (
    append_line,
    check_same_settings,
    json_line,
    lock_folder,
    open_log,
    read_json,
    read_lines,
    read_records,
    sealed,
    to_json,
    write_atomically,
    write_json,
    write_jsonl,
)
from .labels import is_mixed
from .ledger import COSTS


@dataclasses.dataclass(frozen=True)
class TreeFacts:
    """What a run remembers of a tree; the tree itself stays on disk."""

    problem_id: str
    start: int  # of its line in trees.jsonl, in bytes
    length: int
    num_complete: int  # rollouts
    num_undecided: int  # complete rollouts without a verdict
    is_mixed: bool  # its root estimate lies strictly between 0 and 1

    @classmethod
    def from_tree(cls, tree: SearchTree, start: int, length: int) -> TreeFacts:
        """Return the facts of a tree whose line lies at `start`."""
        num_complete = tree.num_rollouts - tree.num_incomplete
        return cls(tree.problem_id, start, length, num_complete, tree.num_undecided, is_mixed(tree))


notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


class RunFolder:
    """A locked run folder, created if absent; leave its `with` block to release it.

    Raises:
        FolderInUseError: if another process holds it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        (self.path / "journal").mkdir(parents=True, exist_ok=True)
        self._trees_path, self._failures_path = self.path / "trees.jsonl", self.path / "failures.jsonl"
        self._ledger_path, self.summary_path = self.path / "ledger.jsonl", self.path / "summary.json"
        self.run_hash = ""  # of run.json
        self.trees: dict[str, TreeFacts] = {}  # by problem key
        self.costs: dict[str, dict[str, Any]] = {}  # ledger rows by problem key
        self.failures: dict[str, dict[str, Any]] = {}  # of this session, by problem id
        self.failed_before: dict[str, str] = {}  # names of errors by problem key, in earlier sessions
        self.past_sessions: list[dict[str, Any]] = []  # as in summary.json
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock_folder(self.path))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    def saved_identity(self) -> dict[str, Any]:
        """Return what ``run.json`` holds; {} for a new folder."""
        path = self.path / "run.json"
        saved = read_json(path) if path.exists() else {}
        return saved if isinstance(saved, dict) else {}

    def open_run(self, run: Mapping[str, Any]) -> None:
        """Claim the folder for a run, repair what an interrupted run left, and read what is finished.

        Raises:
            ValueError: if the folder was made with other settings, or a line inside a file is broken.
        """
        path = self.path / "run.json"
        if path.exists():
            check_same_settings(path, read_json(path), run)
        else:
            write_json(path, run)
        self.run_hash = content_hash(json.loads(to_json(run)))
        for path in (self._trees_path, self._failures_path, self._ledger_path):
            open_log(path)
        for start, length, tree in _read_trees(self._trees_path):
            if not tree.problem_key:
                raise ValueError(
                    f"The tree of problem {tree.problem_id!r} in {self._trees_path.name} has no problem_key: this "
                    "driver did not write it. Choose another output folder."
                )
            self.trees[tree.problem_key] = TreeFacts.from_tree(tree, start, length)
        if self.trees:
            notes.info("Resuming %s: its %d searched problems are not searched again.", self.path, len(self.trees))
        self.costs = {row["problem_key"]: row for row in _cost_rows(self._ledger_path)}
        failures = read_records(self._failures_path, "problem_id", "problem_key", "error")
        self.failed_before = {row["problem_key"]: row["error"] for row in failures}
        if self.summary_path.exists():
            self.past_sessions = _sessions(read_json(self.summary_path), self.summary_path)

    def journal_path(self, problem_key: str) -> Path:
        """Return the file for an unfinished problem's answers."""
        return self.path / "journal" / f"{problem_key}.jsonl"

    def add_tree(self, tree: SearchTree, cost: Mapping[str, Any]) -> None:
        """Put a finished tree on disk for good, after its ledger row (a row without a tree is written again)."""
        append_line(self._ledger_path, sealed(cost))
        start = self._trees_path.stat().st_size
        length = append_line(self._trees_path, sealed(tree.to_dict()), sync=True)
        self.costs[tree.problem_key] = dict(cost)
        self.trees[tree.problem_key] = TreeFacts.from_tree(tree, start, length)
        self.failures.pop(tree.problem_id, None)

    def add_failure(
        self, problem_id: str, problem_key: str | None, error: Exception, cost: Mapping[str, Any] | None
    ) -> None:
        """Record why a problem has no tree, and what it cost nevertheless."""
        reason = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
        row = {"problem_id": problem_id, "problem_key": problem_key, "error": type(error).__name__, "reason": reason}
        append_line(self._failures_path, sealed(row))
        self.failures[problem_id] = row
        if cost is not None:
            append_line(self._ledger_path, sealed(cost))
            self.costs[cost["problem_key"]] = dict(cost)

    def put_in_order(self, problems: Mapping[str, str | None]) -> None:
        """Sort the files by problem, ids with their keys; rows of other problems follow in their old order.

        A tree whose problem has another id now gets the new one.
        """
        ids: dict[str, str] = {}  # by key, of equal problems the first one's
        for problem_id, key in problems.items():
            if key is not None:
                ids.setdefault(key, problem_id)
        order = [*(key for key in ids if key in self.trees), *(key for key in self.trees if key not in ids)]
        renamed = {key: ids[key] for key in order if key in ids and self.trees[key].problem_id != ids[key]}
        starts = [self.trees[key].start for key in order]
        size = sum(self.trees[key].length for key in order)
        if renamed or starts != sorted(starts) or size != self._trees_path.stat().st_size:
            write_atomically(self._trees_path, self._tree_lines(order, renamed))
        rows = {row["problem_id"]: row for _, _, row in read_lines(self._failures_path)}
        others = [row for problem_id, row in rows.items() if problem_id not in problems]
        failures = [self.failures[problem_id] for problem_id in problems if problem_id in self.failures]
        write_jsonl(self._failures_path, map(sealed, [*failures, *others]))
        keys = [*(key for key in ids if key in self.costs), *(key for key in self.costs if key not in ids)]
        write_jsonl(self._ledger_path, [sealed(self.costs[key]) for key in keys])

    def _tree_lines(self, order: Sequence[str], renamed: Mapping[str, str]) -> Iterator[bytes]:
        with self._trees_path.open("rb") as file:
            for key in order:
                file.seek(self.trees[key].start)
                line = file.read(self.trees[key].length)
                if key in renamed:
                    line = json_line(sealed({**json.loads(line), "problem_id": renamed[key]}))
                yield line


@dataclasses.dataclass(frozen=True)
class TreeFile:
    """The trees of a ``trees.jsonl`` file, in file order, one in memory at a time; it can be iterated again.

    Raises:
        ValueError: during iteration, if a line is not a tree of this schema version; the line number is named.
    """

    path: str | Path

    def __iter__(self) -> Iterator[SearchTree]:
        return (tree for _, _, tree in _read_trees(Path(self.path)))


def _read_trees(path: Path) -> Iterator[tuple[int, int, SearchTree]]:
    for number, (start, length, row) in enumerate(read_lines(path), start=1):
        try:
            tree = SearchTree.from_dict(row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"Line {number} of {path.name} is not a search tree of schema {SCHEMA_VERSION} ({error}). Remove the "
                "broken line and start the run again."
            ) from error
        _check_nodes(tree, f"line {number} of {path.name}")
        yield start, length, tree


def _sessions(summary: Any, path: Path) -> list[dict[str, Any]]:
    """The sessions of a summary; ValueError if it has none."""
    sessions = summary.get("sessions") if isinstance(summary, dict) else None
    if not isinstance(sessions, list) or not all(
        isinstance(row, dict) and _is_cost(row.get("seconds")) for row in sessions
    ):
        raise ValueError(
            f"{path} has no list of sessions with their seconds: no run wrote it. Restore it, or delete it and start "
            "again."
        )
    return sessions


def _cost_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a ledger; ValueError for one that does not count."""
    for number, row in enumerate(read_records(path, "problem_key"), start=1):
        faults = row.get("faults", {})
        costs = [*(row.get(name, 0) for name in COSTS), *(faults.values() if isinstance(faults, dict) else ["none"])]
        if not all(map(_is_cost, costs)):
            raise ValueError(
                f"Line {number} of {path} has costs that are not counts: no run wrote it. Restore the file, or delete "
                "the line."
            )
        yield row


def _is_cost(value: Any) -> bool:
    return is_number(value) and 0 <= value < float("inf")


def _check_nodes(tree: SearchTree, where: str) -> None:
    """Refuse a tree whose nodes are not those that its ids were made of.

    A tree whose problem got another id since has ids of the old one: then none matches, and they are not checked.
    """
    prefixes: list[tuple[str, ...]] = []
    is_own: list[bool] = []
    for index, node in enumerate(tree.nodes):
        if (node.parent is None) != (index == 0) or not 0 <= (node.parent or 0) < max(index, 1):
            raise ValueError(
                f"Node {index} in {where} has the parent {node.parent}; parents come before their children, and node 0 "
                "alone has none. Restore the file, or remove the line and start the run again."
            )
        prefixes.append((*(() if node.parent is None else prefixes[node.parent]), *node.steps))
        key = (tree.problem_id, list(prefixes[-1]))
        is_own.append(node.id == content_hash(*key) or node.id == content_hash(*key, index))
    if any(is_own) and not all(is_own):
        index = is_own.index(False)
        raise ValueError(
            f"Node {index} in {where} (problem {tree.problem_id!r}) has an id that its steps do not have: they were "
            "changed after the tree was written. Restore the file, or remove the line and start the run again."
        )
