"""What a labelling run will cost, predicted from the ledger of a sample of its problems.

The costs of the sampled problems are known; those of the rest are predicted. The intervals cover both errors: that of
the sampled mean (bootstrap) and the spread of the rest around it (normal).
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Problem, content_hash
from ..errors import check_values
from ..files import iter_jsonl, read_json
from ..metrics import share_with_interval
from ..rows import problem_key
from .label_selection import iter_label_rows
from .labelled_problems import LabelledProblems
from .labels import is_mixed
from .ledger import COSTS
from .rows_config import LabelRowsConfig
from .run_folder import TreeFile

_COUNTED = {
    "num_rollouts": "rollouts",
    "tokens_in": "tokens in",
    "tokens_out": "tokens out",
    "verifier_calls": "verifier calls",
    "judge_calls": "judge calls",
    "step_judge_calls": "step judge calls",
    "step_judge_tokens_in": "  its tokens in",
    "step_judge_tokens_out": "  its tokens out",
    "num_label_rows": "label rows",
}
_DERIVED = {"hours": "hours", "token_cost": "cost by tokens", "gpu_cost": "cost by GPU hours"}
_NUM_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Prices:
    """Prices in one currency; None is not priced.

    Args:
        tokens_in, tokens_out: Of a million prompt or generated tokens of the policy. A judge's tokens are not priced.
        gpu_hour: Of one hour of the machine that runs the policy.

    Raises:
        ValueError: if a price is negative.
    """

    tokens_in: float | None = None
    tokens_out: float | None = None
    gpu_hour: float | None = None

    def __post_init__(self) -> None:
        prices = vars(self)
        check_values(self, **{name: (price is None or price >= 0, "at least 0") for name, price in prices.items()})


def choose_sample(problems: Sequence[Problem], num_sampled: int, seed: int) -> list[Problem]:
    """Return `num_sampled` problems (all if there are fewer) chosen by hash of seed and id, in their given order.

    Raises:
        ValueError: if the sample would have fewer than 2 problems.
    """
    if min(num_sampled, len(problems)) < 2:
        raise ValueError(
            f"Found a sample of {num_sampled} out of {len(problems)} problems. An interval needs at least 2; 30 or "
            "more make it useful."
        )
    ranked = sorted(range(len(problems)), key=lambda index: content_hash(seed, problems[index].id))
    return [problems[index] for index in sorted(ranked[:num_sampled])]


def estimate_folder(
    sample: Sequence[Problem],
    folder: str | os.PathLike[str],
    num_problems: int,
    prices: Prices,
    config: LabelRowsConfig = LabelRowsConfig(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Predict the run over `num_problems` problems from a sample of them that is labelled in a run folder.

    Args:
        sample: The labelled problems.
        folder: Their run folder.
        num_problems: All problems, the sampled ones included.
        prices: Prices of tokens and machine.
        config: Which label rows count, of both splits.

    Returns:
        See `predict`.
    """
    folder = Path(folder)
    costs = {row["problem_key"]: row for row in iter_jsonl(folder / "ledger.jsonl")}
    labelled = LabelledProblems(sample)
    trees = [dataclasses.replace(t, rollouts=()) for t in TreeFile(folder / "trees.jsonl") if labelled.has(t)]
    mixed = {tree.problem_key: is_mixed(tree) for tree in trees}
    num_rows: Counter[str] = Counter()
    for _, rows in iter_label_rows(labelled, trees, config, Counter()):
        num_rows[rows[0]["problem_id"]] = len(rows)
    rows_by_key = {tree.problem_key: num_rows[tree.problem_id] for tree in trees}
    sampled, seen = [], set()
    for key in map(_key, sample):
        # An equal problem is labelled once: the second one costs nothing and gives no rows.
        is_new = key is not None and key not in seen
        seen.add(key)
        cost = costs.get(key, {}) if is_new else {}
        sampled.append(
            {
                **{name: cost.get(name, 0) for name in COSTS},
                "num_label_rows": rows_by_key.get(key, 0) if is_new else 0,
                "is_mixed": mixed.get(key, False),
                "has_tree": key in mixed,
            }
        )
    sessions = read_json(folder / "summary.json")["sessions"]
    return predict(sampled, [session for session in sessions if session["num_requests"]], num_problems, prices)


def _key(problem: Problem) -> str | None:
    """The problem's key, None if a figure cannot be read: the problem failed at no cost."""
    try:
        return problem_key(problem)
    except ValueError:
        return None


