"""A source that is open: its rows as repaired problems, one at a time. A fault in a row is the failure of that row."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ..rows import FIGURE_COLUMNS, FigureRules, RawRows, check_columns, without_rows
from .adapters import ADAPTERS, KNOWN_FACTS, choose_adapter
from .config import SourceConfig
from .duplicates import Sketch
from .figures import Figure, read_figure
from .records import RawProblem, RowError
from .repairs import repair


class Source:
    """Rows of a source and the adapter that reads them; a benchmark's may lack answers and figures."""

    def __init__(
        self,
        config: SourceConfig,
        rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
        *,
        is_benchmark: bool = False,
    ) -> None:
        self.config, self.title = config, config.title
        self.is_benchmark, self.is_test = is_benchmark, config.into == "test"
        renamed_figures = [theirs for name, theirs in config.columns.items() if name in FIGURE_COLUMNS]
        self.rows = RawRows(
            config.path,
            config.split,
            subset=config.subset,
            num_rows=config.num_rows,
            figure_columns=(*FIGURE_COLUMNS, "picture", *renamed_figures),
            rules=rules,
        )
        check_columns(config.path, config.columns, self.rows.columns)
        if not len(self.rows):
            raise without_rows(config.path, self.rows.columns)
        self.columns = tuple(dict.fromkeys((*self.rows.columns, *config.columns)))
        self.adapter = choose_adapter(config, self.columns, needs_answer=not is_benchmark)

    def problem(self, index: int) -> RawProblem:
        """Return the repaired problem of a row, or raise a `RowError`."""
        # The one place where a fault of any kind becomes a dropped row, with a reason.
        try:
            return repair(ADAPTERS[self.adapter](self._row(index), index, not self.is_benchmark))
        except RowError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            detail = re.sub(r"'/[^']*/", "'", f"{type(error).__name__}: {error}")  # no path of this machine
            raise RowError("unreadable_row", detail) from error

    def _row(self, index: int, with_figures: bool = True) -> dict[str, Any]:
        """A row under the adapter's column names; columns that had these names in the source are not read."""
        row = self.rows[index] if with_figures else self.rows.written(index)
        return {**row, **{name: row.get(theirs) for name, theirs in self.config.columns.items()}}

    def figures(self, problem: RawProblem) -> list[Figure]:
        """Return the facts of a problem's figures; a benchmark's unreadable figures are left out."""
        figures = []
        for image in problem.images:
            try:
                figures.append(read_figure(image))
            except RowError:
                if not self.is_benchmark:
                    raise
        return figures

    def texts(self, index: int, problem: RawProblem | None) -> dict[str, str | None]:
        """Return id, question and answer of a row's problem; if it gives none, those that are texts."""
        if problem is not None:
            return {"id": self.full_id(problem.id), "question": problem.question, "answer": problem.answer}
        row = self._row(index, with_figures=False)  # one of them may be what is wrong with it
        texts = {name: row.get(name) for name in ("id", "question", "answer")}
        texts = {name: text if isinstance(text, str) else None for name, text in texts.items()}
        return texts if texts["id"] is None else {**texts, "id": self.full_id(texts["id"])}

    def full_id(self, raw_id: str) -> str:
        """Return the id of a problem in the dataset: title and raw id; ids of our own schema are taken as they are."""
        return raw_id if self.adapter == "schema" else f"{self.title}-{raw_id}"

    def unknown_columns(self) -> list[str]:
        """Return the columns of our schema for which the source has nothing."""
        known = {*self.columns, *KNOWN_FACTS.get(self.adapter, ())}
        known |= set() if self.config.license is None else {"license"}
        return [name for name in ("subject", "grade", "license") if name not in known]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A problem that passed its own criteria: where it is read from, and what it is compared by."""

    id: str  # in the dataset, unique
    source: Source
    row: int
    sketch: Sketch
    split_group: str | None  # the source's own
    refers_to_figure: bool

    @property
    def raw(self) -> RawProblem:
        """The repaired problem, read again: figures are not kept in memory."""
        return self.source.problem(self.row)
