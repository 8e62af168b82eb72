"""The run: sources through adapters, repairs, criteria, duplicates and the split, into a folder that can be loaded.

Deterministic: the same sources and configuration give the same rows in the same order, on any machine. Rows are read
twice (to decide, to write); between the two only sketches are in memory, never figures.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data import Problem, content_hash
from ..files import write_json, write_jsonl
from ..parquet_splits import write_splits
from ..problem_rows import problem_features, problem_to_row
from ..raw_rows import HUB_PREFIX, RawRows
from .adapters import ADAPTERS, adapter_of, missing_facts, renamed
from .config import CurationConfig, SourceConfig
from .criteria import CRITERIA, answer_type_of, criteria_in_words, language_of, refers_to_figure, why_dropped
from .duplicates import Pair, Sketch, find_pairs, group_of, sketch_of
from .figures import read_figure
from .records import RawProblem, RowError
from .repairs import REPAIRS, repair

SPLITS = ("train", "test")
SolvedWithoutFigure = Callable[[Sequence[Problem]], Mapping[str, tuple[int, int]]]
"""Problems without their figures to (answers right, answers judged) by id, see `text_only`."""


class _Source:
    """A source that is open: its rows, and the adapter that reads them."""

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.rows = RawRows(config.path, config.split, subset=config.subset, num_rows=config.num_rows)
        self.columns = tuple(dict.fromkeys((*self.rows.columns, *config.columns)))
        self.adapter = adapter_of(config, self.columns)

    def read(self, index: int) -> RawProblem:
        """The repaired problem of a row."""
        return repair(ADAPTERS[self.adapter](renamed(self.rows[index], self.config.columns), index))

    def id_of(self, problem: RawProblem) -> str:
        """Ours: the source's name and its id; rows of our own schema have a whole id already."""
        return problem.id if self.adapter == "schema" else f"{self.config.title}-{problem.id}"


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A problem that passed its own criteria."""

    id: str
    source: _Source
    row: int
    sketch: Sketch
    split_group: str | None
    refers_to_figure: bool

    @property
    def is_test(self) -> bool:
        return self.source.config.into == "test"


@dataclasses.dataclass
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
    if not any(run.split_of.values()):
        counts = ", ".join(f"{reason}: {count}" for reason, count in run.num_dropped().most_common())
        raise ValueError(f"Of {run.num_read} rows none is kept ({counts}). Nothing was written; look at the criteria.")
    rows = tqdm(run.rows(), desc="writing", total=len(run.split_of), unit="row", disable=None)
    write_splits(folder, rows, problem_features(), SPLITS, rows_in_memory=64)
    write_jsonl(folder / "rejects.jsonl", run.rejects)
    report = run.report()
    write_json(folder / "curation.json", report)
    ids = {split: [entry.id for entry in run.kept() if run.split_of[entry.id] == split] for split in SPLITS}
    return Curation(config, ids, run.rejects, report)


class _Run:
    """The state of one run: each step drops entries, and tells why."""

    def __init__(self, config: CurationConfig) -> None:
        self.config = config
        self.sources = [_Source(source) for source in config.sources]
        self.benchmarks = [_Source(source) for source in config.benchmarks]
        self.entries: list[_Entry] = []  # of the sources, then of the benchmarks
        self.num_own = 0  # of them those of the sources
        self.pairs: list[Pair] = []
        self.rejects: list[dict[str, Any]] = []
        self.dropped: set[int] = set()
        self.split_of: dict[str, str] = {}
        self.group: dict[str, str] = {}
        self.repairs = {source.config.title: collections.Counter[str]() for source in self.sources}
        self.num_unreadable = collections.Counter[str]()
        self.composition: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    @property
    def num_read(self) -> int:
        """Rows of all sources."""
        return sum(len(source.rows) for source in self.sources)

    def kept(self) -> list[_Entry]:
        """What is in a split, in the order of the sources."""
        return [entry for entry in self.entries[: self.num_own] if entry.id in self.split_of]

    # Reading

    def read(self, asks_text_only: bool = False) -> None:
        """Every row through adapter, repairs and its own criteria."""
        seen: set[str] = set()
        for source in (*self.sources, *self.benchmarks):
            is_own = source in self.sources
            for row in tqdm(range(len(source.rows)), desc=source.config.title, unit="row", disable=None):
                try:
                    problem = source.read(row)
                    figures = [read_figure(image) for image in problem.images]
                except RowError as error:
                    if is_own:
                        self._reject(source, row, None, error.reason, error.detail)
                    else:
                        self.num_unreadable[source.config.title] += 1
                    continue
                found = why_dropped(problem, figures, self.config, needs_figure=not asks_text_only) if is_own else None
                if found:
                    self._reject(source, row, problem, *found)
                    continue
                name = source.id_of(problem)
                name = f"{name}-{row}" if name in seen else name
                seen.add(name)
                sketch = sketch_of(problem, figures)
                self.entries.append(_Entry(name, source, row, sketch, problem.split_group, refers_to_figure(problem)))
            if is_own:
                self.num_own = len(self.entries)

    def _reject(
        self, source: _Source, row: int, problem: RawProblem | None, reason: str, detail: str, of: str | None = None
    ) -> None:
        assert reason in CRITERIA, reason
        question = None if problem is None else problem.question[:200]
        answer = None if problem is None else problem.answer[:80]
        known = {"source": source.config.title, "row": row, "id": None if problem is None else source.id_of(problem)}
        texts = {"question": question, "answer": answer}
        self.rejects.append({**known, "reason": reason, "detail": detail[:200], "of": of, **texts})

    def _drop(self, index: int, reason: str, detail: str, of: str | None = None) -> None:
        entry = self.entries[index]
        self.dropped.add(index)
        self._reject(entry.source, entry.row, entry.source.read(entry.row), reason, detail, of)
        self.rejects[-1]["id"] = entry.id

    # Pairs

    def drop_pairs(self) -> None:
        """Benchmarks first, then duplicates: of two the one sent to the test split is kept, else the earlier one."""
        self.pairs = find_pairs([entry.sketch for entry in self.entries], self.config)
        found: dict[int, list[tuple[int, Pair]]] = collections.defaultdict(list)
        for pair in self.pairs:
            found[pair.first].append((pair.second, pair))
            found[pair.second].append((pair.first, pair))
        kept: set[int] = set()
        own = range(self.num_own)
        for index in sorted(own, key=lambda index: (not self.entries[index].is_test, index)):
            others = found.get(index, [])
            if reason := self._reason(index, others, kept):
                self._drop(index, *reason)
            else:
                kept.add(index)

    def _reason(self, index: int, others: list[tuple[int, Pair]], kept: set[int]) -> tuple[str, str, str] | None:
        """Why one of several problems that belong together is dropped, and for which other one."""
        is_test = self.entries[index].is_test
        worst: tuple[int, str, str, str] | None = None
        for other, pair in others:
            if other >= self.num_own:
                rank, reason = 0, "in_benchmark"
            elif other not in kept:
                continue
            elif self.entries[other].is_test and not is_test:
                rank, reason = 1, "in_test"
            elif pair.kind != "variant":
                rank, reason = 2, "duplicate" if pair.kind == "exact" else "near_duplicate"
            else:
                continue
            distance = "" if pair.distance is None else f", figures differ in {pair.distance:.0%} of bits"
            detail = f"{pair.kind}: texts alike to {pair.similarity:.0%}{distance}"
            if worst is None or rank < worst[0]:
                worst = (rank, reason, detail, self.entries[other].id)
        return None if worst is None else worst[1:]

    def drop_solved(self, text_only: SolvedWithoutFigure) -> None:
        """Problems that a model solves without the figure."""
        indices = [index for index in range(self.num_own) if index not in self.dropped]
        problems = []
        for index in indices:
            problem = self._problem(self.entries[index], self.entries[index].source.read(self.entries[index].row), None)
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
        indices = [index for index in range(self.num_own) if index not in self.dropped]
        groups = self._groups(indices)
        drawn = sorted(groups, key=lambda group: content_hash("split", self.config.seed, group))
        num_test = 0
        sides: dict[str, str] = {}
        for group in groups:
            into = {self.entries[index].source.config.into for index in groups[group]}
            if into != {"auto"}:
                sides[group] = "test" if "test" in into else "train"
                num_test += len(groups[group]) * (sides[group] == "test")
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
                self.split_of[self.entries[index].id] = side
                self.group[self.entries[index].id] = group

    def _groups(self, indices: Sequence[int]) -> dict[str, list[int]]:
        """Members of each split group: those that pairs join, and those whose source has them in one group."""
        place = {index: number for number, index in enumerate(indices)}
        joined = [
            dataclasses.replace(pair, first=place[pair.first], second=place[pair.second])
            for pair in self.pairs
            if pair.first in place and pair.second in place
        ]
        first_of: dict[str, int] = {}
        for index in indices:
            own = self.entries[index].split_group
            if own is not None and first_of.setdefault(own, index) != index:
                joined.append(Pair(place[first_of[own]], place[index], "variant", 1.0, None))
        members: dict[int, list[int]] = collections.defaultdict(list)
        for number, root in enumerate(group_of(len(indices), joined)):
            members[root].append(indices[number])
        named = {}
        for group in members.values():
            own = {self.entries[index].split_group for index in group}
            only = next(iter(own)) if len(own) == 1 else None
            named[only or content_hash("split_group", self.entries[group[0]].id)] = group
        return named

    # Results

    def _problem(self, entry: _Entry, raw: RawProblem, group: str | None) -> Problem:
        source = entry.source.config
        meta = {
            "subject": raw.subject,
            "grade": raw.grade,
            "source": source.title,
            "license": raw.license or source.license,
            "split_group": group,
        }
        images = tuple(_published(image) for image in raw.images)
        return Problem(entry.id, raw.question, images, raw.answer, answer_type_of(raw), raw.options, meta)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Split and row of every kept problem."""
        for entry in self.kept():
            raw = entry.source.read(entry.row)
            self.repairs[entry.source.config.title].update(raw.repairs)
            problem = self._problem(entry, raw, self.group[entry.id])
            found = {
                "answer type": problem.answer_type,
                "language": language_of(problem.question),
                "images per problem": str(len(problem.images)),
                "source": str(problem.meta["source"]),
                "license": problem.meta["license"] or "not known",
            }
            for name, value in found.items():
                self.composition[name][value] += 1
            yield self.split_of[entry.id], problem_to_row(problem)

    def num_dropped(self, source: str | None = None) -> collections.Counter[str]:
        """Dropped rows by reason, of all sources or of one."""
        return collections.Counter(row["reason"] for row in self.rejects if source in (None, row["source"]))

    def report(self) -> dict[str, Any]:
        """What `curation.json` holds."""
        sizes = collections.Counter(self.group.values())
        kinds = collections.Counter(pair.kind for pair in self.pairs)
        num_kept = collections.Counter(entry.source.config.title for entry in self.kept())
        sources = []
        for source in self.sources:
            config, title = source.config, source.config.title
            dropped = self.num_dropped(title)
            sources.append(
                {
                    "name": title,
                    "path": _public_path(config.path),
                    "adapter": source.adapter,
                    "license": config.license,
                    "url": config.url,
                    "note": config.note,
                    "num_read": len(source.rows),
                    "num_kept": num_kept[title],
                    "num_dropped": {reason: dropped[reason] for reason in CRITERIA if dropped[reason]},
                    "repairs": {name: self.repairs[title][name] for name in REPAIRS if self.repairs[title][name]},
                    "unknown_columns": [
                        name
                        for name in missing_facts(source.adapter, source.columns)
                        if name != "license" or config.license is None
                    ],
                }
            )
        return {
            "config": _plain(self.config),
            "criteria": criteria_in_words(self.config),
            "sources": sources,
            "benchmarks": [
                {
                    "name": source.config.title,
                    "path": _public_path(source.config.path),
                    "num_read": len(source.rows),
                    "num_unreadable": self.num_unreadable[source.config.title],
                }
                for source in self.benchmarks
            ],
            "splits": {split: list(self.split_of.values()).count(split) for split in SPLITS},
            "pairs": {kind: kinds[kind] for kind in ("exact", "near", "variant")},
            "groups_of_several": sum(size > 1 for size in sizes.values()),
            "largest_group": max(sizes.values(), default=0),
            "composition": {
                name: dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
                for name, counts in self.composition.items()
            },
        }


def _plain(config: CurationConfig) -> dict[str, Any]:
    """A configuration as JSON and YAML have it, without paths of this machine."""
    plain = {**dataclasses.asdict(config), "languages": list(config.languages)}
    for name in ("sources", "benchmarks"):
        plain[name] = [
            {field: value for field, value in {**entry, "path": _public_path(entry["path"])}.items() if value}
            for entry in plain[name]
        ]
    return plain


def _published(image: Any) -> Any:
    """A figure without the path of the machine it was read on."""
    if isinstance(image, dict) and image.get("bytes") is not None:
        return {"bytes": image["bytes"], "path": os.path.basename(image.get("path") or "") or None}
    return image


def _public_path(path: str) -> str:
    """A hub id whole; of a path on this machine its end."""
    if path.startswith(HUB_PREFIX) or not Path(path).exists():
        return path
    return "/".join(Path(path).resolve().parts[-2:])


__all__ = ["SPLITS", "Curation", "SolvedWithoutFigure", "curate"]
