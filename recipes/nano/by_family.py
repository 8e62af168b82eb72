"""The best-of-N table by problem family, and for the families with a planted misconception against all others.

    mmprm demo --num-problems 500 --output out/demo500
    python recipes/nano/by_family.py --candidates out/demo500/candidates.jsonl

The corpus of the policy holds a misconception in most solutions of three families (`mmprm_hf.nano.corpus`), and the
PRM's base was pretrained, with exact truth, to reject such solutions. Differences to the majority vote are paired by
problem.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.evaluation import best_of_n_report
from mmprm_hf.files import write_json
from mmprm_hf.metrics import bootstrap_ci
from mmprm_hf.nano import problem_from_id
from mmprm_hf.nano.corpus import COMMON_MISCONCEPTIONS
from mmprm_hf.rows import read_candidate_rows

METRICS = ("mean_pass_at_1", "greedy", "majority_vote", "best_of_n", "weighted_vote", "oracle")
COMPARED = ("best_of_n", "weighted_vote")


def difference(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, float]:
    """A metric minus the majority vote, with its 95 % bootstrap interval over problems."""
    reports = [best_of_n_report([row])["metrics"] for row in rows]
    differences = [report[metric]["value"] - report["majority_vote"]["value"] for report in reports]
    low, high = bootstrap_ci(differences)
    return {"value": sum(differences) / len(differences), "ci_low": low, "ci_high": high}


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of some problems, and how far the PRM's selections lie from the majority vote."""
    metrics = best_of_n_report(rows)["metrics"]
    return {
        "num_problems": len(rows),
        "metrics": {name: metrics[name]["value"] for name in METRICS},
        "minus_majority_vote": {name: difference(rows, name) for name in COMPARED},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=Path, default=Path("out/demo500/candidates.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/by_family.json"))
    args = parser.parse_args()
    by_family: dict[str, list[dict[str, Any]]] = {}
    for row in read_candidate_rows(args.candidates, need_verdicts=True):
        by_family.setdefault(problem_from_id(row["problem_id"]).family, []).append(row)
    sets = {
        "planted misconception": [row for family in COMMON_MISCONCEPTIONS for row in by_family[family]],
        "others": [row for family, rows in by_family.items() if family not in COMMON_MISCONCEPTIONS for row in rows],
    }
    results = {
        "families": {family: table(by_family[family]) for family in sorted(by_family)},
        "sets": {name: table(rows) for name, rows in sets.items()},
    }
    for name, found in [*results["families"].items(), *results["sets"].items()]:
        cells = "".join(f"{100 * found['metrics'][metric]:>16.1f}" for metric in METRICS)
        print(f"{name:<22}{found['num_problems']:>5}{cells}")
    write_json(args.output, results)


if __name__ == "__main__":
    main()
