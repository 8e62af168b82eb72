"""The candidates file: what is filled in, what is refused, and that what a run writes comes back."""

import math

import pytest

from mmprm_hf.data import Candidate, Verdict
from mmprm_hf.files import write_jsonl
from mmprm_hf.rows import check_candidate_row, read_candidate_rows

RIGHT = {**Candidate(("A=1", "so 1"), "1", step_scores=(0.5, 1.0), score=0.5).to_dict(), "verdict": "correct"}
ROW = {"problem_id": "p", "question": "A?", "answer": "1", "figures": [], "candidates": [RIGHT], "chosen": 0}


def candidate(**changes):
    """The first candidate of a row, checked."""
    row = {**ROW, "candidates": [{**RIGHT, **changes}]}
    return check_candidate_row(row, "row 1")["candidates"][0]


def test_rows_come_back_as_they_were_written(tmp_path):
    failed = {
        "problem_id": "q",
        "question": "?",
        "answer": None,
        "candidates": [],
        "chosen": None,
        "error": "no figure",
    }
    write_jsonl(tmp_path / "candidates.jsonl", [{**ROW, "greedy": RIGHT, "num_tokens": 9}, failed])
    first, second = read_candidate_rows(tmp_path / "candidates.jsonl", need_verdicts=True)
    assert first == {**ROW, "greedy": RIGHT, "num_tokens": 9}
    assert second == {**failed, "greedy": None}
    assert Candidate.from_dict(first["candidates"][0]) == Candidate(
        ("A=1", "so 1"), "1", step_scores=(0.5, 1.0), score=0.5
    )


def test_what_is_left_out_has_its_default():
    row = check_candidate_row({"problem_id": "p", "candidates": [{"steps": ["a"]}]}, "row 1")
    (entry,) = row["candidates"]
    assert entry.pop("verdict") is Verdict.UNDECIDED
    assert entry == {"steps": ["a"], "answer": None, "complete": True, "step_scores": None, "score": None}
    null = check_candidate_row({"problem_id": "a", "candidates": [{"steps": ["a"], "complete": None}]}, "row 1")
    assert null["candidates"][0]["complete"] is True  # a null is absent, as everywhere
    assert row["greedy"] is None
    assert check_candidate_row({"problem_id": "p"}, "row 1")["candidates"] == []


def test_scores_that_json_cannot_hold_are_none():
    for score in (None, math.nan, -math.inf, "0.5"):
        assert candidate(score=score)["score"] is None
    assert candidate(score=0.25)["score"] == 0.25
    assert candidate(step_scores=[])["step_scores"] is None


def test_without_a_gold_answer_every_verdict_is_undecided():
    row = check_candidate_row({**ROW, "answer": None, "greedy": RIGHT}, "row 1")
    assert row["candidates"][0]["verdict"] is row["greedy"]["verdict"] is Verdict.UNDECIDED
    assert candidate()["verdict"] is Verdict.CORRECT


def test_wrong_rows_are_refused_by_name():
    for change, message in (
        ({"candidates": "a"}, r"Found candidates='a' of problem 'p', row 3\. They are a list of objects"),
        ({"candidates": ["a"]}, r"Candidate 0 of problem 'p', row 3 is a str"),
        ({"greedy": "a"}, r"Candidate greedy of problem 'p', row 3 is a str"),
        ({"chosen": 1}, r"Found chosen=1 of 1 candidates of problem 'p'"),
        ({"chosen": True}, r"Found chosen=True"),
        ({"chosen": -1}, r"Found chosen=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_candidate_row({**ROW, **change}, "row 3")
    for row in (["p"], "p", {"candidates": []}):
        with pytest.raises(ValueError, match=r"in row 3\. A row is an object with problem_id and candidates"):
            check_candidate_row(row, "row 3")


def test_wrong_candidates_are_refused_by_name():
    for change, message in (
        ({"steps": "A=1"}, "has steps='A=1'. Steps are a list of texts"),
        ({"steps": [1, 2]}, "Steps are a list of texts"),
        ({"answer": 1}, "has answer=1. An answer is a text or null"),
        ({"complete": "yes"}, "has complete='yes'. It must be true or false"),
        ({"verdict": "right"}, "has verdict='right'. Use one of correct, incorrect, undecided"),
        ({"step_scores": [0.5]}, "has 2 steps but step_scores=.*Each step needs one score"),
        ({"step_scores": 0.5}, "has 2 steps but step_scores='0.5'"),
        ({"step_scores": [0.5, 50]}, "has the step score 50. It must be a number in .0, 1., not a percentage"),
        ({"step_scores": [0.5, True]}, "has the step score True"),
        ({"step_scores": [0.5, math.nan]}, "has the step score nan"),
    ):
        with pytest.raises(ValueError, match=message):
            candidate(**change)


def test_verdicts_are_needed_only_where_they_are_asked_for(tmp_path):
    unjudged = {**ROW, "candidates": [RIGHT, {"steps": ["a"]}]}
    assert check_candidate_row(unjudged, "row 1")["candidates"][1]["verdict"] is Verdict.UNDECIDED
    with pytest.raises(ValueError, match="Candidate 1 of problem 'p', row 1 has no verdict"):
        check_candidate_row(unjudged, "row 1", need_verdicts=True)


def test_files_without_rows_and_broken_ones_are_refused(tmp_path):
    path = tmp_path / "candidates.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"Found 0 rows in .*candidates\.jsonl"):
        read_candidate_rows(path)
    path.write_text('{"problem_id": "p"}\n{"problem_id"')
    with pytest.raises(ValueError, match="Line 2 of"):
        read_candidate_rows(path)
    write_jsonl(path, [ROW, {**ROW, "chosen": 5}])
    with pytest.raises(ValueError, match=r"problem 'p', row 2 of .*candidates\.jsonl"):
        read_candidate_rows(path)
