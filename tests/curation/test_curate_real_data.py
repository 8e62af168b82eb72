"""Curation of published problems, with all their flaws: each row is repaired, or dropped with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.layout import SHARED
from support.raw_problems import run_curation, write_source

from mmprm_hf.files import read_jsonl

DATA = SHARED / "data"
FLAWED = {
    "2935": None,  # the highest figure, 8,526 px
    "1285": None,  # ten times as wide as high
    "2880": None,  # the smallest figure
    "110": None,  # three placeholders, one figure
    "2653": None,  # placeholders in the options too
    "2673": None,  # placeholders in the options only
    "2830": None,  # gold with a form feed
    "2828": None,  # a backslash and an n instead of a line break; gold in a box
    "2503": None,  # a byte-order mark
    "2312": None,  # a stray dollar in an option
    "482": None,  # options "A)" to "E)"
    "434": "choice_without_options",
    "2682": "options_damaged",  # options that lost their leading digits
    "528": "question_too_short",  # nothing but a placeholder
    "19": "solved_without_figure",
}
# From near_duplicates.jsonl and by reading: one problem in two translations; two problems of one kind.
SAME = [("773", "1050"), ("1516", "1810"), ("787", "2607"), ("1088", "1591"), ("1478", "1976"), ("1314", "1844")]
VARIANTS = [("1241", "1483"), ("2026", "2028"), ("2635", "2637"), ("97", "617")]


def read_data(name: str) -> dict[str, dict]:
    path = DATA / name / "problems.jsonl"
    if not path.is_file():
        pytest.skip(f"{name} is not there: shared/ is absent beside the repository")
    rows = read_jsonl(path)
    return {row["id"]: {**row, "images": [str(path.parent / image) for image in row["images"]]} for row in rows}


def solve_one(problems):
    """A model that solves one problem without its figure."""
    return {problem.id: (4 if problem.id == "s-19" else 0, 4) for problem in problems}


def test_flawed_rows_of_mathvision(tmp_path):
    rows = read_data("mathvision")
    source = write_source(tmp_path / "s", [rows[name] for name in FLAWED])
    curated = run_curation(tmp_path / "out", source, text_only=solve_one, roots=[DATA])
    kept = {row["id"]: row for row in curated.rows["train"]}
    assert curated.reasons() == {f"s-{name}": reason for name, reason in FLAWED.items() if reason}
    assert set(kept) == {f"s-{name}" for name, reason in FLAWED.items() if reason is None}
    assert kept["s-2830"]["answer"] == "\\frac{36}{13}" and kept["s-2828"]["answer"] == "\\frac{16}{7}"
    assert kept["s-110"]["question"].endswith("(image 2)\n(image 3)")
    assert kept["s-2673"]["options"] == [f"(image {number})" for number in range(1, 6)]
    assert kept["s-2503"]["question"].startswith("A lampshade")
    assert kept["s-2312"]["options"][3] == "$\\frac{6}{5}$"
    assert kept["s-482"]["options"] == ["A", "B", "C", "D", "E"]
    assert not any("<image" in row["question"] or "\\n" in row["question"][-3:] for row in kept.values())
    for name, row in kept.items():
        path = Path(rows[name.removeprefix("s-")]["images"][0])
        assert row["images"][0] == {"bytes": path.read_bytes(), "path": path.name}


def test_duplicates_of_mathvision(tmp_path):
    rows = read_data("mathvision")
    chosen = {name for pair in (*SAME, *VARIANTS) for name in pair} | set(list(rows)[:120])
    source = write_source(tmp_path / "s", [rows[name] for name in sorted(chosen, key=int)])
    curated = run_curation(tmp_path / "out", source, text_only=solve_one, roots=[DATA])
    of = {reject["id"]: reject["of"] for reject in curated.rejects if reject["reason"] == "near_duplicate"}
    assert of == {f"s-{second}": f"s-{first}" for first, second in SAME}
    groups = {row["id"]: row["split_group"] for row in curated.rows["train"]}
    for first, second in VARIANTS:
        assert groups[f"s-{first}"] == groups[f"s-{second}"], (first, second)


def test_gaokao(tmp_path):
    source = write_source(tmp_path / "s", list(read_data("gaokao_mm_math").values()))
    curated = run_curation(tmp_path / "out", source, languages=("zh",), roots=[DATA])
    rows = curated.rows["train"]
    assert curated.rejects == [] and len(rows) == 60
    assert all(row["answer_type"] == "choice" and len(row["options"]) == 4 for row in rows)
    assert all(row["answer"] in "ABCD" and row["grade"] == 12 for row in rows)
    assert sum(len(row["images"]) for row in rows) == 105
    assert sum(row["options"] == ["A", "B", "C", "D"] for row in rows) == 14  # drawn
    (counts,) = curated.report["sources"]
    assert counts["repairs"] == {"options_extracted": 46}
    with pytest.raises(ValueError, match=r"Of 60 rows none is kept \(language: 60\)"):
        run_curation(tmp_path / "en", source, languages=("en",), roots=[DATA])
