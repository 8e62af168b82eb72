"""Grading of real answers: accuracy of each model against the given labels, and the table over the models' answers."""

from __future__ import annotations

import json

import pytest
from support.layout import ROOT, SHARED, import_recipe

from mmprm_hf.data import Verdict

FOLDER = ROOT / "recipes" / "answers"
DATA = SHARED / "data"
RESULTS = json.loads((FOLDER / "results" / "best_of_models.json").read_text(encoding="utf-8"))
TOLERANCE = 0.5
"""Points of accuracy between the rules and the labels."""


@pytest.fixture(scope="module")
def recipe():
    return import_recipe("answers", "best_of_models")


@pytest.fixture(scope="module")
def judged(recipe):
    if not (DATA / "mathvision_candidates").is_dir():
        pytest.skip("mathvision_candidates is not there: shared/ is absent beside the repository")
    return recipe.read(DATA)


def case(recipe, answer, label=None, *, model="a", gold="B", options=("10 cm", "20 cm", "30 cm")):
    return recipe.Case(model, gold, answer, "multi_choice", options, label)


@pytest.mark.results
def test_the_rules_give_each_models_accuracy(recipe, judged):
    for name, num_models, num_answers in (("mathvision", 6, 1000), ("gsm8k", 4, 300)):
        models = recipe.by_model(judged[name])
        assert len(models) == num_models
        for model, row in models.items():
            assert row["num_labelled"] + row["num_null"] == num_answers, model
            assert row["num_null"] <= 10, model
            assert abs(row["difference"]) <= TOLERANCE, (model, row)


@pytest.mark.results
def test_committed_figures_are_those_of_the_data(recipe, judged):
    """Up to a few formulas that a slow machine leaves undecided."""
    for name, answers in judged.items():
        found, committed = recipe.results_of(answers), RESULTS["files"][name]
        assert list(found["models"]) == list(committed["models"])
        assert found["num_problems_regrouped_by_options"] == pytest.approx(
            committed["num_problems_regrouped_by_options"], abs=3
        )
        for source in ("by_rules", "by_labels"):
            for metric, points in committed[source]["curves"].items():
                values = [point["value"] for point in points]
                assert [p["value"] for p in found[source]["curves"][metric]] == pytest.approx(values, abs=0.004)


def test_committed_figures_agree_with_the_labels():
    for file in RESULTS["files"].values():
        assert all(abs(row["difference"]) <= TOLERANCE for row in file["models"].values())
        for source in ("by_rules", "by_labels"):
            last = {metric: points[-1]["value"] for metric, points in file[source]["curves"].items()}
            assert last["random_distinct"] < last["mean_pass_at_1"] < last["majority_vote"] < last["oracle"]
    labels = RESULTS["files"]["mathvision"]["by_labels"]
    assert labels["curves"]["oracle"][-1]["value"] == 0.549  # the data's README: 451 of 1,000 problems that none solves


@pytest.mark.parametrize(("answer", "options", "expected"), [
    ("B", ("10 cm", "20 cm"), "B"),
    (r"\text{(B) }20", ("10 cm", "20 cm"), "B"),
    ("20", ("10 cm", "20 cm"), "B"),
    (r"\frac{2}{4}", ("1/3", "0.5"), "B"),
    ("Friday", ("Thursday", "Friday"), "B"),
    ("30 cm", ("10 cm", "20 cm"), "30 cm"),
    ("(A) 20 cm", ("10 cm", "20 cm"), "(A) 20 cm"),  # letter and value contradict: neither
    ("20", ("20", "20"), "20"),  # either
    ("20", (), "20"),
    (None, ("10", "20"), None),
])  # fmt: skip
def test_answers_that_name_an_option_become_its_letter(recipe, answer, options, expected):
    assert recipe.option_or_answer(answer, options) == expected


def test_letters_vote_with_the_values_of_their_options(recipe):
    answers = ["30 cm", "(B)", "20 cm", "20", "0.3 m", None, "C", "45 cm", "45.0 cm"]
    assert recipe.voting_answers([case(recipe, answer) for answer in answers]) == [
        "C", "B", "B", "B", "C", None, "C", "45 cm", "45 cm",
    ]  # fmt: skip


def test_accuracy_leaves_null_labels_out_and_counts_undecided_as_not_right(recipe):
    pairs = [
        (case(recipe, "B", True), Verdict.CORRECT),
        (case(recipe, "B", True), Verdict.UNDECIDED),
        (case(recipe, "A", False), Verdict.INCORRECT),
        (case(recipe, "C", False), Verdict.CORRECT),
        (case(recipe, "C", True), Verdict.INCORRECT),
        (case(recipe, "(B) 10", None), Verdict.CORRECT),
    ]
    assert recipe.by_model(pairs) == {
        "a": {
            "accuracy_rules": 40.0, "accuracy_labels": 60.0, "difference": -20.0,
            "num_labelled": 5, "num_null": 1, "num_undecided": 1,
        }
    }  # fmt: skip


def test_the_table_by_hand(recipe):
    """Two problems, three models: 20 cm and B outvote A; then two answers tie, of which the first is wrong."""
    answers = [[("A", False), ("20 cm", True), ("B", True)], [("C", False), ("B", True), (None, False)]]
    judged = [
        (case(recipe, answer, label, model=model), Verdict.CORRECT if label else Verdict.INCORRECT)
        for row in answers
        for model, (answer, label) in zip("xyz", row, strict=True)
    ]
    found = recipe.results_of(judged)
    last = {metric: points[-1]["value"] for metric, points in found["by_rules"]["curves"].items()}
    assert last == {
        "mean_pass_at_1": 0.5,
        "random_distinct": 0.5,
        "majority_vote": 0.5,
        "oracle": 1.0,
        "majority_vote_any_order": 0.75,
    }
    assert found["num_problems_regrouped_by_options"] == 1
    assert found["by_labels"] == found["by_rules"]
    assert [point["n"] for point in found["by_rules"]["curves"]["oracle"]] == [1, 2, 3]
    assert found["by_rules"]["num_incomplete"] == 1


def test_models_in_another_order_are_refused(recipe):
    judged = [(case(recipe, "B", True, model=model), Verdict.CORRECT) for model in "xyyx"]
    with pytest.raises(ValueError, match=r"models \['y', 'x'\] at problem 1.*sort the file by problem"):
        recipe.results_of(judged)


@pytest.mark.parametrize(("answers", "expected"), [
    ([("A", "incorrect"), ("B", "correct")], 0.5),
    ([("A", "incorrect"), ("B", "correct"), ("B", "correct")], 1.0),
    ([("A", "undecided"), ("B", "correct")], 1.0),
    ([("A", "undecided"), ("A", "undecided"), ("B", "correct")], None),
    ([(None, "incorrect")], 0.0),
])  # fmt: skip
def test_votes_in_any_order(recipe, answers, expected):
    row = recipe.candidate_row([answer for answer, _ in answers], [Verdict(verdict) for _, verdict in answers])
    assert recipe.vote_in_any_order(row) == expected
