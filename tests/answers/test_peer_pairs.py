"""Verdicts on the pairs of other verifiers' test suites; the file lies beside the repository, or is absent."""

import json

import pytest
from support.layout import ROOT, SHARED, import_recipe

DATA = SHARED / "data"
RESULTS = json.loads((ROOT / "recipes/answers/results/peers.json").read_text(encoding="utf-8"))


@pytest.mark.results
def test_nothing_wrong_is_called_right_and_the_committed_counts_are_found_again():
    recipe = import_recipe("answers", "peers")
    if not (DATA / recipe.FILE).is_file():
        pytest.skip(f"{recipe.FILE} is not there: shared/ is absent beside the repository")
    rows = recipe.labelled_rows(DATA)
    found, committed = recipe.measure(rows, recipe.by_rules), RESULTS["judges"]["rules"]
    assert {key: found[key] for key in (*recipe.FAULTS, "kinds")} == {
        key: committed[key] for key in (*recipe.FAULTS, "kinds")
    }
    assert found["false_correct"] <= 2  # the conventions of docs/answers.md
    assert found["false_incorrect"] <= 0.01 * len(rows)
    assert found["undecided"] <= 0.02 * len(rows)
    assert found["mean_seconds"] < 0.01 and found["max_seconds"] < 2


@pytest.mark.results
def test_options_of_one_problem_are_never_equal():
    path = DATA / "mathvision/problems.jsonl"
    if not path.is_file():
        pytest.skip("mathvision is not there: shared/ is absent beside the repository")
    verify = import_recipe("answers", "peers").RuleVerifier().verify
    problems = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    equal = [
        (options[first], options[second])
        for options in {tuple(problem["options"]) for problem in problems}
        for first in range(len(options))
        for second in range(len(options))
        if options[first] != options[second]
        and verify(options[first], "ABCDEFGH"[second], answer_type="choice", options=options) == "correct"
    ]
    assert equal == []
