"""The curation stage: from raw sources to a dataset folder with its card, in MM-K12's schema."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..curation import REPAIRS, SPLITS, CurationConfig, curate, solved_without_figure
from ..data import Problem
from ..files import write_atomically, write_json
from ..publish import PROBLEM_COLUMNS, hub_license, write_card
from ..rows import hub_configs
from .options import Servers, read_config

TEXT_ONLY_FILE, CONFIG_FILE = "text_only.jsonl", "curate.yaml"


@dataclasses.dataclass(frozen=True)
class DatasetCardConfig:
    """What the card says beside what was counted.

    Args:
        title: Of the card.
        summary, motivation, collection: Paragraphs of it.
        license: Of the whole; None: those of the sources, if all are known.
        license_name: Where `license` is "other".
    """

    title: str | None = None
    summary: str | None = None
    motivation: str | None = None
    collection: str | None = None
    license: str | None = None
    license_name: str | None = None


def curate_dataset(
    output: Path,
    *,
    config: Path | Mapping[str, Any] | None,
    sources: Sequence[Mapping[str, Any]] = (),
    options: Mapping[str, Any] | None = None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    num_samples: int = 4,
) -> dict[str, Any]:
    """Curate sources into a folder that `load_dataset(folder)` reads.

    Writes what `curation.run` does, ``curate.yaml`` (all options, resolved; `mmprm curate --config` reads it),
    ``facts.json`` and the card ``README.md`` made of it.

    Args:
        output: The folder.
        config: YAML file, or a mapping, with options of `CurationConfig` and `DatasetCardConfig`.
        sources: Sources besides those of the configuration, fields of `SourceConfig`.
        options: Options of `CurationConfig` that come before the configuration's.
        servers: Its engine, if there is one, answers the questions without their figures.
        num_samples: Answers per question that it gives.

    Returns:
        The report, `curation.json`.

    Raises:
        ValueError, OSError: As `curation.run`.
    """
    found, card = read_config(config, CurationConfig, DatasetCardConfig)
    found = {**found, **(options or {})}
    found["sources"] = (*found.get("sources", ()), *sources)
    text_only = None if servers.engine is None else _text_only(servers, output / TEXT_ONLY_FILE, num_samples)
    curation = curate(CurationConfig(**found), output, text_only=text_only)
    _write_yaml(output / CONFIG_FILE, curation.report["config"], card)
    configs = hub_configs(output, {"default": ""}, SPLITS)
    facts = dataset_facts(curation.report, DatasetCardConfig(**card), output.resolve().name, configs)
    write_json(output / "facts.json", facts)
    write_card(output / "facts.json", output / "README.md")
    return curation.report


def _write_yaml(path: Path, config: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """The options of a run, those left at None left out."""
    options = {name: value for name, value in {**config, **card}.items() if value is not None}
    text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True, width=1000)
    write_atomically(path, f"# All options of the run. Paths are shortened: put those of your machine.\n{text}")


def _text_only(servers: Servers, path: Path, num_samples: int) -> Any:
    """Asks the server's model for the problems without their figures."""

    def ask(problems: Sequence[Problem]) -> Mapping[str, tuple[int, int]]:
        async def ask_all() -> Mapping[str, tuple[int, int]]:
            chat = servers.chat(servers.engine)
            try:
                return await solved_without_figure(problems, chat, path, num_samples=num_samples)
            finally:
                await chat.close()

        return asyncio.run(ask_all())

    return ask