def predict(
    sampled: Sequence[Mapping[str, Any]],
    sessions: Sequence[Mapping[str, Any]],
    num_problems: int,
    prices: Prices = Prices(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Return what `num_problems` problems will take, with 95 % intervals.

    Hours follow from the tokens to generate (from the rollouts if the engine does not count tokens) at the pace of the
    sessions. A sample smaller than the number of problems in flight does not fill the engine, so that its pace is too
    low and the hours are an upper bound.

    Args:
        sampled: Ledger rows, with `num_label_rows`, `is_mixed` and `has_tree`.
        sessions: Sessions of `summary.json`.
        num_problems: All problems, the sampled ones included.
        prices: For `token_cost` and `gpu_cost`.

    Returns:
        ``{"num_problems", "num_sampled", "num_sampled_trees", "rollouts_per_second", "tokens_per_second",
        "mixed_share", "totals"}``. `mixed_share` and each figure of `totals` are ``{"value", "low", "high"}``; a figure
        is None if it was not measured (tokens that the engine does not count) or not priced.
    """
    seconds = max(sum(session["seconds"] for session in sessions), 1e-9)
    pace = {name: sum(session[name] for session in sessions) / seconds for name in ("num_rollouts", "tokens_out")}
    columns = {name: [float(row[name]) for row in sampled] for name in _COUNTED}
    work = "tokens_out" if pace["tokens_out"] else "num_rollouts"
    columns["hours"] = [amount / max(pace[work], 1e-9) / 3600 for amount in columns[work]]
    if prices.gpu_hour is not None:
        columns["gpu_cost"] = [hours * prices.gpu_hour for hours in columns["hours"]]
    priced = {"tokens_in": prices.tokens_in, "tokens_out": prices.tokens_out}
    priced = {name: price for name, price in priced.items() if price is not None}
    if priced and all(any(columns[name]) for name in priced):
        columns["token_cost"] = [sum(row[name] * price / 1e6 for name, price in priced.items()) for row in sampled]
    for name in ("tokens_in", "tokens_out"):
        if not any(columns[name]):
            del columns[name]
    return {
        "num_problems": num_problems,
        "num_sampled": len(sampled),
        "num_sampled_trees": sum(row["has_tree"] for row in sampled),
        "rollouts_per_second": pace["num_rollouts"],
        "tokens_per_second": pace["tokens_out"] or None,
        "mixed_share": share_with_interval(sum(row["is_mixed"] for row in sampled), len(sampled)),
        "totals": {
            name: _total(columns[name], num_problems) if name in columns else None for name in _COUNTED | _DERIVED
        },
    }


def _total(values: Sequence[float], num_problems: int) -> dict[str, float]:
    """The sum over all problems: what is known plus what is predicted of the rest."""
    num_sampled, known, mean = len(values), sum(values), statistics.fmean(values)
    num_rest = max(num_problems - num_sampled, 0)
    if num_sampled < 2 or not num_rest:
        return {"value": known + num_rest * mean, "low": known, "high": known + num_rest * mean}
    rng = random.Random(0)
    widening = math.sqrt(num_sampled / (num_sampled - 1))  # a resample varies less than a sample
    spread = statistics.stdev(values) * math.sqrt(num_rest)
    draws = sorted(
        num_rest * (mean + (statistics.fmean(rng.choices(values, k=num_sampled)) - mean) * widening)
        + rng.gauss(0, spread)
        for _ in range(_NUM_RESAMPLES)
    )
    low, high = (max(draws[int(share * (_NUM_RESAMPLES - 1))], 0) for share in (0.025, 0.975))
    return {"value": known + num_rest * mean, "low": known + low, "high": known + high}


def format_estimate(estimate: Mapping[str, Any]) -> str:
    """Return a prediction as a table for people."""
    tokens = estimate["tokens_per_second"]
    lines = [
        f"{estimate['num_problems']:,} problems, predicted from {estimate['num_sampled']} "
        f"({estimate['num_sampled_trees']} with a tree) at {estimate['rollouts_per_second']:,.1f} rollouts/s"
        + (f", {tokens:,.0f} tokens/s" if tokens else ""),
        f"{'':<20}{'expected':>16}   95 % interval",
    ]
    has_step_judge = any(estimate["totals"]["step_judge_calls"].values())
    for name, words in (_COUNTED | _DERIVED).items():
        if name.startswith("step_judge") and not has_step_judge:
            continue
        figure = estimate["totals"][name]
        if figure is not None:
            interval = f"{_number(figure['low'])} to {_number(figure['high'])}"
            lines.append(f"{words:<20}{_number(figure['value']):>16}   {interval}")
        elif name in ("tokens_in", "tokens_out"):
            lines.append(f"{words:<20}{'not measured':>16}")
    mixed = estimate["mixed_share"]
    lines.append(f"{'mixed problems':<20}{mixed['value']:>16.1%}   {mixed['low']:.1%} to {mixed['high']:.1%}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"
