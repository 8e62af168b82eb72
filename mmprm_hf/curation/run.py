"""The run: sources through adapters, repairs, criteria, duplicates and the split, into a folder that can be loaded.

Deterministic: the same sources and configuration give the same rows in the same order, on any machine. Rows are read
twice (to decide, to write); between the two only sketches are in memory, never figures.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data import Problem, content_hash
from ..files import write_json, write_jsonl
from ..rows import problem_features, problem_to_row, write_splits
from .config import CurationConfig
from .criteria import CRITERIA, answer_type_of, criteria_in_words, language_of, refers_to_figure, why_dropped
from .duplicates import Pair, Sketch, find_pairs, group_of, sketch_of
from .records import RawProblem, RowError
from .repairs import REPAIRS
from .sources import Source, counts_by_value, plain_config, public_path, published

SPLITS = ("train", "test")
REJECTS_FILE, REPORT_FILE = "rejects.jsonl", "curation.json"
SolvedWithoutFigure = Callable[[Sequence[Problem]], Mapping[str, tuple[int, int]]]
"""Problems without their figures to (answers right, answers judged) by id, see `text_only`."""


@dataclasses.dataclass(frozen=True)
class Curation:
    """What a run decided.

    Args:
        config: Its configuration.
        splits: Ids per split, in the order of the files.
        rejects: One dict per dropped row: source, row, id, reason, detail, and `of`, the id of the other problem.
        report: What `curation.json` holds.
    """

    config: CurationConfig
    splits: dict[str, list[str]]
    rejects: list[dict[str, Any]]
    report: dict[str, Any]


def curate(config: CurationConfig, folder: Path, *, text_only: SolvedWithoutFigure | None = None) -> Curation:
    """Curate the sources into a folder.

    Writes ``train.parquet`` and ``test.parquet`` (MM-K12's schema, figures with their own bytes), ``rejects.jsonl`` (a
    line per dropped row, with the reason) and ``curation.json`` (configuration, counts, drop table).

    Args:
        config: Sources and limits.
        folder: Made if absent; files of an earlier run are replaced.
        text_only: Asked for what a model solves without the figures: what it solves is dropped, and what does not refer
            to its figure is kept if the model fails. None asks nobody: what does not refer to its figure is dropped.

    Raises:
        ValueError: if a source has none of the columns that are needed, or nothing is kept.
        OSError: if a source is not there, and whatever `datasets.load_dataset` raises.
    """
    run = _Run(config)
    run.read(asks_text_only=text_only is not None)
    run.drop_pairs()
    if text_only is not None:
        run.drop_solved(text_only)
    run.split()
    if not run.split_of:
        counts = ", ".join(f"{reason}: {count}" for reason, count in run.num_dropped().most_common())
        raise ValueError(f"Of {run.num_read} rows none is kept ({counts}). Nothing was written; look at the criteria.")
    for name in (REPORT_FILE, REJECTS_FILE, "README.md", "facts.json"):  # they tell of the rows that are replaced now
        (folder / name).unlink(missing_ok=True)
    rows = tqdm(run.rows(), desc="writing", total=len(run.split_of), unit="row", disable=None)
    write_splits(folder, rows, problem_features(), SPLITS, rows_in_memory=64)
    write_jsonl(folder / REJECTS_FILE, run.rejects)
    report = run.report()
    write_json(folder / REPORT_FILE, report)
    ids = {split: [run.entries[i].id for i, side in sorted(run.split_of.items()) if side == split] for split in SPLITS}
    return Curation(config, ids, run.rejects, report)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A problem that passed its own criteria.

    Args:
        id: Unique in the run.
        source, row: Where it stands.
        sketch: What it is compared by.
        split_group: The source's own, as far as it tells one.
        refers_to_figure: Whether its text leans on a figure.
    """

    id: str
    source: Source
    row: int
    sketch: Sketch
    split_group: str | None
    refers_to_figure: bool

    @property
    def is_test(self) -> bool:
        """Whether its source is sent to the test split."""
        return self.source.config.into == "test"


