"""All strategies at equal numbers of generated tokens, on the 500 nano test problems with the shipped models.

    python recipes/nano/strategies.py --output recipes/nano/results/strategies.json --cache out/strategies
    python recipes/nano/strategies.py --output recipes/nano/results/strategies.json --plot recipes/nano/strategies.svg

N = 2, 4, 8, 16 solutions, or steps a round of a guided search, which come to about equal numbers of tokens. What is
compared is made exactly equal: for each guided search, best-of-n is taken at the fractional n that costs the same
tokens (the expected value over the two whole numbers around it), and the difference is paired by problem.

- Whole solutions: 32 are drawn per problem once; the value at n is the mean over random subsets of n (seeded).
- Guided searches: one run for each N.
- Intervals: 95 %, bootstrap over problems.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Candidate, Problem, Verdict
from mmprm_hf.engines import SamplingConfig
from mmprm_hf.files import read_json, read_jsonl, write_json, write_jsonl
from mmprm_hf.metrics import bootstrap_ci
from mmprm_hf.nano import nano_problems
from mmprm_hf.publish.plots import STYLES, draw_curve, drawing
from mmprm_hf.publish.words import metric_name
from mmprm_hf.rerank import GUIDED_SEARCHES, RerankConfig, solve, winner_index
from mmprm_hf.rerank.candidates import SELECTIONS
from mmprm_hf.rerank.solving import SolvedProblem
from mmprm_hf.stages import load_models
from mmprm_hf.stages.demo_stage import AGGREGATION, MAX_NEW_TOKENS, TEMPERATURE

SIZES = (2, 4, 8, 16)
POOL = 32
NUM_SUBSETS = 64
Run = Callable[[RerankConfig], list[SolvedProblem]]


def is_right(candidate: Candidate | None, problem: Problem) -> bool:
    """Whether the chosen solution has the right answer; none chosen is wrong."""
    if candidate is None or not candidate.complete:
        return False
    return RuleVerifier().verify(candidate.answer, problem.answer) is Verdict.CORRECT


def pool_rows(targets: Sequence[Problem], run: Run, cache: Path) -> list[dict[str, Any]]:
    """The pool of whole solutions per problem, each with its verdict; from the cache where it is there."""
    path = cache / "pool.jsonl"
    if not path.exists():
        rows = []
        for problem, solved in zip(targets, run(RerankConfig(num_candidates=POOL)), strict=True):
            candidates = [{**c.to_dict(), "text": "", "right": is_right(c, problem)} for c in solved.candidates]
            rows.append({"problem_id": problem.id, "candidates": candidates})
        write_jsonl(path, rows)
    return read_jsonl(path)


def guided_rows(targets: Sequence[Problem], run: Run, cache: Path, strategy: str, size: int) -> list[dict[str, Any]]:
    """Outcome and tokens of a guided search per problem; from the cache where it is there."""
    path = cache / f"{strategy}_{size}.jsonl"
    if not path.exists():
        rows = []
        solutions = run(RerankConfig(strategy=strategy, num_candidates=size))
        for problem, solved in zip(targets, solutions, strict=True):
            winner = None if solved.chosen is None else solved.candidates[solved.chosen]
            rows.append(
                {
                    "problem_id": problem.id,
                    "right": is_right(winner, problem),
                    "num_tokens": solved.num_tokens,
                    "num_complete": sum(c.complete for c in solved.candidates),
                    "seconds": solved.seconds,
                }
            )
        write_jsonl(path, rows)
    return read_jsonl(path)


def subset_values(rows: Sequence[dict[str, Any]], strategy: str, size: int) -> list[float]:
    """Per problem, the share of random subsets of `size` solutions whose winner is right; "oracle": that hold one."""
    values = []
    for row in rows:
        rng = random.Random(f"{row['problem_id']} {size}")
        candidates = [Candidate.from_dict(candidate) for candidate in row["candidates"]]
        rights = [one["right"] for one in row["candidates"]]
        wins = 0
        for _ in range(NUM_SUBSETS):
            chosen = rng.sample(range(len(candidates)), size)
            if strategy == "oracle":
                wins += any(rights[index] for index in chosen)
                continue
            winner = winner_index([candidates[index] for index in chosen], strategy, AGGREGATION)
            wins += winner is not None and rights[chosen[winner]]
        values.append(wins / NUM_SUBSETS)
    return values


def summary(values: Sequence[float], num_tokens: float) -> dict[str, float]:
    """Accuracy with its interval, and tokens per problem."""
    low, high = bootstrap_ci(values)
    return {"accuracy": sum(values) / len(values), "ci_low": low, "ci_high": high, "num_tokens": num_tokens}


def difference(values: Sequence[float], best_of_n: Sequence[float], equal_n: float) -> dict[str, float]:
    """How far a strategy is above best-of-n at equal tokens, paired by problem, with its interval."""
    differences = [a - b for a, b in zip(values, best_of_n, strict=True)]
    low, high = bootstrap_ci(differences)
    return {
        "equal_n": equal_n,
        "best_of_equal_n": sum(best_of_n) / len(best_of_n),
        "difference": sum(differences) / len(differences),
        "difference_ci_low": low,
        "difference_ci_high": high,
    }


def compare(targets: Sequence[Problem], run: Run, cache: Path) -> dict[str, Any]:
    """The whole table."""
    cache.mkdir(parents=True, exist_ok=True)
    pool = pool_rows(targets, run, cache)
    tokens_each = sum(c["num_tokens"] for row in pool for c in row["candidates"]) / (len(pool) * POOL)
    rows = []
    known: dict[int, list[float]] = {}

    def best_of(size: int) -> list[float]:
        if size not in known:
            known[size] = subset_values(pool, "best_of_n", size)
        return known[size]

    for size in SIZES:
        for strategy in (*SELECTIONS, "oracle"):
            values = best_of(size) if strategy == "best_of_n" else subset_values(pool, strategy, size)
            rows.append({"strategy": strategy, "n": size, **summary(values, size * tokens_each)})
            if strategy.endswith("_vote"):
                rows[-1] |= difference(values, best_of(size), float(size))
        for strategy in GUIDED_SEARCHES:
            solved = guided_rows(targets, run, cache, strategy, size)
            values = [float(row["right"]) for row in solved]
            num_tokens = sum(row["num_tokens"] for row in solved) / len(solved)
            equal = min(max(num_tokens / tokens_each, 1.0), float(POOL))
            whole, part = int(equal), equal - int(equal)
            upper = best_of(min(whole + 1, POOL))
            matched = [(1 - part) * a + part * b for a, b in zip(best_of(whole), upper, strict=True)]
            row = {"strategy": strategy, "n": size, **summary(values, num_tokens)}
            rows.append(row | difference(values, matched, equal))
            print(json.dumps(rows[-1]), flush=True)
    return {
        "num_problems": len(targets),
        "pool": POOL,
        "num_subsets": NUM_SUBSETS,
        "aggregation": AGGREGATION,
        "temperature": TEMPERATURE,
        "tokens_per_solution": tokens_each,
        "command": "python recipes/nano/strategies.py",
        "rows": rows,
    }


def write_strategy_plot(results: Path, output: Path) -> Path:
    """Draw the table of strategies: accuracy and gain over best-of-n, by tokens.

    Args:
        results: JSON with ``num_problems`` and ``rows``: ``strategy``, ``num_tokens``, ``accuracy``, ``ci_low``,
            ``ci_high``, of searches also ``difference``, ``difference_ci_low`` and ``difference_ci_high``.
        output: SVG file to write; equal results give equal bytes.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    table = read_json(results)
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in table["rows"]:
        curves.setdefault(row["strategy"], []).append(row)
    with drawing(output, 1, 2, figsize=(10, 4.2)) as (_, (left, right)):
        for shift, (strategy, rows) in enumerate(curves.items()):
            tokens = [row["num_tokens"] for row in rows]
            name = metric_name(strategy) if strategy == "oracle" else strategy
            draw_curve(left, strategy, name, tokens, rows, ("accuracy", "ci_low", "ci_high"))
            if "difference" in rows[0] and strategy != "majority_vote":  # far below: it would flatten the others
                moved = [count * (1 + shift * 0.012) for count in tokens]
                draw_curve(
                    right, strategy, name, moved, rows, ("difference", "difference_ci_low", "difference_ci_high")
                )
        left.set_ylabel(f"right answers, % of {table['num_problems']} problems")
        right.set_ylabel("points above best-of-n at equal tokens")
        right.axhline(0, color=STYLES["best_of_n"][0], linewidth=1)
        ticks = [row["num_tokens"] for row in curves["best_of_n"]]
        labels = [f"{row['num_tokens']:.0f}\nN = {row['n']}" for row in curves["best_of_n"]]
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, labels)
            axes.set_xlabel("generated tokens per problem")
            axes.grid(axis="y", color="#00000018")
        left.legend(frameon=False, loc="lower right")
        right.set_title("intervals: 95 %, bootstrap over problems", fontsize=8, color="#555555")
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/strategies.json"))
    parser.add_argument("--cache", type=Path, default=Path("out/strategies"), help="Outcomes by problem, to resume.")
    parser.add_argument("--num-problems", type=int, default=500)
    parser.add_argument("--plot", type=Path, help="Only draw the output's table.")
    args = parser.parse_args()
    if args.plot is None:
        models = load_models()
        targets = [nano.to_problem() for nano in nano_problems("test", args.num_problems)]
        sampling = SamplingConfig(temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS)

        def run(config: RerankConfig) -> list[SolvedProblem]:
            return solve(targets, models.engine, models.scorer, config, sampling)

        write_json(args.output, compare(targets, run, args.cache))
    else:
        write_strategy_plot(args.output, args.plot)


if __name__ == "__main__":
    main()
