"""A sentence gives a noun its value or property; what is only derived from the answer is not the answer."""

from __future__ import annotations

from mmprm_hf.answers import RuleVerifier

CORRECT = [
    ("25", "The percentage increase is 25."),
    ("0.6", "In conclusion, the relative frequency is \\( 0.6 \\)."),
    ("2x+1", "The polynomial is 2x + 1."),
    ("2019", "The year was 2019."),
    ("7", "Solving 3x - 5 = 16 gives x = 7."),
    ("parallelogram", "The quadrilateral must be a parallelogram."),
    ("Light Salmon", "The color is Light Salmon."),
    ("Evelyn", "The student with the greatest average speed is Evelyn."),
    ("surplus", "There is a surplus."),
    ("y=x+1", "The tangent line is y = x + 1."),
    ("light blue", "So the color of the line is light blue."),
    ("No", "No, it does not."),
    ("Yes", "Yes, the medium line is greater."),
]
NEVER_CORRECT = [
    ("5", "The reciprocal is 5."),
    ("25", "The square of the side is 25."),
    ("5", "The opposite of the number is 5."),
    ("5", "The first guess is 5."),
    ("5", "The second factor is 5."),
    ("5", "The wrong value is 5."),
    ("5", "The base is 5."),
    ("5", "The step is 5."),
    ("blue", "The color may be blue."),
    ("blue", "The color is not blue."),
    ("red", "The color of the other line is red."),
    ("Yes", "Yes, but actually no."),
    ("Yes", "No, it is less."),
    ("surplus", "There is no surplus."),
    ("16", "Solving 3x - 5 = 16 gives x = 7."),
]


def test_a_value_or_a_property_of_a_noun_is_stated():
    verify = RuleVerifier().verify
    assert [pair for pair in CORRECT if verify(pair[1], pair[0]) != "correct"] == []


def test_what_is_derived_doubted_or_denied_is_never_right():
    verify = RuleVerifier().verify
    assert [pair for pair in NEVER_CORRECT if verify(pair[1], pair[0]) == "correct"] == []
