"""Reads values from a results document: figures by their path, a step benchmark's main figure and parts, and names.

Takes what `mmprm_hf.rows.check_results` has checked; what is null there is None here. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PARTS: dict[str, str] = {"sources": "source", "subsets": "subset", "categories": "category"}
"""Where a step benchmark has its figures per part, and what it calls a part."""

MAIN_FIGURES: dict[str, str] = {"macro_f1": "macro-F1", "average_f1": "average F1", "prm_score": "PRMScore"}
"""Main figure of each step benchmark (VisualProcessBench, ProcessBench, PRMBench), and its name."""


def get(document: Any, *keys: str) -> Any:
    """The value under nested keys; None where one of them is missing."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def metric(document: Mapping[str, Any], name: str, key: str = "value") -> float | None:
    """One number of the best-of-N table."""
    return get(document, "best_of_n", "metrics", name, key)


def parts_of(steps: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """What a step benchmark calls a part, and the figures of each part."""
    for key, word in PARTS.items():
        if steps.get(key):
            return word, steps[key]
    return "part", {}


def main_figure(steps: Mapping[str, Any]) -> tuple[str, float | None]:
    """Name and value of a step benchmark's main figure."""
    for key, name in MAIN_FIGURES.items():
        if key in steps:
            return name, steps[key]
    return "main figure", None


class Calibration(NamedTuple):
    """The reliability bins of a section: what they count, their title, the end of their plot's name, bins and error."""

    section: str
    unit: str
    title: str
    suffix: str
    bins: list[Mapping[str, Any]]
    ece: float | None


def calibrations(document: Mapping[str, Any]) -> list[Calibration]:
    """Return the calibrations of a document that have a bin with a measured point."""
    sections = (
        ("diagnosis", ("calibration",), "solutions", "Scores of solutions", "calibration"),
        ("steps", ("calibration",), "steps", "Scores of steps", "step_calibration"),
        ("exact_truth", ("step_level", "calibration"), "steps", "Scores of steps, exact truth", "truth_calibration"),
    )
    measured = []
    for section, path, unit, title, suffix in sections:
        calibration = get(document, section, *path) or {"bins": (), "ece": None}
        bins = [entry for entry in calibration["bins"] if None not in (entry["mean_score"], entry["share_right"])]
        if bins:
            measured.append(Calibration(section, unit, title, suffix, bins, calibration["ece"]))
    return measured


def document_names(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path] = ()) -> list[str]:
    """Return a name for each document: its benchmark, with policy and PRM where the documents differ in them.

    Where these are the same, what else differs is added: aggregation, threshold, other settings, the file; and a number
    where nothing does.

    Args:
        documents: Results documents.
        paths: Their files; or none.

    Example:
        >>> document_names([{"benchmark": "nano", "prm": "a"}, {"benchmark": "nano", "prm": "b"}])
        ['nano · PRM a', 'nano · PRM b']
    """
    names = [str(document.get("benchmark") or "benchmark not named") for document in documents]
    for key, word in (("policy", "policy"), ("prm", "PRM")):
        values = [document.get(key) or None for document in documents]
        does_vary = len({value for value in values if value is not None}) > 1
        for index, (value, others) in enumerate(zip(values, _values_of_namesakes(names, values), strict=True)):
            # Step benchmarks have no policy: that alone is not a difference worth a word.
            if len(others) > 1 or (does_vary and value is not None):
                names[index] += f" · {word} {value or 'not named'}"
    for word, values in _further_facts(documents, paths):
        others = _values_of_namesakes(names, values)
        names = [
            f"{name} · {word} {'not named' if value is None else value}" if len(others[index]) > 1 else name
            for index, (name, value) in enumerate(zip(names, values, strict=True))
        ]
    return [
        f"{name} · {names[: index + 1].count(name)}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _values_of_namesakes(names: Sequence[str], values: Sequence[Any]) -> list[set[Any]]:
    """For every document the values of all that have its name."""
    return [{value for other, value in zip(names, values, strict=True) if other == name} for name in names]


def _further_facts(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> Iterator[tuple[str, list[Any]]]:
    """What may tell documents of one benchmark, policy and PRM apart, a value of each."""
    for word, section in (("aggregation", "best_of_n"), ("threshold", "steps")):
        yield word, [get(document, section, word) for document in documents]
    for key in dict.fromkeys(key for document in documents for key in document.get("settings") or ()):
        values = [get(document, "settings", key) for document in documents]
        yield key.replace("_", " "), [str(value) if isinstance(value, (dict, list)) else value for value in values]
    if paths:
        yield "file", _shortest_names(paths)


def _shortest_names(paths: Sequence[Path]) -> list[str]:
    """The parts of paths in which they differ, with all between them."""
    parts = [path.parts for path in paths]
    shortest = min(map(len, parts))
    start = next((i for i in range(shortest) if len({part[i] for part in parts}) > 1), shortest - 1)
    end = next((i for i in range(shortest - start) if len({part[-1 - i] for part in parts}) > 1), 0)
    return ["/".join(part[start : len(part) - end]) for part in parts]
