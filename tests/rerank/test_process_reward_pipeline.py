"""``pipeline("process-reward")``: plain scores of steps that are written already."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, pipeline

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


def test_the_shipped_prm_is_called_nano(score):
    for loaded in (pipeline("process-reward", model="nano"), ProcessRewardPipeline.from_pretrained("nano")):
        assert loaded(**ROW, steps=WRONG) == score(**ROW, steps=WRONG)


def test_solutions_may_be_texts_in_any_format(score, caplog):
    expected = score(**ROW, steps=[RIGHT, WRONG])
    lines, tagged = "\n".join(RIGHT), "".join(f"<step>{step}</step>" for step in WRONG)
    outputs = score(**ROW, solution=[lines, f"<think>Hm.</think>{tagged}<answer>93</answer>", "<think>Hm."])
    assert [output["steps"] for output in outputs] == [RIGHT, WRONG, []]
    assert [output["score"] for output in outputs[:2]] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    assert outputs[2]["step_scores"] is None
    assert "The solution '<think>Hm.' gets no score: Found a thought that never ends" in caplog.text
    thoughts = score(**ROW, solution=f"<think>A=22\n\nB=61</think>{RIGHT[2]}\nAnswer: 83", thoughts=True)
    assert thoughts["steps"] == RIGHT and thoughts["score"] == pytest.approx(expected[0]["score"], abs=1e-5)
    rows = [{**ROW, "solution": lines}, {**ROW, "steps": RIGHT}]
    assert [sorted(output) for output in score(rows)] == [["score", "step_scores", "steps"], ["score", "step_scores"]]
    assert len(score(None, ["a?", "b?"], solution=[lines, [lines, lines]])[1]) == 2
    for wrong, message in (
        ({"steps": RIGHT, "solution": lines}, "Found steps and solution"),
        ({"solution": [3]}, "solution=.3.. It is the text of a solution"),
    ):
        with pytest.raises(ValueError, match=message):
            score(**ROW, **wrong)


def test_a_solution_without_a_step_or_with_a_blank_one_is_named(score, caplog):
    for steps, message in (
        ([], "Solution 0 of 'What is A?' has no steps: it gets no score."),
        (["  "], "Solution 0 of 'What is A?' has a blank step at step_index 0: it gets no score."),
        (
            [["A=22"], ["A=22", ""], []],
            "Solution 1 of 'What is A?' has a blank step at step_index 1: it gets no score (1 more",
        ),
    ):
        caplog.clear()
        outputs = score(text="What is A?", steps=steps)
        assert [record.levelname for record in caplog.records] == ["WARNING"] and message in caplog.text
        assert (outputs[-1] if isinstance(outputs, list) else outputs) == {"step_scores": None, "score": None}


def test_a_wrong_model_is_told_before_any_weights_are_read():
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    for model, message in (
        ("no/such", "The PRM 'no/such' cannot be loaded: it is not a folder here, and the Hub does not give it"),
        (str(POLICY_PATH), "policy' is not a PRM: its model_type is 'llava', not 'mm_prm'"),
        (policy, "Found a Llava.* It needs a PRM"),
    ):
        with pytest.raises(ValueError, match=message) as failed:
            pipeline("process-reward", model=model)
        assert "\n" not in str(failed.value)


def test_what_is_missing_is_said(score):
    for steps, message in (
        (None, "Found steps=None. Give steps"),
        ("A=22", "steps='A=22'. Give steps=.* or solution="),
        ([3], "steps=.3."),
    ):
        with pytest.raises(ValueError, match=message):
            score(**ROW, steps=steps)
    with pytest.raises(ValueError, match="Found 1 entries in steps for 2 problems"):
        score(None, ["a?", "b?"], [RIGHT])
    with pytest.raises(ValueError, match="Unknown aggregation 'avg'"):
        score(**ROW, steps=RIGHT, aggregation="avg")
    for name, message in (
        ({"image": "a.png"}, "process-reward has no argument 'image'. Give images"),
        ({"question": "What is A?"}, "no argument 'question'. Give text"),
        ({"completions": RIGHT}, "no argument 'completions'. Give steps, or solution as text"),
        ({"step": RIGHT}, "Unknown option 'step' of process-reward. Did you mean 'steps'"),
    ):
        with pytest.raises(ValueError, match=message):
            score(**name)
    in_memory = MMPRMModel.from_pretrained(PRM_PATH)
    assert pipeline("process-reward", model=in_memory)(**ROW, steps=RIGHT) == score(**ROW, steps=RIGHT)
    in_memory.config.name_or_path = in_memory.name_or_path = ""
    with pytest.raises(ValueError, match="without processor, and it comes from no checkpoint. Pass processor=..."):
        pipeline("process-reward", model=in_memory)
