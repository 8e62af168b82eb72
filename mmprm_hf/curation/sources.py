"""A source that is open: its rows as repaired problems, one at a time. Whatever is odd about a row is that row's."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..rows import FIGURE_COLUMNS, HUB_PREFIX, RawRows
from .adapters import ADAPTERS, adapter_of, missing_facts, renamed
from .config import CurationConfig, SourceConfig
from .figures import Figure, read_figure
from .records import RawProblem, RowError
from .repairs import repair


class Source:
    """Rows of a source and the adapter that reads them.

    Args:
        config: The source.
        is_benchmark: Nothing of it is kept: answers and figures may be missing.

    Raises:
        ValueError: if columns are missing that every problem needs, or that `config.columns` names.
        OSError: if the source is not there, and whatever `datasets.load_dataset` raises.
    """

    def __init__(self, config: SourceConfig, *, is_benchmark: bool = False) -> None:
        self.config, self.is_benchmark = config, is_benchmark
        self.title = config.title
        renamed_figures = [theirs for name, theirs in config.columns.items() if name in FIGURE_COLUMNS]
        self.rows = RawRows(
            config.path,
            config.split,
            subset=config.subset,
            num_rows=config.num_rows,
            figure_columns=(*FIGURE_COLUMNS, *renamed_figures),
        )
        absent = [theirs for theirs in config.columns.values() if theirs not in self.rows.columns]
        if absent and len(self.rows):
            raise ValueError(
                f"The source {self.title} has no column {', '.join(absent)}, which `columns` names. It has "
                f"{', '.join(self.rows.columns)}."
            )
        self.columns = tuple(dict.fromkeys((*self.rows.columns, *config.columns)))
        self.adapter = adapter_of(config, self.columns, needs_answer=not is_benchmark)

    def problem(self, index: int) -> RawProblem:
        """The repaired problem of a row.

        Raises:
            RowError: if the row gives none.
        """
        # The one place where a fault of any kind becomes data: that of a row, with a reason.
        try:
            row = renamed(self.rows[index], self.config.columns)
            return repair(ADAPTERS[self.adapter](row, index, not self.is_benchmark))
        except RowError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise RowError("unreadable_row", f"{type(error).__name__}: {error}") from error

    def figures(self, problem: RawProblem) -> list[Figure]:
        """Facts of a problem's figures; those of a benchmark that cannot be read are left out.

        Raises:
            RowError: "figure_unreadable".
        """
        found = []
        for image in problem.images:
            try:
                found.append(read_figure(image))
            except RowError:
                if not self.is_benchmark:
                    raise
        return found

    def as_it_is(self, index: int) -> dict[str, str | None]:
        """What can be told of a row that gives no problem: id, question, answer, as far as they are texts."""
        row: Mapping[str, Any] = renamed(self.rows[index], self.config.columns)
        found = {name: row.get(name) for name in ("id", "question", "answer")}
        texts = {name: value if isinstance(value, str) else None for name, value in found.items()}
        if texts["id"] is not None and self.adapter != "schema":
            texts["id"] = f"{self.title}-{texts['id']}"
        return texts

    def name_of(self, problem: RawProblem) -> str:
        """Our id: the source's name and its id; rows of our own schema have a whole id already."""
        return problem.id if self.adapter == "schema" else f"{self.title}-{problem.id}"

    def unknown_columns(self) -> list[str]:
        """Columns of our schema about which the source tells nothing."""
        missing = missing_facts(self.adapter, self.columns)
        return [name for name in missing if name != "license" or self.config.license is None]


def public_path(path: str) -> str:
    """A hub id whole; of a path on this machine its end."""
    if path.startswith(HUB_PREFIX) or not Path(path).exists():
        return path
    return "/".join(Path(path).resolve().parts[-2:])


def plain_config(config: CurationConfig) -> dict[str, Any]:
    """A configuration as JSON and YAML have it, without paths of this machine."""
    plain = {**dataclasses.asdict(config), "languages": list(config.languages)}
    for name in ("sources", "benchmarks"):
        plain[name] = [
            {field: value for field, value in {**entry, "path": public_path(entry["path"])}.items() if value}
            for entry in plain[name]
        ]
    return plain


def published(image: Any) -> Any:
    """A figure without the path of the machine it was read on."""
    if isinstance(image, dict) and image.get("bytes") is not None:
        return {"bytes": image["bytes"], "path": os.path.basename(image.get("path") or "") or None}
    return image


def counts_by_value(counts: collections.Counter[str]) -> dict[str, int]:
    """Most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


__all__ = ["Source", "counts_by_value", "plain_config", "public_path", "published"]
