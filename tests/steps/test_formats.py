"""All step formats: what is written is read again, hostile texts included; thoughts; finding a policy's format."""

import random

import pytest

from mmprm_hf.answers import final_answer
from mmprm_hf.steps import (
    FAULTS,
    LINES,
    NUMBERED,
    PARAGRAPHS,
    STEP_FORMATS,
    TAGGED,
    NumberedFormat,
    choose_step_format,
    count_faults,
    fault_words,
    read_solution,
    read_step_format,
    solution_steps,
)

LISTED = NumberedFormat("{n}. ", "\n")
CHINESE = NumberedFormat("第{n}步：", "\n\n", are_chinese=True)
BOLD = NumberedFormat("**Step {n}.** ")
HEADINGS = NumberedFormat("## Step {n}: ")
FORMATS = (TAGGED, PARAGRAPHS, LINES, NUMBERED, LISTED, CHINESE, BOLD, HEADINGS)
PLAIN = FORMATS[1:]
PIECES = (
    "a", "x = 1", " ", "\n", "\n\n", "\r\n", "\r\n\r\n", "```", "```python\n", "\n```\n", "$$", "\n$$\n", "\\[\n",
    "\n\\]\n", "\\begin{cases}\n", "\n\\end{cases}\n", "| a | b |\n", "<step>", "</step>", "<think>", "</think>",
    "Step 1: ", "Step 2: ", "\nStep 2:", "1. ", "2. ", "\n2. ", "Answer: 7", "The answer is 7.", "\\boxed{3}",
    "<answer>7</answer>", "角", "第一步：", "  ", "#### 5", "- ", "\t",
)  # fmt: skip
TIDY = (
    "3 * 4 = 12",
    "We have\n\\[\nx = 1\n\n+ 2\n\\]\nin all.",
    "$$\na\n\nb\n$$",
    "So $$x\n\n= 1$$ holds.",
    "```python\nx = 1\n\nprint(x)\n```",
    "| a | b |\n| - | - |\n| 1 | 2 |",
    "x = \\begin{cases}\n1\n\n2\n\\end{cases}",
    "一共 12 个。",
    "It costs $5, or 1.5 times as much.",
    "The answer is 7, says Tom.",
    "a < b > c",
)


def test_what_is_written_is_read_again_or_refused():
    rng, num_read = random.Random(0), dict.fromkeys(FORMATS, 0)
    for _ in range(1200):
        steps = tuple("".join(rng.choices(PIECES, k=rng.randint(1, 6))) for _ in range(rng.randint(1, 4)))
        answer = rng.choice(["7", "x = 1", "(1, 2)", "\\frac{1}{2}", "A", "**7**"])
        for step_format in FORMATS:
            try:
                text = step_format.render(steps, answer)
            except ValueError:
                continue
            parsed = step_format.parse(text)
            assert (parsed.steps, parsed.answer, parsed.complete) == (steps, answer, True), (step_format, text)
            num_read[step_format] += 1
    assert min(num_read.values()) > 20


def test_formulas_fences_and_tables_stay_whole_in_every_format():
    rng = random.Random(1)
    for _ in range(300):
        steps = tuple(rng.sample(TIDY, rng.randint(1, 5)))
        for step_format in (TAGGED, PARAGRAPHS, NUMBERED, HEADINGS, BOLD, CHINESE):
            assert step_format.parse(step_format.render(steps, "7")).steps == steps
    for step in TIDY:
        if "\n" not in step or step.startswith(("$$", "```", "|")):
            assert LINES.parse(LINES.render((step, "x = 2"), "7")).steps == (step, "x = 2")


def test_a_policys_own_text_becomes_prefixes_that_are_its_own_beginning():
    rng = random.Random(2)
    for _ in range(300):
        steps = [step for step in rng.sample(TIDY, rng.randint(2, 5)) if "answer" not in step]
        for step_format in FORMATS:
            if step_format in (LINES, LISTED):
                continue
            text = step_format.render(steps, "7")
            parsed = step_format.parse(text)
            for length in range(1, len(parsed.steps)):
                prefix = step_format.render_prefix(parsed.steps[:length])
                assert text.startswith(prefix)
                rest = step_format.parse(text[len(prefix) :], prefix=parsed.steps[:length])
                assert (rest.steps, rest.answer, rest.complete) == (parsed.steps[length:], "7", True)


def test_prefixes_of_any_text_that_was_read_can_be_written():
    rng, num_read = random.Random(3), 0
    for _ in range(1000):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 14)))
        for step_format in FORMATS:
            parsed = step_format.parse(text)
            assert parsed.complete == (parsed.fault == "") and parsed.fault in ("", *FAULTS)
            for length in range(1, len(parsed.steps) + 1 if parsed.complete else 1):
                step_format.render_prefix(parsed.steps[:length])
                num_read += 1
    assert num_read > 800


