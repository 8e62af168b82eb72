"""What a card can contain: the fields of a facts JSON, as dataclasses, and the strict reading of one.

Standard library only; must not import another room.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import UnknownNameError


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
    """The rows of one source that were read, kept and dropped.

    Args:
        source: Its name; the column of the drop table.
        num_read, num_kept: Numbers of rows.
        num_dropped: Reason to number of rows; a row is dropped for one reason, so that all of it adds up.
    """

    source: str
    num_read: int
    num_kept: int
    num_dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Facts of any card; all but `name` may be missing.

    Args:
        name: Title of the card.
        status: What a reader must know first, such as "recipe only: not trained here"; left out if missing.
        summary: A paragraph of Markdown.
        seed: Seed of the recipe or command.
        results: Dicts with the fields of `ResultFact`; a dataset's are what else was measured.
        how_to_use: Python code.
        uses, misuses: What it is for and what it is not for, one sentence each.
        limits: One sentence each.
        license: SPDX id in lower case, as the Hub spells it ("apache-2.0"), or a dataset's list of them.
        citation: BibTeX.
        language, tags: Front matter; `tags` come after the package's own.
    """

    name: str
    status: str | None = None
    summary: str | None = None
    seed: int | None = None
    results: Sequence[Mapping[str, Any]] = ()
    how_to_use: str | None = None
    uses: Sequence[str] = ()
    misuses: Sequence[str] = ()
    limits: Sequence[str] = ()
    license: Any = None
    citation: str | None = None
    language: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts(CardFacts):
    """Facts of a model card.

    Args:
        kind: "policy" (writes step-by-step solutions) or "prm" (scores their steps).
        num_parameters: All parameters.
        base_model: Where training started; a Hub id (owner/name) also enters the front matter.
        trained_on: The training data in words.
        datasets: Hub ids of the training data, for the front matter.
        recipe: Commands that make the model again, in order.
        hyper_parameters: Option to value; those that differ from defaults.
        compute: Hardware and time in words.
    """

    kind: str
    num_parameters: int | None = None
    base_model: str | None = None
    trained_on: str | None = None
    datasets: Sequence[str] = ()
    recipe: Sequence[str] = ()
    hyper_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compute: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetFacts(CardFacts):
    """Facts of a dataset card.

    Args:
        kind: "dataset", by which `write_card` knows which card to make.
        motivation: Why it exists, a paragraph.
        splits: Split to number of rows, or, of a dataset with several configs, config to such a mapping. The first
            config's rows are those of the size in the front matter.
        features: Column to its type and meaning, or config to such a mapping.
        composition: Name of a breakdown to a mapping of its values to rows:
            ``{"answer type": {"number": 6000, "choice": 4000}}``.
        families: Kind of problem to its description, or a list of names; left out if empty.
        collection: Where the raw data is from, a paragraph.
        sources: Dicts with the fields of `SourceFact`.
        command: What makes the dataset again.
        criteria: Reason for dropping a row to its rule in words, in the order in which they are applied.
        drops: Dicts with the fields of `DropFact`, one per source.
        repairs: What was corrected, in words, to the number of rows.
        label_noise: Labels against exact truth: dicts with the fields of `ResultFact`. Without this and a `ledger` the
            section is left out: such a dataset has no labels.
        statistics: A figure's name in words to a number or text.
        ledger: What labelling cost: the `summary.json` of a run folder; left out if empty.
        license_name: The name of a license that the Hub has no id for; `license` is then "other".
        configs: Hub configs, as they go into the front matter:
            ``[{"config_name": "paths", "data_files": [{"split": "train", "path": "paths/train.parquet"}]}]``.
        task_categories: Front matter.
    """

    kind: str = "dataset"
    motivation: str | None = None
    splits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    composition: Mapping[str, Mapping[str, int | None]] = dataclasses.field(default_factory=dict)
    families: Mapping[str, str] | Sequence[str] = ()
    collection: str | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    command: str | None = None
    criteria: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drops: Sequence[Mapping[str, Any]] = ()
    repairs: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    label_noise: Sequence[Mapping[str, Any]] = ()
    statistics: Mapping[str, float | str | None] = dataclasses.field(default_factory=dict)
    ledger: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license_name: str | None = None
    configs: Sequence[Mapping[str, Any]] = ()
    task_categories: Sequence[str] = ()


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
            raise UnknownNameError("key", key, fields, f" in {schema.__name__}")
    known = {key: value for key, value in facts.items() if value is not None}
    for key, value in known.items():
        if fields[key].default == () and isinstance(value, str):
            raise ValueError(
                f"{key!r} in {schema.__name__} is the text {value!r}. Expected a list; put it in brackets."
            )
        if fields[key].default_factory is dict and not isinstance(value, Mapping):
            raise ValueError(f"{key!r} in {schema.__name__} is {value!r:.80}. Expected an object of names and values.")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in required if name not in known]:
        raise ValueError(f"{schema.__name__} lacks {', '.join(missing)}. Only the other facts may be missing.")
    return schema(**known)
