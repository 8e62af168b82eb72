"""Which label rows are kept, and on which side of the split: caps, BIS selection, train and validation.

Every choice is a function of content and seed alone: the same rows in another order, on another machine, give the same
choice. Standard library only.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from ..data import Problem, SearchTree, content_hash
from .label_rows import Row, prefix_keys, problem_rows, weigh_rows
from .labelled_problems import LabelledProblems
from .labels import IGNORE_LABEL
from .rows_config import LabelRowsConfig

Split = Literal["train", "validation"]
DROP_RULES = ("max_rows_per_prefix", "max_rows_per_problem", "bis_share")


def iter_label_rows(
    problems: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig, num_dropped: Counter[str]
) -> Iterator[tuple[Split, list[Row]]]:
    """Yield the rows of one problem after the other, with weights, each with its side of the split.

    Caps, split and weights concern one problem at a time. Only the ranking by BIS needs all train rows, of which it
    keeps three numbers each.

    Args:
        problems: The problems of the trees.
        trees: Trees, those of one problem next to each other. With `bis_share` below 1 they are read twice, and an
            iterator is turned into a list.
        config: The rules.
        num_dropped: Receives the number of rows that each of `DROP_RULES` drops.

    Raises:
        ValueError: if a tree's problem is missing or has another content, if the trees of a problem do not follow one
            another, or if `bis_by` is neither a row column nor in the meta of every problem.
    """
    is_best: Iterator[bool] | None = None
    if config.bis_share < 1:
        trees = list(trees) if isinstance(trees, Iterator) else trees
        train_rows = _train_rows(_capped_rows(problems, trees, config, Counter()), config)
        is_best = iter(best_by_bis(train_rows, config.bis_share, config.seed))
    for _, split, rows in _capped_rows(problems, trees, config, num_dropped):
        if split == "train" and is_best is not None:
            best = [row for row in rows if next(is_best)]
            num_dropped["bis_share"] += len(rows) - len(best)
            rows = best
        if rows:
            yield split, weigh_rows(rows)


def _capped_rows(
    problems: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig, num_dropped: Counter[str]
) -> Iterator[tuple[Problem, Split, list[Row]]]:
    for problem, group in problems.groups(trees):
        rows, num_capped = cap_rows(problem_rows(problem, group, config), config)
        num_dropped.update(num_capped)
        yield problem, choose_split(problem, config), rows


def _train_rows(
    capped: Iterable[tuple[Problem, Split, list[Row]]], config: LabelRowsConfig
) -> Iterator[tuple[Row, Hashable]]:
    """Train rows with their stratum."""
    for problem, split, rows in capped:
        for row in rows if split == "train" else ():
            yield row, None if config.bis_by is None else _stratum(config.bis_by, row, problem)


def _stratum(name: str, row: Mapping[str, Any], problem: Problem) -> Hashable:
    """The row's column of this name, or its problem's meta."""
    if name not in row and name not in problem.meta:
        raise ValueError(
            f"Found bis_by={name!r}, but problem {problem.id!r} has no such entry in its meta "
            f"({', '.join(problem.meta) or 'empty'}), and rows have no such column. Name an entry that all problems "
            "have, or leave bis_by out."
        )
    return row[name] if name in row else problem.meta[name]


def choose_split(problem: Problem, config: LabelRowsConfig) -> Split:
    """Return a problem's side of the split, by its split group (``meta["split_group"]``, else its question).

    Problems of one group are never on both sides, nor are problems with the same question and no group. A larger
    `validation_share` keeps what a smaller one held out; another `seed` holds out others.
    """
    # Differs from MM-PRM: its rows are not split, so that nothing shows when to stop training.
    group = problem.meta.get("split_group")
    key = ["question", " ".join(problem.question.split())] if group is None else ["split_group", str(group)]
    position = int(content_hash("split", config.seed, *key), 16) / 16**16
    return "validation" if position < config.validation_share else "train"


def cap_rows(rows: Sequence[Row], config: LabelRowsConfig) -> tuple[list[Row], dict[str, int]]:
    """Return rows of one problem such that neither it nor any labelled prefix has more of them than allowed.

    Rows are considered in the order of a hash of seed and `path_id`; one is kept while neither its problem nor any of
    its labelled prefixes has reached a cap. Most rows of a problem share their first step, so that a cap per prefix
    bounds the rows per problem too. Weights are not updated: call `weigh_rows` afterwards.

    Returns:
        The kept rows in their order, and how many rows each cap dropped (a row above both counts for the problem's).
    """
    max_per_prefix, max_per_problem = config.max_rows_per_prefix, config.max_rows_per_problem
    order = sorted(range(len(rows)), key=lambda index: content_hash("cap", config.seed, rows[index]["path_id"]))
    rows_by_prefix: Counter[str] = Counter()
    num_dropped = {"max_rows_per_prefix": 0, "max_rows_per_problem": 0}
    kept: list[int] = []
    for index in order:
        keys = [key for key in prefix_keys(rows[index]) if key is not None]
        if max_per_problem is not None and len(kept) >= max_per_problem:
            num_dropped["max_rows_per_problem"] += 1
        elif max_per_prefix is not None and any(rows_by_prefix[key] >= max_per_prefix for key in keys):
            num_dropped["max_rows_per_prefix"] += 1
        else:
            rows_by_prefix.update(keys)
            kept.append(index)
    return [rows[index] for index in sorted(kept)], num_dropped


def bis_score(row: Mapping[str, Any]) -> float | None:
    """Return the Balanced-Information Score of a row: ``(p (1 - p) + 0.05) * R`` (Li et al., 2026, arXiv 2602.04145).

    p is the share of positive steps (MC > 0) among the labelled ones: mixed solutions inform more. R is the mean MC of
    the positive steps, 1 if there are none: labels that most rollouts confirm are more reliable.

    Returns:
        The score in (0, 0.3]; None for a row without a labelled step.

    Example:
        >>> bis_score({"labels": [1.0, 0.5, 0.0, 0.0, -100.0]})  # p = 2/4, R = 0.75: (0.25 + 0.05) * 0.75
        0.225
    """
    labels = [label for label in row["labels"] if label != IGNORE_LABEL]
    if not labels:
        return None
    positive = [label for label in labels if label > 0]
    share = len(positive) / len(labels)
    return round((share * (1 - share) + 0.05) * (statistics.fmean(positive) if positive else 1.0), 12)


def best_by_bis(rows: Iterable[tuple[Mapping[str, Any], Hashable]], share: float, seed: int = 0) -> list[bool]:
    """Return, for each row, whether it is among the best of its stratum by `bis_score`.

    Args:
        rows: Rows, each with its stratum; three numbers of a row are kept. A row without a labelled step is never among
            the best, and does not count.
        share: Share of each stratum that is kept, in (0, 1]; rounded to whole rows, at least one.
        seed: Seed of the ties, which a hash of the seed and the row's `path_id` decides.
    """
    strata: defaultdict[Hashable, list[tuple[float, int, int]]] = defaultdict(list)
    num_rows = 0
    for row, stratum in rows:
        score = bis_score(row)
        if score is not None:
            strata[stratum].append((-score, int(content_hash("bis", seed, row["path_id"]), 16), num_rows))
        num_rows += 1
    is_best = [False] * num_rows
    for ranking in strata.values():
        ranking.sort()
        for _, _, number in ranking[: max(1, int(share * len(ranking) + 0.5))]:
            is_best[number] = True
    return is_best
