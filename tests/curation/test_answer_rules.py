"""Rules about answers: for each, problems that fail it, and problems that only look as if they did."""

from __future__ import annotations

import dataclasses

from support.raw_problems import GOOD, failed_criterion

from mmprm_hf.curation.answer_rules import answer_type

SEVERAL_PARTS = [
    "(1) Find the angle A. (2) Find the angle B.",
    "As shown: (a) What is the area? (b) What is the perimeter?",
    "如图所示. (1) 求证 AB = CD; (2) 求角 A 的度数.",
    "See the table.\n1. How many apples are there?\n2. How many pears are there?",
    "a) Determine x in the figure.\nb) Determine y.",
    "In the figure: (i) find AB (ii) find BC",
    "See the figure. a) What is the area? b) What is the perimeter?",
    "See the table. 1. How many apples are there? 2. How many pears are there?",
    "As drawn. Part A: What is x? Part B: What is y?",
    "Question 1: Find x in the figure. Question 2: Find y.",
    "如图, ①求角 A 的度数; ②求角 B 的度数.",
    "如图, AB 是直径(1)求半径;(2)求周长.",
]
ONE_PART = [
    "Which of the statements (1) a is even, (2) b is odd holds in the figure?",
    "The pieces (a) and (b) are put together. What do you see?",
    "Points are marked 1. and 2. in the figure. How far are they apart?",
    "f(1) = 3 and f(2) = 5. What is the slope of the line shown?",
    "有下列命题: ① a > b; ② c > d, 如图, 其中正确的是",
    "As shown in Figure (1), how can the square be cut into Figure (2)? Find the length.",
    "Find f (1) if the graph shows f (2) and what is drawn.",
    "The lines I and II are shown. What is the angle?",
]


def test_a_question_has_one_part():
    for question in SEVERAL_PARTS:
        assert failed_criterion(question=question) == "multi_part", question
    for question in ONE_PART:
        assert failed_criterion(question=question) is None, question


def test_an_answer_is_one_answer():
    statements = "有下列说法: (1) 能求出图中 AB; (2) 可计算面积. 正确的有"
    options = ("1", "2", "3")
    for problem in (
        {"question": "What is the perimeter shown? What is the area?", "answer": "14 and 12"},
        {"question": "The perimeter drawn is ____ and the area is ____.", "answer": "14; 12"},
        {"options": options, "answer": "BC"},
        {"options": options, "answer": "A and B"},
        {"answer": "(1) 5; (2) 6"},
    ):
        assert failed_criterion(**problem) == "multi_part", problem
    for problem in (
        {"question": "Which two weigh the same in the picture?", "answer": "3 and 4"},
        {"options": ("AB", "BC", "CD"), "answer": "BC"},
        {"question": statements, "options": options, "answer": "B"},
        {"answer": "(1, 2)"},
    ):
        assert failed_criterion(**problem) is None, problem


def test_options_are_whole_and_the_answer_is_one_of_them():
    for options, answer, expected in [
        ((), "C", "choice_without_options"),
        ((), "(B)", "choice_without_options"),
        ((), "x", None),
        (("10", "20", "30"), "C", None),
        (("10", "20", "30"), "D", "answer_not_among_options"),
        (("10", "20", "30"), "20", None),
        (("10", "20", "30"), "25", "answer_not_among_options"),
        (("$03$", "1006", "504"), "C", "options_damaged"),
        (("10", "", "30"), "C", "options_damaged"),
        (("0.3", "0", "0.03"), "C", None),
        (("0110", "1001", "0101"), "C", None),
        (("05", "17", "29"), "C", None),
        (("(1) and (2)", "(1) and (3)", "(2) and (3)"), "C", None),
        (("5", "5%", "$5\\degree$"), "C", None),
        (("10",), "A", "options_damaged"),
        (("10", "$10$", "30"), "C", "options_repeated"),
        (("A", "B", "C"), "B", None),
    ]:
        assert failed_criterion(options=options, answer=answer) == expected, (options, answer)


def test_an_answer_can_be_verified():
    for answer in ("12 cm", "\\frac{16}{7}", "isosceles triangle", "等腰三角形", "="):
        assert failed_criterion(answer=answer) is None, answer
    for answer in (
        "略",
        "见解析",
        "See solution",
        "Answers will vary",
        "N/A",
        "?",
        "as shown in the figure",
        "Because the two triangles share a base they must have equal areas",
        "因为这两个三角形的底相同而且高也相同所以它们的面积是一样大的",
    ):
        assert failed_criterion(answer=answer) == "answer_unverifiable", answer


LEAKS = [
    ("What is the area shown? Answer: 12", "12"),
    ("What is the area shown? The answer is $12$.", "12"),
    ("如图, 求面积. 故选: C", "C"),
    ("如图, 求面积.【解答】解: 由图", "12"),
    ("The area is \\boxed{12}. What is it?", "12"),
    ("Find x in the figure. The answer is 12.", "12"),
    ("Find x in the figure. Answer: x = 12", "12"),
    ("Find x in the figure. Solution: x=12", "12"),
    ("Find x in the figure. <answer>12</answer>", "12"),
    ("如图, 求 x. 解：x=12", "12"),
    ("如图, 求 x. 答：12", "12"),
    ("如图, 求面积. 故选 C.", "C"),
    ("如图, x 的值是（C）", "C"),
    ("Which is shown? Correct option: C", "C"),
    ("Which is shown? Answer: 14", "C"),  # the text of option C
]
NO_LEAKS = [
    ("What is the area shown? The answer is a whole number.", "12"),
    ("What is the area shown? Answer: 120 or 130", "12"),
    ("Side 12 is shown. What is the area?", "12"),
    ("Give your answer as a fraction of the shaded area.", "12"),
    ("What is the shaded area?\nAnswer: ______ cm^2", "12"),
    ("What is the shaded area?\nAnswer:", "12"),
    ("What is shown? If the answer is a fraction, simplify.", "A"),
    ("The table shows:\nSolution: salt 5 g. What is the rest?", "12"),
]


def test_a_question_does_not_state_its_answer():
    for cases, expected in ((LEAKS, "answer_leaked"), (NO_LEAKS, None)):
        for question, answer in cases:
            options = ("10", "12", "14") if answer in ("A", "C") else ()
            assert failed_criterion(question=question, answer=answer, options=options) == expected, question


def test_answer_types():
    types = [answer_type(dataclasses.replace(GOOD, answer=answer)) for answer in ("12 cm", "\\frac{1}{2}", "red")]
    assert types == ["number", "number", "text"]
    assert answer_type(dataclasses.replace(GOOD, options=("1", "2"))) == "choice"
