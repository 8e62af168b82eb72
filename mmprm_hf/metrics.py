"""Pure metrics: arrays in, floats and dicts out. No I/O, no model, no plotting.

Labels are 1 (step right) or 0 (step wrong); a score is P(right) and a step is called right when
``score >= threshold``. Imports numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_Z_95 = 1.96  # standard normal quantile of 0.975


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
    label_array, score_array = _check(labels, scores)
    num_positive = int(label_array.sum())
    num_negative = len(label_array) - num_positive
    if not num_positive or not num_negative:
        raise ValueError(
            f"Found {num_positive} positive and {num_negative} negative labels. "
            "AUROC needs at least one of each; evaluate on more steps."
        )
    _, inverse, counts = np.unique(score_array, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank = last_rank - (counts - 1) / 2.0  # 1-based average rank of each distinct score
    rank_sum = float(mean_rank[inverse][label_array == 1].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2.0) / (num_positive * num_negative)


def macro_f1(labels: Sequence[int], scores: Sequence[float], threshold: float) -> float:
    """Return the mean of the F1 of right steps and the F1 of wrong steps at ``score >= threshold``.

    A class that is neither present nor predicted has an F1 of 0.
    """
    label_array, score_array = _check(labels, scores)
    is_predicted = score_array >= threshold
    true_positive = np.array([np.sum(is_predicted & (label_array == 1))])
    predicted = np.array([np.sum(is_predicted)])
    return float(_macro_f1(true_positive, predicted, int(label_array.sum()), len(label_array))[0])


def class_f1s(labels: Sequence[int], scores: Sequence[float], threshold: float) -> tuple[float, float]:
    """Return ``(F1 of right steps, F1 of wrong steps)`` at ``score >= threshold``; their mean is `macro_f1`.

    A class that is neither present nor predicted has an F1 of 0.

    Example:
        >>> class_f1s([1, 1, 1, 0], [0.9, 0.8, 0.1, 0.2], 0.5)
        (0.8, 0.6666666666666666)
    """
    label_array, score_array = _check(labels, scores)
    is_called, is_right = score_array >= threshold, label_array == 1
    f1s = []
    for called, true in ((is_called, is_right), (~is_called, ~is_right)):
        f1s.append(2.0 * float(np.sum(called & true)) / max(int(called.sum() + true.sum()), 1))
    return f1s[0], f1s[1]


def best_threshold(labels: Sequence[int], scores: Sequence[float]) -> tuple[float, float]:
    """Return ``(threshold, macro_f1)`` with the highest macro-F1; choose it on other problems than you report on.

    Thresholds tried: the middle of every gap between neighbouring distinct scores, below all and above all of them.
    Ties go to the lowest threshold.

    Example:
        >>> best_threshold([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9])
        (0.4, 1.0)
    """
    label_array, score_array = _check(labels, scores)
    distinct, inverse = np.unique(score_array, return_inverse=True)
    count_at = np.bincount(inverse, minlength=len(distinct))
    positive_at = np.bincount(inverse, weights=label_array, minlength=len(distinct))
    # Entry i calls right every step whose score is at least distinct[i]; the last entry calls none right.
    predicted = np.append(np.cumsum(count_at[::-1])[::-1], 0)  # (num_distinct + 1,)
    true_positive = np.append(np.cumsum(positive_at[::-1])[::-1], 0)
    # Between neighbouring floats the middle is the lower one, which must not be called right.
    middles = np.maximum((distinct[:-1] + distinct[1:]) / 2.0, np.nextafter(distinct[:-1], np.inf))
    thresholds = np.concatenate([distinct[:1], middles, [np.nextafter(distinct[-1], np.inf)]])
    values = _macro_f1(true_positive, predicted, int(label_array.sum()), len(label_array))
    best = int(np.argmax(values))
    return float(thresholds[best]), float(values[best])


def step_accuracy(labels: Sequence[int], scores: Sequence[float], threshold: float = 0.5) -> float:
    """Return the share of steps whose call at ``score >= threshold`` equals the label, in [0, 1]."""
    label_array, score_array = _check(labels, scores)
    return float(np.mean((score_array >= threshold) == (label_array == 1)))


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
    value_array = np.asarray(values, dtype=np.float64)
    if value_array.ndim != 1 or not len(value_array) or not np.isfinite(value_array).all():
        raise ValueError(
            f"Found values of shape {value_array.shape}, finite: {bool(np.isfinite(value_array).all())}. "
            "bootstrap_ci needs a flat, non-empty list of finite numbers, one per problem."
        )
    if num_resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"Found num_resamples={num_resamples}, level={level}. Use num_resamples >= 1 and a level in (0, 1)."
        )
    rng = np.random.default_rng(seed)
    size = len(value_array)
    chunk = max(1, 4_000_000 // size)  # bounds the index array to about 32 MB
    means = np.concatenate(
        [
            value_array[rng.integers(0, size, size=(min(chunk, num_resamples - start), size))].mean(axis=1)
            for start in range(0, num_resamples, chunk)
        ]
    )
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def sign_flip_p_value(differences: Sequence[float], *, num_flips: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired sign-flip permutation test of a mean difference of 0.

    Under no difference each problem's difference is as likely with the other sign. The p-value is the share of sign
    patterns whose mean is at least as far from 0: over all patterns (exact) where these are at most `num_flips` + 1,
    else over `num_flips` seeded ones and the one observed. Of differences -1, 0 and 1 it is the sign test.

    Args:
        differences: One difference per problem, zeros included (they say nothing and change nothing).
        num_flips: Sign patterns to draw, at least 1.
        seed: Seed of the patterns.

    Raises:
        ValueError: for no differences, one that is not finite, or no patterns.

    Example:
        >>> sign_flip_p_value([1.0, 1.0, 1.0, 0.0])
        0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or num_flips < 1:
        raise ValueError(
            f"Found differences of shape {values.shape}, finite: {bool(np.isfinite(values).all())}, and {num_flips} "
            "flips. Pass a flat, non-empty list of finite numbers, one per problem, and num_flips >= 1."
        )
    values = values[values != 0]
    size = len(values)
    threshold = abs(values.sum()) - 1e-9 * np.abs(values).sum()  # equal sums count as equal in any order of addition
    if 2**size <= num_flips + 1:
        bits = np.arange(2**size)[:, None] >> np.arange(size) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ values) >= threshold))
    rng = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // size)
    num_extreme = 0
    for start in range(0, num_flips, chunk):
        bits = rng.integers(0, 2, size=(min(chunk, num_flips - start), size))
        num_extreme += int(np.sum(np.abs((2 * bits - 1) @ values) >= threshold))
    return (num_extreme + 1) / (num_flips + 1)


def share_with_interval(count: int, total: int) -> dict[str, float | None]:
    """``{"value", "low", "high"}``: a share with its 95 % Wilson interval; None throughout where `total` is 0.

    Example:
        >>> {name: round(number, 2) for name, number in share_with_interval(1, 10).items()}
        {'value': 0.1, 'low': 0.02, 'high': 0.4}
    """
    if total == 0:
        return {"value": None, "low": None, "high": None}
    share, z2 = count / total, _Z_95**2 / total
    centre = (share + z2 / 2) / (1 + z2)
    margin = _Z_95 / (1 + z2) * math.sqrt(share * (1 - share) / total + z2 / (4 * total))
    return {"value": share, "low": max(centre - margin, 0.0), "high": min(centre + margin, 1.0)}


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


def _check(labels: Sequence[int], scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
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


def _macro_f1(true_positive: np.ndarray, predicted: np.ndarray, num_positive: int, num_steps: int) -> np.ndarray:
    """Macro-F1 from counts, elementwise; `predicted` counts the steps called right."""
    true_negative = (num_steps - num_positive) - (predicted - true_positive)
    sizes_right = predicted + num_positive
    sizes_wrong = 2 * num_steps - sizes_right
    f1_right = 2.0 * true_positive / np.maximum(sizes_right, 1)
    f1_wrong = 2.0 * true_negative / np.maximum(sizes_wrong, 1)
    return (f1_right + f1_wrong) / 2.0
