"""Stage 1: `leg_counting` problems of reasoning-gym, with a short worded solution each; no two splits share arithmetic.

The generator gives questions, answers and the animals; the solution is written here, one paragraph for every animal.
Needs `reasoning_gym`, and nothing of this package.

python recipes/smollm2/problems.py --output out/smollm2/problems
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DIFFICULTY = {"min_animals": 2, "max_animals": 4, "min_instances": 1, "max_instances": 9}
"""Options of the generator."""

SPLITS = {"heldout": 240, "label": 300, "dev": 80, "train": 2400}
"""Problems of each split, in the order in which they are drawn; a later one repeats no arithmetic of an earlier one."""

SEEDS = {"heldout": 3_000_000, "label": 2_000_000, "dev": 1_000_000, "train": 0}
"""First seed of each split. The generator counts on from it, so that the seeds of two splits never meet."""


def worded_solution(animals: Mapping[str, int], legs: Mapping[str, int]) -> str:
    r"""Return a solution: a paragraph for every animal, with a product and the sum so far, and one with the answer.

    Args:
        animals: How many there are of each, in the order of the question.
        legs: Legs of each animal.

    Example:
        >>> worded_solution({"dog": 3, "ant": 1}, {"dog": 4, "ant": 6})
        '3 dogs have 3 * 4 = 12 legs.\n\n1 ant has 1 * 6 = 6 legs, so far 12 + 6 = 18.\n\nThe answer is 18.'
    """
    steps: list[str] = []
    total = 0
    for animal, count in animals.items():
        product = count * legs[animal]
        step = f"{count} {animal}{'s have' if count > 1 else ' has'} {count} * {legs[animal]} = {product} legs"
        steps.append(f"{step}, so far {total} + {product} = {total + product}." if steps else f"{step}.")
        total += product
    return "\n\n".join([*steps, f"The answer is {total}."])


def arithmetic(animals: Mapping[str, int], legs: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Return what has to be computed, whatever the animals are called and in whatever order they come."""
    return tuple(sorted((count, legs[animal]) for animal, count in animals.items()))


def generated(first_seed: int, size: int) -> Iterator[tuple[dict[str, Any], tuple[tuple[int, int], ...]]]:
    """Yield a row (id, question, answer, solution) and its arithmetic for every problem, in the generator's order."""
    import reasoning_gym
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    dataset = reasoning_gym.create_dataset("leg_counting", seed=first_seed, size=size, **DIFFICULTY)
    for index in range(size):
        entry = dataset[index]
        animals = entry["metadata"]["animals"]
        row = {
            "id": f"legs-{first_seed + index}",
            "question": entry["question"].strip(),
            "answer": entry["answer"],
            "solution": worded_solution(animals, ANIMALS),
        }
        yield row, arithmetic(animals, ANIMALS)


def make_splits(sizes: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every split; no arithmetic occurs twice."""
    seen: set[tuple[tuple[int, int], ...]] = set()
    splits: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    for name, size in sizes.items():
        for row, key in generated(SEEDS[name], size=10 * size):
            if key not in seen and len(splits[name]) < size:
                seen.add(key)
                splits[name].append(row)
        if len(splits[name]) < size:
            raise ValueError(f"Found {len(splits[name])} problems for {name!r}, not {size}; raise DIFFICULTY.")
    return splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name, rows in make_splits(SPLITS).items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (args.output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(rows)} problems")


if __name__ == "__main__":
    main()
