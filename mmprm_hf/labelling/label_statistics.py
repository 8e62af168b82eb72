"""Plain numbers that describe label rows, and how a step judge agrees with MC. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..data import SearchTree, Verdict
from .label_rows import prefix_keys
from .labels import IGNORE_LABEL, LABEL_SOURCES, contradicts


class LabelCounts:
    """Sums over weighed label rows, one problem after the other; its size does not grow with the number of rows."""

    def __init__(self) -> None:
        self._num = Counter[str]()
        self._by_source: Counter[str] = Counter()
        self._tenths: dict[str, Counter[int]] = {source: Counter() for source in LABEL_SOURCES}
        self._first_errors: Counter[tuple[int, int]] = Counter()  # (index, steps of the row)
        self._rows_by_num_steps: Counter[int] = Counter()
        self._problems_by_num_rows: Counter[int] = Counter()
        self._max_copies = 0
        self._label_sum = self._weight = self._positive_weight = 0.0

    def add_problem(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count all rows of one problem, at least one."""
        self._problems_by_num_rows[len(rows)] += 1
        prefixes: Counter[str] = Counter()
        for row in rows:
            self._add_row(row)
            prefixes.update(key for key in prefix_keys(row) if key is not None)
        self._num["prefixes"] += len(prefixes)
        self._max_copies = max(self._max_copies, *prefixes.values(), 0)

    def _add_row(self, row: Mapping[str, Any]) -> None:
        labels, sources = row["labels"], row["label_sources"]
        self._rows_by_num_steps[len(labels)] += 1
        self._by_source.update(sources)
        for label, source, weight in zip(labels, sources, row["label_weights"], strict=True):
            if label == IGNORE_LABEL:
                continue
            self._num["labelled"] += 1
            self._num["zero"] += label == 0
            self._label_sum += label
            self._tenths[source][_tenth(label)] += 1
            self._weight += weight
            self._positive_weight += weight * (label > 0)
        first_error = next((index for index, label in enumerate(labels) if label == 0), None)
        if first_error is not None:
            self._num["located"] += first_error == 0 or labels[first_error - 1] != IGNORE_LABEL
            self._first_errors[first_error, len(labels)] += 1

    def statistics(self) -> dict[str, Any]:
        """Return plain JSON that describes the rows; means and shares are None if there is nothing to average.

        - `copies_per_prefix` is the mean number of rows that share a distinct labelled prefix, the factor by which
          early steps are over-weighted; `weighted_copies_per_prefix` is the same by `label_weights`, which is 1.
        - `labels_by_tenth` counts labelled steps with MC in [0, 0.1), ..., [0.9, 1]; `labels_by_tenth_of_source` splits
          them by source. `num_steps_by_source` counts all steps.
        - The first error is a row's first step with MC 0: `first_errors_by_index` counts 0-based positions,
          `first_errors_by_relative_tenth` counts ``index / steps`` by tenth. It is located exactly if the step before
          it has a label (`num_located_first_errors`); otherwise an unlabelled step before it may be the error.
        - `positive_share` is the share of labelled steps with MC > 0, `weighted_positive_share` the same by weight, and
          `open_share` the share of steps about which nothing is known.

        Histograms over unbounded numbers are objects from the number, as text, to its count.
        """
        num, num_rows = self._num, self._rows_by_num_steps.total()
        num_steps = self._by_source.total()
        by_index, by_tenth = Counter[int](), Counter[int]()
        for (index, length), count in self._first_errors.items():
            by_index[index] += count
            by_tenth[_tenth(index / length)] += count
        return {
            "num_rows": num_rows,
            "num_problems": self._problems_by_num_rows.total(),
            "num_rows_with_error": self._first_errors.total(),
            "num_located_first_errors": num["located"],
            "num_steps": num_steps,
            "num_labelled_steps": num["labelled"],
            "num_zero_steps": num["zero"],
            "mean_label": _share(self._label_sum, num["labelled"]),
            "positive_share": _share(num["labelled"] - num["zero"], num["labelled"]),
            "weighted_positive_share": _share(self._positive_weight, self._weight),
            "open_share": _share(self._by_source["none"], num_steps),
            "mean_steps_per_row": _share(num_steps, num_rows),
            "max_rows_per_problem": max(self._problems_by_num_rows, default=0),
            "num_distinct_labelled_prefixes": num["prefixes"],
            "copies_per_prefix": _share(num["labelled"], num["prefixes"]),
            "max_copies_per_prefix": self._max_copies,
            "weighted_copies_per_prefix": _share(self._weight, num["prefixes"]),
            "labels_by_tenth": [sum(tenths[i] for tenths in self._tenths.values()) for i in range(10)],
            "labels_by_tenth_of_source": {
                source: [tenths[i] for i in range(10)] for source, tenths in self._tenths.items() if tenths
            },
            "num_steps_by_source": {source: self._by_source[source] for source in LABEL_SOURCES},
            "first_errors_by_index": _histogram(by_index),
            "first_errors_by_relative_tenth": [by_tenth[i] for i in range(10)],
            "rows_by_num_steps": _histogram(self._rows_by_num_steps),
            "problems_by_num_rows": _histogram(self._problems_by_num_rows),
        }


