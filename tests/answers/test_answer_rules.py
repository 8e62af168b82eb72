"""What says the same and what does not: forms of one value, near misses, options, and what only a judge can tell."""

import asyncio

import pytest

from mmprm_hf.answers.verifier import RuleVerifier, answers_equivalent
from mmprm_hf.data import Problem, Verdict


def verdicts(gold, answers, **settings):
    return {answer: str(RuleVerifier().verify(answer, gold, **settings)) for answer in answers}


VALUES = [  # gold, answers that are right, answers that are wrong
    (
        "5 cm",
        [
            "5cm",
            "5.0 cm",
            "5 centimetres",
            "5厘米",
            "0.05米",
            "5 \\mathrm{~cm}",
            "\\(5\\,\\text{cm}\\)",
            "CD = 5 cm",
            "长度为5cm",
        ],
        ["5 m", "5 cm^2", "5 km", "5米", "5 kg", "5 平方厘米"],
    ),
    (
        "12 km/h",
        ["12", "12 kilometers per hour", "12 km per hour", "12 \\text{ km/h}", "12 千米/小时"],
        ["12 m/s", "12 km", "13 km/h"],
    ),
    ("-130", ["-130 km/h", "−130"], ["130 km/h", "130"]),
    ("10 m/s", ["36 km/h", "10 meters per second", "10m/s", "10 m/sec"], ["10 km/h", "11"]),
    ("60 mph", ["60", "60 miles per hour"], ["60 km/h"]),
    ("$18.90", ["18.9", "\\$18.90", "18.90 dollars", "$18.9", "18.90 USD"], ["18.09", "189"]),
    ("25%", ["25", "0.25", "1/4", "25 percent", "25％", "百分之二十五", "25 per cent"], ["75%", "2.5", "0.025"]),
    ("0.25", ["25%", "1/4", ".25", "25/100"], ["25 cm", "0.52"]),
    (
        "$60^\\circ$",
        ["60", "60°", "60 deg", "60度", "60 degrees", "\\angle A = 60^{\\circ}", "\\frac{\\pi}{3}"],
        ["30", "120°", "60'"],
    ),
    (
        "[2,5)",
        ["[2, 5)", "2 \\le x < 5", "2≤x<5", "x \\in [2,5)", "$[2,5)$", "\\left[2,5\\right)", "5 > x \\ge 2"],
        ["(2,5)", "[2,5]", "2 < x < 5", "[2,4)", "5", "2"],
    ),
    (
        "(-\\infty, 3]",
        ["x \\le 3", "x<=3", "x ≤ 3", "(-∞,3]", "( -\\infty , 3 ]"],
        ["x < 3", "x \\ge 3", "(-\\infty,3)", "3"],
    ),
    ("x > 3", ["(3, \\infty)", "(3,+∞)", "x>3", "3<x", "x \\gt 3"], ["x \\ge 3", "x < 3", "3", "x > 4", "x>2"]),
    (
        "\\{1,2,3\\}",
        ["{3,2,1}", "1, 2, 3", "\\{1, 2, 3\\}", "1,2 and 3", "{1,2,3}", "1、2、3"],
        ["{1,2}", "{1,2,4}", "123", "(1,2)"],
    ),
    (
        "(-\\infty,-2)\\cup(2,\\infty)",
        ["x<-2 or x>2", "(-\\infty,-2) \\cup (2,+\\infty)", "(-∞,-2)∪(2,∞)", "x>2 or x<-2"],
        ["(2,\\infty)", "(-2,2)", "x>2"],
    ),
    ("y=2x+1", ["2x+1", "y = 2x + 1", "y=1+2x", "2x-y+1=0", "y-2x=1"], ["y=2x-1", "2x", "x=2y+1", "y=2x"]),
    ("x^2+y^2=4", ["x^2 + y^2 - 4 = 0", "y^2+x^2=4", "x^{2}+y^{2}=2^2"], ["x^2+y^2=2", "x^2-y^2=4"]),
    ("x=\\pm 2", ["2, -2", "±2", "x=2 or x=-2", "-2 and 2", "x = 2, x = -2", "\\{-2,2\\}"], ["2", "-2", "\\pm 3"]),
    ("x_1=3, x_2=-2", ["3, -2", "x=3 or x=-2", "x_1 = 3 , x_2 = -2", "-2,3"], ["3", "x_1=3,x_2=2"]),
    ("x=3, y=-2", ["(3,-2)", "x = 3, y = -2", "x=3 and y=-2", "y=-2, x=3"], ["x=-2, y=3", "(-2,3)"]),
    (
        "7",
        [
            "seven",
            "Seven.",
            "七",
            "7个",
            "7 个",
            "共7种",
            "7 cm",
            "7.",
            "答案是7",
            "答案：7",
            "The answer is **7**.",
            "7 (seven)",
            "7",
        ],
        [
            "eight",
            "八",
            "17",
            "70",
            "seventeen",
            "seventy",
            "7 million",
            "-7",
            "7^2",
            "7x",
            "1/7",
            "7:1",
            "7 or 8",
            "77",
            "twenty-seven",
        ],
    ),
    ("21", ["twenty-one", "twenty one", "二十一"], ["twenty", "one", "21 thousand"]),
    (
        "1000000",
        ["1,000,000", "10^6", "1 million", "10^{6}", "one million", "1\\,000\\,000", "1 000 000", "1e6", "100万"],
        ["1000", "100,000"],
    ),
    ("1.5", ["3/2", "1\\frac{1}{2}", "1 1/2", "one and a half", "1½"], ["11/2", "1/2"]),
    ("0.5", ["half", "one half", "a half", "\\frac12", "1/2", "一半"], ["2", "0.05"]),
    (
        "2/3",
        ["two thirds", "two-thirds", "0.667", "0.67", "\\dfrac{2}{3}", "三分之二", "66.67%"],
        ["0.6", "3/2", "three halves"],
    ),
    ("3:4", ["3/4", "6:8", "3比4", "3∶4", "3 : 4", "0.75", "\\frac{3}{4}"], ["3:5", "4:3", "4/3", "3", "34", "3.4"]),
    ("1:\\sqrt{2}", ["1:√2", "\\sqrt{2}:2", "1 : \\sqrt{2}"], ["1:2", "\\sqrt{2}:1"]),
    ("2\\pi", ["2π", "6.28", "6.2832", "2 \\pi", "2pi", "2 \\cdot \\pi"], ["2", "\\pi", "6", "4\\pi"]),
    (
        "2\\sqrt{3}",
        ["3.46", "3.464", "\\sqrt{12}", "2√3", "2 sqrt(3)", "2sqrt3", "2\\sqrt3"],
        ["3", "2.3", "3\\sqrt{2}"],
    ),
    ("3.14", ["3.14", "3.140"], ["3.1", "3.15", "3"]),
    ("isosceles", ["Isosceles", "isosceles.", "It is isosceles"], ["scalene", "equilateral", "not isosceles", "7"]),
    ("Yes", ["yes", "yes.", "YES", "yes"], ["no", "No.", "not yes", "cannot be determined"]),
    ("north", ["North", "north."], ["south", "east"]),
    ("18:25", ["18:25", "6:25 pm", "6:25 p.m.", "18:25"], ["6:25 am", "18:52", "8:25"]),
    ("2 h 30 min", ["150 minutes", "2.5 hours", "2小时30分钟", "2 hr 30 min", "2h30min"], ["2 h", "30 min", "230"]),
    ("5 ft 3 in", ["63 inches", "5 feet 3 inches", "5 ft 3 in"], ["5 ft", "3 in", "53"]),
    ("A", ["A"], ["B"]),
    ("AB=5", ["5", "AB=5", "$AB = 5$"], ["CD=5", "AB=6", "BA"]),
    ("ABC", ["ABC", "ABC."], ["ACB", "BCA"]),
    ("3x+2y", ["2y+3x", "3x + 2y"], ["3x-2y", "2x+3y"]),
    ("(x-1)(x+2)", ["x^2+x-2", "(x+2)(x-1)"], ["x^2-x-2"]),
    ("1,2", ["1 and 2", "2, 1", "1, 2", "1 or 2", "1和2", "1与2"], ["2", "1", "1,2,3", "12", "1.2"]),
    ("(1,2)", ["(1, 2)", "\\left(1,2\\right)", "P(1,2)", "（1，2）", "x=1, y=2"], ["(3,2)", "(2,1)", "1"]),
    ("3 and 4", ["4 and 3", "3, 4"], ["3", "4", "34", "7"]),
    ("10^9", ["1000000000", "10⁹", "1 billion", "10^{9}"], ["10^8", "109"]),
    ("2^{10}", ["1024", "2^10"], ["20", "210"]),
    ("5!", ["120"], ["5"]),
    (
        "\\frac{3\\sqrt{3}}{2}",
        ["1.5\\sqrt{3}", "\\frac{3}{2}\\sqrt{3}", "2.598", "3\\sqrt{3}/2", "\\dfrac{3 \\sqrt 3}{2}"],
        ["\\frac{3}{2}", "3\\sqrt{3}"],
    ),
    ("\\sin 30^\\circ", ["0.5", "1/2", "\\frac12"], ["1"]),
    ("none", ["None", "none."], ["all", "5"]),
    ("Saturday", ["saturday", "Saturday.", "on Saturday", "Saturday"], ["Sunday", "Monday"]),
    ("red and blue", ["blue and red", "red, blue", "Red and blue."], ["green"]),
    ("<", ["<", "\\lt", "\\(<\\)"], [">", "="]),
    ("4 \\text{ units}", ["4", "4 units"], ["5"]),
    ("40 square units", ["40", "40 square units", "40 sq units", "40 units^2"], ["40 cubic units", "41"]),
    ("$\\dfrac{1}{x+1}$", ["1/(x+1)", "\\frac{1}{1+x}", "(x+1)^{-1}"], ["1/x+1", "x+1"]),
    ("0", ["0", "zero", "零", "0.0", "0 cm"], ["1", "no", "10"]),
    ("2.50", ["2.5", "$2.50", "5/2"], ["2.05", "25"]),
    ("1/3", ["0.333", "0.33", "33.3%", "33\\frac{1}{3}\\%"], ["0.3", "0.34", "3"]),
    ("72", ["72 cm²", "72 square cm", "72\\ \\mathrm{cm}^2", "72 cm^2"], ["27", "7.2"]),
    ("x=5", ["5", "x = 5", "x=5.0", "x equals 5", "x is 5"], ["y=5", "x=6"]),
    ("n^2", ["n^2", "n\\cdot n", "n²"], ["2n", "n"]),
    ("\\emptyset", ["\\varnothing", "∅", "\\emptyset", "\\emptyset"], ["0", "1"]),
    ("no solution", ["No solution", "no solution."], ["0", "5", "x=2"]),
    ("\\infty", ["∞", "\\infty"], ["-\\infty", "0"]),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), VALUES, ids=[gold for gold, _, _ in VALUES])
