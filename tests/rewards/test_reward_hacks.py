"""Reward hacks: each gains nothing with its guard, and does gain without it where that is true.

Step scores are scripted, so that the best case of each hack is met: the PRM loves what is padded.
"""

import pytest
from support.reward_cases import chat, scripted

from mmprm_hf.rewards.guards import SolutionGuards, normalise_step
from mmprm_hf.rewards.process_reward import ProcessReward
from mmprm_hf.rewards.shapes import PADDING_PROOF
from mmprm_hf.selection import AGGREGATIONS
from mmprm_hf.steps import TAGGED, ParsedResponse

SCORES = {"A=47": 0.9, "B=58": 0.7, "A+B=106": 0.3, "...": 0.999, "47=47": 0.999}
HONEST = ("A=47", "B=58", "A+B=106")
GAINS_BY_GOOD_STEPS = ("mean", "max", "last", "sum_logit", "mean_odds")


@pytest.fixture
def reward_of(tiny_scorer):
    """The reward of some steps under some options."""

    def reward(steps, **options):
        (value,) = ProcessReward(scripted(tiny_scorer, SCORES), **options)(
            [chat("What is A+B?")], [TAGGED.render(steps, "106")]
        )
        return value

    return reward


def padded(*extra):
    return (*HONEST, *extra)


# --- Empty steps --------------------------------------------------------------------------------------------------


def test_empty_steps_earn_nothing_and_would_pay_without_the_guard(reward_of):
    hack = padded("...", "...")
    for method in AGGREGATIONS:
        assert reward_of(hack, aggregation=method) == 0.0
        gains = reward_of(hack, aggregation=method, allow_empty_steps=True) > reward_of(HONEST, aggregation=method)
        assert gains == (method in GAINS_BY_GOOD_STEPS), method


def test_a_step_without_letters_and_digits_earns_nothing(reward_of):
    for step in ("...", "-", " = ", "\u200b.", "**", "\u3164"):
        assert reward_of(padded(step)) == 0.0, repr(step)
        assert reward_of(padded(step), allow_empty_steps=True) > 0.0, repr(step)
    for step in ("7", "x", "\u6240\u4ee5"):
        assert reward_of(padded(step)) > 0.0, repr(step)


# --- Repeats ------------------------------------------------------------------------------------------------------

REPEATS = {
    "one step again": ("A=47",) * 5,
    "in a cycle": ("A=47", "B=58") * 4,
    "other case and spaces": ("a = 47", " A  =47\n", "A=\u200b47"),
    "other punctuation": ("A=47.", "**A=47**", "(A=47)!", "A=47;", "( a=47 ) ."),
    "numbered": ("1. A=47", "Step 2: A=47", "- A=47", "**Step 1:** A=47", "(1) A=47", "a) A=47", "1.A=47", "2) A=47"),
    "unseen characters": ("A=47\u3164", "A\ufe0f=47", "A=47\u2060\u115f"),
}


def test_repeats_change_no_reward(reward_of):
    def assert_unchanged(extra, **options):
        assert reward_of(padded(*extra), **options) == reward_of(HONEST, **options), (extra, options)
        assert reward_of((HONEST[0], *extra, *HONEST[1:]), **options) == reward_of(HONEST, **options), (extra, options)

    for extra in REPEATS.values():
        assert_unchanged(extra)
        assert_unchanged(extra, shape="step")
    for method in AGGREGATIONS:
        assert_unchanged(REPEATS["in a cycle"], aggregation=method)


def test_without_the_guard_repeats_pay(reward_of):
    for method in AGGREGATIONS:
        options = {"aggregation": method, "drop_repeats": False}
        gains = reward_of(padded(*REPEATS["one step again"]), **options) > reward_of(HONEST, **options)
        assert gains == (method in GAINS_BY_GOOD_STEPS and method != "max"), method


def test_without_the_guard_repeats_before_the_error_pay_in_shares(reward_of):
    hack = ("A=47",) * 9 + HONEST[1:]
    assert reward_of(hack, shape="step") == reward_of(HONEST, shape="step") == pytest.approx(2 / 3)
    assert reward_of(hack, shape="step", drop_repeats=False) == pytest.approx(10 / 11)


