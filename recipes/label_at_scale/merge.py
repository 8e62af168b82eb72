"""Join the ranks of a run into one label folder, as `mmprm label` writes it, with rows and statistics.

    python recipes/label_at_scale/merge.py out/at_scale --config label.yaml

Writes ``labels/`` in the run's folder: trees in the order of the problems, failures, ledger, label rows. Unfinished
ranks may be merged too: problems without a result are counted, and the exit code is 1; merge again when they are there.
Trees are known by content: those of problems that the dataset does not hold (any more) are left out and counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from label import RUN_FILE, read_options
from trove_steps import Run

from mmprm_hf.files import write_atomically, write_json, write_jsonl
from mmprm_hf.labelling.label_selection import LabelRowsConfig
from mmprm_hf.labelling.ledger import LabelSummary, total_costs
from mmprm_hf.rows.problem_keys import problem_key
from mmprm_hf.rows.problem_source import ProblemSource
from mmprm_hf.stages import write_label_rows

AGAIN = "--option skip_completed=false"  # opens finished ranks, too


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tree stands: the file, the first byte and the length of its line."""

    path: Path
    start: int
    length: int
    is_mixed: bool


def whole_lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(start, length, row)`` of each line; a last line that is still being written is left out."""
    start = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield start, len(line), json.loads(line)
            start += len(line)


@dataclasses.dataclass
class Merged:
    """What the ranks have. Equal problems on several ranks have a tree each; that of the first problem stays.

    Args:
        run: The `run.json` of all ranks.
        order: Places of the problems in the dataset, by id.
        trees, id_of_key: The trees that stay, and their problems' ids, by problem key.
        num_trees: Trees found, by problem key.
        ids_with_tree: Ids of all problems that have a tree on their rank.
        costs: Ledger rows by problem key, summed over ranks.
        failures: By problem id.
        sessions: Of all ranks.
        num_duplicates: Problems that equal an earlier one of their rank.
    """

    run: dict[str, Any]
    order: Mapping[str, int]
    trees: dict[str, Place] = dataclasses.field(default_factory=dict)
    id_of_key: dict[str, str] = dataclasses.field(default_factory=dict)
    num_trees: Counter[str] = dataclasses.field(default_factory=Counter)
    ids_with_tree: set[str] = dataclasses.field(default_factory=set)
    costs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    num_duplicates: int = 0

    def place_of(self, problem_id: str) -> int:
        """A problem's place; those that are not in the dataset any more follow at the end."""
        return self.order.get(problem_id, len(self.order))

    def add_tree(self, key: str, problem_id: str, place: Place) -> None:
        """Keep a tree, unless that of an earlier equal problem is here: so ranks and their number change nothing."""
        self.num_trees[key] += 1
        self.ids_with_tree.add(problem_id)
        if key not in self.trees or self.place_of(problem_id) < self.place_of(self.id_of_key[key]):
            self.trees[key], self.id_of_key[key] = place, problem_id

    def add_cost(self, row: dict[str, Any]) -> None:
        """Add what another rank paid for an equal problem; the other fields are those of the first problem."""
        there = self.costs.get(row["problem_key"])
        if there is None:
            self.costs[row["problem_key"]] = row
            return
        # A problem with a tree before one without: it is the one that stays.
        first, other = sorted(
            (there, row), key=lambda cost: (cost["outcome"] != "tree", self.place_of(cost["problem_id"]))
        )
        sums = {name: value + other[name] for name, value in first.items() if isinstance(value, (int, float))}
        self.costs[row["problem_key"]] = {**first, **sums, "seconds": round(sums["seconds"], 3)}

    def drop_strangers(self, problems: ProblemSource) -> int:
        """Leave out trees whose problem has left the dataset or has another content now, and return their number."""
        strangers = []
        for key, problem_id in self.id_of_key.items():
            index = self.order.get(problem_id)
            try:
                is_known = index is not None and problem_key(problems[index]) == key
            except ValueError:  # its figure cannot be read any more
                is_known = False
            if not is_known:
                strangers.append(key)
        ids = {self.id_of_key.pop(key) for key in strangers}
        self.ids_with_tree -= ids - set(self.id_of_key.values())  # a changed problem may have a new tree
        for key in strangers:
            del self.trees[key]
        return sum(self.num_trees.pop(key) for key in strangers)

    def own_failures(self) -> tuple[list[dict[str, Any]], int]:
        """Failures in the order of the problems, and how many equal a labelled problem or an earlier failure."""
        rows, keys, num_equal = [], set(self.trees), 0
        for problem_id in sorted(self.failures.keys() & self.order.keys() - self.ids_with_tree, key=self.place_of):
            row = self.failures[problem_id]
            if row["problem_key"] is not None and row["problem_key"] in keys:
                num_equal += 1
                continue
            keys.add(row["problem_key"])
            rows.append(row)
        return rows, num_equal


