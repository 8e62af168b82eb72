"""What is read as results, what is refused and with which words, and how documents are called."""

import json

import pytest
from support.result_documents import best_of_n_document, curves_document, steps_document, truth_document

from mmprm_hf.evaluation import results as form
from mmprm_hf.publish import documents
from mmprm_hf.publish.documents import check_document, document_names, read_document


def test_version_and_sections_are_those_that_evaluations_write():
    assert documents.SCHEMA_VERSION == form.SCHEMA_VERSION
    assert tuple(form.SECTIONS) == documents.SECTIONS


@pytest.mark.parametrize("make", [best_of_n_document, curves_document, truth_document, steps_document])
def test_documents_of_every_kind_are_read_as_they_are(tmp_path, make):
    (tmp_path / "results.json").write_text(json.dumps(make()), encoding="utf-8")
    assert read_document(tmp_path / "results.json") == json.loads(json.dumps(make()))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"metrics": {}, "num_problems": 3},
            "Found no schema_version in here.json. .*evaluate again with this v",
        ),
        (
            {"schema_version": 2, "steps": {}},
            "Found schema_version 2 in here.json. Results of version 1 are read",
        ),
        ({"schema_version": True, "steps": {}}, "Found schema_version True"),
        ({"schema_version": 1, "figures": {}}, "Found none of the sections best_of_n, .* in here.json.*evaluate again"),
        ({"schema_version": 1, "steps": None}, "Found none of the sections"),
        ({"schema_version": 1, "steps": [1]}, "steps in here.json is a list. Expected an object"),
        ({"schema_version": 1, "steps": {}, "settings": "x"}, "settings in here.json is a str. Expected an object"),
        ({"schema_version": 1, "steps": {}, "rows": {"problems": {"a": "<b>"}}}, "rows.problems in here.json is"),
    ],
)
def test_other_forms_are_refused(document, message):
    with pytest.raises(ValueError, match=message):
        check_document(document, "here.json")


@pytest.mark.parametrize(
    ("section", "found", "message"),
    [
        (
            "best_of_n",
            {"metrics": {"oracle": {"value": 78.5}}},
            r"best_of_n.metrics.oracle.value is 78.5, .*\[0, 1\]",
        ),
        ("best_of_n", {"metrics": {"oracle": {"ci_low": -0.1}}}, "best_of_n.metrics.oracle.ci_low is -0.1"),
        (
            "best_of_n",
            {"num_problems": "<b>3</b>"},
            "best_of_n.num_problems is '<b>3</b>', .*Expected a number or",
        ),
        ("best_of_n", {"metrics": {"oracle": {"value": float("nan")}}}, "value is nan"),
        ("steps", {"average_f1": 40.0}, "steps.average_f1 is 40.0"),
        ("steps", {"by_step": {"a": 1}}, "steps.by_step is a dict, here.json. Expected a list of objects"),
        (
            "steps",
            {"by_step": [{"right": 0.5}]},
            "An entry of steps.by_step in here.json has no step_index, wrong",
        ),
        ("curves", {"curves": {"oracle": [{"value": 0.5}]}}, "curves.curves.oracle in here.json has a point without n"),
        ("curves", {"against_majority_vote": {"a": [{"n": 1, "difference": 2}]}}, r"difference is 2, .*in \[-1, 1\]"),
    ],
)
def test_figures_outside_their_range_are_refused(section, found, message):
    with pytest.raises(ValueError, match=message):
        check_document({"schema_version": 1, section: found}, "here.json")


def test_a_difference_may_be_negative():
    points = [{"n": 1, "difference": -0.25, "ci_low": -0.5, "ci_high": 0.0}]
    document = {"schema_version": 1, "curves": {"against_majority_vote": {"best_of_n": points}}}
    assert check_document(document, "here.json") is document


def test_names_tell_documents_apart():
    def names(*facts):
        return document_names([dict(zip(("benchmark", "policy", "prm"), one, strict=True)) for one in facts])

    assert names(("a", "p", "q"), ("b", "p", "q")) == ["a", "b"]
    assert names(("a", "p", "q"), ("b", None, "q")) == ["a", "b"]
    assert names(("a", "p", "q"), ("a", None, "q")) == ["a · policy p", "a · policy not named"]
    assert names(("a", "p", "q"), ("b", "p", "r")) == ["a · PRM q", "b · PRM r"]
    assert names(("a", "p", "q"), ("a", "p", "q")) == ["a · 1", "a · 2"]
    assert names((None, None, None)) == ["benchmark not named"]
