"""Curation of published problems, with all their flaws: each row is repaired, or dropped with a reason."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from support.layout import SHARED

from mmprm_hf.curation import CurationConfig, curate
from mmprm_hf.files import read_jsonl, write_jsonl

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
# Of near_duplicates.jsonl and by reading: one problem in two translations; two problems of one kind.
SAME = [("773", "1050"), ("1516", "1810"), ("787", "2607"), ("1088", "1591"), ("1478", "1976"), ("1314", "1844")]
VARIANTS = [("1241", "1483"), ("2026", "2028"), ("2635", "2637"), ("97", "617")]


def rows_of(name: str) -> dict[str, dict]:
    path = DATA / name / "problems.jsonl"
    if not path.is_file():
        pytest.skip(f"{name} is not there: shared/ is absent beside the repository")
    rows = read_jsonl(path)
    return {row["id"]: {**row, "images": [str(path.parent / image) for image in row["images"]]} for row in rows}


def failing(problems):
    """A model that solves one problem without its figure."""
    return {problem.id: (4 if problem.id == "s-19" else 0, 4) for problem in problems}


def curated(rows, folder, **options):
    write_jsonl(folder / "raw" / "problems.jsonl", rows)
    source = {"path": str(folder / "raw" / "problems.jsonl"), "name": "s"}
    found = curate(CurationConfig(sources=(source,), **options), folder / "out", text_only=failing)
    kept = datasets.Dataset.from_parquet(str(folder / "out" / "train.parquet"), cache_dir=str(folder / "cache"))
    return found, {row["id"]: row for row in kept.cast_column("images", datasets.List(datasets.Image(decode=False)))}


def test_flawed_rows_of_mathvision(tmp_path):
    rows = rows_of("mathvision")
    found, kept = curated([rows[name] for name in FLAWED], tmp_path)
    reasons = {reject["id"]: reject["reason"] for reject in found.rejects}
    assert reasons == {f"s-{name}": reason for name, reason in FLAWED.items() if reason}
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
    rows = rows_of("mathvision")
    pairs = [*SAME, *VARIANTS]
    others = list(rows)[:120]
    chosen = sorted({name for pair in pairs for name in pair} | set(others), key=int)
    found, kept = curated([rows[name] for name in chosen], tmp_path)
    of = {reject["id"]: reject["of"] for reject in found.rejects if reject["reason"] == "near_duplicate"}
    assert of == {f"s-{second}": f"s-{first}" for first, second in SAME}
    group = {name: row["split_group"] for name, row in kept.items()}
    for first, second in VARIANTS:
        assert group[f"s-{first}"] == group[f"s-{second}"], (first, second)


def test_gaokao(tmp_path):
    rows = rows_of("gaokao_mm_math")
    found, kept = curated(list(rows.values()), tmp_path, languages=("zh",))
    assert found.rejects == [] and len(kept) == 60
    assert all(row["answer_type"] == "choice" and len(row["options"]) == 4 for row in kept.values())
    assert all(row["answer"] in "ABCD" and row["grade"] == 12 for row in kept.values())
    assert sum(len(row["images"]) for row in kept.values()) == 105
    assert sum(row["options"] == ["A", "B", "C", "D"] for row in kept.values()) == 14  # drawn
    (counts,) = found.report["sources"]
    assert counts["repairs"] == {"options_extracted": 46}
    with pytest.raises(ValueError, match=r"Of 60 rows none is kept \(language: 60\)"):
        curated(list(rows.values()), tmp_path / "en", languages=("en",))
