"""Sets of real numbers: all forms of one set compare as equal, no others do."""

import time
from fractions import Fraction

from support.hostile_texts import HOSTILE_TEXTS

from mmprm_hf.answers.regions import read_region, region_between, same_region

REGIONS = [  # the forms of one line are the same region, those of different lines are not
    ["x \\le 3", "(-\\infty,3]", "3 \\ge x", "{x|x \\leq 3}"],
    ["x < 3", "(-\\infty, 3)"],
    ["2 \\le x < 5", "5 > x \\ge 2", "x \\in [2,5)", "x \\ge 2 and x < 5"],
    ["2 < x < 5", "x \\in (2, 5)"],
    ["x<-2 or x>2", "(-\\infty,-2) \\cup (2,+\\infty)", "x > 2 or x < -2"],
    ["\\frac{1}{2} < x \\le \\sqrt{3}", "x \\in (0.5, \\sqrt{3}]"],
]


def test_regions_compare_in_all_their_forms():
    regions = [[read_region(text) for text in line] for line in REGIONS]
    assert all(region is not None for line in regions for region in line)
    for index, line in enumerate(regions):
        assert all(same_region(first, second) for first in line for second in line), REGIONS[index]
        assert not any(same_region(region, other[0]) for region in line for other in regions[:index]), REGIONS[index]


def test_regions_of_other_unknowns_differ():
    assert not same_region(read_region("x > 3"), read_region("y > 3"))


def test_what_is_not_a_region():
    for text in ("(1,2)", "x = 3", "5 < x < 2", "x < y", "a < b < c", "x > 9^{9^{9^9}}", "1 < x > 0", ""):
        assert read_region(text) is None, text
    assert region_between("()", Fraction(2), Fraction(1)) is None
    assert region_between("{}", Fraction(1), Fraction(2)) is None


def test_hostile_text_costs_little():
    start = time.process_time()
    for text in HOSTILE_TEXTS:
        read_region(text)
    assert time.process_time() - start < 5  # seconds of the processor; it takes less than one