DIFFERENT = [
    ("A-B=1", "A+B=1"),
    ("A=1.5", "A=15"),
    ("A=1,2", "A=12"),
    ("x<3", "x>3"),
    ("(a+b)*c", "a+b*c"),
    ("-5", "5"),
    ("A=21. B=3", "A=7. B=3"),
    ("x=.5", "x=5"),
    ("(2)(3)=6", "(3)=6"),
    ("1.5 apples", "5 apples"),
    ("(2) + 3 = 5", "+ 3 = 5"),
    ("10:2=5", "2=5"),
]


def test_what_differs_in_meaning_is_no_repeat():
    for first, second in DIFFERENT:
        assert normalise_step(first) != normalise_step(second), (first, second)


# --- Length -------------------------------------------------------------------------------------------------------


def fillers(number):
    """True, new and worthless steps that the PRM loves."""
    return tuple(f"{i}={i}" for i in range(number))


def test_new_filler_steps_pay_unless_the_aggregation_or_max_steps_forbids(tiny_scorer):
    scorer = scripted(tiny_scorer, {**SCORES, **dict.fromkeys(fillers(8), 0.999)})
    texts = [TAGGED.render(steps, "106") for steps in (HONEST, padded(*fillers(8)))]
    for method in AGGREGATIONS:
        honest, hack = ProcessReward(scorer, aggregation=method)([chat("What is A+B?")] * 2, texts)
        assert (hack > honest) == (method not in PADDING_PROOF), method
        honest, hack = ProcessReward(scorer, aggregation=method, max_steps=8)([chat("What is A+B?")] * 2, texts)
        assert hack == 0.0 < honest, method


def test_repeats_count_for_max_steps(reward_of):
    assert reward_of(HONEST * 3, max_steps=9) == reward_of(HONEST)
    assert reward_of(HONEST * 3, max_steps=8) == 0.0


def test_leaving_out_the_hard_step_pays_unless_min_steps_forbids(reward_of):
    """The opposite hack: without `min_steps`, fewer steps earn more."""
    for options in ({}, {"aggregation": "product"}, {"aggregation": "last"}, {"shape": "step"}):
        assert reward_of(HONEST[:1], **options) > reward_of(HONEST, **options), options
        assert reward_of(HONEST[:1], min_steps=3, **options) == 0.0 < reward_of(HONEST, min_steps=3, **options), options


def test_a_few_safe_steps_and_a_guess(reward_of):
    """The PRM sees no answer block: the guess must stand in the last step, where it is judged."""
    assert reward_of(HONEST[:2]) > reward_of(HONEST)
    assert reward_of(HONEST[:2], answer_in_last_step=True) == 0.0
    assert reward_of(HONEST, answer_in_last_step=True) == reward_of(HONEST)


NAMED = [
    ("C = 180-47-58 = 75", "75", True),
    ("so it is 75 degrees", "75", True),
    ("so it is 75cm.", "75", True),
    ("C=175", "75", False),
    ("C=75.5", "75", False),
    ("C=1.75", "75", False),
    ("x = \\frac{1}{2}", "\\frac{1}{2}", True),
    ("It is  Isosceles.", "isosceles", True),
    ("It is scalene.", "a", False),
    ("x = -5", "5", False),
    ("x is -5.", "5", False),
    ("x = \u22125", "-5", True),
    ("10 - 5 is what is left", "5", True),
    ("it costs 1,000", "1000", True),
    ("it costs 1000", "1,000", True),
]


def test_what_names_an_answer():
    for step, answer, names in NAMED:
        response = ParsedResponse((step,), answer, True)
        fault = SolutionGuards(answer_in_last_step=True).check(response, "<prm>").fault
        assert fault == (None if names else "answer not derived"), (step, answer)


def test_repeats_do_not_fill_up_min_steps(reward_of):
    assert reward_of(("A=47", "a=47", "A=47."), min_steps=2) == 0.0