class _Run:
    """The state of one run: each step drops entries (by index), and tells why."""

    def __init__(self, config: CurationConfig) -> None:
        self.config = config
        self.sources = [Source(source) for source in config.sources]
        self.benchmarks = [Source(source, is_benchmark=True) for source in config.benchmarks]
        self.entries: list[_Entry] = []  # of the sources, then of the benchmarks
        self.num_own = 0  # of them those of the sources
        self.pairs: list[Pair] = []
        self.rejects: list[dict[str, Any]] = []
        self.dropped: set[int] = set()
        self.split_of: dict[int, str] = {}
        self.group: dict[int, str] = {}
        self.repairs: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.num_unreadable = collections.Counter[str]()
        self.composition: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    @property
    def num_read(self) -> int:
        """Rows of all sources."""
        return sum(len(source.rows) for source in self.sources)

    # Reading

    def read(self, asks_text_only: bool = False) -> None:
        """Every row through adapter, repairs and its own criteria."""
        seen: set[str] = set()
        for source in (*self.sources, *self.benchmarks):
            for row in tqdm(range(len(source.rows)), desc=source.title, unit="row", disable=None):
                problem = None
                try:
                    problem = source.problem(row)
                    figures = source.figures(problem)
                except RowError as error:
                    if source.is_benchmark:
                        self.num_unreadable[source.title] += 1
                    else:
                        self._reject(source, row, problem, error.reason, error.detail)
                    continue
                if not source.is_benchmark:
                    found = why_dropped(problem, figures, self.config, needs_figure=not asks_text_only)
                    if found:
                        self._reject(source, row, problem, *found)
                        continue
                sketch = sketch_of(problem, figures, is_benchmark=source.is_benchmark)
                name = _unique(source.name_of(problem), source.title, row, seen)
                entry = _Entry(name, source, row, sketch, problem.split_group, refers_to_figure(problem))
                self.entries.append(entry)
            if not source.is_benchmark:
                self.num_own = len(self.entries)

    def _reject(
        self,
        source: Source,
        row: int,
        problem: RawProblem | None,
        reason: str,
        detail: str,
        *,
        name: str | None = None,
        of: str | None = None,
    ) -> None:
        assert reason in CRITERIA, reason
        if problem is None:
            texts = source.as_it_is(row)
        else:
            texts = {"id": name or source.name_of(problem), "question": problem.question, "answer": problem.answer}
        shown = {key: None if text is None else text[:200] for key, text in texts.items()}
        where = {"source": source.title, "row": row, "id": shown.pop("id")}
        self.rejects.append({**where, "reason": reason, "detail": detail[:200], "of": of, **shown})

    def _drop(self, index: int, reason: str, detail: str, of: str | None = None) -> None:
        entry = self.entries[index]
        self.dropped.add(index)
        problem = entry.source.problem(entry.row)
        self._reject(entry.source, entry.row, problem, reason, detail, name=entry.id, of=of)

    # Pairs

    def drop_pairs(self) -> None:
        """Benchmarks first, then duplicates: of two the one sent to the test split is kept, else the earlier one."""
        self.pairs = find_pairs([entry.sketch for entry in self.entries], self.config)
        found: dict[int, list[tuple[int, Pair]]] = collections.defaultdict(list)
        for pair in self.pairs:
            found[pair.first].append((pair.second, pair))
            found[pair.second].append((pair.first, pair))
        kept: set[int] = set()
        for index in sorted(range(self.num_own), key=lambda index: (not self.entries[index].is_test, index)):
            if reason := self._reason(index, found.get(index, []), kept):
                self._drop(index, *reason)
            else:
                kept.add(index)

    def _reason(self, index: int, others: list[tuple[int, Pair]], kept: set[int]) -> tuple[str, str, str] | None:
        """Why one of several problems that belong together is dropped, and for which other one."""
        is_test = self.entries[index].is_test
        reasons = []
        for other, pair in others:
            if other >= self.num_own:
                reason = "in_benchmark"
            elif pair.kind == "conflict":  # nobody knows which of the two is right
                reason = "conflicting_answers"
            elif other not in kept:
                continue
            elif self.entries[other].is_test and not is_test:
                reason = "in_test"
            elif pair.kind != "variant":
                reason = "duplicate" if pair.kind == "exact" else "near_duplicate"
            else:
                continue
            distance = "" if pair.distance is None else f", figures differ in {pair.distance:.0%} of bits"
            detail = f"{pair.kind}: texts alike to {pair.similarity:.0%}{distance}"
            reasons.append((reason, detail, self.entries[other].id))
        order = ("in_benchmark", "conflicting_answers", "in_test", "duplicate", "near_duplicate")
        return min(reasons, key=lambda reason: order.index(reason[0]), default=None)

    def drop_solved(self, text_only: SolvedWithoutFigure) -> None:
        """Problems that a model solves without the figure."""
        indices = [index for index in range(self.num_own) if index not in self.dropped]
        problems = []
        for index in indices:
            entry = self.entries[index]
            problem = self._problem(entry, entry.source.problem(entry.row), None)
            problems.append(dataclasses.replace(problem, images=()))
        solved = text_only(problems)
        for index in indices:
            num_right, num_judged = solved.get(self.entries[index].id, (0, 0))
            if num_judged and num_right > self.config.max_text_only_share * num_judged:
                self._drop(index, "solved_without_figure", f"{num_right} of {num_judged} answers")
            elif not num_judged and not self.entries[index].refers_to_figure:
                self._drop(index, "figure_not_needed", "and no answer of the model could be judged")

    # Split

    def split(self) -> None:
        """Groups to splits: where their source says, else drawn by hash; then the limits."""
        groups = self._groups()
        drawn = sorted(groups, key=lambda group: content_hash("split", self.config.seed, group))
        num_test = 0
        sides: dict[str, str] = {}
        for group, members in groups.items():
            into = {self.entries[index].source.config.into for index in members}
            if into != {"auto"}:
                sides[group] = "test" if "test" in into else "train"
                num_test += len(members) * (sides[group] == "test")
        for group in drawn:
            if group not in sides:
                fits = self.config.num_test is not None and num_test + len(groups[group]) <= self.config.num_test
                sides[group] = "test" if fits else "train"
                num_test += len(groups[group]) * fits
        limits = {"train": self.config.num_train, "test": self.config.num_test}
        num_kept = collections.Counter[str]()
        for group in drawn:
            side = sides[group]
            for index in groups[group]:
                if limits[side] is not None and num_kept[side] >= limits[side]:
                    self._drop(index, "over_the_limit", f"{limits[side]} in {side}")
                    continue
                num_kept[side] += 1
                self.split_of[index] = side
                self.group[index] = group

    def _groups(self) -> dict[str, list[int]]:
        """Members of each split group: those that pairs join, and those whose source has them in one group.

        What was dropped joins, too: two variants of one dropped problem stay together.
        """
        joined = [pair for pair in self.pairs if pair.second < self.num_own]
        first_of: dict[tuple[str, str], int] = {}
        titles: dict[str, set[str]] = collections.defaultdict(set)
        for index, entry in enumerate(self.entries[: self.num_own]):
            if entry.split_group is not None:
                titles[entry.split_group].add(entry.source.title)
                first = first_of.setdefault((entry.source.title, entry.split_group), index)
                if first != index:
                    joined.append(Pair(first, index, "variant", 1.0, None))
        members: dict[int, list[int]] = collections.defaultdict(list)
        for index, root in enumerate(group_of(self.num_own, joined)):
            if index not in self.dropped:
                members[root].append(index)
        named = {}
        for root, group in members.items():
            own = {self.entries[index].split_group for index in group}
            only = next(iter(own)) if len(own) == 1 else None
            is_unique = only is not None and len(titles[only]) == 1 and only not in named
            named[only if is_unique else content_hash("split_group", self.entries[root].id)] = group
        return named

    # Results

    def _problem(self, entry: _Entry, raw: RawProblem, group: str | None) -> Problem:
        meta = {
            "subject": raw.subject,
            "grade": raw.grade,
            "source": entry.source.title,
            "license": raw.license or entry.source.config.license,
            "split_group": group,
        }
        images = tuple(published(image) for image in raw.images)
        return Problem(entry.id, raw.question, images, raw.answer, answer_type_of(raw), raw.options, meta)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Split and row of every kept problem, in the order of the sources."""
        for index, split in sorted(self.split_of.items()):
            entry = self.entries[index]
            raw = entry.source.problem(entry.row)
            self.repairs[entry.source.title].update(raw.repairs)
            problem = self._problem(entry, raw, self.group[index])
            found = {
                "answer type": problem.answer_type,
                "language": language_of(problem.question),
                "images per problem": str(len(problem.images)),
                "source": entry.source.title,
                "license": problem.meta["license"] or "not known",
            }
            for name, value in found.items():
                self.composition[name][value] += 1
            yield split, problem_to_row(problem)

    def num_dropped(self, source: str | None = None) -> collections.Counter[str]:
        """Dropped rows by reason, of all sources or of one."""
        return collections.Counter(row["reason"] for row in self.rejects if source in (None, row["source"]))

    def report(self) -> dict[str, Any]:
        """What `curation.json` holds; of every source rows kept and dropped add up to those read."""
        sizes = collections.Counter(self.group.values())
        kinds = collections.Counter(pair.kind for pair in self.pairs)
        num_kept = collections.Counter(self.entries[index].source.title for index in self.split_of)
        sources = [self._source_report(source, num_kept[source.title]) for source in self.sources]
        return {
            "config": plain_config(self.config),
            "criteria": criteria_in_words(self.config),
            "sources": sources,
            "benchmarks": [
                {
                    "name": source.title,
                    "path": public_path(source.config.path),
                    "num_read": len(source.rows),
                    "num_unreadable": self.num_unreadable[source.title],
                }
                for source in self.benchmarks
            ],
            "splits": {split: list(self.split_of.values()).count(split) for split in SPLITS},
            "pairs": {kind: kinds[kind] for kind in ("exact", "near", "conflict", "variant")},
            "groups_of_several": sum(size > 1 for size in sizes.values()),
            "largest_group": max(sizes.values(), default=0),
            "composition": {name: counts_by_value(counts) for name, counts in self.composition.items()},
        }

    def _source_report(self, source: Source, num_kept: int) -> dict[str, Any]:
        dropped, repairs = self.num_dropped(source.title), self.repairs[source.title]
        assert len(source.rows) == num_kept + dropped.total(), (source.title, num_kept, dropped)
        return {
            "name": source.title,
            "path": public_path(source.config.path),
            "adapter": source.adapter,
            "license": source.config.license,
            "url": source.config.url,
            "note": source.config.note,
            "num_read": len(source.rows),
            "num_kept": num_kept,
            "num_dropped": {reason: dropped[reason] for reason in CRITERIA if dropped[reason]},
            "repairs": {name: repairs[name] for name in REPAIRS if repairs[name]},
            "unknown_columns": source.unknown_columns(),
        }


def _unique(name: str, title: str, row: int, seen: set[str]) -> str:
    """A name that is not in `seen`, to which it is added: as it is, or with the row, or with the source's name too."""
    found, number = name, row
    for candidate in (name, f"{name}-{row}", f"{title}-{name}-{row}"):
        found = candidate
        if found not in seen:
            break
    while found in seen:
        number += 1
        found = f"{title}-{name}-{number}"
    seen.add(found)
    return found


__all__ = ["SPLITS", "Curation", "SolvedWithoutFigure", "curate"]
