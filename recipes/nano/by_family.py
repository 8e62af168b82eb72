"""The best-of-N table by problem family, and for the families with a planted misconception against all others.

    mmprm demo --num-problems 500 --output out/demo500
    python recipes/nano/by_family.py --candidates out/demo500/candidates.jsonl

The corpus of the policy holds a misconception in most solutions of three families (`corpus.py`), and the
PRM's base was pretrained, with exact truth, to reject such solutions. Differences to the majority vote are paired by
problem.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from corpus import COMMON_MISCONCEPTIONS, RARE_MISCONCEPTION

from mmprm_hf.evaluation import best_of_n_by_subject
from mmprm_hf.files import write_json
from mmprm_hf.publish.explanations import subject_blocks
from mmprm_hf.publish.terminal import format_block
from mmprm_hf.rows import read_candidate_rows


def set_of(row: dict[str, Any]) -> str:
    """Which of the two sets a problem belongs to."""
    return "planted misconception" if row["subject"] in COMMON_MISCONCEPTIONS else "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=Path, default=Path("out/demo500/candidates.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/by_family.json"))
    args = parser.parse_args()
    rows = read_candidate_rows(args.candidates, need_verdicts=True)
    families = best_of_n_by_subject(rows)
    sets = best_of_n_by_subject([{**row, "subject": set_of(row)} for row in rows])
    for section in (families, sets):
        print(*map(format_block, subject_blocks(section)), sep="\n\n", end="\n\n")
    rates = {**COMMON_MISCONCEPTIONS, "elsewhere": RARE_MISCONCEPTION}
    write_json(args.output, {"misconception_rates": rates, "families": families["subjects"], "sets": sets["subjects"]})


if __name__ == "__main__":
    main()
