"""The nano world's exact labels of candidates' steps."""

from __future__ import annotations

from mmprm_hf.data import Candidate
from mmprm_hf.nano.world import make_problem
from mmprm_hf.stages.demo_stage import NanoRun
from mmprm_hf.stages.nano_truth import exact_truth_section, label_steps, right_answers

PROBLEM = make_problem("rectangle", 3)
STEPS = list(PROBLEM.solve())
WRONG = [STEPS[0] + "0", *STEPS[1:]]


def test_distinct_scored_steps_are_labelled_and_unparsable_ones_counted():
    candidates = [
        Candidate(tuple(WRONG), step_scores=(0.1,) * len(WRONG)),
        Candidate(tuple(WRONG), step_scores=(0.1,) * len(WRONG)),
        Candidate(("hm", STEPS[0]), step_scores=(0.5, 0.6)),
        Candidate(tuple(STEPS)),  # not scored
    ]
    by_step = label_steps([PROBLEM], [candidates], by_prefix=False)
    assert by_step.labels == [0, *[1] * (len(STEPS) - 1), 1] and by_step.num_unparsable == 1
    assert by_step.scores == [*[0.1] * len(WRONG), 0.6]
    by_prefix = label_steps([PROBLEM], [candidates], by_prefix=True)
    assert by_prefix.labels == [0] * (len(WRONG) + 1) and by_prefix.scores == by_step.scores


def test_right_answers_are_labelled_once_and_their_copies_count_where_one_is_drawn():
    def candidate(steps, verdict="correct", complete=True):
        scores = [0.5] * len(steps)
        return {"steps": steps, "complete": complete, "verdict": verdict, "step_scores": scores}

    candidates = [
        candidate(STEPS),
        candidate(WRONG),
        candidate(STEPS),
        candidate(["hm", *STEPS]),
        candidate(STEPS[:1], "incorrect"),
        candidate(STEPS[:2], complete=False),
    ]
    rows = [{"candidates": candidates, "chosen": 1}, {"candidates": candidates[4:], "chosen": None}]
    right = right_answers([PROBLEM, PROBLEM], rows)
    wrong_labels = [0, *[1] * (len(STEPS) - 1)]
    assert [labels for labels, _ in right.solutions] == [[1] * len(STEPS), wrong_labels]
    assert right.chosen == [wrong_labels] and right.num_unjudged == 1
    assert [[all(labels) for labels in row] for row in right.drawn_from] == [[True, False, True]]


def test_the_threshold_is_the_train_problems_and_never_sees_the_test_steps():
    def run(right: float, wrong: float) -> NanoRun:
        candidates = tuple(
            Candidate(tuple(steps), step_scores=tuple(scores))
            for steps, scores in ((STEPS, [right] * len(STEPS)), (WRONG, [wrong, *[right] * (len(WRONG) - 1)]))
        )
        row = {"candidates": [{**c.to_dict(), "verdict": "incorrect"} for c in candidates], "chosen": 0}
        return NanoRun([PROBLEM], [row], [candidates], {})

    section = exact_truth_section(test=run(right=0.4, wrong=0.1), train=run(right=0.9, wrong=0.6))
    assert section["step_level"]["train_macro_f1"] == 1.0
    for level in (section["step_level"], section["prefix_level"]):
        # Between the train scores, so that all test steps lie below it and are called wrong.
        assert 0.6 < level["threshold"] <= 0.9
        assert level["accuracy"] == level["num_negative"] / level["num_steps"]
