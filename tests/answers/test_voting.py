"""Votes: which candidates' answers say the same."""

from mmprm_hf.answers import answers_equivalent, group_answers

SAME = [
    ("0.50", "1/2"), ("(C)", "C. 30"), ("7:35", "07:35"), ("2\\sqrt{3}", "\\sqrt{12}"), ("Yes", "yes."),
    ("AB = 5", "BA = 5.0"), ("2\\sqrt{3} cm", "3.464"), ("x+\\sqrt{8}", "2\\sqrt{2}+x"),
]  # fmt: skip
DIFFERENT = [
    ("5 cm", "5 m"), ("(3,4)", "(4,3)"), ("A", "B"), ("7", "x"), ("yes", "no"), ("7", None), ("", ""),
    ("AB = 5", "CD = 5"), ("x+2", "x+3"),
]  # fmt: skip


def test_equivalence_is_symmetric():
    for pairs, expected in ((SAME, True), (DIFFERENT, False)):
        for first, second in pairs:
            assert answers_equivalent(first, second) is answers_equivalent(second, first) is expected, (first, second)


def test_groups_are_numbered_by_first_appearance():
    assert group_answers(["75", None, "1/2", "75.0", " ", "0.5", "$75$", "76"]) == [0, None, 1, 0, None, 1, 0, 2]
    assert group_answers([]) == []
