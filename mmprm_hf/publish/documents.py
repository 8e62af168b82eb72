"""Results documents (one evaluation each): read, checked and named. The form is that of `mmprm_hf.evaluation.results`.

Reads JSON only. What a document does not say is None here and "not measured" on a page; what it says wrongly is an
error. Imports level 0 and this room only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .report_rows import parse_json

SCHEMA_VERSION = 1
SECTIONS = ("best_of_n", "curves", "diagnosis", "exact_truth", "steps")

METRICS: tuple[tuple[str, str, str, str], ...] = (
    ("random_distinct", "baseline", "Random among distinct", "a selector that knows nothing, duplicates removed"),
    ("mean_pass_at_1", "baseline", "Mean pass@1", "one random sample"),
    ("greedy", "baseline", "Greedy", "one response at temperature 0"),
    ("majority_vote", "baseline", "Majority vote@{n}", "the commonest answer; no PRM"),
    ("best_of_n", "ours", "PRM best-of-{n}", "the candidate with the highest score"),
    ("weighted_vote", "ours", "PRM-weighted vote@{n}", "answers voted for with the candidates' scores"),
    ("oracle", "ceiling", "Oracle pass@{n}", "a perfect selector: any candidate is right"),
)
"""Key in the results, kind of bar, name and explanation of every metric, in table order."""

PARTS: dict[str, str] = {"sources": "source", "subsets": "subset", "categories": "category"}
"""Where a step benchmark has its figures per part, and what it calls a part."""

MAIN_FIGURES: dict[str, str] = {
    "macro_f1": "macro-F1",
    "average_f1": "average F1",
    "prm_score": "PRMScore",
}
"""Main figure of each step benchmark (VisualProcessBench, ProcessBench, PRMBench), and its name."""

_TEXTS = {"aggregation", "tuned_on"}  # all else in a section is a number
_SHARES = {
    *("value", "ci_low", "ci_high", "mean_score", "share_right", "ece", "auroc", "accuracy", "pooled", "within"),
    *("macro_f1", "average_f1", "prm_score", "f1", "f1_right", "f1_wrong", "error_accuracy", "correct_accuracy"),
    *("mean_of_sources", "mean_of_categories", "control_accuracy", "near_0", "near_1", "ties_at_the_top"),
    *("no_right_candidate", "all_right", "mixed", "best_of_n_on_mixed", "majority_vote_on_mixed", "only_best_of_n"),
    *("only_majority_vote", "share_of_the_commonest", "share_false_positives", "flagged_false_positives"),
    *("flagged_sound", "first_error_found", "share_false_positives_chosen", "share_false_positives_random"),
}
_PROFILE = ("right", "wrong", "num_right", "num_wrong")
_LISTS: dict[str, tuple[str, ...]] = {
    "bins": ("low", "high", "mean_score", "share_right", "num"),
    "by_step": ("step_index", *_PROFILE),
    "by_num_steps": ("num_steps", *_PROFILE),
    "sizes": ("n",),
}
"""Lists of objects, and what each object has."""


def read_document(path: str | Path) -> dict[str, Any]:
    """Return the checked results document in a JSON file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for no JSON, and as `check_document`.
    """
    return check_document(parse_json(Path(path).read_text(encoding="utf-8"), str(path)), str(path))


def check_document(document: dict[str, Any], where: str) -> dict[str, Any]:
    """Return `document` itself if it has the form that pages and tables are made from.

    Args:
        document: A results document.
        where: Its place, for errors.

    Raises:
        ValueError: for another schema version or none, no known section, or a figure that is no number or outside its
            range.
    """
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        found = "no schema_version" if "schema_version" not in document else f"schema_version {version!r}"
        raise ValueError(
            f"Found {found} in {where}. Results of version {SCHEMA_VERSION} are read; evaluate again with this version."
        )
    found = [name for name in SECTIONS if document.get(name) is not None]
    if not found:
        raise ValueError(
            f"Found none of the sections {', '.join(SECTIONS)} in {where}. Results have at least one; evaluate again "
            "with this version."
        )
    for name in ("settings", "rows", "cost", *found):
        if document.get(name) is not None and not isinstance(document[name], Mapping):
            raise ValueError(
                f"{name} in {where} is a {type(document[name]).__name__}. Expected an object; evaluate again with this "
                "version."
            )
    for name in (*found, "cost"):
        _check_figures(document.get(name), (name,), where)
    problems = get(document, "rows", "problems")
    if problems is not None and not (isinstance(problems, Mapping) and all(map(_is_number, problems.values()))):
        raise ValueError(f"rows.problems in {where} is {problems!r}. Expected an object of reasons with their counts.")
    for kind in ("curves", "against_majority_vote"):
        for name, points in (get(document, "curves", kind) or {}).items():
            if not all(isinstance(point, Mapping) and (get(point, "n") or 0) >= 1 for point in points or ()):
                raise ValueError(f"curves.{kind}.{name} in {where} has a point without n. Every point is at an N >= 1.")
    return document


def _check_figures(value: Any, path: tuple[str, ...], where: str) -> None:
    """Raise unless all leaves are numbers in their range, None, or one of the few texts."""
    key = path[-1]
    is_list = isinstance(value, list)
    if isinstance(value, Mapping):
        for name, entry in value.items():
            _check_figures(entry, (*path, str(name)), where)
    elif is_list and all(isinstance(entry, Mapping) for entry in value):
        for entry in value:
            if missing := [name for name in _LISTS.get(key, ()) if name not in entry]:
                raise ValueError(
                    f"An entry of {'.'.join(path)} in {where} has no {', '.join(missing)}. Evaluate again."
                )
            for name, figure in entry.items():
                _check_figures(figure, (*path, str(name)), where)
    elif value is not None and not isinstance(value, bool) and not (key in _TEXTS and isinstance(value, str)):
        if not _is_number(value):
            raise ValueError(f"{'.'.join(path)} is {value!r}, {where}. Expected a number or null.")
        low = -1 if "against_majority_vote" in path else 0
        if (key in _SHARES or key == "difference") and not low <= value <= 1:
            raise ValueError(
                f"{'.'.join(path)} is {value!r}, {where}. Expected a number in [{low}, 1]; percentages are divided "
                "by 100."
            )
    if key in _LISTS and not is_list and value is not None:
        raise ValueError(f"{'.'.join(path)} is a {type(value).__name__}, {where}. Expected a list of objects.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def get(found: Any, *keys: str) -> Any:
    """The value under nested keys; None where one of them is missing."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


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


def document_names(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """One name per document: its benchmark, with policy and PRM where the documents differ in them, and a number
    where nothing else tells two apart.

    Example:
        >>> document_names([{"benchmark": "nano", "prm": "a"}, {"benchmark": "nano", "prm": "b"}])
        ['nano · PRM a', 'nano · PRM b']
    """
    names = [str(document.get("benchmark") or "benchmark not named") for document in documents]
    for key, word in (("policy", "policy"), ("prm", "PRM")):
        values = [document.get(key) or None for document in documents]
        does_vary = len({value for value in values if value is not None}) > 1
        namesakes = [{value for other, value in zip(names, values, strict=True) if other == name} for name in names]
        for index, value in enumerate(values):
            # Benchmarks of steps have no policy: that alone is no difference worth a word.
            if len(namesakes[index]) > 1 or (does_vary and value is not None):
                names[index] += f" · {word} {value or 'not named'}"
    return [
        f"{name} · {names[: index + 1].count(name)}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


__all__ = [
    "MAIN_FIGURES",
    "METRICS",
    "PARTS",
    "check_document",
    "document_names",
    "get",
    "main_figure",
    "metric",
    "parts_of",
    "read_document",
]