def dataset_facts(
    report: Mapping[str, Any], card: DatasetCardConfig, name: str, configs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The facts of a curated dataset's card, all from the run's report.

    Args:
        report: `curation.json`.
        card: What only people know.
        name: Of the folder, and the title where `card` has none.
        configs: Hub configs of its files.
    """
    sources = report["sources"]
    licenses = list(dict.fromkeys(map(hub_license, report["composition"]["license"])))
    known = None if "not-known" in licenses else licenses[0] if len(licenses) == 1 else licenses
    unknown = sorted({column for source in sources for column in source["unknown_columns"]})
    missing = [f"The sources do not tell {', '.join(unknown)} of all rows; those cells are null."] if unknown else []
    languages = [name for name in report["composition"]["language"] if name != "other"]
    repairs: dict[str, int] = {}
    for source in sources:
        for repair, count in source["repairs"].items():
            repairs[REPAIRS[repair]] = repairs.get(REPAIRS[repair], 0) + count
    reasons = {reason for source in sources for reason in source["num_dropped"]}
    splits = {split: count for split, count in report["splits"].items() if count}
    return {
        "kind": "dataset",
        "name": card.title or name,
        "summary": card.summary
        or "Problems with figures and answers that rules can verify, in MM-K12's schema. Every row that was left out "
        "was left out under a named criterion, and is counted below.",
        "motivation": card.motivation,
        "composition": report["composition"],
        "collection": card.collection,
        "sources": [
            {
                "name": source["name"],
                "license": source["license"],
                "num_rows": source["num_kept"],
                "url": source["url"],
                "note": source["note"],
            }
            for source in sources
        ],
        "criteria": {
            reason: words for reason, words in report["criteria"].items() if _is_asked(reason, report, reasons)
        },
        "drops": [
            {
                "source": source["name"],
                "num_read": source["num_read"],
                "num_kept": source["num_kept"],
                "num_dropped": source["num_dropped"],
            }
            for source in sources
        ],
        "repairs": repairs,
        "statistics": _pair_statistics(report),
        "splits": splits,
        "features": PROBLEM_COLUMNS,
        "configs": list(configs),
        "command": f"mmprm curate --config curate.yaml --output {name}  # with your paths in curate.yaml",
        "seed": report["config"]["seed"],
        "how_to_use": "from datasets import load_dataset\n\n"
        f'dataset = load_dataset("{name}", split="{next(iter(splits))}")',
        "uses": [
            "Labelling steps (`mmprm label --data`); reranking and evaluation with answers that rules check.",
        ],
        "misuses": [
            "Training on the test split, or on anything that shares a `split_group` with it.",
            "Redistribution against the licenses of the sources, which stay what they were.",
        ],
        "limits": [
            "The criteria are heuristics about texts and pixels; `rejects.jsonl` holds every decision for reading.",
            "Answers were checked for being verifiable, not for being right.",
            *missing,
        ],
        "license": card.license or known,
        "license_name": card.license_name,
        "language": languages,
        "task_categories": ["visual-question-answering"],
    }


def _pair_statistics(report: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of problems that belong together, under names for readers."""
    return {
        "pairs of the same text, answer and figure": report["pairs"]["exact"],
        "pairs of nearly the same text, or like text and figure, and the same answer": report["pairs"]["near"],
        "pairs of variants (another answer or figure), kept on one side of the split": report["pairs"]["variant"],
        "split groups of several problems": report["groups_of_several"],
        "problems in the largest one": report["largest_group"],
        "pairs of the same text and figure with another answer, both dropped": report["pairs"]["conflict"],
        "benchmarks that were kept out (rows that could be read)": ", ".join(
            f"{entry['name']} ({entry['num_read'] - entry['num_unreadable']:,} of {entry['num_read']:,})"
            for entry in report["benchmarks"]
        )
        or "none",
    }


def _is_asked(reason: str, report: Mapping[str, Any], reasons: set[str]) -> bool:
    """Whether a criterion was in force: those that nothing could fail would only fill the table."""
    config = report["config"]
    in_force = {
        "language": bool(config["languages"]),
        "in_benchmark": bool(report["benchmarks"]),
        "solved_without_figure": False,
        "in_test": False,
        "over_the_limit": config["num_train"] is not None or config["num_test"] is not None,
    }
    return reason in reasons or in_force.get(reason, True)


def format_curation(report: Mapping[str, Any]) -> str:
    """The drop table as text: a line per reason, a column per source."""
    sources = report["sources"]
    reasons = [reason for reason in report["criteria"] if any(reason in source["num_dropped"] for source in sources)]
    rows = [("read", *(source["num_read"] for source in sources))]
    rows += [(reason, *(source["num_dropped"].get(reason, 0) for source in sources)) for reason in reasons]
    rows += [("kept", *(source["num_kept"] for source in sources))]
    titles = [source["name"] for source in sources]
    width = max(len(row[0]) for row in rows)
    widths = [max(len(title), 6) for title in titles]
    lines = [" " * width + "".join(f"  {title:>{w}}" for title, w in zip(titles, widths, strict=True))]
    for name, *counts in rows:
        lines.append(f"{name:<{width}}" + "".join(f"  {c:>{w},}" for c, w in zip(counts, widths, strict=True)))
    splits = ", ".join(f"{split} {count:,}" for split, count in report["splits"].items())
    unknown = [
        f"{source['name']} tells no {', '.join(source['unknown_columns'])}"
        for source in sources
        if source["unknown_columns"]
    ]
    unread = [
        f"{entry['num_unreadable']:,} of {entry['num_read']:,} rows of the benchmark {entry['name']} cannot be read: "
        "what is near them was not looked for"
        for entry in report["benchmarks"]
        if entry["num_unreadable"]
    ]
    return "\n".join([*lines, "", f"splits: {splits}", *unknown, *unread])


__all__ = ["DatasetCardConfig", "curate_dataset", "dataset_facts", "format_curation"]
