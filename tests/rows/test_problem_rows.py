"""Problems <-> rows: round trips, tolerant reading, the figures of a row, and a source of problems."""

import base64
import io

import pyarrow.parquet
import pytest
from PIL import Image

from mmprm_hf.data import Problem
from mmprm_hf.files import write_jsonl
from mmprm_hf.models import load_image
from mmprm_hf.rows import (
    ProblemSource,
    problem_features,
    problem_from_row,
    problem_to_row,
    row_images,
    stored_figure,
    stored_problem,
    write_splits,
)

PROBLEM = Problem(
    id="p",
    question="Which is it?",
    images=("a.png", "b.png"),
    answer="B",
    answer_type="choice",
    options=("1", "2"),
    meta={"subject": "geometry", "grade": 7, "source": "nano", "license": "MIT", "split_group": "g"},
)


def test_a_problem_comes_back_from_its_row():
    row = problem_to_row(PROBLEM)
    assert list(row) == list(problem_features())
    assert problem_from_row(row) == PROBLEM
    plain = problem_to_row(Problem(id="q", question="1 + 1 = ?"))
    assert list(plain) == list(row) and plain["grade"] is None and plain["images"] == []


def test_grades_are_whole_numbers_or_none():
    grades = {7: 7, "8": 8, 6.0: 6, 6.5: None, "six": None, True: None, float("nan"): None, None: None, 2.0**40: None}
    for grade, expected in grades.items():
        assert problem_to_row(Problem(id="p", question="?", meta={"grade": grade}))["grade"] == expected, grade


def test_rows_are_read_tolerantly():
    problem = problem_from_row({"id": "p", "text": "How many?", "image": "a.png", "answer": 7})
    assert (problem.question, problem.images, problem.answer, problem.answer_type) == (
        "How many?",
        ("a.png",),
        "7",
        "text",
    )
    assert problem.options == () and problem.meta == {}
    by_letter = problem_from_row({"id": "p", "question": "?", "options": {"B": "2", "A": 1, "C": None, "D": None}})
    assert by_letter.options == ("1", "2")
    assert problem_from_row({"id": "p", "question": "?", "options": ["1", None, 3, None]}).options == ("1", "", "3")
    written_out = problem_from_row({"id": "p", "question": "Which?", "options": "A. 1\nB. 2"})
    assert written_out.question == "Which?\nA. 1\nB. 2" and written_out.options == ()


def test_rows_that_are_not_problems_are_refused():
    for row, message in (
        ({"id": "p"}, "Problem 'p' has an empty question"),
        ({"id": "p", "question": " "}, "empty question"),
        ({"id": "p", "question": ["?"]}, r"Problem 'p' has the question \['\?'\]. Write a text or a number."),
        ({"id": "p", "question": "?", "answer": True}, "has the answer True"),
    ):
        with pytest.raises(ValueError, match=message):
            problem_from_row(row)


def test_the_figures_of_a_row_are_in_images_or_in_image():
    figure = {"bytes": b"1", "path": None}
    assert row_images({"images": ["a.png", "b.png"], "image": "c.png"}) == ["a.png", "b.png"]
    assert row_images({"images": "a.png"}) == ["a.png"]
    assert row_images({"images": figure}) == [figure]
    assert row_images({"images": [], "image": "c.png"}) == row_images({"images": [None], "image": "c.png"}) == ["c.png"]
    assert row_images({"images": None, "image": ["c.png", "d.png"]}) == ["c.png", "d.png"]
    assert row_images({"images": ("a.png",)}) == ["a.png"]
    assert row_images({}) == row_images({"images": []}) == row_images({"images": None, "image": None}) == []


def test_a_source_gives_problems_with_figures_beside_the_file(tmp_path):
    rows = [{"question": "1 + 1 = ?", "answer": 2, "images": ["a.png"]}, {"id": 7, "question": "?"}, {"id": "bad"}]
    write_jsonl(tmp_path / "problems.jsonl", rows)
    problems = ProblemSource(tmp_path / "problems.jsonl")
    assert problems.ids == ["0", "7", "bad"] and len(problems) == 3
    assert problems[0] == Problem("0", "1 + 1 = ?", (str(tmp_path / "a.png"),), "2", "text")
    assert problems[1].id == "7"
    with pytest.raises(ValueError, match="Problem 'bad' has an empty question"):
        problems[2]
    assert [problem.id for problem in ProblemSource(tmp_path / "problems.jsonl", 2)] == ["0", "7"]


def test_figures_of_all_forms_are_written_alike_and_without_folders(tmp_path):
    """Into one column, in any order; what is written may be published."""
    figure, buffer = Image.new("RGB", (4, 3), "red"), io.BytesIO()
    figure.save(buffer, "PNG")
    content = buffer.getvalue()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    forms = [str(path), content, {"bytes": content, "path": str(path)}, {"bytes": None, "path": str(path)}, figure]
    forms += [path, {"bytes": base64.b64encode(content).decode(), "path": "b.png"}, base64.b64encode(content).decode()]
    for images in (forms, forms[::-1]):
        stored = [stored_figure(image) for image in images]
        assert all(set(image) == {"bytes", "path"} for image in stored)
        rows = [("train", stored_problem(Problem(str(i), "?", images=tuple(images[i:])))) for i in range(len(images))]
        write_splits(tmp_path / "out", rows, problem_features(), ("train",))
        written = pyarrow.parquet.read_table(tmp_path / "out" / "train.parquet").to_pylist()
        assert [row["images"] for row in written] == [stored[i:] for i in range(len(stored))]
        assert all(image["path"] in (None, "a.png", "b.png") for image in stored)
        assert all(load_image(image).tobytes() == figure.tobytes() for image in stored)


def test_a_figure_of_no_bytes_is_a_broken_figure_and_not_a_problem_without_one():
    for broken in (b"", {"bytes": b"", "path": None}):
        for row in ({"image": broken}, {"images": [broken]}):
            assert row_images(row) == [broken]
    for absent in (None, float("nan"), "", [], [None], {"bytes": None, "path": None}):
        assert row_images({"images": absent}) == [], absent
