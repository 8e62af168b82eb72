"""Rows to a parquet file per split: whole or not at all, nothing stale; and how a card names the files."""

import datasets
import pytest

from mmprm_hf.rows import hub_configs, write_splits

FEATURES = datasets.Features({"x": datasets.Value("int32")})


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    assert write_splits(tmp_path, [("train", {"x": 1})], FEATURES, ("train", "test")) == {"train": 1}

    def broken():
        yield "train", {"x": 2}
        raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        write_splits(tmp_path, broken(), FEATURES, ("train", "test"))
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded["x"][:] == [1] and not list(tmp_path.glob("*.part"))


def test_splits_keep_their_order_and_none_is_stale(tmp_path):
    rows = [("test", {"x": 1}), ("train", {"x": 2, "y": "not a feature"}), ("test", {"x": 3})]
    counts = write_splits(tmp_path, rows, FEATURES, ("train", "test"), rows_in_memory=1)
    assert list(counts.items()) == [("train", 1), ("test", 2)]
    assert datasets.Dataset.from_parquet(str(tmp_path / "test.parquet"))[:] == {"x": [1, 3]}
    assert datasets.Dataset.from_parquet(str(tmp_path / "train.parquet")).column_names == ["x"]
    assert write_splits(tmp_path, rows[1:2], FEATURES, ("train", "test")) == {"train": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["train.parquet"]
    assert write_splits(tmp_path, [], FEATURES, ("train", "test")) == {} and not list(tmp_path.iterdir())


def test_a_card_names_files_that_exist_and_changes_with_them(tmp_path):
    configs, splits = {"paths": "", "trees": "trees", "problems": "problems"}, ("train", "test")
    write_splits(tmp_path, [("train", {"x": 1}), ("test", {"x": 2})], FEATURES, splits)
    write_splits(tmp_path / "trees", [("train", {"x": 3})], FEATURES, splits)
    paths, trees = hub_configs(tmp_path, configs, splits)
    assert paths["config_name"] == "paths" and paths["default"] and "default" not in trees
    assert [file["path"] for file in paths["data_files"]] == ["train.parquet", "test.parquet"]
    assert trees["data_files"] == [{"split": "train", "path": "trees/train.parquet"}]
    write_splits(tmp_path / "trees", [("train", {"x": 4})], FEATURES, splits)
    again = hub_configs(tmp_path, configs, splits)
    assert again[0] == paths and again[1]["description"] != trees["description"]
    assert hub_configs(tmp_path / "none", configs, splits) == []