def test_values(gold, right, wrong):
    assert verdicts(gold, right) == dict.fromkeys(right, "correct")
    assert verdicts(gold, wrong) == dict.fromkeys(wrong, "incorrect")


CHOICES = [  # gold letter, options, answers that are right, answers that are wrong
    (
        "C",
        ["10", "20 cm", "$\\frac{1}{2}$", "Saturday", "14"],
        [
            "C",
            "(C)",
            "c",
            "C)",
            "C.",
            "\\boxed{C}",
            "**C**",
            "Option C",
            "The answer is C.",
            "选C",
            "答案：C",
            "0.5",
            "1/2",
            "50%",
            "(C) 0.5",
            "C: 1/2",
            "\\text{(C) }\\frac12",
            "Choice (C)",
            "【C】",
            "C、0.5",
            "the answer is (C) because...",
            "It's C",
        ],
        ["A", "B", "(A) 10", "10", "D or C", "all except C", "A and C", "not C", "neither"],
    ),
    ("E", ["10", "20 cm", "$\\frac{1}{2}$", "Saturday", "14"], ["14", "E", "E. 14", "fourteen"], ["41", "D"]),
    (
        "D",
        ["10", "20 cm", "$\\frac{1}{2}$", "Saturday", "14"],
        ["Saturday", "(D)", "saturday", "It is Saturday", "on Saturday", "D"],
        ["Sunday", "Friday or Saturday"],
    ),
    (
        "C",
        ["1:3", "3:8", "5:12", "7:16", "4:9"],
        ["5:12", "\\frac{5}{12}", "5/12", "(C)", "5 : 12", "5比12", "5 to 12"],
        ["5:11", "12:5", "12/5", "7/16"],
    ),
    (
        "A",
        ["increases", "decreases", "stays the same", "cannot be determined"],
        ["increases", "It increases", "A", "(A) increases", "Increases."],
        ["decreases", "B", "does not increase", "it increases and decreases"],
    ),
    (
        "D",
        ["increases", "decreases", "stays the same", "cannot be determined"],
        ["cannot be determined", "It cannot be determined.", "D"],
        ["A"],
    ),
    (
        "A",
        ["$2\\sqrt{3}$", "$3\\sqrt{2}$", "$4\\pi$", "$6$", "$\\frac{\\pi}{2}$"],
        ["2\\sqrt{3}", "\\sqrt{12}", "2√3", "3.464", "A"],
        ["3\\sqrt{2}", "6", "B"],
    ),
    (
        "C",
        ["$2\\sqrt{3}$", "$3\\sqrt{2}$", "$4\\pi$", "$6$", "$\\frac{\\pi}{2}$"],
        ["4π", "12.57", "(C) 4\\pi", "4 \\pi cm"],
        ["2\\pi", "4", "12"],
    ),
    ("E", ["Amy", "Bert", "Carl", "Doris", "Ernst"], ["Ernst", "E", "E. Ernst", "Ernst."], ["Bert", "Amy", "Emily"]),
    (
        "B",
        ["$x>3$", "$x\\ge 3$", "$x<3$", "$x \\le 3$"],
        ["x\\ge 3", "[3,\\infty)", "x≥3", "3 \\le x", "B"],
        ["x>3", "(3,\\infty)", "x<=3", "A"],
    ),
    (
        "B",
        ["2 only", "1 and 2", "1 and 3", "1, 2 and 3"],
        ["1 and 2", "B", "1, 2", "2 and 1"],
        ["2", "1 and 3", "1, 2 and 3", "3"],
    ),
    ("A", ["2 only", "1 and 2", "1 and 3", "1, 2 and 3"], ["2 only", "A", "only 2"], ["1 and 2", "1"]),
]


