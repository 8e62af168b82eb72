"""How results documents are called when several stand side by side."""

from pathlib import Path

from mmprm_hf.publish.documents import document_names


def test_names_tell_documents_apart():
    def names(*facts):
        return document_names([dict(zip(("benchmark", "policy", "prm"), values, strict=True)) for values in facts])

    assert names(("a", "p", "q"), ("b", "p", "q")) == ["a", "b"]
    assert names(("a", "p", "q"), ("b", None, "q")) == ["a", "b"]
    assert names(("a", "p", "q"), ("a", None, "q")) == ["a · policy p", "a · policy not named"]
    assert names(("a", "p", "q"), ("b", "p", "r")) == ["a · PRM q", "b · PRM r"]
    assert names(("a", "p", "q"), ("a", "p", "q")) == ["a · 1", "a · 2"]
    assert names((None, None, None)) == ["benchmark not named"]


def test_the_same_models_are_told_apart_by_what_differs_in_their_evaluations():
    def own(**facts):
        return {"benchmark": "own", "prm": "q", **facts}

    def names(*documents, paths=()):
        return document_names(documents, [Path(path) for path in paths])

    by_min, by_mean = (own(best_of_n={"aggregation": aggregation}) for aggregation in ("min", "mean"))
    assert names(by_min, by_mean) == ["own · aggregation min", "own · aggregation mean"]
    assert names(*(own(steps={"threshold": value}) for value in (0.5, 0.25))) == [
        "own · threshold 0.5",
        "own · threshold 0.25",
    ]
    seeds = [own(settings={"seed": seed, "top_p": 1}) for seed in (0, 1)]
    assert names(*seeds) == ["own · seed 0", "own · seed 1"]
    assert names(by_min, by_min, by_mean, paths=("out/a/results.json", "out/b/results.json", "out/c/results.json")) == [
        "own · aggregation min · file a",
        "own · aggregation min · file b",
        "own · aggregation mean",
    ]
    assert names(by_min, by_min, paths=("a.json", "a.json")) == ["own · 1", "own · 2"]
