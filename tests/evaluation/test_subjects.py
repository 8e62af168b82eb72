"""The best-of-N table by subject: a gain over all problems may come from a few kinds of them."""

import pytest

from mmprm_hf.evaluation import best_of_n_by_subject, best_of_n_report
from mmprm_hf.publish import format_results
from mmprm_hf.rows import check_results


def problem(subject, *candidates):
    """A problem whose candidates are (answer, right, step score)."""
    return {
        "problem_id": f"{subject}-{candidates}",
        "subject": subject,
        "candidates": [
            {
                "steps": ["a"],
                "answer": answer,
                "complete": True,
                "verdict": "correct" if is_right else "incorrect",
                "step_scores": None if score is None else [score],
            }
            for answer, is_right, score in candidates
        ],
    }


ALGEBRA = [problem("algebra", ("1", True, 0.9), ("2", False, 0.1), ("2", False, 0.2)) for _ in range(3)]
GEOMETRY = [problem("geometry", ("1", False, 0.9), ("2", True, 0.1), ("2", True, 0.2)) for _ in range(3)]


def test_what_a_prm_wins_in_one_subject_and_loses_in_another_stands_apart():
    found = best_of_n_by_subject([*GEOMETRY, *ALGEBRA])["subjects"]
    assert list(found) == ["algebra", "geometry"] and found["algebra"]["num_problems"] == 3
    assert found["algebra"]["metrics"]["best_of_n"] == 1.0 and found["algebra"]["metrics"]["majority_vote"] == 0.0
    difference = found["algebra"]["against_majority_vote"]["best_of_n"]
    assert (difference["difference"], difference["num_better"], difference["num_worse"]) == (1.0, 3, 0)
    assert found["geometry"]["against_majority_vote"]["best_of_n"]["difference"] == -1.0
    assert best_of_n_report([*GEOMETRY, *ALGEBRA])["metrics"]["best_of_n"]["value"] == 0.5


def test_one_subject_needs_no_table_and_none_is_a_subject_of_its_own():
    assert best_of_n_by_subject(ALGEBRA) is None
    without = [{**row, "subject": None} for row in GEOMETRY]
    assert list(best_of_n_by_subject([*ALGEBRA, *without])["subjects"]) == ["algebra", "none"]


def test_a_subject_that_no_prm_has_read_is_not_measured():
    unread = [problem("unread", ("1", True, None), ("2", False, None), ("2", False, None))]
    found = best_of_n_by_subject([*ALGEBRA, *unread])["subjects"]["unread"]
    assert found["metrics"]["best_of_n"] is None and found["metrics"]["majority_vote"] == 0.0
    assert found["against_majority_vote"]["best_of_n"]["difference"] is None


def test_problems_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"problems with \[1, 3\] candidates"):
        best_of_n_by_subject([*ALGEBRA, problem("algebra", ("1", True, 0.5)), *GEOMETRY])


def test_the_terminal_shows_where_a_gain_comes_from():
    rows = [*GEOMETRY, *ALGEBRA]
    document = {
        "schema_version": 2,
        "benchmark": None,
        "policy": None,
        "prm": None,
        "settings": {},
        "rows": None,
        "cost": None,
        "best_of_n": best_of_n_report(rows),
        "subjects": best_of_n_by_subject(rows),
    }
    text = format_results(check_results(document, "results"))
    assert "By subject" in text
    (line,) = [line for line in text.splitlines() if line.startswith("algebra")]
    assert "+100.0 points" in line and "100.0 %" in line