def test_windows_line_ends_are_read():
    text = "Step one.\r\nMore of it.\r\n\r\nStep two.\r\n\r\nThe answer is 7."
    assert PARAGRAPHS.parse(text).steps == ("Step one.\r\nMore of it.", "Step two.", "The answer is 7.")
    assert LINES.parse("a = 1\r\nb = 2\r\nAnswer: 3").steps == ("a = 1", "b = 2")
    assert NUMBERED.parse("Step 1: a\r\n\r\nStep 2: b\r\n\r\nAnswer: 3").steps == ("a", "b")


def test_each_place_of_a_final_answer_is_read():
    for ending, answer in (
        ("\n\nThe answer is 7.", "7"),
        ("\n\nAnswer: 7", "7"),
        ("\n\n**Answer:** 7", "7"),
        ("\n\n**Final Answer:**\n7", "7"),
        ("\n\n#### 7", "7"),
        ("\n\n<answer>7</answer>", "7"),
        ("\n\nSo it is \\boxed{7}.", "7"),
        ("\n\n答案是7。", "7"),
        ("\n\n答案：7", "7"),
    ):
        parsed = PARAGRAPHS.parse("3 + 4 = 7" + ending)
        assert parsed.complete and parsed.answer == answer, ending
        assert final_answer("3 + 4 = 7" + ending) == answer


def test_an_answer_line_is_no_step_and_a_sentence_is_one():
    assert PARAGRAPHS.parse("3 + 4 = 7\n\nAnswer: 7").steps == ("3 + 4 = 7",)
    assert PARAGRAPHS.parse("3 + 4 = 7\n\nSo the answer is 7.").steps == ("3 + 4 = 7", "So the answer is 7.")


def test_what_is_not_whole_says_why():
    for text, reason, fault in (
        ("3 + 4 = 7\n\nSo the ans", "length", "cut at the token limit"),
        ("3 + 4 = 7\n\nThat is all.", "stop", "no final answer"),
        ("Answer: 7", "stop", "no step"),
        ("", "stop", "no step"),
        ("<think>3 + 4", "stop", "the thought never ends"),
        ("3 + 4 = 7\n\nThe answer is 7.", "control_token", "a control token among the words"),
    ):
        parsed = PARAGRAPHS.parse(text, reason)
        assert not parsed.complete and parsed.fault == fault
    assert NUMBERED.parse("No number.\n\nThe answer is 7.").fault == "a form that cannot be read"
    assert TAGGED.parse("<step>a</step><answer>7</answer> done").fault == "a form that cannot be read"


def test_a_thought_is_set_apart_in_every_format():
    for step_format in FORMATS:
        text = step_format.render(("3 * 4 = 12", "12 - 2 = 10"), "10")
        for thought in ("<think>Hm.\n\nStep 1: 7?</think>\n\n", "Hm. The answer is 5.</think>\n\n"):
            parsed = step_format.parse(thought + text)
            assert parsed.steps == ("3 * 4 = 12", "12 - 2 = 10") and parsed.answer == "10" and parsed.complete
            assert parsed.thought.startswith("Hm.")


def test_an_open_step_ends_where_the_next_one_would_begin():
    prefix = ("3 * 4 = 12",)
    for step_format in FORMATS:
        text = step_format.render(("3 * 4 = 12", "12 - 2 = 10", "10 / 5 = 2"), "2")
        rest = text[len(step_format.render_prefix(prefix)) :]
        stop = next(stop for stop in step_format.step_stops(1) if stop in rest)
        assert step_format.parse_open_step(rest[: rest.index(stop)], prefix) == "12 - 2 = 10"
        assert not step_format.is_step_end(" ")
    assert not PARAGRAPHS.is_step_end("We have\n\\[\nx = 1")
    assert PARAGRAPHS.is_step_end("We have\n\\[\nx = 1\n\\]")
    assert PARAGRAPHS.parse_open_step("Answer: 7") is None


def test_a_continuation_that_changes_the_last_step_is_not_read():
    assert NUMBERED.parse("and more of step 1\n\nStep 2: b\n\nAnswer: 7", prefix=("a",)).fault
    assert NUMBERED.parse("The answer is 7.", prefix=("a",)).complete


def test_a_policys_format_is_found_from_its_responses():
    for step_format in FORMATS:
        solutions = (("3 * 4 = 12", "12 - 2 = 10"), ("1 + 1 = 2", "2 + 2 = 4", "4 + 4 = 8"))
        responses = [(step_format.render(steps, "10"), "stop") for steps in solutions]
        choice = choose_step_format([*responses, ("I do not know.", "stop")])
        assert choice.step_format == step_format
        assert choice.num_responses == 3 and choice.num_complete[step_format.name] == 2


def test_paragraphs_of_several_lines_stay_whole_where_a_policy_writes_them():
    paragraphs = ("a = 1\nb = 2\n\nc = 3\n\nThe answer is 3.", "stop")
    lines = ("a = 1\nb = 2\nThe answer is 3.", "stop")
    assert choose_step_format([paragraphs, lines]).step_format == PARAGRAPHS
    assert choose_step_format([lines, lines]).step_format == LINES


