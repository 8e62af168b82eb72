"""Search trees -> labelled paths: a count (k, n) for each step, and where it comes from.

Labels are late-bound: counts are kept, so that soft, hard, banded or weighted labels are a choice of the training run.
A step's *source* says what its counts are worth:

- ``estimate``: the prefix's own rollouts (for a leaf, the verdict on the whole solution).
- ``bound``: borrowed. Rollouts elsewhere on the path settle whether MC is above 0, and nothing more.
- ``judge_dropped``: counts and a step judge contradict each other; the counts stay, the label is ignored.
- ``none``: nothing is known; the counts are (0, 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from ..data import LabelledPath, Node, SearchTree, Verdict, content_hash
from .rows_config import LabelRowsConfig

IGNORE_LABEL = -100.0
"""Label of a step without an estimate: it adds no loss (the ignore index of PyTorch's cross-entropy)."""

Counts = tuple[int, int]
LabelSource = Literal["estimate", "bound", "judge_dropped", "none"]
LABEL_SOURCES: tuple[LabelSource, ...] = ("estimate", "bound", "judge_dropped", "none")

StepLabel = tuple[Counts, LabelSource]
_UNKNOWN: StepLabel = ((0, 0), "none")


def tree_to_paths(tree: SearchTree, config: LabelRowsConfig = LabelRowsConfig()) -> list[LabelledPath]:  # noqa: B008
    """Return every root-to-leaf path of a tree with ``(num_correct, num_decided)`` and a source per step.

    The step that ends a node's segment has the node's counts. If they are 0 of n above a node with ``num_correct > 0``,
    a correct solution passes there that its own samples missed: the label is (1, n + 1), while the tree keeps 0 of n.
    The sign is then sure, but estimates of rare successes become too high (by 0.01 to 0.03 in simulations with 8
    rollouts and a true 0.05 to 0.15, half of that with 16).

    The other steps get (0, 0) with `fill` = "own". With "monotone" they get what a bound settles: before a prefix that
    still reaches a correct answer all prefixes do, and once no answer is reached, none is reached later.

    - A step above a node with ``num_correct > 0`` takes the counts of the next such node below it. Its MC is above 0,
      but *the ratio is borrowed*, and too high: on nano labels by 0.16 on average, and by 0.37 where that node ends a
      correct solution (1 of 1); the sign was right in 98 % (260 prefixes, 48 rollouts each). This is safe for hard
      labels at threshold 0; for soft labels "own" is the cautious choice.
    - A step after the path's first zero node (0 of n, with no positive node below) takes (0, n) of that node, which the
      bound settles (off by 0.001 on nano labels). So does the end of a segment if its own n is smaller.
    - Steps between the last positive node and the first zero node stay unknown: (0, 0).

    A borrowed n belongs to another prefix: it says nothing about confidence.

    With `consensus` = "drop", a step whose counts contradict its node's `judge_verdict` is marked ``judge_dropped`` and
    lends no bound. CORRECT contradicts MC 0, at each step of the segment, because the judge checked all of them.
    INCORRECT contradicts MC > `consensus_threshold`, at the end of the segment only, because any of its steps may be
    the wrong one. UNDECIDED counts as no judge: its failures must not select the data.

    Args:
        tree: A search tree.
        config: Its `fill`, `after_error`, `consensus` and `consensus_threshold` are read.

    Returns:
        Distinct paths in node order; none for a tree that has a root only.
    """
    threshold = config.consensus_threshold if config.consensus == "drop" else None
    parents = {node.parent for node in tree.nodes}
    nodes, tree_id = _with_known_successes(tree.nodes, threshold), tree.id  # a hash of all nodes: once, not by path
    paths: dict[str, LabelledPath] = {}
    for leaf in range(1, len(tree.nodes)):
        if leaf in parents:
            continue
        steps, labels = _label_chain(_chain(nodes, leaf), config, threshold)
        path_id = content_hash(tree.problem_id, list(steps))
        counts, sources = zip(*labels, strict=True)
        paths.setdefault(path_id, LabelledPath(tree.problem_id, tree_id, path_id, steps, counts, sources))
    return list(paths.values())


def is_mixed(tree: SearchTree) -> bool:
    """Return whether some rollouts from the start are correct and some are wrong."""
    return 0 < tree.nodes[0].num_correct < tree.nodes[0].num_decided


def contradicts(verdict: Verdict | None, counts: Counts, threshold: float = 0.0) -> bool:
    """Return whether a judge contradicts decided counts: CORRECT does MC 0, INCORRECT does MC > `threshold`."""
    num_correct, num_decided = counts
    if not num_decided:
        return False
    if verdict is Verdict.CORRECT:
        return num_correct == 0
    return verdict is Verdict.INCORRECT and num_correct / num_decided > threshold


def _with_known_successes(nodes: Sequence[Node], threshold: float | None) -> list[Node]:
    """The nodes; one whose own 0 of n is refuted by a positive node below has (1, n + 1), on all paths alike."""
    # Differs from MM-PRM: there such a prefix is labelled wrong although a correct solution goes through it.
    corrected, is_reached = list(nodes), [False] * len(nodes)
    for index in range(len(nodes) - 1, 0, -1):  # children stand after their parents
        node = nodes[index]
        counts = (node.num_correct, node.num_decided)
        if is_reached[index] and counts[0] == 0 < counts[1]:
            corrected[index] = dataclasses.replace(node, num_correct=1, num_decided=counts[1] + 1)
        is_dropped = threshold is not None and contradicts(node.judge_verdict, counts, threshold)
        if node.parent is not None and (is_reached[index] or (counts[0] and not is_dropped)):
            is_reached[node.parent] = True
    return corrected


def _chain(nodes: Sequence[Node], leaf: int) -> list[Node]:
    """Nodes from below the root to a leaf."""
    chain = []
    cursor: int | None = leaf
    while cursor is not None and nodes[cursor].parent is not None:
        chain.append(nodes[cursor])
        cursor = nodes[cursor].parent
    return chain[::-1]


def _label_chain(
    chain: Sequence[Node], config: LabelRowsConfig, threshold: float | None
) -> tuple[tuple[str, ...], list[StepLabel]]:
    """Steps and labels of one path; a `threshold` of None ignores the judge."""
    counts = [(node.num_correct, node.num_decided) for node in chain]
    dropped = [
        threshold is not None and contradicts(node.judge_verdict, own_counts, threshold)
        for node, own_counts in zip(chain, counts, strict=True)
    ]
    lent = [(0, 0) if is_dropped else own_counts for own_counts, is_dropped in zip(counts, dropped, strict=True)]
    last_positive = max((i for i, (num_correct, _) in enumerate(lent) if num_correct), default=-1)
    first_zero = next((i for i in range(last_positive + 1, len(chain)) if lent[i][1]), len(chain))
    steps: list[str] = []
    labels: list[StepLabel] = []
    for index, node in enumerate(chain):
        inner = _UNKNOWN
        # Differs from MM-PRM: by default steps inside a segment are labelled too; there only the end of a segment is.
        if config.fill == "monotone" and index <= last_positive:
            inner = (next(borrowed for borrowed in lent[index:] if borrowed[0]), "bound")
        elif config.fill == "monotone" and index > first_zero:
            inner = ((0, lent[first_zero][1]), "bound")
        end: StepLabel = (counts[index], "estimate") if counts[index][1] else inner
        if index > first_zero and inner[0][1] > end[0][1] and not dropped[index]:
            end = inner  # both are 0 of n: the larger n
        if threshold is not None:
            end = _judged(node.judge_verdict, end, threshold)
            if node.judge_verdict is Verdict.CORRECT:
                inner = _judged(Verdict.CORRECT, inner, threshold)
        steps += node.steps
        labels += [inner] * (len(node.steps) - 1) + [end]
        # Differs from MM-PRM: by default steps after the error stay, since they are scored at test time too.
        if config.after_error == "drop" and index == first_zero:
            break
    return tuple(steps), labels


def _judged(verdict: Verdict | None, label: StepLabel, threshold: float) -> StepLabel:
    return (label[0], "judge_dropped") if contradicts(verdict, label[0], threshold) else label
