"""Merge the ranks of a run into one label folder, as `mmprm label` writes it, with rows and statistics.

    python recipes/label_at_scale/merge.py out/at_scale --config label.yaml

Writes ``labels/`` in the run's folder: trees in the order of the problems, failures, ledger, label rows. Unfinished
ranks can be merged too: problems without a result are counted, and the exit code is 1; merge again when they are done.
Problems are known by content: trees of problems that are not in the dataset (any more) are left out and counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from label import RUN_FILE, read_options
from trove_steps import Run

from mmprm_hf.data import Problem
from mmprm_hf.files import read_json, sealed, unsealed, write_atomically, write_json, write_jsonl
from mmprm_hf.labelling import LabelRowsConfig, LabelSummary
from mmprm_hf.labelling.ledger import total_costs, total_faults
from mmprm_hf.rows import problem_key
from mmprm_hf.stages import write_label_rows

RETRY_OPTION = "--option skip_completed=false"  # starts finished ranks again, too


@dataclasses.dataclass(frozen=True)
class TreeLine:
    """Where the line of a tree is: its file, its first byte and its length."""

    path: Path
    start: int
    length: int
    is_mixed: bool


def whole_lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield ``(start, length, row)`` of each line, without a last one that is still being written."""
    start = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield start, len(line), unsealed(json.loads(line), f"Line {number} of {path}")
            start += len(line)


@dataclasses.dataclass
class Merged:
    """The results of all ranks. Equal problems on several ranks have a tree each; the first problem's tree is kept.

    Args:
        run: The `run.json` of all ranks.
        order: Indices of the problems in the dataset, by id.
        trees, ids: The kept trees, and their problems' ids, by problem key.
        num_trees: All trees, by problem key.
        ids_with_tree: Ids of all problems that have a tree on their rank.
        costs: Ledger rows by problem key, summed over ranks.
        failures: Failures by problem id.
        sessions: Sessions of all ranks.
        num_duplicates: Problems that equal an earlier one on their rank.
    """

    run: dict[str, Any]
    order: Mapping[str, int]
    trees: dict[str, TreeLine] = dataclasses.field(default_factory=dict)
    ids: dict[str, str] = dataclasses.field(default_factory=dict)
    num_trees: Counter[str] = dataclasses.field(default_factory=Counter)
    ids_with_tree: set[str] = dataclasses.field(default_factory=set)
    costs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    num_duplicates: int = 0

    def index(self, problem_id: str) -> int:
        """Return a problem's index; problems that are not in the dataset any more come last."""
        return self.order.get(problem_id, len(self.order))

    def add_tree(self, key: str, problem_id: str, line: TreeLine) -> None:
        """Keep a tree unless an earlier equal problem has one, so that the number of ranks changes nothing."""
        self.num_trees[key] += 1
        self.ids_with_tree.add(problem_id)
        if key not in self.trees or self.index(problem_id) < self.index(self.ids[key]):
            self.trees[key], self.ids[key] = line, problem_id

    def add_cost(self, row: dict[str, Any]) -> None:
        """Add a ledger row to that of an equal problem on another rank; its other fields are the first problem's."""
        before = self.costs.get(row["problem_key"])
        if before is None:
            self.costs[row["problem_key"]] = row
            return
        # A problem with a tree comes before one without: its tree is the one that is kept.
        first, other = sorted(
            (before, row), key=lambda cost: (cost["outcome"] != "tree", self.index(cost["problem_id"]))
        )
        sums = {name: value + other[name] for name, value in first.items() if isinstance(value, (int, float))}
        sums |= {"faults": dict(sorted(total_faults([before, row]).items())), "seconds": round(sums["seconds"], 3)}
        self.costs[row["problem_key"]] = {**first, **sums}

    def drop_unknown(self, problems: Sequence[Problem]) -> int:
        """Drop trees whose problem has left the dataset or has another content now, and return their number."""
        unknown = []
        for key, problem_id in self.ids.items():
            index = self.order.get(problem_id)
            try:
                is_known = index is not None and problem_key(problems[index]) == key
            except ValueError:  # its figure cannot be read any more
                is_known = False
            if not is_known:
                unknown.append(key)
        ids = {self.ids.pop(key) for key in unknown}
        self.ids_with_tree -= ids - set(self.ids.values())  # a changed problem may have a new tree
        for key in unknown:
            del self.trees[key]
        return sum(self.num_trees.pop(key) for key in unknown)

    def own_failures(self) -> tuple[list[dict[str, Any]], int]:
        """Return failures in the order of the problems, and how many equal a labelled problem or an earlier failure."""
        rows, keys, num_equal = [], set(self.trees), 0
        for problem_id in sorted(self.failures.keys() & self.order.keys() - self.ids_with_tree, key=self.index):
            row = self.failures[problem_id]
            if row["problem_key"] is not None and row["problem_key"] in keys:
                num_equal += 1
                continue
            keys.add(row["problem_key"])
            rows.append(row)
        return rows, num_equal