def test_numbered_headers_of_many_kinds_are_found():
    for first, second, header in (
        ("Step 1: a", "Step 2: b", "Step {n}: "),
        ("**Step 1:** a", "**Step 2:** b", "**Step {n}:** "),
        ("**Step 1**: a", "**Step 2**: b", "**Step {n}**: "),
        ("### Step 1:\na", "### Step 2:\nb", "### Step {n}:\n"),
        ("1. a", "2. b", "{n}. "),
        ("1) a", "2) b", "{n}) "),
        ("(1) a", "(2) b", "({n}) "),
        ("第一步：a", "第二步：b", "第{n}步："),
        ("步骤1：a", "步骤2：b", "步骤{n}："),
    ):
        choice = choose_step_format([(f"{first}\n\n{second}\n\nThe answer is 7.", "stop")])
        assert choice.step_format.name == "numbered" and choice.step_format.header == header
        assert choice.step_format.parse(f"{first}\n\n{second}\n\nAnswer: 7").steps == ("a", "b")


def test_years_and_decimals_are_no_headers():
    assert (
        choose_step_format([("1.5 + 1 = 2.5\n\n2.5 is the sum.\n\nThe answer is 2.5.", "stop")]).step_format
        == PARAGRAPHS
    )


def test_a_preamble_belongs_to_the_first_step():
    text = "Let us solve it:\n\n1. 3 * 4 = 12\n2. 12 - 2 = 10\n\nThe answer is 10."
    parsed = LISTED.parse(text)
    assert parsed.steps == ("Let us solve it:\n\n1. 3 * 4 = 12", "12 - 2 = 10", "The answer is 10.")
    assert text.startswith(LISTED.render_prefix(parsed.steps[:2]))


def test_nothing_readable_is_taken_for_paragraphs():
    choice = choose_step_format([("hm", "length")])
    assert choice.step_format == PARAGRAPHS and set(choice.num_complete.values()) == {0}


def test_one_solution_is_read_in_whatever_format_it_has():
    assert read_solution("A=22\nB=61").steps == ("A=22", "B=61")
    assert read_solution("A=22\n\nB=61\nC=3").steps == ("A=22", "B=61\nC=3")
    assert read_solution("<step>A=22</step><step>B=61</step><answer>1</answer>").steps == ("A=22", "B=61")
    assert read_solution("Step 1: A=22\n\nStep 2: B=61").steps == ("A=22", "B=61")


def test_the_paragraphs_of_a_thought_are_steps_of_their_own():
    parsed = PARAGRAPHS.parse("<think>\nFirst:\n\n$$\nx\n\n= 1\n$$\n\n1. then\n2. this\n</think>\n\nx = 1\n\nAnswer: 1")
    assert parsed.thought_steps == ("First:", "$$\nx\n\n= 1\n$$", "1. then\n2. this") and parsed.steps == ("x = 1",)
    assert PARAGRAPHS.parse("x = 1\n\nAnswer: 1").thought_steps == ()
    assert solution_steps("<think>a</think><step>x</step><answer>1</answer>", thoughts=True) == ("a", "x")
    assert solution_steps("<think><step>a</think>x\ny") == ("x", "y")


def test_a_numbered_thought_says_nothing_of_the_solution():
    text = "<think>\n1. look\n2. think\n</think>\n\n### Step 1:\na\n\n### Step 2:\nb\n\nThe answer is 7."
    assert choose_step_format([(text, "stop")]).step_format.header == "### Step {n}:\n"


def test_faults_are_counted_most_frequent_first():
    counts = count_faults(["no step", None, "no step", "", "", "cut at the token limit"])
    assert list(counts.items()) == [("reason not recorded", 3), ("no step", 2), ("cut at the token limit", 1)]
    assert fault_words(
        {"no step": 1, "no final answer": 1200}
    ) == "1,200 no final answer, 1 no step" and not fault_words({})


def test_formats_are_named_and_saved():
    for step_format in FORMATS:
        assert read_step_format(step_format.to_dict()) == step_format
        assert read_step_format(step_format.identity) == step_format
        assert read_step_format(step_format) is step_format
    assert read_step_format("lines") == LINES
    with pytest.raises(ValueError, match="Unknown step format 'paragraph'. Did you mean 'paragraphs'?"):
        read_step_format("paragraph")
    with pytest.raises(
        ValueError, match="Unknown option 'headers' of the step format 'numbered'. Did you mean 'header'?"
    ):
        read_step_format({"name": "numbered", "headers": "{n}."})
    with pytest.raises(ValueError, match="It needs {n} once"):
        NumberedFormat("Step")
    with pytest.raises(ValueError, match="Steps are separated by line breaks"):
        NumberedFormat(separator=" ")


def test_every_format_can_be_asked_for_and_shows_an_example_that_it_reads():
    for step_format in STEP_FORMATS.values():
        text = step_format.instruction(with_example=True)
        assert text.startswith(step_format.instruction())
        assert step_format.parse(text.partition("\n\nwrite\n\n")[2]).complete


def test_hostile_texts_take_no_more_than_linear_time():
    for piece in ("$$\n", "\\begin{a}\n", "```\n", "| a |\n", "a\n\n", "1. a\n", "<think>", "Answer: \n", "\n"):
        for step_format in (PARAGRAPHS, LINES, LISTED):
            step_format.parse(piece * 5_000)  # quadratic would take minutes
