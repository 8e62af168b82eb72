"""Inclusion criteria: for each, texts that fail it and texts that only look as if they did."""

from __future__ import annotations

import dataclasses

import pytest

from mmprm_hf.curation.config import CurationConfig
from mmprm_hf.curation.criteria import CRITERIA, answer_type_of, criteria_in_words, language_of, why_dropped
from mmprm_hf.curation.figures import Figure
from mmprm_hf.curation.records import RawProblem

CONFIG = CurationConfig(sources=("hub:a/b",))
GOOD = RawProblem("1", "What is the area of the shaded triangle?", "12", ("a.png",))
FIGURE = Figure((300, 200), "p", 0)


def reason(problem=GOOD, figures=(FIGURE,), config=CONFIG, **changes):
    found = why_dropped(dataclasses.replace(problem, **changes), figures, config)
    return None if found is None else found[0]


def test_a_good_problem_is_kept():
    assert reason() is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((27, 300), "figure_too_small"),
        ((28, 300), None),
        ((300, 8526), "figure_too_large"),
        ((500, 8526), None),
        ((10_001, 5000), "figure_too_large"),
    ],
)
def test_figures(size, expected):
    assert reason(figures=(FIGURE, dataclasses.replace(FIGURE, size=size))) == expected
    assert reason(figures=()) == "no_figure"


def test_length():
    assert reason(question="What is x?") == "question_too_short"
    assert reason(question="求图中角") == None  # noqa: E711 (four characters of Chinese say as much as twelve letters)
    assert reason(question="the figure " * 400) == "question_too_long"


LANGUAGES = [
    ("What is the area of the figure?", "en"),
    ("$ABCD$ square, $x=?$", "en"),
    ("Compute $\\angle ABC$", "en"),
    ("如图, 求 $x$ 的值", "zh"),
    ("図の三角形の面積を求めなさい", "ja"),
    ("삼각형의 넓이를 구하시오", "ko"),
    ("Найдите площадь треугольника", "ru"),
    ("Calculer le périmètre du triangle ci-dessous", "other"),
    ("Berechne den Flächeninhalt des gezeigten Dreiecks", "other"),
]


@pytest.mark.parametrize(("text", "language"), LANGUAGES)
def test_languages(text, language):
    assert language_of(text) == language
    config = dataclasses.replace(CONFIG, languages=("en", "zh"))
    assert (reason(question=text, config=config) == "language") == (language not in ("en", "zh"))


MULTI_PART = [
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


@pytest.mark.parametrize("question", MULTI_PART)
def test_several_parts(question):
    assert reason(question=question) == "multi_part"


@pytest.mark.parametrize("question", ONE_PART)
def test_one_part(question):
    assert reason(question=question) is None


def test_several_answers():
    assert reason(question="What is the perimeter shown? What is the area?", answer="14 and 12") == "multi_part"
    assert reason(question="The perimeter drawn is ____ and the area is ____.", answer="14; 12") == "multi_part"
    assert reason(question="Which two weigh the same in the picture?", answer="3 and 4") is None
    assert reason(options=("1", "2", "3"), answer="BC") == "multi_part"
    assert reason(options=("1", "2", "3"), answer="A and B") == "multi_part"
    assert reason(options=("AB", "BC", "CD"), answer="BC") is None
    statements = "有下列说法: (1) 能求出图中 AB; (2) 可计算面积. 正确的有"
    assert reason(question=statements, options=("1", "2", "3"), answer="B") is None
    assert reason(answer="(1) 5; (2) 6") == "multi_part"
    assert reason(answer="(1, 2)") is None


@pytest.mark.parametrize(
    ("options", "answer", "expected"),
    [
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
    ],
)
def test_options(options, answer, expected):
    assert reason(options=options, answer=answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("12 cm", None),
        ("\\frac{16}{7}", None),
        ("isosceles triangle", None),
        ("等腰三角形", None),
        ("=", None),
        ("略", "answer_unverifiable"),
        ("见解析", "answer_unverifiable"),
        ("See solution", "answer_unverifiable"),
        ("Answers will vary", "answer_unverifiable"),
        ("N/A", "answer_unverifiable"),
        ("?", "answer_unverifiable"),
        ("as shown in the figure", "answer_unverifiable"),
        ("Because the two triangles share a base they must have equal areas", "answer_unverifiable"),
        ("因为这两个三角形的底相同而且高也相同所以它们的面积是一样大的", "answer_unverifiable"),
    ],
)
def test_answers(answer, expected):
    assert reason(answer=answer) == expected


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


