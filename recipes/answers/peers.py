"""False verdicts on what the test suites of other verifiers hold, beside math-verify alone.

    python recipes/answers/peers.py --data ../shared/data --output recipes/answers/results/peers.json

The file has pairs of a gold and an answer with an adjudicated label and, where a verifier was found to be wrong, the
kind of its fault: cases of other projects' test suites, answers of models, golds with one sign or digit changed, and
options of one problem. Pairs without a label are left out. Counts alone are saved, no texts.

math-verify runs as its documentation shows (`MathVerifyVerifier`). It has no third verdict: undecided is a gold that it
cannot read. Takes about a minute.
"""

from __future__ import annotations

import argparse
import collections
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.answers import MathVerifyVerifier, RuleVerifier
from mmprm_hf.data import Verdict
from mmprm_hf.files import read_jsonl, write_json

FILE = "answers_peers/dev.jsonl"
FAULTS = ("false_correct", "false_incorrect", "undecided")


def by_rules(row: dict[str, Any]) -> Verdict:
    """The verdict of the rules."""
    settings = {"answer_type": row["answer_type"], "options": row["options"] or ()}
    return RuleVerifier().verify(row["prediction"], row["gold"], **settings)


def by_math_verify(row: dict[str, Any]) -> Verdict:
    """The verdict of math-verify alone."""
    return MathVerifyVerifier().verify(row["prediction"], row["gold"])


def fault_of(verdict: Verdict, label: bool) -> str:
    """What is wrong with a verdict; "" if nothing is."""
    if verdict is Verdict.UNDECIDED:
        return "undecided"
    if (verdict is Verdict.CORRECT) == label:
        return ""
    return "false_correct" if verdict is Verdict.CORRECT else "false_incorrect"


def measure(rows: Sequence[dict[str, Any]], judge: Callable[[dict[str, Any]], Verdict]) -> dict[str, Any]:
    """Counts of faults over the labelled rows, by kind too, and seconds per verdict."""
    faults: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    seconds = []
    judge(rows[0])  # builds tables
    for row in rows:
        start = time.perf_counter()
        verdict = judge(row)
        seconds.append(time.perf_counter() - start)
        fault = fault_of(verdict, row["adjudicated"])
        if fault:
            faults[row["kind"] or "other"][fault] += 1
    totals = {fault: sum(counts[fault] for counts in faults.values()) for fault in FAULTS}
    return {
        **totals,
        "mean_seconds": round(sum(seconds) / len(seconds), 5),
        "max_seconds": round(max(seconds), 3),
        "kinds": {kind: dict(sorted(counts.items())) for kind, counts in sorted(faults.items())},
    }


def labelled_rows(data: Path) -> list[dict[str, Any]]:
    """The pairs that have a label."""
    return [row for row in read_jsonl(data / FILE) if row["adjudicated"] is not None]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with answers_peers/dev.jsonl")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # math-verify logs every error of its parser
    rows = labelled_rows(arguments.data)
    results = {
        "verifier": RuleVerifier.identity,
        "num_labelled": len(rows),
        "num_correct": sum(row["adjudicated"] for row in rows),
        "judges": {"rules": measure(rows, by_rules), "math_verify": measure(rows, by_math_verify)},
    }
    for name, figures in results["judges"].items():
        print(name, {key: value for key, value in figures.items() if key != "kinds"})
        for kind, counts in figures["kinds"].items():
            print(f"    {kind:34} {counts}")
    if arguments.output:
        write_json(arguments.output, results)


if __name__ == "__main__":
    main()
