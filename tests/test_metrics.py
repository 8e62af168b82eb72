"""Metrics against brute force and values worked out by hand."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from mmprm_hf.metrics import (
    auroc,
    best_threshold,
    bootstrap_ci,
    first_error_accuracy,
    macro_f1,
    mean_or_none,
    predict_first_error,
    sign_flip_p_value,
    step_accuracy,
)


def random_steps(seed: int, num_steps: int = 60) -> tuple[list[int], list[float]]:
    """Labels and coarsely rounded scores, so that many are tied."""
    rng = random.Random(seed)
    labels = [0, 1] + [rng.randint(0, 1) for _ in range(num_steps - 2)]
    return labels, [round(min(1.0, max(0.0, 0.2 * label + rng.random() * 0.8)), 1) for label in labels]


@pytest.mark.parametrize("seed", range(5))
def test_auroc_equals_the_share_of_ordered_pairs(seed):
    labels, scores = random_steps(seed)
    positive = [score for label, score in zip(labels, scores, strict=True) if label]
    negative = [score for label, score in zip(labels, scores, strict=True) if not label]
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auroc(labels, scores) == pytest.approx(wins / (len(positive) * len(negative)), abs=1e-12)


def test_auroc_needs_both_classes():
    with pytest.raises(ValueError, match="Found 3 positive and 0 negative"):
        auroc([1, 1, 1], [0.1, 0.2, 0.3])


def brute_macro_f1(labels, scores, threshold):
    f1s = []
    for positive_class in (1, 0):
        calls = [int(score >= threshold) == positive_class for score in scores]
        truth = [label == positive_class for label in labels]
        hits = sum(c and t for c, t in zip(calls, truth, strict=True))
        size = sum(calls) + sum(truth)
        f1s.append(2 * hits / size if size else 0.0)
    return sum(f1s) / 2


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_and_best_threshold_equal_brute_force(seed):
    labels, scores = random_steps(seed)
    grid = [index / 40 - 0.1 for index in range(50)]
    for threshold in grid:
        assert macro_f1(labels, scores, threshold) == pytest.approx(brute_macro_f1(labels, scores, threshold))
    threshold, value = best_threshold(labels, scores)
    assert value == pytest.approx(brute_macro_f1(labels, scores, threshold))
    assert value == pytest.approx(max(brute_macro_f1(labels, scores, candidate) for candidate in grid))


def test_best_threshold_lies_in_the_middle_of_the_gap():
    assert best_threshold([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9]) == pytest.approx((0.4, 1.0))


def test_best_threshold_handles_one_class():
    assert best_threshold([1, 1], [0.3, 0.6])[1] == 0.5
    threshold, value = best_threshold([0, 0], [0.3, 0.6])
    assert threshold > 0.6
    assert value == 0.5


def test_step_accuracy_counts_the_threshold_as_right():
    assert step_accuracy([1, 0, 1, 0], [0.5, 0.5, 0.9, 0.1]) == 0.75
    assert step_accuracy([1, 0, 1, 0], [0.5, 0.5, 0.9, 0.1], threshold=0.6) == 0.75


@pytest.mark.parametrize("metric", [auroc, best_threshold, step_accuracy])
def test_malformed_input_is_refused(metric):
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) and scores of shape \(1,\)"):
        metric([0, 1], [0.5])
    with pytest.raises(ValueError, match="Found the label 0.9"):
        metric([0, 0.9], [0.5, 0.6])
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric([0, 1], [0.5, math.nan])
    with pytest.raises(ValueError, match="non-empty"):
        metric([], [])


def test_bootstrap_interval_holds_the_mean_and_is_reproducible():
    values = [float(index % 3 == 0) + index / 1e6 for index in range(90)]
    low, high = bootstrap_ci(values)
    assert low < 1 / 3 < high
    assert (low, high) == bootstrap_ci(values, seed=0) != bootstrap_ci(values, seed=1)
    # The normal interval of a share of 1/3 over 90 problems is +-0.097.
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(2 / 9 / 90), rel=0.15)
    narrow = bootstrap_ci(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    # 200 samples of 100 fair coins: with 93 to 95 % true coverage (the percentile interval of a coarse share runs
    # a little short), fewer than 172 hits has a chance below 1 in 1,000. Seeded, so it cannot flicker.
    rng = random.Random(0)
    num_hits = 0
    for _ in range(200):
        low, high = bootstrap_ci([float(rng.random() < 0.5) for _ in range(100)], num_resamples=400)
        num_hits += low <= 0.5 <= high
    assert 172 <= num_hits < 200


def test_the_interval_is_95_percent_wide_unless_another_level_is_asked_for():
    """1,000 fair coins: the mean's standard error is 1.58 points; 2,000 resamples give its quantiles to 5 percent."""
    low, high = bootstrap_ci([0.0, 1.0] * 500)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 1000), rel=0.07)


