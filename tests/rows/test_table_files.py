"""Files of rows as people have them, and those that are broken, too large, or end the reader of `datasets`."""

import csv
import gzip
import json

import datasets
import pandas
import pytest

from mmprm_hf.rows import RawRows, is_absent, problem_from_row, row_images, table_files, text_cell, texts_cell

ROWS = [{"id": "a", "question": "1 + 1 = ?"}, {"id": "b", "question": "Wie groß?"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def test_files_as_people_have_them_give_the_same_rows(tmp_path):
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + LINES.encode())
    (tmp_path / "utf16.jsonl").write_bytes(LINES.encode("utf-16"))
    (tmp_path / "UPPER.JSONL").write_bytes(LINES.encode())
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    (tmp_path / "windows.jsonl").write_bytes(LINES.replace("\n", "\r\n\r\n").encode())
    (tmp_path / "list.json").write_text(json.dumps(ROWS, indent=2))
    (tmp_path / "by_id.json").write_text(
        json.dumps({row["id"]: {"question": row["question"]} for row in ROWS}, indent=1)
    )
    (tmp_path / "by_id_in_a_line.json").write_text(json.dumps({row["id"]: row for row in ROWS}))
    (tmp_path / "table.csv").write_text("id,question\na,1 + 1 = ?\nb,Wie groß?\n")
    (tmp_path / "table.tsv").write_text("id\tquestion\na\t1 + 1 = ?\nb\tWie groß?\n")
    (tmp_path / "packed.tsv.gz").write_bytes(gzip.compress((tmp_path / "table.tsv").read_bytes()))
    for orient in ("columns", "records", "split", "table"):
        table = pandas.DataFrame(ROWS)
        text = table.to_json(orient=orient, index=False if orient == "table" else None)
        (tmp_path / f"pandas_{orient}.json").write_text(text)
    (tmp_path / "pandas_index.json").write_text(pandas.DataFrame(ROWS).set_index("id").to_json(orient="index"))
    (tmp_path / "pandas_named.json").write_text(pandas.DataFrame(ROWS, index=["x", "y"]).to_json())
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "splits")
    for path in sorted(tmp_path.iterdir()):
        assert list(RawRows(path)) == ROWS, path
        assert list(RawRows(path, num_rows=1)) == ROWS[:1], path


def test_an_object_over_several_lines_is_one_row(tmp_path):
    for indent in (2, None):
        (tmp_path / "row.json").write_text(json.dumps({**ROWS[0], "options": {"A": "1"}}, indent=indent))
        assert list(RawRows(tmp_path / "row.json")) == [{**ROWS[0], "options": {"A": "1"}}]


def test_a_cell_of_a_csv_keeps_its_blank_lines_and_may_be_as_long_as_a_figure(tmp_path):
    figure = "iVBORw0KGgo" * 20_000  # Base64; the csv module takes 131,072 characters by default
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "image"], ["one\n\n  \ntwo", figure], ["three", ""]])
    assert list(RawRows(tmp_path / "rows.csv", figure_columns=())) == [
        {"question": "one\n\n  \ntwo", "image": figure},
        {"question": "three", "image": ""},
    ]


def test_other_json_files_in_a_folder_may_contain_anything(tmp_path):
    (tmp_path / "notes.json").write_text('"hello"')
    (tmp_path / "train.jsonl").write_text(LINES)
    assert list(RawRows(tmp_path)) == ROWS
    (tmp_path / "train.jsonl").rename(tmp_path / "rows.jsonl")  # a name that lets `datasets` read the notes as well
    with pytest.raises(ValueError, match="notes.json begins with b'\"hello\"'.* give the file of rows instead"):
        RawRows(tmp_path)


