"""Pure metrics and their uncertainty: arrays in, floats and dicts out. No I/O, no model, no plotting.

Labels are 1 (step right) or 0 (step wrong); a score is P(right), and a step is called right when
``score >= threshold``. scipy and scikit-learn do the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

NUM_BINS = 10
"""Bins of a reliability diagram, of equal width (Guo et al., 2017, arXiv 1706.04599, use 15)."""

_MAX_DRAWS = 4_000_000  # numbers that a resampling holds at a time, about 32 MB
_MAX_FLIPS = 200_000  # signs that a test draws at a time: they fit into a processor's cache


def mean_or_none(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none.

    Example:
        >>> mean_or_none([True, None, False]), mean_or_none([])
        (0.5, None)
    """
    known = [float(value) for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def auroc(labels: Sequence[int], scores: Sequence[float]) -> float:
    """Return the probability that a random positive scores above a random negative, ties counting one half.

    Args:
        labels: 0 or 1, shape (num_steps,).
        scores: Any finite real numbers, shape (num_steps,).

    Raises:
        ValueError: if only one class is present, or labels and scores are malformed.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
        0.875
    """
    label_array, score_array = _checked(labels, scores)
    num_positive = int(label_array.sum())
    if not 0 < num_positive < len(label_array):
        raise ValueError(
            f"Found {num_positive} positive and {len(label_array) - num_positive} negative labels. "
            "AUROC needs at least one of each; evaluate on more steps."
        )
    return float(roc_auc_score(label_array, score_array))


def class_f1s(labels: Sequence[int], scores: Sequence[float], threshold: float) -> tuple[float, float]:
    """Return ``(F1 of right steps, F1 of wrong steps)`` at ``score >= threshold``; their mean is `macro_f1`.

    A class that is neither present nor predicted has an F1 of 0.

    Example:
        >>> class_f1s([1, 1, 1, 0], [0.9, 0.8, 0.1, 0.2], 0.5)
        (0.8, 0.6666666666666666)
    """
    label_array, score_array = _checked(labels, scores)
    right, wrong = f1_score(label_array, score_array >= threshold, labels=[1, 0], average=None, zero_division=0.0)
    return float(right), float(wrong)


def macro_f1(labels: Sequence[int], scores: Sequence[float], threshold: float) -> float:
    """Return the mean of the F1 of right steps and the F1 of wrong steps at ``score >= threshold``."""
    return sum(class_f1s(labels, scores, threshold)) / 2.0


def best_threshold(labels: Sequence[int], scores: Sequence[float]) -> tuple[float, float]:
    """Return ``(threshold, macro_f1)`` with the highest macro-F1; choose it on other problems than you report on.

    Thresholds tried: the middle of every gap between neighbouring distinct scores, below all and above all of them.
    Ties go to the lowest threshold.

    Example:
        >>> best_threshold([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9])
        (0.4, 1.0)
    """
    label_array, score_array = _checked(labels, scores)
    distinct, inverse = np.unique(score_array, return_inverse=True)
    count_at = np.bincount(inverse, minlength=len(distinct))
    positive_at = np.bincount(inverse, weights=label_array, minlength=len(distinct))
    # Entry i calls right every step whose score is at least distinct[i]; the last entry calls none right.
    called_right = np.append(np.cumsum(count_at[::-1])[::-1], 0)  # (num_distinct + 1,)
    true_right = np.append(np.cumsum(positive_at[::-1])[::-1], 0)
    # Between neighbouring floats the middle is the lower one, which must not be called right.
    middles = np.maximum((distinct[:-1] + distinct[1:]) / 2.0, np.nextafter(distinct[:-1], np.inf))
    thresholds = np.concatenate([distinct[:1], middles, [np.nextafter(distinct[-1], np.inf)]])
    num_right, num_steps = int(label_array.sum()), len(label_array)
    true_wrong = (num_steps - num_right) - (called_right - true_right)
    f1_right = 2.0 * true_right / np.maximum(called_right + num_right, 1)
    f1_wrong = 2.0 * true_wrong / np.maximum(2 * num_steps - called_right - num_right, 1)
    values = (f1_right + f1_wrong) / 2.0
    best = int(np.argmax(values))
    return float(thresholds[best]), float(values[best])


def step_accuracy(labels: Sequence[int], scores: Sequence[float], threshold: float = 0.5) -> float:
    """Return the share of steps whose call at ``score >= threshold`` equals the label, in [0, 1]."""
    label_array, score_array = _checked(labels, scores)
    return float(accuracy_score(label_array, score_array >= threshold))


def reliability(scores: Sequence[float], targets: Sequence[float]) -> dict[str, Any]:
    """Return the bins of a reliability diagram and the expected calibration error (Guo et al., 2017, eq. 3).

    Args:
        scores: In [0, 1].
        targets: In [0, 1]: whether each was right, or a soft label.

    Returns:
        ``bins``: for each tenth of [0, 1] that holds scores ``low``, ``high``, ``mean_score``, ``share_right`` (the
        mean target) and ``num``; ``ece``: mean over scores of the distance of the two means in their bin.

    Raises:
        ValueError: for no scores.

    Example:
        >>> reliability([0.1, 0.9, 0.9], [False, True, False])["ece"]
        0.3
    """
    if not len(scores):
        raise ValueError("Found 0 scores. A reliability diagram needs at least one.")
    score_array, target_array = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    bin_of = np.minimum((score_array * NUM_BINS).astype(np.int64), NUM_BINS - 1)  # a score of 1 is in the last bin
    rows, distance = [], 0.0
    for index in np.unique(bin_of):
        in_bin = bin_of == index
        num = int(in_bin.sum())
        mean_score, mean_target = (math.fsum(array[in_bin]) / num for array in (score_array, target_array))
        distance += abs(mean_score - mean_target) * num
        low, high = int(index) / NUM_BINS, (int(index) + 1) / NUM_BINS
        rows.append({"low": low, "high": high, "mean_score": mean_score, "share_right": mean_target, "num": num})
    return {"bins": rows, "ece": round(distance / len(score_array), 12)}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None if a side does not vary.

    Example:
        >>> round(rank_correlation([1, 2, 3], [10, 30, 20]), 12), rank_correlation([1, 1], [1, 2])
        (0.5, None)
    """
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(stats.spearmanr(first, second).statistic)


def bootstrap_ci(
    values: Sequence[float], *, num_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval ``(low, high)`` of the mean, resampling problems.

    Equal seeds and lengths resample the same problems, so intervals of two metrics over the same problems are paired.

    Args:
        values: One value per problem, shape (num_problems,); not per candidate, which would count a problem N times.
        num_resamples: Bootstrap samples, at least 1.
        level: Coverage in (0, 1).
        seed: Seed of the resampling.

    Raises:
        ValueError: for no values, a value that is not finite, or arguments out of range.

    Example:
        >>> bootstrap_ci([1.0, 1.0, 1.0])
        (1.0, 1.0)
    """
    value_array = _finite(values, "values")
    if num_resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"Found num_resamples={num_resamples}, level={level}. Use num_resamples >= 1 and a level in (0, 1)."
        )
    if len(value_array) == 1:
        return float(value_array[0]), float(value_array[0])
    interval = stats.bootstrap(
        (value_array,),
        np.mean,
        n_resamples=num_resamples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        batch=max(1, _MAX_DRAWS // len(value_array)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip_p_value(differences: Sequence[float], *, num_flips: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired sign-flip permutation test of a mean difference of 0.

    Under no difference each problem's difference is as likely with the other sign. The p-value is the share of sign
    patterns whose mean is at least as far from 0: over all patterns (exact) where these are at most `num_flips` + 1,
    else over `num_flips` seeded ones and the one observed. Of differences -1, 0 and 1 it is the sign test.

    Args:
        differences: One difference per problem, zeros included (they change nothing).
        num_flips: Sign patterns to draw, at least 1.
        seed: Seed of the patterns.

    Raises:
        ValueError: for no differences, one that is not finite, or no patterns.

    Example:
        >>> sign_flip_p_value([1.0, 1.0, 1.0, 0.0])
        0.25
    """
    value_array = _finite(differences, "differences")
    if num_flips < 1:
        raise ValueError(f"Found num_flips={num_flips}. Draw at least one pattern of signs.")
    value_array = value_array[value_array != 0]
    if len(value_array) < 2:
        return 1.0  # both signs of one difference are as far from 0
    is_exact = 2 ** len(value_array) <= num_flips + 1
    num_patterns = 2 ** len(value_array) if is_exact else num_flips
    rng = np.random.default_rng(seed)
    distance = abs(np.mean(value_array)) * (1 - 100 * np.finfo(np.float64).eps)  # means of other signs may be rounded
    batch = max(1, _MAX_FLIPS // len(value_array))
    num_far = 0
    for start in range(0, num_patterns, batch):
        end = min(start + batch, num_patterns)
        if is_exact:
            bits = np.arange(start, end)[:, None] >> np.arange(len(value_array))
        else:
            bits = rng.integers(0, 2**32, size=(end - start, len(value_array)), dtype=np.uint32)
        flipped = (2.0 * (bits & 1).T - 1.0) * value_array[:, None]  # (num_differences, num_patterns)
        num_far += int((abs(flipped.sum(axis=0) / len(value_array)) >= distance).sum())
    return num_far / num_patterns if is_exact else (num_far + 1) / (num_patterns + 1)


def mean_with_interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean with its 95 % bootstrap interval; None three times for no values."""
    if not values:
        return {"value": None, "ci_low": None, "ci_high": None}
    low, high = bootstrap_ci(values)
    return {"value": math.fsum(values) / len(values), "ci_low": low, "ci_high": high}


def paired_difference(values: Sequence[float | None], baseline: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean difference of two metrics over the problems that both decide, paired by problem.

    Args:
        values, baseline: One value per problem, in one order; None where it is undecided.

    Returns:
        ``difference`` (values minus baseline) with its 95 % bootstrap interval ``ci_low``, ``ci_high``; ``p_value``
        of `sign_flip_p_value`; ``num_problems``, ``num_better``, ``num_worse``. None without a problem.

    Example:
        >>> paired_difference([1.0, 1.0, None], [1.0, 0.0, 1.0])["difference"]
        0.5
    """
    pairs = zip(values, baseline, strict=True)
    differences = [value - base for value, base in pairs if value is not None and base is not None]
    mean = mean_with_interval(differences)
    return {
        "difference": mean["value"],
        "ci_low": mean["ci_low"],
        "ci_high": mean["ci_high"],
        "p_value": sign_flip_p_value(differences) if differences else None,
        "num_problems": len(differences),
        "num_better": sum(difference > 0 for difference in differences),
        "num_worse": sum(difference < 0 for difference in differences),
    }


def share_with_interval(count: int, total: int) -> dict[str, float | None]:
    """Return ``{"value", "low", "high"}``: a share with its 95 % Wilson interval; None throughout if `total` is 0.

    Example:
        >>> {name: round(number, 2) for name, number in share_with_interval(1, 10).items()}
        {'value': 0.1, 'low': 0.02, 'high': 0.4}
    """
    if total == 0:
        return {"value": None, "low": None, "high": None}
    interval = stats.binomtest(count, total).proportion_ci(method="wilson")
    return {"value": count / total, "low": float(interval.low), "high": float(interval.high)}


def predict_first_error(step_scores: Sequence[float], threshold: float) -> int:
    """Return the 0-based index of the first step with ``score < threshold``; -1 if there is none."""
    return next((step_index for step_index, score in enumerate(step_scores) if score < threshold), -1)


def first_error_accuracy(first_errors: Sequence[int], predicted: Sequence[int]) -> dict[str, Any]:
    """Return how often the first error is found, as ProcessBench counts it (arXiv 2412.06559, section 3).

    Args:
        first_errors: True 0-based index of each solution's first wrong step, -1 = none.
        predicted: The predicted index of each, see `predict_first_error`.

    Returns:
        ``error_accuracy`` (exact index, over solutions with an error), ``correct_accuracy`` (-1 predicted, over those
        without), ``f1`` their harmonic mean, and ``num_error``, ``num_correct``. An accuracy over no solution is None,
        and so is `f1` then.

    Raises:
        ValueError: for lists of different lengths, empty lists, or an index below -1.
    """
    truth, guess = np.asarray(first_errors, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if truth.shape != guess.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"Found {truth.shape} true and {guess.shape} predicted first errors. "
            "Pass two flat, non-empty lists of one index per solution."
        )
    if min(truth.min(), guess.min()) < -1:
        raise ValueError(
            f"Found a first error of {min(truth.min(), guess.min())}. Indices are 0-based, -1 means no error."
        )
    has_error = truth >= 0
    accuracies = [float(np.mean((truth == guess)[mask])) if mask.any() else None for mask in (has_error, ~has_error)]
    f1 = None
    if None not in accuracies:
        total = sum(accuracies)
        f1 = 2.0 * accuracies[0] * accuracies[1] / total if total else 0.0
    return {
        "error_accuracy": accuracies[0],
        "correct_accuracy": accuracies[1],
        "f1": f1,
        "num_error": int(has_error.sum()),
        "num_correct": int((~has_error).sum()),
    }


def _finite(values: Sequence[float], name: str) -> np.ndarray:
    """`values` as a flat, non-empty array of finite numbers, one per problem."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(
            f"Found {name} of shape {array.shape}, finite: {bool(np.isfinite(array).all())}. "
            "Pass a flat, non-empty list of finite numbers, one per problem."
        )
    return array


def _checked(labels: Sequence[int], scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Labels as integers in {0, 1} and finite scores, flat and of one length."""
    label_array, score_array = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if label_array.shape != score_array.shape or label_array.ndim != 1 or not len(label_array):
        raise ValueError(
            f"Found labels of shape {label_array.shape} and scores of shape {score_array.shape}. "
            "Pass two flat, non-empty lists of one entry per step."
        )
    if not np.isin(label_array, (0, 1)).all():
        bad = label_array[~np.isin(label_array, (0, 1))][0]
        raise ValueError(
            f"Found the label {bad}. Labels are 0 or 1; threshold soft labels and drop ignored steps first."
        )
    if not np.isfinite(score_array).all():
        raise ValueError(
            "Found a score that is NaN or infinite. Metrics need finite scores; drop unscored steps first."
        )
    return label_array.astype(np.int64), score_array
