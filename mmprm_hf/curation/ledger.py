"""What became of every row: dropped under a named reason, or kept. The counts make ``curation.json``."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Problem
from ..rows import HUB_PREFIX
from .config import SPLITS, CurationConfig
from .criteria import CRITERIA, criteria_in_words
from .duplicates import Pair
from .question_rules import language_of
from .records import Failure
from .repairs import REPAIRS
from .sources import Source

_MAX_CHARS = 200  # of a text in a reject
_COMPOSITION = ("answer type", "language", "images per problem", "source", "license")


class Ledger:
    """Rows dropped, problems kept, and their counts."""

    def __init__(self) -> None:
        self.rejects: list[dict[str, Any]] = []
        self.num_unreadable = collections.Counter[str]()  # rows that give no problem, by benchmark
        self._kept: list[dict[str, Any]] = []

    def reject(
        self, source: Source, row: int, texts: Mapping[str, str | None], failure: Failure, of: str | None = None
    ) -> None:
        """Note a dropped row with its id, question and answer; `of` is the id of the problem that it duplicates."""
        reason, detail = failure
        assert reason in CRITERIA, reason
        cut = {name: None if text is None else text[:_MAX_CHARS] for name, text in texts.items()}
        where = {"source": source.title, "row": row, "id": cut.pop("id")}
        self.rejects.append({**where, "reason": reason, "detail": detail[:_MAX_CHARS], "of": of, **cut})

    def keep(self, problem: Problem, split: str, repairs: Sequence[str]) -> None:
        """Note a problem that was written to a split, and the repairs made to it."""
        facts = {
            "answer type": problem.answer_type,
            "language": language_of(problem.question),
            "images per problem": str(len(problem.images)),
            "source": problem.meta["source"],
            "license": problem.meta["license"] or "not known",
        }
        self._kept.append({**facts, "split": split, "group": problem.meta["split_group"], "repairs": repairs})

    def num_dropped(self, source: str | None = None) -> collections.Counter[str]:
        """Return how many rows were dropped for each reason, of all sources or of one."""
        return collections.Counter(row["reason"] for row in self.rejects if source in (None, row["source"]))

    def report(
        self, config: CurationConfig, sources: Sequence[Source], benchmarks: Sequence[Source], pairs: Sequence[Pair]
    ) -> dict[str, Any]:
        """Return the content of ``curation.json``; rows kept and dropped of a source add up to those read."""
        num_pairs = collections.Counter(pair.kind for pair in pairs)
        split_sizes, group_sizes = self._count("split"), self._count("group")
        return {
            "config": plain_config(config),
            "criteria": criteria_in_words(config),
            "sources": [self._source_report(source) for source in sources],
            "benchmarks": [
                {
                    "name": source.title,
                    "path": public_path(source.config.path),
                    "num_read": len(source.rows),
                    "num_unreadable": self.num_unreadable[source.title],
                }
                for source in benchmarks
            ],
            "splits": {split: split_sizes[split] for split in SPLITS},
            "pairs": {kind: num_pairs[kind] for kind in ("exact", "near", "conflict", "variant")},
            "groups_of_several": sum(size > 1 for size in group_sizes.values()),
            "largest_group": max(group_sizes.values(), default=0),
            "composition": {name: dict(self._count(name).most_common()) for name in _COMPOSITION},
        }

    def _count(self, name: str) -> collections.Counter[str]:
        return collections.Counter(sorted(facts[name] for facts in self._kept))  # equally frequent ones by name

    def _source_report(self, source: Source) -> dict[str, Any]:
        kept = [facts for facts in self._kept if facts["source"] == source.title]
        num_dropped = self.num_dropped(source.title)
        repairs = collections.Counter(name for facts in kept for name in facts["repairs"])
        assert len(source.rows) == len(kept) + num_dropped.total(), (source.title, len(kept), num_dropped)
        return {
            "name": source.title,
            "path": public_path(source.config.path),
            "adapter": source.adapter,
            "license": source.config.license,
            "url": source.config.url,
            "note": source.config.note,
            "num_read": len(source.rows),
            "num_kept": len(kept),
            "num_dropped": {reason: num_dropped[reason] for reason in CRITERIA if num_dropped[reason]},
            "repairs": {name: repairs[name] for name in REPAIRS if repairs[name]},
            "unknown_columns": source.unknown_columns(),
        }


def public_path(path: str) -> str:
    """Return a hub id as it is, the last two parts of a path on this machine."""
    if path.startswith(HUB_PREFIX) or not Path(path).exists():
        return path
    return "/".join(Path(path).resolve().parts[-2:])


def plain_config(config: CurationConfig) -> dict[str, Any]:
    """Return a configuration as JSON and YAML write it, without paths of this machine."""
    plain = {**dataclasses.asdict(config), "languages": list(config.languages)}
    for name in ("sources", "benchmarks"):
        plain[name] = [
            {field: value for field, value in {**entry, "path": public_path(entry["path"])}.items() if value}
            for entry in plain[name]
        ]
    return plain
