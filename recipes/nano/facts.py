"""Facts of the shipped models, the nano dataset and its step labels, and their cards, from the results of a run.

    mmprm evaluate nano --curves --diagnose -o recipes/nano/results/evaluate.json    # then
    python recipes/nano/facts.py

Numbers come from `recipes/nano/results/*.json`, the checkpoints' `made_by.json`, and the problems as they are drawn
here; none is typed by hand.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from corpus import COMMON_MISCONCEPTIONS, RARE_MISCONCEPTION, SLIPS
from transformers import AutoModel, AutoModelForImageTextToText

from mmprm_hf.files import write_json
from mmprm_hf.nano import FAMILIES, POLICY_PATH, PRM_PATH, nano_problems
from mmprm_hf.nano.world import stream
from mmprm_hf.publish import PROBLEM_COLUMNS, nano_dataset_facts, write_card
from mmprm_hf.publish.dataset_facts import PATH_COLUMNS, TREE_COLUMNS, statistics_in_words

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results"
NAMES = {
    "greedy": "greedy accuracy",
    "mean_pass_at_1": "mean pass@1, temperature 1",
    "majority_vote": "majority vote@16",
    "best_of_n": "PRM best-of-16",
    "weighted_vote": "PRM-weighted vote@16",
    "oracle": "oracle pass@16",
}
CITATION = """@article{du2025mmprm,
  title = {MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision},
  author = {Du, Lingxiao and others},
  journal = {arXiv preprint arXiv:2505.13427},
  year = {2025}
}"""
LIMITS = [
    "Knows the nano world's figures (144 x 144 pixels, drawn by this package) and its short English questions; on "
    "anything else its output means nothing.",
    "Made to run and measure every stage of the method on a laptop, not to solve real problems.",
]

EVALUATE = "mmprm evaluate nano"
NUM_PROBLEMS = {"train": 10_000, "test": 500}
MISUSES = nano_dataset_facts(NUM_PROBLEMS)["misuses"][:1]


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def results(evaluation: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Best-of-N metrics as result facts."""
    table = evaluation["best_of_n"]
    split = f"{table['num_problems']} nano test problems"
    return [
        {
            "metric": NAMES[name],
            **{key: round(table["metrics"][name][key], 4) for key in ("value", "ci_low", "ci_high")},
            "split": split,
            "command": EVALUATE,
        }
        for name in names
    ]


