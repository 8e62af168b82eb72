"""The curation stage: from raw sources to a dataset folder with its card, in MM-K12's schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..curation import REPAIRS, SPLITS, CurationConfig, curate, solved_without_figure
from ..data import Problem
from ..engines import run_async
from ..files import check_outside, lock_folder, write_atomically, write_json
from ..publish import PROBLEM_COLUMNS, hub_license, write_card
from ..rows import FigureRules, hub_configs
from .options import Servers, read_config
from .places import replace_output_folder

_SUMMARY = (
    "Problems with figures and answers that rules can verify, in MM-K12's schema. Every row that was left out "
    "was left out under a named criterion, and is counted below."
)
_OWN_FILES = ("curation.json", "curate.yaml", "rejects.jsonl", "text_only.jsonl")  # an unfinished run has some
_ADVICE = {
    "uses": ["Labelling steps (`mmprm label --data`); reranking and evaluation with answers that rules check."],
    "misuses": [
        "Training on the test split, or on anything that shares a `split_group` with it.",
        "Redistribution against the licenses of the sources, which stay what they were.",
    ],
    "limits": [
        "The criteria are heuristics about texts and pixels; `rejects.jsonl` holds every decision for reading.",
        "Answers were checked for being verifiable, not for being right.",
    ],
}


@dataclasses.dataclass(frozen=True)
class DatasetCardConfig:
    """What the card says beside what was counted.

    Args:
        title: Title of the card; None takes the folder's name.
        summary, motivation, collection: Paragraphs of the card.
        license: License of the whole dataset; None takes those of the sources, if all are known.
        license_name: Name of the license where `license` is "other".
    """

    title: str | None = None
    summary: str | None = None
    motivation: str | None = None
    collection: str | None = None
    license: str | None = None
    license_name: str | None = None


def curate_dataset(
    output: str | Path,
    *,
    config: Path | Mapping[str, Any] | None,
    sources: Sequence[Mapping[str, Any]] = (),
    options: Mapping[str, Any] | None = None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Curate sources into a folder that `load_dataset(folder)` reads, and return the content of ``curation.json``.

    Writes what `curate` does, ``curate.yaml`` (all options of the run, for `mmprm curate --config`), ``facts.json``
    and the card ``README.md`` that is made from it.

    Args:
        output: Folder to write.
        config: YAML file, or a mapping, with options of `CurationConfig` and `DatasetCardConfig`; None for none.
        sources: More sources, as mappings of the fields of `SourceConfig`.
        options: Options of `CurationConfig` that replace those of `config`; None for none.
        servers: If there is an engine, it is asked to solve the problems without their figures.
        rules: Which figures besides those in the data's folder may be read and fetched.

    Raises:
        UnknownNameError: for an option that does not exist.
        ValueError, OSError: as `curate`.
    """
    output = Path(output)
    curation, card = read_config(config, CurationConfig, DatasetCardConfig)
    curation |= {**(options or {}), "sources": (*curation.get("sources", ()), *sources)}

    def text_only(problems: Sequence[Problem]) -> Mapping[str, tuple[int, int]]:
        return run_async(_ask(problems, servers, output / "text_only.jsonl"))

    model = None if servers.engine is None else text_only
    run = CurationConfig(**curation)
    for source in (*run.sources, *run.benchmarks):
        check_outside(output, source.path)
    replace_output_folder(output, "a curated dataset", _OWN_FILES)
    with lock_folder(output):
        report = curate(run, output, text_only=model, rules=rules)
        _write_options(output / "curate.yaml", {**report["config"], **card})
        write_json(output / "facts.json", dataset_facts(report, DatasetCardConfig(**card), output))
        write_card(output / "facts.json", output / "README.md")
    return report


async def _ask(problems: Sequence[Problem], servers: Servers, path: Path) -> dict[str, tuple[int, int]]:
    """What the server's model solves without the figures."""
    chat = servers.chat(servers.engine)
    try:
        return await solved_without_figure(problems, chat, path)
    finally:
        await chat.close()


def _write_options(path: Path, options: Mapping[str, Any]) -> None:
    """Write the options of a run that are not None."""
    plain = {name: value for name, value in options.items() if value is not None}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)
    write_atomically(path, f"# All options of the run. Paths are shortened: put those of your machine.\n{text}")


