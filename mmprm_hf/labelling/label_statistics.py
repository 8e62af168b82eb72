"""Plain numbers that describe label rows and what a step judge says of the trees. Standard library only."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmprm_hf.data import SearchTree, Verdict
from mmprm_hf.labelling.label_rows import prefix_keys
from mmprm_hf.labelling.labels import IGNORE_LABEL, LABEL_SOURCES, contradicts


def label_statistics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return plain JSON that describes label rows; means and shares are None where nothing is there to average.

    - `copies_per_prefix` is the mean number of rows that share a distinct labelled prefix, the factor by which early
      steps are over-weighted; `weighted_copies_per_prefix` is the same by `label_weights` (1 if the rows were
      weighed last), None where a row has none.
    - `labels_by_tenth` counts labelled steps with MC in [0, 0.1), ..., [0.9, 1]; `labels_by_tenth_of_source` splits
      them, `num_steps_by_source` counts all steps. Rows without `label_sources` count as "estimate" or "none".
    - The first error is a row's first step with MC 0: `first_errors_by_index` counts 0-based positions,
      `first_errors_by_relative_tenth` ``index / steps`` by tenth. It is located exactly where the step before it is
      labelled (`num_located_first_errors`); else open steps before it may hold the error.
    - `positive_share` is of labelled steps with MC > 0, `weighted_positive_share` by weight, `open_share` the share
      of steps about which nothing is known.

    Histograms over numbers without a bound are objects from the number, as text, to its count.
    """
    steps = _StepCounts()
    rows_of_problem: Counter[str] = Counter()
    for row in rows:
        rows_of_problem[row["problem_id"]] += 1
        steps.add(row)
    num_labelled = len(steps.labels)
    num_prefixes = len(steps.prefixes)
    num_zero = sum(label == 0 for label in steps.labels)
    first_errors = [(index, length) for index, length, _ in steps.first_errors]
    return {
        "num_rows": len(rows),
        "num_problems": len(rows_of_problem),
        "num_rows_with_error": len(first_errors),
        "num_located_first_errors": sum(is_located for _, _, is_located in steps.first_errors),
        "num_steps": steps.num_steps,
        "num_labelled_steps": num_labelled,
        "num_zero_steps": num_zero,
        "mean_label": statistics.fmean(steps.labels) if steps.labels else None,
        "positive_share": _share(num_labelled - num_zero, num_labelled),
        "weighted_positive_share": _share(steps.positive_weight, steps.weight) if steps.is_weighted else None,
        "open_share": _share(steps.by_source["none"], steps.num_steps),
        "mean_steps_per_row": _share(steps.num_steps, len(rows)),
        "max_rows_per_problem": max(rows_of_problem.values(), default=0),
        "num_distinct_labelled_prefixes": num_prefixes,
        "copies_per_prefix": _share(num_labelled, num_prefixes),
        "max_copies_per_prefix": max(steps.prefixes.values(), default=0),
        "weighted_copies_per_prefix": _share(steps.weight, num_prefixes) if steps.is_weighted else None,
        "labels_by_tenth": [sum(tenths[i] for tenths in steps.tenths.values()) for i in range(10)],
        "labels_by_tenth_of_source": {
            source: [tenths[i] for i in range(10)] for source, tenths in steps.tenths.items() if tenths
        },
        "num_steps_by_source": {source: steps.by_source[source] for source in LABEL_SOURCES},
        "first_errors_by_index": _histogram(index for index, _ in first_errors),
        "first_errors_by_relative_tenth": _tenths(index / length for index, length in first_errors),
        "rows_by_num_steps": _histogram(len(row["labels"]) for row in rows),
        "problems_by_num_rows": _histogram(rows_of_problem.values()),
    }


