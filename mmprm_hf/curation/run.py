"""The run: sources through adapters, repairs, criteria, duplicates and the split, into a folder that can be loaded.

Deterministic: the same sources and configuration give the same rows in the same order, on any machine. Rows are read
twice (to decide, and to write); in between only sketches are in memory, never figures.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Problem
from ..files import write_json, write_jsonl
from ..progress import progress_bar
from ..rows import FigureRules, problem_features, stored_problem, write_splits
from .answer_rules import answer_type
from .config import SPLITS, CurationConfig
from .criteria import first_failure
from .duplicates import Pair, find_pairs, sketch_of
from .ledger import Ledger
from .question_rules import refers_to_figure
from .records import Failure, RawProblem, RowError
from .sources import Entry, Source
from .splits import draw_splits, split_groups

_REJECTS_FILE, _REPORT_FILE = "rejects.jsonl", "curation.json"
_PAIR_REASONS = ("in_benchmark", "conflicting_answers", "in_test", "duplicate", "near_duplicate")  # the first counts

SolvedWithoutFigure = Callable[[Sequence[Problem]], Mapping[str, tuple[int, int]]]
"""Takes problems without their figures; returns right answers and judged answers by id. See `text_only`."""


def curate(
    config: CurationConfig,
    folder: str | Path,
    *,
    text_only: SolvedWithoutFigure | None = None,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Curate the sources into a folder, and return the content of ``curation.json``.

    Writes ``train.parquet`` and ``test.parquet`` (MM-K12's schema, figures with their own bytes), ``rejects.jsonl`` (a
    line per dropped row, with the reason) and ``curation.json`` (configuration, counts, drop table).

    Args:
        config: Sources and limits.
        folder: Made if absent; files of an earlier run are replaced.
        text_only: Asks a model to solve problems without their figures. What it solves is dropped; what it fails is
            kept even if the text does not refer to a figure. None asks no model and drops what does not refer to one.
        rules: Which figures besides those in the data's folder may be read and fetched.

    Raises:
        ValueError: if a source lacks a column that is needed, or no problem is kept.
        OSError: if a source is not there, and whatever `datasets.load_dataset` raises.
    """
    folder = Path(folder)
    run = _Run(config, rules)
    run.read(needs_figure=text_only is None)
    run.drop_pairs()
    if text_only is not None:
        run.drop_solved(text_only)
    run.divide()
    if not run.kept:
        num_read = sum(len(source.rows) for source in run.sources)
        counts = ", ".join(f"{reason}: {count}" for reason, count in run.ledger.num_dropped().most_common())
        example = f" The first one: {run.ledger.rejects[0]['detail']}" if run.ledger.rejects else ""
        raise ValueError(
            f"Of {num_read} rows none is kept ({counts}). Nothing was written; look at the criteria.{example}"
        )
    for name in (_REPORT_FILE, _REJECTS_FILE, "README.md", "facts.json"):  # they describe the rows that are replaced
        (folder / name).unlink(missing_ok=True)
    rows = progress_bar(run.rows(), desc="writing", total=len(run.kept), unit="row", is_shown=None)
    write_jsonl(folder / _REJECTS_FILE, run.ledger.rejects)  # first: it tells an unfinished folder from another's data
    write_splits(folder, rows, problem_features(), SPLITS, rows_in_memory=64)
    report = run.ledger.report(config, run.sources, run.benchmarks, run.pairs)
    write_json(folder / _REPORT_FILE, report)
    return report


