"""Every row of a label dataset traces back to its tree and its problem, or is named."""

from __future__ import annotations

import dataclasses
import io
import shutil

import datasets
import pyarrow.parquet
import pytest
from PIL import Image
from support.trees_by_hand import NODES, PROBLEM

from mmprm_hf.data import SearchTree
from mmprm_hf.labelling import LabelRowsConfig, check_label_dataset, write_label_dataset


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    problems = [dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?") for i in range(12)]
    trees = [SearchTree(problem.id, NODES) for problem in problems[:10]]
    write_label_dataset(problems, trees, folder, LabelRowsConfig(validation_share=0.3))
    return folder


@pytest.fixture
def folder(written, tmp_path):
    shutil.copytree(written, tmp_path / "labels")
    return tmp_path / "labels"


def change(folder, config, change_rows):
    """Write the train split of a config again, its rows changed."""
    path = folder / config / "train.parquet"
    table = pyarrow.parquet.read_table(path)
    changed = pyarrow.Table.from_pylist(change_rows(table.to_pylist()), schema=table.schema)
    pyarrow.parquet.write_table(changed, path)


def test_what_was_written_fits_together(folder):
    assert check_label_dataset(folder) == {"paths": 30, "trees": 10, "problems": 10}


def test_a_part_of_the_folder_is_answered_with_the_folder(folder):
    for part in ("paths", "trees", "problems"):
        with pytest.raises(ValueError, match=f"{part} is one part of a folder of labels. Give .*labels: the parts"):
            check_label_dataset(folder / part)


def with_first(**changes):
    return lambda rows: [{**rows[0], **changes}, *rows[1:]]


def other_figure():
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return [{"bytes": file.getvalue(), "path": None}]


TAMPERED = [
    ("paths", with_first(tree_id="x"), "path '.*' has no tree 'x' of problem 'p[0-9]' in train"),
    ("paths", with_first(problem_id="x"), "path '.*' has no tree '.*' of problem 'x' in train"),
    ("paths", with_first(prompt="Q?"), "path '.*' has another question or figure than problem 'p[0-9]'"),
    ("paths", with_first(images=other_figure()), "has another question or figure"),
    ("trees", with_first(problem_id="x"), "tree '.*' has no problem 'x' in train; path '.*' has no tree"),
    (
        "trees",
        lambda rows: rows[1:],
        "path '.*' has no tree '.*' of problem '.*' in train; .*Every row must trace back",
    ),
    ("trees", lambda rows: [{**rows[0], "problem_id": rows[1]["problem_id"]}, *rows], "appears twice"),
    ("problems", lambda rows: rows[1:], "tree '.*' has no problem 'p[0-9]' in train"),
    ("problems", lambda rows: [*rows, rows[0]], "problem 'p[0-9]' appears twice"),
    ("problems", with_first(question="Q?"), "has another question or figure than problem 'p[0-9]'; path"),
    ("paths", with_first(images=None), "path '.*' has another question or figure than problem"),
    ("paths", with_first(images=[None]), "path '.*' has another question or figure than problem"),
    ("paths", lambda rows: [{**rows[0], "completions": ["x"]}, *rows[1:]], "'.*' has other steps than those that its"),
    ("paths", lambda rows: [*rows, rows[0]], "path '.*' appears twice"),
    ("problems", lambda rows: [*rows, {**rows[0], "id": "x"}], "problem 'x' has no tree"),
    ("problems", with_first(images=[None]), "problem 'p[0-9]' has a figure without its bytes"),
]


def test_what_does_not_trace_back_is_named(folder):
    for config, change_rows, words in TAMPERED:
        path = folder / config / "train.parquet"
        content = path.read_bytes()
        change(folder, config, change_rows)
        with pytest.raises(ValueError, match=words):
            check_label_dataset(folder)
        path.write_bytes(content)


def test_figures_without_their_bytes_are_not_taken_for_equal(folder):
    for config, name in (("problems", "a.png"), ("paths", "b.png")):
        images = [{"bytes": None, "path": name}]
        change(folder, config, lambda rows, images=images: [{**row, "images": images} for row in rows])
    with pytest.raises(ValueError, match="has a figure without its bytes.* and [0-9]+ more"):
        check_label_dataset(folder)


def test_a_missing_column_is_named(folder):
    path = folder / "problems" / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(["images"]), path)
    with pytest.raises(ValueError, match="lacks the column images, without which rows cannot be traced back"):
        check_label_dataset(folder)


def test_two_trees_of_one_problem_fit_together(tmp_path):
    """They differ in counts alone, so they share an id."""
    again = (*NODES[:-1], dataclasses.replace(NODES[-1], num_decided=2))
    write_label_dataset([PROBLEM], [SearchTree("p", NODES), SearchTree("p", again)], tmp_path)
    assert check_label_dataset(tmp_path) == {"paths": 3, "trees": 2, "problems": 1}


def test_a_row_on_the_wrong_side_is_named(folder):
    (folder / "problems" / "train.parquet").rename(folder / "problems" / "validation.parquet")
    with pytest.raises(ValueError, match="tree '.*' has no problem 'p[0-9]' in train; .* and [0-9]+ more"):
        check_label_dataset(folder)


def test_a_missing_config_is_named(folder):
    shutil.rmtree(folder / "problems")
    with pytest.raises(FileNotFoundError, match="problems contains no parquet file"):
        check_label_dataset(folder)


def test_problems_left_out_leave_no_row(folder):
    ids = [
        datasets.Dataset.from_parquet(str(path), cache_dir=str(folder / "cache"))["id"][:]
        for path in sorted((folder / "problems").glob("*.parquet"))
    ]
    assert sorted(sum(ids, [])) == [f"p{i}" for i in range(10)]
