"""Kinds of answers that verifiers get wrong, in the words of a user: the right value and its wrong neighbours."""

import pytest

from mmprm_hf.answers import RuleVerifier, extract_answer

KINDS = {  # gold: (right answers, wrong ones, undecided ones)
    "signs and relations between words count": [
        ("F is 90°-α", ["F is 90° - α", "F is -α+90°"], ["F is 90°+α", "F is 90°-β"], []),
        ("-5°C", ["-5 °C", "−5°C"], ["5°C", "-5°F"], []),
        ("\\sin(x)-2", ["-2+\\sin x"], ["\\sin(x)+2", "\\sin(x)-3", "\\cos(x)-2"], []),
        ("AB∥CD", ["AB ∥ CD"], ["AB⊥CD"], []),
        ("x<3 and y>2", ["y>2 and x<3"], ["x>3 and y<2", "x<3 and y<2"], []),
        ("all real numbers except 4", ["all real numbers except 4."], ["all real numbers except -4"], []),
        ("P(A|B) grows", ["P(A|B) grows."], ["P(B|A) grows"], []),
        ("The slope is -0.52.", ["the slope is -0.52", "-0.52"], ["The slope is 0.52.", "0.52"], []),
    ],
    "names are not fillers": [
        ("Player", ["player"], [], ["Player A"]),
        ("Player A", ["player A"], ["Player B"], ["Player"]),
    ],
    "a formula is read to its end": [
        ("1-\\frac{3}{\\mathrm e}", ["1-3/e", "\\frac{\\mathrm{e}-3}{e}"], ["1+\\frac{3}{\\mathrm e}"], []),
        ("6.2 × 10^-19 C", ["6.2 \\times 10^{-19} C"], ["7.9 × 10^-19 C", "6.2 × 10^-18 C"], []),
        ("2,000,000 J", ["2 000 000 J", "2 × 10^6 J"], ["2,000 J"], []),
        ("0.\\overline{3}", ["1/3", "0.\\overline{33}"], ["0.\\overline{6}", "0.3"], []),
        ("3\\%", ["0.03", "3 percent"], ["0.3"], ["3\\permil"]),
        ("\\frac{13}{5,\\!525}", ["13/5525"], ["\\frac{23}{5,\\!525}"], []),
        ("3 \\uparrow 4 \\uparrow 5", ["3\\uparrow4\\uparrow5"], ["3 \\uparrow 4 \\downarrow 5"], []),
        ("0.5 1.5 2.5", ["0.5  1.5  2.5"], ["1.5 0.5 2.5"], []),
    ],
    "letters are names, not units": [
        ("a+3", ["3 + a"], ["a+3d", "a+3m"], []),
        ("6", ["6 cm"], ["6t", "6x"], ["6 N"]),
        ("7 N", ["7.0 N", "7N"], ["8 N", "7 J", "7 kN"], ["7"]),
    ],
    "a numeral has its base": [("12_6", ["12_{6}"], ["12_5", "13_6"], ["12", "8"])],
    "equations are the same when they are multiples of each other": [
        ("x^2-4x+9=0", ["2x^2-8x+18=0", "9+x^2=4x"], ["x^2+4x+9=0", "x^2-4x+9=1"], []),
        ("x^2+3=0", ["3+x^2=0"], ["x^2+4=0"], []),
        ("3^2=9", ["9 = 3^2"], ["3^2=8"], ["4+5=9"]),
        ("y=2x+1", ["f(x) = 2x+1", "4x-2y+2=0"], ["x=2y+1", "y=2x-1"], []),
        ("x+y<3", ["3>y+x", "2x+2y<6"], ["x+y>3", "x+y\\le 3", "x-y<3"], []),
    ],
    "more than and not are no values": [
        ("20",
         ["exactly 20 of them"],
         ["less than 20", "minus 20", "The answer is not 20", "不等于20"],
         ["all but 20", "step 20: add"]),
        ("-5", ["minus 5", "negative five"], ["5", "five"], []),
        ("Monday", ["It is Monday."], ["not Monday"], ["It is Monday, not Tuesday"]),
        ("8", ["so there are 8 of them"], ["x = 8 is not a solution", "at most 8"], []),
    ],
    "nouns and their order count": [
        ("3 triangles", ["3", "three triangles", "3 triangle"], ["4 triangles"], ["3 squares"]),
        (
            "10 red and 20 blue ones",
            ["20 blue ones and 10 red"],
            ["20 red and 11 blue ones"],
            ["10 blue and 20 red ones"],
        ),
        ("Bb × BB", ["Bb × BB"], ["BB × BB", "bb × BB"], []),
    ],
    "orders and hyphens are not computed": [
        ("5-4-3-2-1", ["5-4-3-2-1"], ["5-2-3-1-4", "5-4-2-3-1"], ["-5"]),
        ("11-15", ["11-15"], ["21-25"], ["-4"]),
        ("2 × 12", ["12 × 2", "24"], ["3 × 12"], ["4 × 6"]),
    ],
    "cleaning keeps values": [
        ("8", ["2**3", "**8**", "2^3"], ["23", "2*3**2"], []),
        ("0.125", ["0.125"], ["125"], ["0,125"]),
        ("5 e", ["5\\mathrm{e}"], ["5", "500000"], []),
        ("3110400", ["3,\\!110,\\!400", "3,\\! 110,\\! 400", "3\\,110\\,400"], ["3,\\!110"], []),
        ("\\$15", ["15", "15 dollars"], ["\\$16", "15 min"], []),
    ],
    "matrices are compared by their values": [
        (
            "\\begin{pmatrix} -1 \\\\ 2/3 \\end{pmatrix}",
            ["\\begin{bmatrix}-1\\\\\\frac{2}{3}\\end{bmatrix}",
             "The vector is $\\begin{pmatrix}-1\\\\2/3\\end{pmatrix}$."],
            ["\\begin{pmatrix} 1 \\\\ 2/3 \\end{pmatrix}", "\\begin{pmatrix} -1 & 2/3 \\end{pmatrix}"],
            [],
        ),
        ("\\begin{pmatrix}0&0\\\\0&0\\end{pmatrix}", [], ["0", "\\begin{pmatrix}0\\\\0\\end{pmatrix}"], []),
    ],
    "several boxes are a list": [
        ("3, 4",
         ["\\boxed{3} and \\boxed{4}", "$\\boxed{4}$, $\\boxed{3}$"], ["\\boxed{3}. No, \\boxed{4}", "\\boxed{4}"], []),
        ("\\boxed{3} and \\boxed{4}", ["4, 3"], ["3"], []),
    ],
    "complex numbers and functions have their values": [
        ("2+3i", ["3 i + 2", "i(3-2i)"], ["2-3i", "3+2i"], []),
        ("10", ["(3+i)(3-i)"], ["(3+i)(3+i)"], []),
        ("ln(3)", ["\\ln 3", "-\\ln(1/3)"], ["\\ln 2"], ["\\log 3"]),
        ("\\frac{\\pi}{4}", ["arctan(1)"], ["arctan(2)"], []),
        ("5", ["abs(-5)", "|2-7|"], ["abs(-6)"], []),
        ("exp(4)", ["e^4"], ["e^{-4}"], []),
    ],
    "a sentence states its value": [
        ("6\\sqrt{2}",
         ["The length of \\(AB\\) is \\(6\\sqrt{2}\\).", "so it is $6\\sqrt2$ cm"], ["The area is $2\\sqrt{6}$"], []),
        (
            "20",
            ["They need 20 workers for it.", "So 20 workers are needed."],
            ["Therefore, he needs 21 hours."],
            ["Therefore, it takes 21 hours for 20 workers.", "If 5 need 9 hours, 30 workers in 4 hours need 20."],
        ),
        ("20", ["Therefore, 20 workers are needed to make 7 of them in 4 hours."], [], []),
        ("12", ["They have 12 of them."], [], ["He buys 3 bags of 12 apples."]),
        ("858", ["26袋有33颗，因此一共有**858颗**糖果。", "所以他有858颗糖。"], ["所以他有857颗糖。"], []),
        ("x \\ge 5", ["Therefore $x \\geq 5$ is the solution."], ["Therefore $x < 5$ is the solution."], []),
        ("5, 15", ["Hence the values are $n = 5$ and $n = 15$."], ["Hence the values are $n = 5$ and $n = 16$."], []),
    ],
    "functions are the same under another variable": [
        ("f(x)=2x and f(x)=-x", ["f(x) = -x, f(x) = 2x"], ["f(x)=2x and f(x)=x"], []),
        ("f(x)=2x", ["f(t) = 2t", "2x"], ["f(x)=3x", "f(2)=4"], []),
    ],
    "what a value is the value of counts": [
        ("AB = 5", ["5", "BA = 5"], ["CD = 5", "AB = 6"], ["Length of CD = 5"]),
        ("Area of ABC = 7", ["7", "area of ABC = 7"], ["Area of ABC = 8"], ["Area of DEF = 7"]),
    ],
    "clock times have seconds": [("20:34", ["20:34:00", "8:34 pm"], ["20:34:01", "20:43"], [])],
    "number words have any length": [
        ("999999", ["nine hundred ninety-nine thousand nine hundred ninety-nine"], ["nine hundred thousand"], []),
        ("1000000000", ["one thousand million", "十亿"], ["one million"], []),
        ("100030000", ["一亿零三万"], ["一亿零三"], []),
        ("10010", ["一万零十"], ["10000"], []),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_right_verdict(kind):
    verify = RuleVerifier().verify
    for gold, *answers_by_verdict in KINDS[kind]:
        for answers, expected in zip(answers_by_verdict, ("correct", "incorrect", "undecided"), strict=True):
            assert {answer: str(verify(answer, gold)) for answer in answers} == dict.fromkeys(answers, expected), gold


LETTERS = [  # gold, options, right, wrong, undecided
    ("AC", (), ["A, C", "A、C", "(A)(C)", "A and C", "C, A"], ["A", "A, B", "ABC"], []),
    ("D", (), ["It is D, it can't be A or B", "D is the answer", "D项", "选D"], ["C", "not D, but C is right"], []),
    ("B", ("1,2,3", "2,1,3", "1/2", "0.5"), ["2,1,3", "2, 1, 3", "B"], ["1,2,3", "1/2", "A"], ["3,1,2"]),
    ("C", ("1,2,3", "2,1,3", "1/2", "0.5"), ["1/2", "C"], ["D"], ["50 %", "\\frac12"]),
    ("A", ("B", "C", "D"), ["A"], ["C"], ["B"]),
    ("C", tuple(map(str, range(27))), ["2", "C"], ["3", "26"], []),
]  # fmt: skip


def test_letters_and_options():
    verify = RuleVerifier().verify
    for gold, options, *answers_by_verdict in LETTERS:
        for answers, expected in zip(answers_by_verdict, ("correct", "incorrect", "undecided"), strict=True):
            found = {a: str(verify(a, gold, answer_type="choice", options=options)) for a in answers}
            assert found == dict.fromkeys(answers, expected), (gold, options)


def test_a_misspelt_27th_option_is_no_error():
    options = [f"animal number {n} of {n * n}" for n in range(26)] + ["elephants and lions"]
    assert RuleVerifier().verify("elephants and lion", "A", answer_type="choice", options=options) == "incorrect"


def test_what_stands_last_is_the_answer():
    answers = {
        "It is \\boxed{3}. Wait, I forgot one: the answer is 4.": "4",
        "We have a = 3.\nThe answer is 7.\na = 3": "7",
        "So we get\n\\[\n9\n\\]": "\\[\n9\n\\]",
        "So we get\n$$\n9\n$$": "$$\n9\n$$",
        "**Answer:**\n\n12 cm": "12 cm",
        "The solution is an integer. Thus it is\n**6**": "**6**",
        "The roots are \\boxed{3} and \\boxed{4}.": "3, 4",
        "\\boxed{5}. This solution is clear.": "5",
    }
    assert {response: extract_answer(response) for response in answers} == answers
