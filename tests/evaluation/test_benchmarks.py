"""Benchmarks: the wording of the published evaluation, answers that verify, rows that give no problem."""

from __future__ import annotations

import json

import pytest
from support.layout import SHARED

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Verdict
from mmprm_hf.evaluation.benchmarks import READERS, load_benchmark
from mmprm_hf.files import write_jsonl

DATA = SHARED / "data"
QUERY = "Hint: Please answer with the letter.\nQuestion: Is it?\nChoices:\n(A) Yes\n(B) No"
VERSE = "Please answer.\nQuestion: What is angle C?\nChoices:\nA:30°\nB:40°\nC:50°\n"
ROWS = {
    "own": {"question": "Which is even?", "options": ["3", "4"], "answer": "B"},
    "mm_k12": {"id": "k1", "index": 0, "question": "Find the angle.", "answer": "$$75$$", "image": "a.png"},
    "olympiadbench": {
        "id": 1606,
        "question": "How high is it?",
        "context": "A ball is thrown.",
        "final_answer": ["$2\\sqrt{3}$"],
        "unit": "m",
        **{f"image_{number}": f"{number}.png" for number in range(1, 8)},
        "image_8": None,
    },
    "mathvista": {
        "pid": "5",
        "query": QUERY,
        "question": "Is it?",
        "answer": "No",
        "choices": ["Yes", "No"],
        "precision": None,
        "image": "images/5.jpg",
        "decoded_image": {"bytes": b"x", "path": None},
    },
    "mathverse": {"sample_index": "1", "query_cot": VERSE, "question": "?", "answer": "C", "image": "a.png"},
    "mathvision": {"id": "9", "question": "Which?\n<image1>", "options": ["1", "2"], "answer": "B", "image": "a.png"},
}
RIGHT = {
    "own": "4",
    "mm_k12": "75",
    "olympiadbench": "2\\sqrt{3} m",
    "mathvista": "B",
    "mathverse": "50°",
    "mathvision": "2",
}
WRONG = {"own": "A", "mm_k12": "76", "olympiadbench": "3 m", "mathvista": "Yes", "mathverse": "B", "mathvision": "1"}
TEXTS = {
    "own": "Which is even?\n(A) 3\n(B) 4",
    "mm_k12": "Find the angle.",
    "olympiadbench": "A ball is thrown.\nHow high is it?",
    "mathvista": QUERY,
    "mathverse": VERSE,
    "mathvision": "Which?\n<image1>\n(A) 1\n(B) 2\n",
}


def opened(name, rows, folder):
    plain = [{key: value for key, value in row.items() if key != "decoded_image"} for row in rows]
    write_jsonl(folder / "rows.jsonl", plain)
    return load_benchmark(name, folder / "rows.jsonl")


def problem_or_reason(benchmark, index):
    """A problem's id, or why the row is not a problem."""
    try:
        return benchmark[index].id
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", READERS)
def test_wording_and_answers(name):
    problem = READERS[name](ROWS[name], "1")
    assert problem.question == TEXTS[name]
    options = {"answer_type": problem.answer_type, "options": problem.options}
    assert RuleVerifier().verify(RIGHT[name], problem.answer, **options) is Verdict.CORRECT
    assert RuleVerifier().verify(WRONG[name], problem.answer, **options) is Verdict.INCORRECT
    answer = str(problem.answer)
    assert name in ("own", "mathvista", "mathvision", "mathverse") or answer not in problem.question


def test_figures():
    assert READERS["olympiadbench"](ROWS["olympiadbench"], "1").images == tuple(f"{n}.png" for n in range(1, 6))
    assert READERS["olympiadbench"](ROWS["olympiadbench"], "1").meta == {"num_figures": 7}
    assert READERS["mathvista"](ROWS["mathvista"], "1").images == ({"bytes": b"x", "path": None},)


def test_mathvision_without_options_and_with_mere_letters():
    row = {**ROWS["mathvision"], "options": list("ABCDE")}
    assert READERS["mathvision"](row, "1").question == "Which?\n<image1>\n"
    assert READERS["mathvision"]({**row, "options": []}, "1").question == "Which?\n<image1>\n"
    assert READERS["mathvision"]({**row, "options": list("ABCD")}, "1").question.endswith("(C) C\n(D) D\n")


def test_mathvision_names_the_parts_of_a_figure_that_is_several():
    row = {**ROWS["mathvision"], "question": "Which is <image1>?", "options": ["<image2>", "<image3>"]}
    question = READERS["mathvision"](row, "1").question
    assert question == "Which is (image 1)?\n(A) (image 2)\n(B) (image 3)\n"


