"""What answers are made of: arithmetic without unknowns, number words, regions of the real line."""

import math
import time
from fractions import Fraction

import pytest

from mmprm_hf.answers.arithmetic import TooLargeError, evaluate, is_close, is_too_large
from mmprm_hf.answers.numerals import digits_of_words, symbols_of_chinese
from mmprm_hf.answers.regions import read_region, region_between, same_region


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\frac{3}{2}-1", Fraction(1, 2)),
        ("\\frac12", Fraction(1, 2)),
        ("2\\frac{1}{2}", Fraction(5, 2)),
        ("-2^2", -4),
        ("10^{-3}", Fraction(1, 1000)),
        ("\\sqrt[3]{8}+\\sqrt{\\frac{4}{9}}", Fraction(8, 3)),
        ("2(3+4)", 14),
        ("5!", 120),
        ("\\binom{5}{2}", 10),
        ("|3-5|", 2),
        ("2^{100}+1", 2**100 + 1),
        ("3\\frac{\\sqrt{2}}{2}", 3 * math.sqrt(2) / 2),
        ("3\\sqrt{3}/2", 3 * math.sqrt(3) / 2),
        ("\\sin 30 degrees", 0.5),
        ("-\\infty", -math.inf),
    ],
)
def test_arithmetic_is_exact_where_it_is_rational(text, value):
    found = evaluate(text)
    assert is_close(found, value if isinstance(value, float) else Fraction(value))
    assert isinstance(found, float) == isinstance(value, float)


@pytest.mark.parametrize(
    "text", ["", "x", "2x", "1/2\\pi", "2 3", "1/0", "0^{0}", "5-", "(3", "3:4", "\\sqrt{-1}", "--2"]
)
def test_what_has_unknowns_or_two_readings_has_no_value(text):
    assert evaluate(text) is None


@pytest.mark.parametrize("text", ["9^{9^{9^9}}", "999999!", "\\pi+10^{400}", "2^{99999}", "9" * 290 + "^{9}"])
def test_numbers_too_large_to_compute_are_said_to_be_so(text):
    assert is_too_large(text)
    with pytest.raises(TooLargeError):
        evaluate(text)


def test_large_integers_are_told_apart_exactly():
    assert not is_close(evaluate("2^{100}"), evaluate("2^{100}+1"))
    assert not is_close(evaluate("10^{300}"), math.pi)


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("twenty-one apples", "21 apples"),
        ("one hundred and five", "105"),
        ("three hundred twenty thousand and six", "320006"),
        ("two-thirds", "2/3"),
        ("one and a half", "3/2"),
        ("a quarter", "1/4"),
        ("三分之二", "2/3"),
        ("百分之二十五", "25 percent"),
        ("一又二分之一", "3/2"),
        ("一百零五", "105"),
        ("二〇二四", "2024"),
        ("十", "10"),
    ],
)
def test_number_words_become_digits(words, digits):
    assert digits_of_words(words) == digits


@pytest.mark.parametrize(
    "text", ["two three", "twenty thirty", "a dog", "half of it", "second", "no", "万", "两三", "A"]
)
def test_other_words_stay(text):
    assert digits_of_words(text) == text


def test_chinese_units_and_joints_become_symbols():
    texts = ["5平方厘米", "12 千米/小时", "2小时30分钟", "3比4", "1和2", "1.5万", "5米长", "7个"]
    symbols = ["5 square cm", "12 km/h", "2 h 30 min", "3:4", "1 and 2", "15000", "5米长", "7个"]
    assert [symbols_of_chinese(text) for text in texts] == symbols


REGIONS = [  # the forms of one line say the same, those of different lines do not
    ["x \\le 3", "(-\\infty,3]", "3 \\ge x", "{x|x \\leq 3}"],
    ["x < 3", "(-\\infty, 3)"],
    ["2 \\le x < 5", "5 > x \\ge 2", "x \\in [2,5)", "x \\ge 2 and x < 5"],
    ["2 < x < 5", "x \\in (2, 5)"],
    ["x<-2 or x>2", "(-\\infty,-2) \\cup (2,+\\infty)", "x > 2 or x < -2"],
    ["\\frac{1}{2} < x \\le \\sqrt{3}", "x \\in (0.5, \\sqrt{3}]"],
]


def test_regions_compare_in_all_their_forms():
    read = [[read_region(text) for text in line] for line in REGIONS]
    assert all(region is not None for line in read for region in line)
    for index, line in enumerate(read):
        assert all(same_region(one, other) for one in line for other in line), REGIONS[index]
        assert not any(same_region(one, other[0]) for one in line for other in read[:index]), REGIONS[index]


def test_regions_of_other_unknowns_differ():
    assert not same_region(read_region("x > 3"), read_region("y > 3"))


@pytest.mark.parametrize(
    "text", ["(1,2)", "x = 3", "5 < x < 2", "x < y", "a < b < c", "x > 9^{9^{9^9}}", "1 < x > 0", ""]
)
def test_what_is_no_region(text):
    assert read_region(text) is None
    assert region_between("()", Fraction(2), Fraction(1)) is None
    assert region_between("{}", Fraction(1), Fraction(2)) is None


def test_hostile_text_costs_little():
    pieces = [
        "(",
        "{",
        "\\frac",
        "\\sqrt{",
        "9^",
        "x<",
        "\\cup",
        "1,",
        "!",
        "-",
        "\\sin ",
        "or ",
        "one ",
        "十",
        "\ud800",
        "|",
    ]
    texts = [piece * count for piece in pieces for count in (1, 30, 300, 2000)]
    texts += [first * 40 + second * 40 for first in pieces for second in pieces]
    start = time.process_time()
    for text in texts:
        is_too_large(text)
        read_region(text)
        digits_of_words(text)
        symbols_of_chinese(text)
    assert time.process_time() - start < 5  # seconds; it takes a tenth of that