def read_ranks(output: Path, order: Mapping[str, int]) -> Merged:
    """Read what all ranks have so far.

    Args:
        output: The run's folder.
        order: Places of the problems, by id.

    Raises:
        SystemExit: if there is none, or two ranks were made by different runs.
    """
    folders = sorted(path.parent for path in (output / "ranks").glob("*/run.json"))
    if not folders:
        raise SystemExit(f"{output} has no ranks/*/run.json. Run label.py first, or download its output here.")
    merged = Merged(json.loads((folders[0] / "run.json").read_text(encoding="utf-8")), order)
    for folder in folders:
        if json.loads((folder / "run.json").read_text(encoding="utf-8")) != merged.run:
            raise SystemExit(f"{folder} and {folders[0]} were made by different runs; their run.json differ.")
        path = folder / "trees.jsonl"
        for start, length, tree in whole_lines(path):
            root = tree["nodes"][0]
            is_mixed = 0 < root["num_correct"] < root["num_decided"]
            merged.add_tree(tree["problem_key"], tree["problem_id"], Place(path, start, length, is_mixed))
        # A kill may have left a row before its tree: the last one of a problem counts, as in the driver.
        costs = {row["problem_key"]: row for _, _, row in whole_lines(folder / "ledger.jsonl")}
        for row in costs.values():
            merged.add_cost(row)
        merged.failures.update({row["problem_id"]: row for _, _, row in whole_lines(folder / "failures.jsonl")})
        if (folder / "summary.json").exists():
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            merged.num_duplicates += summary["num_duplicates"]
            merged.sessions.extend({"rank": int(folder.name), **session} for session in summary["sessions"])
    return merged


def tree_lines(places: list[Place]) -> Iterator[bytes]:
    """Lines of `trees.jsonl`, one in memory at a time."""
    for place in places:
        with place.path.open("rb") as file:
            file.seek(place.start)
            yield file.read(place.length)


def merge(output: Path, config: Path | None = None) -> dict[str, Any]:
    """Write ``labels/`` and return counts; `config` may hold options of `LabelRowsConfig`.

    Raises:
        SystemExit: if no rank has a tree; all but the label rows is written then.
    """
    run = Run(**json.loads((output / RUN_FILE).read_text(encoding="utf-8")))
    rows_config = LabelRowsConfig(**read_options(config, run.search)[2])
    problems = run.problems
    found = read_ranks(output, {problem_id: index for index, problem_id in enumerate(problems.ids)})
    num_left_out = found.drop_strangers(problems)
    keys = sorted(found.trees, key=lambda key: found.place_of(found.id_of_key[key]))
    failures, num_equal_failures = found.own_failures()
    num_duplicates = found.num_duplicates + found.num_trees.total() - len(keys) + num_equal_failures
    folder = output / "labels"
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", found.run)
    write_atomically(folder / "trees.jsonl", tree_lines([found.trees[key] for key in keys]))
    write_jsonl(folder / "failures.jsonl", failures)
    costs = sorted(found.costs.values(), key=lambda row: found.place_of(row["problem_id"]))
    write_jsonl(folder / "ledger.jsonl", costs)
    summary = LabelSummary(
        num_problems=len(problems),
        num_trees=len(keys),
        num_failed=len(failures),
        num_duplicates=num_duplicates,
        num_resumed=0,
        num_mixed=sum(place.is_mixed for place in found.trees.values()),
        **total_costs(costs),
        seconds=round(sum(session["seconds"] for session in found.sessions), 3),
        sessions=tuple(found.sessions),
    )
    write_json(folder / "summary.json", dataclasses.asdict(summary))
    num_without_result = len(problems) - len(keys) - len(failures) - num_duplicates
    if not keys:
        raise SystemExit(no_trees(output, failures, num_without_result, num_left_out))
    statistics = write_label_rows(problems, folder, rows_config)
    counts = {
        name: getattr(summary, name)
        for name in ("num_problems", "num_trees", "num_failed", "num_duplicates", "num_rollouts")
    }
    more = {"num_without_result": num_without_result, "num_trees_left_out": num_left_out}
    return {**counts, **more, "labels": statistics}


def no_trees(output: Path, failures: list[dict[str, Any]], num_without_result: int, num_left_out: int) -> str:
    """Why nothing can be merged: failures by kind, with an example of the most frequent one."""
    kinds = Counter(row["error"] for row in failures)
    parts = [
        f"No rank of {output} has a tree of a problem in the dataset: {len(failures)} problems failed "
        f"({', '.join(f'{count} x {name}' for name, count in kinds.most_common()) or 'none'}), {num_without_result} "
        f"have no result yet, and {num_left_out} trees belong to other problems. Without trees there are no labels."
    ]
    if kinds:
        (kind, _), *_ = kinds.most_common(1)
        parts.append(f"A {kind}: {next(row['reason'] for row in failures if row['error'] == kind)}")
        parts.append("Correct what they share.")
    parts.append(f"Run label.py again, with {AGAIN} for ranks that are finished: no rollout is paid for twice.")
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
            f"have another id, question, figure or answer now. label.py with {AGAIN} labels what has no tree for it.",
            file=sys.stderr,
        )
    if counts["num_without_result"]:
        sys.exit(
            f"{counts['num_without_result']} problems have neither tree nor failure: their ranks are unfinished, or "
            "their trees are left out. Run label.py again, then merge again."
        )


if __name__ == "__main__":
    main()
