"""One set of step labels, a PRM for each way of training on it, and what each is worth on the 500 test problems.

    python recipes/nano/label_mappings.py --run out/nano_mappings

Labels 3,000 train problems (OmegaPRM, an eighth of an hour), trains a PRM for each entry of `WAYS` from the shipped
*policy*, and ranks the same 16 candidates per problem with all of them. Every stage resumes; a finished one is skipped.
Writes the table as `recipes/nano/results/label_mappings.json`.

The policy is not a model that never judged: it is fine-tuned from the base, which was pretrained to judge with exact
truth. So this compares mappings; it does not show what labels do alone. One seed; labels are filled by `monotone`,
which suits hard labels and not soft ones.

Columns: AUROC of step scores against "this step is right" and "this step and all before it are right" by the exact step
checker; accuracy of the candidate with the best lowest step score, and of the weighted vote. The policy at its markers
(no labels) and the shipped PRM stand beside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from study import report

from mmprm_hf import stages
from mmprm_hf.files import write_json
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, nano_problems
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.stages import load_models
from mmprm_hf.stages.demo_stage import solve_nano

# Differences from `TRAINING` and PRMConfig.
WAYS: dict[str, dict[str, Any]] = {
    "soft": {},
    "hard": {"label_mapping": "hard"},
    "banded": {"label_mapping": "banded"},
    "counts": {"label_mapping": "counts"},
}
TRAINING = {
    "learning_rate": 3.0e-4,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 16,  # packed rows: problems
    "warmup_steps": 20,
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.05,
    "train_sampling_strategy": "group_by_length",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": 20,
    "bf16": True,
    "use_cpu": True,
    "report_to": "none",
    "on_bad_row": "drop",
}
LABELS = {"num_rollouts": 8, "max_rollouts": 40, "num_searches": 4, "validation_share": 0.05}


def train(way: str, run: Path) -> dict[str, Any]:
    """A PRM trained in one way; skipped if it is there."""
    folder = run / way.replace(", ", "_").replace(" ", "_")
    facts = folder / "way.json"
    if facts.exists():
        return json.loads(facts.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prm.yaml"
    config.write_text(yaml.safe_dump({**TRAINING, **WAYS[way]}, sort_keys=False), encoding="utf-8")
    metrics = stages.train(str(POLICY_PATH), run / "labels" / "paths", folder, config=config)
    measured = {"folder": folder.name, "options": WAYS[way], "eval_metrics": metrics}
    write_json(facts, measured)
    return measured


def label(run: Path, num_problems: int) -> None:
    """Step labels of the first train problems."""
    config = run / "label.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(LABELS, sort_keys=False), encoding="utf-8")
    if not (run / "labels" / "statistics.json").exists():
        stages.label(stages.LabelOptions(POLICY_PATH, run / "labels", num_problems=num_problems, config=config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("out/nano_mappings"))
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/label_mappings.json"))
    parser.add_argument("--num-train-problems", type=int, default=3000)
    parser.add_argument("--num-problems", type=int, default=500)
    parser.add_argument("--num-candidates", type=int, default=16)
    args = parser.parse_args()
    label(args.run, args.num_train_problems)
    trained = {way: train(way, args.run) for way in WAYS}
    models = load_models()
    solved = solve_nano(nano_problems("test", args.num_problems), models, args.num_candidates)
    processor = MMPRMProcessor.from_policy(POLICY_PATH)
    prms = {"no labels": (MMPRMModel.from_policy(POLICY_PATH, processor), processor)}
    prms["shipped PRM"] = (models.scorer.model, models.scorer.processor)
    for way, facts in trained.items():
        folder = args.run / facts["folder"]
        prms[way] = (MMPRMModel.from_pretrained(folder), MMPRMProcessor.from_pretrained(folder))
    results = {name: {**report(solved, PRMScorer(*prm)), **trained.get(name, {})} for name, prm in prms.items()}
    statistics = json.loads((args.run / "labels" / "statistics.json").read_text(encoding="utf-8"))
    labels = {name: statistics[name] for name in ("num_rows_by_split", "num_problems", "positive_share")}
    write_json(args.output, {"labels": {**LABELS, **labels}, "training": TRAINING, "prms": results})
    print_table(results)


def print_table(results: dict[str, Any]) -> None:
    """The table of a results file."""
    print(f"{'trained on':<20}{'step AUROC':>11}{'prefix AUROC':>14}{'best-of-16':>12}{'weighted':>10}")
    for name, row in results.items():
        best, weighted = (100 * row["metrics"][metric]["value"] for metric in ("best_of_n", "weighted_vote"))
        print(f"{name:<20}{row['step_auroc']:>11.3f}{row['prefix_auroc']:>14.3f}{best:>12.1f}{weighted:>10.1f}")


if __name__ == "__main__":
    main()