def step_results(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Step-level metrics as result facts."""
    facts = []
    for key, words in (("step_level", "each step by itself"), ("prefix_level", "step and all before it")):
        row = evaluation["exact_truth"][key]
        split = f"{row['num_steps']} steps of the policy's own candidates, exact truth"
        for metric in ("auroc", "macro_f1"):
            name = {"auroc": "AUROC", "macro_f1": f"macro-F1 at {row['threshold']:.3f} (chosen on train problems)"}
            facts.append(
                {
                    "metric": f"{name[metric]}, {words}",
                    "value": round(row[metric], 4),
                    "split": split,
                    "command": EVALUATE,
                }
            )
    lucky = evaluation["exact_truth"]["false_positives"]
    split = f"{lucky['num_right_answers']} distinct solutions with a right answer, exact truth"
    chosen = f"{lucky['num_chosen']} problems on which the PRM chose a right answer"
    for key, name, of in (
        (
            "flagged_false_positives",
            f"solutions with a wrong step flagged (a step below {lucky['threshold']:.3f})",
            split,
        ),
        ("flagged_sound", "sound solutions flagged", split),
        ("share_false_positives_chosen", "wrong step behind a right answer, chosen by the PRM", chosen),
        ("share_false_positives_random", "wrong step behind a right answer, drawn at random", chosen),
    ):
        facts.append({"metric": name, "value": round(lucky[key], 4), "split": of, "command": EVALUATE})
    return facts


def family_results() -> list[dict[str, Any]]:
    """What the PRM chooses in the families with a planted misconception, and in the others."""
    facts = []
    command = "python recipes/nano/by_family.py"
    for name, figures in read(RESULTS / "by_family.json")["sets"].items():
        split = f"{figures['num_problems']} test problems, families: {name}"
        for metric in ("majority_vote", "best_of_n"):
            value = round(figures["metrics"][metric], 4)
            facts.append({"metric": NAMES[metric], "value": value, "split": split, "command": command})
    return facts


def gain_by_family() -> str:
    """Where the gain over the majority vote comes from, in words."""
    others = read(RESULTS / "by_family.json")["sets"]["others"]
    gain = others["against_majority_vote"]["best_of_n"]
    low, high = (f"{100 * gain[key]:.1f}".replace("-0.0", "0.0") for key in ("ci_low", "ci_high"))
    return (
        f"All of its gain over the majority vote comes from {len(COMMON_MISCONCEPTIONS)} of {len(FAMILIES)} families "
        f"({', '.join(COMMON_MISCONCEPTIONS)}), whose corpus holds a misconception in most solutions, which the base "
        f"was taught, with exact truth, to reject. On the other {others['num_problems']} test problems best-of-16 lies "
        f"{100 * gain['difference']:.1f} points from the majority vote ({low} to {high})."
    )


COMMANDS_THEN = (
    "The commands are those of the run that made it. Base, figures and search have changed since: running them today "
    "makes another model."
)


def twin_words() -> str:
    """Test problems whose facts were in training."""
    twins = read(RESULTS / "without_twins.json")
    in_stream, in_corpus = twins["num_twins_in_stream"], twins["num_twins_in_corpus"]
    return (
        f"{twins['num_twins']} of the 500 test problems have a twin in training: another figure (other distractor, "
        f"other places) with the same question and the same facts. {in_stream} have one in the stream of the base, "
        f"{in_corpus} in the corpus of the policy (`python recipes/nano/twins.py`)."
    )


def policy_facts(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The nano policy."""
    made_by = read(POLICY_PATH / "made_by.json")
    model = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    common = ", ".join(f"{family} {rate:.0%}" for family, rate in COMMON_MISCONCEPTIONS.items())
    return {
        "kind": "policy",
        "name": "Nano policy",
        "summary": "A LLaVA of transformers' own classes that solves nano problems in tagged steps. It ships inside "
        "`mmprm_hf` (`mmprm_hf.nano.POLICY_PATH`) as the policy of the demo.",
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "base_model": "none: trained from random weights",
        "trained_on": f"{made_by['data']}. Fine-tuned on an imperfect corpus: slips ({SLIPS['misread']:.0%} of the "
        f"values read, {SLIPS['slip']:.0%} of the results) and misconceptions ({common}; elsewhere "
        f"{RARE_MISCONCEPTION:.0%}).",
        "recipe": list(made_by["commands"].values()),
        "seed": made_by["seed"],
        "compute": made_by["compute"],
        "results": results(evaluation, ["greedy", "mean_pass_at_1", "majority_vote", "oracle"]),
        "how_to_use": "from mmprm_hf.nano import POLICY_PATH\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        "policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)\n"
        "processor = AutoProcessor.from_pretrained(POLICY_PATH)",
        "uses": [
            "Running every stage that needs a policy (labelling, reranking, GRPO) on a laptop, in tests and the demo."
        ],
        "misuses": MISUSES,
        "limits": [
            *LIMITS,
            *([made_by["note"]] if made_by["note"] else []),
            COMMANDS_THEN,
            "Not a model that never judged: it is fine-tuned from the base, which was pretrained to judge with exact "
            "truth.",
            "Errs on purpose: its corpus holds the mistakes listed above.",
            twin_words(),
        ],
        "license": "apache-2.0",
        "citation": CITATION,
        "language": ["en"],
    }


