"""``pipeline("process-reward")``: plain scores of steps that are written already."""

import pytest
import torch
from transformers import pipeline

from mmprm_hf import MMPRMModel, PRMScorer, ProcessRewardPipeline
from mmprm_hf.nano import POLICY_PATH, PRM_PATH, make_problem

PROBLEM = make_problem("triangle_angle", 7)
RIGHT, WRONG = ["A=22", "B=61", "A+B=22+61=83"], ["A=22", "B=61", "A+B=22+61=93"]
ROW = {"images": PROBLEM.figure(), "text": PROBLEM.question}


@pytest.fixture(scope="module")
def score():
    return pipeline("process-reward", model=PRM_PATH)


def test_one_solution_gives_plain_numbers_those_of_the_scorer(score):
    output = score(**ROW, steps=WRONG)
    expected = PRMScorer.from_pretrained(PRM_PATH).score(PROBLEM.to_problem(), [WRONG])[0].step_scores
    assert output["step_scores"] == pytest.approx(list(expected), abs=1e-5)  # float32, other batches
    assert output["score"] == min(output["step_scores"]) < 0.1 < output["step_scores"][0]
    assert all(type(value) is float for value in output["step_scores"])


def test_many_solutions_of_a_problem_and_many_problems(score):
    outputs = score(**ROW, steps=[RIGHT, WRONG, []])
    assert outputs[0]["score"] > outputs[1]["score"] and outputs[2] == {"step_scores": None, "score": None}
    rows = [{**ROW, "steps": RIGHT}, {**ROW, "steps": [RIGHT, WRONG]}]
    listed = score(rows)
    assert listed[0] == outputs[0] and [row["score"] for row in listed[1]] == [row["score"] for row in outputs[:2]]
    assert list(score((row for row in rows), batch_size=1))[0]["score"] == pytest.approx(outputs[0]["score"], abs=1e-5)
    figures = [PROBLEM.figure()] * 2
    assert score(figures, [PROBLEM.question] * 2, [RIGHT, WRONG])[1]["score"] == pytest.approx(
        outputs[1]["score"], abs=1e-5
    )


def test_options_reach_the_model(score):
    assert score(**ROW, steps=WRONG, aggregation="max")["score"] == max(score(**ROW, steps=WRONG)["step_scores"])
    half = ProcessRewardPipeline.from_pretrained(PRM_PATH, dtype=torch.bfloat16, device="cpu")
    assert half.model.dtype == torch.bfloat16 and half(**ROW, steps=WRONG)["score"] < 0.1
    loaded = pipeline("process-reward", model=half.model, processor=half.processor)
    assert loaded(**ROW, steps=WRONG) == half(**ROW, steps=WRONG)


def test_what_is_missing_is_said(score):
    for steps, message in ((None, "Found steps=None. Give steps"), ("A=22", "Found steps='A=22'"), ([3], "steps=.3.")):
        with pytest.raises(ValueError, match=message):
            score(**ROW, steps=steps)
    with pytest.raises(ValueError, match="Found 1 entries in steps for 2 problems"):
        score(None, ["a?", "b?"], [RIGHT])
    with pytest.raises(ValueError, match="Unknown aggregation 'avg'"):
        score(**ROW, steps=RIGHT, aggregation="avg")
    with pytest.raises(ValueError, match="Found a Llava.* It needs a PRM"):
        pipeline("process-reward", model=str(POLICY_PATH))
    in_memory = MMPRMModel.from_pretrained(PRM_PATH)
    assert pipeline("process-reward", model=in_memory)(**ROW, steps=RIGHT) == score(**ROW, steps=RIGHT)
    in_memory.config.name_or_path = in_memory.name_or_path = ""
    with pytest.raises(ValueError, match="without processor, and it comes from no checkpoint. Pass processor=..."):
        pipeline("process-reward", model=in_memory)
