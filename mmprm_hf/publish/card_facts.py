"""What a card can contain: the fields of a facts JSON, as dataclasses, and the strict reading of one.

Standard library only; must not import another room.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import UnknownNameError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""Owner and name, as a pattern; the Hub links nothing else."""


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

    def __post_init__(self) -> None:
        for name, count in {"num_read": self.num_read, "num_kept": self.num_kept, **self.num_dropped}.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ValueError(f"{self.source!r} has {count!r} as {name}. It must be a number of rows, 0 or more.")
        num_dropped = sum(self.num_dropped.values())
        if self.num_read != self.num_kept + num_dropped:
            raise ValueError(
                f"{self.source!r} has {self.num_read} rows read, {self.num_kept} kept and {num_dropped} dropped. Every "
                "row read is either kept or dropped for one reason; correct num_read, num_kept or num_dropped."
            )


def _facts_of(schema: type) -> Any:
    """A field whose dicts `read_facts` reads as the dataclass `schema`."""
    return dataclasses.field(default=(), metadata={"schema": schema})


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Facts of any card; all but `name` may be missing.

    Args:
        name: Title of the card.
        status: What a reader must know first, such as "recipe only: not trained here"; left out if missing.
        summary: A paragraph of Markdown.
        seed: Seed of the recipe or command.
        results: Measured figures; a dataset's are what else was measured.
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
    results: Sequence[ResultFact] = _facts_of(ResultFact)
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
        sources: Where its rows are from.
        command: What makes the dataset again.
        criteria: Reason for dropping a row to its rule in words, in the order in which they are applied.
        drops: What was dropped, one per source.
        repairs: What was corrected, in words, to the number of rows.
        label_noise: Labels against exact truth. Without this and a `ledger` the section is left out: such a dataset has
            no labels.
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
    sources: Sequence[SourceFact] = _facts_of(SourceFact)
    command: str | None = None
    criteria: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drops: Sequence[DropFact] = _facts_of(DropFact)
    repairs: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    label_noise: Sequence[ResultFact] = _facts_of(ResultFact)
    statistics: Mapping[str, float | str | None] = dataclasses.field(default_factory=dict)
    ledger: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license_name: str | None = None
    configs: Sequence[Mapping[str, Any]] = ()
    task_categories: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.license == "other" and not self.license_name:
            raise ValueError("The license is 'other', without a name. The Hub asks for one; give license_name.")
        for facts in (self.splits, self.features):
            _check_configs(facts)
        sources = [drop.source for drop in self.drops]
        for drop in self.drops:
            _check_drop(drop, sources, self.criteria)

    def drop_table(self) -> tuple[list[str], list[tuple[str, str, list[int | None]]]]:
        """Return the columns of the drop table and its rows: name, rule, and a number of each column.

        A column is a source; several have their total beside them. Without any, numbers are None.
        """
        if not self.drops:
            return ["rows"], [(reason, rule, [None]) for reason, rule in self.criteria.items()]
        rows = [("read", "", [drop.num_read for drop in self.drops])]
        for reason, rule in self.criteria.items():
            rows.append((reason, rule, [drop.num_dropped.get(reason, 0) for drop in self.drops]))
        rows.append(("kept", "", [drop.num_kept for drop in self.drops]))
        sources = [drop.source for drop in self.drops]
        if len(sources) == 1:
            return sources, rows
        return [*sources, "total"], [(name, rule, [*counts, sum(counts)]) for name, rule, counts in rows]


def _check_drop(drop: DropFact, sources: Sequence[str], criteria: Mapping[str, str]) -> None:
    """Raise unless the source comes once and every reason has its rule."""
    if sources.count(drop.source) > 1:
        raise ValueError(f"The source {drop.source!r} comes twice among drops. Each is one column; add them up.")
    for reason in drop.num_dropped:
        if reason not in criteria:
            raise ValueError(
                f"{drop.source!r} drops rows for {reason!r}, which criteria does not name (it has "
                f"{', '.join(criteria) or 'none'}). Every reason needs its rule in words; add it to criteria."
            )


def _check_configs(facts: Mapping[str, Any]) -> None:
    """Raise if some names stand for configs and others do not."""
    nested = [name for name, value in facts.items() if isinstance(value, Mapping)]
    others = [name for name in facts if name not in nested]
    if nested and others:
        raise ValueError(
            f"Found {', '.join(nested)} as configs beside {', '.join(others)}. Splits and features are either all of "
            "one config or all grouped by config; group the rest too."
        )


Facts = TypeVar("Facts", ModelFacts, DatasetFacts, ResultFact, SourceFact, DropFact)


def read_facts(schema: type[Facts], facts: Mapping[str, Any]) -> Facts:
    """Return facts as a dataclass; null is the same as missing.

    Args:
        schema: One of the dataclasses above.
        facts: Plain dict (parsed JSON).

    Raises:
        ValueError: for an unknown or missing key, a text, a list or an object where another of them belongs, or facts
            that contradict each other.
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
        if "schema" in fields[key].metadata:
            known[key] = [read_facts(fields[key].metadata["schema"], entry) for entry in value]
    missing = dataclasses.MISSING
    required = {name for name, field in fields.items() if field.default is field.default_factory is missing}
    if lacking := [name for name in fields if name in required - known.keys()]:
        raise ValueError(f"{schema.__name__} lacks {', '.join(lacking)}. Only the other facts may be missing.")
    return schema(**known)