def test_a_problem_with_another_number_of_placeholders_than_figures_has_that_reason(tmp_path):
    row = {"id": "1", "question": "In <image1> and <image2>?", "answer": "4", "image": "a.png"}
    reason = problem_or_reason(opened("own", [row], tmp_path), 0)
    assert reason.startswith("Found 2 placeholders ('<image1>', '<image2>') in the question but 1 figure.")


def test_olympiadbench_shows_all_figures_of_a_problem_that_places_them():
    figures = {f"image_{number}": f"{number}.png" for number in range(1, 8)}
    row = {**ROWS["olympiadbench"], **figures}
    assert len(READERS["olympiadbench"](row, "1").images) == 5
    placed = {**row, "question": " ".join(f"<image_{number}>" for number in range(1, 8))}
    assert len(READERS["olympiadbench"](placed, "1").images) == 7


def test_choices_of_a_mathverse_query_keep_their_letters():
    query = "Question: How many?\nChoices:\nA:9\nB:10\nC:2\nD:no value\nThink step by step."
    problem = READERS["mathverse"]({**ROWS["mathverse"], "query_cot": query}, "1")
    assert problem.options == ("9", "10", "2", "no value")


def test_precision_of_mathvista():
    row = {**ROWS["mathvista"], "choices": None, "precision": 1.0, "answer": "1.2"}
    problem = READERS["mathvista"](row, "1")
    assert problem.meta == {"precision": 1} and problem.options == ()


def test_rows_that_are_not_problems_are_errors_with_their_reason(tmp_path):
    good = ROWS["mathvision"]
    rows = [
        good,
        {**good, "id": "a", "answer": None},
        {**good, "id": "b", "question": ["?"]},
        good,
        {**good, "id": "c"},
        {**good, "id": "d", "answer": " "},
    ]
    benchmark = opened("mathvision", rows, tmp_path)
    reasons = ["9", "answer is empty", "question is list", "the id comes twice", "c", "answer is empty"]
    assert [problem_or_reason(benchmark, index) for index in range(len(benchmark))] == reasons
    assert benchmark.ids == ["9", "a", "b", "9", "c", "d"]
    assert benchmark[0].images == (str(tmp_path / "a.png"),)


def test_a_problem_without_its_figure_would_be_another(tmp_path):
    for name in ("mm_k12", "mathvista", "mathverse", "mathvision"):
        row = {key: value for key, value in ROWS[name].items() if "image" not in key}
        assert problem_or_reason(opened(name, [row], tmp_path), 0) == "there is no figure", name


def test_numbered_figures_lie_beside_the_file(tmp_path):
    problem = opened("olympiadbench", [ROWS["olympiadbench"]], tmp_path)[0]
    assert problem.images[:2] == (str(tmp_path / "1.png"), str(tmp_path / "2.png"))
    text_only = {key: value for key, value in ROWS["olympiadbench"].items() if not key.startswith("image_")}
    assert opened("olympiadbench", [text_only], tmp_path)[0].images == ()


def test_no_answer_is_not_a_gold_answer(tmp_path):
    for answer in ([None], [""], [" $ $ "], [], None):
        row = {**ROWS["olympiadbench"], "final_answer": answer}
        assert problem_or_reason(opened("olympiadbench", [row], tmp_path), 0) == "there is no answer", answer


def test_values_that_no_text_can_hold(tmp_path):
    half = [{**ROWS["mathvision"], "question": "Which\ud800?"}, {**ROWS["mathvision"], "id": "2", "answer": "\udfff"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in half))
    benchmark = load_benchmark("mathvision", tmp_path / "rows.jsonl")
    for index in range(2):
        assert "has half a character (a lone surrogate) in its" in problem_or_reason(benchmark, index)
    row = {**ROWS["mathvista"], "decoded_image": None, "precision": "1e400"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    reason = problem_or_reason(load_benchmark("mathvista", tmp_path / "rows.jsonl"), 0)
    assert reason.startswith("a value has the wrong type")


def test_unknown_benchmark(tmp_path):
    with pytest.raises(
        ValueError, match="Unknown benchmark 'math'. Did you mean .* Choose one of own, mm_k12, olympiadbench"
    ):
        load_benchmark("math", tmp_path / "rows.jsonl")


def test_mathvision_as_it_is():
    path = DATA / "mathvision" / "problems.jsonl"
    if not path.is_file():
        pytest.skip("mathvision is not there: shared/ is absent beside the repository")
    benchmark = load_benchmark("mathvision", path)
    problems = {problem.id: problem for problem in map(benchmark.__getitem__, range(len(benchmark)))}
    assert len(problems) == 1000
    assert problems["3"].question == "Which kite has the longest string?\n<image1>\n"
    assert problems["773"].question.endswith("(D) all\n(E) None of these answers\n")
    assert sum(problem.answer_type == "choice" for problem in problems.values()) == 505
