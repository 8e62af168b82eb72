"""The rule verifier: typed values, choices, words, formulas, hostile text, threads."""

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.answer_pairs import CHOICES, UNDECIDED, VALUES

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Verdict


def verdict(gold, answer, **settings):
    return RuleVerifier().verify(answer, gold, **settings)


def verdicts(gold, answers, **settings):
    return {answer: str(verdict(gold, answer, **settings)) for answer in answers}


def test_values_in_other_forms_are_right_and_near_misses_wrong():
    for gold, right, wrong in VALUES:
        assert verdicts(gold, right) == dict.fromkeys(right, "correct"), gold
        assert verdicts(gold, wrong) == dict.fromkeys(wrong, "incorrect"), gold


def test_choices_are_read_as_letters_and_as_values():
    for gold, options, *answers_by_verdict in CHOICES:
        for answers, expected in zip(answers_by_verdict, ("correct", "incorrect", "undecided"), strict=True):
            found = verdicts(gold, answers, answer_type="choice", options=options)
            assert found == dict.fromkeys(answers, expected), gold


def test_what_a_reader_could_take_either_way_is_left_to_a_judge():
    for gold, answer, options in UNDECIDED:
        assert verdict(gold, answer, options=options) == "undecided", (gold, answer)
    assert verdict("isosceles", "isoceles") == "undecided"
    assert verdict("blue and red", "red") == "undecided"
    assert verdict("4", "between the 4 corners and the 6 sides") == "undecided"
    assert verdict("\\frac{", "5") == "undecided"
    assert verdict("6", "6 \\text{ or") == "undecided"
    assert verdict("\\frac{1}{2}", "\\frac{1") == "undecided"
    assert verdict("\\frac{1}{2}", "\\frac{3") == "incorrect"
    assert verdict("D", "(D) 71", options=["50", "52", "54", "56"]) == "undecided"
    assert verdict("D", "(C) 71", options=["50", "52", "54", "56"]) == "incorrect"


def test_formulas_are_compared_by_their_values():
    assert verdicts("2\\sqrt{3}", ["\\sqrt{12}", "3\\sqrt{2}"]) == {"\\sqrt{12}": "correct", "3\\sqrt{2}": "incorrect"}
    assert verdicts("8", ["2^3", "8x"]) == {"2^3": "correct", "8x": "incorrect"}
    assert verdict("$4\\pi$", "4 π") == "correct"


def test_a_choice_without_options_is_its_letter():
    assert verdict("B", "B. 30", answer_type="choice") == "correct"
    assert verdict("B", "C. 30", answer_type="choice") == "incorrect"


def test_without_a_gold_even_no_answer_is_undecided():
    for gold in (None, "", "  "):
        assert verdict(gold, "75") == verdict(gold, None) == "undecided"


def test_no_answer_to_a_gold_is_incorrect():
    for answer in (None, "", " \n", "?"):
        assert verdict("75", answer) == "incorrect"


def test_an_angle_that_is_no_option_is_wrong_and_not_misspelt():
    assert verdict("C", "288°", options=("66°", "70.5°", "72°", "75°")) == "incorrect"


def test_numbers_inside_words_are_not_named():
    assert verdict("4", "<generated.Response object at 0x10c4d5490>") == "incorrect"


def test_answers_are_rounded_only_where_the_source_gives_the_decimals():
    answers = {"0.214": "correct", "0.205": "correct", "0.22": "incorrect", "0.2": "incorrect", "0.216 m": "incorrect"}
    assert verdicts("0.21", answers, precision=2) == answers
    assert set(verdicts("0.21", answers).values()) == {"incorrect"}
    problem = Problem(id="p", question="How much?", answer="0.21", meta={"precision": 2.0})
    assert asyncio.run(RuleVerifier().judge(problem, "0.214")) is Verdict.CORRECT


def test_judge_reads_type_and_options_from_the_problem():
    problem = Problem(id="p", question="Which?", answer="B", answer_type="choice", options=("1/2", "3"))
    verifier = pickle.loads(pickle.dumps(RuleVerifier()))
    assert asyncio.run(verifier.judge(problem, "3.0")) is Verdict.CORRECT
    assert asyncio.run(verifier.judge(problem, "0.5")) is Verdict.INCORRECT


def test_formulas_are_decided_in_any_thread():
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: verdict(f"x+{n}\\sqrt{{3}}", f"\\sqrt{{{3 * n * n}}}+x"), range(2, 12)))
    assert found == [Verdict.CORRECT] * 10


HOSTILE = [
    "(" * 5000, "{" * 5000, "9" * 5000, "1," * 2000, "1:" * 2000, "(1," * 900, "a = " * 900, "\\frac" * 900,
    "\\boxed{" * 900, "\\text{" * 900, "1 " * 2000, "A," * 900, "\x00", "\ud800", "1/0", "\\frac{1}{0}", "$$", "1e99",
]  # fmt: skip


@pytest.mark.parametrize("gold", ["5", "7:35", "north"])
def test_hostile_answers_neither_raise_nor_hang_nor_win(gold):
    start = time.process_time()
    for answer in HOSTILE:
        assert verdict(gold, answer) != Verdict.CORRECT, answer[:20]
        assert isinstance(verdict(answer, gold), Verdict)
        assert isinstance(verdict("B", answer, answer_type="choice", options=["1", "x", "7"]), Verdict)
    assert time.process_time() - start < 20  # seconds of the processor; it takes less than one
