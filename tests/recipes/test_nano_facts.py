"""Facts of the nano cards come from committed results, and the columns that cards name are those of the code."""

from __future__ import annotations

import json

import pytest
import yaml
from support.layout import ROOT, import_recipe

from mmprm_hf.labelling.label_rows import label_features
from mmprm_hf.labelling.label_trees import tree_features
from mmprm_hf.labelling.labels import IGNORE_LABEL
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rows.problem_rows import problem_features

NANO = ROOT / "recipes" / "nano"


def committed(card: str) -> dict:
    return json.loads((ROOT / card / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def facts():
    return import_recipe("nano", "facts")


def test_nano_facts_are_those_of_the_results(facts):
    evaluation = facts.read(NANO / "results" / "evaluate.json")
    assert facts.policy_facts(evaluation) == committed("model_cards/nano-policy")
    assert facts.prm_facts(evaluation) == committed("model_cards/nano-prm")
    assert facts.dataset_facts() == committed("dataset_cards/nano")
    assert facts.steps_facts() == committed("dataset_cards/nano-steps")


def test_cards_name_the_columns_of_the_code():
    paths, trees, problems = list(label_features()), list(tree_features()), list(problem_features())
    for card in ("nano", "mm-k12"):
        assert list(committed(f"dataset_cards/{card}")["features"]) == problems
    for card in ("nano-steps", "mm-prm-steps"):
        columns = {name: list(found) for name, found in committed(f"dataset_cards/{card}")["features"].items()}
        assert columns == {"paths": paths, "trees": trees, "problems": problems}


def test_the_8b_card_has_the_options_of_its_recipe():
    options = yaml.safe_load((ROOT / "recipes/mm_prm_8b/prm.yaml").read_text(encoding="utf-8"))
    assert committed("model_cards/mm-prm-8b")["hyper_parameters"] == options


def test_label_truth_by_hand():
    problem = make_problem("triangle_angle", 7)
    right = list(problem.solve())
    wrong = [*right[:2], "A+B=1+1=2"]
    rows = [
        # two labelled prefixes that are right, one of them with a label of 0
        {"problem_id": problem.id, "completions": right[:2], "labels": [0.5, 0.0]},
        # the first prefix again, a step without a label, and a wrong one from which the policy recovered
        {"problem_id": problem.id, "completions": wrong, "labels": [0.5, IGNORE_LABEL, 0.25]},
        {"problem_id": problem.id, "completions": ["A=1"], "labels": [0.0]},
    ]
    assert problem.check_prefixes(right[:2]) == (True, True)
    assert problem.check_prefixes(wrong) == (True, True, False)
    assert import_recipe("nano", "label_truth").label_truth(rows) == {
        "num_labels": 4,
        "num_paths": 3,
        "auroc": pytest.approx(2.5 / 4),  # 0.5 and 0 (right) against 0.25 and 0 (wrong)
        "right_labelled_zero": 0.5,
        "num_right": 2,
        "wrong_labelled_above_zero": 0.5,
        "num_wrong": 2,
        "first_error": {
            "error_accuracy": 0.5,
            "correct_accuracy": 0.0,
            "f1": 0.0,
            "num_error": 2,
            "num_correct": 1,
        },
    }