def _tenth(value: float) -> int:
    """Index of the tenth of [0, 1] that contains a value, also after k / n was rounded to float32."""
    return min(int(value * 10 + 1e-6), 9)


def _histogram(counts: Counter[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(counts.items())}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


class JudgeCounts:
    """How a step judge and MC agree, summed over the nodes of trees (each distinct prefix of a tree once).

    Args:
        threshold: In [0, 1); MC counts as wrong up to this estimate.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold
        self._counts: Counter[tuple[bool, bool]] = Counter()  # (correct by the judge, correct by MC)
        self._num_undecided = self._num_dropped = 0

    def add(self, tree: SearchTree) -> None:
        """Count the nodes of one tree that have a judge's verdict and decided rollouts."""
        for node in tree.nodes[1:]:
            self._num_undecided += node.judge_verdict is Verdict.UNDECIDED
            if node.judge_verdict in (None, Verdict.UNDECIDED) or not node.num_decided:
                continue
            is_right = node.num_correct / node.num_decided > self.threshold
            self._counts[node.judge_verdict is Verdict.CORRECT, is_right] += 1
            counts = (node.num_correct, node.num_decided)
            self._num_dropped += contradicts(node.judge_verdict, counts, self.threshold)

    def statistics(self) -> dict[str, Any]:
        """Return counts, and shares that are None if nothing was compared.

        `agreement_on_wrong` is the share of nodes that both call wrong among those that either calls wrong,
        `judge_confirms_wrong` among those wrong by MC, and `mc_confirms_wrong` among those wrong by the judge. (VL-PRM
        reports about 20 % for its o4-mini judge, without saying which.) `num_dropped` counts nodes whose label
        `consensus` = "drop" ignores.
        """
        counts = self._counts
        both_wrong = counts[False, False]
        mc_wrong, judge_wrong = both_wrong + counts[True, False], both_wrong + counts[False, True]
        return {
            "num_compared": counts.total(),
            "num_undecided": self._num_undecided,
            "num_dropped": self._num_dropped,
            "num_both_right": counts[True, True],
            "num_both_wrong": both_wrong,
            "num_judge_right_mc_wrong": counts[True, False],
            "num_judge_wrong_mc_right": counts[False, True],
            "agreement": _share(counts[True, True] + both_wrong, counts.total()),
            "agreement_on_wrong": _share(both_wrong, mc_wrong + judge_wrong - both_wrong),
            "judge_confirms_wrong": _share(both_wrong, mc_wrong),
            "mc_confirms_wrong": _share(both_wrong, judge_wrong),
        }
