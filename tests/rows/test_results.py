"""Results documents: what is read, and what is refused with which words."""

from __future__ import annotations

import copy

import pytest
from support.layout import ROOT
from support.result_documents import best_of_n_document, curves_document, steps_document, truth_document

from mmprm_hf.files import write_json
from mmprm_hf.rows import check_results, read_results

COMMITTED = ROOT / "recipes" / "nano" / "results" / "evaluate.json"


def test_documents_of_every_kind_are_read_as_they_are(tmp_path):
    assert set(read_results(COMMITTED)) >= {"best_of_n", "curves", "diagnosis", "exact_truth"}
    for make in (best_of_n_document, curves_document, truth_document, steps_document):
        write_json(tmp_path / "results.json", make())
        assert read_results(tmp_path / "results.json") == make()


def test_results_of_another_version_say_to_evaluate_again():
    for version in (1, 3, True, None):
        with pytest.raises(
            ValueError, match=f"Found schema_version {version} in here.json. .* 2 are read; evaluate ag"
        ):
            check_results({**best_of_n_document(), "schema_version": version}, "here.json")
    with pytest.raises(ValueError, match="Found no schema_version in here.json"):
        check_results({"metrics": {}, "num_problems": 3}, "here.json")
    with pytest.raises(ValueError, match="Found a list in here.json. Results are one JSON object"):
        check_results([], "here.json")


DOCUMENTS = {
    "best_of_n": best_of_n_document(),
    "curves": curves_document(),
    "exact_truth": truth_document(),
    "steps": steps_document(),
}
WRONG = [
    ("best_of_n.metrics.oracle.value", 78.5, "is 78.5; expected at least 0 and at most 1; percentages are divided by"),
    ("best_of_n.metrics.oracle.ci_low", -0.1, "is -0.1; expected at least 0"),
    ("best_of_n.metrics.oracle.value", float("nan"), "is nan; expected number or null"),
    ("best_of_n.num_problems", "<b>3</b>", "is '<b>3</b>'; expected integer"),
    ("best_of_n", None, "is None; expected object"),
    ("settings", "x", "is 'x'; expected object"),
    ("rows", {"num_rows": 1, "num_used": 1, "problems": {"a": "<b>"}}, r"rows.problems.a is '<b>'; expected integer"),
    ("accuracy", 1.0, r"the document breaks a rule: .*'accuracy' was unexpected"),
    ("curves.curves.oracle.0.n", 0, "is 0; expected at least 1"),
    ("curves.against_majority_vote.best_of_n.0.difference", 2, "is 2; expected at least -1 and at most 1"),
    ("exact_truth.false_positives.auroc", 90.6, "is 90.6; expected at least 0 and at most 1"),
    ("steps.average_f1", 40.0, "is 40.0; expected at least 0 and at most 1"),
    ("steps.subsets.math.f1", 40.0, "is 40.0; expected at least 0 and at most 1"),
    ("steps.by_step", {"a": 1}, "is {'a': 1}; expected array"),
]


def changed(path, change):
    """A copy of the document that has the path's section, and where the path leads in it."""
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    document = copy.deepcopy(DOCUMENTS.get(path.split(".")[0], DOCUMENTS["best_of_n"]))
    place = document
    for key in keys:
        place = place[key]
    change(place, last)
    return document


def test_a_wrong_value_is_named_with_its_path_and_the_rule():
    for path, value, words in WRONG:
        document = changed(path, lambda place, key, value=value: place.update({key: value}))
        with pytest.raises(
            ValueError, match=f"In here.json .*{words}.* Evaluate again, or correct the file"
        ) as refused:
            check_results(document, "here.json")
        assert path in str(refused.value) or path == "accuracy", path


def test_what_is_missing_is_named_with_its_place():
    for path, words in (
        ("best_of_n.num_candidates", "best_of_n has no num_candidates"),
        ("curves.curves.oracle.0.n", "curves.curves.oracle.0 has no n"),
        ("steps.by_step.0.step_index", "steps.by_step.0 has no step_index"),
        ("steps", "the document has none of the sections best_of_n, curves, diagnosis, exact_truth, steps"),
    ):
        with pytest.raises(ValueError, match=f"In here.json {words}"):
            check_results(changed(path, lambda place, key: place.pop(key)), "here.json")


def test_a_difference_may_be_negative():
    document = curves_document()
    document["curves"]["against_majority_vote"]["best_of_n"][0] |= {"difference": -0.25, "ci_low": -0.5, "ci_high": 0.0}
    assert check_results(document, "here.json") is document
