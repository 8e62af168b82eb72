"""Facts of the shipped models and the nano dataset, and their cards, from the results of a run.

    python recipes/nano/facts.py            # after `mmprm evaluate --output recipes/nano/results/evaluate.json`

Numbers come from `recipes/nano/results/*.json` and the checkpoints' `made_by.json`; none is typed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoModel, AutoModelForImageTextToText

from mmprm_hf.files import write_json
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.corpus import COMMON_MISCONCEPTIONS, RARE_MISCONCEPTION, SLIPS
from mmprm_hf.nano.families import FAMILIES
from mmprm_hf.publish.cards import write_card

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


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def results(evaluation: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Best-of-N metrics as result facts."""
    split = f"{evaluation['num_problems']} nano test problems"
    return [
        {
            "metric": NAMES[name],
            **{key: round(evaluation["metrics"][name][key], 4) for key in ("value", "ci_low", "ci_high")},
            "split": split,
            "command": "mmprm evaluate",
        }
        for name in names
    ]


def step_results(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Step-level metrics as result facts."""
    facts = []
    for key, words in (("step_level", "each step by itself"), ("prefix_level", "step and all before it")):
        row = evaluation[key]
        split = f"{row['num_steps']} steps of the policy's own candidates, exact truth"
        for metric in ("auroc", "macro_f1"):
            name = {"auroc": "AUROC", "macro_f1": f"macro-F1 at {row['threshold']:.3f} (chosen on train problems)"}
            facts.append(
                {
                    "metric": f"{name[metric]}, {words}",
                    "value": round(row[metric], 4),
                    "split": split,
                    "command": "mmprm evaluate",
                }
            )
    return facts


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
        "limits": [
            *LIMITS,
            *([made_by["note"]] if made_by["note"] else []),
            "Errs on purpose: its corpus holds the mistakes listed above.",
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
        "hyper_parameters": yaml.safe_load((Path(__file__).parent / "prm.yaml").read_text(encoding="utf-8")),
        "compute": made_by["compute"],
        "results": [
            *step_results(evaluation),
            *results(evaluation, ["mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle"]),
        ],
        "how_to_use": "import mmprm_hf\nfrom mmprm_hf.nano import PRM_PATH\n"
        "from transformers import AutoModel, AutoProcessor\n\n"
        "prm = AutoModel.from_pretrained(PRM_PATH)\nprocessor = AutoProcessor.from_pretrained(PRM_PATH)\n"
        'inputs = processor(images=figure, text="Find angle C.", steps=["A=47", "B=58"])\n'
        "print(prm(**inputs).step_scores())",
        "limits": [*LIMITS, *([made_by["note"]] if made_by["note"] else [])],
        "license": "apache-2.0",
        "citation": CITATION,
        "language": ["en"],
    }


def dataset_facts() -> dict[str, Any]:
    """The nano dataset."""
    twins = read(RESULTS / "without_twins.json")["num_twins"]
    return {
        "kind": "dataset",
        "name": "Nano K12 problems",
        "summary": "Procedural problems with a rendered figure, an exact answer and (in `mmprm_hf.nano`) an exact step "
        "checker. The numbers needed stand only in the figure. Same shape as MM-K12.",
        "splits": {"train": 10_000, "test": 500},
        "features": {
            "id": "string; `mmprm_hf.nano.world.problem_from_id` rebuilds the problem",
            "images": "list of images, one figure of 144 x 144 pixels",
            "question": "string",
            "options": "list of strings, empty",
            "answer": "string, a number",
            "answer_type": "string, `number`",
            "subject": "string, the family",
            "grade": "int, 6",
            "source": "string, `nano`",
            "license": "string",
            "split_group": "string, hash of all that is asked and shown (style excluded); the splits share none",
        },
        "families": {name: (maker.__doc__ or "").strip() for name, maker in FAMILIES.items()},
        "command": "mmprm data --output out/nano/data",
        "seed": 0,
        "how_to_use": 'from datasets import load_dataset\n\ndataset = load_dataset("out/nano/data")',
        "limits": [
            "Synthetic: eleven families, short English questions, no text beyond two characters in figures.",
            f"{twins} of the 500 test problems have a twin among the train problems: another figure (other distractor, "
            "other places) with the same question and the same facts (`python recipes/nano/twins.py`).",
        ],
        "license": "apache-2.0",
        "language": ["en"],
        "task_categories": ["visual-question-answering"],
    }


def main() -> None:
    evaluation = read(RESULTS / "evaluate.json")
    for folder, facts in (
        (ROOT / "model_cards" / "nano-policy", policy_facts(evaluation)),
        (ROOT / "model_cards" / "nano-prm", prm_facts(evaluation)),
        (ROOT / "dataset_cards" / "nano", dataset_facts()),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "facts.json", facts)
        write_card(folder / "facts.json", folder / "README.md")


if __name__ == "__main__":
    main()
