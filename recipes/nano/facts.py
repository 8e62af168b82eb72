"""Facts of the shipped models, the nano dataset and its step labels, and their cards, from the results of a run.

    mmprm evaluate nano --curves --diagnose -o recipes/nano/results/evaluate.json    # then
    python recipes/nano/facts.py

Numbers come from `recipes/nano/results/*.json`, the checkpoints' `made_by.json`, and the problems as they are drawn
here; none is typed by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from corpus import COMMON_MISCONCEPTIONS, RARE_MISCONCEPTION, SLIPS
from data_facts import CITATION, MISUSES, RESULTS, dataset_facts, read, steps_facts, twin_words
from transformers import AutoModel, AutoModelForImageTextToText

from mmprm_hf.files import write_json
from mmprm_hf.nano import FAMILIES, POLICY_PATH, PRM_PATH
from mmprm_hf.publish import write_card

ROOT = Path(__file__).parent.parent.parent
NAMES = {
    "greedy": "greedy accuracy",
    "mean_pass_at_1": "mean pass@1, temperature 1",
    "majority_vote": "majority vote@16",
    "best_of_n": "PRM best-of-16",
    "weighted_vote": "PRM-weighted vote@16",
    "oracle": "oracle pass@16",
}
LIMITS = [
    "Knows the nano world's figures (144 x 144 pixels, drawn by this package) and its short English questions; on "
    "anything else its output means nothing.",
    "Made to run and measure every stage of the method on a laptop, not to solve real problems.",
]

EVALUATE = "mmprm evaluate nano"


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
