"""Batches: labels stand at the markers, and markers that rows share hold the mean of their targets."""

from __future__ import annotations

import pytest
import torch

from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.rows import RowLimits
from mmprm_hf.training.targets import TargetConfig


def row(steps, labels, weights=None):
    weights = {} if weights is None else {"label_weights": weights}
    return {"prompt": "q", "completions": steps, "labels": labels, "problem_id": "p", **weights}


def test_labels_stand_at_the_markers_and_0_9_stays_0_9(prm_processor):
    rows = [row(["one", "two", "three"], [1.0, 0.9, 0.0]), row(["four"], [0.5], [0.25])]
    batch = PRMCollator(prm_processor)(rows)
    is_marker = batch["input_ids"] == prm_processor.marker_token_id
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"][is_marker].tolist() == pytest.approx([1.0, 0.9, 0.0, 0.5], abs=1e-7)
    assert batch["label_weights"][is_marker].tolist() == [1.0, 1.0, 1.0, 0.25]
    assert (batch["labels"][~is_marker] == -100).all() and (batch["label_weights"][~is_marker] == 0).all()
    mapped = PRMCollator(prm_processor, TargetConfig("hard", train_on="last"), metrics=True)(rows)
    assert mapped["labels"][is_marker].tolist() == [-100.0, -100.0, 0.0, 1.0]
    assert torch.equal(mapped["metric_labels"], batch["labels"]), "metrics are of the labels as they are"


def test_a_shared_marker_has_the_mean_target_and_the_summed_weight(prm_processor):
    group = [row(["a", "b"], [1.0, 0.5], [0.5, 1.0]), row(["a", "c"], [0.5, -100.0], [1.5, 1.0])]
    batch = PRMCollator(prm_processor, siblings=True)([group])
    (tree,) = batch["packed"].trees
    is_marker = tree.input_ids == prm_processor.marker_token_id
    assert batch["labels"][0][is_marker].tolist() == [pytest.approx((0.5 + 0.75) / 2), 0.5, -100.0]
    assert batch["label_weights"][0][is_marker].tolist() == [2.0, 1.0, 0.0]
    assert batch["groups"][0][is_marker].tolist() == [0, 1, 1]
    assert (batch["labels"][0][~is_marker] == -100).all() and (batch["groups"][0][~is_marker] == -1).all()
    equal = [row(["a", "b"], [0.25, 0.5], [0.5, 0.5])] * 2
    assert PRMCollator(prm_processor)([equal])["labels"][0].ne(-100).sum() == 2


def test_rows_over_the_limits_are_refused(prm_processor):
    collator = PRMCollator(prm_processor, limits=RowLimits(prompt=1))
    for batch in ([row(["a"], [1.0])], [[row(["a"], [1.0])]]):
        with pytest.raises(ValueError, match="more than max_prompt_length 1"):
            collator(batch)
