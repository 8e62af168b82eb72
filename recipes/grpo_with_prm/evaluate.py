"""Evaluates a policy on nano problems and adds the result to results.json under a name.

    python recipes/grpo_with_prm/evaluate.py --policy out/grpo/answer-0 --name answer/0

Eight samples a problem at temperature 1 and one greedy response. The world checks every step exactly, so the result
also counts right answers with a wrong step before them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Candidate, Verdict
from mmprm_hf.engines import SamplingConfig, TransformersEngine
from mmprm_hf.files import write_json
from mmprm_hf.metrics import bootstrap_ci
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH, NanoProblem, nano_problems
from mmprm_hf.rerank import generate_candidates, scored_candidates, winner_index
from mmprm_hf.scoring import PRMScorer

RESULTS = Path(__file__).parent / "results.json"
NUM_SAMPLES = 8
MAX_NEW_TOKENS = 128


def is_right(candidate: Candidate, gold: str) -> bool:
    """Return whether a candidate is complete and its answer right."""
    return candidate.complete and RuleVerifier().verify(candidate.answer, gold) is Verdict.CORRECT


def evaluate(policy: str | Path, test_problems: Sequence[NanoProblem], seed: int = 1234) -> dict[str, Any]:
    """Return the entry of `results.json` for one policy."""
    model = AutoModelForImageTextToText.from_pretrained(policy, dtype="float32").eval()
    processor = AutoProcessor.from_pretrained(policy)
    targets = [nano.to_problem() for nano in test_problems]

    def write(temperature: float, num_samples: int) -> list[list[Candidate]]:
        sampling = SamplingConfig(temperature=temperature, max_new_tokens=MAX_NEW_TOKENS)
        engine = TransformersEngine(model, processor, sampling=sampling, step_format="tagged")
        return generate_candidates(engine, targets, num_samples, seed=seed)

    samples, greedy = write(1.0, NUM_SAMPLES), write(0.0, 1)
    scorer = PRMScorer(MMPRMModel.from_pretrained(PRM_PATH), MMPRMProcessor.from_pretrained(PRM_PATH))
    scored = [scored_candidates(candidates, "min") for candidates in scorer.score_many(targets, samples)]
    right = [[is_right(c, nano.answer) for c in row] for nano, row in zip(test_problems, scored, strict=True)]
    greedy_right = [is_right(row[0], nano.answer) for nano, row in zip(test_problems, greedy, strict=True)]
    return {**summary(test_problems, scored, right), **per_problem(right, greedy_right)}


def summary(
    test_problems: Sequence[NanoProblem], scored: Sequence[Sequence[Candidate]], right: Sequence[Sequence[bool]]
) -> dict[str, Any]:
    """Return shares over all samples, and the accuracy of selecting one of the samples of a problem."""
    flat = [(nano, c) for nano, candidates in zip(test_problems, scored, strict=True) for c in candidates]
    is_sound = [c.complete and bool(c.steps) and nano.check_prefixes(c.steps)[-1] for nano, c in flat]
    flat_right = [value for row in right for value in row]
    sound_right = [sound for sound, value in zip(is_sound, flat_right, strict=True) if value]

    def accuracy(strategy: str) -> float:
        chosen = [winner_index(candidates, strategy, "min") for candidates in scored]
        return float(np.mean([i is not None and row[i] for i, row in zip(chosen, right, strict=True)]))

    return {
        "num_problems": len(test_problems),
        "num_samples": NUM_SAMPLES,
        "complete": float(np.mean([c.complete for _, c in flat])),
        "num_steps": float(np.mean([len(c.steps) for _, c in flat])),
        "process_reward": float(np.mean([max(c.score, 0.0) for _, c in flat])),
        "all_steps_right": float(np.mean(is_sound)),
        "right_answer_wrong_step": 1.0 - float(np.mean(sound_right)),
        "best_of_n": accuracy("best_of_n"),
        "majority_vote": accuracy("majority_vote"),
    }


def per_problem(right: Sequence[Sequence[bool]], greedy_right: Sequence[bool]) -> dict[str, Any]:
    """Return accuracies with 95 % bootstrap intervals over problems, and the counts behind them, a digit a problem."""
    pass_at_1 = [float(np.mean(row)) for row in right]
    return {
        "pass_at_1": float(np.mean(pass_at_1)),
        "pass_at_1_ci": bootstrap_ci(pass_at_1),
        "greedy": float(np.mean(greedy_right)),
        "greedy_ci": bootstrap_ci([float(value) for value in greedy_right]),
        "num_right": "".join(str(sum(row)) for row in right),
        "greedy_right": "".join(str(int(value)) for value in greedy_right),
    }


def add_result(path: Path, name: str, result: dict[str, Any]) -> None:
    """Add a result to a file of results."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**results, name: result})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, default=POLICY_PATH)
    parser.add_argument("--name", required=True, help="name of the result, such as before or answer/0")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tuning", action="store_true", help="evaluate on 300 train problems that nothing trains on")
    args = parser.parse_args()
    nano = nano_problems("train", 12_300)[-300:] if args.tuning else nano_problems("test", 500)
    result = evaluate(args.policy, nano)
    log = args.policy / "log.json"
    if log.exists():
        result["training"] = json.loads(log.read_text(encoding="utf-8"))
    add_result(args.results, args.name, result)
    print(json.dumps({k: v for k, v in result.items() if k not in ("num_right", "greedy_right", "training")}, indent=1))


if __name__ == "__main__":
    main()
