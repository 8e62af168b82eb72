"""False verdicts on pairs that were written for this, without a look at the rules.

    python recipes/answers/written.py --output recipes/answers/results/written.json

`written_pairs.jsonl` has two sets of pairs of a gold and an answer with a label: answers as chat models write them,
right answers in other forms, golds with one thing changed, and sentences that mention a gold without asserting it. What
set 1 showed was corrected afterwards; set 2 was measured once, and nothing was changed for it.
"""

from __future__ import annotations

import argparse
import collections
from pathlib import Path
from typing import Any

from peers import FAULTS, RuleVerifier, by_rules, measure

from mmprm_hf.files import read_jsonl, write_json

PAIRS = Path(__file__).with_name("written_pairs.jsonl")
GROUPS = {"nat": "natural", "form": "other_forms", "choice": "choices", "nb": "neighbours", "mention": "mentions"}


def group_of(row: dict[str, Any]) -> str:
    """The group of a pair, from its kind: "nb-sentence", a sentence that does not assert the gold, is a mention."""
    kind = "mention" if row["kind"].startswith("nb-sentence") else row["kind"].rstrip("0123456789").partition("-")[0]
    return GROUPS[kind.rstrip("0123456789")]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    rows_by_group: dict[tuple[int, str], list[dict[str, Any]]] = collections.defaultdict(list)
    for row in read_jsonl(PAIRS):
        rows_by_group[row["set"], group_of(row)].append(row)
    groups = []
    for (number, group), rows in sorted(rows_by_group.items()):
        figures = measure(rows, by_rules)
        counts = {"num_right": sum(row["adjudicated"] for row in rows), **{fault: figures[fault] for fault in FAULTS}}
        groups.append({"set": number, "group": group, "num_pairs": len(rows), **counts})
        print(groups[-1])
    if arguments.output:
        write_json(arguments.output, {"verifier": RuleVerifier.identity, "groups": groups})


if __name__ == "__main__":
    main()