def prm_facts(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The nano PRM."""
    made_by = read(PRM_PATH / "made_by.json")
    labels = made_by["labels"]
    model = AutoModel.from_pretrained(PRM_PATH)
    return {
        "kind": "prm",
        "name": "Nano PRM",
        "summary": "Scores every step of a nano solution with P(step right). Trained on Monte Carlo step labels of the "
        "nano policy; policy and PRM come from the same base. It ships inside `mmprm_hf` (`mmprm_hf.nano.PRM_PATH`).",
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "base_model": "the nano judge (stage 4 of the recipe), which is the base trained on",
        "trained_on": f"{made_by['data']}. Base: reading, solving and judging with exact truth. Step labels: "
        f"{labels['num_rollouts']} rollouts over {labels['num_trees']} train problems.",
        "recipe": list(made_by["commands"].values()),
        "seed": made_by["seed"],
        "hyper_parameters": {
            **yaml.safe_load((Path(__file__).parent / "prm.yaml").read_text(encoding="utf-8")),
            "per_device_train_batch_size": 64,  # of the shipped run: rows one by one; the YAML's counts packed problems
        },
        "compute": made_by["compute"],
        "results": [
            *step_results(evaluation),
            *results(evaluation, ["mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle"]),
            *family_results(),
        ],
        "how_to_use": "import mmprm_hf\nfrom mmprm_hf.nano import PRM_PATH\n"
        "from transformers import AutoModel, AutoProcessor\n\n"
        "prm = AutoModel.from_pretrained(PRM_PATH)\nprocessor = AutoProcessor.from_pretrained(PRM_PATH)\n"
        'inputs = processor(images=figure, text="Find angle C.", steps=["A=47", "B=58"])\n'
        "print(prm(**inputs).step_scores())",
        "uses": ["Scoring and reranking nano solutions on a laptop, in tests and in the demo."],
        "misuses": MISUSES,
        "limits": [
            *LIMITS,
            gain_by_family(),
            "The step labels add nothing to the base here: without them the judge selects as well "
            "(`recipes/nano/results/stages.json`).",
            *([made_by["note"]] if made_by["note"] else []),
            COMMANDS_THEN,
            twin_words(),
        ],
        "license": "apache-2.0",
        "citation": CITATION,
        "language": ["en"],
    }


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
    labels, made_by = read(RESULTS / "labels.json"), read(PRM_PATH / "made_by.json")
    statistics, summary = labels["statistics"], labels["summary"]
    num_mixed, num_trees, shipped = summary["num_mixed"], summary["num_trees"], made_by["labels"]
    return {
        "kind": "dataset",
        "name": "Nano K12 step labels",
        "status": "Not shipped: the command below makes it in minutes.",
        "summary": "Solutions of the nano policy with a Monte Carlo estimate for every step: how often the answer "
        "still comes out right from there. Beside them the search trees that the estimates come from.",
        "motivation": "To train a nano PRM, and to show what Monte Carlo labels are worth where the truth of every "
        "step is known.",
        "splits": {
            "paths": statistics["num_rows_by_split"],
            "trees": {"train": num_trees},
            "problems": {"train": num_trees},
        },
        "features": {"paths": PATH_COLUMNS, "trees": TREE_COLUMNS, "problems": PROBLEM_COLUMNS},
        "composition": {
            "steps in a path": statistics["rows_by_num_steps"],
        },
        "collection": "For each of 1,000 train problems OmegaPRM draws solutions of the nano policy and looks for the "
        "first wrong step of the wrong ones by bisection; each estimate is the share of 8 rollouts that end right. "
        "Answers are checked by rules. At most 40 rollouts and 4 bisections a problem (`recipes/nano/label.yaml`).",
        "sources": [
            {
                "name": "Nano K12 problems, train",
                "license": "apache-2.0",
                "num_rows": summary["num_problems"],
                "note": "Rows are problems. Solutions by the nano policy.",
            }
        ],
        "command": "mmprm label --output out/nano/labels --num-problems 1000 --config recipes/nano/label.yaml",
        "seed": 0,
        "criteria": {
            "no tree": "The search failed.",
            "never or always solved": "All decided rollouts of the problem are right, or none is, so that labels tell "
            "no step from another.",
        },
        "drops": [
            {
                "source": "problems",
                "num_read": summary["num_problems"],
                "num_kept": num_mixed,
                "num_dropped": {
                    "no tree": summary["num_failed"],
                    "never or always solved": num_trees - num_mixed,
                },
            }
        ],
        "repairs": {"nothing: solutions stay as the policy wrote them": 0},
        "label_noise": label_noise_facts(labels["truth"]),
        "statistics": statistics_in_words(statistics),
        "ledger": summary,
        "how_to_use": "from datasets import load_dataset\n\n"
        'paths = load_dataset("out/nano/labels", "paths")\ntrees = load_dataset("out/nano/labels", "trees")\n'
        'problems = load_dataset("out/nano/labels", "problems")',
        "uses": ["Training a PRM with `PRMTrainer`.", "Studying label noise, label mappings and searches."],
        "misuses": [
            *MISUSES,
            "As truth: a label says how often this policy still succeeds, not whether the step is right.",
        ],
        "limits": [
            "Estimates of 8 rollouts: a right step from which the policy seldom succeeds can be labelled 0, a wrong "
            "one from which it recovers above 0.",
            "Of a problem's search only: its paths are not a sample of the policy's solutions.",
            f"Not the rows that the shipped PRM was trained on: those came from an earlier version of the search "
            f"({shipped['num_rollouts']:,} rollouts, {shipped['num_mixed']} problems solved sometimes).",
            f"The time is that of one thread beside other work; the earlier run took {shipped['seconds']} s.",
        ],
        "license": "apache-2.0",
        "citation": CITATION,
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": f"{name}/train.parquet"}],
                **({"default": True} if name == "paths" else {}),
            }
            for name in ("paths", "trees", "problems")
        ],
        "language": ["en"],
        "task_categories": ["visual-question-answering"],
        "tags": ["process-reward-model", "stepwise-supervision"],
    }


def main() -> None:
    evaluation = read(RESULTS / "evaluate.json")
    for folder, facts in (
        (ROOT / "model_cards" / "nano-policy", policy_facts(evaluation)),
        (ROOT / "model_cards" / "nano-prm", prm_facts(evaluation)),
        (ROOT / "dataset_cards" / "nano", dataset_facts()),
        (ROOT / "dataset_cards" / "nano-steps", steps_facts()),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "facts.json", facts)
        write_card(folder / "facts.json", folder / "README.md")


if __name__ == "__main__":
    main()
