"""The nouns: each comes back from its dict, also through JSON, and refuses what cannot be."""

import json
import math

import pytest

from mmprm_hf.data import Candidate, LabelledPath, Node, Problem, Rollout, SearchTree, Verdict, content_hash

NOUNS = [
    Problem("p", "Which?", ("a.png",), "B", "choice", ("1", "2"), {"grade": 7}),
    Problem("p", "How many?"),
    Rollout(("A=1",), "1", True, "stop", 9, 30, Verdict.CORRECT, "<step>A=1</step>"),
    Rollout((), None, False, "length"),
    Node("n", None, (), 1, 2, 3, Verdict.INCORRECT),
    Node("m", 0, ("A=1",), 0, 0),
    SearchTree(
        "p", (Node("n", None, (), 1, 1),), ((0, Rollout(("A=1",), "1")),), {"seed": 0}, {"name": "x"}, 1, 2, "k"
    ),
    LabelledPath("p", "t", "h", ("A=1", "B=2"), ((1, 2), (0, 0)), ("rollouts", "none")),
    Candidate(("A=1",), "1", True, "<step>A=1</step>", (0.25,), 0.25, 9),
    Candidate((), complete=False),
]


def test_every_noun_comes_back_from_its_dict():
    for noun in NOUNS:
        row = noun.to_dict()
        assert type(noun).from_dict(row) == noun
        assert type(noun).from_dict(json.loads(json.dumps(row, allow_nan=False))) == noun
        assert type(noun).from_dict(row).to_dict() == row


def test_dicts_share_nothing_with_their_noun():
    problem = Problem("p", "?", ("a.png",), options=("1",), meta={"grade": 7})
    row = problem.to_dict()
    row["meta"]["grade"] = 8
    row["images"].append("b.png")
    assert problem == Problem("p", "?", ("a.png",), options=("1",), meta={"grade": 7})


def test_a_candidate_of_another_file_is_read_by_its_known_keys():
    assert Candidate.from_dict({}) == Candidate(())
    assert Candidate.from_dict({"steps": None, "verdict": "correct", "num_tokens": 3}) == Candidate((), num_tokens=3)
    unscored = Candidate(("a",), complete=False, score=-math.inf)
    assert unscored.to_dict()["score"] is None and Candidate.from_dict(unscored.to_dict()).score is None


def test_a_problem_without_a_question_is_refused():
    for question in ("", " \n", None, 7):
        with pytest.raises(ValueError, match=r"Problem 'p' has an empty question .* drop the row or fill its question"):
            Problem("p", question)


def test_values_of_a_wrong_type_are_named():
    """A text where a list belongs would be read letter by letter."""
    for change, message in (
        (
            {"images": "no.png"},
            r"has images='no.png'. It must be a tuple or list, such as \('figure.png',\)",
        ),
        ({"options": "AB"}, "Problem 'p' has options='AB'. It must be a tuple or list of texts"),
        ({"options": (1, 2)}, r"has options=\(1, 2\). It must be a tuple or list of texts"),
        ({"answer": float("nan")}, "has answer=nan, a float. It must be a text"),
        ({"answer_type": 5}, "has answer_type=5, a int"),
        ({"question": "half \ud800"}, "has half a character .* in its question"),
        ({"options": ("\udfff",)}, "has half a character .* in its option 0"),
        ({"question": "x" * 100_001}, "has a question of 100001 characters, more than 100000"),
    ):
        with pytest.raises(ValueError, match=message):
            Problem(**{"id": "p", "question": "q", **change})
    with pytest.raises(ValueError, match="has id=5, a int"):
        Problem(id=5, question="q")
    for change, message in (
        ({"steps": "A=22"}, r"A candidate has steps='A=22'. It must be .*, such as \('A=22', 'B=61'\)"),
        ({"steps": (1,)}, r"A candidate has steps=\(1,\). It must be a tuple or list of texts"),
        ({"steps": None}, "A candidate has steps=None"),
        ({"steps": (), "answer": 5}, "A candidate has answer=5"),
        ({"steps": ("a",), "step_scores": 0.5}, "A candidate has step_scores=0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            Candidate(**change)
    problem, candidate = Problem("p", "q", ["a.png"], options=["1", "2"]), Candidate(["a", "b"], step_scores=[0.5, 1.0])
    assert (problem.images, problem.options) == (("a.png",), ("1", "2"))
    assert (candidate.steps, candidate.step_scores) == (("a", "b"), (0.5, 1.0))


def test_a_path_has_one_label_per_step():
    with pytest.raises(ValueError, match="Path h has 2 steps but 1 label counts and 2 label sources"):
        LabelledPath("p", "t", "h", ("a", "b"), ((1, 2),), ("rollouts", "rollouts"))


def test_a_tree_of_another_schema_is_refused():
    row = {**SearchTree("p", ()).to_dict(), "schema_version": 1}
    with pytest.raises(
        ValueError, match=r"Found schema_version 1 in a search tree, expected 2\. Label the problems again"
    ):
        SearchTree.from_dict(row)


def test_prefixes_and_estimates_of_a_tree():
    nodes = (Node("r", None, (), 0, 0), Node("a", 0, ("1", "2"), 1, 4), Node("b", 1, ("3",), 2, 2))
    tree = SearchTree("p", nodes, ((0, Rollout(())), (2, Rollout(()))))
    assert [tree.prefix(index) for index in range(3)] == [(), ("1", "2"), ("1", "2", "3")]
    assert [node.mc_estimate for node in nodes] == [None, 0.25, 1.0]
    assert tree.num_rollouts == 2


def test_hashes_follow_content_on_any_machine():
    assert content_hash({"b": 1, "a": [2, "角"]}) == content_hash({"a": [2, "角"], "b": 1})
    assert content_hash("a", "b") != content_hash("ab") and len(content_hash("a", length=24)) == 24
    assert content_hash("角", 1) == "d428ac36d52bcb34"