@pytest.mark.parametrize(("question", "answer"), LEAKS)
def test_leaks(question, answer):
    options = ("10", "12", "14") if answer == "C" else ()
    assert reason(question=question, answer=answer, options=options) == "answer_leaked"


def test_a_leaked_option():
    assert reason(question="Which is shown? Answer: 12", answer="B", options=("10", "12")) == "answer_leaked"


@pytest.mark.parametrize(("question", "answer"), NO_LEAKS)
def test_no_leaks(question, answer):
    options = ("10", "12", "14") if answer == "A" else ()
    assert reason(question=question, answer=answer, options=options) is None


@pytest.mark.parametrize(
    ("question", "options", "is_needed"),
    [
        ("What is the area of the shaded part?", (), True),
        ("如图, 求 $x$ 的值 $y=2$", (), True),
        ("Into how many pieces will the string be cut?", (), True),
        ("How many minutes after 12 is the later time?", (), True),
        ("What is the perimeter of trapezoid $ABCD$?", (), True),
        ("Which beetle has to fly away so that 20 dots remain?", (), True),
        ("Which one weighs 30 grams?", ("A", "B", "C"), True),
        ("Which one weighs 30 grams?", ("(image 2)", "(image 3)"), True),
        ("On the number line, P is at 3 and Q at 7. Where is R?", (), True),
        ("已知数轴上 A 表示 3, B 表示 7, 求 AB", (), True),
        ("正方体的棱长为2，高为3，求它的表面积", (), False),
        ("用含 $x$ 的代数式表示 $y=3x$ 的值", (), False),
        ("A train travels 60 km in 2 hours. At this speed, how far in 5 hours?", (), False),
        ("Solve the following equation: 3x + 5 = 20.", (), False),
        ("It was 5 degrees below zero and rose by 7 degrees. How warm is it?", (), False),
        ("Eve has 2 bananas and swaps each for 4 apples. How many apples?", (), False),
        ("In $\\triangle ABC$, $AB = AC$ and $\\angle A = 40$. Find $\\angle B$.", (), False),
        ("Eve has 2 bananas and swaps each for 4 apples. How many apples?", ("6", "8"), False),
    ],
)
def test_whether_a_figure_is_needed(question, options, is_needed):
    answer = "A" if options else "12"
    assert reason(question=question, options=options, answer=answer) == (None if is_needed else "figure_not_needed")
    kept = why_dropped(
        dataclasses.replace(GOOD, question=question, options=options, answer=answer),
        (FIGURE,),
        CONFIG,
        needs_figure=False,
    )
    assert kept is None


def test_words_name_the_limits():
    words = criteria_in_words(dataclasses.replace(CONFIG, min_figure_side=33, languages=("en",)))
    assert list(words) == list(CRITERIA)
    assert "below 33 pixels" in words["figure_too_small"] and words["language"].endswith("none of: en.")
    assert not any("{" in text for text in words.values())


def test_answer_types():
    types = [answer_type_of(dataclasses.replace(GOOD, answer=answer)) for answer in ("12 cm", "\\frac{1}{2}", "red")]
    assert types == ["number", "number", "text"]
    assert answer_type_of(dataclasses.replace(GOOD, options=("1", "2"))) == "choice"
