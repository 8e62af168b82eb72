"""What each stage adds: the same candidates of the policy, ranked by the PRM of every stage.

    python recipes/nano/study.py --run out/nano --output recipes/nano/results/stages.json

Rows: the policy as its own judge, the base, and the base trained on (all before any step label: the softmax over
Yes and No at the marker), and the PRM trained on Monte Carlo labels, hard
(the shipped one) and, where ``RUN/prm_soft`` exists, soft. Step AUROC is against the exact step checker.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.evaluation import best_of_n_report
from mmprm_hf.files import write_json
from mmprm_hf.metrics import auroc
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import nano_problems
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.stages.demo_stage import AGGREGATION, Models, NanoRun, solve_nano
from mmprm_hf.stages.nano_truth import label_steps


def load_prms(run: Path) -> dict[str, tuple[MMPRMModel, MMPRMProcessor]]:
    """The PRM of every stage by name."""
    prms = {}
    for name, folder in (
        ("policy, no labels", "policy"),
        ("base, no labels", "base"),
        ("judge, no labels", "judge"),
    ):
        processor = MMPRMProcessor.from_policy(run / folder)
        prms[name] = (MMPRMModel.from_policy(run / folder, processor), processor)
    for name, folder in (("judge + MC labels, hard", "prm"), ("judge + MC labels, soft", "prm_soft")):
        if (run / folder).exists():
            prms[name] = (MMPRMModel.from_pretrained(run / folder), MMPRMProcessor.from_pretrained(run / folder))
    return prms


def report(run: NanoRun, scorer: PRMScorer) -> dict[str, Any]:
    """Best-of-N table of the candidates as a PRM ranks them, and its AUROC against the exact step checker."""
    scored = scorer.score_many([problem.to_problem() for problem in run.problems], run.candidates)
    rows = [
        {
            **row,
            "candidates": [
                {**c, "step_scores": s.step_scores} for c, s in zip(row["candidates"], rescored, strict=True)
            ],
        }
        for row, rescored in zip(run.rows, scored, strict=True)
    ]
    table = best_of_n_report(rows, aggregation=AGGREGATION)
    for key, by_prefix in (("step_auroc", False), ("prefix_auroc", True)):
        steps = label_steps(run.problems, scored, by_prefix=by_prefix)
        table[key] = auroc(steps.labels, steps.scores)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("out/nano"))
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/stages.json"))
    parser.add_argument("--num-problems", type=int, default=500)
    parser.add_argument("--num-candidates", type=int, default=16)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--problem-seed", type=int, default=0, help="Which problems; labels use 0 of train.")
    args = parser.parse_args()
    prms = load_prms(args.run)
    policy = AutoModelForImageTextToText.from_pretrained(args.run / "policy").eval()
    scorer = PRMScorer(*prms["judge + MC labels, hard"])
    models = Models(policy, AutoProcessor.from_pretrained(args.run / "policy"), scorer, names={})
    problems = nano_problems(args.split, args.num_problems, args.problem_seed)
    solved = solve_nano(problems, models, args.num_candidates)
    results = {name: report(solved, PRMScorer(*prm)) for name, prm in prms.items()}
    print(f"{'PRM':<26}{'step AUROC':>11}{'prefix AUROC':>14}{'best-of-n':>11}{'weighted':>10}")
    for name, row in results.items():
        best, weighted = (100 * row["metrics"][metric]["value"] for metric in ("best_of_n", "weighted_vote"))
        print(f"{name:<26}{row['step_auroc']:>11.3f}{row['prefix_auroc']:>14.3f}{best:>11.1f}{weighted:>10.1f}")
    shared = {key: round(100 * value["value"], 1) for key, value in row["metrics"].items()}
    print(json.dumps({key: shared[key] for key in ("greedy", "mean_pass_at_1", "majority_vote", "oracle")}))
    write_json(args.output, {"split": args.split, "num_problems": args.num_problems, "prms": results})


if __name__ == "__main__":
    main()
