"""Paths to rows: floats, counts, sources, weights, equal paths, features."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from support.trees_by_hand import NODES, PROBLEM, TREE, train_rows

from mmprm_hf.data import Node, SearchTree, Verdict
from mmprm_hf.labelling.label_rows import label_features, prefix_keys, weigh_rows
from mmprm_hf.labelling.labels import IGNORE_LABEL


def by_path(rows):
    return {"".join(row["completions"]): row for row in rows}


def test_rows_carry_floats_counts_and_provenance():
    rows = train_rows([PROBLEM], [TREE])
    row = by_path(rows)["ij"]
    assert row["labels"] == [IGNORE_LABEL, 0.0]
    assert row["label_counts"] == [[0, 0], [0, 1]]
    assert row["label_sources"] == ["none", "estimate"]
    assert (row["prompt"], row["problem_id"], row["tree_id"]) == ("What is it?", "p", TREE.id)
    assert rows[0]["labels"][0] == 0.25
    assert len({row["path_id"] for row in rows}) == 3


def test_only_mixed_problems_give_rows_by_default():
    for num_correct in (0, 4):
        tree = SearchTree("p", (Node("r", None, (), num_correct, 4), Node("x", 0, ("a",), num_correct // 4, 1)))
        assert train_rows([PROBLEM], [tree]) == []
        assert [row["labels"] for row in train_rows([PROBLEM], [tree], keep="all")] == [[num_correct / 4]]


def test_a_dropped_step_is_ignored_and_keeps_its_counts():
    nodes = (*NODES[:3], dataclasses.replace(NODES[3], judge_verdict=Verdict.CORRECT), *NODES[4:])
    row = by_path(train_rows([PROBLEM], [SearchTree("p", nodes)], consensus="drop"))["abfgh"]
    assert row["labels"] == [0.25, 0.25, IGNORE_LABEL, IGNORE_LABEL, 0.0]
    assert row["label_counts"] == [[1, 4], [1, 4], [0, 4], [0, 0], [0, 1]]
    assert row["label_sources"] == ["bound", "estimate", "judge_dropped", "none", "estimate"]
    assert row["label_weights"] == [0.5, 0.5, 0.0, 0.0, 1.0]


def test_equal_paths_are_merged_and_unlabelled_ones_left_out():
    other = SearchTree("p", (Node("r", None, (), 1, 4), Node("x", 0, ("i", "j"), 1, 3), Node("y", 0, ("k",), 0, 0)))
    rows = by_path(train_rows([PROBLEM], [TREE, other]))
    assert rows["ij"]["label_counts"] == [[1, 3], [1, 4]]
    assert rows["ij"]["label_sources"] == ["bound", "estimate"]
    assert "k" not in rows
    assert train_rows([PROBLEM], [TREE, TREE]) == train_rows([PROBLEM], [TREE])


def test_merging_adds_counts_of_the_better_source_only():
    own = SearchTree("p", (Node("r", None, (), 1, 4), Node("x", 0, ("a",), 3, 4), Node("y", 1, ("b",), 1, 1)))
    borrowed = SearchTree("p", (Node("r", None, (), 2, 4), Node("y", 0, ("a", "b"), 1, 1)))
    for trees in ([own, borrowed], [borrowed, own]):
        (row,) = train_rows([PROBLEM], trees)
        assert row["label_counts"] == [[3, 4], [2, 2]]  # a's borrowed 1 of 1 adds nothing to 3 of 4
        assert row["label_sources"] == ["estimate", "estimate"]
    against = Node("x", 0, ("a",), 0, 4, judge_verdict=Verdict.CORRECT)
    doubted = SearchTree("p", (Node("r", None, (), 1, 4), against, Node("y", 1, ("b",), 0, 1)))
    for trees in ([own, doubted], [doubted, own]):
        (row,) = train_rows([PROBLEM], trees, consensus="drop")
        assert (row["labels"][0], row["label_counts"][0]) == (IGNORE_LABEL, [3, 8])
        assert row["label_sources"] == ["judge_dropped", "estimate"]


def test_a_tree_without_its_problem_is_an_error():
    with pytest.raises(ValueError, match="belongs to problem 'p', which is not among the 0"):
        train_rows([], [TREE])


def test_weights_by_hand():
    rows = by_path(train_rows([PROBLEM], [TREE]))
    assert {path: row["label_weights"] for path, row in rows.items()} == {
        "abcde": [0.5, 0.5, 1.0, 1.0, 1.0],
        "abfgh": [0.5, 0.5, 1.0, 1.0, 1.0],
        "ij": [0.0, 1.0],
    }


def test_each_distinct_labelled_prefix_weighs_one():
    third = SearchTree("q", NODES)  # the same steps under another problem are other prefixes
    rows = train_rows([PROBLEM, dataclasses.replace(PROBLEM, id="q")], [TREE, third])
    totals: Counter = Counter()
    for row in rows:
        for step_index, weight in enumerate(row["label_weights"]):
            if row["labels"][step_index] != IGNORE_LABEL:
                totals[row["problem_id"], tuple(row["completions"][: step_index + 1])] += weight
    assert len(totals) == 18 and set(totals.values()) == {1.0}
    alone = [row for row in rows if row["completions"][-1] == "e"]
    assert all(row["label_weights"] == [1.0] * 5 for row in weigh_rows(alone))  # weights follow the rows they lie in


def test_prefix_keys_tell_prefixes_apart():
    row = {"problem_id": "p", "completions": ["a", "b", "c"], "labels": [0.5, IGNORE_LABEL, 0.0]}
    first, none, last = prefix_keys(row)
    assert none is None and first != last
    assert prefix_keys({**row, "completions": ["a", "x", "c"]})[0] == first
    assert prefix_keys({**row, "completions": ["a", "x", "c"]})[2] != last
    assert prefix_keys({**row, "completions": ["ab", "", "c"]})[2] != last
    assert prefix_keys({**row, "problem_id": "q"})[0] != first


def test_features_keep_soft_labels_and_images(tmp_path):
    import datasets

    rows = train_rows([PROBLEM], [TREE])
    dataset = datasets.Dataset.from_list(rows, features=label_features())
    dataset.to_parquet(tmp_path / "labels.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "labels.parquet"), cache_dir=str(tmp_path))
    assert loaded[0]["labels"] == [0.25, 0.25, 1.0, 1.0, 1.0]
    assert loaded[0]["label_weights"] == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert loaded[0]["label_counts"] == rows[0]["label_counts"]
    assert loaded[0]["label_sources"] == rows[0]["label_sources"]
    assert loaded[0]["images"][0].size == (4, 4)
    assert loaded.features["labels"].feature.dtype == "float32"
