"""What is curated, and by which limits. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

_PLAIN_NAMES = ("problems", "data", "rows", "train", "test", "validation", "dataset", "questions")
LANGUAGES = ("en", "zh", "ja", "ko", "ru", "ar", "el", "other")
"""What `criteria.language_of` tells apart."""

Side = Literal["auto", "train", "test"]


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """A source of raw problems.

    Args:
        path: ``.jsonl`` file, dataset folder, or hub id (``hub:owner/name``, ``hub:owner/name@revision``).
        adapter: Which form its rows have, a name of `adapters.ADAPTERS`; "auto" goes by the columns.
        name: Stands in the column `source` and begins every id; None takes it from the path.
        split, subset: Of a dataset.
        license: Of rows that do not tell their own (SPDX id in lower case); None where it is not known.
        url, note: For the card.
        into: "train" or "test" sends all of its problems to that split; "auto" lets the split be drawn.
        num_rows: The first so many rows.
        columns: Names of columns as the adapter expects them to those of the source, where they differ.

    Raises:
        ValueError: if a value is of another kind.
    """

    path: str
    adapter: str = "auto"
    name: str | None = None
    split: str = "train"
    subset: str | None = None
    license: str | None = None
    url: str | None = None
    note: str | None = None
    into: Side = "auto"
    num_rows: int | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        is_count = isinstance(self.num_rows, int) and not isinstance(self.num_rows, bool) and self.num_rows >= 1
        texts = {"path": self.path, "adapter": self.adapter, "split": self.split}
        are_names = isinstance(self.columns, Mapping) and all(
            isinstance(name, str) for pair in self.columns.items() for name in pair
        )
        rules = {
            **{name: (isinstance(text, str) and bool(text.strip()), "a text") for name, text in texts.items()},
            "into": (self.into in ("auto", "train", "test"), "one of auto, train, test"),
            "num_rows": (self.num_rows is None or is_count, "a whole number, at least 1, or None for all"),
            "columns": (are_names, "a mapping of the adapter's names of columns to the source's"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} for the source {self.path}; it must be {rule}.")

    @property
    def title(self) -> str:
        """`name`, or what the path says: a dataset's or file's own name, its folder's where the file's says little."""
        if self.name:
            return self.name
        path = Path(self.path.removeprefix("hub:").partition("@")[0])
        if path.suffix != ".jsonl":
            return path.resolve().name if path.exists() else path.name
        folder = path.resolve().parent
        is_persons = folder.parent.name in ("home", "Users", "")
        return path.stem if path.stem not in _PLAIN_NAMES or is_persons else folder.name


@dataclasses.dataclass(frozen=True)
class CurationConfig:
    """Sources and limits. Texts are measured after repairs, figures as they are seen (upright).

    Args:
        sources: Where the problems come from, in order: of duplicates the first one is kept.
        benchmarks: Sources that no problem may come near; nothing of them is kept.
        num_train, num_test: The most problems of a split; None for no limit (of "test": those of sources sent there).
        languages: Languages that are kept (see `criteria.language_of`); empty keeps all.
        min_figure_side, max_figure_side: Of a figure in pixels: its shorter side at least, its longer side at most.
        max_aspect_ratio: Longer side over shorter side of a figure, at most.
        min_question_chars, max_question_chars: Of a question.
        max_answer_words: Of an answer; longer ones are prose, which no rule verifies.
        near_similarity: In (0, 1]: weighted Jaccard similarity of two texts from which on problems with the same
            answer are one.
        near_similarity_with_figure: The same where the figures are alike.
        variant_similarity: From here on problems whose answers differ are variants: both are kept, on one side.
        max_figure_distance: In [0, 1]: share of differing bits of two perceptual hashes up to which figures are alike;
            variants less alike in text than `variant_similarity` must be alike twice as closely.
        max_same_text: A text that more problems share, but for numbers and single letters, is a template: they are told
            apart by their figures' pixels.
        max_text_only_share: Of a model's answers without the figure: a larger share of right ones drops a problem.
        seed: Of the drawn split.

    Raises:
        ValueError: if a value is out of its range, or there is no source.
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
        object.__setattr__(self, "languages", tuple(_listed(self.languages)))
        if not self.sources:
            raise ValueError("Found no source. Name at least one: a path or hub id under `sources`, or --source.")
        titles = [source.title for source in (*self.sources, *self.benchmarks)]
        counts = ("min_figure_side", "max_figure_side", "min_question_chars", "max_question_chars", "max_answer_words")
        shares = ("near_similarity", "near_similarity_with_figure", "variant_similarity")
        rules = {
            "num_train": (self.num_train is None or self.num_train >= 1, "at least 1, or None for no limit"),
            "num_test": (self.num_test is None or self.num_test >= 0, "at least 0, or None for no limit"),
            "max_figure_distance": (0 <= self.max_figure_distance <= 1, "in [0, 1]"),
            "max_text_only_share": (0 <= self.max_text_only_share <= 1, "in [0, 1]"),
            "max_same_text": (self.max_same_text >= 1, "at least 1"),
            "max_aspect_ratio": (self.max_aspect_ratio >= 1, "at least 1"),
            "languages": (set(self.languages) <= set(LANGUAGES), f"some of {', '.join(LANGUAGES)}"),
            **{name: (getattr(self, name) >= 0, "at least 0") for name in counts},
            **{name: (0 < getattr(self, name) <= 1, "in (0, 1]") for name in shares},
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in CurationConfig; it must be {rule}.")
        if len(set(titles)) < len(titles):
            raise ValueError(f"Found sources of the same name: {', '.join(titles)}. Give each a name of its own.")


def _listed(value: Any) -> tuple[Any, ...]:
    """One entry as a list of one, nothing as none."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _source(entry: Any) -> SourceConfig:
    """A source of a configuration: a path, or a mapping of the fields of `SourceConfig`.

    Raises:
        ValueError: for unknown fields, or none that names a path.
    """
    if isinstance(entry, SourceConfig):
        return entry
    if isinstance(entry, str):
        return SourceConfig(entry)
    names = [field.name for field in dataclasses.fields(SourceConfig)]
    unknown = [str(name) for name in entry if name not in names] if isinstance(entry, Mapping) else [repr(entry)]
    if unknown or "path" not in entry:
        found = f"Found {', '.join(unknown)}" if unknown else "Found no path"
        raise ValueError(f"{found} in a source. A source is a path, or a mapping of {', '.join(names)}.")
    return SourceConfig(**entry)


__all__ = ["LANGUAGES", "CurationConfig", "Side", "SourceConfig"]
