"""The step labels of `run.sh` against the nano world's exact step checker: statistics, cost and noise, as JSON.

    mmprm label --output out/nano/labels --num-problems 1000 --config recipes/nano/label.yaml
    python recipes/nano/label_truth.py --labels out/nano/labels

Truth of a step is "this step and all before it are right". Each distinct labelled prefix counts once. AUROC: the label
against the truth. Two ways to be wrong: a right prefix labelled 0, a wrong one labelled above 0 (the policy can
recover, or errs in a way that does not matter). First error: over the paths, the first step labelled 0 (or none) is
the first wrong one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets

from mmprm_hf.files import write_json
from mmprm_hf.labelling.labels import IGNORE_LABEL
from mmprm_hf.metrics import auroc, first_error_accuracy, predict_first_error
from mmprm_hf.nano import problem_from_id

RESULTS = Path(__file__).parent / "results"
SHOWN = (
    "num_rows", "num_problems", "num_steps", "num_labelled_steps", "num_zero_steps", "mean_label", "positive_share",
    "mean_steps_per_row", "num_distinct_labelled_prefixes", "copies_per_prefix", "max_copies_per_prefix",
    "labels_by_tenth", "num_steps_by_source", "rows_by_num_steps", "num_rows_by_split",
)  # fmt: skip


def label_truth(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how label rows of nano problems agree with exact truth.

    Args:
        rows: Label rows, see `label_features`; `images` is not read.
    """
    labels: dict[tuple, float] = {}
    truths: dict[tuple, bool] = {}
    first, predicted = [], []
    for row in rows:
        problem = problem_from_id(row["problem_id"])
        is_right = problem.check_prefixes(row["completions"])
        known = [label if label != IGNORE_LABEL else 1.0 for label in row["labels"]]
        first.append(is_right.index(False) if False in is_right else -1)
        predicted.append(predict_first_error(known, 1e-9))
        for index, label in enumerate(row["labels"]):
            if label != IGNORE_LABEL:
                key = (problem.id, *row["completions"][: index + 1])
                labels[key], truths[key] = label, is_right[index]
    of_right = [labels[key] for key, truth in truths.items() if truth]
    of_wrong = [labels[key] for key, truth in truths.items() if not truth]
    return {
        "num_labels": len(labels),
        "num_paths": len(first),
        "auroc": auroc([truths[key] for key in labels], list(labels.values())),
        "right_labelled_zero": sum(label == 0 for label in of_right) / len(of_right),
        "num_right": len(of_right),
        "wrong_labelled_above_zero": sum(label > 0 for label in of_wrong) / len(of_wrong),
        "num_wrong": len(of_wrong),
        "first_error": first_error_accuracy(first, predicted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, default=Path("out/nano/labels"))
    parser.add_argument("--output", type=Path, default=RESULTS / "labels.json")
    args = parser.parse_args()
    rows = datasets.concatenate_datasets(list(datasets.load_dataset(str(args.labels), "paths").values()))
    statistics = json.loads((args.labels / "statistics.json").read_text(encoding="utf-8"))
    summary = json.loads((args.labels / "summary.json").read_text(encoding="utf-8"))
    results = {
        "statistics": {name: statistics[name] for name in SHOWN},
        "summary": {name: value for name, value in summary.items() if name != "sessions"},
        "truth": label_truth(rows.remove_columns("images")),
    }
    write_json(args.output, results)
    print(json.dumps(results["truth"], indent=1))


if __name__ == "__main__":
    main()
