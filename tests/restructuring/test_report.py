"""What showing the figure changes, counted over pairs of outcomes."""

from mmprm_hf.metrics import share_with_interval
from mmprm_hf.restructuring import Outcome, compare
from mmprm_hf.restructuring.checks import Rejection


def test_pairs_of_outcomes_are_counted():
    def outcome(reason=None, steps=2, text="a", figure=True):
        rejection = reason and Rejection("format")
        return Outcome(rejection, has_figure=figure, num_attempts=1, num_steps=steps, steps_hash=text)

    without = [outcome(), outcome(), outcome(), outcome("x"), outcome("x"), outcome(figure=False)]
    shown = [outcome(), outcome(steps=3, text="b"), outcome("x"), outcome(), outcome("x"), outcome("x", figure=False)]
    figures = compare(without, shown)
    assert figures["num_rows_with_figure"] == 5 and figures["num_accepted_both"] == 2
    assert (figures["num_rescued_by_figure"], figures["num_rejected_by_figure"]) == (1, 1)
    assert figures["outcome_differs"] == share_with_interval(2, 5)
    assert figures["step_count_differs"]["value"] == figures["text_differs"]["value"] == 0.5
    assert compare([], [])["outcome_differs"]["value"] is None
