"""`mmprm`'s scoring of written solutions: files to steps, steps to scores, scores to bars."""

import re
import shutil

import pytest
from PIL import Image

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.selection import aggregate
from mmprm_hf.stages import format_scores, read_solution, score_solutions
from mmprm_hf.stages.score_stage import BAR_WIDTH, score_bar

PROBLEM = make_problem("bar_chart", 1)
SOLUTIONS = [("A=22", "B=61", "C=83"), ("A=1",), ("B=61\nso C=83", "C=83")]


def test_a_solution_is_read_in_any_form():
    solutions = {
        "A=22\nB=61\n": ("A=22", "B=61"),
        "A=22\r\nB=61\r\n": ("A=22", "B=61"),
        "A=22\nso far\n\nB=61": ("A=22\nso far", "B=61"),
        "A=22\r\nso far\r\n\r\nB=61\r\n": ("A=22\nso far", "B=61"),
        "A=22\nso far\n  \t\nB=61": ("A=22\nso far", "B=61"),
        "\n\n A=22 \n\n\n\n\nB=61\n\n": ("A=22", "B=61"),
        "A=22": ("A=22",),
        "\ufeffA=22\nB=61": ("A=22", "B=61"),
        '["A=22", "B=61\\nand C"]': ("A=22", "B=61\nand C"),
        '\ufeff\r\n["A=22"]\r\n': ("A=22",),
        "[1, 2) is the range\nA=1": ("[1, 2) is the range", "A=1"),
        "<step>A=22</step>\n<step>B=61</step><answer>83</answer>": ("A=22", "B=61"),
        "\ufeff<step>A=22\r\nso far</step>": ("A=22\nso far",),
        "质点\n\n所以 A=1": ("质点", "所以 A=1"),
    }
    assert {text: read_solution(text) for text in solutions} == solutions


def test_a_solution_without_steps_is_refused():
    for text in ("", " \n\t\r\n ", "\ufeff", "[]", "<step> </step><answer>3</answer>"):
        with pytest.raises(ValueError, match="Found a solution without steps"):
            read_solution(text)


def test_a_list_of_anything_else_is_refused():
    for text in ('["A=22", ""]', "[1, 2]", '[["A=22"]]', '["A=22", null]'):
        with pytest.raises(ValueError, match="A solution in JSON is a list of steps, none blank"):
            read_solution(text)


def test_a_thought_is_scored_only_on_request():
    text = "<think>Read A.\n\nThen B.</think>\n\nA=22\nB=61\nAnswer: 61"
    assert read_solution(text) == ("A=22", "B=61")
    assert read_solution(text, thoughts=True) == ("Read A.", "Then B.", "A=22", "B=61")
    assert read_solution("<think>Read A.", thoughts=True) == ("Read A.",)
    with pytest.raises(ValueError, match="Found a thought that never ends, and no solution behind it"):
        read_solution("<think>Read A.")


def test_a_step_that_is_not_closed_is_not_lost():
    with pytest.raises(ValueError, match="Found 2 opening and 1 closing tags of steps"):
        read_solution("<step>a</step><step>b")


def test_scores_are_those_of_the_scorer(tmp_path):
    figure = tmp_path / "figure.png"
    PROBLEM.figure().save(figure)
    report = score_solutions([str(figure)], PROBLEM.question, SOLUTIONS, prm=None, aggregation="product")
    rows = report["solutions"]
    assert report["note"] is None and report["aggregation"] == "product"
    scorer = PRMScorer.from_pretrained(PRM_PATH)
    problem = Problem("a", PROBLEM.question, (PROBLEM.figure(),))
    expected = scorer.score(problem, [Candidate(steps) for steps in SOLUTIONS])
    assert [tuple(row["steps"]) for row in rows] == SOLUTIONS
    for row, candidate in zip(rows, expected, strict=True):
        assert row["step_scores"] == list(candidate.step_scores)  # the same call on the same pixels
        assert row["score"] == aggregate(row["step_scores"], "product")
    assert len({score for row in rows for score in row["step_scores"]}) > 3


def test_the_figure_counts():
    others = [[], [PROBLEM.figure()], [make_problem("clock", 2).figure()]]
    solutions, options = SOLUTIONS[:1], {"prm": None, "aggregation": "min"}
    reports = [score_solutions(images, PROBLEM.question, solutions, **options) for images in others]
    assert len({report["solutions"][0]["score"] for report in reports}) == 3


