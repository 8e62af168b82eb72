"""Search trees -> labelled paths -> stepwise-supervision rows.

Labels are late-bound: rows keep (k, n) per step beside the float, so that soft, hard, banded or weighted labels
stay a training choice. ``datasets`` is imported only where features are asked for.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmprm_hf.data import LabelledPath, Node, Problem, SearchTree, content_hash

if TYPE_CHECKING:
    import datasets

IGNORE_LABEL = -100.0
"""Label of a step without an estimate: no loss there (the ignore index of PyTorch's cross-entropy)."""

Counts = tuple[int, int]
Fill = Literal["monotone", "none"]
AfterError = Literal["keep", "drop"]


def tree_to_paths(tree: SearchTree, *, fill: Fill = "monotone", after_error: AfterError = "keep") -> list[LabelledPath]:
    """Return every root-to-leaf path of a tree with ``(num_correct, num_decided)`` per step.

    A step that ends a node's segment has the node's counts. For the other steps, `fill` = "none" leaves (0, 0), and
    "monotone" settles what a bound settles (a prefix that still reaches a right answer had only such prefixes before
    it; once no answer is reached, none is reached later):

    - a step above a node with ``num_correct > 0`` takes the counts of the next such node below it. Only "above 0"
      follows from the bound; the ratio is borrowed.
    - a step after the path's first zero node (0 of n, with no positive node below) takes (0, n) of that node; so does
      the end of a segment there if its own n is smaller.
    - steps between the last positive node and the first zero node are open: (0, 0).

    Args:
        tree: A search tree.
        fill: What inner steps of a segment get.
        after_error: "keep" the steps after the first zero node, or "drop" them as MM-PRM does.

    Returns:
        Paths in node order, equal paths once; none for a tree of one root.
    """
    parents = {node.parent for node in tree.nodes}
    paths: dict[str, LabelledPath] = {}
    for leaf in range(1, len(tree.nodes)):
        if leaf in parents:
            continue
        steps, counts = _label_chain(_chain(tree, leaf), fill, after_error)
        path_id = content_hash(tree.problem_id, list(steps))
        paths.setdefault(path_id, LabelledPath(tree.problem_id, tree.id, path_id, steps, counts))
    return list(paths.values())


def _chain(tree: SearchTree, leaf: int) -> list[Node]:
    """Nodes from below the root to a leaf."""
    chain = []
    cursor: int | None = leaf
    while cursor is not None and tree.nodes[cursor].parent is not None:
        chain.append(tree.nodes[cursor])
        cursor = tree.nodes[cursor].parent
    return chain[::-1]


def _label_chain(
    chain: Sequence[Node], fill: Fill, after_error: AfterError
) -> tuple[tuple[str, ...], tuple[Counts, ...]]:
    """Steps and counts of one path."""
    last_positive = max((i for i, node in enumerate(chain) if node.num_correct), default=-1)
    first_zero = next((i for i in range(last_positive + 1, len(chain)) if chain[i].num_decided), len(chain))
    steps: list[str] = []
    counts: list[Counts] = []
    for index, node in enumerate(chain):
        own = (node.num_correct, node.num_decided)
        inner = (0, 0)
        if fill == "monotone" and index <= last_positive:
            below = next(other for other in chain[index:] if other.num_correct)
            inner = (below.num_correct, below.num_decided)
            own = own if node.num_decided else inner
        elif fill == "monotone" and index > first_zero:
            inner = (0, chain[first_zero].num_decided)
            own = max(own, inner)  # both are 0 of n: the larger n
        steps += node.steps
        counts += [inner] * (len(node.steps) - 1) + [own]
        # Differs from MM-PRM: by default steps after the error stay, since they are scored at test time too.
        if after_error == "drop" and index == first_zero:
            break
    return tuple(steps), tuple(counts)


def paths_to_rows(
    problems: Iterable[Problem],
    trees: Iterable[SearchTree],
    *,
    keep: Literal["mixed", "all"] = "mixed",
    fill: Fill = "monotone",
    after_error: AfterError = "keep",
) -> list[dict[str, Any]]:
    """Return one stepwise-supervision row per labelled path.

    Columns: `prompt` (the question), `completions` (list of steps), `labels` (MC estimate per step in [0, 1],
    `IGNORE_LABEL` = -100.0 where there is none), `label_counts` (list of [num_correct, num_decided]), `images`,
    `problem_id`, `tree_id`, `path_id`. Paths without any estimate give no row. Equal paths from different trees of
    one problem become one row whose counts are added up (under the first tree's id).

    Args:
        problems: The problems of the trees, in any order.
        trees: Their search trees.
        keep: "mixed" takes only problems with 0 < MC(root) < 1; "all" takes every tree.
        fill, after_error: See `tree_to_paths`.

    Raises:
        ValueError: if a tree's problem is missing.
    """
    problem_of = {problem.id: problem for problem in problems}
    paths: dict[str, LabelledPath] = {}
    counts: dict[str, list[Counts]] = {}
    seen_trees: set[tuple[str, str]] = set()
    for tree in trees:
        if tree.problem_id not in problem_of:
            raise ValueError(
                f"Tree {tree.id} belongs to problem {tree.problem_id!r}, which is not among the {len(problem_of)} "
                "problems given. Pass the problems that were labelled."
            )
        root = tree.nodes[0]
        if keep == "mixed" and not 0 < root.num_correct < root.num_decided:
            continue
        fingerprint = content_hash(tree.to_dict()["nodes"])
        if (tree.problem_id, fingerprint) in seen_trees:
            continue
        seen_trees.add((tree.problem_id, fingerprint))
        for path in tree_to_paths(tree, fill=fill, after_error=after_error):
            previous = counts.get(path.path_id, [(0, 0)] * len(path.steps))
            paths.setdefault(path.path_id, path)
            counts[path.path_id] = [(a + c, b + d) for (a, b), (c, d) in zip(previous, path.label_counts, strict=True)]
    return [
        _row(problem_of[path.problem_id], path, counts[path_id])
        for path_id, path in paths.items()
        if any(num_decided for _, num_decided in counts[path_id])
    ]


def _row(problem: Problem, path: LabelledPath, counts: Sequence[Counts]) -> dict[str, Any]:
    return {
        "prompt": problem.question,
        "completions": list(path.steps),
        "labels": [k / n if n else IGNORE_LABEL for k, n in counts],
        "label_counts": [[k, n] for k, n in counts],
        "images": list(problem.images),
        "problem_id": path.problem_id,
        "tree_id": path.tree_id,
        "path_id": path.path_id,
    }


def label_features() -> datasets.Features:
    """Return the `datasets.Features` of the rows; labels are floats, so that a soft label survives.

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
            "images": List(Image()),
            "problem_id": Value("string"),
            "tree_id": Value("string"),
            "path_id": Value("string"),
        }
    )


def label_statistics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return plain numbers that describe label rows; means are None where nothing is there to average.

    `copies_per_prefix` is the mean number of rows that share a distinct labelled prefix: early steps are
    over-weighted by about that factor unless rows are weighted or capped. `labels_by_tenth` counts labelled steps
    with MC in [0, 0.1), ..., [0.9, 1]. `num_rows_with_error` counts rows with a step of MC 0.
    """
    labelled: list[float] = []
    prefixes: Counter[str] = Counter()
    rows_of_problem: defaultdict[str, int] = defaultdict(int)
    num_steps = num_rows_with_error = 0
    for row in rows:
        rows_of_problem[row["problem_id"]] += 1
        num_steps += len(row["labels"])
        labels = [label for label in row["labels"] if label != IGNORE_LABEL]
        num_rows_with_error += 0.0 in labels
        labelled += labels
        for step_index, label in enumerate(row["labels"]):
            if label != IGNORE_LABEL:
                prefixes[content_hash(row["problem_id"], row["completions"][: step_index + 1])] += 1
    tenths = Counter(min(int(label * 10), 9) for label in labelled)
    return {
        "num_rows": len(rows),
        "num_problems": len(rows_of_problem),
        "num_rows_with_error": num_rows_with_error,
        "num_steps": num_steps,
        "num_labelled_steps": len(labelled),
        "num_zero_steps": sum(label == 0 for label in labelled),
        "mean_label": statistics.fmean(labelled) if labelled else None,
        "mean_steps_per_row": num_steps / len(rows) if rows else None,
        "max_rows_per_problem": max(rows_of_problem.values(), default=0),
        "num_distinct_labelled_prefixes": len(prefixes),
        "copies_per_prefix": len(labelled) / len(prefixes) if prefixes else None,
        "labels_by_tenth": [tenths[i] for i in range(10)],
    }
