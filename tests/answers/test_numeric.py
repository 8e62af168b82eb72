"""Formulas read to their ends, computed and compared: exact values, identities, and what has none."""

import math
import time
from fractions import Fraction

from support.hostile_texts import HOSTILE_TEXTS

from mmprm_hf.answers.expressions import parse
from mmprm_hf.answers.numeric import evaluate, is_close, same_formula


def test_arithmetic_is_exact_where_it_is_rational():
    values = {
        "\\frac{3}{2}-1": Fraction(1, 2),
        "\\frac12": Fraction(1, 2),
        "2\\frac{1}{2}": Fraction(5, 2),
        "-2^2": Fraction(-4),
        "10^{-3}": Fraction(1, 1000),
        "6.4 \\times 10^-19": Fraction(64, 10**20),
        "\\sqrt[3]{8}+\\sqrt{\\frac{4}{9}}": Fraction(8, 3),
        "2(3+4)": Fraction(14),
        "2^3 3^2": Fraction(72),
        "5!": Fraction(120),
        "\\binom{5}{2}": Fraction(10),
        "|3-5|": Fraction(2),
        "2^{100}+1": Fraction(2**100 + 1),
        "0.\\overline{36}": Fraction(4, 11),
        "0.1\\overline{6}": Fraction(1, 6),
        "\\lfloor \\sqrt{10} \\rfloor": Fraction(3),
        "-\\infty": -math.inf,
    }
    assert {text: evaluate(text) for text in values} == values


def test_other_numbers_have_sixty_digits():
    values = {
        "\\log_2 8": 3.0,
        "3\\frac{\\sqrt{2}}{2}": 3 * math.sqrt(2) / 2,
        "3\\sqrt{3}/2": 3 * math.sqrt(3) / 2,
        "\\sin 30 degrees": 0.5,
        "exp(16)": math.exp(16),
        "ln(2)": math.log(2),
        "arctan(1)": math.pi / 4,
        "arcsin(0.3)": math.asin(0.3),
        "\\tanh 2": math.tanh(2),
    }
    for text, value in values.items():
        assert math.isclose(evaluate(text), value, rel_tol=1e-14), text  # a float has 15 digits
    same = [
        ("\\log_2 8", "3"),
        ("\\sin 30 degrees", "1/2"),
        ("\\sqrt{2}\\sqrt{3}", "\\sqrt{6}"),
        ("4\\arctan 1", "\\pi"),
    ]
    for first, second in same:
        assert is_close(evaluate(first), evaluate(second)), first


def test_what_differs_late_is_told_apart_and_what_rounding_would_lose_is_undecided():
    different = [
        ("\\sqrt{2}+10^{-17}", "\\sqrt{2}"),
        ("\\pi\\cdot 10^{14}+3", "\\pi\\cdot 10^{14}"),
        ("e^{\\pi\\sqrt{163}}", "262537412640768744"),
        ("\\cos(10^{-9})", "1"),
        ("\\sqrt{x^2+10^{-20}}", "|x|"),
        ("\\gcd(1000000,n)", "\\gcd(1000001,n)"),
        ("\\sum_{k=1}^{1000000} k", "\\sum_{k=1}^{1000001} k"),
    ]
    for first, second in different:
        assert same_formula(parse(first), parse(second)) is False, first
    undecided = [("\\sqrt{2}+10^{-90}", "\\sqrt{2}"), ("\\tanh(200)", "1"), ("\\cos(10^{-40})", "1"), ("|A|", "|-A|")]
    undecided += [("\\sqrt{10^{400}+1}", "10^{200}"), ("3 \\mod 5", "3 \\mod 6"), ("e^{-1000}+\\pi", "\\pi")]
    for first, second in undecided:
        assert same_formula(parse(first), parse(second)) is None, first


def test_what_has_unknowns_or_two_readings_has_no_value():
    for text in ("", "x", "2x", "1/2\\pi", "2 3", "1/0", "0^{0}", "5-", "(3", "3:4", "\\sqrt{-1}", "--2", "1010_2"):
        assert evaluate(text) is None, text


def test_a_formula_that_is_not_read_to_its_end_is_not_read_at_all():
    for text in (
        "x+1 square",
        "2\\permil",
        "625 \\uparrow 626",
        "0.25 1.6",
        "AB \\parallel CD",
        "x+",
        "\\frac{1}{",
        "x is 2",
    ):
        assert parse(text) is None, text


def test_numbers_too_large_to_compute_are_equal_to_nothing():
    for text in ("9^{9^{9^9}}", "999999!", "\\pi+10^{400}", "2^{99999}", "9" * 290 + "^{9}", "\\sqrt{9^{999}}"):
        assert evaluate(text) is None and same_formula(parse(text), parse("5")) is None, text


