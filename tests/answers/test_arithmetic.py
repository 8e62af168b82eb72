"""Formulas without unknowns: exact values, what has none, and numbers too large to compute."""

import math
import time
from fractions import Fraction

from support.hostile_texts import HOSTILE_TEXTS

from mmprm_hf.answers.arithmetic import evaluate, is_close, is_too_large


def test_arithmetic_is_exact_where_it_is_rational():
    values = {
        "\\frac{3}{2}-1": Fraction(1, 2),
        "\\frac12": Fraction(1, 2),
        "2\\frac{1}{2}": Fraction(5, 2),
        "-2^2": Fraction(-4),
        "10^{-3}": Fraction(1, 1000),
        "\\sqrt[3]{8}+\\sqrt{\\frac{4}{9}}": Fraction(8, 3),
        "2(3+4)": Fraction(14),
        "5!": Fraction(120),
        "\\binom{5}{2}": Fraction(10),
        "|3-5|": Fraction(2),
        "2^{100}+1": Fraction(2**100 + 1),
        "3\\frac{\\sqrt{2}}{2}": 3 * math.sqrt(2) / 2,
        "3\\sqrt{3}/2": 3 * math.sqrt(3) / 2,
        "\\sin 30 degrees": 0.5,
        "-\\infty": -math.inf,
    }
    for text, value in values.items():
        assert is_close(evaluate(text), value), text
        assert isinstance(evaluate(text), float) == isinstance(value, float), text


def test_what_has_unknowns_or_two_readings_has_no_value():
    for text in ("", "x", "2x", "1/2\\pi", "2 3", "1/0", "0^{0}", "5-", "(3", "3:4", "\\sqrt{-1}", "--2"):
        assert evaluate(text) is None, text
        assert not is_too_large(text), text


def test_numbers_too_large_to_compute_are_reported_as_such():
    for text in ("9^{9^{9^9}}", "999999!", "\\pi+10^{400}", "2^{99999}", "9" * 290 + "^{9}", "\\sqrt{9^{999}}"):
        assert is_too_large(text) and evaluate(text) is None, text


def test_large_integers_are_told_apart_exactly():
    assert not is_close(evaluate("2^{100}"), evaluate("2^{100}+1"))
    assert not is_close(evaluate("10^{300}"), math.pi)


def test_hostile_text_costs_little():
    start = time.process_time()
    for text in HOSTILE_TEXTS:
        is_too_large(text)
    assert time.process_time() - start < 5  # seconds of the processor; it takes less than one
