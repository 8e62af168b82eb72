"""Trees to labelled paths: counts and sources by hand, bounds, consensus with a judge."""

from __future__ import annotations

import dataclasses

import pytest
from support.trees_by_hand import NODES, TREE

from mmprm_hf.data import LabelledPath, Node, SearchTree, Verdict
from mmprm_hf.labelling import LabelRowsConfig, tree_to_paths
from mmprm_hf.labelling.labels import contradicts

CORRECT, INCORRECT, UNDECIDED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED
LETTERS = {"estimate": "e", "bound": "b", "judge_dropped": "d", "none": "-"}


def counts(tree=TREE, **options):
    paths = tree_to_paths(tree, LabelRowsConfig(**options))
    return {"".join(path.steps): list(path.label_counts) for path in paths}


def sources(tree=TREE, **options):
    """Sources by path, a letter per step."""
    paths = tree_to_paths(tree, LabelRowsConfig(**options))
    return {"".join(path.steps): "".join(LETTERS[source] for source in path.label_sources) for path in paths}


def judged(**verdicts):
    """The tree by hand with verdicts on some nodes."""
    nodes = (dataclasses.replace(node, judge_verdict=verdicts.get(node.id)) for node in NODES)
    return SearchTree("p", tuple(nodes))


def test_monotone_bounds_by_hand():
    assert counts() == {
        "abcde": [(1, 4), (1, 4), (1, 1), (1, 1), (1, 1)],
        "abfgh": [(1, 4), (1, 4), (0, 4), (0, 4), (0, 4)],
        "ij": [(0, 0), (0, 1)],
    }
    # The end of h has 0 of 1 of its own, and borrows the larger n of f.
    assert sources() == {"abcde": "bebbe", "abfgh": "beebb", "ij": "-e"}


def test_own_fill_leaves_the_other_steps_without_counts():
    assert counts(fill="own") == {
        "abcde": [(0, 0), (1, 4), (0, 0), (0, 0), (1, 1)],
        "abfgh": [(0, 0), (1, 4), (0, 4), (0, 0), (0, 1)],
        "ij": [(0, 0), (0, 1)],
    }
    assert sources(fill="own") == {"abcde": "-e--e", "abfgh": "-ee-e", "ij": "-e"}


def test_paths_can_end_at_the_first_zero():
    assert counts(after_error="drop")["abf"] == [(1, 4), (1, 4), (0, 4)]
    assert "abfgh" not in counts(after_error="drop")


def test_a_right_solution_refutes_a_zero_above_it_on_all_paths():
    """A search may miss with k samples what another rollout shows to be there."""
    nodes = (
        Node("r", None, (), 1, 4),
        Node("x", 0, ("a",), 0, 4),
        Node("y", 1, ("b", "c"), 2, 4),
        Node("z", 1, ("d",), 0, 4),
    )
    assert counts(SearchTree("p", nodes)) == {"abc": [(1, 5), (2, 4), (2, 4)], "ad": [(1, 5), (0, 4)]}
    assert sources(SearchTree("p", nodes)) == {"abc": "ebe", "ad": "ee"}
    refuted = (*nodes[:2], dataclasses.replace(nodes[2], judge_verdict=INCORRECT), nodes[3])
    assert counts(SearchTree("p", refuted), consensus="drop")["ad"] == [(0, 4), (0, 4)]


def test_an_undecided_node_is_filled_or_unknown():
    nodes = (
        Node("r", None, (), 1, 4),
        Node("x", 0, ("a",), 0, 0),
        Node("y", 1, ("b",), 3, 4),
        Node("z", 2, ("c",), 0, 0),
        Node("w", 3, ("d",), 0, 1),
    )
    assert counts(SearchTree("p", nodes)) == {"abcd": [(3, 4), (3, 4), (0, 0), (0, 1)]}
    assert sources(SearchTree("p", nodes)) == {"abcd": "be-e"}
    assert sources(SearchTree("p", nodes), fill="own") == {"abcd": "-e-e"}


