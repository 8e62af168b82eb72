"""The checks of a restructured solution: every reason, what is not a reason, thresholds."""

import pytest
from support.restructuring import BROKEN, GOOD, ORIGINAL, QUESTION

from mmprm_hf.restructuring import CheckConfig, RestructureConfig
from mmprm_hf.restructuring.checks import REASONS, check_restructured
from mmprm_hf.steps import TAGGED


def reason(reply, *, original=ORIGINAL, gold="7", finish_reason="stop", **options):
    parsed = TAGGED.parse(reply, finish_reason=finish_reason)
    rejection = check_restructured(original, parsed, gold, question=QUESTION, **options)
    return rejection and rejection.reason


def test_each_reason_has_a_reply_that_is_rejected_for_it():
    assert reason(GOOD) is None
    assert {name: reason(reply) for name, reply in BROKEN.items()} == {name: name for name in BROKEN}
    assert reason(GOOD, gold="8") == "original_wrong"
    assert reason(GOOD.replace("<answer>7", "<answer>triangle"), gold="isosceles triangle") == "answer_undecided"
    assert set(REASONS) == {*BROKEN, "original_wrong", "answer_undecided", "not_writable"}


def test_thresholds_can_be_moved():
    assert reason(BROKEN["few_steps"], config=CheckConfig(min_steps=1)) is None
    assert reason(BROKEN["too_short"], config=CheckConfig(min_length_ratio=0.1)) is None
    assert reason(BROKEN["too_long"], config=CheckConfig(max_length_ratio=10)) is None
    assert reason(BROKEN["numbers_lost"], config=CheckConfig(min_numbers_kept=0.5)) is None
    with pytest.raises(ValueError, match=r"Found min_steps=0 in CheckConfig; it must be at least 1"):
        CheckConfig(min_steps=0)
    with pytest.raises(ValueError, match=r"Found temperature=0 in RestructureConfig; it must be above 0"):
        RestructureConfig(temperature=0)


def test_layout_and_small_changes_of_form_are_accepted():
    numbered = GOOD.replace("<step>There", "<step>Step 1: There").replace("<step>He", "<step>2. He")
    assert reason(numbered) is None  # numbers of steps are not content
    assert reason(GOOD.replace("There are 3 bags", "There are three bags")) is None
    assert reason(GOOD.replace("<answer>7", "<answer>7 marbles")) is None
    assert reason(GOOD.replace("There", "a<b and c>d: There")) is None
    assert reason(GOOD, finish_reason="length") == "format"
    fraction = "<step>2/5 of it</step><step>is 2/5</step><answer>0.4</answer>"
    assert reason(fraction, original="2/5 of it is 2/5", gold="0.4") is None
    assert reason("<step>8 of them</step><step>is 8</step><answer>8</answer>", original="8", gold="8") is None  # slack


def test_what_the_original_repeats_may_be_repeated():
    looped = "k=1: not yet. Go on. k=2: not yet. Go on. k=3: stop. Answer: 3"
    steps = "".join(f"<step>{part}</step>" for part in looped[:-10].split(". "))
    assert reason(steps + "<answer>3</answer>", original=looped, gold="3") is None


def test_without_a_gold_the_originals_own_answer_counts():
    assert reason(GOOD, gold=None) is None
    assert reason(GOOD.replace("<answer>7", "<answer>8"), gold=None) == "answer_changed"
    unannounced = ORIGINAL.replace(" Answer: 7", "")
    assert reason(GOOD, original=unannounced, gold=None) is None  # its last line: "12-5=7 are left."
    long = unannounced.replace("12-5=7 are left", "his friends take 12-5=7 of all that is left")
    assert reason(GOOD.replace("<answer>7", "<answer>B"), original=long, gold=None) == "answer_undecided"


def test_marks_and_control_tokens_are_not_steps_text():
    for text in ("< Step >", "<step 2>", "</ ANSWER>", "<image>", "<<<", "```", "</s>", "<prm>"):
        assert reason(GOOD.replace("There", f"{text} There")) == "marker_in_text", text
    assert reason(GOOD.replace("There", "<think> There")) == "format"


def test_answers_to_choices_are_letters_or_values():
    choice = {"answer_type": "choice", "options": ("5", "7", "12")}
    assert reason(GOOD, gold="B", **choice) is None
    assert reason(GOOD.replace("<answer>7", "<answer>(B)"), gold="B", **choice) is None
    assert reason(GOOD.replace("<answer>7", "<answer>C"), gold="B", **choice) == "answer_changed"
