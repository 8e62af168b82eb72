"""Join the shards of a run into one label folder, as `mmprm label` writes it, with rows and statistics.

    python recipes/label_at_scale/merge.py out/at_scale

Writes ``labels/`` in the run's folder: trees in the order of the problems, failures, ledger, label rows. Problems that
have no result (a rank that was not finished) are named and counted; merge again when they are there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from label import RUN_FILE
from mmprm_hf.labelling.ledger import COSTS
from mmprm_hf.labelling.run_folder import RunFolder
from trove_steps import Run, engine_for, shards

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import SearchTree
from mmprm_hf.labelling.driver import run_identity
from mmprm_hf.stages import SEARCHES, load_problems, write_label_rows


def read_run(output: Path) -> Run:
    """What `label.py` noted of a run."""
    found = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
    return Run(**{**found, "data": None if found["data"] is None else Path(found["data"])})


def read_shards(output: Path) -> dict[int, dict[str, Any]]:
    """Results by the place of their problem. A rank that was restarted may have written one twice, equal."""
    found: dict[int, dict[str, Any]] = {}
    for path in shards(output / "shards"):
        for row in _rows(path):
            there = found.setdefault(row["index"], row)
            if there.get("tree") != row.get("tree"):
                raise SystemExit(
                    f"Problem {row['problem_id']!r} has two different trees in {output}. The server does not honour "
                    "seeds, or shards of two runs lie there; label it again in an empty folder."
                )
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def cost_row(row: dict[str, Any], key: str, outcome: str) -> dict[str, Any]:
    """One row of the ledger. Tokens are those of the whole search, also where a restart took them from the cache."""
    rollouts = [rollout for _, rollout in row["tree"]["rollouts"]] if "tree" in row else []
    costs = dict.fromkeys(COSTS, 0) | {
        "num_requests": row["usage"].get("requests", 0),
        "num_rollouts": len(rollouts),
        "num_incomplete": sum(not rollout["complete"] for rollout in rollouts),
        "num_undecided": row["tree"]["num_undecided"] if "tree" in row else 0,
        "tokens_in": row["usage"].get("prompt_tokens", 0),
        "tokens_out": row["usage"].get("completion_tokens", 0),
    }
    return {"problem_id": row["problem_id"], "problem_key": key, "outcome": outcome, **costs, "seconds": 0.0}


def merge(output: Path) -> dict[str, Any]:
    """Write ``labels/`` and return counts."""
    run = read_run(output)
    problems = load_problems(run.data, run.num_problems)
    found = read_shards(output)
    search, config_class = SEARCHES[run.search]
    identity = run_identity(search, config_class(**run.search_options), engine_for(run), RuleVerifier(), run.seed)
    folder = output / "labels"
    places: list[tuple[str, str | None]] = []
    with RunFolder(folder) as labels:
        labels.open_run(identity)
        for index, problem in enumerate(problems):
            row = found.get(index)
            key = row["tree"]["problem_key"] if row and "tree" in row else None
            places.append((problem.id, key))
            if row is None:
                continue
            if key is None:
                failure = row["failure"]
                labels.add_failure(problem.id, None, RuntimeError(f"{failure['error']}: {failure['reason']}"), None)
            elif key not in labels.trees:
                labels.add_tree(SearchTree.from_dict(row["tree"]), cost_row(row, key, "tree"))
        labels.put_in_order(places)
        num_trees = len(labels.trees)
    missing = [problem.id for index, problem in enumerate(problems) if index not in found]
    statistics = write_label_rows(problems, folder)
    return {
        "num_problems": len(problems),
        "num_trees": num_trees,
        "num_failed": sum("failure" in row for row in found.values()),
        "num_missing": len(missing),
        "missing": missing[:10],
        "num_rows": statistics["num_rows"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="The folder given to label.py as --output.")
    counts = merge(parser.parse_args().output)
    print(json.dumps(counts, indent=2))
    if counts["num_missing"]:
        sys.exit(f"{counts['num_missing']} problems have no result yet; run label.py again, then merge again.")


if __name__ == "__main__":
    main()
