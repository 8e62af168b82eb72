"""Trees as dataset rows: through parquet and back, equal."""

from __future__ import annotations

import dataclasses

import datasets
import pytest
from support.trees_by_hand import NODES, TREE

from mmprm_hf.data import Rollout, SearchTree, Verdict
from mmprm_hf.labelling.label_trees import tree_features, tree_from_row, tree_to_row

FULL = SearchTree(
    "p",
    (NODES[0], dataclasses.replace(NODES[1], num_visits=3, judge_verdict=Verdict.UNDECIDED), *NODES[2:]),
    rollouts=(
        (0, Rollout(("a", "b"), "7", num_tokens=5, num_prompt_tokens=9, verdict=Verdict.CORRECT)),
        (1, Rollout((), None, complete=False, finish_reason="length", text="<step>\u2028 cut")),
    ),
    config={"search": "omegaprm", "alpha": 0.1, "nested": {"b": [1, None], "a": True}},
    engine={"name": "endpoint", "sampling": {"temperature": 0.7, "stop_strings": ["</answer>"]}, "名": "模型"},
    num_undecided=0,
    num_incomplete=1,
    problem_key="0123456789abcdef",
)


def through_parquet(rows, features, tmp_path):
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "trees.parquet")
    return datasets.Dataset.from_parquet(str(tmp_path / "trees.parquet"), cache_dir=str(tmp_path))


def test_a_row_by_hand():
    row = tree_to_row(TREE)
    assert row["nodes"][0] == {
        "id": "n0",
        "parent": -1,
        "steps": [],
        "num_correct": 2,
        "num_decided": 4,
        "num_visits": 0,
        "judge_verdict": None,
    }
    assert [node["parent"] for node in row["nodes"]] == [-1, 0, 1, 1, 3, 0]
    assert (row["problem_id"], row["tree_id"], row["config"], row["num_rollouts"]) == ("p", TREE.id, "{}", 0)


def test_trees_come_back_equal(tmp_path):
    loaded = through_parquet([tree_to_row(FULL), tree_to_row(TREE)], tree_features(), tmp_path)
    assert loaded.features == tree_features()
    assert [tree_from_row(row) for row in loaded] == [FULL, TREE]
    assert loaded[0]["num_rollouts"] == 2 and loaded[0]["num_incomplete"] == 1


def test_trees_without_rollouts_keep_their_counts_and_id(tmp_path):
    (row,) = through_parquet([tree_to_row(FULL, rollouts=False)], tree_features(rollouts=False), tmp_path)
    assert "rollouts" not in row and row["num_rollouts"] == 2
    assert tree_from_row(row) == dataclasses.replace(FULL, rollouts=())
    assert tree_from_row(row).id == FULL.id


def test_changed_rows_are_refused():
    with pytest.raises(ValueError, match="Found schema_version 1"):
        tree_from_row({**tree_to_row(FULL), "schema_version": 1})
    with pytest.raises(ValueError, match=f"Found tree_id {FULL.id!r}, but the row's problem"):
        tree_from_row({**tree_to_row(FULL), "config": "{}"})