@pytest.mark.parametrize(("gold", "options", "right", "wrong"), CHOICES)
def test_choices(gold, options, right, wrong):
    assert verdicts(gold, right, answer_type="choice", options=options) == dict.fromkeys(right, "correct")
    assert verdicts(gold, wrong, answer_type="choice", options=options) == dict.fromkeys(wrong, "incorrect")


@pytest.mark.parametrize(
    ("gold", "answer", "options"),
    [
        ("7", "there are seven apples", ()),
        ("70", "70-75", ()),
        ("0", "x^2+y^2-4=0", ()),
        ("5", "9^{9^{9^9}}", ()),
        ("north", "北", ()),
        ("E", "另一个数", ("2", "4", "5", "6", "another number")),
        ("E", "Ernest", ("Amy", "Bert", "Carl", "Doris", "Ernst")),
        ("D", "(D) 160°", ("$48^\\circ$", "$60^\\circ$", "$72^\\circ$", "$80^\\circ$", "$90^\\circ$")),
        ("E", "(C) 14", ("10", "11", "12", "13", "14")),
    ],
)
def test_what_rules_leave_to_a_judge(gold, answer, options):
    assert verdicts(gold, [answer], options=options) == {answer: "undecided"}


def test_an_angle_that_is_no_option_is_wrong_and_no_misspelling():
    assert verdicts("C", ["288°"], options=("66°", "70.5°", "72°", "75°")) == {"288°": "incorrect"}


def test_numbers_inside_words_are_not_named():
    assert verdicts("4", ["<generated.Response object at 0x10c4d5490>"]) == {
        "<generated.Response object at 0x10c4d5490>": "incorrect"
    }


def test_answers_are_rounded_only_where_the_source_says_to_how_many_decimals():
    answers = {"0.214": "correct", "0.205": "correct", "0.22": "incorrect", "0.2": "incorrect", "0.216 m": "incorrect"}
    assert verdicts("0.21", answers, precision=2) == answers
    assert set(verdicts("0.21", answers).values()) == {"incorrect"}
    problem = Problem(id="p", question="How much?", answer="0.21", meta={"precision": 2.0})
    assert asyncio.run(RuleVerifier().judge(problem, "0.214")) is Verdict.CORRECT


def test_votes_keep_names_apart():
    assert not answers_equivalent("AB = 5", "CD = 5")
    assert answers_equivalent("AB = 5", "BA = 5.0")
    assert answers_equivalent("2\\sqrt{3} cm", "3.464")