def read_ranks(output: Path, order: Mapping[str, int]) -> Merged:
    """Return the results of all ranks so far.

    Args:
        output: The run's folder.
        order: Indices of the problems, by id.

    Raises:
        SystemExit: if there is no rank, or two ranks belong to different runs.
    """
    folders = sorted(path.parent for path in (output / "ranks").glob("*/run.json"))
    if not folders:
        raise SystemExit(f"{output} has no ranks/*/run.json. Run label.py first, or download its output here.")
    merged = Merged(read_json(folders[0] / "run.json"), order)
    for folder in folders:
        if read_json(folder / "run.json") != merged.run:
            raise SystemExit(f"{folder} and {folders[0]} belong to different runs: their run.json differ.")
        path = folder / "trees.jsonl"
        for start, length, tree in whole_lines(path):
            root = tree["nodes"][0]
            is_mixed = 0 < root["num_correct"] < root["num_decided"]
            merged.add_tree(tree["problem_key"], tree["problem_id"], TreeLine(path, start, length, is_mixed))
        # A kill may have left a ledger row before its tree: a problem's last row counts, as in the driver.
        costs = {row["problem_key"]: row for _, _, row in whole_lines(folder / "ledger.jsonl")}
        for row in costs.values():
            merged.add_cost(row)
        merged.failures.update({row["problem_id"]: row for _, _, row in whole_lines(folder / "failures.jsonl")})
        if (folder / "summary.json").exists():
            summary = read_json(folder / "summary.json")
            merged.num_duplicates += summary["num_duplicates"]
            merged.sessions.extend({"rank": int(folder.name), **session} for session in summary["sessions"])
    return merged


def read_tree_lines(lines: list[TreeLine]) -> Iterator[bytes]:
    """Yield the lines of trees, one in memory at a time."""
    for line in lines:
        with line.path.open("rb") as file:
            file.seek(line.start)
            yield file.read(line.length)


def merge(output: Path, config: Path | None = None) -> dict[str, Any]:
    """Write ``labels/`` and return counts.

    Args:
        output: The run's folder.
        config: YAML file with options of `LabelRowsConfig`; None for the defaults.

    Raises:
        SystemExit: if no rank has a tree. Everything but the label rows is written before.
    """
    run = Run(**read_json(output / RUN_FILE))
    rows_config = LabelRowsConfig(**read_options(config, run.search)[2])
    problems = run.problems
    merged = read_ranks(output, {problem_id: index for index, problem_id in enumerate(problems.ids)})
    num_left_out = merged.drop_unknown(problems)
    keys = sorted(merged.trees, key=lambda key: merged.index(merged.ids[key]))
    failures, num_equal_failures = merged.own_failures()
    num_duplicates = merged.num_duplicates + merged.num_trees.total() - len(keys) + num_equal_failures
    folder = output / "labels"
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", merged.run)
    write_atomically(folder / "trees.jsonl", read_tree_lines([merged.trees[key] for key in keys]))
    write_jsonl(folder / "failures.jsonl", failures)
    costs = sorted(merged.costs.values(), key=lambda row: merged.index(row["problem_id"]))
    write_jsonl(folder / "ledger.jsonl", map(sealed, costs))
    summary = LabelSummary(
        num_problems=len(problems),
        num_trees=len(keys),
        num_failed=len(failures),
        num_duplicates=num_duplicates,
        num_resumed=0,
        num_mixed=sum(line.is_mixed for line in merged.trees.values()),
        **total_costs(costs),
        seconds=round(sum(session["seconds"] for session in merged.sessions), 3),
        sessions=tuple(merged.sessions),
        faults=total_faults(costs),
    )
    write_json(folder / "summary.json", dataclasses.asdict(summary))
    num_without_result = len(problems) - len(keys) - len(failures) - num_duplicates
    if not keys:
        raise SystemExit(no_trees_message(output, failures, num_without_result, num_left_out))
    statistics = write_label_rows(problems, folder, rows_config)
    names = ("num_problems", "num_trees", "num_failed", "num_duplicates", "num_rollouts")
    return {
        **{name: getattr(summary, name) for name in names},
        "num_without_result": num_without_result,
        "num_trees_left_out": num_left_out,
        "labels": statistics,
    }


def no_trees_message(output: Path, failures: list[dict[str, Any]], num_without_result: int, num_left_out: int) -> str:
    """Return why nothing can be merged: failures by error, with an example of the most frequent one."""
    errors = Counter(row["error"] for row in failures)
    parts = [
        f"No rank of {output} has a tree of a problem in the dataset: {len(failures)} problems failed "
        f"({', '.join(f'{count} x {name}' for name, count in errors.most_common()) or 'none'}), {num_without_result} "
        f"have no result yet, and {num_left_out} trees belong to other problems. Without trees there are no labels."
    ]
    if errors:
        (error, _), *_ = errors.most_common(1)
        parts.append(f"A {error}: {next(row['reason'] for row in failures if row['error'] == error)}")
        parts.append("Correct what they share.")
    parts.append(f"Run label.py again, with {RETRY_OPTION} for ranks that are finished: no rollout is paid for twice.")
    return " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="The folder given to label.py as --output.")
    parser.add_argument("--config", type=Path, help="The YAML given to label.py.")
    args = parser.parse_args()
    counts = merge(args.output, args.config)
    print(json.dumps(counts, indent=2))
    if counts["num_trees_left_out"]:
        print(
            f"{counts['num_trees_left_out']} trees are left out: their problems are not in the dataset any more, or "
            f"have another id, question, figure or answer now. label.py with {RETRY_OPTION} labels problems without a "
            "tree.",
            file=sys.stderr,
        )
    if counts["num_without_result"]:
        sys.exit(
            f"{counts['num_without_result']} problems have neither tree nor failure: their ranks are unfinished, or "
            "their trees are left out. Run label.py again, then merge again."
        )


if __name__ == "__main__":
    main()
