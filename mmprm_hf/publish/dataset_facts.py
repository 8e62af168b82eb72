"""Facts of the cards of our own datasets: the columns that all share, the nano problems, and a label folder.

Words that all cards of a kind share lie in ``templates/``; a label folder adds what its run and its owner wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from ..nano import FAMILIES
from .cards import write_card
from .rendering import template_data

PROBLEM_COLUMNS, PATH_COLUMNS, TREE_COLUMNS = (
    template_data("columns.json")[config] for config in ("problems", "paths", "trees")
)

_WORDS = (
    "name", "status", "summary", "motivation", "collection", "label_noise", "results", "uses", "misuses", "limits",
    "license_name", "citation", "task_categories", "language", "tags",
)  # fmt: skip
"""Facts that people may edit: a run keeps theirs."""


def nano_dataset_facts(splits: Mapping[str, int]) -> dict[str, Any]:
    """Return facts of a card of nano problems.

    Args:
        splits: Split to number of problems.
    """
    facts = template_data("nano_dataset.json")
    files = [{"split": split, "path": f"{split}.parquet"} for split in splits]
    facts["sources"][0]["num_rows"] = sum(splits.values())
    return facts | {
        "splits": dict(splits),
        "families": {name: (maker.__doc__ or "").strip() for name, maker in FAMILIES.items()},
        "configs": [{"config_name": "default", "data_files": files, "default": True}],
    }


def statistics_in_words(statistics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figures of a label folder's `statistics.json` under names for readers."""
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
    """Return a license as the Hub spells identifiers: in lower case, with hyphens.

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
    """Return facts of a label folder's card.

    Args:
        statistics: Its `statistics.json`.
        summary: Its `summary.json`, None where there is none (trees that were merged).
        configs: Hub configs of its files.
        name: Name of the folder.
        keeps_all: Whether problems that are always or never solved give rows, too.
        has_rollouts: Whether trees have their rollouts.
    """
    licenses = [source["license"] for source in statistics["sources"]]
    known = list(dict.fromkeys(map(hub_license, licenses))) if licenses and None not in licenses else None
    trees = {column: words for column, words in TREE_COLUMNS.items() if has_rollouts or column != "rollouts"}
    note = "Rows are problems. Solutions by the policy."
    loading = [f'{config} = load_dataset("{name}", "{config}")' for config in ("paths", "trees", "problems")]
    return template_data("step_labels.json") | {
        "name": f"Step labels: {name}",
        "splits": {
            config: statistics[key]
            for config, key in (
                ("paths", "num_rows_by_split"),
                ("trees", "num_trees_by_split"),
                ("problems", "num_problems_by_split"),
            )
        },
        "features": {"paths": PATH_COLUMNS, "trees": trees, "problems": PROBLEM_COLUMNS},
        "composition": {"steps in a path": statistics["rows_by_num_steps"]},
        "sources": [
            {"name": s["name"] or "not named", "license": s["license"], "num_rows": s["num_problems"], "note": note}
            for s in statistics["sources"]
        ],
        "drops": [] if summary is None else [_drops(summary, keeps_all)],
        "statistics": statistics_in_words(statistics),
        "ledger": summary or {"num_trees": sum(statistics["num_trees_by_split"].values())},
        "how_to_use": "\n".join(["from datasets import load_dataset", "", *loading]),
        "license": known[0] if known and len(known) == 1 else known,
        "configs": list(configs),
    }


def _drops(summary: Mapping[str, Any], keeps_all: bool) -> dict[str, Any]:
    """Problems that were read, kept and dropped."""
    num_same = 0 if keeps_all else summary["num_trees"] - summary["num_mixed"]
    num_without_tree = summary["num_problems"] - summary["num_trees"]
    return {
        "source": "problems",
        "num_read": summary["num_problems"],
        "num_kept": summary["num_trees"] - num_same,
        "num_dropped": {"no tree": num_without_tree, "never or always solved": num_same},
    }


def write_label_card(folder: Path, configs: Sequence[Mapping[str, Any]]) -> None:
    """Write ``facts.json`` and the card ``README.md`` of a label folder.

    Words in an earlier ``facts.json`` (motivation, limits, noise of labels, ...) stay; so does its license where the
    problems have none.

    Args:
        folder: With `statistics.json` and, for a run, `summary.json`.
        configs: Hub configs of its files.
    """
    path = folder / "facts.json"
    statistics, summary = read_json(folder / "statistics.json"), _read(folder / "summary.json")
    rows = _read(folder / "rows.json") or {}
    options = {"keeps_all": rows.get("keep") == "all", "has_rollouts": rows.get("tree_rollouts", True)}
    facts = label_facts(statistics, summary, configs, folder.resolve().name, **options)
    before = _read(path) or {}
    kept = {key: before[key] for key in _WORDS if key in before}
    if facts["license"] is None:
        kept["license"] = before.get("license")
    write_json(path, {**facts, **kept})
    write_card(path, folder / "README.md")


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None
