"""What the PRM sees: its scores of right steps and of the first wrong step of a candidate, by what is wrong there.

The gold solutions say how many legs an animal has; nothing of this is used in training.

python recipes/smollm2/first_errors.py --data out/smollm2/problems/heldout.jsonl \
    --candidates out/smollm2/omegaprm/candidates.jsonl
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

from mmprm_hf.files import iter_jsonl, write_json
from mmprm_hf.metrics import auroc

STEP = re.compile(r"(\d+) (\w+) ha(?:ve|s) (\d+) \* (\d+) = (\d+) legs(?:, so far (\d+) \+ (\d+) = (\d+))?")


def fault(step: str, legs: dict[str, int], total: int) -> tuple[str | None, int]:
    """Return what is wrong in a step, "" for nothing and None for a step of another form, and the sum behind it.

    Args:
        step: A paragraph of a solution.
        legs: Legs of each animal, as the question calls it.
        total: The sum before the step.

    Example:
        >>> fault("2 hens have 2 * 2 = 5 legs, so far 4 + 5 = 9.", {"hens": 2}, 4)
        ('product', 9)
    """
    match = STEP.match(step)
    if match is None:
        return None, total
    animal = match[2]
    count, factor, number, product = (int(match[group]) for group in (1, 3, 4, 5))
    before, added, after = (int(match[group]) if match[group] else None for group in (6, 7, 8))
    if animal in legs and number != legs[animal]:
        name = "legs"
    elif factor != count or (before is not None and (before != total or added != product)):
        name = "copied number"
    elif factor * number != product:
        name = "product"
    else:
        name = "sum" if before is not None and before + product != after else ""
    return name, product if after is None else after


def scores_by_fault(problems: Path, candidates: Path) -> dict[str, list[float]]:
    """Return the step scores of right steps ("") and of first wrong steps by fault, without those behind an error."""
    legs = {
        row["id"]: {match[2]: int(match[4]) for match in STEP.finditer(row["solution"])} for row in iter_jsonl(problems)
    }
    scores = defaultdict(list)
    for row in iter_jsonl(candidates):
        for candidate in row["candidates"]:
            total = 0
            for step, score in zip(candidate["steps"], candidate["step_scores"] or (), strict=False):
                name, total = fault(step, legs[row["problem_id"]], total)
                if name is None:
                    break
                scores[name].append(score)
                if name:
                    break
    return dict(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the held-out problems, with their solutions")
    parser.add_argument("--candidates", type=Path, required=True, help="candidates.jsonl with the PRM's scores")
    parser.add_argument("--output", type=Path, default=Path("out/smollm2/first_errors.json"))
    args = parser.parse_args()
    scores = scores_by_fault(args.data, args.candidates)
    right = scores.pop("")
    results = {"num_right_steps": len(right), "first_wrong_steps": {}}
    for name, wrong in sorted(scores.items(), key=lambda item: -len(item[1])):
        value = auroc([1] * len(right) + [0] * len(wrong), [*right, *wrong])
        results["first_wrong_steps"][name] = {"number": len(wrong), "auroc": round(value, 3)}
        print(f"{name:14} {len(wrong):4} first wrong steps, AUROC against {len(right)} right ones {value:.3f}")
    write_json(args.output, results)


if __name__ == "__main__":
    main()
