"""Prints the tables of results.json and hacks.json as Markdown.

    python recipes/grpo_with_prm/report.py

Intervals are 95 % bootstrap intervals over the test problems, whose values are means over the seeds; the interval of a
difference resamples pairs. They hold for these three seeds; what others give, only their spread hints at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmprm_hf.metrics import bootstrap_ci

RESULTS = Path(__file__).parent / "results.json"
SHARES = (
    ("complete", "complete"),
    ("steps", "num_steps"),
    ("all steps right", "all_steps_right"),
    ("right answer, wrong step", "right_answer_wrong_step"),
    ("PRM reward", "process_reward"),
    ("best of 8", "best_of_n"),
    ("majority of 8", "majority_vote"),
)


def group_by_arm(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each arm, in the order of the seeds."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(results, key=lambda name: (name != "before", name)):
        arms.setdefault(name.split("/")[0], []).append(results[name])
    return arms


def per_problem(runs: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """Return a value in [0, 1] per problem, the mean over the runs; `key` is num_right or greedy_right."""
    scale = runs[0]["num_samples"] if key == "num_right" else 1
    return np.mean([[int(digit) / scale for digit in run[key]] for run in runs], axis=0)  # (num_problems,)


def interval(values: np.ndarray) -> str:
    """Return mean and interval in percent."""
    low, high = bootstrap_ci(list(values))
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def accuracy_table(arms: dict[str, list[dict[str, Any]]]) -> str:
    """Return pass@1 and greedy accuracy of every arm, and differences, as Markdown."""
    lines = ["| policy | pass@1 | greedy | pass@1 of each seed |", "| --- | ---: | ---: | ---: |"]
    for arm, runs in arms.items():
        seeds = ", ".join(f"{100 * run['pass_at_1']:.1f}" for run in runs)
        pass_at_1, greedy = (interval(per_problem(runs, key)) for key in ("num_right", "greedy_right"))
        lines.append(f"| {arm} | {pass_at_1} | {greedy} | {seeds} |")
    for first, second in (("answer", "before"), ("prm_and_answer", "before"), ("prm_and_answer", "answer")):
        if first in arms and second in arms:
            cells = [
                interval(per_problem(arms[first], key) - per_problem(arms[second], key))
                for key in ("num_right", "greedy_right")
            ]
            lines.append(f"| {first} - {second} | {cells[0]} | {cells[1]} | |")
    return "\n".join(lines)


def share_table(arms: dict[str, list[dict[str, Any]]]) -> str:
    """Return the other figures of the samples, means over the seeds, as Markdown."""
    lines = ["| policy | " + " | ".join(title for title, _ in SHARES) + " |", "| --- |" + " ---: |" * len(SHARES)]
    for arm, runs in arms.items():
        cells = [f"{np.mean([run[key] for run in runs]):.3f}" for _, key in SHARES]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def training_table(arms: dict[str, list[dict[str, Any]]]) -> str:
    """Return the hack metrics of training as Markdown: first and last quarter of the log, means over the seeds."""
    names = ("rewards/answer_reward/mean", "rewards/process_reward/mean", "process_reward/num_steps")
    names += ("process_reward/malformed", "process_reward/num_repeats", "process_reward/answer_not_derived", "entropy")
    lines = ["| arm | " + " | ".join(name.removeprefix("rewards/") for name in names) + " |"]
    lines.append("| --- |" + " ---: |" * len(names))
    for arm, runs in arms.items():
        logs = [run["training"]["log"] for run in runs if "training" in run]
        if not logs:
            continue
        quarter = max(1, len(logs[0]) // 4)
        cells = []
        for name in names:
            first = np.mean([row[name] for log in logs for row in log[:quarter]])
            last = np.mean([row[name] for log in logs for row in log[-quarter:]])
            cells.append(f"{first:.3f} -> {last:.3f}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    arms = group_by_arm(json.loads(args.results.read_text(encoding="utf-8")))
    print(accuracy_table(arms), share_table(arms), training_table(arms), sep="\n\n")


if __name__ == "__main__":
    main()
