"""Labels: path counts worked by hand, bounds, rows, features, statistics."""

from __future__ import annotations

import pytest
from PIL import Image

from mmprm_hf.data import Node, Problem, SearchTree
from mmprm_hf.labelling.labels import IGNORE_LABEL, label_features, label_statistics, paths_to_rows, tree_to_paths

# root 2/4 -- (a b) 1/4 -- (c d e) 1/1, a right solution
#                      \-- (f) 0/4 -- (g h) 0/1, a wrong solution with its first error at f
#          \- (i j) 0/1, a wrong solution nobody bisected
NODES = (
    Node("n0", None, (), 2, 4),
    Node("n1", 0, ("a", "b"), 1, 4),
    Node("n2", 1, ("c", "d", "e"), 1, 1),
    Node("n3", 1, ("f",), 0, 4),
    Node("n4", 3, ("g", "h"), 0, 1),
    Node("n5", 0, ("i", "j"), 0, 1),
)
TREE = SearchTree("p", NODES)
PROBLEM = Problem("p", "What is it?", (Image.new("RGB", (4, 4)),), answer="1")


def counts(**options):
    return {"".join(path.steps): list(path.label_counts) for path in tree_to_paths(TREE, **options)}


def test_monotone_bounds_by_hand():
    assert counts() == {
        "abcde": [(1, 4), (1, 4), (1, 1), (1, 1), (1, 1)],
        "abfgh": [(1, 4), (1, 4), (0, 4), (0, 4), (0, 4)],
        "ij": [(0, 0), (0, 1)],
    }


def test_without_fill_only_own_counts():
    assert counts(fill="none") == {
        "abcde": [(0, 0), (1, 4), (0, 0), (0, 0), (1, 1)],
        "abfgh": [(0, 0), (1, 4), (0, 4), (0, 0), (0, 1)],
        "ij": [(0, 0), (0, 1)],
    }


def test_paths_can_end_at_the_first_zero():
    assert counts(after_error="drop")["abf"] == [(1, 4), (1, 4), (0, 4)]
    assert "abfgh" not in counts(after_error="drop")


def test_zero_above_a_positive_node_is_noise_and_keeps_its_own_counts():
    nodes = (Node("r", None, (), 1, 4), Node("x", 0, ("a",), 0, 4), Node("y", 1, ("b", "c"), 2, 4))
    (path,) = tree_to_paths(SearchTree("p", nodes))
    assert path.label_counts == ((0, 4), (2, 4), (2, 4))


def test_undecided_node_is_filled_or_open():
    nodes = (
        Node("r", None, (), 1, 4),
        Node("x", 0, ("a",), 0, 0),
        Node("y", 1, ("b",), 3, 4),
        Node("z", 2, ("c",), 0, 0),
        Node("w", 3, ("d",), 0, 1),
    )
    (path,) = tree_to_paths(SearchTree("p", nodes))
    assert path.label_counts == ((3, 4), (3, 4), (0, 0), (0, 1))


def test_rows_carry_floats_counts_and_provenance():
    rows = paths_to_rows([PROBLEM], [TREE])
    row = next(row for row in rows if row["completions"] == ["i", "j"])
    assert row["labels"] == [IGNORE_LABEL, 0.0]
    assert row["label_counts"] == [[0, 0], [0, 1]]
    assert (row["prompt"], row["problem_id"], row["tree_id"]) == ("What is it?", "p", TREE.id)
    assert rows[0]["labels"][0] == 0.25
    assert len({row["path_id"] for row in rows}) == 3


def test_only_mixed_problems_give_rows_by_default():
    for num_correct in (0, 4):
        tree = SearchTree("p", (Node("r", None, (), num_correct, 4), Node("x", 0, ("a",), num_correct // 4, 1)))
        assert paths_to_rows([PROBLEM], [tree]) == []
        assert [row["labels"] for row in paths_to_rows([PROBLEM], [tree], keep="all")] == [[num_correct / 4]]


def test_equal_paths_are_merged_and_unlabelled_ones_left_out():
    other = SearchTree("p", (Node("r", None, (), 1, 4), Node("x", 0, ("i", "j"), 1, 3), Node("y", 0, ("k",), 0, 0)))
    rows = paths_to_rows([PROBLEM], [TREE, other])
    assert [row["label_counts"] for row in rows if row["completions"] == ["i", "j"]] == [[[1, 3], [1, 4]]]
    assert ["k"] not in [row["completions"] for row in rows]
    assert paths_to_rows([PROBLEM], [TREE, TREE]) == paths_to_rows([PROBLEM], [TREE])


def test_missing_problem_is_an_error():
    with pytest.raises(ValueError, match="belongs to problem 'p', which is not among the 0"):
        paths_to_rows([], [TREE])


def test_features_keep_soft_labels_and_images(tmp_path):
    import datasets

    rows = paths_to_rows([PROBLEM], [TREE])
    dataset = datasets.Dataset.from_list(rows, features=label_features())
    dataset.to_parquet(tmp_path / "labels.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "labels.parquet"), cache_dir=str(tmp_path))
    assert loaded[0]["labels"] == [0.25, 0.25, 1.0, 1.0, 1.0]
    assert loaded[0]["label_counts"] == rows[0]["label_counts"]
    assert loaded[0]["images"][0].size == (4, 4)
    assert loaded.features["labels"].feature.dtype == "float32"


def test_statistics_by_hand():
    assert label_statistics(paths_to_rows([PROBLEM], [TREE])) == {
        "num_rows": 3,
        "num_problems": 1,
        "num_rows_with_error": 2,
        "num_steps": 12,
        "num_labelled_steps": 11,
        "num_zero_steps": 4,
        "mean_label": pytest.approx((4 * 0.25 + 3) / 11),
        "mean_steps_per_row": 4.0,
        "max_rows_per_problem": 3,
        "num_distinct_labelled_prefixes": 9,
        "copies_per_prefix": pytest.approx(11 / 9),
        "labels_by_tenth": [4, 0, 4, 0, 0, 0, 0, 0, 0, 3],
    }
    assert label_statistics([])["mean_label"] is None
