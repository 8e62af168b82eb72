"""Rules about questions: length, language, and whether the figure is needed."""

from __future__ import annotations

import dataclasses

from support.raw_problems import CONFIG, failed_criterion

from mmprm_hf.curation.config import LANGUAGES
from mmprm_hf.curation.question_rules import language_of

TEXTS = {
    "What is the area of the figure?": "en",
    "$ABCD$ square, $x=?$": "en",
    "Compute $\\angle ABC$": "en",
    "如图, 求 $x$ 的值": "zh",
    "図の三角形の面積を求めなさい": "ja",
    "삼각형의 넓이를 구하시오": "ko",
    "Найдите площадь треугольника": "ru",
    "أوجد مساحة المثلث المظلل": "ar",
    "Βρείτε το εμβαδόν του τριγώνου": "el",
    "Calculer le périmètre du triangle ci-dessous": "other",
    "Berechne den Flächeninhalt des gezeigten Dreiecks": "other",
}


def test_a_question_is_neither_too_short_nor_too_long():
    assert failed_criterion(question="What is x?") == "question_too_short"
    assert failed_criterion(question="求图中角") is None  # four characters of Chinese say as much as twelve letters
    assert failed_criterion(question="the figure " * 400) == "question_too_long"


def test_languages_are_recognised_and_only_the_wanted_ones_are_kept():
    config = dataclasses.replace(CONFIG, languages=("en", "zh"))
    for text, language in TEXTS.items():
        assert language_of(text) == language, text
        is_dropped = failed_criterion(question=text, config=config) == "language"
        assert is_dropped == (language not in ("en", "zh")), text
    assert set(TEXTS.values()) == set(LANGUAGES)


NEEDS_FIGURE = [
    ("What is the area of the shaded part?", ()),
    ("如图, 求 $x$ 的值 $y=2$", ()),
    ("Into how many pieces will the string be cut?", ()),
    ("How many minutes after 12 is the later time?", ()),
    ("What is the perimeter of trapezoid $ABCD$?", ()),
    ("Which beetle has to fly away so that 20 dots remain?", ()),
    ("Which one weighs 30 grams?", ("A", "B", "C")),
    ("Which one weighs 30 grams?", ("(image 2)", "(image 3)")),
    ("On the number line, P is at 3 and Q at 7. Where is R?", ()),
    ("已知数轴上 A 表示 3, B 表示 7, 求 AB", ()),
]
NEEDS_NO_FIGURE = [
    ("正方体的棱长为2，高为3，求它的表面积", ()),
    ("用含 $x$ 的代数式表示 $y=3x$ 的值", ()),
    ("A train travels 60 km in 2 hours. At this speed, how far in 5 hours?", ()),
    ("Solve the following equation: 3x + 5 = 20.", ()),
    ("It was 5 degrees below zero and rose by 7 degrees. How warm is it?", ()),
    ("Eve has 2 bananas and swaps each for 4 apples. How many apples?", ()),
    ("In $\\triangle ABC$, $AB = AC$ and $\\angle A = 40$. Find $\\angle B$.", ()),
    ("Eve has 2 bananas and swaps each for 4 apples. How many apples?", ("6", "8")),
]


def test_a_problem_that_does_not_refer_to_its_figure_is_dropped_unless_a_model_is_asked():
    for cases, expected in ((NEEDS_FIGURE, None), (NEEDS_NO_FIGURE, "figure_not_needed")):
        for question, options in cases:
            problem = {"question": question, "options": options, "answer": "A" if options else "12"}
            assert failed_criterion(**problem) == expected, question
            assert failed_criterion(**problem, needs_figure=False) is None, question
