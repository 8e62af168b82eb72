"""Labelled paths -> stepwise-supervision rows, with a weight per step so that each distinct prefix counts once.

Rows are plain dicts, one per distinct path. ``datasets`` is imported only by `label_features`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data import LabelledPath, Problem, SearchTree, content_hash
from .labels import IGNORE_LABEL, StepLabel, is_mixed, tree_to_paths
from .rows_config import LabelRowsConfig

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]


def problem_rows(problem: Problem, trees: Iterable[SearchTree], config: LabelRowsConfig) -> list[Row]:
    """Return one stepwise-supervision row per labelled path of one problem, without weights.

    Columns: `prompt` (the question), `completions` (list of steps), `labels` (MC estimate per step in [0, 1],
    `IGNORE_LABEL` = -100.0 where there is none or judge and MC disagree), `label_counts` (list of [num_correct,
    num_decided]), `label_sources` (list of names, see `labels.py`), `images`, `problem_id`, `tree_id`, `path_id`.

    Equal paths of different trees become one row, under the first tree's id: at each step the counts of the better
    source (estimate, then bound) are added up. A step that the judge drops in one of them is dropped. Paths without any
    label give no row.

    Args:
        problem: The problem.
        trees: Its trees; equal ones count once.
        config: How trees become rows.
    """
    paths: dict[str, LabelledPath] = {}
    labels: dict[str, list[StepLabel]] = {}
    fingerprints: set[str] = set()
    for tree in trees:
        fingerprint = content_hash([node.to_dict() for node in tree.nodes])
        if fingerprint in fingerprints or (config.keep == "mixed" and not is_mixed(tree)):
            continue
        fingerprints.add(fingerprint)
        for path in tree_to_paths(tree, config):
            path_labels = list(zip(path.label_counts, path.label_sources, strict=True))
            previous = labels.get(path.path_id)
            labels[path.path_id] = path_labels if previous is None else list(map(_merged, previous, path_labels))
            paths.setdefault(path.path_id, path)
    rows = (_row(problem, path, labels[path_id]) for path_id, path in paths.items())
    return [row for row in rows if any(label != IGNORE_LABEL for label in row["labels"])]


def _merged(first: StepLabel, second: StepLabel) -> StepLabel:
    """The label that two trees give together to the same step of the same path."""
    for source in ("judge_dropped", "estimate", "bound"):
        if source in (first[1], second[1]):
            counts = [label[0] for label in (first, second) if label[1] in (source, "estimate")]
            return (sum(k for k, _ in counts), sum(n for _, n in counts)), source
    return first


def _row(problem: Problem, path: LabelledPath, labels: Sequence[StepLabel]) -> Row:
    return {
        "prompt": problem.question,
        "completions": list(path.steps),
        "labels": [k / n if n and source != "judge_dropped" else IGNORE_LABEL for (k, n), source in labels],
        "label_counts": [[k, n] for (k, n), _ in labels],
        "label_sources": [source for _, source in labels],
        "images": list(problem.images),
        "problem_id": path.problem_id,
        "tree_id": path.tree_id,
        "path_id": path.path_id,
    }


def prefix_keys(row: Mapping[str, Any]) -> list[str | None]:
    """Return, per step, a hash of the problem and all steps up to it; None where the step has no label.

    Rows with the same key at a step show the model the same text there.
    """
    key = row["problem_id"]
    keys: list[str | None] = []
    for step, label in zip(row["completions"], row["labels"], strict=True):
        key = content_hash(key, step)
        keys.append(None if label == IGNORE_LABEL else key)
    return keys


def weigh_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with `label_weights`: per step 1 / the number of rows in which its labelled prefix occurs.

    The weights of a distinct labelled prefix add up to 1 over all rows; a step without a label weighs 0. Weights depend
    on the whole set of rows: after dropping rows, weigh the rest again.

    Example:
        >>> rows = [{"problem_id": "p", "completions": ["a", last], "labels": [0.5, 0.0]} for last in "bc"]
        >>> [row["label_weights"] for row in weigh_rows(rows)]
        [[0.5, 1.0], [0.5, 1.0]]
    """
    # Differs from MM-PRM: there a step that many leaves share is learned from once per leaf.
    keys = [prefix_keys(row) for row in rows]
    num_rows = Counter(key for row_keys in keys for key in row_keys)
    return [
        {**row, "label_weights": [1 / num_rows[key] if key else 0.0 for key in row_keys]}
        for row, row_keys in zip(rows, keys, strict=True)
    ]


def label_features() -> datasets.Features:
    """Return the `datasets.Features` of the rows. Labels are floats, so that soft labels survive.

    Example:
        >>> label_features()["labels"].feature.dtype
        'float32'
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "prompt": Value("string"),
            "completions": List(Value("string")),
            "labels": List(Value("float32")),
            "label_counts": List(List(Value("int32"))),
            "label_sources": List(Value("string")),
            "label_weights": List(Value("float32")),
            "images": List(Image()),
            "problem_id": Value("string"),
            "tree_id": Value("string"),
            "path_id": Value("string"),
        }
    )
