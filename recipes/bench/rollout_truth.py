"""Many rollouts after prefixes of nano problems: the truth that cheaper estimates are held against.

    python recipes/bench/rollout_truth.py --output recipes/bench/rollout_truth.jsonl

Per problem (train split, seed 1: none that the shipped labels use): the empty prefix and every inner prefix of one
sampled response, 1,024 rollouts each by the shipped policy. A line holds the problem, the response and per prefix
``[num_correct, num_decided]``, from the empty prefix on. A quarter of an hour on two cores; resumes where it was cut.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Rollout, Verdict
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.files import read_jsonl
from mmprm_hf.nano import POLICY_PATH, NanoProblem, nano_problems
from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS

PROBLEM_SEED = 1


async def _truth(problem: NanoProblem, engine: TransformersEngine, num_rollouts: int) -> dict:
    """One line of the file; incomplete rollouts (no verdict) are left out."""
    target, verifier = problem.to_problem(), RuleVerifier()

    async def counts(rollouts: Sequence[Rollout]) -> list[int]:
        complete = [rollout for rollout in rollouts if rollout.complete]
        verdicts = [await verifier.judge(target, rollout.answer) for rollout in complete]
        num_correct, num_wrong = verdicts.count(Verdict.CORRECT), verdicts.count(Verdict.INCORRECT)
        return [num_correct, num_correct + num_wrong]

    response = Rollout((), complete=False)
    for seed in range(20):
        if not response.complete:
            response = (await engine.generate([RolloutRequest(target, seed=seed)]))[0][0]
    prefixes = [response.steps[:length] for length in range(max(1, len(response.steps)))]
    requests = [RolloutRequest(target, prefix, num_rollouts, seed=1000) for prefix in prefixes]
    drawn = await engine.generate(requests)
    return {
        "problem_id": problem.id,
        "steps": list(response.steps),
        "is_correct": (await counts([response]))[0] == 1,
        "is_step_right": list(problem.check_prefixes(response.steps)),
        "counts": [await counts(rollouts) for rollouts in drawn],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("recipes/bench/rollout_truth.jsonl"))
    parser.add_argument("--num-problems", type=int, default=50)
    parser.add_argument("--num-rollouts", type=int, default=1024)
    args = parser.parse_args()

    from transformers import AutoModelForImageTextToText, AutoProcessor

    engine = TransformersEngine(
        AutoModelForImageTextToText.from_pretrained(POLICY_PATH),
        AutoProcessor.from_pretrained(POLICY_PATH),
        sampling=SamplingConfig(max_new_tokens=MAX_NEW_TOKENS),
        step_format="tagged",
    )
    done = {row["problem_id"] for row in read_jsonl(args.output)} if args.output.exists() else set()
    for problem in tqdm(nano_problems("train", args.num_problems, PROBLEM_SEED)):
        if problem.id in done:
            continue
        row = asyncio.run(_truth(problem, engine, args.num_rollouts))
        with args.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
