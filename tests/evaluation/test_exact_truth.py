"""Solutions with a right answer and a wrong step, counted on solutions made so that each number is known."""

from __future__ import annotations

import pytest

from mmprm_hf.evaluation.exact_truth import false_positive_report

SOUND = [([1, 1], [0.9, 0.8]), ([1, 1, 1], [0.9, 0.4, 0.9])]
LUCKY = [
    ([1, 0, 1], [0.9, 0.3, 0.1]),  # found, at its first wrong step
    ([1, 0, 0], [0.2, 0.3, 0.1]),  # found, a step too early
    ([0, 1], [0.7, 0.9]),  # missed
]


def test_shares_flagged():
    chosen, drawn_from = [[1, 1], [0, 1]], [[[1, 1], [1, 0], [1, 0], [1, 1]], [[0, 1]]]
    found = false_positive_report([*SOUND, *LUCKY], threshold=0.5, chosen=chosen, drawn_from=drawn_from)
    assert (found["num_right_answers"], found["num_false_positives"]) == (5, 3)
    assert found["share_false_positives"] == 0.6
    assert found["flagged_false_positives"] == pytest.approx(2 / 3)
    assert found["flagged_sound"] == 0.5
    assert found["first_error_found"] == 0.5
    assert (found["num_chosen"], found["share_false_positives_chosen"]) == (2, 0.5)
    assert found["share_false_positives_random"] == (0.5 + 1.0) / 2
    with pytest.raises(ValueError, match="Found 1 chosen solutions and 0 lists"):
        false_positive_report(SOUND, threshold=0.5, chosen=[[1]])
    # Of the six pairs of a sound and a lucky one, only the sound 0.4 stands below the lucky 0.7.
    assert found["auroc"] == pytest.approx(5 / 6)


def test_a_step_at_the_threshold_is_not_flagged():
    assert false_positive_report([([0], [0.5])], threshold=0.5)["flagged_false_positives"] == 0.0
    assert false_positive_report([([0], [0.4999])], threshold=0.5)["flagged_false_positives"] == 1.0


def test_what_cannot_be_measured_is_none():
    found = false_positive_report(SOUND, threshold=0.5)
    assert found["auroc"] is found["flagged_false_positives"] is found["first_error_found"] is None
    assert found["share_false_positives"] == 0.0 and found["share_false_positives_chosen"] is None
    empty = false_positive_report([], threshold=0.5)
    assert empty["share_false_positives"] is None and empty["num_right_answers"] == 0
    with pytest.raises(ValueError, match="Found 2 labels and 1 scores of a solution"):
        false_positive_report([([1, 1], [0.5])], threshold=0.5)
