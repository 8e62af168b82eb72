"""How results documents are called when several stand side by side."""

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
