"""Published problems with all their flaws go through `rerank_problems`: each has a row with an outcome."""

from pathlib import Path

import pytest
from PIL import Image
from support.layout import SHARED

from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.rows import FigureRules
from mmprm_hf.stages import rerank_problems

DATA = SHARED / "data"
MATHVISION = {
    "2935": "the highest figure, 8,526 px",
    "1285": "ten times as wide as high",
    "2880": "the smallest figure",
    "110": "three placeholders, one figure",
    "2653": "placeholders in the options too",
    "2673": "placeholders in the options only",
    "2830": "gold with a form feed",
    "2828": "a backslash and an n instead of a line break",
    "434": "a letter as gold, no options",
    "2682": "options that lost their leading digits",
    "2503": "a byte-order mark",
    "3": "options that are their letters",
}
GAOKAO = ["gaokao-mm-math-0", "gaokao-mm-math-1", "gaokao-mm-math-2", "gaokao-mm-math-3", "gaokao-mm-math-20"]
GAOKAO.append("gaokao-mm-math-12")


def rows_of(name: str, ids) -> list[dict]:
    """The rows with these ids, in their order, figures by absolute path."""
    path = DATA / name / "problems.jsonl"
    if not path.is_file():
        pytest.skip(f"{name} is not there: shared/ is absent beside the repository")
    by_id = {row["id"]: row for row in read_jsonl(path)}
    rows = [by_id[row_id] for row_id in ids]
    return [{**row, "images": [str(path.parent / image) for image in row["images"]]} for row in rows]


def solved(rows, folder):
    """Summary and rows by id of a run with the shipped models."""
    write_jsonl(folder / "problems.jsonl", rows)
    options = {"num_candidates": 2, "max_new_tokens": 16}
    call = {"policy": None, "prm": None, "options": options, "progress": False, "rules": FigureRules((str(DATA),))}
    summary = rerank_problems(str(folder / "problems.jsonl"), folder / "out", **call)
    rows_by_id = {row["problem_id"]: row for row in read_jsonl(folder / "out" / "candidates.jsonl")}
    assert list(rows_by_id) == [row["id"] for row in rows]
    assert summary["num_problems"] == sum(summary["outcomes"].values()) == len(rows)
    assert all(len(row["candidates"]) == 2 for row in rows_by_id.values() if row["outcome"] != "not_shown")
    return summary, rows_by_id


def test_mathvision(tmp_path):
    rows = rows_of("mathvision", MATHVISION)
    flawed = {row["id"]: row for row in rows}
    with Image.open(flawed["2935"]["images"][0]) as figure:
        assert figure.height == 8526
    assert flawed["110"]["question"].count("<image") > 2 and "<image" in str(flawed["2673"]["options"])
    assert "\f" in flawed["2830"]["answer"] and flawed["2503"]["question"].startswith("\ufeff")
    summary, rows_by_id = solved(rows, tmp_path)
    # Several placeholders and one figure: the others may be lost.
    not_shown = [name for name, row in rows_by_id.items() if row["outcome"] == "not_shown"]
    assert not_shown == ["110", "2653", "2673", "434"]
    assert all("placeholders (" in error and "but 1 figure." in error for error in summary["errors"])
    assert rows_by_id["3"]["question"] == flawed["3"]["question"]
    assert rows_by_id["2682"]["question"].endswith("(E) $1510$"), "a choice problem shows its options"
    assert rows_by_id["434"]["answer"] == "C" and "(A)" not in rows_by_id["434"]["question"]


def test_gaokao(tmp_path):
    rows = rows_of("gaokao_mm_math", GAOKAO)
    assert sorted(len(row["images"]) for row in rows) == [1, 1, 2, 5, 5, 5]
    summary, rows_by_id = solved(rows, tmp_path)
    assert summary["outcomes"]["not_shown"] == 0, summary["errors"]
    assert all(any("\u4e00" <= character <= "\u9fff" for character in row["question"]) for row in rows_by_id.values())
    for row, shown in zip(rows_by_id.values(), rows, strict=True):
        copies = [(tmp_path / "out" / figure).read_bytes() for figure in row["figures"]]
        assert copies == [Path(image).read_bytes() for image in shown["images"]]
