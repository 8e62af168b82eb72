"""The share of a guided search that is spent on scoring, with SmolLM2-135M as policy and as its own PRM, in bf16.

    python recipes/bench/guided_real_bench.py --output recipes/bench/guided_real.json

Beam search of width N = 16, of which the best four prefixes are continued M = 4 times each, over word problems, on one
core. Nothing has been trained, so that the solutions are long and the choices arbitrary.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from generate_real_bench import QUESTIONS, local_engine
from score_real_bench import load_prm, smollm2_folder

from mmprm_hf.data import Problem
from mmprm_hf.files import write_json
from mmprm_hf.models import MMPRMProcessor
from mmprm_hf.rerank.guided_search import SearchLimits, guided_search, search_plan
from mmprm_hf.scoring import PRMScorer

NUM_CANDIDATES, BEAM_WIDTH = 16, 4
MAX_STEPS, MAX_NEW_TOKENS = 8, 256
LIMIT = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/guided_real.json"))
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    rows = [guided_row(smollm2_folder(), args.rounds)]
    print(json.dumps(rows, indent=2))
    write_json(args.output, rows)


def guided_row(model: str, num_rounds: int, max_steps: int = MAX_STEPS) -> dict:
    """The row of the table; a round searches every problem once, with a seed of its own, after one that warms up."""
    engine = local_engine(model, "bfloat16")
    processor = MMPRMProcessor.from_policy(model)
    scorer = PRMScorer(load_prm(model, processor, "bfloat16"), processor)
    plan = search_plan("beam_search", NUM_CANDIDATES, BEAM_WIDTH)
    problems = [Problem(f"q{index}", question) for index, question in enumerate(QUESTIONS)]
    rounds, num_tokens = [], 0
    for seed in range(-1, num_rounds):
        limits = SearchLimits(max_steps=max_steps, max_new_tokens=MAX_NEW_TOKENS, seed=seed)
        solutions, generate_seconds, score_seconds = guided_search(engine, scorer, problems, plan, limits)
        if seed >= 0:
            rounds.append((score_seconds, generate_seconds))
            num_tokens += sum(solution.num_tokens for solution in solutions)
    share = statistics.median(score / (score + generate) for score, generate in rounds)
    return {
        "name": "guided_real",
        "ours": round(share, 4),
        "baseline": LIMIT,
        "ratio": round(LIMIT / share, 3),
        "unit": "",
        "detail": f"SmolLM2-135M as policy and PRM, bfloat16, beam search N={NUM_CANDIDATES} M={BEAM_WIDTH}, "
        f"{len(problems)} problems, at most {max_steps} steps, {num_tokens:,} tokens in {num_rounds} rounds; scoring "
        f"{sum(score for score, _ in rounds):.1f} s, generating {sum(generate for _, generate in rounds):.1f} s; "
        "baseline: the limit",
    }


if __name__ == "__main__":
    main()
