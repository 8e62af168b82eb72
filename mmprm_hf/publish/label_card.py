"""The card of a label folder: facts from what the labelling run wrote, and words that people added."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_json
from .cards import write_card
from .columns import PATH_COLUMNS, PROBLEM_COLUMNS, TREE_COLUMNS

CRITERIA = {
    "no tree": "The search failed, or found an equal problem labelled already.",
    "never or always solved": "All decided rollouts of the problem are right, or none is, so that labels tell no step "
    "from another.",
}
_WORDS = (
    "name", "status", "summary", "motivation", "collection", "label_noise", "results", "uses", "misuses", "limits",
    "license_name", "citation", "task_categories", "language", "tags",
)  # fmt: skip
"""Facts that a run does not know better than whoever edited the file."""


def statistics_in_words(statistics: Mapping[str, Any]) -> dict[str, float | None]:
    """What `statistics.json` of a label folder says, under names for readers."""
    by_source = statistics["num_steps_by_source"]
    return {
        "paths": statistics["num_rows"],
        "problems with a path": statistics["num_problems"],
        "steps": statistics["num_steps"],
        "steps with a label": statistics["num_labelled_steps"],
        "of them with an estimate of their own": by_source["estimate"],
        "of them settled by another step of the path": by_source["bound"],
        "steps labelled 0": statistics["num_zero_steps"],
        **{
            f"steps labelled {tenth / 10:.1f} to {(tenth + 1) / 10:.1f}": count
            for tenth, count in enumerate(statistics["labels_by_tenth"])
        },
        "mean label": statistics["mean_label"],
        "steps a path": statistics["mean_steps_per_row"],
        "distinct labelled prefixes": statistics["num_distinct_labelled_prefixes"],
        "paths that share one, mean": statistics["copies_per_prefix"],
        "paths that share one, most": statistics["max_copies_per_prefix"],
    }


def hub_license(name: str) -> str:
    """A license as the Hub spells identifiers: in lower case, with hyphens.

    Example:
        >>> hub_license("CC BY 4.0"), hub_license("Apache-2.0")
        ('cc-by-4.0', 'apache-2.0')
    """
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def label_facts(
    statistics: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    configs: Sequence[Mapping[str, Any]],
    name: str,
    *,
    keeps_all: bool = False,
    has_rollouts: bool = True,
) -> dict[str, Any]:
    """Facts of a label folder's card.

    Args:
        statistics: Its `statistics.json`.
        summary: Its `summary.json`, None where there is none (trees that were merged).
        configs: Hub configs of its files.
        name: Of the folder.
        keeps_all: Whether problems that are always or never solved give rows, too.
        has_rollouts: Whether trees have their rollouts.
    """
    licenses = [source["license"] for source in statistics["sources"]]
    known = list(dict.fromkeys(map(hub_license, licenses))) if licenses and None not in licenses else None
    tree_columns = {name: words for name, words in TREE_COLUMNS.items() if has_rollouts or name != "rollouts"}
    drops = []
    if summary is not None:
        num_left = summary["num_problems"] - summary["num_trees"]
        num_same = 0 if keeps_all else summary["num_trees"] - summary["num_mixed"]
        dropped = {"no tree": num_left, "never or always solved": num_same}
        num_kept = summary["num_trees"] - num_same
        counts = {"num_read": summary["num_problems"], "num_kept": num_kept, "num_dropped": dropped}
        drops = [{"source": "problems", **counts}]
    return {
        "kind": "dataset",
        "name": f"Step labels: {name}",
        "summary": "Solutions with a Monte Carlo estimate for every step: how often the answer still comes out right "
        "from there. Beside them the search trees that the estimates come from, and the problems.",
        "splits": {
            "paths": statistics["num_rows_by_split"],
            "trees": statistics["num_trees_by_split"],
            "problems": statistics["num_problems_by_split"],
        },
        "features": {"paths": PATH_COLUMNS, "trees": tree_columns, "problems": PROBLEM_COLUMNS},
        "composition": {"steps in a path": statistics["rows_by_num_steps"]},
        "collection": "A search draws solutions of a policy and continues them from their prefixes; the estimate of a "
        "step is the share of decided rollouts behind it that end right. `run.json` names policy, search and sampling.",
        "sources": [
            {
                "name": source["name"] or "not named",
                "license": source["license"],
                "num_rows": source["num_problems"],
                "note": "Rows are problems. Solutions by the policy.",
            }
            for source in statistics["sources"]
        ],
        "criteria": CRITERIA,
        "drops": drops,
        "statistics": statistics_in_words(statistics),
        "ledger": summary or {"num_trees": sum(statistics["num_trees_by_split"].values())},
        "how_to_use": "from datasets import load_dataset\n\n"
        + "\n".join(f'{config} = load_dataset("{name}", "{config}")' for config in ("paths", "trees", "problems")),
        "uses": ["Training a process reward model (`mmprm train`, `PRMTrainer`); studying labels and searches."],
        "misuses": ["As truth: a label says how often this policy still succeeds, not whether the step is right."],
        "limits": [
            "Estimates come from few rollouts: `label_counts` holds how many.",
            "Labels of another policy would be others.",
        ],
        "license": known[0] if known and len(known) == 1 else known,
        "configs": list(configs),
        "task_categories": ["image-text-to-text"],
    }


def write_label_card(folder: Path, configs: Sequence[Mapping[str, Any]]) -> None:
    """Write ``facts.json`` and the card ``README.md`` of a label folder.

    Words in an earlier ``facts.json`` (motivation, limits, noise of labels, ...) stay; its license where the problems
    tell none.

    Args:
        folder: With `statistics.json` and, of a run, `summary.json`.
        configs: Hub configs of its files.
    """
    path = folder / "facts.json"
    statistics, summary = _read(folder / "statistics.json") or {}, _read(folder / "summary.json")
    rows = _read(folder / "rows.json") or {}
    how = {"keeps_all": rows.get("keep") == "all", "has_rollouts": rows.get("tree_rollouts", True)}
    facts = label_facts(statistics, summary, configs, folder.resolve().name, **how)
    before = _read(path) or {}
    kept = {key: before[key] for key in _WORDS if key in before}
    if facts["license"] is None:
        kept["license"] = before.get("license")
    write_json(path, {**facts, **kept})
    write_card(path, folder / "README.md")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


__all__ = ["hub_license", "label_facts", "statistics_in_words", "write_label_card"]
