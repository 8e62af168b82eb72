"""`stages.score_solutions`: solutions as people write them, and their scores as bars."""

import json

import pytest
from transformers import AutoModel, AutoProcessor

from mmprm_hf.data import Candidate
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import problems
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.stages import format_scores, read_solution, score_solutions
from mmprm_hf.stages.score_stage import BAR_WIDTH, score_bar


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("A=22\nB=61\n", ("A=22", "B=61")),
        ("  A=22  \r\n\r\nB=61\nso 83\r\n", ("A=22", "B=61\nso 83")),
        ("A=22\n \nB=61", ("A=22", "B=61")),
        ("one line", ("one line",)),
        ("<step>A=22</step>\n<step>B=61</step><answer>83</answer>", ("A=22", "B=61")),
        ('["A=22", "B=61"]', ("A=22", "B=61")),
        ("[1, 2] is the interval\nso 1.5", ("[1, 2] is the interval", "so 1.5")),
    ],
)
def test_solutions_are_read_in_every_spelling(text, steps):
    assert read_solution(text) == steps


@pytest.mark.parametrize("text", ["", " \n\n ", "[]", "<step></step>"])
def test_a_solution_without_steps_is_refused(text):
    with pytest.raises(ValueError, match="Found a solution without steps"):
        read_solution(text)


@pytest.mark.parametrize("text", ['["A", ""]', "[1, 2]", '[["A"]]'])
def test_a_list_of_something_else_is_refused(text):
    with pytest.raises(ValueError, match="A solution in JSON is a list of steps, none blank"):
        read_solution(text)


def test_scores_are_the_scorers_own(tmp_path):
    nano = problems("test", 1)[0]
    nano.figure().save(tmp_path / "figure.png")
    solutions = [nano.solve(), ("1=2", *nano.solve())]
    rows = score_solutions([tmp_path / "figure.png"], nano.question, solutions, prm=None, aggregation="product")
    scorer = PRMScorer(AutoModel.from_pretrained(PRM_PATH), AutoProcessor.from_pretrained(PRM_PATH))
    expected = scorer.score(nano.to_problem(), [Candidate(steps) for steps in solutions])
    for row, candidate in zip(rows, expected, strict=True):
        assert row["steps"] == list(candidate.steps)
        assert row["step_scores"] == pytest.approx(candidate.step_scores, abs=1e-6)
    assert rows[0]["score"] > rows[1]["score"]
    json.dumps(rows)


def test_what_cannot_be_scored_is_refused_before_any_model_is_loaded():
    with pytest.raises(ValueError, match="Unknown aggregation 'mim'"):
        score_solutions([], "Q?", [("a",)], prm="no/such", aggregation="mim")
    with pytest.raises(ValueError, match="no.png' does not exist"):
        score_solutions(["no.png"], "Q?", [("a",)], prm="no/such", aggregation="min")
    with pytest.raises(ValueError, match="is no PRM: its model_type is 'llava'"):
        score_solutions([], "Q?", [("a",)], prm=str(POLICY_PATH), aggregation="min")


def test_bars_are_as_long_as_the_scores_and_coloured_on_request():
    for score in (0.0, 0.03, 0.5, 0.999, 1.0):
        assert len(score_bar(score, False)) == BAR_WIDTH
    assert score_bar(1.0, False) == "█" * BAR_WIDTH and score_bar(0.0, False) == "·" * BAR_WIDTH
    assert score_bar(0.5, False).count("█") == BAR_WIDTH // 2
    assert [score_bar(score, True)[:5] for score in (0.9, 0.5, 0.1)] == ["\x1b[32m", "\x1b[33m", "\x1b[31m"]
    assert score_bar(0.5, True).endswith("\x1b[0m")


def test_the_lowest_step_and_the_best_solution_are_named():
    rows = [
        {"steps": ["good", "bad\nin two lines"], "step_scores": [0.9, 0.2], "score": 0.2},
        {"steps": ["fine"], "step_scores": [0.8], "score": 0.8},
        {"steps": ["<prm>"], "step_scores": None, "score": None},
    ]
    text = format_scores(rows, "min", color=False)
    assert "min 0.200; the lowest is step 2" in text and text.endswith("best: solution 2")
    lines = text.split("\n")
    assert lines[0] == "solution 1" and lines[2].endswith("0.200  bad") and lines[3].strip() == "in two lines"
    assert lines[3].index("in") == lines[2].index("bad")
    assert "no score: it writes the PRM's own step marker" in text
    alone = format_scores(rows[:1], "min", color=False)
    assert "solution 1" not in alone and "best" not in alone
