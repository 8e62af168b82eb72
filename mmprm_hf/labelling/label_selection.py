"""Which label rows are kept, and on which side of the split: caps, BIS selection, train and validation.

Every choice is a function of content and seed alone: the same rows in another order, on another machine, give the
same choice. Standard library only.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from ..data import Problem, SearchTree, content_hash
from .label_rows import Keep, Row, prefix_keys, problem_rows, weigh_rows
from .labelled_problems import LabelledProblems, by_problem
from .labels import IGNORE_LABEL, AfterError, Consensus, Fill, check_choices

Split = Literal["train", "validation"]
DROP_RULES = ("max_rows_per_prefix", "max_rows_per_problem", "bis_share")


@dataclasses.dataclass(frozen=True)
class LabelRowsConfig:
    """How trees become train and validation rows. The defaults keep every row and hold nothing out.

    Args:
        keep: "mixed" takes only problems with 0 < MC(root) < 1, as MM-PRM does; "all" takes every tree.
        fill: What steps without an estimate of their own get: "monotone" bounds, or nothing ("own").
        after_error: "keep" the steps after the first zero node, or "drop" them as MM-PRM does.
        consensus: "drop" the labels on which a step judge and MC disagree, or "ignore" the judge.
        consensus_threshold: In [0, 1); an estimate above it disagrees with a judge who says wrong.
        max_rows_per_prefix: The most rows in which one labelled prefix may occur. None: no cap.
        max_rows_per_problem: The most rows of one problem. None: no cap.
        bis_share: In (0, 1]; the share of the *train* rows with the best BIS that is kept, after the caps; validation
            rows stay a fair sample.
        bis_by: Name of a row column or of a key of `Problem.meta` ("source", "subject"), to keep that share of each
            of its values; None: over all rows.
        validation_share: In [0, 1); the expected share of problems (by split group) that is held out.
        tree_rollouts: Keep every rollout in the published trees; they are most of their size.
        seed: Of the caps, the ties and the split.

    Raises:
        ValueError: if a value is unknown or out of its range.
    """

    keep: Keep = "mixed"
    fill: Fill = "monotone"
    after_error: AfterError = "keep"
    consensus: Consensus = "ignore"
    consensus_threshold: float = 0.0
    max_rows_per_prefix: int | None = None
    max_rows_per_problem: int | None = None
    bis_share: float = 1.0
    bis_by: str | None = None
    validation_share: float = 0.0
    tree_rollouts: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(fill=self.fill, after_error=self.after_error, consensus=self.consensus)
        caps = (self.max_rows_per_prefix, self.max_rows_per_problem)
        rules = {
            "keep": (self.keep in ("mixed", "all"), "mixed or all"),
            "consensus_threshold": (0 <= self.consensus_threshold < 1, "in [0, 1)"),
            "max_rows_per_prefix": (caps[0] is None or caps[0] >= 1, "at least 1, or None for no cap"),
            "max_rows_per_problem": (caps[1] is None or caps[1] >= 1, "at least 1, or None for no cap"),
            "bis_share": (0 < self.bis_share <= 1, "in (0, 1]"),
            "validation_share": (0 <= self.validation_share < 1, "in [0, 1)"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in LabelRowsConfig; it must be {rule}.")


@dataclasses.dataclass(frozen=True)
class LabelRows:
    """Rows by split, weighed, and how many rows each rule dropped.

    Args:
        train, validation: The rows, in the order of the trees.
        num_dropped: Rows dropped by each of `DROP_RULES`.
    """

    train: list[Row]
    validation: list[Row]
    num_dropped: dict[str, int]


def make_label_rows(
    problems: Iterable[Problem], trees: Iterable[SearchTree], config: LabelRowsConfig | None = None
) -> LabelRows:
    """Return the rows of the trees under a configuration: labels, then caps, split, BIS on train, and weights.

    Raises:
        ValueError: if a tree's problem is missing or has another content, or `bis_by` names nothing that every row has.
    """
    rows: dict[Split, list[Row]] = {"train": [], "validation": []}
    num_dropped: Counter[str] = Counter()
    listed = by_problem(trees)
    for split, found in iter_label_rows(LabelledProblems(problems), listed, config or LabelRowsConfig(), num_dropped):
        rows[split] += found
    return LabelRows(rows["train"], rows["validation"], {rule: num_dropped[rule] for rule in DROP_RULES})


def iter_label_rows(
    problems: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig, num_dropped: Counter[str]
) -> Iterator[tuple[Split, list[Row]]]:
    """Yield the rows of one problem after the other, weighed, each with its side of the split.

    Caps, split and weights concern one problem at a time; only the ranking by BIS looks at all train rows, of which it
    keeps three numbers each.

    Args:
        problems: Their problems.
        trees: Trees, those of one problem next to each other; with `bis_share` below 1 they are gone through twice
            (an iterator, which cannot be, is listed).
        config: The rules.
        num_dropped: Rows dropped by each of `DROP_RULES` are added here.

    Raises:
        ValueError: as `make_label_rows`, and if the trees of a problem do not follow one another.
    """
    is_kept = None
    if config.bis_share < 1:
        trees = list(trees) if isinstance(trees, Iterator) else trees
        is_kept = _best_train_rows(_capped_rows(problems, trees, config, Counter()), config)
    number = 0
    for _, split, rows in _capped_rows(problems, trees, config, num_dropped):
        if split == "train" and is_kept is not None:
            numbers = range(number, number + len(rows))
            number += len(rows)
            found = [row for index, row in zip(numbers, rows, strict=True) if is_kept[index]]
            num_dropped["bis_share"] += len(rows) - len(found)
            rows = found
        if rows:
            yield split, weigh_rows(rows)


def _capped_rows(
    problems: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig, num_dropped: Counter[str]
) -> Iterator[tuple[Problem, Split, list[Row]]]:
    for problem, group in problems.groups(trees):
        rows = problem_rows(
            problem,
            group,
            keep=config.keep,
            fill=config.fill,
            after_error=config.after_error,
            consensus=config.consensus,
            consensus_threshold=config.consensus_threshold,
        )
        rows, dropped = cap_rows(rows, config.max_rows_per_prefix, config.max_rows_per_problem, seed=config.seed)
        num_dropped.update(dropped)
        yield problem, split_of(problem, config.validation_share, config.seed), rows


def _best_train_rows(found: Iterable[tuple[Problem, Split, list[Row]]], config: LabelRowsConfig) -> bytearray:
    """A flag for each train row, in order: whether BIS keeps it."""
    ranking = _BISRanking(config.seed)
    for problem, split, rows in found:
        for row in rows if split == "train" else ():
            ranking.add(row, None if config.bis_by is None else _stratum(config.bis_by, row, problem))
    return ranking.best(config.bis_share)


def _stratum(name: str, row: Mapping[str, Any], problem: Problem) -> Hashable:
    """The row's column of this name, or its problem's meta."""
    if name not in row and name not in problem.meta:
        raise ValueError(
            f"Found bis_by={name!r}, but problem {problem.id!r} has no such entry in its meta "
            f"({', '.join(problem.meta) or 'empty'}) and rows have no such column. Name one that all have, or leave it "
            "out."
        )
    return row[name] if name in row else problem.meta[name]


def split_of(problem: Problem, validation_share: float, seed: int = 0) -> Split:
    """Return the side a problem falls on, from its split group (``meta["split_group"]``; without one, its question).

    Problems of one group, and problems without one that have the same question, are never on both sides. A larger share
    keeps what a smaller one held out.

    Args:
        problem: The problem.
        validation_share: In [0, 1); the expected share of groups that is held out.
        seed: Another seed holds out others.
    """
    # Differs from MM-PRM: its rows are not split, so nothing tells when to stop.
    group = problem.meta.get("split_group")
    key = ["question", " ".join(problem.question.split())] if group is None else ["split_group", str(group)]
    position = int(content_hash("split", seed, *key), 16) / 16**16
    return "validation" if position < validation_share else "train"


def cap_rows(
    rows: Sequence[Row],
    max_rows_per_prefix: int | None = None,
    max_rows_per_problem: int | None = None,
    *,
    seed: int = 0,
) -> tuple[list[Row], dict[str, int]]:
    """Return rows such that no labelled prefix, and no problem, occurs in more of them than allowed.

    Rows are tried in the order of a hash of seed and `path_id`; one is kept while none of its labelled prefixes and
    not its problem has reached a cap. Most rows of a problem share their first step, so a cap per prefix bounds the
    rows per problem too. Weights are not touched: `weigh_rows` afterwards.

    Returns:
        The kept rows in their order, and how many each cap dropped (a row over both counts for the problem's).
    """
    order = sorted(range(len(rows)), key=lambda index: content_hash("cap", seed, rows[index]["path_id"]))
    rows_of_problem: Counter[str] = Counter()
    rows_of_prefix: Counter[str] = Counter()
    num_dropped = {"max_rows_per_prefix": 0, "max_rows_per_problem": 0}
    kept = []
    for index in order:
        row = rows[index]
        keys = [key for key in prefix_keys(row) if key is not None]
        if max_rows_per_problem is not None and rows_of_problem[row["problem_id"]] >= max_rows_per_problem:
            num_dropped["max_rows_per_problem"] += 1
        elif max_rows_per_prefix is not None and any(rows_of_prefix[key] >= max_rows_per_prefix for key in keys):
            num_dropped["max_rows_per_prefix"] += 1
        else:
            rows_of_problem[row["problem_id"]] += 1
            rows_of_prefix.update(keys)
            kept.append(index)
    return [rows[index] for index in sorted(kept)], num_dropped


def bis_score(row: Mapping[str, Any], *, threshold: float = 0.0) -> float | None:
    """Return the Balanced-Information Score of a row: ``(p (1 - p) + 0.05) * R`` (Li et al., 2026).

    p is the share of positive steps (MC > `threshold`) among the labelled ones: mixed solutions tell more. R is the
    mean MC of the positive steps, 1 if there are none: labels that most rollouts confirm are more reliable.

    Returns:
        The score in (0, 0.3]; None for a row without a labelled step.

    Example:
        >>> bis_score({"labels": [1.0, 0.5, 0.0, 0.0, -100.0]})  # p = 2/4, R = 0.75: (0.25 + 0.05) * 0.75
        0.225
    """
    labels = [label for label in row["labels"] if label != IGNORE_LABEL]
    if not labels:
        return None
    positive = [label for label in labels if label > threshold]
    share = len(positive) / len(labels)
    return round((share * (1 - share) + 0.05) * (statistics.fmean(positive) if positive else 1.0), 12)


def select_by_bis(
    rows: Sequence[Row],
    share: float,
    *,
    by: Callable[[Mapping[str, Any]], Hashable] | None = None,
    threshold: float = 0.0,
    seed: int = 0,
) -> list[Row]:
    """Return the fraction of the rows with the best `bis_score`, in their order.

    Rows without a labelled step are never kept and do not count towards the fraction, which is rounded to the nearest
    number of rows and is at least one row. Ties are decided by a hash of seed and `path_id`.

    Args:
        rows: Label rows, one per rollout or path.
        share: In (0, 1].
        by: Gives a row's stratum (its source, say); the fraction is then kept of each stratum. None: of all rows.
        threshold: Above it an MC estimate is positive.
        seed: Of the ties.

    Raises:
        ValueError: if `share` is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"Found share={share!r} for select_by_bis; it must be in (0, 1].")
    ranking = _BISRanking(seed, threshold)
    for row in rows:
        ranking.add(row, None if by is None else by(row))
    return [row for row, is_kept in zip(rows, ranking.best(share), strict=True) if is_kept]


class _BISRanking:
    """Rows by stratum, best `bis_score` first: of each row only score, tie and number are held."""

    def __init__(self, seed: int, threshold: float = 0.0) -> None:
        self.seed, self.threshold = seed, threshold
        self.num_rows = 0
        self._strata: defaultdict[Hashable, list[tuple[float, int, int]]] = defaultdict(list)

    def add(self, row: Mapping[str, Any], stratum: Hashable) -> None:
        score = bis_score(row, threshold=self.threshold)
        if score is not None:
            tie = int(content_hash("bis", self.seed, row["path_id"]), 16)
            self._strata[stratum].append((-score, tie, self.num_rows))
        self.num_rows += 1

    def best(self, share: float) -> bytearray:
        """A flag for each row: whether it is among the best of its stratum."""
        is_kept = bytearray(self.num_rows)
        for ranked in self._strata.values():
            ranked.sort()
            for _, _, number in ranked[: max(1, int(share * len(ranked) + 0.5))]:
                is_kept[number] = True
        return is_kept
