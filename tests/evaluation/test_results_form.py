"""One form of results: what it refuses, what an answer costs, and that all that is written has it."""

from __future__ import annotations

import json

import jsonschema
import pytest
from support.layout import ROOT

from mmprm_hf.evaluation.curves import best_of_n_curves
from mmprm_hf.evaluation.diagnosis import diagnose
from mmprm_hf.evaluation.evaluators import best_of_n_report
from mmprm_hf.evaluation.results import SECTIONS, answer_costs, make_results, results_schema

COMMITTED = ROOT / "recipes" / "nano" / "results" / "evaluate.json"


def candidate(answer, score, num_tokens=10):
    verdict = "correct" if answer == "7" else "incorrect"
    common = {"steps": ["s"], "step_scores": [score], "complete": True, "num_tokens": num_tokens}
    return {**common, "answer": answer, "verdict": verdict}


ROWS = [
    {"problem_id": "a", "greedy": candidate("7", 0.5, 6), "candidates": [candidate("7", 0.9), candidate("8", 0.1, 20)]},
    {"problem_id": "b", "greedy": None, "candidates": [candidate("8", 0.9, 30), candidate("8", 0.4, 40)]},
]


def valid(results):
    jsonschema.Draft202012Validator(results_schema()).validate(json.loads(json.dumps(results, allow_nan=False)))
    return results


def test_the_schema_is_one_and_knows_every_section():
    jsonschema.Draft202012Validator.check_schema(results_schema())
    assert set(SECTIONS) < set(results_schema()["properties"])
    report, curves, found = best_of_n_report(ROWS), best_of_n_curves(ROWS), diagnose(ROWS)
    rows = {"num_rows": 3, "num_used": 2, "problems": {"no gold answer": 1}}
    cost = answer_costs(ROWS, {"generate": 2.0, "score": 1.0, "greedy": 0.5})
    valid(make_results("x", rows=rows, cost=cost, best_of_n=report, curves=curves, diagnosis=found))
    for broken in (
        {**report, "metrics": {"best_of_n": {"value": 83.6, "ci_low": 0.1, "ci_high": 0.9}}},
        {name: value for name, value in report.items() if name != "num_candidates"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            valid(make_results("x", best_of_n=broken))
    with pytest.raises(jsonschema.ValidationError):
        valid({**make_results("x", best_of_n=report), "accuracy": 1.0})


def test_committed_results_have_the_form():
    valid(json.loads(COMMITTED.read_text(encoding="utf-8")))


def test_what_is_refused():
    with pytest.raises(ValueError, match="Unknown sections table. Results have best_of_n, curves"):
        make_results("x", table={})
    with pytest.raises(ValueError, match="Found no section of figures"):
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
    assert answer_costs([timed[0], ROWS[1]])["seconds"] is None, "a sum that leaves a problem out is no sum"
    untold = [{"candidates": [{"num_tokens": 0}]}, {"candidates": [{}]}]
    assert answer_costs(untold) is None and answer_costs([]) is None
    assert answer_costs(untold, {"generate": 4.0})["answers"] == {
        "mean_pass_at_1": {"tokens": None, "seconds": 2.0},
        "majority_vote": {"tokens": None, "seconds": 2.0},
    }
