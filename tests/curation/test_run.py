"""The whole run: rows add up, duplicates and benchmarks go, splits are clean, the folder loads, nothing is lost."""

from __future__ import annotations

import base64
import collections
import io
import subprocess
import sys

import datasets
import pytest
from PIL import Image
from support.raw_problems import raw_row, run_curation, write_source

from mmprm_hf.curation import curate
from mmprm_hf.curation.config import CurationConfig
from mmprm_hf.nano.world import load_nano
from mmprm_hf.rows.problem_rows import problem_features


@pytest.fixture
def source(tmp_path):
    """Twelve rows: eight good ones, and one for each of some reasons."""
    folder = tmp_path / "raw"
    rows = [raw_row(folder, number) for number in range(8)]
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n")
    rows += [
        raw_row(folder, 8, image="cut.png"),
        raw_row(folder, 9, answer="C"),
        raw_row(folder, 10, question=rows[3]["question"].upper(), answer=rows[3]["answer"], image="3.png"),
        raw_row(folder, 11, question=rows[4]["question"], answer="99"),
    ]
    return write_source(folder, rows, license="mit")


def test_every_row_is_kept_or_has_a_reason(source, tmp_path):
    curated = run_curation(tmp_path / "out", source, num_test=3)
    assert curated.reasons() == {
        "raw-8": "figure_unreadable",
        "raw-9": "choice_without_options",
        "raw-10": "duplicate",
    }
    assert next(reject["of"] for reject in curated.rejects if reject["reason"] == "duplicate") == "raw-3"
    (counts,) = curated.report["sources"]
    assert counts["num_read"] == 12 == counts["num_kept"] + sum(counts["num_dropped"].values())
    assert counts["unknown_columns"] == ["subject", "grade"] and counts["repairs"]["placeholder_removed"] == 9
    assert curated.report["splits"] == {"train": 6, "test": 3}
    assert curated.report["pairs"] == {"exact": 1, "near": 0, "conflict": 0, "variant": 1}  # 3 and 10; 4 and 11
    assert str(tmp_path) not in (tmp_path / "out" / "curation.json").read_text()