def test_bootstrap_works_in_chunks_and_on_one_value():
    assert bootstrap_ci([0.25]) == (0.25, 0.25)
    low, high = bootstrap_ci([0.0, 1.0] * 1500, num_resamples=2000)
    assert 0.47 < low < 0.5 < high < 0.53


def test_bootstrap_refuses_bad_arguments():
    with pytest.raises(ValueError, match="flat, non-empty list"):
        bootstrap_ci([])
    with pytest.raises(ValueError, match="finite: False"):
        bootstrap_ci([0.1, math.nan])
    with pytest.raises(ValueError, match=r"level=95"):
        bootstrap_ci([0.1], level=95)


def test_first_error_accuracy_by_hand():
    report = first_error_accuracy([2, 0, 1, -1, -1], [2, 1, 1, -1, 0])
    assert report["error_accuracy"] == pytest.approx(2 / 3)
    assert report["correct_accuracy"] == 0.5
    assert report["f1"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert (report["num_error"], report["num_correct"]) == (3, 2)


def test_first_error_accuracy_without_one_kind_has_no_f1():
    report = first_error_accuracy([-1, -1], [-1, 0])
    assert (report["error_accuracy"], report["correct_accuracy"], report["f1"]) == (None, 0.5, None)
    assert first_error_accuracy([0, -1], [1, 0])["f1"] == 0.0
    with pytest.raises(ValueError, match="first error of -2"):
        first_error_accuracy([-2], [0])


def test_predict_first_error():
    assert predict_first_error([0.9, 0.4, 0.1], 0.5) == 1
    assert predict_first_error([0.9, 0.5], 0.5) == -1
    assert predict_first_error([], 0.5) == -1


def test_neighbouring_floats_are_told_apart():
    scores = np.array([0.3, np.nextafter(0.3, 1)])
    threshold, value = best_threshold([0, 1], scores)
    assert value == 1.0 and (scores >= threshold).tolist() == [False, True]


def test_sign_flips_of_equal_sizes_are_the_sign_test():
    differences = [1.0] * 7 + [-1.0] * 2 + [0.0] * 5
    sign_test = 2 * sum(math.comb(9, k) for k in range(3)) / 2**9
    assert sign_flip_p_value(differences) == pytest.approx(sign_test)
    drawn = sign_flip_p_value(differences, num_flips=400, seed=1)
    assert drawn != sign_test
    assert drawn == pytest.approx(sign_test, abs=0.06)


def test_sign_flips_weigh_sizes():
    assert sign_flip_p_value([3.0, 2.0, -1.0]) == 0.5  # sums of 6, 4, 2 and 0 either way; by signs alone it were 1
    assert sign_flip_p_value([0.0, 0.0]) == 1.0
    assert sign_flip_p_value([0.1, 0.2, -0.3]) == 1.0  # a sum of 0, whatever its rounding
    assert sign_flip_p_value([1.0] * 40) == 1 / 10_000


def test_sign_flips_are_those_of_scipy():
    rng = random.Random(6)
    for num_differences in (2, 9, 13, 14, 37, 301):
        differences = np.array([rng.choice((-5, -1, 1, 2, 6)) / 70 for _ in range(num_differences)])
        test = stats.permutation_test(
            (differences,),
            lambda sample, axis: np.abs(np.mean(sample, axis=axis)),
            permutation_type="samples",
            alternative="greater",
            n_resamples=min(9_999, 2**num_differences),
            rng=np.random.default_rng(0),
        )
        assert sign_flip_p_value(differences) == test.pvalue, num_differences


@pytest.mark.parametrize("differences", [[], [math.nan], [[1.0]]])
def test_sign_flips_need_finite_differences(differences):
    with pytest.raises(ValueError, match="Pass a flat, non-empty list"):
        sign_flip_p_value(differences)


def test_the_mean_leaves_out_what_is_undecided():
    assert mean_or_none([1.0, None, 0.0, 0.5]) == 0.5 and mean_or_none([None]) is None
    assert mean_or_none(value > 1 for value in (1, 2, 3, 4)) == 0.75
