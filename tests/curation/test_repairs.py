"""Repairs: what is repaired, what is left alone, and that a second repair changes nothing."""

from __future__ import annotations

from mmprm_hf.curation.records import RawProblem
from mmprm_hf.curation.repairs import REPAIRS, repair


def problem(question="What is x in the figure?", answer="5", num_images=1, options=()):
    return RawProblem("1", question, answer, tuple(f"{n}.png" for n in range(num_images)), options)


QUESTIONS = [
    # raw, repaired, names of the repairs
    ("What is x?\n<image1>", "What is x?", ["placeholder_removed"]),
    ("What is <image1> x?", "What is x?", ["placeholder_removed"]),
    ("<image>\nWhat is x?", "What is x?", ["placeholder_removed"]),
    (
        "One piece:\n<image1>\nThe other?\n<image2>",
        "One piece:\n(image 1)\nThe other?\n(image 2)",
        ["placeholders_named"],
    ),
    ("Here <image1>. There <image2>.", "Here (image 1). There (image 2).", ["placeholders_named"]),
    ("\ufeffA lampshade", "A lampshade", ["invisible_characters"]),
    ("Leonie\u00a0has\u200b hidden", "Leonie has hidden", ["invisible_characters"]),
    ("Find x.\\n<image1>", "Find x.", ["line_breaks", "placeholder_removed"]),
    ("a \\neq b, \\nabla f", "a \\neq b, \\nabla f", []),
    ("have\tequal\tsides", "have equal sides", ["line_breaks"]),
    ("3 \times 4 \text{cm} \theta", "3 \\times 4 \\text{cm} \\theta", ["control_characters"]),
    ("\x0crac{1}{2} \x07lpha \x08eta \right)", "\\frac{1}{2} \\alpha \\beta \\right)", ["control_characters"]),
    ("one\r\ntwo", "one\ntwo", ["line_breaks"]),
    ("one\n\n\n\ntwo  \n", "one\n\ntwo", ["line_breaks"]),
    ("Prices of $5 and \\$6", "Prices of $5 and \\$6", []),
    ("Find $\nu$ if $x \neq 0$ and $\tan x$", "Find $\\nu$ if $x \\neq 0$ and $\\tan x$", ["control_characters"]),
    ("lines\neq or\nu turn", "lines\neq or\nu turn", []),
    ("End of page\x0cNext", "End of page Next", ["control_characters"]),
    ("one\rangle ABC", "one\nangle ABC", ["line_breaks"]),
    ("represent\\nfriendships of $\\nu$", "represent\nfriendships of $\\nu$", ["line_breaks"]),
    ("Compare <image> and <image>.", "Compare (image 1) and (image 2).", ["placeholders_named"]),
    ("First <image 1> then <image>.", "First (image 1) then (image 1).", ["placeholders_named"]),
]


def test_questions_are_repaired_once_and_for_all():
    for raw, expected, names in QUESTIONS:
        repaired = repair(problem(raw))
        assert (repaired.question, list(repaired.repairs)) == (expected, names), raw
        assert repair(repaired) == repaired, raw


ANSWERS = [
    ("$4 \\pi$", "4 \\pi"),
    ("$$12$$", "12"),
    ("$\\boxed{\\frac{16}{7}}$", "\\frac{16}{7}"),
    ("\\(x\\)", "x"),
    (" 5 ", "5"),
    ("\x0crac{36}{13} ", "\\frac{36}{13}"),
    ("$3$ and $4$", "$3$ and $4$"),
    ("\\boxed{1} + \\boxed{2}", "\\boxed{1} + \\boxed{2}"),
    ("$5", "$5"),
    ("\\(5\\) and \\(6\\)", "\\(5\\) and \\(6\\)"),
]


def test_answers_are_unwrapped():
    for raw, expected in ANSWERS:
        assert repair(problem(answer=raw)).answer == expected, raw


def test_options_are_read_from_the_question():
    repaired = repair(problem("输出的数等于 ( )A. $\\frac{5}{4}$B. $\\frac{4}{5}$C. 6D. 7", "D"))
    assert repaired.question == "输出的数等于 ( )"
    assert repaired.options == ("$\\frac{5}{4}$", "$\\frac{4}{5}$", "6", "7")
    assert repair(problem("Is it (A) 1 (B) 2 (C) 3?", "(b)")).options == ("1", "2", "3?")
    noted = repair(problem("Which?\\nA. 3\\nB. 4\\nC. 5\nNote: not to scale.", "B"))
    assert noted.question == "Which?\nNote: not to scale." and noted.options == ("3", "4", "5")
    for question, answer in (
        ("In triangle A. B. C. all angles", "60"),
        ("Points A, B and C lie on a line.", "A"),
        ("A. 1 B. 2", "A"),
        ("Points A: (0,0), B: (1,2), C: (3,4) are shown. Which point lies on y=2x?", "B"),
        ("The jars hold A. 3 l, B. 4 l, C. 5 l. Which jar is the fullest?", "C"),
    ):
        assert repair(problem(question, answer)).options == (), question


def test_options_become_letters_and_lose_a_stray_dollar():
    repaired = repair(problem(options=("(A)", "B)", "C"), answer="(b)"))
    assert repaired.options == ("A", "B", "C") and repaired.answer == "B"
    assert repaired.repairs == ("option_letters", "answer_letter")
    dollars = repair(problem(options=("$\\frac{6}{5} \\$", "$5 \\$", "costs \\$"), answer="A"))
    assert dollars.options == ("$\\frac{6}{5}$", "$5$", "costs \\$")
    assert repair(problem(options=("<image2>", "<image3>"), answer="A")).options == ("(image 2)", "(image 3)")


def test_an_answer_that_is_not_a_letter_of_the_options_stays():
    assert repair(problem(options=("5", "6"), answer="g")).answer == "g"
    assert repair(problem(options=("5", "6"), answer="6")).answer == "6"


def test_every_repair_is_known():
    texts = [problem(row[0]) for row in QUESTIONS] + [problem(answer=row[0]) for row in ANSWERS]
    texts += [problem(options=("(A)", "B)", "C"), answer="(b)"), problem(options=("$5 \\$", "6"), answer="A")]
    texts += [problem("输出 A. 1 B. 2 C. 3", "C")]
    assert {name for text in texts for name in repair(text).repairs} == set(REPAIRS)
