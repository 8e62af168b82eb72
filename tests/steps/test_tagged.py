"""Policy text <-> steps: round trip, tolerance for whitespace, and nothing guessed about broken text."""

import random

import pytest

from mmprm_hf.steps import TAGGED, ParsedResponse, TaggedFormat

NANO = "<step>A=47</step><step>B=58</step><answer>75</answer>"


def test_blocks_parse_with_any_whitespace_between():
    for separator in ("", "\n", "\n\n  "):
        text = separator + NANO.replace("><", f">{separator}<") + separator
        assert TAGGED.parse(text) == ParsedResponse(("A=47", "B=58"), "75", True)


def test_round_trip_is_the_identity_on_random_solutions():
    rng = random.Random(0)
    alphabet = "ab <>/=\n$\\{}é角"
    other = TaggedFormat("[s]", "[/s]", "[a]", "[/a]")
    for _ in range(300):
        steps = tuple("x" + "".join(rng.choices(alphabet, k=rng.randint(0, 12))) for _ in range(rng.randint(1, 5)))
        answer = ("7" + "".join(rng.choices(alphabet, k=3))).strip()
        for step_format in (TAGGED, other):
            parsed = step_format.parse(step_format.render(steps, answer))
            assert parsed == ParsedResponse(steps, answer, True)
            assert step_format.render(steps, answer).startswith(step_format.render_prefix(steps))


def test_step_text_is_verbatim_and_the_answer_stripped():
    parsed = TAGGED.parse("<step>\nfirst \n</step><answer>\n75 </answer>")
    assert parsed == ParsedResponse(("\nfirst \n",), "75", True)


def test_broken_text_is_not_complete_but_keeps_its_closed_steps():
    for text, steps, answer in (
        ("", (), None),
        ("The answer is 75.", (), None),
        ("<step>a</step>", ("a",), None),
        ("<step>a</step><step>b", ("a",), None),
        ("<step>a</step><answer>7", ("a",), None),
        ("<answer>7</answer>", (), "7"),
        ("so: <step>a</step><answer>7</answer>", ("a",), "7"),
        ("<step>a</step> then <step>b</step><answer>7</answer>", ("a", "b"), "7"),
        ("<step>a</step><answer>7</answer> done", ("a",), "7"),
        ("<step>a</step><answer>7</answer><step>b</step>", ("a", "b"), "7"),
        ("<step>a</step><answer>7</answer><answer>7</answer>", ("a",), None),
        ("<step> </step><step>a</step><answer>7</answer>", ("a",), "7"),
        ("<step>a</step><answer> </answer>", ("a",), None),
        ("<step>a<step>b</step><answer>7</answer>", ("b",), "7"),
        ("<step>a</answer><answer>7</answer>", (), "7"),
        ("a</step><step>b</step><answer>7</answer>", ("b",), "7"),
    ):
        assert TAGGED.parse(text) == ParsedResponse(steps, answer, False), text


def test_only_a_stopped_response_is_complete():
    for finish_reason in ("length", "abort"):
        assert not TAGGED.parse(NANO, finish_reason=finish_reason).complete


def test_a_continuation_may_hold_the_answer_alone():
    assert not TAGGED.parse("<answer>7</answer>").complete
    assert TAGGED.parse("<answer>7</answer>", prefix=("A=1",)) == ParsedResponse((), "7", True)


def test_an_open_step_is_one_step_and_nothing_else():
    other = TaggedFormat("[s]", "[/s]", "[a]", "[/a]")
    for text, step in (
        ("<step>A=47", "A=47"),
        ("<step> A=47\n", " A=47\n"),
        ("\n <step>a < b > c", "a < b > c"),
        ("<step>ends like <st", "ends like <st"),
        ("", None),
        ("A=47", None),
        ("<step>", None),
        ("<step> \n", None),
        ("so: <step>A=47", None),
        ("<step>A=47</step>", None),
        ("<step>A=47</step><step>B=58", None),
        ("<step>A=<step>47", None),
        ("<step>A=47<answer>75", None),
        ("<answer>75</answer>", None),
        ("</step><step>A=47", None),
        ("</answer><step>A=47", None),
    ):
        assert TAGGED.parse_open_step(text) == step, text
        for tag, other_tag in zip(TAGGED.tags, other.tags, strict=True):
            text = text.replace(tag, other_tag)
        assert other.parse_open_step(text) == step, text


def test_an_open_step_is_what_the_closing_tag_ends():
    """Engines stop there: with the tag it is the step that `TAGGED.parse` reads, and a prefix can show it again."""
    for text in ("<step>A=47", " <step>\nx"):
        step = TAGGED.parse_open_step(text)
        assert TAGGED.parse(text + "</step>").steps == (step,)
        assert TAGGED.render_prefix((step,)) == text.strip(" ") + "</step>"


def test_render_prefix_of_no_steps_is_empty():
    assert TAGGED.render_prefix(()) == ""


def test_render_refuses_tags_blank_blocks_and_no_steps():
    with pytest.raises(ValueError, match=r"Step 1 contains the tag '</step>'"):
        TAGGED.render_prefix(("fine", "a</step>b"))
    with pytest.raises(ValueError, match="Step 0 is blank"):
        TAGGED.render_prefix((" \n",))
    with pytest.raises(ValueError, match="The answer contains the tag '<step>'"):
        TAGGED.render(("a",), "<step>7")
    with pytest.raises(ValueError, match="without steps"):
        TAGGED.render((), "7")


def test_step_format_refuses_ambiguous_tags():
    with pytest.raises(ValueError, match="equal to or part of another"):
        TaggedFormat(step_open="<s>", answer_open="<s>")
    with pytest.raises(ValueError, match="equal to or part of another"):
        TaggedFormat(step_open="step", step_close="step>")
    with pytest.raises(ValueError, match="blank tag"):
        TaggedFormat(answer_close=" ")