def dataset_facts(report: Mapping[str, Any], card: DatasetCardConfig, folder: Path) -> dict[str, Any]:
    """Return the facts of a curated dataset's card: what was counted, and what `card` adds."""
    name = folder.resolve().name
    splits = {split: count for split, count in report["splits"].items() if count}
    licenses = list(dict.fromkeys(map(hub_license, report["composition"]["license"])))
    known_licenses = None if "not-known" in licenses else licenses[0] if len(licenses) == 1 else licenses
    unknown = sorted({column for source in report["sources"] for column in source["unknown_columns"]})
    missing = [f"The sources do not tell {', '.join(unknown)} of all rows; those cells are null."] if unknown else []
    return {
        "kind": "dataset",
        "name": card.title or name,
        "summary": card.summary or _SUMMARY,
        "motivation": card.motivation,
        "composition": report["composition"],
        "collection": card.collection,
        **_counted_facts(report),
        "splits": splits,
        "features": PROBLEM_COLUMNS,
        "configs": hub_configs(folder, {"default": ""}, SPLITS),
        "command": f"mmprm curate --config curate.yaml --output {name}  # with your paths in curate.yaml",
        "seed": report["config"]["seed"],
        "how_to_use": "from datasets import load_dataset\n\n"
        f'dataset = load_dataset("{name}", split="{next(iter(splits))}")',
        **_ADVICE,
        "limits": [*_ADVICE["limits"], *missing],
        "license": card.license or known_licenses,
        "license_name": card.license_name,
        "language": [language for language in report["composition"]["language"] if language != "other"],
        "task_categories": ["visual-question-answering"],
    }


def _counted_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Sources, criteria in force, drop table, repairs and pairs."""
    sources, config, pairs = report["sources"], report["config"], report["pairs"]
    reasons = {reason for source in sources for reason in source["num_dropped"]}
    in_force = {  # of criteria that may have had nothing to drop; they would only fill the table
        "language": bool(config["languages"]),
        "in_benchmark": bool(report["benchmarks"]),
        "solved_without_figure": False,
        "in_test": False,
        "over_the_limit": config["num_train"] is not None or config["num_test"] is not None,
    }
    criteria = [reason for reason in report["criteria"] if reason in reasons or in_force.get(reason, True)]
    repairs: dict[str, int] = {}
    for source in sources:
        for repair, count in source["repairs"].items():
            repairs[REPAIRS[repair]] = repairs.get(REPAIRS[repair], 0) + count
    benchmarks = [
        f"{benchmark['name']} ({benchmark['num_read'] - benchmark['num_unreadable']:,} of {benchmark['num_read']:,})"
        for benchmark in report["benchmarks"]
    ]
    return {
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
        "criteria": {reason: report["criteria"][reason] for reason in criteria},
        "drops": [
            {"source": source["name"], **{key: source[key] for key in ("num_read", "num_kept", "num_dropped")}}
            for source in sources
        ],
        "repairs": repairs,
        "statistics": {
            "pairs of the same text, answer and figure": pairs["exact"],
            "pairs of nearly the same text, or like text and figure, and the same answer": pairs["near"],
            "pairs of variants (another answer or figure), kept on one side of the split": pairs["variant"],
            "split groups of several problems": report["groups_of_several"],
            "problems in the largest one": report["largest_group"],
            "pairs of the same text and figure with another answer, both dropped": pairs["conflict"],
            "benchmarks that were kept out (rows that could be read)": ", ".join(benchmarks) or "none",
        },
    }


def format_curation(report: Mapping[str, Any]) -> str:
    """Return the drop table as text: a line per reason, a column per source."""
    sources = report["sources"]
    rows = {"read": [source["num_read"] for source in sources]}
    for reason in report["criteria"]:
        counts = [source["num_dropped"].get(reason, 0) for source in sources]
        rows |= {reason: counts} if any(counts) else {}
    rows["kept"] = [source["num_kept"] for source in sources]
    width, widths = max(map(len, rows)), [max(len(source["name"]), 6) for source in sources]
    lines = [" " * width + "".join(f"  {source['name']:>6}" for source in sources)]
    for name, counts in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"  {count:>{w},}" for count, w in zip(counts, widths, strict=True)))
    lines += ["", "splits: " + ", ".join(f"{split} {count:,}" for split, count in report["splits"].items())]
    for source in sources:
        if source["unknown_columns"]:
            lines.append(f"{source['name']} has no {', '.join(source['unknown_columns'])}")
    for benchmark in report["benchmarks"]:
        if benchmark["num_unreadable"]:
            count = f"{benchmark['num_unreadable']:,} of {benchmark['num_read']:,} rows"
            lines.append(f"{count} of the benchmark {benchmark['name']} cannot be read; nothing was compared with them")
    return "\n".join(lines)