def test_what_contradicts_a_judge():
    cases = [
        (CORRECT, (0, 4), 0.0, True),
        (CORRECT, (1, 4), 0.0, False),
        (CORRECT, (1, 4), 0.5, False),  # between 0 and the threshold neither verdict is contradicted
        (INCORRECT, (1, 4), 0.5, False),
        (INCORRECT, (2, 4), 0.5, False),
        (INCORRECT, (3, 4), 0.5, True),
        (INCORRECT, (1, 4), 0.0, True),
        (INCORRECT, (0, 4), 0.0, False),
        (CORRECT, (0, 0), 0.0, False),  # nothing decided, nothing to contradict
        (INCORRECT, (0, 0), 0.0, False),
        (UNDECIDED, (0, 4), 0.0, False),
        (None, (3, 4), 0.0, False),
    ]
    for verdict, label, threshold, expected in cases:
        assert contradicts(verdict, label, threshold) is expected, (verdict, label, threshold)


def test_the_judge_is_ignored_unless_asked_for():
    tree = judged(n1=INCORRECT, n3=CORRECT)
    assert sources(tree) == sources() and counts(tree) == counts()


def test_agreeing_and_undecided_judges_change_nothing():
    tree = judged(n1=CORRECT, n2=CORRECT, n3=INCORRECT, n4=UNDECIDED, n5=UNDECIDED)
    assert sources(tree, consensus="drop") == sources() and counts(tree, consensus="drop") == counts()


def test_a_dropped_positive_keeps_its_counts_and_lends_none():
    tree = judged(n1=INCORRECT)
    assert counts(tree, consensus="drop") == {
        "abcde": [(1, 1), (1, 4), (1, 1), (1, 1), (1, 1)],  # a borrows from the right solution instead of b
        "abfgh": [(0, 0), (1, 4), (0, 4), (0, 4), (0, 4)],  # without b nothing is known of a
        "ij": [(0, 0), (0, 1)],
    }
    assert sources(tree, consensus="drop") == {"abcde": "bdbbe", "abfgh": "-debb", "ij": "-e"}


def test_a_dropped_zero_is_not_an_error_for_what_follows():
    tree = judged(n3=CORRECT)
    assert counts(tree, consensus="drop")["abfgh"] == [(1, 4), (1, 4), (0, 4), (0, 0), (0, 1)]
    assert sources(tree, consensus="drop")["abfgh"] == "bed-e"
    assert "abfgh" in counts(tree, consensus="drop", after_error="drop")  # the error is at h now


def test_a_verdict_of_correct_holds_for_the_whole_segment():
    tree = judged(n4=CORRECT)
    assert sources(tree, consensus="drop")["abfgh"] == "beedd"
    assert counts(tree, consensus="drop")["abfgh"][3:] == [(0, 4), (0, 1)]


def test_a_verdict_of_incorrect_holds_for_some_step_of_the_segment():
    assert (
        sources(judged(n2=INCORRECT), consensus="drop")["abcde"] == "be--d"
    )  # c and d have no node left to borrow from
    tree = SearchTree(
        "p",
        (
            Node("r", None, (), 1, 4),
            Node("x", 0, ("a", "b"), 0, 0, judge_verdict=INCORRECT),  # not estimated: borrows 3/4, and is contradicted
            Node("y", 1, ("c",), 3, 4),
        ),
    )
    assert sources(tree, consensus="drop") == {"abc": "bde"}
    assert sources(tree, consensus="drop", consensus_threshold=0.75) == {"abc": "bbe"}


def test_a_path_has_one_count_and_one_source_a_step():
    with pytest.raises(ValueError, match="has 2 steps but 1 label counts and 2 label sources"):
        LabelledPath("p", "t", "x", ("a", "b"), ((1, 2),), ("estimate", "none"))
