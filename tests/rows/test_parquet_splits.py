"""Rows to a parquet file per split: whole or not at all, nothing stale."""

from __future__ import annotations

import datasets
import pytest

from mmprm_hf.rows.parquet_splits import write_splits


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    features = datasets.Features({"x": datasets.Value("int32")})
    assert write_splits(tmp_path, [("train", {"x": 1})], features, ("train", "test")) == {"train": 1}

    def broken():
        yield "train", {"x": 2}
        raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        write_splits(tmp_path, broken(), features, ("train", "test"))
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded["x"][:] == [1] and not list(tmp_path.glob("*.part"))


def test_splits_in_order_and_none_that_is_stale(tmp_path):
    features = datasets.Features({"x": datasets.Value("int32")})
    rows = [("test", {"x": 1}), ("train", {"x": 2}), ("test", {"x": 3})]
    assert list(write_splits(tmp_path, rows, features, ("train", "test")).items()) == [("train", 1), ("test", 2)]
    assert write_splits(tmp_path, rows[1:2], features, ("train", "test")) == {"train": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["train.parquet"]
