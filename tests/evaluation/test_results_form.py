"""One form of results: what is written is what is read, and what an answer costs."""

from __future__ import annotations

import pytest

from mmprm_hf.evaluation.curves import best_of_n_curves
from mmprm_hf.evaluation.diagnosis import diagnose
from mmprm_hf.evaluation.evaluators import best_of_n_report
from mmprm_hf.evaluation.results import answer_costs, make_results
from mmprm_hf.files import write_json
from mmprm_hf.rows import read_results


def candidate(answer, score, num_tokens=10):
    verdict = "correct" if answer == "7" else "incorrect"
    common = {"steps": ["s"], "step_scores": [score], "complete": True, "num_tokens": num_tokens}
    return {**common, "answer": answer, "verdict": verdict}


ROWS = [
    {"problem_id": "a", "greedy": candidate("7", 0.5, 6), "candidates": [candidate("7", 0.9), candidate("8", 0.1, 20)]},
    {"problem_id": "b", "greedy": None, "candidates": [candidate("8", 0.9, 30), candidate("8", 0.4, 40)]},
]


def test_what_is_written_is_read(tmp_path):
    report, curves, diagnosis = best_of_n_report(ROWS), best_of_n_curves(ROWS), diagnose(ROWS)
    rows = {"num_rows": 3, "num_used": 2, "problems": {"no gold answer": 1}}
    cost = answer_costs(ROWS, {"generate": 2.0, "score": 1.0, "greedy": 0.5})
    results = make_results("x", rows=rows, cost=cost, best_of_n=report, curves=curves, diagnosis=diagnosis)
    write_json(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results
    assert list(results)[-3:] == ["best_of_n", "curves", "diagnosis"], "a section that is None is left out"


def test_figures_that_cannot_be_read_again_are_not_written():
    report = best_of_n_report(ROWS)
    wrong = {**report, "metrics": {"best_of_n": {"value": 83.6, "ci_low": 0.1, "ci_high": 0.9}}}
    with pytest.raises(
        ValueError, match=r"best_of_n.metrics.best_of_n.value is 83.6; expected at least 0 and at most 1"
    ):
        make_results("x", best_of_n=wrong)
    with pytest.raises(ValueError, match="has none of the sections best_of_n, curves, diagnosis, exact_truth, steps"):
        make_results("x", best_of_n=None)


def test_what_an_answer_costs():
    cost = answer_costs(ROWS, {"generate": 2.0, "score": 1.0, "greedy": 0.5})
    assert cost["num_tokens"] == 100 and cost["seconds"] == {"generate": 2.0, "score": 1.0, "greedy": 0.5}
    assert cost["answers"] == {
        "greedy": {"tokens": 6.0, "seconds": 0.5},
        "mean_pass_at_1": {"tokens": 25.0, "seconds": 0.5},
        "majority_vote": {"tokens": 50.0, "seconds": 1.0},
        "best_of_n": {"tokens": 50.0, "seconds": 1.5},
        "weighted_vote": {"tokens": 50.0, "seconds": 1.5},
    }


def test_costs_that_are_not_known():
    timed = [{**row, "seconds": {"generate": 1.0, "score": 0.25}} for row in ROWS]
    assert answer_costs(timed)["answers"]["best_of_n"]["seconds"] == 1.25
    assert answer_costs([timed[0], ROWS[1]])["seconds"] is None, "a sum that leaves a problem out is not a sum"
    uncounted = [{"candidates": [{"num_tokens": 0}]}, {"candidates": [{}]}]
    assert answer_costs(uncounted) is None and answer_costs([]) is None
    assert answer_costs(uncounted, {"generate": 4.0})["answers"] == {
        "mean_pass_at_1": {"tokens": None, "seconds": 2.0},
        "majority_vote": {"tokens": None, "seconds": 2.0},
    }