def test_broken_files_are_named_with_the_place(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "MAX_LINE", 1000)
    deep = "[" * 100_000 + "]" * 100_000
    monkeypatch.setattr(table_files, "MAX_DOCUMENT", 900)
    for name, content, message in (
        ("null.json", "null", "Row 0 of .*null.json is null. A row is an object"),
        ("deep.json", deep[:800], "is nested too deeply|is not JSON"),
        ("torn.jsonl", LINES + '{"id"', "Line 3 of .*torn.jsonl is not JSON"),
        ("long.jsonl", LINES + "x" * 1001, "Line 3 of .*long.jsonl has more than 1000 characters"),
        ("long.json", "[\n" + '{"a": 1},\n' * 100 + "]", "long.json has more than 900 characters. Write it as .jsonl"),
        ("digits.jsonl", "9" * 990, "Row 0 of .*is a int|is not JSON"),
        ("latin.jsonl", '{"id": "\u00df"}'.encode("latin-1"), "latin.jsonl is not UTF-8"),
        ("cells.csv", "a,b\n1,2,3\n", "Row 1 of .*cells.csv has more cells than the header"),
        (
            "semicolons.csv",
            "id;question\n1;2\n",
            "The header of .*semicolons.csv is 'id;question', one column. .*commas",
        ),
        ("commas.tsv", "id,question\n1,2\n", "Cells of a .tsv file are separated by tabs, not by ','"),
        ("quote.csv", 'a,b\n1,"2\n', "quote.csv is not CSV"),
        ("cut.jsonl.gz", gzip.compress(LINES.encode() * 99)[:-20], "cut.jsonl.gz cannot be unpacked"),
        ("bomb.jsonl.gz", gzip.compress(b"\n".join([b" " * 900] * 9000)), "grows to more than 200 times its size"),
        ("bad.parquet", b"PAR1", "cannot be read as a dataset|Parquet"),
    ):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=message):
            list(RawRows(tmp_path / name))


def test_folders_that_would_end_the_process_are_refused(tmp_path):
    """pyarrow's reader of JSON crashes on these."""
    deep = '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}"
    for name, content, message in (
        ("null", "null\n", "begins with b'null"),
        ("deep", f"{deep}\n", "nested too deeply"),
        ("late", f'{{"a": 1}}\n{{"a": "]]]]]]]]"}}\n{deep}\n', "nested too deeply"),
        ("second", f'{{"a": 1}} {deep}\n', "nested too deeply"),
    ):
        for ending in ("json", "jsonl"):
            path = tmp_path / f"{name}-{ending}" / f"train.{ending}"
            path.parent.mkdir()
            path.write_text(content)
            with pytest.raises(ValueError, match=message):
                RawRows(path.parent)
    intervals = [{"text": "x in [0, 1) or {2"} for _ in range(1000)]  # brackets in texts are no nesting
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in intervals))
    assert len(RawRows(tmp_path / "texts")) == 1000


class NAType:
    """The empty cell of pandas, which is neither equal nor unequal to itself."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


EMPTY = (None, float("nan"), "", "  \n", [], {}, NAType())


def test_an_empty_cell_is_absent_to_every_reader():
    for empty in EMPTY:
        assert is_absent(empty)
        assert text_cell({"answer": empty}, "answer") is None and texts_cell({"options": empty}, "options") == ()
        assert row_images({"images": empty, "image": empty}) == row_images({"images": [empty]}) == []
        row = {"id": "p", "question": empty, "text": "What?", "answer": empty, "images": empty, "subject": empty}
        problem = problem_from_row({**row, "answer_type": empty, "options": empty})
        assert (problem.question, problem.answer, problem.answer_type, problem.options) == ("What?", None, "text", ())
        assert problem.images == () and problem.meta == {"subject": None}
        with pytest.raises(ValueError, match="has 1 empty figures among 2"):
            row_images({"images": ["a.png", empty]})
    for present in ("nan", "None", 0, False, "0"):
        assert not is_absent(present)


def test_a_wrong_type_is_named():
    for change, message in (
        ({"question": ["?"]}, r"Problem 'p' has the question \['\?'\]. Write a text or a number"),
        ({"answer": {"value": 1}}, "Problem 'p' has the answer {'value': 1}. Write a text or a number"),
        ({"options": 4}, "Problem 'p' has the options 4. Write a list of texts"),
        ({"options": [{"a": 1}]}, "Problem 'p' has the options {'a': 1}. Write a text or a number"),
        ({"answer_type": ["text"]}, r"Problem 'p' has the answer_type \['text'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            problem_from_row({"id": "p", "question": "?", **change})