def test_the_folder_loads_in_a_fresh_process(source, tmp_path):
    run_curation(tmp_path / "out", source, num_test=3)
    code = (
        "import sys, datasets; d = datasets.load_dataset(sys.argv[1]); r = d['test'][0];"
        "print({s: len(d[s]) for s in d}, r['images'][0].size, r['source'], r['license'], 'mmprm_hf' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    process = subprocess.run(command, capture_output=True, text=True, env={"HF_HOME": str(tmp_path)})
    assert process.stdout.strip() == "{'train': 6, 'test': 3} (120, 90) raw mit False", process.stderr


def test_rows_have_the_schema_and_the_bytes_of_their_files(source, tmp_path):
    curated = run_curation(tmp_path / "out", source)
    rows = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows.features == problem_features()
    first = curated.rows["train"][0]
    assert first["images"] == [{"bytes": (tmp_path / "raw" / "0.png").read_bytes(), "path": "0.png"}]
    assert first["question"].endswith("are there?") and first["answer"] == "10" and first["answer_type"] == "number"


def test_a_run_writes_the_same_bytes_whatever_was_there(source, tmp_path):
    def content():
        return {path.name: path.read_bytes() for path in sorted((tmp_path / "out").iterdir())}

    run_curation(tmp_path / "out", source, num_test=3)
    first = content()
    run_curation(tmp_path / "out", source)
    assert not (tmp_path / "out" / "test.parquet").exists()
    run_curation(tmp_path / "out", source, num_test=3)
    assert content() == first


def test_variants_stay_on_one_side(source, tmp_path):
    for seed in range(12):
        curated = run_curation(tmp_path / "out", source, num_test=3, seed=seed)
        assert {"raw-4", "raw-11"} <= set(curated.ids("train")) or {"raw-4", "raw-11"} <= set(curated.ids("test"))
        groups = {row["id"]: row["split_group"] for rows in curated.rows.values() for row in rows}
        assert groups["raw-4"] == groups["raw-11"] and len(set(groups.values())) == len(groups) - 1


def test_variants_of_a_dropped_problem_stay_together(tmp_path):
    """The copy is dropped. Problem 6, a variant of it that is less like problem 1, stays on problem 1's side."""
    rows = [raw_row(tmp_path / "s", number) for number in range(6)]
    rows += [raw_row(tmp_path / "s", 6, question=rows[1]["question"]), {**rows[1], "id": "copy"}]
    source = write_source(tmp_path / "s", rows)
    for seed in range(6):
        curated = run_curation(tmp_path / "out", source, num_test=2, seed=seed)
        assert ("s-1" in curated.ids("test")) == ("s-6" in curated.ids("test"))
        assert curated.reasons() == {"s-copy": "duplicate"}


def test_split_groups_of_the_sources_stay_together(tmp_path):
    """Groups of two sources that happen to have one name do not join."""
    sources = []
    for number, into in enumerate(("train", "test")):
        folder = tmp_path / f"s{number}"
        rows = [raw_row(folder, 10 * number + i, split_group="g" if i < 2 else "") for i in range(4)]
        sources.append(write_source(folder, rows, into=into))
    curated = run_curation(tmp_path / "out", *sources)
    assert curated.report["splits"] == {"train": 4, "test": 4}
    groups = [row["split_group"] for rows in curated.rows.values() for row in rows]
    assert sorted(collections.Counter(groups).values()) == [1, 1, 1, 1, 2, 2]


def test_benchmarks_are_kept_out(source, tmp_path):
    folder = tmp_path / "bench"
    rows = [raw_row(folder, 2), raw_row(folder, 4, answer="0")]
    rows[0]["question"] = rows[0]["question"].replace("How", "Tell how")
    benchmark = write_source(folder, [*rows, {"id": "broken", "question": "", "answer": "1", "image": None}])
    curated = run_curation(tmp_path / "out", source, benchmarks=(benchmark,))
    dropped = {reject["id"]: reject["of"] for reject in curated.rejects if reject["reason"] == "in_benchmark"}
    assert dropped == {"raw-2": "bench-2", "raw-4": "bench-4", "raw-11": "bench-4"}  # variants, too
    (report,) = curated.report["benchmarks"]
    assert report["num_read"] == 3 and report["num_unreadable"] == 1
    assert not any(name.startswith("bench") for name in curated.ids())


def test_benchmarks_may_lack_answers_and_figures(source, tmp_path):
    rows = [{"id": "a", "question": raw_row(tmp_path, 2)["question"]}, {"id": "b", "question": "", "answer": ""}]
    curated = run_curation(tmp_path / "out", source, benchmarks=(write_source(tmp_path / "bench", rows),))
    assert [name for name, reason in curated.reasons().items() if reason == "in_benchmark"] == ["raw-2"]
    (report,) = curated.report["benchmarks"]
    assert report["num_read"] == 2 and report["num_unreadable"] == 1


def test_what_is_sent_to_the_test_split_stays_out_of_train(source, tmp_path):
    held = write_source(tmp_path / "held", [raw_row(tmp_path / "held", 5), raw_row(tmp_path / "held", 30)], into="test")
    curated = run_curation(tmp_path / "out", source, held)
    assert curated.ids("test") == ["held-5", "held-30"]
    dropped = [(reject["id"], reject["of"]) for reject in curated.rejects if reject["reason"] == "in_test"]
    assert dropped == [("raw-5", "held-5")]


def test_splits_have_limits(source, tmp_path):
    curated = run_curation(tmp_path / "out", source, num_train=4, num_test=2)
    assert curated.report["splits"] == {"train": 4, "test": 2}
    over = [reject["detail"] for reject in curated.rejects if reject["reason"] == "over_the_limit"]
    assert over == ["4 in train"] * 3
    more = run_curation(tmp_path / "more", source, num_train=6, num_test=2)
    assert set(curated.ids()) <= set(more.ids()) and curated.ids("test") == more.ids("test")


def test_nothing_left_is_an_error_and_writes_nothing(source, tmp_path):
    with pytest.raises(ValueError, match=r"Of 12 rows none is kept \(figure_too_small: 11, figure_unreadable: 1\)"):
        curate(CurationConfig(sources=(source,), min_figure_side=500), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_nano_dataset_is_kept_whole(tmp_path):
    sources = []
    for split, count in (("train", 300), ("test", 100)):
        load_nano(split, count).to_parquet(tmp_path / "nano" / f"{split}.parquet")
        sources.append({"path": str(tmp_path / "nano"), "split": split, "into": split, "name": f"nano-{split}"})
    curated = run_curation(tmp_path / "out", *sources)
    assert curated.rejects == [] and curated.report["splits"] == {"train": 300, "test": 100}
    nano = load_nano("train", 300).with_format("arrow")
    for name in ("id", "images", "question", "answer", "grade", "license", "split_group"):
        assert [row[name] for row in curated.rows["train"]] == nano[:][name].to_pylist(), name


def test_equal_ids_are_told_apart(tmp_path):
    rows = [raw_row(tmp_path / "s", number, id=name) for number, name in enumerate(["7-2", "7", "7"])]
    curated = run_curation(tmp_path / "out", write_source(tmp_path / "s", rows))
    assert curated.ids() == ["s-7-2", "s-7", "s-s-7-2"]


def test_sources_may_have_the_same_ids_and_rows(tmp_path):
    """Three datasets of our schema: ids 0, 1, 2 in each, the third one a copy of the second."""
    sources = []
    for number, start in enumerate((0, 3, 3)):
        folder = tmp_path / f"s{number}"
        rows = [raw_row(folder, start + i, id=str(i), answer_type="number") for i in range(3)]
        sources.append(write_source(folder, [{**row, "images": [row["image"]]} for row in rows], adapter="schema"))
    curated = run_curation(tmp_path / "out", *sources)
    assert [(report["num_kept"], report["num_dropped"]) for report in curated.report["sources"]] == [
        (3, {}),
        (3, {}),
        (0, {"duplicate": 3}),
    ]
    assert len(set(curated.ids())) == 6


def test_two_answers_to_one_problem_are_both_dropped(tmp_path):
    rows = [raw_row(tmp_path / "s", number) for number in range(3)]
    source = write_source(tmp_path / "s", [*rows, {**rows[1], "id": "other", "answer": "99"}])
    rejects = run_curation(tmp_path / "out", source).rejects
    reasons = {reject["id"]: (reject["reason"], reject["of"]) for reject in rejects}
    assert reasons == {"s-1": ("conflicting_answers", "s-other"), "s-other": ("conflicting_answers", "s-1")}


def test_a_faulty_row_fails_alone(tmp_path):
    faults = [
        {"options": 5},
        {"image": {"bytes": "no bytes", "path": None}},
        {"question": ["a", "list"]},
        {"grade": "Grade 7"},
        {"image": [None, "4.png"]},
        {"image": "absent.png"},
        {},
    ]
    rows = [raw_row(tmp_path / "s", number, **fault) for number, fault in enumerate(faults)]
    curated = run_curation(tmp_path / "out", write_source(tmp_path / "s", rows))
    assert curated.reasons() == {
        "s-0": "unreadable_row",
        "s-1": "figure_unreadable",
        "s-2": "unreadable_row",
        "s-4": "figure_unreadable",
        "s-5": "figure_unreadable",
    }
    assert curated.ids() == ["s-3", "s-6"]
    assert str(tmp_path) not in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_columns_may_have_other_names(tmp_path):
    rows = [raw_row(tmp_path / "s", number) for number in range(2)]
    rows = [{"pic": row["image"], "q": row["question"], "answer": row["answer"]} for row in rows]
    source = write_source(tmp_path / "s", rows, columns={"image": "pic", "question": "q"})
    assert run_curation(tmp_path / "out", source).rejects == []
    with pytest.raises(ValueError, match="problems.jsonl has no column photo; found pic, q, answer"):
        curate(CurationConfig(sources=({**source, "columns": {"image": "photo"}},)), tmp_path / "out")


def test_figures_of_any_kind_are_kept(tmp_path):
    """A dataset folder with bytes, several figures per row, other modes, and a grey picture of 8,526 pixels."""
    rows = []
    for number, (mode, size) in enumerate([("RGBA", (60, 50)), ("P", (60, 50)), ("L", (500, 8526)), ("RGB", (40, 30))]):
        file = io.BytesIO()
        Image.effect_noise(size, 80 + number).convert(mode).save(file, "PNG")
        row = raw_row(tmp_path, number)
        del row["image"]
        images = [{"bytes": file.getvalue(), "path": f"/home/somebody/{number}.png"}] * (1 + number % 2)
        rows.append({**row, "images": images})
    features = datasets.Features({name: datasets.Value("string") for name in ("id", "question", "answer")})
    features["images"] = datasets.List(datasets.Image())
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "many" / "train.parquet")
    curated = run_curation(tmp_path / "out", {"path": str(tmp_path / "many")})
    assert curated.rejects == [] and curated.report["composition"]["images per problem"] == {"1": 2, "2": 2}
    paths = [image["path"] for row in curated.rows["train"] for image in row["images"]]
    assert paths == ["0.png", "1.png", "1.png", "2.png", "3.png", "3.png"]  # no folder of this machine


def test_a_figure_outside_the_folder_costs_only_its_row(tmp_path):
    """Its reject has its texts, and no folder of this machine."""
    rows = [raw_row(tmp_path / "s", number) for number in range(3)]
    rows[1]["image"] = "../secret.png"
    curated = run_curation(tmp_path / "out", write_source(tmp_path / "s", rows))
    assert curated.ids() == ["s-0", "s-2"]
    (reject,) = curated.rejects
    assert reject["reason"] == "unreadable_row" and reject["question"] == rows[1]["question"]
    assert "'../secret.png', which lies outside the folder of its file, 's'" in reject["detail"]
    with pytest.raises(ValueError, match="none is kept .unreadable_row: 1.*The first one: .*'../secret.png'"):
        run_curation(tmp_path / "none", write_source(tmp_path / "t", [rows[1]]))


def test_figures_as_paths_and_as_bytes_in_one_source(tmp_path):
    rows = [raw_row(tmp_path / "s", number) for number in range(4)]
    contents = [(tmp_path / "s" / row["image"]).read_bytes() for row in rows]
    for number in (0, 3):
        rows[number]["image"] = base64.b64encode(contents[number]).decode()
    rows[2]["image"] = [rows[2]["image"], rows[3]["image"]]
    curated = run_curation(tmp_path / "out", write_source(tmp_path / "s", rows[:3]))
    figures = [image["bytes"] for row in curated.rows["train"] for image in row["images"]]
    assert figures == contents and curated.rejects == []


def test_a_model_decides_where_the_text_leaves_it_open(tmp_path):
    rows = [raw_row(tmp_path / "s", number) for number in range(3)]
    rows[1]["question"] = (
        "Eve swaps each of 2 bananas for 4 apples and each apple for 3 plums. How many plums has she got?"
    )
    rows[2]["question"] = "In $\\triangle ABC$ the side $AB$ has length $7$. Find the length of the median from $C$."
    source = write_source(tmp_path / "s", rows)
    assert run_curation(tmp_path / "alone", source).reasons() == dict.fromkeys(("s-1", "s-2"), "figure_not_needed")

    def ask(problems):
        assert all(problem.images == () for problem in problems)
        return {"s-0": (1, 4), "s-1": (4, 4), "s-2": (0, 4)}

    assert run_curation(tmp_path / "asked", source, text_only=ask).reasons() == {"s-1": "solved_without_figure"}
    silent = run_curation(tmp_path / "silent", source, text_only=lambda problems: {})
    assert silent.reasons() == dict.fromkeys(("s-1", "s-2"), "figure_not_needed")
