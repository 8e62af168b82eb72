"""Prints the table of the README from results of `mmprm evaluate answers`, one PRM a column.

python recipes/smollm2/report.py recipes/smollm2/results/omegaprm.json recipes/smollm2/results/flat_mc.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROWS = {
    "mean_pass_at_1": "mean pass@1",
    "random_distinct": "random among distinct answers",
    "majority_vote": "majority vote",
    "weighted_vote": "PRM-weighted vote",
    "best_of_n": "PRM best of N",
    "oracle": "oracle",
}


def percent(metric: dict[str, float]) -> str:
    """Return a share and its interval in percent.

    Example:
        >>> percent({"value": 0.5, "ci_low": 0.41, "ci_high": 0.585})
        '50.0 [41.0, 58.5]'
    """
    return f"{100 * metric['value']:.1f} [{100 * metric['ci_low']:.1f}, {100 * metric['ci_high']:.1f}]"


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table: a row for each selection, a column for each PRM by the name of its labels."""
    lines = [f"| answer taken by | {' | '.join(results)} |", f"| --- |{' ---: |' * len(results)}"]
    for key, name in ROWS.items():
        cells = [percent(result["best_of_n"]["metrics"][key]) for result in results.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="NAME.json, or NAME/results.json")
    args = parser.parse_args()
    names = [path.parent.name if path.name == "results.json" else path.stem for path in args.results]
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in args.results]
    print(table(dict(zip(names, loaded, strict=True))))
    for name, result in zip(names, loaded, strict=True):
        evaluated = result["best_of_n"]
        print(
            f"{name}: {evaluated['num_problems']} problems, {evaluated['num_candidates']} candidates each, "
            f"{evaluated['num_incomplete']} incomplete; aggregation {evaluated['aggregation']}"
        )


if __name__ == "__main__":
    main()
