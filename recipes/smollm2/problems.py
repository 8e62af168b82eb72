"""Stage 1: word problems with worked solutions from reasoning-gym's `gsm_symbolic`, in splits that share no facts.

The generator's own solution is a few lines such as "So he gets 5 * 7 = 35 letters a week" and "#### 35". Here each line
is a paragraph, and the last one says "The answer is 35.". Needs `reasoning_gym`, and nothing of this package.

python recipes/smollm2/problems.py --output out/smollm2/problems
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPLATES = (10, 34, 39, 48, 54, 57, 78)
"""Templates of gsm_symbolic: two or three lines of right arithmetic, mostly below 200, with whole numbers as answers."""

SPLITS = {"heldout": 210, "label": 280, "dev": 70, "train": 1400}
"""Problems of each split, in the order in which they are drawn; a later one repeats no facts of an earlier one."""

SEEDS = {"heldout": 3_000_000, "label": 2_000_000, "dev": 1_000_000, "train": 0}
"""First seed of each split. The generator counts on from it, so that the seeds of two splits never meet."""

ENDING = " Give the result as your final answer. Do not include units."


def plain_solution(lines: str, answer: str) -> str:
    """Return the generator's solution as paragraphs that end in "The answer is N.".

    Args:
        lines: Its lines; the last one is "#### N".
        answer: The gold answer, a whole number.

    Raises:
        ValueError: if the last line does not state the gold answer.

    Example:
        >>> plain_solution("He has 6-5=1 letter\\nHe writes 1*5=5 pages\\n#### 5", "5")
        'He has 6-5=1 letter\\n\\nHe writes 1*5=5 pages\\n\\nThe answer is 5.'
    """
    *steps, last = lines.strip().split("\n")
    if last != f"#### {answer}":
        raise ValueError(f"The solution ends in {last!r}, but the answer is {answer!r}.")
    return "\n\n".join([*steps, f"The answer is {answer}."])


def facts(template: int, question: str) -> tuple[Any, ...]:
    """Return what makes a problem: its template and the numbers in its question. Names and things do not count."""
    return (template, *re.findall(r"\d+(?:\.\d+)?", question))


def generated(first_seed: int, size: int) -> Iterator[dict[str, Any]]:
    """Yield rows of the chosen templates in the generator's order: id, template, question, answer and solution."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset("gsm_symbolic", seed=first_seed, size=size)
    for index, template in enumerate(dataset.task_indices):
        if template in TEMPLATES:
            entry = dataset[index]
            yield {
                "id": f"gsm-{template}-{first_seed + index}",
                "template": template,
                "question": entry["question"].removesuffix(ENDING),
                "answer": entry["answer"],
                "solution": plain_solution(entry["metadata"]["answer_cot"], entry["answer"]),
            }


def make_splits(sizes: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every split: as many of each template, and no facts twice."""
    seen: set[tuple[Any, ...]] = set()
    splits = {}
    for name, size in sizes.items():
        quota = size // len(TEMPLATES)
        rows: list[dict[str, Any]] = []
        counts: Counter[int] = Counter()
        for row in generated(SEEDS[name], size=200 + 40 * size):
            key = facts(row["template"], row["question"])
            if counts[row["template"]] < quota and key not in seen:
                seen.add(key)
                counts[row["template"]] += 1
                rows.append(row)
            if len(rows) == quota * len(TEMPLATES):
                break
        else:
            raise ValueError(f"Split {name!r} has {len(rows)} of {size} problems; a template has too few facts.")
        splits[name] = rows
    return splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name, rows in make_splits(SPLITS).items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (args.output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(rows)} problems of {len(TEMPLATES)} templates")


if __name__ == "__main__":
    main()
