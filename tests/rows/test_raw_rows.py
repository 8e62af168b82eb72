"""The one way to open rows: JSON lines, JSON, parquet and dataset folders; figures undecoded, beside their file."""

import io
import json

import datasets
import pytest
from PIL import Image

from mmprm_hf.files import write_json, write_jsonl
from mmprm_hf.rows import RawRows

ROWS = [
    {"id": "a", "question": "1 + 1 = ?", "images": ["figures/a.png", "figures/b.png"]},
    {"id": "b", "question": "2 + 2 = ?", "images": []},
    {"id": "c", "question": "3 + 3 = ?", "images": ["https://example.org/c.png"]},
]


@pytest.fixture
def files(tmp_path):
    """The same rows as files of each kind and as a dataset's folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "rows.jsonl", tmp_path / "lines.json", folder / "train.jsonl"):
        write_jsonl(path, ROWS)
    write_json(tmp_path / "list.json", ROWS)
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    return [tmp_path / name for name in ("rows.jsonl", "lines.json", "list.json", "rows.parquet")] + [folder]


def test_all_kinds_of_files_give_the_same_rows(files):
    for path in files:
        rows, folder = RawRows(path), path if path.is_dir() else path.parent
        expected = [
            {**ROWS[0], "images": [str(folder / "figures" / "a.png"), str(folder / "figures" / "b.png")]},
            *ROWS[1:],  # addresses stay as they are
        ]
        assert list(rows) == expected, path
        assert rows.columns == ("id", "question", "images")
        assert rows.column("id") == ["a", "b", "c"]
        assert [row["id"] for row in RawRows(path, num_rows=2)] == ["a", "b"]
        assert rows[-1]["id"] == "c" and len(RawRows(path, num_rows=9)) == 3
        with pytest.raises(IndexError):
            rows[3]


def test_figures_of_a_dataset_keep_their_bytes(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, format="PNG")
    figure = {"bytes": buffer.getvalue(), "path": None}
    features = datasets.Features({"image": datasets.Image(), "images": datasets.List(datasets.Image())})
    rows = datasets.Dataset.from_dict({"image": [figure], "images": [[figure, figure]]}, features=features)
    for path in (tmp_path / "rows.parquet", tmp_path / "folder" / "train.parquet"):
        path.parent.mkdir(exist_ok=True)
        rows.to_parquet(path)
        (row,) = RawRows(path if path.name == "rows.parquet" else path.parent)
        assert row == {"image": figure, "images": [figure, figure]}


def test_only_figure_columns_are_paths(tmp_path):
    path = tmp_path / "rows.jsonl"
    long = "A" * 400  # a figure in Base64: no path is so long
    write_jsonl(
        path, [{"image": "a.png", "picture": "b.png", "figure": None, "images": [long, "data:image/png;base64,AA"]}]
    )
    (row,) = RawRows(path)
    assert row["image"] == str(tmp_path / "a.png") and row["picture"] == "b.png" and row["figure"] is None
    assert row["images"] == [long, "data:image/png;base64,AA"]
    (row,) = RawRows(path, figure_columns=["picture"])
    assert row["image"] == "a.png" and row["picture"] == str(tmp_path / "b.png")


def test_a_column_that_some_rows_lack_is_none_there(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"id": 1}, {"question": "q"}])
    rows = RawRows(tmp_path / "rows.jsonl")
    assert rows.columns == ("id", "question") and rows.column("id") == [1, None] and rows[1] == {"question": "q"}


def test_splits_and_configurations_of_a_folder(tmp_path):
    for split in ("train", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", [{"id": split}])
    assert RawRows(tmp_path, "test")[0] == {"id": "test"} and RawRows(tmp_path)[0] == {"id": "train"}


def test_all_splits_at_once_and_some_rows_of_one(files, tmp_path):
    for path in files:
        splits = RawRows.splits(path)
        assert list(splits) == ["train"] and list(splits["train"]) == list(RawRows(path))
        some = splits["train"].select([2, 0])
        assert [row["id"] for row in some] == some.column("id") == ["c", "a"] and some.columns[0] == "id"
        assert some.written(1)["images"] == ["figures/a.png", "figures/b.png"]
    write_jsonl(tmp_path / "folder" / "test.jsonl", ROWS[:1])
    assert {name: len(rows) for name, rows in RawRows.splits(tmp_path / "folder").items()} == {"train": 3, "test": 1}


def test_what_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "torn.jsonl").write_text('{"id": 1}\n{"id"')
    (tmp_path / "list.jsonl").write_text('{"id": 1}\n[2]\n')
    (tmp_path / "texts.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(ValueError, match=r"Line 2 of .*torn\.jsonl is not JSON"):
        RawRows(tmp_path / "torn.jsonl")
    with pytest.raises(ValueError, match=r"Row 1 of .*list\.jsonl is a list\. A row is an object"):
        RawRows(tmp_path / "list.jsonl")
    with pytest.raises(ValueError, match=r"Row 0 of .*texts\.json is a str"):
        RawRows(tmp_path / "texts.json")
    for name in ("none.jsonl", "none.json", "none.parquet", "none"):
        with pytest.raises(OSError, match=name):
            RawRows(tmp_path / name)
    with pytest.raises(OSError, match="owner/name"):  # the Hub is not reached from here
        RawRows("hub:owner/name@main")


def test_columns_of_other_names_are_renamed_and_an_absent_one_is_named(tmp_path):
    rows = [{"problem": f"q{i}", "answer": "worked out", "final": str(i), "pic": "a.png"} for i in range(3)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    names = {"question": "problem", "answer": "final", "image": "pic"}
    (tmp_path / "a.png").write_bytes(b"")
    for file in ("a.jsonl", "a.parquet"):
        data = RawRows(str(tmp_path / file), columns=names)
        assert set(data.columns) == {"question", "answer", "image"}
        assert data.written(1) == {"question": "q1", "answer": "1", "image": "a.png"}
        assert data.column("answer") == ["0", "1", "2"] and data.select([2])[0]["question"] == "q2"
        assert data[0]["image"] == str(tmp_path / "a.png"), "a figure is looked up under its new name"
        with pytest.raises(ValueError, match="has no column text; found problem, answer, final, pic"):
            RawRows(tmp_path / file, columns={"question": "text"})
        with pytest.raises(ValueError, match="has no column question; found problem, .*: --columns question=NAME"):
            RawRows(tmp_path / file).need("question", "text")


def test_names_of_columns_the_wrong_way_round_or_misspelt_are_answered_with_the_right_form(tmp_path):
    (tmp_path / "mine.csv").write_text("problem,gold\n1 + 1?,2\n")
    (tmp_path / "ours.csv").write_text("question,answer\n1 + 1?,2\n")
    for file, columns, message in (
        ("mine.csv", {"problem": "question"}, "no column question; .* The form is OURS=THEIRS: question=problem"),
        ("mine.csv", {"question": "problm"}, "no column problm; found problem, gold. Did you mean problem?"),
        ("mine.csv", {"qestion": "problem"}, "nothing reads a column qestion. Did you mean question?"),
        ("mine.csv", {"zzz": "problem"}, "nothing reads a column zzz. Write a name of ours first. The form is OURS="),
        ("ours.csv", {"problem": "question"}, "has a column question, but the column names problem=question make it"),
    ):
        with pytest.raises(ValueError, match=message):
            RawRows(tmp_path / file, columns=columns).need("question", "text")


def test_a_split_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    rows = datasets.Dataset.from_list([{"question": "1 + 1?"}])
    (tmp_path / "folder").mkdir()
    for split in ("train", "dev"):
        rows.to_parquet(tmp_path / "folder" / f"{split}.parquet")
    datasets.DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "saved")
    for folder, splits in (("folder", "train, validation"), ("saved", "train, dev")):
        with pytest.raises(ValueError, match=f"{folder} has no split 'test'; found {splits}. Choose .*--split"):
            RawRows(tmp_path / folder, "test")


def test_a_file_of_another_ending_is_answered_with_those_that_are_read(tmp_path):
    for name in ("README.md", "rows.xlsx", "rows.parquet.gz", "rows.zip"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=f"{name}' is not a file of rows by its ending. .*jsonl, .* .parquet"):
            RawRows(tmp_path / name)


def test_a_header_without_rows_shows_its_columns(tmp_path):
    (tmp_path / "head.csv").write_text("question,gold\n")
    with pytest.raises(ValueError, match="head.csv has no rows; its columns are question, gold. Give data with rows"):
        RawRows(tmp_path / "head.csv", columns={"answer": "gold"}).need("question")
    with pytest.raises(ValueError, match="has no column golds; found question, gold. Did you mean gold?"):
        RawRows(tmp_path / "head.csv", columns={"answer": "golds"})
