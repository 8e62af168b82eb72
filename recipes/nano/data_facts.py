"""Facts of the nano dataset and of its step labels, from the results of a run; `facts.py` writes their cards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mmprm_hf.nano import FAMILIES, PRM_PATH, nano_problems
from mmprm_hf.nano.world import stream
from mmprm_hf.publish import PROBLEM_COLUMNS, nano_dataset_facts
from mmprm_hf.publish.dataset_facts import PATH_COLUMNS, TREE_COLUMNS, statistics_in_words

RESULTS = Path(__file__).parent / "results"
NUM_PROBLEMS = {"train": 10_000, "test": 500}
MISUSES = nano_dataset_facts(NUM_PROBLEMS)["misuses"][:1]
CITATION = """@article{du2025mmprm,
  title = {MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision},
  author = {Du, Lingxiao and others},
  journal = {arXiv preprint arXiv:2505.13427},
  year = {2025}
}"""


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def twin_words() -> str:
    """Test problems whose facts were in training."""
    twins = read(RESULTS / "without_twins.json")
    in_stream, in_corpus = twins["num_twins_in_stream"], twins["num_twins_in_corpus"]
    return (
        f"{twins['num_twins']} of the 500 test problems have a twin in training: another figure (other distractor, "
        f"other places) with the same question and the same facts. {in_stream} have one in the stream of the base, "
        f"{in_corpus} in the corpus of the policy (`python recipes/nano/twins.py`)."
    )


def num_drawn(split: str) -> int:
    """How many problems of a split are drawn until there are enough of distinct content."""
    seen: set[str] = set()
    for count, problem in enumerate(stream(split), 1):
        seen.add(problem.content_id)
        if len(seen) == NUM_PROBLEMS[split]:
            return count
    raise AssertionError("the stream never ends")


def drop_fact(split: str) -> dict[str, Any]:
    """What became of the problems drawn for a split."""
    num_read, num_kept = num_drawn(split), NUM_PROBLEMS[split]
    return {
        "source": split,
        "num_read": num_read,
        "num_kept": num_kept,
        "num_dropped": {"same content": num_read - num_kept},
    }


def family_counts(split: str) -> dict[str, int]:
    """Problems of each family in a split."""
    counts = Counter(problem.family for problem in nano_problems(split, NUM_PROBLEMS[split]))
    return {family: counts[family] for family in FAMILIES}


def dataset_facts() -> dict[str, Any]:
    """The nano dataset."""
    twins = read(RESULTS / "without_twins.json")
    facts = nano_dataset_facts(NUM_PROBLEMS)
    return {
        **facts,
        "composition": {f"family, {split}": family_counts(split) for split in NUM_PROBLEMS},
        "criteria": {"same content": "Shows and asks the same as an earlier problem of the split."},
        "drops": [drop_fact(split) for split in NUM_PROBLEMS],
        "statistics": {
            **facts["statistics"],
            "test problems with a twin among the train problems": twins["num_twins_in_corpus"],
            "test problems with a twin in the endless stream of train problems that the base saw": twins[
                "num_twins_in_stream"
            ],
        },
        "limits": [
            *facts["limits"],
            twin_words(),
        ],
    }


def label_noise_facts(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The labels of `run.sh` against exact truth, and estimates of the same search against many rollouts."""
    first = truth["first_error"]
    command = "python recipes/nano/label_truth.py --labels out/nano/labels"
    rows = [
        ("AUROC of label against truth", truth["auroc"], f"{truth['num_labels']:,} distinct labelled prefixes"),
        (
            "percent of right prefixes labelled 0",
            100 * truth["right_labelled_zero"],
            f"{truth['num_right']:,} right prefixes",
        ),
        (
            "percent of wrong prefixes labelled above 0",
            100 * truth["wrong_labelled_above_zero"],
            f"{truth['num_wrong']:,} wrong prefixes",
        ),
        (
            "percent of paths whose first label of 0 is at the first wrong step",
            100 * first["error_accuracy"],
            f"{first['num_error']:,} paths with a wrong step",
        ),
        (
            "percent of paths with no label of 0",
            100 * first["correct_accuracy"],
            f"{first['num_correct']:,} paths without a wrong step",
        ),
    ]
    facts = [{"metric": name, "value": round(value, 4), "split": on, "command": command} for name, value, on in rows]
    quality = read(RESULTS / "label_quality.json")
    row = quality["budgets"]["64"]["OmegaPRM, bounds"]
    on = (
        f"{row['num_error_prefixes']} prefixes of other train problems that all compared searches estimate, "
        "same search with up to 64 rollouts a problem, "
        "against 128 fresh rollouts"
    )
    command = "python recipes/nano/label_quality.py"
    for name, key in (("mean absolute error", "mean_absolute_error"), ("mean error", "mean_error")):
        metric = f"{name} of an estimate"
        facts.append({"metric": metric, "value": round(row[key], 4), "split": on, "command": command})
    return facts


def steps_facts() -> dict[str, Any]:
    """The step labels of `run.sh`, as `label_truth.py` found them."""
    labels, shipped = read(RESULTS / "labels.json"), read(PRM_PATH / "made_by.json")["labels"]
    statistics, summary = labels["statistics"], labels["summary"]
    num_mixed, num_trees = summary["num_mixed"], summary["num_trees"]
    words = yaml.safe_load((Path(__file__).parent / "steps_card.yaml").read_text(encoding="utf-8"))
    source = {"name": "Nano K12 problems, train", "license": "apache-2.0", "num_rows": summary["num_problems"]}
    dropped = {"no tree": summary["num_failed"], "never or always solved": num_trees - num_mixed}
    names = {"paths": statistics["num_rows_by_split"], "trees": {"train": num_trees}, "problems": {"train": num_trees}}
    return {
        **words,
        "splits": names,
        "features": {"paths": PATH_COLUMNS, "trees": TREE_COLUMNS, "problems": PROBLEM_COLUMNS},
        "composition": {"steps in a path": statistics["rows_by_num_steps"]},
        "sources": [{**source, "note": "Rows are problems. Solutions by the nano policy."}],
        "drops": [
            {
                "source": "problems",
                "num_read": summary["num_problems"],
                "num_kept": num_mixed,
                "num_dropped": dropped,
            }
        ],
        "label_noise": label_noise_facts(labels["truth"]),
        "statistics": statistics_in_words(statistics),
        "ledger": summary,
        "misuses": [*MISUSES, *words["misuses"]],
        "limits": [
            *words["limits"],
            f"Not the rows that the shipped PRM was trained on: those came from an earlier version of the search "
            f"({shipped['num_rollouts']:,} rollouts, {shipped['num_mixed']} problems solved sometimes).",
            f"The time is that of one thread beside other work; the earlier run took {shipped['seconds']} s.",
        ],
        "citation": CITATION,
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": f"{name}/train.parquet"}],
                **({"default": True} if name == "paths" else {}),
            }
            for name in names
        ],
    }
