"""Which step format an engine reads its policy with: named, declared by the policy, or found from a few responses."""

import asyncio

import pytest

from mmprm_hf.data import Problem
from mmprm_hf.engines.policy_format import PolicyFormat, declared_format
from mmprm_hf.engines.requests import Written
from mmprm_hf.steps import LINES, NUMBERED, PARAGRAPHS, TAGGED

PROBLEMS = [Problem(f"p{i}", "How many?") for i in range(9)]
STEPS = ("3 * 4 = 12", "12 - 2 = 10")


def settled(form, write):
    """The format after it was found from what `write` says to each response, and the questions that this took."""
    asked = []

    async def draw(problems, num_samples):
        asked.append((len(problems), num_samples, form.instruction))
        return [Written(write(form.instruction)) for _ in problems for _ in range(num_samples)]

    asyncio.run(form.settle(draw, PROBLEMS))
    return form, asked


def test_a_readable_policy_is_asked_for_nothing(caplog):
    form, asked = settled(PolicyFormat(), lambda _: NUMBERED.render(STEPS, "10"))
    assert form.step_format == NUMBERED and form.instruction is None
    assert asked == [(4, 4, None)]
    assert "Step format: numbered (of 16 responses read completely: tagged 0, numbered 16" in caplog.text
    assert form.identity == {"step_format": NUMBERED.to_dict()}


def test_a_policy_that_can_be_read_only_if_asked_is_asked():
    form, asked = settled(PolicyFormat(), lambda told: PARAGRAPHS.render(STEPS, "10") if told else "It is ten.")
    assert form.step_format == PARAGRAPHS and form.instruction == PARAGRAPHS.instruction()
    assert [told is not None for _, _, told in asked] == [False, True]
    assert form.identity["instruction"] == form.instruction


def test_an_instruction_that_does_not_help_is_dropped():
    form, asked = settled(PolicyFormat(), lambda told: "It is ten." if told else f"{STEPS[0]}\n\nHm.")
    assert form.step_format == PARAGRAPHS and form.instruction is None and len(asked) == 2
    form, asked = settled(PolicyFormat(instruct="never"), lambda _: "It is ten.")
    assert form.instruction is None and len(asked) == 1


def test_a_named_or_declared_format_is_taken_as_it_is():
    class Config:
        step_format = "lines"

    assert PolicyFormat("paragraphs").step_format == PARAGRAPHS
    assert PolicyFormat(declared=declared_format(object(), Config)).step_format == LINES
    assert PolicyFormat(TAGGED, declared="lines").step_format == TAGGED
    assert PolicyFormat("auto", declared="lines").step_format is None
    form, asked = settled(PolicyFormat("lines"), lambda _: "")
    assert form.step_format == LINES and not asked


def test_an_instruction_is_given_where_it_is_asked_for():
    assert PolicyFormat("lines", "always").instruction == LINES.instruction()
    assert PolicyFormat("lines", "example").instruction == LINES.instruction(with_example=True)
    assert PolicyFormat("lines").instruction is None
    with pytest.raises(ValueError, match="Unknown value of instruct 'allways'. Did you mean 'always'"):
        PolicyFormat("lines", "allways")


def test_a_resumed_run_goes_on_with_the_format_that_it_found():
    found, _ = settled(PolicyFormat(), lambda told: PARAGRAPHS.render(STEPS, "10") if told else "It is ten.")
    resumed = PolicyFormat()
    resumed.restore(found.identity)
    assert resumed.identity == found.identity
    named = PolicyFormat("lines")
    named.restore(found.identity)
    assert named.step_format == LINES, "what is named now is compared with the run, and not replaced"
    unfinished = PolicyFormat()
    unfinished.restore({"step_format": "auto"})
    assert unfinished.step_format is None
