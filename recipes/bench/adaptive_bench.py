"""Rollouts against label error: a fixed number per prefix, free samples, early stopping, on the shipped nano policy.

    python recipes/bench/adaptive_bench.py

Every way labels the inner prefixes of the same 50 responses (`rollout_truth.jsonl`, made by `rollout_truth.py`) by flat
Monte Carlo and is held against their 1,024-rollout estimates. The error of a fixed number falls as one over its root; a
line ``a / sqrt(k)`` through the measured points says what a fixed number would need for another way's error.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Rollout
from mmprm_hf.engines import RolloutEngine, RolloutRequest
from mmprm_hf.labelling.flat_mc import FlatMCConfig, search
from mmprm_hf.nano import problem_from_id

TRUTH = Path(__file__).parent / "rollout_truth.jsonl"
FIXED = (4, 8, 16)
EARLY = {"num_rollouts": 48, "round_size": 2}
WAYS = {
    "free samples": [{"num_rollouts": k} for k in (8, 16)],
    "early stopping": [{**EARLY, "max_posterior_std": std, "reuse_rollouts": False} for std in (0.15, 0.11)],
    "both": [{**EARLY, "max_posterior_std": std} for std in (0.15, 0.11, 0.09)],
    "sign": [{"num_rollouts": 16, "round_size": 1, "sign_confidence": 0.9, "reuse_rollouts": False}],
    "sign, free samples": [{"num_rollouts": 16, "round_size": 1, "sign_confidence": 0.9}],
}


class _RecordedResponse:
    """Gives one recorded response to the request from the start, and passes the others on."""

    def __init__(self, engine: RolloutEngine, row: dict) -> None:
        self.engine, self.identity = engine, engine.identity
        gold = problem_from_id(row["problem_id"]).answer
        self.response = Rollout(tuple(row["steps"]), gold if row["is_correct"] else "no answer")

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[tuple[Rollout, ...]]:
        if not requests[0].prefix:
            return [(self.response,)]
        return await self.engine.generate(requests)


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting: rollouts per prefix, mean absolute error of the estimate, share of wrong hard labels, prefixes.

    A hard label (MC above 0) is wrong where the truth is 0 of 1,024 and something was found, or the other way round.
    """

    rollouts: float
    error: float
    bias: float
    hard_error: float
    num_prefixes: int


def measure(engine: RolloutEngine, rows: list[dict], options: dict, repeats: int) -> Point:
    """Label all responses `repeats` times, all problems in flight."""

    async def label(row: dict, repeat: int) -> tuple[int, list[tuple[float, bool]]]:
        config = FlatMCConfig(num_responses=1, **options)
        problem = problem_from_id(row["problem_id"]).to_problem()
        rng = random.Random(f"{row['problem_id']} {repeat}")
        tree = await search(problem, _RecordedResponse(engine, row), RuleVerifier(), config, rng)
        estimate = {tree.prefix(i): node.mc_estimate for i, node in enumerate(tree.nodes)}
        errors = []
        for length in range(1, len(row["steps"])):
            num_correct, num_decided = row["counts"][length]
            value = estimate[tuple(row["steps"][:length])]
            if value is not None:
                errors.append((value - num_correct / num_decided, (value > 0) != (num_correct > 0)))
        return tree.num_rollouts - 1, errors

    async def label_all() -> list[tuple[int, list[tuple[float, bool]]]]:
        return await asyncio.gather(*(label(row, repeat) for repeat in range(repeats) for row in rows))

    labelled = asyncio.run(label_all())
    errors = [error for _, own in labelled for error in own]
    num_prefixes = len(errors)
    return Point(
        rollouts=sum(count for count, _ in labelled) / num_prefixes,
        error=sum(abs(error) for error, _ in errors) / num_prefixes,
        bias=sum(error for error, _ in errors) / num_prefixes,
        hard_error=sum(is_wrong for _, is_wrong in errors) / num_prefixes,
        num_prefixes=num_prefixes,
    )


def curve(engine: RolloutEngine, rows: list[dict], repeats: int) -> dict[str, list[Point]]:
    """All settings of all ways."""
    ways = {"fixed": [{"num_rollouts": k, "reuse_rollouts": False} for k in FIXED], **WAYS}
    return {name: [measure(engine, rows, options, repeats) for options in settings] for name, settings in ways.items()}


def fixed_rollouts_for(error: float, fixed: Sequence[Point]) -> float:
    """Rollouts per prefix that a fixed number needs for this error, from the fit ``error = a / sqrt(rollouts)``."""
    a = math.exp(sum(math.log(point.error * math.sqrt(point.rollouts)) for point in fixed) / len(fixed))
    return (a / error) ** 2


def load_truth(path: Path = TRUTH) -> list[dict]:
    """Lines of the truth file that hold an inner prefix."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if len(row["steps"]) > 1]


def nano_engine() -> RolloutEngine:
    """The shipped nano policy as an engine."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmprm_hf.engines import SamplingConfig, TransformersEngine
    from mmprm_hf.nano import POLICY_PATH
    from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS

    return TransformersEngine(
        AutoModelForImageTextToText.from_pretrained(POLICY_PATH),
        AutoProcessor.from_pretrained(POLICY_PATH),
        sampling=SamplingConfig(max_new_tokens=MAX_NEW_TOKENS),
        step_format="tagged",
    )


def print_curve(points: dict[str, list[Point]]) -> None:
    names = ("rollouts/prefix", "mean |error|", "mean error", "fixed needs", "share", "hard labels wrong")
    print(
        f"{'way':<20}" + "".join(f"{name:>{width}}" for name, width in zip(names, (16, 14, 12, 13, 8, 19), strict=True))
    )
    for name, own in points.items():
        for point in own:
            needed = fixed_rollouts_for(point.error, points["fixed"])
            share = point.rollouts / needed
            print(
                f"{name:<20}{point.rollouts:>16.2f}{point.error:>14.4f}{point.bias:>+12.4f}{needed:>13.2f}{share:>8.2f}"
                f"{100 * point.hard_error:>17.1f} %"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=TRUTH)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    print_curve(curve(nano_engine(), load_truth(args.truth), args.repeats))


if __name__ == "__main__":
    main()
