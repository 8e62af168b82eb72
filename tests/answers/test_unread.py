"""What is not read whole is not called wrong where it may be right."""

from __future__ import annotations

from mmprm_hf.answers import RuleVerifier

UNDECIDED = [
    ("5000", "5千"),
    (r"(0, \infty)", "all positive real numbers"),
    (r"\mathbb{R}", "全体实数"),
    (r"\emptyset", "空集"),
    ("12", "XII"),
    ("3.5", "三点五"),
    ("3.5", "three point five"),
    ("3", "3rd"),
    (r"\alpha+\beta", "alpha and then beta"),
    (r"\infty", "无穷大"),
    ("x>2", "不等式的解集为{x|x>2}"),
    ("19", "The number equals 19, which is greater than 17."),
    ("0.75", "75 cents"),
    ("[2014, 2016]", "2014, 2016"),
]
INCORRECT = [
    ("5000", "isosceles"),
    ("12", "none"),
    ("3", "an integer"),
    ("7", "no idea"),
    ("C", "none"),
    ("C", "The question is not complete."),
    ("0.25", "25 cm"),
    ("0.75", "74 cents"),
    ("[2014, 2016]", "2016, 2014"),
    ("19", "The number equals 18, which is greater than 17."),
]
CORRECT = [(r"\frac{1}{12}", "0.0833333333333333"), ("19", "The number equals 19.")]


def test_verdicts_on_what_is_not_read_whole():
    verify = RuleVerifier().verify
    for pairs, expected in ((UNDECIDED, "undecided"), (INCORRECT, "incorrect"), (CORRECT, "correct")):
        assert [pair for pair in pairs if verify(pair[1], pair[0]) != expected] == [], expected


def test_words_of_the_right_option_in_a_sentence_are_undecided():
    names = ("Amy", "Bert", "Carl", "Doris", "Ernst")

    def verdict(answer, gold="D", options=names):
        return RuleVerifier().verify(answer, gold, answer_type="choice", options=options)

    assert verdict("Doris ate the most.") == verdict("It was Doris, not Carl.") == "undecided"
    assert verdict("Carl ate the most.") == verdict("Doris and Carl") == "incorrect"
    assert verdict("Doris") == "correct"
    letters = ("A", "B", "C", "D", "E")
    assert verdict("So the card for Michael must be A.", "A", letters) == "correct"
    assert verdict("The first option is A.", "A", letters) != "correct"
    assert verdict("No, they are not equal.", "B", ("Yes", "No")) != "incorrect"


def test_a_size_is_not_what_it_is_the_size_of():
    verify = RuleVerifier().verify
    for gold in (r"\vec{v}", "f(x)", "g(x)", r"\bar{x}"):
        assert verify(f"|{gold}|", gold) != "correct" and verify(gold, f"|{gold}|") != "correct", gold
        assert verify(gold, gold) == "correct"
    assert verify(r"\vec b\cdot\vec a", r"\vec a\cdot\vec b") == "correct"