class _Run:
    """The state of one run. Problems are known by their index in `entries`, those of benchmarks behind the others."""

    def __init__(self, config: CurationConfig, rules: FigureRules) -> None:
        self.config = config
        self.sources = [Source(source, rules) for source in config.sources]
        self.benchmarks = [Source(source, rules, is_benchmark=True) for source in config.benchmarks]
        self.entries: list[Entry] = []
        self.num_own = 0  # entries of the sources
        self.pairs: list[Pair] = []
        self.dropped: set[int] = set()
        self.kept: dict[int, tuple[str, str]] = {}  # index -> split and split group
        self.ledger = Ledger()

    def read(self, needs_figure: bool) -> None:
        """Read every row; what fails no criterion of its own becomes an entry."""
        ids: set[str] = set()
        for source in (*self.sources, *self.benchmarks):
            for row in progress_bar(range(len(source.rows)), desc=source.title, unit="row", is_shown=None):
                problem, failure = None, None
                try:
                    problem = source.problem(row)
                    figures = source.figures(problem)
                    if not source.is_benchmark:
                        failure = first_failure(problem, figures, self.config, needs_figure=needs_figure)
                except RowError as error:
                    failure = error.reason, error.detail
                if failure is None:
                    sketch = sketch_of(problem, figures, is_benchmark=source.is_benchmark)
                    entry_id = _unique(source.full_id(problem.id), source.title, row, ids)
                    refers = refers_to_figure(problem)
                    self.entries.append(Entry(entry_id, source, row, sketch, problem.split_group, refers))
                elif source.is_benchmark:
                    self.ledger.num_unreadable[source.title] += 1
                else:
                    self.ledger.reject(source, row, source.texts(row, problem), failure)
            if not source.is_benchmark:
                self.num_own = len(self.entries)

    def drop_pairs(self) -> None:
        """Drop what a benchmark has, then duplicates: problems for the test split stay, otherwise the earlier one."""
        self.pairs = find_pairs([entry.sketch for entry in self.entries], self.config)
        partners: dict[int, list[tuple[int, Pair]]] = collections.defaultdict(list)
        for pair in self.pairs:
            partners[pair.first].append((pair.second, pair))
            partners[pair.second].append((pair.first, pair))
        kept: set[int] = set()
        for index in sorted(range(self.num_own), key=lambda index: not self.entries[index].source.is_test):
            reasons = [(self._pair_reason(index, other, pair, kept), other, pair) for other, pair in partners[index]]
            reasons = [reason for reason in reasons if reason[0] is not None]
            if reasons:
                reason, other, pair = min(reasons, key=lambda reason: _PAIR_REASONS.index(reason[0]))
                self._drop(index, (reason, pair.in_words()), of=self.entries[other].id)
            else:
                kept.add(index)

    def _pair_reason(self, index: int, other: int, pair: Pair, kept: set[int]) -> str | None:
        """Why a problem is dropped because of another one; None if both may stay."""
        if other >= self.num_own:
            return "in_benchmark"
        if pair.kind == "conflict":  # nobody knows which of the two is right
            return "conflicting_answers"
        if other not in kept:
            return None
        if self.entries[other].source.is_test and not self.entries[index].source.is_test:
            return "in_test"
        return {"exact": "duplicate", "near": "near_duplicate"}.get(pair.kind)

    def drop_solved(self, text_only: SolvedWithoutFigure) -> None:
        """Drop what a model solves without the figure, and what does not refer to one if the model gives no verdict."""
        left = {index: self.entries[index] for index in range(self.num_own) if index not in self.dropped}
        solved = text_only([dataclasses.replace(_problem(entry, entry.raw), images=()) for entry in left.values()])
        for index, entry in left.items():
            num_right, num_judged = solved.get(entry.id, (0, 0))
            if num_judged and num_right > self.config.max_text_only_share * num_judged:
                self._drop(index, ("solved_without_figure", f"{num_right} of {num_judged} answers"))
            elif not num_judged and not entry.refers_to_figure:
                self._drop(index, ("figure_not_needed", "and no answer of the model could be judged"))

    def divide(self) -> None:
        """Put what is left into the splits, up to their limits."""
        own_pairs = [pair for pair in self.pairs if pair.second < self.num_own]
        groups = split_groups(self.entries[: self.num_own], own_pairs, self.dropped)
        limits = {"train": self.config.num_train, "test": self.config.num_test}
        sizes = collections.Counter[str]()
        for group, split in draw_splits(groups, self.entries, self.config).items():
            for index in groups[group]:
                if limits[split] is not None and sizes[split] >= limits[split]:
                    self._drop(index, ("over_the_limit", f"{limits[split]} in {split}"))
                else:
                    sizes[split] += 1
                    self.kept[index] = split, group

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield split and row of every kept problem, in the order of the sources."""
        for index, (split, group) in sorted(self.kept.items()):
            raw = self.entries[index].raw
            problem = _problem(self.entries[index], raw, group)
            self.ledger.keep(problem, split, raw.repairs)
            yield split, stored_problem(problem)

    def _drop(self, index: int, failure: Failure, of: str | None = None) -> None:
        entry = self.entries[index]
        self.dropped.add(index)
        texts = {**entry.source.texts(entry.row, entry.raw), "id": entry.id}
        self.ledger.reject(entry.source, entry.row, texts, failure, of)


def _problem(entry: Entry, raw: RawProblem, group: str | None = None) -> Problem:
    """The problem as it is written."""
    meta = {
        "subject": raw.subject,
        "grade": raw.grade,
        "source": entry.source.title,
        "license": raw.license or entry.source.config.license,
        "split_group": group,
    }
    return Problem(entry.id, raw.question, raw.images, raw.answer, answer_type(raw), raw.options, meta)


def _unique(name: str, title: str, row: int, ids: set[str]) -> str:
    """An id that is not in `ids`, to which it is added: the name, or with the row, or with the source's title too."""
    longer = (f"{title}-{name}-{number}" for number in itertools.count(row))
    unique = next(entry_id for entry_id in itertools.chain((name, f"{name}-{row}"), longer) if entry_id not in ids)
    ids.add(unique)
    return unique
