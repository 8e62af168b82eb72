"""False verdicts on pairs that were written for this without a look at the rules, beside math-verify alone.

    python recipes/answers/written.py --output recipes/answers/results/written.json

`written_pairs.jsonl` has two sets of pairs of a gold and an answer with a label: answers as chat models write them,
right answers in other forms, golds with one thing changed, and sentences that mention a gold without asserting it. Set
1 was used afterwards to correct kinds of faults; set 2 was measured once, and nothing was changed for it. Golds and
answers are invented, or taken from public sets of one question each. Takes about a minute.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from peers import RuleVerifier, by_math_verify, by_rules, measure

from mmprm_hf.files import read_jsonl, write_json

PAIRS = Path(__file__).with_name("written_pairs.jsonl")


def rows_by_set() -> dict[str, list[dict[str, Any]]]:
    """The pairs of each set that have a label."""
    rows = [row for row in read_jsonl(PAIRS) if row["adjudicated"] is not None]
    return {str(number): [row for row in rows if row["set"] == number] for number in sorted({r["set"] for r in rows})}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # math-verify logs every error of its parser
    sets = {
        number: {
            "num_right": sum(row["adjudicated"] for row in rows),
            "num_wrong": sum(not row["adjudicated"] for row in rows),
            "judges": {"rules": measure(rows, by_rules), "math_verify": measure(rows, by_math_verify)},
        }
        for number, rows in rows_by_set().items()
    }
    for number, figures in sets.items():
        for judge, counts in figures["judges"].items():
            print(number, judge, {key: value for key, value in counts.items() if key != "kinds"})
    if arguments.output:
        write_json(arguments.output, {"verifier": RuleVerifier.identity, "sets": sets})


if __name__ == "__main__":
    main()
