"""Which label rows are kept, and on which side of the split: caps, BIS selection, train and validation.

Every choice is a function of content and seed alone: the same rows in another order, on another machine, give the
same choice. Standard library only.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mmprm_hf.data import Problem, SearchTree, content_hash
from mmprm_hf.labelling.label_rows import Keep, Row, paths_to_rows, prefix_keys, weigh_rows
from mmprm_hf.labelling.labels import IGNORE_LABEL, AfterError, Consensus, Fill, check_choices

Split = Literal["train", "validation"]


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
        num_dropped: Rows dropped by ``max_rows_per_prefix``, ``max_rows_per_problem`` and ``bis_share``.
    """

    train: list[Row]
    validation: list[Row]
    num_dropped: dict[str, int]


def make_label_rows(
    problems: Sequence[Problem], trees: Iterable[SearchTree], config: LabelRowsConfig | None = None
) -> LabelRows:
    """Return the rows of the trees under a configuration: labels, then caps, split, BIS on train, and weights.

    Raises:
        ValueError: if a tree's problem is missing, or `bis_by` names nothing that every row has.
    """
    config = config or LabelRowsConfig()
    rows = paths_to_rows(
        problems,
        trees,
        keep=config.keep,
        fill=config.fill,
        after_error=config.after_error,
        consensus=config.consensus,
        consensus_threshold=config.consensus_threshold,
    )
    rows, num_dropped = cap_rows(rows, config.max_rows_per_prefix, config.max_rows_per_problem, seed=config.seed)
    side_of = {problem.id: split_of(problem, config.validation_share, config.seed) for problem in problems}
    train = [row for row in rows if side_of[row["problem_id"]] == "train"]
    validation = [row for row in rows if side_of[row["problem_id"]] == "validation"]
    num_before = len(train)
    if config.bis_share < 1:
        by = None if config.bis_by is None else _stratum(config.bis_by, problems)
        train = select_by_bis(train, config.bis_share, by=by, seed=config.seed)
    num_dropped["bis_share"] = num_before - len(train)
    return LabelRows(weigh_rows(train), weigh_rows(validation), num_dropped)


def _stratum(name: str, problems: Sequence[Problem]) -> Callable[[Mapping[str, Any]], Hashable]:
    """Reads a row's column, or its problem's meta."""
    meta_of = {problem.id: problem.meta for problem in problems}

    def read(row: Mapping[str, Any]) -> Hashable:
        meta = meta_of[row["problem_id"]]
        if name not in row and name not in meta:
            raise ValueError(
                f"Found bis_by={name!r}, but problem {row['problem_id']!r} has no such entry in its meta "
                f"({', '.join(meta) or 'empty'}) and rows have no such column. Name one that all have, or leave it out."
            )
        return row[name] if name in row else meta[name]

    return read


def split_of(problem: Problem, validation_share: float, seed: int = 0) -> Split:
    """Return the side a problem falls on, from its split group (``meta["split_group"]``; without one, its question).

    Problems of one group, and problems with one question, are never on both sides. A larger share keeps what a
    smaller one held out.

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
    strata: defaultdict[Hashable, list[tuple[float, str, int]]] = defaultdict(list)
    for index, row in enumerate(rows):
        score = bis_score(row, threshold=threshold)
        if score is not None:
            stratum = None if by is None else by(row)
            strata[stratum].append((-score, content_hash("bis", seed, row["path_id"]), index))
    kept = []
    for ranked in strata.values():
        num_kept = max(1, int(share * len(ranked) + 0.5))
        kept += [index for _, _, index in sorted(ranked)[:num_kept]]
    return [rows[index] for index in sorted(kept)]