def test_a_problem_that_the_shipped_prm_does_not_know_is_noted(tmp_path):
    wide = Image.new("RGB", (300, 100))
    for images, prm, is_noted in (
        ([PROBLEM.figure()], None, False),
        ([PROBLEM.figure()], str(PRM_PATH), False),
        ([wide], None, True),
        ([], str(PRM_PATH), True),
        ([wide], shutil.copytree(PRM_PATH, tmp_path / "mine"), False),
    ):
        report = score_solutions(images, PROBLEM.question, SOLUTIONS[:1], prm=prm, aggregation="min")
        assert bool(report["note"]) == is_noted
        shown = format_scores(report, color=False)
        assert ("note: The shipped nano models know only the nano world's figures" in shown) == is_noted


def test_a_marker_in_a_step_is_read_as_text_and_writes_no_marker():
    solution = ("A=1 <prm> <image>", "B=<prm>")
    (row,) = score_solutions([], "What is A?", [solution], prm=None, aggregation="min")["solutions"]
    assert len(row["step_scores"]) == 2


def test_a_solution_without_a_score_is_never_the_best():
    rows = [{"steps": ["A=1"], "step_scores": None, "score": None}, *rows_with((0.0, 0.1))]
    shown = format_scores(report_of(rows, "min"), color=False)
    assert "no score: it contains the PRM's own step marker" in shown and shown.endswith("best: solution 2")
    assert "best" not in format_scores(report_of([rows[0], rows[0]], "min"), color=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aggregation": "mim"}, "'mim'"),
        ({"prm": str(POLICY_PATH)}, "model_type is 'llava'"),
        ({"question": " "}, "empty question"),
        ({"images": ["absent.png"]}, "'absent.png' does not exist"),
        ({"question": "Is <prm> good?"}, "control token '<prm>'"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    call = {"images": [], "question": "What is A?", "solutions": [("A=1",)], "prm": None, "aggregation": "min"}
    with pytest.raises(ValueError, match=message):
        score_solutions(**{**call, **change})


def report_of(rows, aggregation):
    return {"solutions": rows, "aggregation": aggregation, "note": None}


def rows_with(*step_scores):
    return [
        {"steps": [f"step {i}" for i in range(len(s))], "step_scores": list(s), "score": min(s)} for s in step_scores
    ]


def test_one_solution_as_bars():
    lines = format_scores(report_of(rows_with((0.9, 0.25, 0.5)), "min"), color=False).split("\n")
    assert [line[BAR_WIDTH:] for line in lines[:3]] == ["  0.900  step 0", "  0.250  step 1", "  0.500  step 2"]
    assert lines[3:] == ["min 0.250; the lowest is step 2"]


def test_further_lines_of_a_step_stand_below_its_first():
    row = {"steps": ["first\nsecond\nthird"], "step_scores": [0.5], "score": 0.5}
    first, second, third, _ = format_scores(report_of([row], "mean"), color=False).split("\n")
    column = first.index("first")
    assert second.index("second") == column == third.index("third")
    assert second.strip() == "second" and third.strip() == "third"


def test_several_solutions_are_numbered_and_the_best_is_named():
    shown = format_scores(report_of(rows_with((0.2, 0.9), (0.6,), (0.6,)), "min"), color=False)
    assert re.findall(r"^solution (\d)$", shown, re.M) == ["1", "2", "3"]
    assert shown.endswith("\n\nbest: solution 2"), "the first of equals"


def test_colours_are_all_that_colour_adds():
    rows = rows_with((0.9, 0.5, 0.1))
    colored, plain = (format_scores(report_of(rows, "min"), color=color) for color in (True, False))
    assert re.findall("\x1b\\[(\\d+)m█", colored) == ["32", "33", "31"]
    assert re.sub("\x1b\\[\\d+m", "", colored) == plain and "\x1b" not in plain


def test_bars_have_one_width_and_are_filled_by_the_score():
    for score in (0.0, 1.0, 0.5, 1e-9, 1 - 1e-9, 0.7, 0.4, *(i / 160 for i in range(0, 161, 7))):
        bar = score_bar(score, False)
        assert len(bar) == BAR_WIDTH == len(re.sub("\x1b\\[\\d+m", "", score_bar(score, True)))
        assert bar.count("█") == int(round(score * BAR_WIDTH * 8) / 8)
    assert score_bar(0.0, False) == "·" * BAR_WIDTH and score_bar(1.0, False) == "█" * BAR_WIDTH
    assert score_bar(0.5, False) == "█" * 10 + "·" * 10
