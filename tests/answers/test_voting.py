"""Votes: which candidates' answers say the same."""

import time

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


def test_many_different_answers_are_grouped_in_a_moment():
    kinds = [
        "{}",
        "0.{:04d}",
        "x^2+{}x+\\sqrt{{7}}",
        "\\frac{{{}}}{{5003}}",
        "x^2+y^2={}",
        "({0},{0}+1)",
        "{} cm",
        "{}:97",
        "f(x)={}x",
        "f(x)=e^{{{}x}}",
        "y<{}x",
    ]
    for kind in kinds:
        answers = [kind.format(number) for number in range(1, 1025)]
        start = time.process_time()
        groups = group_answers([*answers, *answers])
        assert time.process_time() - start < 10, kind  # seconds of the processor; it takes less than one
        assert groups == [*range(1024), *range(1024)], kind


def test_groups_are_those_of_comparing_with_the_first_of_every_group():
    answers = [text for pair in SAME + DIFFERENT for text in pair if text]
    answers += ["0.33", "1/3", "0.333", "33.3%", "2:3", "0.67", "x>2", "(2,\\infty)", "y=2x+1", "4x-2y+2=0", "d", "D"]
    answers += ["0", "x-x", "f(x)=x^{400}", "f(x)=x^{200}x^{200}", "y=e^{100x}+1", "y-1=e^{100x}"]
    answers += ["f(x)=e^{1000x}", "f(x)=(e^{500x})^2", "f(x)=e^{1000x}+1", "10^{-50}x", "x/10^{50}", "e^{-90x}"]
    groups: list[list[str]] = []
    for answer in answers:
        group = next((group for group in groups if answers_equivalent(group[0], answer)), None)
        if group is None:
            groups.append([answer])
        elif answer not in group:
            group.append(answer)
    found = group_answers(answers)
    assert [groups.index(next(group for group in groups if answer in group)) for answer in answers] == found


def test_groups_are_numbered_by_first_appearance():
    assert group_answers(["75", None, "1/2", "75.0", " ", "0.5", "$75$", "76"]) == [0, None, 1, 0, None, 1, 0, 2]
    assert group_answers([]) == []
