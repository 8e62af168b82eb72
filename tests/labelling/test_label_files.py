"""The label dataset on disk: two configs, two splits, one README; made again, nothing stale stays."""

from __future__ import annotations

import dataclasses
import json

import datasets
import pytest
import yaml
from trees_by_hand import NODES, PROBLEM

from mmprm_hf.data import Node, Rollout, SearchTree
from mmprm_hf.labelling.label_files import write_label_dataset, write_splits
from mmprm_hf.labelling.label_selection import LabelRowsConfig
from mmprm_hf.labelling.label_trees import tree_from_row


def many(count=20):
    """Problems with the tree by hand, and one that is always solved."""
    problems = [dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?") for i in range(count)]
    trees = [SearchTree(p.id, NODES, rollouts=((0, Rollout(("i", "j"), "3")),)) for p in problems[1:]]
    solved = SearchTree("p0", (Node("r", None, (), 4, 4), Node("x", 0, ("a",), 1, 1)))
    return problems, [solved, *trees]


def load(folder, name=None):
    return datasets.load_dataset(str(folder), name, cache_dir=str(folder / "cache"))


def test_both_configs_and_splits_load(tmp_path):
    problems, trees = many()
    statistics = write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.3))
    paths, stored = load(tmp_path), load(tmp_path, "trees")
    assert {split: len(rows) for split, rows in paths.items()} == statistics["num_rows_by_split"]
    assert set(paths) == set(stored) == {"train", "validation"}
    assert sum(map(len, paths.values())) == 57 == statistics["num_rows"]
    for split in paths:  # one problem, one side, whatever it is asked for as
        assert set(paths[split]["problem_id"]) == set(stored[split]["problem_id"]) - {"p0"}
    assert not set(stored["train"]["problem_id"]) & set(stored["validation"]["problem_id"])
    found = {row["problem_id"]: tree_from_row(row) for rows in stored.values() for row in rows}
    assert found == {tree.problem_id: tree for tree in trees}
    assert paths["train"][0]["images"][0].size == (4, 4)
    alone = datasets.load_dataset(str(tmp_path / "paths"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in alone.items()} == statistics["num_rows_by_split"]


def test_configuration_and_statistics_lie_beside(tmp_path):
    problems, trees = many()
    config = LabelRowsConfig(max_rows_per_problem=2, bis_share=0.5, fill="own")
    statistics = write_label_dataset(problems, trees, tmp_path, config)
    assert LabelRowsConfig(**json.loads((tmp_path / "rows.json").read_text())) == config
    assert json.loads((tmp_path / "statistics.json").read_text()) == statistics
    assert statistics["num_dropped_rows"] == {"max_rows_per_prefix": 0, "max_rows_per_problem": 19, "bis_share": 19}
    assert statistics["judge"]["num_compared"] == 0
    assert statistics["weighted_copies_per_prefix"] == pytest.approx(1.0)


def test_made_again_nothing_stale_stays_and_a_card_is_kept(tmp_path):
    problems, trees = many()
    write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.3))
    readme = tmp_path / "README.md"
    written = readme.read_text()
    readme.write_text(written.replace("---\n", "---\nlicense: apache-2.0\n", 1) + "\nA line of mine.\n")
    write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(tree_rollouts=False))
    assert set(load(tmp_path)) == set(load(tmp_path, "trees")) == {"train"}
    assert "rollouts" not in load(tmp_path, "trees")["train"].column_names
    _, metadata, text = readme.read_text().split("---\n", 2)
    metadata = yaml.safe_load(metadata)
    assert all(config.pop("description").startswith("sha256:") for config in metadata["configs"])
    assert metadata == {
        "license": "apache-2.0",
        "configs": [
            {
                "config_name": "paths",
                "data_files": [{"split": "train", "path": "paths/train.parquet"}],
                "default": True,
            },
            {"config_name": "trees", "data_files": [{"split": "train", "path": "trees/train.parquet"}]},
        ],
    }
    assert text.strip().startswith("# Step labels") and text.strip().endswith("A line of mine.")
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*") if "cache" not in p.parts}
    assert files == {"README.md", "rows.json", "statistics.json", "paths/train.parquet", "trees/train.parquet"}


def test_written_again_with_other_rows_the_cache_gives_the_new_ones(tmp_path):
    """datasets 5.2 keys its cache by the README's metadata and the folder's name, not by the files."""
    problems, trees = many()
    cache = str(tmp_path / "cache")
    found = []
    for parent, count in (("a", 3), ("a", 5), ("b", 4)):
        folder = tmp_path / parent / "labels"
        write_label_dataset(problems, trees[:count], folder)
        loaded = datasets.load_dataset(str(folder), "trees", split="train", cache_dir=cache)
        found.append(loaded["problem_id"][:])
    assert found == [[tree.problem_id for tree in trees[:count]] for count in (3, 5, 4)]


def test_a_folder_with_nothing_to_train_on_is_an_error(tmp_path):
    problems, trees = many(2)
    with pytest.raises(ValueError, match="give no label row: every problem was solved always or never"):
        write_label_dataset(problems, trees[:1], tmp_path)
    with pytest.raises(ValueError, match="All 3 label rows of .* are held out by validation_share=0.999"):
        write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.999))
    assert not (tmp_path / "paths" / "train.parquet").exists()


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    features = datasets.Features({"x": datasets.Value("int32")})
    assert write_splits(tmp_path, [("train", {"x": 1})], features) == {"train": 1}

    def broken():
        yield "train", {"x": 2}
        raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        write_splits(tmp_path, broken(), features)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded["x"][:] == [1] and not list(tmp_path.glob("*.part"))


def test_figures_by_path_are_embedded(tmp_path):
    PROBLEM.images[0].save(tmp_path / "figure.png")
    problem = dataclasses.replace(PROBLEM, images=(str(tmp_path / "figure.png"),))
    write_label_dataset([problem], [SearchTree("p", NODES)], tmp_path / "out")
    (tmp_path / "figure.png").unlink()
    assert load(tmp_path / "out")["train"][0]["images"][0].size == (4, 4)
