"""Labels to targets and weights: mappings, borrowed counts, the steps that are trained on, bad rows."""

from __future__ import annotations

import doctest
import struct
import subprocess
import sys

import numpy as np
import pytest

from mmprm_hf.models import IGNORE_LABEL as MODEL_IGNORE_LABEL
from mmprm_hf.training import targets
from mmprm_hf.training.targets import IGNORE_LABEL, BadRowError, StepTargets, TargetConfig, step_targets

COUNTS = {"label_counts": [[0, 4], [1, 4], [2, 4], [3, 4], [4, 4], [0, 0]]}


def float32(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def test_mappings_of_counts():
    banded = {"label_mapping": "banded"}
    for options, expected in (
        ({}, [0.0, 0.25, 0.5, 0.75, 1.0, -100.0]),
        ({"label_mapping": "hard"}, [0.0, 1.0, 1.0, 1.0, 1.0, -100.0]),
        ({"label_mapping": "hard", "hard_threshold": 0.5}, [0.0, 0.0, 0.0, 1.0, 1.0, -100.0]),
        (banded, [0.0, 0.0, -100.0, 1.0, 1.0, -100.0]),
        ({**banded, "band_low": 0.0, "band_high": 1.0}, [0.0, -100.0, -100.0, -100.0, 1.0, -100.0]),
        ({"label_mapping": "counts"}, [0.0, 0.25, 0.5, 0.75, 1.0, -100.0]),
    ):
        mapped = step_targets(COUNTS, TargetConfig(**options))
        assert mapped.targets == expected, options
        per_step = 4.0 if options.get("label_mapping") == "counts" else 1.0
        assert mapped.weights == [0.0 if target == IGNORE_LABEL else per_step for target in expected]


def test_the_ignored_label_is_the_models():
    assert MODEL_IGNORE_LABEL == IGNORE_LABEL


def test_labels_of_every_type_and_0_9_stays_0_9():
    assert step_targets({"labels": [True, False, 1, 0, 0.9, -100, np.float32(0.5)]}, TargetConfig()) == StepTargets(
        [1.0, 0.0, 1.0, 0.0, 0.9, -100.0, 0.5], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    )


def test_a_stored_float32_label_is_compared_like_its_counts():
    assert float32(0.3) > 0.3 and float32(0.7) < 0.7
    stored = {"labels": [float32(0.3), float32(0.7)]}
    counted = {"label_counts": [[3, 10], [7, 10]]}
    for row in (stored, counted):
        assert step_targets(row, TargetConfig("hard", 0.3)).targets == [0.0, 1.0]
        assert step_targets(row, TargetConfig("banded", band_low=0.3, band_high=0.7)).targets == [0.0, 1.0]


def test_counts_weigh_by_rollouts_and_leave_borrowed_positives_out():
    row = {
        "labels": [0.5, 1.0, 0.0, 0.0, -100.0],
        "label_counts": [[2, 4], [3, 3], [0, 16], [0, 16], [1, 4]],
        "label_sources": ["estimate", "bound", "estimate", "bound", "judge_dropped"],
        "label_weights": [0.5, 0.5, 1.0, 0.25, 0.0],
    }
    assert step_targets(row, TargetConfig("counts")) == StepTargets(
        [0.5, -100.0, 0.0, 0.0, -100.0], [2.0, 0.0, 16.0, 4.0, 0.0]
    )
    assert step_targets(row, TargetConfig("counts", use_label_weights=False)).weights == [4.0, 0.0, 16.0, 16.0, 0.0]
    assert step_targets(row, TargetConfig()).targets == [0.5, 1.0, 0.0, 0.0, -100.0]
    del row["labels"]  # the source alone still says that the judge disagreed
    assert step_targets(row, TargetConfig()).targets == [0.5, 1.0, 0.0, 0.0, -100.0]


def test_weighted_cross_entropy_of_counts_is_the_binomial_likelihood():
    mapped = step_targets({"label_counts": [[3, 8]]}, TargetConfig("counts"))
    prob = 0.3
    loss = -(mapped.targets[0] * np.log(prob) + (1 - mapped.targets[0]) * np.log(1 - prob)) * mapped.weights[0]
    assert loss == pytest.approx(-(3 * np.log(prob) + 5 * np.log(1 - prob)))


def test_nothing_is_trained_after_the_first_error():
    for options, labels, expected in (
        ({}, [-100, 0.5, 0.0, 0.5, 0.0], [-100, 0.5, 0.0, -100, -100]),
        ({"hard_threshold": 0.5}, [1.0, 0.5, 0.0], [1.0, 0.5, -100]),
        ({"label_mapping": "hard", "hard_threshold": 0.5}, [1.0, 0.5, 0.0], [1.0, 0.0, -100]),
        ({"label_mapping": "banded"}, [0.5, 1.0, 0.1, 1.0], [-100, 1.0, 0.0, -100]),
        ({}, [1.0, 1.0], [1.0, 1.0]),
        ({}, [], []),
    ):
        mapped = step_targets({"labels": labels}, TargetConfig(train_on="first_error", **options))
        assert mapped.targets == expected
        assert mapped.weights == [float(target != -100) for target in expected]


def test_counts_up_to_the_first_error():
    row = {"label_counts": [[1, 1], [0, 8], [0, 8]], "label_sources": ["bound", "estimate", "bound"]}
    mapped = step_targets(row, TargetConfig("counts", train_on="first_error"))
    assert mapped == StepTargets([-100.0, 0.0, -100.0], [0.0, 8.0, 0.0])


def test_the_last_step_alone():
    config = TargetConfig(train_on="last")
    assert step_targets({"labels": [0.0, 1.0, 0.5]}, config) == StepTargets([-100.0, -100.0, 0.5], [0.0, 0.0, 1.0])
    assert step_targets({"labels": [0.5, -100]}, config) == StepTargets([-100.0, -100.0], [0.0, 0.0])
    assert step_targets({"labels": []}, config) == StepTargets([], [])


def test_bad_rows_name_step_rule_and_remedy():
    for row, options, reason, message in (
        ({}, {}, "no_labels", "neither `labels` nor `label_counts`"),
        ({"labels": None, "label_counts": None}, {}, "no_labels", "Each step needs a label"),
        ({"labels": [0.5], "label_counts": [[1, 2], [1, 2]]}, {}, "label_count", "2 label_counts but 1 labels"),
        ({"labels": [0.5], "label_sources": []}, {}, "label_count", "1 labels but 0 label_sources"),
        ({"labels": [1.0, 1.5]}, {}, "label_range", "label 1.5 at step_index 1. A label is in"),
        ({"labels": [float("nan")]}, {}, "label_range", "label nan at step_index 0"),
        ({"labels": [None]}, {}, "label_range", "label None at step_index 0"),
        ({"labels": ["1"]}, {}, "label_range", "label '1' at step_index 0"),
        ({"label_counts": [[3, 2]]}, {}, "label_range", r"label count \[3, 2\] at step_index 0"),
        ({"label_counts": [[-1, 2]]}, {}, "label_range", "0 <= num_correct <= num_decided"),
        ({"label_counts": [[0.5, 2]]}, {}, "label_range", "whole numbers"),
        ({"label_counts": [[1, float("inf")]]}, {}, "label_range", "whole numbers"),
        ({"label_counts": [None]}, {}, "label_range", "label count None"),
        ({"label_counts": [[1]]}, {}, "label_range", r"label count \[1\]"),
        ({"labels": [-100, 0.5]}, {"label_mapping": "counts"}, "no_counts", "without label_counts at step_index 1"),
        ({"labels": [1.0], "label_weights": [-0.5]}, {}, "label_weight", "label weight -0.5 at step_index 0"),
        ({"labels": [1.0], "label_weights": [float("nan")]}, {}, "label_weight", "weight nan at step_index 0"),
        ({"labels": [1.0], "label_weights": [float("inf")]}, {}, "label_weight", "finite and >= 0"),
        ({"labels": [1.0], "label_weights": [None]}, {}, "label_weight", "label weight None"),
        ({"labels": [1.0], "label_weights": []}, {}, "label_weight", "0 label_weights but labels of 1 steps"),
    ):
        with pytest.raises(BadRowError, match=message) as caught:
            step_targets(row, TargetConfig(**options))
        assert caught.value.reason == reason


def test_weights_that_are_not_used_are_not_checked():
    row = {"labels": [1.0], "label_weights": [-0.5]}
    assert step_targets(row, TargetConfig(use_label_weights=False)).weights == [1.0]


def test_unknown_options_are_refused():
    for options, message in (
        ({"label_mapping": "median"}, "Unknown label_mapping 'median'. Choose one of soft, hard, banded, counts"),
        ({"train_on": "first"}, "Unknown train_on 'first'. Did you mean 'first_error'"),
        ({"hard_threshold": 1.0}, "hard_threshold=1.0"),
        ({"hard_threshold": float("nan")}, "hard_threshold=nan"),
        ({"band_low": 0.5, "band_high": 0.5}, "band_low=0.5, band_high=0.5"),
        ({"band_low": -0.1}, "0 <= band_low < band_high <= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            TargetConfig(**options)


def test_examples_run_and_nothing_heavy_is_imported():
    assert doctest.testmod(targets).failed == 0
    program = "import sys, mmprm_hf.training.targets; print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert not subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()