class _StepCounts:
    """Sums over the steps of rows."""

    def __init__(self) -> None:
        self.num_steps = 0
        self.labels: list[float] = []
        self.prefixes: Counter[str] = Counter()
        self.by_source: Counter[str] = Counter()
        self.tenths: dict[str, Counter[int]] = {source: Counter() for source in LABEL_SOURCES}
        self.first_errors: list[tuple[int, int, bool]] = []  # (index, steps of the row, is located)
        self.is_weighted = True
        self.weight = self.positive_weight = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        labels, weights = row["labels"], row.get("label_weights")
        self.num_steps += len(labels)
        self.is_weighted &= weights is not None
        sources = row.get("label_sources") or ["none" if label == IGNORE_LABEL else "estimate" for label in labels]
        self.by_source.update(sources)
        keys = prefix_keys(row)
        self.prefixes.update(key for key in keys if key is not None)
        for index, (label, source) in enumerate(zip(labels, sources, strict=True)):
            if label == IGNORE_LABEL:
                continue
            self.labels.append(label)
            self.tenths[source][_tenth(label)] += 1
            weight = weights[index] if weights is not None else 0.0
            self.weight += weight
            self.positive_weight += weight * (label > 0)
        first_error = next((index for index, label in enumerate(labels) if label == 0), None)
        if first_error is not None:
            is_located = first_error == 0 or labels[first_error - 1] != IGNORE_LABEL
            self.first_errors.append((first_error, len(labels), is_located))


def _tenth(value: float) -> int:
    """Index of the tenth of [0, 1] that holds a value; float32's rounding of k / n changes nothing."""
    return min(int(value * 10 + 1e-6), 9)


def _tenths(values: Iterable[float]) -> list[int]:
    counts = Counter(map(_tenth, values))
    return [counts[i] for i in range(10)]


def _histogram(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def judge_statistics(trees: Iterable[SearchTree], *, threshold: float = 0.0) -> dict[str, Any]:
    """Return how a step judge and MC agree, over the nodes of trees (each distinct prefix of a tree once).

    Wrong by MC is an estimate of at most `threshold`. `agreement_on_wrong` is the share of nodes called wrong by
    both among those called wrong by either, `judge_confirms_wrong` among those wrong by MC, and `mc_confirms_wrong`
    among those wrong by the judge (VL-PRM reports about 20 % for its o4-mini judge, without saying which).

    Args:
        trees: Search trees; nodes without a judge's verdict or without decided rollouts are left out.
        threshold: In [0, 1).

    Returns:
        Counts, and shares that are None where nothing was compared. `num_dropped` counts nodes whose label
        `consensus` = "drop" ignores.
    """
    counts: Counter[tuple[bool, bool]] = Counter()  # (right by the judge, right by MC)
    num_undecided = num_dropped = 0
    for tree in trees:
        for node in tree.nodes[1:]:
            num_undecided += node.judge_verdict is Verdict.UNDECIDED
            if node.judge_verdict in (None, Verdict.UNDECIDED) or not node.num_decided:
                continue
            is_right = node.num_correct / node.num_decided > threshold
            counts[node.judge_verdict is Verdict.CORRECT, is_right] += 1
            num_dropped += contradicts(node.judge_verdict, (node.num_correct, node.num_decided), threshold)
    both_wrong = counts[False, False]
    mc_wrong, judge_wrong = both_wrong + counts[True, False], both_wrong + counts[False, True]
    return {
        "num_compared": counts.total(),
        "num_undecided": num_undecided,
        "num_dropped": num_dropped,
        "num_both_right": counts[True, True],
        "num_both_wrong": both_wrong,
        "num_judge_right_mc_wrong": counts[True, False],
        "num_judge_wrong_mc_right": counts[False, True],
        "agreement": _share(counts[True, True] + both_wrong, counts.total()),
        "agreement_on_wrong": _share(both_wrong, mc_wrong + judge_wrong - both_wrong),
        "judge_confirms_wrong": _share(both_wrong, mc_wrong),
        "mc_confirms_wrong": _share(both_wrong, judge_wrong),
    }
