"""Join the ranks of a run into one label folder, as `mmprm label` writes it, with rows and statistics.

    python recipes/label_at_scale/merge.py out/at_scale --config label.yaml

Writes ``labels/`` in the run's folder: trees in the order of the problems, failures, ledger, label rows. Unfinished
ranks may be merged too: problems without a result are counted, and the exit code is 1; merge again when they are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from label import RUN_FILE, read_options
from trove_steps import Problems, Run

from mmprm_hf.files import dump, write_atomically
from mmprm_hf.labelling.label_selection import LabelRowsConfig
from mmprm_hf.labelling.ledger import LabelSummary, total_costs
from mmprm_hf.stages import write_label_rows


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
    """What the ranks have, by problem key; failures by problem id."""

    run: dict[str, Any]
    trees: dict[str, Place]
    id_of_key: dict[str, str]
    costs: dict[str, dict[str, Any]]
    failures: dict[str, dict[str, Any]]
    sessions: list[dict[str, Any]]
    num_duplicates: int = 0


def read_ranks(output: Path) -> Merged:
    """Read what all ranks have so far.

    Raises:
        SystemExit: if there is none, or two ranks were made by different runs.
    """
    folders = sorted(path.parent for path in (output / "ranks").glob("*/run.json"))
    if not folders:
        raise SystemExit(f"{output} has no ranks/*/run.json. Run label.py first, or download its output here.")
    merged = Merged(json.loads((folders[0] / "run.json").read_text(encoding="utf-8")), {}, {}, {}, {}, [])
    for folder in folders:
        if json.loads((folder / "run.json").read_text(encoding="utf-8")) != merged.run:
            raise SystemExit(f"{folder} and {folders[0]} were made by different runs; their run.json differ.")
        path = folder / "trees.jsonl"
        for start, length, tree in whole_lines(path):
            # Equal problems on different ranks have a tree each; the first rank's stays.
            root, key = tree["nodes"][0], tree["problem_key"]
            merged.num_duplicates += key in merged.trees
            is_mixed = 0 < root["num_correct"] < root["num_decided"]
            merged.trees.setdefault(key, Place(path, start, length, is_mixed))
            merged.id_of_key.setdefault(key, tree["problem_id"])
        # A kill may have left a row before its tree: the last one of a problem counts, as in the driver.
        merged.costs.update({row["problem_key"]: row for _, _, row in whole_lines(folder / "ledger.jsonl")})
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
    """Write ``labels/`` and return counts; `config` may hold options of `LabelRowsConfig`."""
    run = Run(**json.loads((output / RUN_FILE).read_text(encoding="utf-8")))
    rows_config = LabelRowsConfig(**read_options(config, run.search)[2])
    problems = Problems(run)
    found = read_ranks(output)
    order = {problem_id: index for index, problem_id in enumerate(problems.ids)}
    keys = sorted(found.trees, key=lambda key: order[found.id_of_key[key]])
    labelled = set(found.id_of_key.values())
    failures = [found.failures[i] for i in problems.ids if i in found.failures and i not in labelled]
    folder = output / "labels"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "run.json", dump(found.run, indent=2) + "\n")
    write_atomically(folder / "trees.jsonl", tree_lines([found.trees[key] for key in keys]))
    write_atomically(folder / "failures.jsonl", "".join(dump(row) + "\n" for row in failures))
    costs = sorted(found.costs.values(), key=lambda row: order[row["problem_id"]])
    write_atomically(folder / "ledger.jsonl", "".join(dump(row) + "\n" for row in costs))
    num_done = len(keys) + len(failures) + found.num_duplicates
    summary = LabelSummary(
        num_problems=len(problems),
        num_trees=len(keys),
        num_failed=len(failures),
        num_duplicates=found.num_duplicates,
        num_resumed=0,
        num_mixed=sum(place.is_mixed for place in found.trees.values()),
        **total_costs(costs),
        seconds=round(sum(session["seconds"] for session in found.sessions), 3),
        sessions=tuple(found.sessions),
    )
    write_atomically(folder / "summary.json", dump(dataclasses.asdict(summary), indent=2) + "\n")
    statistics = write_label_rows(problems, folder, rows_config)
    counts = {name: getattr(summary, name) for name in ("num_problems", "num_trees", "num_failed", "num_rollouts")}
    return {**counts, "num_without_result": len(problems) - num_done, "labels": statistics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="The folder given to label.py as --output.")
    parser.add_argument("--config", type=Path, help="The YAML given to label.py.")
    args = parser.parse_args()
    counts = merge(args.output, args.config)
    print(json.dumps(counts, indent=2))
    if counts["num_without_result"]:
        sys.exit(
            f"{counts['num_without_result']} problems have neither tree nor failure: their ranks are unfinished. Run "
            "label.py again, then merge again."
        )


if __name__ == "__main__":
    main()
