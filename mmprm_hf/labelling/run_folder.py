"""The folder of a labelling run: who may write to it, and what is finished.

Files: ``run.json`` (what made it), ``trees.jsonl`` (one tree a line), ``failures.jsonl`` (problems without a tree, with
the reason), ``ledger.jsonl`` (one row of costs per problem), ``summary.json`` (their sum), ``journal/`` (answers to
unfinished problems). While a run goes on lines are appended; at its end they are put in the order of the problems.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import SCHEMA_VERSION, SearchTree, content_hash
from ..files import (
    append_line,
    check_same_settings,
    drop_torn_line,
    json_line,
    lock_folder,
    read_json,
    read_lines,
    to_json,
    write_atomically,
    write_json,
    write_jsonl,
)


@dataclasses.dataclass(frozen=True)
class TreeFacts:
    """What a run remembers of a tree (the tree itself stays on disk).

    Args:
        problem_id: The id that stands in it.
        start, length: Its line's place in `trees.jsonl`, in bytes.
        num_complete, num_undecided: Complete rollouts; those of them without a verdict.
        is_mixed: Whether its root estimate lies strictly between 0 and 1.
    """

    problem_id: str
    start: int
    length: int
    num_complete: int
    num_undecided: int
    is_mixed: bool

    @classmethod
    def of(cls, tree: SearchTree, start: int, length: int) -> TreeFacts:
        is_mixed = 0 < tree.nodes[0].num_correct < tree.nodes[0].num_decided
        num_complete = tree.num_rollouts - tree.num_incomplete
        return cls(tree.problem_id, start, length, num_complete, tree.num_undecided, is_mixed)


class RunFolder:
    """A locked run folder; close it (or leave its `with` block) to give it back.

    Args:
        folder: Made if absent.

    Raises:
        FolderInUseError: if another process holds it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        (self.path / "journal").mkdir(parents=True, exist_ok=True)
        self.trees_path, self.failures_path = self.path / "trees.jsonl", self.path / "failures.jsonl"
        self.ledger_path, self.summary_path = self.path / "ledger.jsonl", self.path / "summary.json"
        self.run_hash = ""
        self.trees: dict[str, TreeFacts] = {}  # by problem key
        self.costs: dict[str, dict[str, Any]] = {}  # ledger rows by problem key
        self.failures: dict[str, dict[str, Any]] = {}  # of this session, by problem id
        self.failed_before: dict[str, str] = {}  # names of errors by problem key, of earlier sessions
        self.past_sessions: list[dict[str, Any]] = []
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock_folder(self.path))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    def open_run(self, run: Mapping[str, Any]) -> None:
        """Claim the folder for a run, repair what an interrupted one left, and read what is finished.

        Raises:
            ValueError: if another configuration made the folder, or a line inside a file is broken.
        """
        path = self.path / "run.json"
        if path.exists():
            check_same_settings(self.path, read_json(path), run)
        else:
            write_json(path, run)
        self.run_hash = content_hash(json.loads(to_json(run)))
        for path in (self.trees_path, self.failures_path, self.ledger_path):
            drop_torn_line(path)
        for start, length, tree in _read_trees(self.trees_path):
            if not tree.problem_key:
                raise ValueError(
                    f"The tree of problem {tree.problem_id!r} in {self.trees_path.name} has no problem_key: this "
                    "driver did not write it. Choose another output_dir."
                )
            self.trees[tree.problem_key] = TreeFacts.of(tree, start, length)
        self.costs = {row["problem_key"]: row for _, _, row in read_lines(self.ledger_path)}
        self.failed_before = {row["problem_key"]: row["error"] for _, _, row in read_lines(self.failures_path)}
        if self.summary_path.exists():
            self.past_sessions = read_json(self.summary_path)["sessions"]

    def journal_path(self, problem_key: str) -> Path:
        """The file of an unfinished problem's answers."""
        return self.path / "journal" / f"{problem_key}.jsonl"

    def add_tree(self, tree: SearchTree, cost: Mapping[str, Any]) -> None:
        """Put a finished tree on disk for good, after its row of costs (a row without a tree is written again)."""
        append_line(self.ledger_path, cost)
        start = self.trees_path.stat().st_size
        length = append_line(self.trees_path, tree.to_dict(), sync=True)
        self.costs[tree.problem_key] = dict(cost)
        self.trees[tree.problem_key] = TreeFacts.of(tree, start, length)
        self.failures.pop(tree.problem_id, None)

    def add_failure(
        self, problem_id: str, problem_key: str | None, error: Exception, cost: Mapping[str, Any] | None
    ) -> None:
        """Record why a problem has no tree, and what it cost all the same."""
        reason = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
        row = {"problem_id": problem_id, "problem_key": problem_key, "error": type(error).__name__, "reason": reason}
        append_line(self.failures_path, row)
        self.failures[problem_id] = row
        if cost is not None:
            append_line(self.ledger_path, cost)
            self.costs[cost["problem_key"]] = dict(cost)

    def put_in_order(self, problems: Sequence[tuple[str, str | None]]) -> None:
        """Sort the files by problem, given as ``(id, key)``; what belongs to other problems follows as it stood.

        A tree whose problem has another id by now takes the new one.
        """
        ids = {problem_id for problem_id, _ in problems}
        id_of: dict[str, str] = {}
        for problem_id, key in problems:
            if key is not None:
                id_of.setdefault(key, problem_id)
        order = [*(key for key in id_of if key in self.trees), *(key for key in self.trees if key not in id_of)]
        renamed = {key: id_of[key] for key in order if key in id_of and self.trees[key].problem_id != id_of[key]}
        starts = [self.trees[key].start for key in order]
        size = sum(self.trees[key].length for key in order)
        if renamed or starts != sorted(starts) or size != self.trees_path.stat().st_size:
            write_atomically(self.trees_path, self._tree_lines(order, renamed))
        found = {row["problem_id"]: row for _, _, row in read_lines(self.failures_path)}
        kept = [row for problem_id, row in found.items() if problem_id not in ids]
        failures = [self.failures[problem_id] for problem_id, _ in problems if problem_id in self.failures]
        write_jsonl(self.failures_path, [*failures, *kept])
        keys = [*(key for key in id_of if key in self.costs), *(key for key in self.costs if key not in id_of)]
        write_jsonl(self.ledger_path, [self.costs[key] for key in keys])

    def _tree_lines(self, order: Sequence[str], renamed: Mapping[str, str]) -> Iterator[bytes]:
        with self.trees_path.open("rb") as file:
            for key in order:
                file.seek(self.trees[key].start)
                line = file.read(self.trees[key].length)
                if key in renamed:
                    line = json_line({**json.loads(line), "problem_id": renamed[key]})
                yield line


@dataclasses.dataclass(frozen=True)
class TreeFile:
    """The trees of a ``trees.jsonl`` file, in file order, one in memory at a time; can be gone through again.

    Args:
        path: The file.

    Raises:
        ValueError: while going through it, if a line is no tree of this schema version (the line number is named).
    """

    path: Path

    def __iter__(self) -> Iterator[SearchTree]:
        return (tree for _, _, tree in _read_trees(self.path))


def read_trees(path: str | os.PathLike[str]) -> list[SearchTree]:
    """Return the trees of a ``trees.jsonl`` file, or of a run folder, in file order.

    Raises:
        ValueError: if a line is no tree of this schema version (the line number is named).
    """
    path = Path(path)
    return [tree for _, _, tree in _read_trees(path / "trees.jsonl" if path.is_dir() else path)]


def _read_trees(path: Path) -> Iterator[tuple[int, int, SearchTree]]:
    for number, (start, length, row) in enumerate(read_lines(path), start=1):
        try:
            yield start, length, SearchTree.from_dict(row)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"Line {number} of {path.name} is not a search tree of schema {SCHEMA_VERSION} ({error}). Remove the "
                "broken line and start the run again."
            ) from error
