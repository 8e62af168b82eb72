"""Keys of problems: they follow content, not ids and paths."""

import dataclasses

import pytest
from PIL import Image

from mmprm_hf.data import Problem
from mmprm_hf.rows import problem_fingerprint, problem_key


def test_keys_follow_content_alone(tmp_path):
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        Image.new("RGB", (4, 3), colour).save(tmp_path / f"{name}.png")
    problem = Problem("p", "How many?", (str(tmp_path / "a.png"),), answer="2", options=("1", "2"))
    key = problem_key(problem)
    moved = dataclasses.replace(problem, id="q", images=(Image.open(tmp_path / "b.png"),), meta={"grade": 3})
    assert problem_key(moved) == key
    for change in (
        {"question": "How much?"}, {"images": (str(tmp_path / "c.png"),)}, {"images": ()}, {"answer": "3"},
        {"answer_type": "choice"}, {"options": ("1", "3")},
    ):  # fmt: skip
        assert problem_key(dataclasses.replace(problem, **change)) != key, change
    assert problem_fingerprint(problem.question, problem.images) == problem_fingerprint(moved.question, moved.images)


def test_keys_of_saved_runs_stay():
    assert problem_key(Problem("p", "1 + 1 = ?", answer="2")) == "e22f71b1494d33c4"


def test_a_figure_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="none.png"):
        problem_key(Problem("p", "?", (str(tmp_path / "none.png"),)))