def test_large_integers_are_told_apart_exactly():
    assert not is_close(evaluate("2^{100}"), evaluate("2^{100}+1"))
    assert not is_close(evaluate("10^{300}"), math.pi)


IDENTITIES = [  # formula, equal ones, others
    ("(x+1)^2", ["x^2+2x+1", "x**2".replace("**", "^") + "+1+2x"], ["x^2+1", "(x+1)^3", "(y+1)^2"]),
    ("\\cos x", ["\\sin(90 degrees - x)", "\\frac{1}{\\sec x}"], ["\\sin x", "\\cos 2x", "-\\cos x"]),
    ("1+2i", ["i(2-i)", "1 + 2 i"], ["1-2i", "2+i"]),
    ("a+2", ["2 + a"], ["a+2d", "a-2", "A+2"]),
    ("1-\\frac{1}{e}", ["\\frac{e-1}{e}", "1 - e^{-1}"], ["1+\\frac{1}{e}", "1-\\frac{2}{e}"]),
    ("\\frac{n!}{k!(n-k)!}", ["\\frac{(n-1)!}{k!} \\frac{n}{(n-k)!}"], ["\\frac{n!}{k!}"]),
    ("x^{2/3}", ["\\sqrt[3]{x}^2", "\\sqrt[3]{x^2}"], ["x^{3/2}", "x^{2}/3"]),
    ("\\lfloor n/2 \\rfloor", ["\\lfloor \\frac{n}{2} \\rfloor"], ["\\lceil n/2 \\rceil", "\\frac{n}{2}"]),
    ("x_1+v0", ["x_{1}+v_0"], ["x_2+v_0", "x+v_0"]),
    (
        "\\begin{pmatrix} -1 \\\\ 2/3 \\end{pmatrix}",
        ["\\begin{bmatrix} -1 \\\\ \\frac23 \\end{bmatrix}", "\\frac13 \\begin{pmatrix} -3 \\\\ 2 \\end{pmatrix}"],
        ["\\begin{pmatrix} 1 \\\\ 2/3 \\end{pmatrix}", "\\begin{pmatrix} -1 & 2/3 \\end{pmatrix}"],
    ),
    ("\\sum_{k=0}^{n-1} F_k F_{n-k-1}", ["\\sum_{k=0}^{n-1} F_{n-k-1} F_k"], ["\\sum_{k=0}^{n} F_k F_{n-k-1}"]),
    ("x^{1006}", ["(x^{503})^2"], ["x^{1007}"]),
    ("\\sum_{k=1}^{n} k", ["\\frac{n(n+1)}{2}", "\\sum_{i=1}^{n} i"], []),
    ("\\left|\\begin{array}{cc}1&2\\\\3&4\\end{array}\\right|".replace("\\left", "").replace("\\right", ""), [], ["2"]),
    ("\\angle ABC", ["\\angle CBA"], ["\\triangle ABC", "\\angle BAC"]),
    ("\\vec{AB}", [], ["\\vec{BA}"]),
    ("7!!", ["105"], ["7!"]),
]


def test_formulas_are_equal_when_they_are_for_all_values_of_their_names():
    for formula, same, different in IDENTITIES:
        for texts, expected in ((same, True), (different, False)):
            for text in texts:
                assert same_formula(parse(formula), parse(text)) is expected, (formula, text)
                assert same_formula(parse(text), parse(formula)) is expected, (text, formula)


def test_what_is_equal_in_one_reading_or_for_some_values_is_undecided():
    pairs = [("1/2x", "\\frac{x}{2}"), ("\\log x", "\\ln x"), ("f(2x)", "2f(x)"), ("\\sqrt{x^2}", "x"), ("|x|", "x")]
    pairs += [("\\sum_{k=0}^{\\infty} x^k", "\\frac{1}{1-x}"), ("\\sin(n\\pi)", "0")]
    for first, second in pairs:
        assert same_formula(parse(first), parse(second)) is None, (first, second)


def test_sums_are_computed_term_by_term_with_names_of_their_own():
    double, other = (
        "\\sum_{i=1}^{\\infty} \\sum_{j=1}^{\\infty} x^{i+j}",
        "\\sum_{k=1}^{\\infty} \\sum_{n=1}^{\\infty} x^{k+n}",
    )
    assert same_formula(parse(double), parse(other)) is True
    assert same_formula(parse(double), parse(double.replace("i+j", "2i"))) is not True
    assert same_formula(parse("\\sum_{i=1}^{3} \\sum_{j=1}^{3} ij"), parse("36")) is True


def test_hostile_text_costs_little():
    start = time.process_time()
    for text in HOSTILE_TEXTS:
        evaluate(text)
    assert time.process_time() - start < 5  # seconds of the processor; it takes less than one
