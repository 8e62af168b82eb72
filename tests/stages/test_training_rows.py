"""The label rows of a training, opened by the one reader of rows."""

import datasets
import pytest
from PIL import Image

from mmprm_hf.files import write_jsonl
from mmprm_hf.rows import FigureRules
from mmprm_hf.stages.training_rows import train_and_eval_rows

ROWS = [
    {"problem_id": f"p{index}", "prompt": "q", "completions": ["a"], "labels": [1.0], "image": "a.png"}
    for index in range(40)
]


def test_a_file_and_a_folder_are_divided_alike_and_read_row_by_row(tmp_path, monkeypatch):
    """Nothing is decoded or fetched before a row is asked for."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    monkeypatch.setattr("mmprm_hf.rows.figure_rules.fetch", lambda *_: pytest.fail("fetched"))
    rows = [*ROWS[:-1], {**ROWS[-1], "image": "https://figures.example/a.png"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "a.png").write_bytes(b"")
    divided = []
    for data, folder in ((tmp_path / "rows.jsonl", tmp_path), (tmp_path / "saved", tmp_path / "saved")):
        train, evaluation = train_and_eval_rows(data, 0.3, FigureRules(allow_urls=True))
        divided.append(
            [[row["problem_id"] for row in map(part.written, range(len(part)))] for part in (train, evaluation)]
        )
        assert train[0]["image"] == str(folder / "a.png")
    assert divided[0] == divided[1] and 5 < len(divided[0][1]) < 20
    assert sorted(sum(divided[0], [])) == sorted(row["problem_id"] for row in ROWS)


def test_a_validation_split_is_evaluated(tmp_path):
    for name, rows in (("train", ROWS[:3]), ("validation", ROWS[3:5])):
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / f"{name}.parquet")
    train, evaluation = train_and_eval_rows(tmp_path, 0.3)
    assert (train.column("problem_id"), evaluation.column("problem_id")) == (["p0", "p1", "p2"], ["p3", "p4"])
    (tmp_path / "train.parquet").rename(tmp_path / "test.parquet")
    with pytest.raises(ValueError, match="has the splits .* and no train split. Name one of its files"):
        train_and_eval_rows(tmp_path, 0.3)
