"""Two evaluations of the same candidates are compared problem by problem."""

from __future__ import annotations

import pytest
from support.result_documents import best_of_n_document

from mmprm_hf.files import read_json, write_json, write_jsonl
from mmprm_hf.publish.reports import write_report
from mmprm_hf.publish.results_table import write_results_table


def candidate(answer, score):
    """A candidate of one step; 7 is the right answer."""
    verdict = "correct" if answer == "7" else "incorrect"
    fields = {"steps": [f"x = {answer}"], "answer": answer, "complete": True, "verdict": verdict}
    return {**fields, "step_scores": [score], "score": score, "text": answer}


def evaluation(folder, prm, scores, answers=("7", "5")):
    """A results file with candidates beside it: of each problem as many answers as given, with these scores."""
    rows = [
        {"problem_id": f"p{index}", "question": "?", "answer": "7", "figures": [], "chosen": 0, "candidates": pair}
        for index, pair in enumerate([candidate(a, s) for a, s in zip(answers, row, strict=True)] for row in scores)
    ]
    write_jsonl(folder / "candidates.jsonl", rows)
    write_json(folder / "results.json", {**best_of_n_document(), "prm": prm})
    return folder / "results.json"


GOOD, BAD = [(0.9, 0.1)] * 8, [(0.1, 0.9)] * 6 + [(0.9, 0.1)] * 2


def test_the_difference_of_two_prms_is_paired_by_problem(tmp_path):
    first, second = evaluation(tmp_path / "a", "old", BAD), evaluation(tmp_path / "b", "new", GOOD)
    table = write_results_table([first, second])
    (line,) = [line for line in table.split("**The same candidates**")[1].splitlines() if " minus " in line]
    # Six problems are better and none is worse: of 64 flips of signs, two lie as far from zero.
    assert "PRM new minus" in line and "| 8 | +75.0 points (" in line and "p = 0.031)" in line
    page = write_report([first, second], tmp_path / "page.html").read_text()
    assert "The same candidates" in page and "p value of a paired sign-flip test" in page


def test_other_candidates_are_not_compared(tmp_path):
    first = evaluation(tmp_path / "a", "old", BAD)
    others = evaluation(tmp_path / "b", "new", GOOD, answers=("7", "6"))
    assert "The same candidates" not in write_results_table([first, others])
    (tmp_path / "b" / "candidates.jsonl").unlink()
    assert "The same candidates" not in write_results_table([first, others])


def test_a_damaged_candidates_file_is_named(tmp_path):
    first, second = evaluation(tmp_path / "a", "old", BAD), evaluation(tmp_path / "b", "new", GOOD)
    (tmp_path / "b" / "candidates.jsonl").write_text("{")
    with pytest.raises(ValueError, match="candidates.jsonl"):
        write_results_table([first, second])


def test_one_prm_under_two_aggregations_is_named_by_them(tmp_path):
    paths = [evaluation(tmp_path / name, "prm", GOOD) for name in ("a", "b")]
    document = read_json(paths[1])
    document["best_of_n"]["aggregation"] = "mean"
    write_json(paths[1], document)
    assert "aggregation mean minus tiny · aggregation min" in write_results_table(paths)
    page = write_report(paths, tmp_path / "page.html").read_text()
    assert page.count("tiny · aggregation mean") > 2 and "tiny · 1" not in page
