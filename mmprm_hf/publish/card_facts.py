"""What a card can say: the fields of a facts JSON, as dataclasses, and the strict reading of one.

Standard library only; must not import another room.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar


@dataclasses.dataclass(frozen=True)
class ResultFact:
    """One measured figure.

    Args:
        metric: Its name in words, with its unit if it has one.
        value: The number; None reads "not measured".
        ci_low, ci_high: Its 95 % confidence interval.
        split: What it was measured on, with the number of rows.
        command: What prints it again.
    """

    metric: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    split: str | None = None
    command: str | None = None


@dataclasses.dataclass(frozen=True)
class SourceFact:
    """One source of a dataset's rows.

    Args:
        name: As people call it.
        license: Its own, as the source states it.
        num_rows: Rows taken from it.
        url: Where it is published; the name becomes a link.
        note: A sentence.
    """

    name: str
    license: str | None = None
    num_rows: int | None = None
    url: str | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class DropFact:
    """What became of the rows of one source.

    Args:
        source: Its name; the column of the drop table.
        num_read: Rows read.
        num_kept: Rows kept.
        num_dropped: Reason to number of rows; a row is dropped for one reason, so that all of it adds up.
    """

    source: str
    num_read: int
    num_kept: int
    num_dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """Facts of a model card; all but `name` and `kind` may be missing.

    Args:
        name: Title of the card.
        kind: "policy" (writes step-by-step solutions) or "prm" (scores their steps).
        status: What a reader must know before all else, such as "recipe only: not trained here"; left out if missing.
        summary: A paragraph of Markdown.
        num_parameters: All parameters.
        base_model: Where training started; a Hub id (owner/name) also enters the front matter.
        trained_on: The training data in words.
        datasets: Hub ids of the training data, for the front matter.
        recipe: Commands that make the model again, in order.
        seed: Of the recipe.
        hyper_parameters: Option to value; those that differ from defaults.
        compute: Hardware and time in words.
        results: Dicts with the fields of `ResultFact`.
        how_to_use: Python code.
        uses, misuses: What it is for and what it is not for, one sentence each.
        limits: One sentence each.
        license: SPDX id in lower case, as the Hub spells it ("apache-2.0").
        citation: BibTeX.
        library_name, pipeline_tag, language, tags: Front matter; `tags` come after those of the kind.
    """

    name: str
    kind: str
    status: str | None = None
    summary: str | None = None
    num_parameters: int | None = None
    base_model: str | None = None
    trained_on: str | None = None
    datasets: Sequence[str] = ()
    recipe: Sequence[str] = ()
    seed: int | None = None
    hyper_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compute: str | None = None
    results: Sequence[Mapping[str, Any]] = ()
    how_to_use: str | None = None
    uses: Sequence[str] = ()
    misuses: Sequence[str] = ()
    limits: Sequence[str] = ()
    license: str | None = None
    citation: str | None = None
    library_name: str = "transformers"
    pipeline_tag: str = "image-text-to-text"
    language: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """Facts of a dataset card; all but `name` may be missing.

    Args:
        name: Title of the card.
        kind: "dataset"; tells `write_card` which card to make.
        status: As in `ModelFacts`.
        summary: A paragraph of Markdown.
        motivation: Why it exists, a paragraph.
        splits: Split to number of rows, or, of a dataset with several configs, config to such a mapping. The first
            config's rows are those of the size in the front matter.
        features: Column to its type and meaning, or config to such a mapping.
        composition: Name of a breakdown to a mapping of its values to rows:
            ``{"answer type": {"number": 6000, "choice": 4000}}``.
        families: Kind of problem to its description, or a list of names; left out if empty.
        collection: How the raw data came about, a paragraph.
        sources: Dicts with the fields of `SourceFact`.
        command: What makes the dataset again.
        seed: Of that command.
        criteria: Reason for dropping a row to its rule in words, in the order in which they are applied.
        drops: Dicts with the fields of `DropFact`, one per source.
        repairs: What was corrected, in words, to the number of rows.
        label_noise: Labels against exact truth: dicts with the fields of `ResultFact`. The section is left out where
            there is neither this nor a `ledger`: such a dataset has no labels.
        statistics: A figure's name in words to a number or text.
        results: Dicts with the fields of `ResultFact`: what else was measured; left out if empty.
        ledger: What labelling cost: the `summary.json` of a run folder (of its keys those of `ledger_markdown`). A
            card without it has no such section.
        how_to_use: Python code.
        uses, misuses: What it is for and what it is not for, one sentence each.
        limits: One sentence each.
        license: As in `ModelFacts`, or a list of them.
        license_name: Of a license that the Hub has no id for; `license` is then "other".
        citation: BibTeX.
        configs: Hub configs, as they go into the front matter:
            ``[{"config_name": "paths", "data_files": [{"split": "train", "path": "paths/train.parquet"}]}]``.
        task_categories, language, tags: Front matter; `tags` come after the package's own.
    """

    name: str
    kind: str = "dataset"
    status: str | None = None
    summary: str | None = None
    motivation: str | None = None
    splits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    composition: Mapping[str, Mapping[str, int | None]] = dataclasses.field(default_factory=dict)
    families: Mapping[str, str] | Sequence[str] = ()
    collection: str | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    command: str | None = None
    seed: int | None = None
    criteria: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drops: Sequence[Mapping[str, Any]] = ()
    repairs: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    label_noise: Sequence[Mapping[str, Any]] = ()
    statistics: Mapping[str, float | str | None] = dataclasses.field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    ledger: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    how_to_use: str | None = None
    uses: Sequence[str] = ()
    misuses: Sequence[str] = ()
    limits: Sequence[str] = ()
    license: str | Sequence[str] | None = None
    license_name: str | None = None
    citation: str | None = None
    configs: Sequence[Mapping[str, Any]] = ()
    task_categories: Sequence[str] = ()
    language: Sequence[str] = ()
    tags: Sequence[str] = ()


Facts = TypeVar("Facts", ModelFacts, DatasetFacts, ResultFact, SourceFact, DropFact)


def read_facts(schema: type[Facts], facts: Mapping[str, Any]) -> Facts:
    """Return facts as a dataclass; null is the same as missing.

    Args:
        schema: One of the dataclasses above.
        facts: Plain dict (parsed JSON).

    Raises:
        ValueError: for an unknown or missing key, or a text, a list or an object where another of them belongs.
    """
    if not isinstance(facts, Mapping):
        raise ValueError(f"Found {facts!r:.80} where {schema.__name__} belongs. Write an object with its fields.")
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for key in facts:
        if key not in fields:
            matches = difflib.get_close_matches(key, fields, n=3, cutoff=0.5) or sorted(fields)
            raise ValueError(f"Unknown key {key!r} in {schema.__name__}. Did you mean {' or '.join(matches)}?")
    known = {key: value for key, value in facts.items() if value is not None}
    for key, value in known.items():
        if fields[key].default == () and isinstance(value, str):
            raise ValueError(
                f"{key!r} in {schema.__name__} is the text {value!r}. Expected a list; put it in brackets."
            )
        if fields[key].default_factory is dict and not isinstance(value, Mapping):
            raise ValueError(f"{key!r} in {schema.__name__} is {value!r:.80}. Expected an object of names and values.")
    required = [name for name, field in fields.items() if _is_required(field) and name not in known]
    if required:
        raise ValueError(f"{schema.__name__} lacks {', '.join(required)}. Only the other facts may be missing.")
    return schema(**known)


def _is_required(field: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


__all__ = ["DatasetFacts", "DropFact", "ModelFacts", "ResultFact", "SourceFact", "read_facts"]
