"""What is curated, and by which limits. Imports no reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import UnknownNameError, check_values, is_count

SPLITS = ("train", "test")
_PLAIN_NAMES = ("problems", "data", "rows", "train", "test", "validation", "dataset", "questions")
LANGUAGES = ("en", "zh", "ja", "ko", "ru", "ar", "el", "other")
"""What `question_rules.language_of` returns."""


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """A source of raw problems.

    Args:
        path: ``.jsonl`` file, dataset folder, or hub id (``hub:owner/name``, ``hub:owner/name@revision``).
        adapter: Form of its rows, a name in `adapters.ADAPTERS`; "auto" chooses by the columns.
        name: Value of the column `source`, and the beginning of every id; None takes it from the path.
        split: Split of a dataset.
        subset: Name of a dataset's configuration; None for its only or default one.
        license: License of rows that do not name their own (SPDX id in lower case); None if it is not known.
        url, note: What the card says about the source.
        into: "train" or "test" sends all problems to that split; "auto" draws the split.
        num_rows: The most rows, from the first; None takes all.
        columns: Column names that the adapter expects -> names in the source, where they differ.

    Raises:
        ValueError: if a value has the wrong type.
    """

    path: str
    adapter: str = "auto"
    name: str | None = None
    split: str = "train"
    subset: str | None = None
    license: str | None = None
    url: str | None = None
    note: str | None = None
    into: Literal["auto", "train", "test"] = "auto"
    num_rows: int | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = {"path": self.path, "adapter": self.adapter, "split": self.split}
        names = [*self.columns, *self.columns.values()] if isinstance(self.columns, Mapping) else [None]
        check_values(
            self,
            **{name: (isinstance(text, str) and bool(text.strip()), "a text") for name, text in texts.items()},
            into=(self.into in ("auto", "train", "test"), "one of auto, train, test"),
            num_rows=(self.num_rows is None or is_count(self.num_rows), "a whole number, at least 1, or None for all"),
            columns=(all(isinstance(name, str) for name in names), "a mapping of names to the source's names"),
        )

    @property
    def title(self) -> str:
        """`name`, or the name of the dataset or file; of its folder where the file's name says little."""
        if self.name:
            return self.name
        path = Path(self.path.removeprefix("hub:").partition("@")[0])
        if path.suffix not in (".jsonl", ".json", ".parquet"):
            return path.resolve().name if path.exists() else path.name
        folder = path.resolve().parent
        is_home = folder.parent.name in ("home", "Users", "")  # its name is a person's
        return path.stem if path.stem not in _PLAIN_NAMES or is_home else folder.name


@dataclasses.dataclass(frozen=True)
class CurationConfig:
    """Sources and limits. Texts are measured after repairs, figures upright.

    Args:
        sources: Where the problems come from. Of duplicates the first one is kept, in this order.
        benchmarks: Sources whose problems, and whatever resembles them, must not be kept.
        num_train, num_test: The most problems of a split. None sets no limit; for "test" it draws none.
        languages: Languages that are kept, some of `LANGUAGES`; empty keeps all.
        min_figure_side: Least length of a figure's shorter side, in pixels.
        max_figure_side: Greatest length of a figure's longer side, in pixels.
        max_aspect_ratio: Greatest ratio of a figure's longer side to its shorter side.
        min_question_chars, max_question_chars: Least and greatest length of a question.
        max_answer_words: Most words of an answer; a longer one is prose, which rules cannot verify.
        near_similarity: In (0, 1]: least weighted Jaccard similarity of two texts for problems with the same answer to
            count as one.
        near_similarity_with_figure: The same where the figures are alike.
        variant_similarity: In (0, 1]: least similarity of variants (other answers); they are kept, in one split.
        max_figure_distance: In [0, 1]: greatest share of bits in which the perceptual hashes of like figures differ;
            half of it for variants that are less similar than `variant_similarity`.
        max_same_text: Most problems with one text, but for numbers and single letters. If there are more, the text is
            a template, whose problems are told apart by the pixels of their figures.
        max_text_only_share: In [0, 1]: greatest share of right answers of a model that does not see the figure.
        seed: Seed of the drawn split.

    Raises:
        ValueError: if a value is out of its range, a source has an unknown option, or there is no source.
    """

    sources: tuple[SourceConfig, ...] = ()
    benchmarks: tuple[SourceConfig, ...] = ()
    num_train: int | None = None
    num_test: int | None = None
    languages: tuple[str, ...] = ()
    min_figure_side: int = 28
    max_figure_side: int = 10_000
    max_aspect_ratio: float = 20
    min_question_chars: int = 12
    max_question_chars: int = 4000
    max_answer_words: int = 8
    near_similarity: float = 0.35
    near_similarity_with_figure: float = 0.26
    variant_similarity: float = 0.6
    max_figure_distance: float = 0.2
    max_same_text: int = 4
    max_text_only_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("sources", "benchmarks"):
            object.__setattr__(self, name, tuple(_source(entry) for entry in _listed(getattr(self, name))))
        object.__setattr__(self, "languages", _listed(self.languages))
        if not self.sources:
            raise ValueError("Found no source. Name at least one: a path or hub id under `sources`, or --source.")
        counts = ("min_figure_side", "max_figure_side", "min_question_chars", "max_question_chars", "max_answer_words")
        shares = ("near_similarity", "near_similarity_with_figure", "variant_similarity")
        check_values(
            self,
            num_train=(self.num_train is None or self.num_train >= 1, "at least 1, or None for no limit"),
            num_test=(self.num_test is None or self.num_test >= 0, "at least 0, or None for no limit"),
            max_figure_distance=(0 <= self.max_figure_distance <= 1, "in [0, 1]"),
            max_text_only_share=(0 <= self.max_text_only_share <= 1, "in [0, 1]"),
            max_same_text=(self.max_same_text >= 1, "at least 1"),
            max_aspect_ratio=(self.max_aspect_ratio >= 1, "at least 1"),
            languages=(set(self.languages) <= set(LANGUAGES), f"some of {', '.join(LANGUAGES)}"),
            **{name: (getattr(self, name) >= 0, "at least 0") for name in counts},
            **{name: (0 < getattr(self, name) <= 1, "in (0, 1]") for name in shares},
        )
        titles = [source.title for source in (*self.sources, *self.benchmarks)]
        if len(set(titles)) < len(titles):
            raise ValueError(f"Found sources of the same name: {', '.join(titles)}. Give each a name of its own.")


def _listed(value: Any) -> tuple[Any, ...]:
    """None as no entry, anything but a list as one entry."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _source(entry: Any) -> SourceConfig:
    """A source as a configuration gives it: a path, or a mapping of the fields of `SourceConfig`."""
    if isinstance(entry, SourceConfig):
        return entry
    if isinstance(entry, str):
        return SourceConfig(entry)
    if not isinstance(entry, Mapping) or "path" not in entry:
        raise ValueError(f"Found the source {entry!r}. Give a path, or a mapping with at least a `path`.")
    names = [field.name for field in dataclasses.fields(SourceConfig)]
    for name in entry:
        if name not in names:
            raise UnknownNameError("source option", name, names)
    return SourceConfig(**entry)
