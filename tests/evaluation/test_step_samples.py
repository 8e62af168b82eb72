"""Loaders of the step-level benchmarks: labels, and every bad row counted by its reason."""

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import datasets
import pytest
from PIL import Image
from support.hub_stub import serve_hub
from support.layout import SHARED

from mmprm_hf.evaluation import load_step_benchmark
from mmprm_hf.evaluation.step_metrics import prm_bench_report, process_bench_report
from mmprm_hf.evaluation.step_samples import (
    KEPT_REASONS,
    PROCESS_BENCH_SUBSETS,
    StepSample,
    load_prm_bench,
    load_process_bench,
    load_visual_process_bench,
)
from mmprm_hf.files import json_line
from mmprm_hf.models import load_image
from mmprm_hf.rows import FigureRules

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")
AT = {"threshold": 0.5, "tuned_on": "none"}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def raw(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def visual(image, correctness, steps=("a", "b", "c"), **changed) -> dict:
    response = {"steps": list(steps), "process_correctness": correctness}
    row = {"image": image, "question": "How long?", "answer": "GOLD-41", "response": response}
    return {**row, "policy_model": "M", "data_source": "WeMath", **changed}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "two.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def test_visual_process_bench_folder(folder):
    rows = [
        visual(["one.png"], [1, 0, -1]),
        visual(["one.png", "two.png"], [1, 1, 1]),
        visual(["one.png", "gone.png"], [1, 1, 1]),
        visual(["one.png"], [1, 1]),
    ]
    samples, counts = load_visual_process_bench(write(folder / "test.jsonl", rows))
    assert counts == {"num_rows": 4, "num_kept": 2, "problems": {"label_count_differs": 1, "missing_image": 1}}
    assert [sample.labels for sample in samples] == [(1, None, 0), (1, 1, 1)]
    assert [sample.first_error for sample in samples] == [2, -1]
    assert samples[1].images == (str(folder / "one.png"), str(folder / "two.png"))
    assert [sample.id for sample in samples] == ["visualprocessbench-0", "visualprocessbench-1"]
    assert samples[0].category == "WeMath"


def test_visual_process_bench_of_every_kind_of_file(folder):
    """With its figures in an archive beside the rows."""
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.write(folder / "one.png", "images/1.png")
    rows = [visual(["images/1.png"], [1, 0, -1]), visual(["../one.png"], [1, 1, 1]), visual(["gone.png"], [1, 1, 1])]
    packed, listed, table = folder / "a.jsonl.gz", folder / "b.json", folder / "test.parquet"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    listed.write_text(json.dumps(rows))
    datasets.Dataset.from_list(rows).to_parquet(table)
    expected = {"num_rows": 3, "num_kept": 1, "problems": {"missing_image": 1, "unreadable_row": 1}}
    for data in (packed, listed, table, folder):
        samples, counts = load_visual_process_bench(data)
        assert counts == expected, data
        assert [load_image(image).size for image in samples[0].images] == [(8, 8)]


def test_figures_of_visual_process_bench_may_lie_where_a_user_allows(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "one.png").rename(elsewhere / "1.png")
    data = write(folder / "test.jsonl", [visual(["1.png"], [1, 0, -1]), visual([str(elsewhere / "1.png")], [1, 0, -1])])
    assert load_visual_process_bench(data)[1]["num_kept"] == 0
    assert load_visual_process_bench(data, FigureRules(roots=(str(elsewhere),)))[1]["num_kept"] == 2


FROM_THE_HUB = """
import json
from mmprm_hf.evaluation.step_samples import load_visual_process_bench
from mmprm_hf.models import load_image
samples, counts = load_visual_process_bench("you/bench")
print(json.dumps([counts, [load_image(image).size for image in samples[0].images]]))
"""


def test_visual_process_bench_from_the_hub(folder, tmp_path):
    """In a process of its own, which asks a Hub on loopback from the start."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(folder / "one.png", "images/1.png")
    rows = [visual(["images/1.png"], [1, 0, -1]), visual(["images/gone.png"], [1, 0, -1])]
    files = {"test.jsonl": b"".join(map(json_line, rows)), "images.zip": archive.getvalue()}
    with serve_hub() as hub:
        shared = {"private": False, "sdk": None, "url": f"{hub.url}/datasets/you/bench"}
        commit = hub.commit({**files, "README.md": b"# A bench", "weights.bin": b"0" * 1000})
        hub.repositories["dataset", "you/bench"] = {**shared, "branches": {"main": commit}}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", FROM_THE_HUB]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not [request for request in hub.requests if "weights.bin" in request], "only rows and archives"
    counts, sizes = json.loads(done.stdout)
    assert counts == {"num_rows": 2, "num_kept": 1, "problems": {"missing_image": 1}} and sizes == [[8, 8]]


def test_the_reference_answer_is_not_shown(folder):
    (sample,), _ = load_visual_process_bench(write(folder / "test.jsonl", [visual(["one.png"], [1, 0, -1])]))
    assert sample.meta["answer"] == "GOLD-41"
    assert "GOLD-41" not in repr(sample.to_problem())
    assert sample.to_problem().images == (str(folder / "one.png"),)


def test_bad_rows_of_visual_process_bench_are_counted_by_their_reason(folder):
    for row, reason in (
        (visual(["broken.png"], [1, 1, 1]), "unreadable_image"),
        (visual([], [1, 1, 1]), "no_image"),
        (visual(["one.png"], [1, 2, 1]), "unknown_label"),
        (visual(["one.png"], [1, True, 1]), "unknown_label"),
        (visual(["one.png"], [1, None, 1]), "unknown_label"),
        (visual(["one.png"], None), "unknown_label"),
        (visual(["one.png"], [], steps=()), "no_steps"),
        (visual(["one.png"], [1], question=" "), "no_question"),
        (visual(["one.png"], [1], response=None), "no_steps"),
    ):
        samples, counts = load_visual_process_bench(write(folder / "test.jsonl", [row]))
        assert (samples, counts["num_kept"]) == ([], 0), reason
        assert counts["problems"][reason] == 1, reason


def test_a_blank_step_is_kept_and_counted(folder):
    path = write(folder / "test.jsonl", [visual("one.png", [1, 1, 1], steps=("a", " ", "c"))])
    (sample,), counts = load_visual_process_bench(path)
    assert sample.steps == ("a", " ", "c")
    assert counts["problems"] == {"empty_step": 1}


def test_process_bench_rows(tmp_path):
    base = {"generator": "G", "problem": "Q", "steps": ["a", "b", "c"], "final_answer_correct": True}
    rows = [
        {"id": "omnimath-3", **base, "label": 1},
        {"id": "x", "subset": "math", **base, "label": -1},
        *({"id": "math-1", **base, "label": label} for label in (3, -2, None, 1.0)),
    ]
    samples, counts = load_process_bench(write(tmp_path / "rows.jsonl", rows))
    assert [(s.category, s.labels, s.first_error) for s in samples] == [
        ("omnimath", (1, 0, None), 1),
        ("math", (1, 1, 1), -1),
    ]
    assert counts["problems"] == {"label_out_of_range": 2, "unknown_label": 2}


def test_process_bench_from_a_dataset_takes_its_splits_as_subsets(tmp_path):
    for name, label in (("gsm8k", 0), ("math", -1), ("olympiadbench", 0), ("omnimath", -1)):
        row = {"id": f"{name}-0", "generator": "G", "problem": "Q", "steps": ["a"], "label": label}
        (tmp_path / name).mkdir()
        write(tmp_path / name / f"{name}.jsonl", [{**row, "final_answer_correct": False}])
    files = "".join(f"  - split: {name}\n    path: {name}/*.jsonl\n" for name in PROCESS_BENCH_SUBSETS)
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    samples, counts = load_process_bench(tmp_path)
    labels = [(0,), (1,), (0,), (1,)]
    assert [(s.category, s.labels) for s in samples] == list(zip(PROCESS_BENCH_SUBSETS, labels, strict=True))
    assert counts == {"num_rows": 4, "num_kept": 4, "problems": {}}


def test_visual_process_bench_figures_stand_where_the_question_says(folder):
    two = ["one.png", "two.png"]
    for images, question, kept, reasons in (
        (two, "In <image> and <image>?", "In <image> and <image>?", {}),
        (two, "In <image 2> and <image 1>?", "In <image 2> and <image 1>?", {}),
        (two[:1], "Is <image1> like <image2>?", "Is (image 1) like (image 2)?", {}),  # one file of two, as MathVision's
        (two, "In <image>?", None, {"placeholder_count_differs": 1}),
        (two[:1], "In <image> and <image>?", None, {"placeholder_count_differs": 1}),
    ):
        path = write(folder / "test.jsonl", [visual(images, [1, 1, 1], question=question)])
        samples, counts = load_visual_process_bench(path)
        assert [sample.question for sample in samples] == ([kept] if kept else []), question
        assert counts["problems"] == reasons, question


def prm(errors, category="circular", **changed) -> dict:
    return {"question": "Q", "steps": ["a", "b", "c"], "error_steps": errors, "category": category, **changed}


def test_prm_bench_rows_and_their_faults(tmp_path):
    for row, labels, reasons in (
        (prm([2]), (1, 0, 1), []),
        (prm([3, 1]), (0, 1, 0), ["unsorted_error_steps"]),
        (prm([2, 2]), (1, 0, 1), ["repeated_error_step"]),
        (prm([2, 9]), (1, 0, 1), ["error_step_out_of_range"]),
        (prm([0, 1]), (0, 1, 1), ["error_step_out_of_range", "zero_error_step"]),
        (prm([2], steps=["a", "", "c"]), (1, 0, 1), ["empty_step"]),
        (prm([], "multi_solutions"), (1, 1, 1), []),
        (prm([], "correct"), (1, 1, 1), []),
        (prm([]), None, ["no_error_steps"]),
        (prm([4]), None, ["error_step_out_of_range", "no_error_step_in_range"]),
        (prm(["2"]), None, ["unknown_label"]),
        (prm(None), None, ["unknown_label"]),
        (prm([1], steps=[]), None, ["no_steps"]),
        (prm([1], question=None), None, ["no_question"]),
    ):
        samples, counts = load_prm_bench(write(tmp_path / "rows.jsonl", [row]))
        assert [sample.labels for sample in samples] == ([] if labels is None else [labels]), row
        assert counts == {"num_rows": 1, "num_kept": len(samples), "problems": dict.fromkeys(sorted(reasons), 1)}
        assert KEPT_REASONS.issuperset(reasons) == (labels is not None)


def test_a_file_that_counts_from_0_is_spoken_of(tmp_path, caplog):
    load_prm_bench(write(tmp_path / "rows.jsonl", [prm([1]), prm([2])]))
    assert caplog.text == ""
    load_prm_bench(write(tmp_path / "rows.jsonl", [prm([0]), prm([1]), prm([2])]))
    assert "1 rows of" in caplog.text and "add 1 to its error_steps" in caplog.text


def test_prm_bench_official_columns_and_repeats(tmp_path):
    row = {
        "idx": "p1",
        "original_question": "OLD",
        "modified_question": "NEW",
        "original_process": ["x"],
        "modified_process": ["a", "b"],
        "error_steps": [2],
        "classification": "deception",
    }
    rows = [row, {**row, "error_steps": [1]}, {**row, "classification": "circular"}]
    samples, counts = load_prm_bench(write(tmp_path / "rows.jsonl", rows))
    assert [(s.id, s.question, s.steps, s.labels) for s in samples] == [
        ("deception_p1", "NEW", ("a", "b"), (1, 0)),
        ("circular_p1", "NEW", ("a", "b"), (1, 0)),
    ]
    assert counts["problems"] == {"repeated_sample": 1}


def test_a_sample_needs_a_label_per_step():
    with pytest.raises(ValueError, match="Give one label per step"):
        StepSample("i", "c", "q", (), ("a", "b"), (1,))


# On the real data


@needs_data
def test_prm_bench_counts_are_those_its_flags_tell():
    path = DATA / "prmbench" / "prmbench.jsonl"
    rows = raw(path)
    samples, counts = load_prm_bench(path)
    problems = counts["problems"]
    for reason, flag in (("error_step_out_of_range", "error_step_out_of_range"), ("empty_step", "empty_step")):
        assert problems[reason] == sum(flag in row["flags"] for row in rows) > 0
    lost = {row["id"] for row in rows if row["error_steps"] and not row["error_steps_valid"]}
    assert problems["no_error_step_in_range"] == len(lost)
    assert problems.get("unsorted_error_steps", 0) == sum(r["error_steps"] != sorted(r["error_steps"]) for r in rows)
    assert problems.get("repeated_error_step", 0) == sum(len({*r["error_steps"]}) < len(r["error_steps"]) for r in rows)
    keys = [(row["category"], row["idx"]) for row in rows if row["id"] not in lost]
    assert problems.get("repeated_sample", 0) == len(keys) - len(set(keys))
    assert (counts["num_rows"], counts["num_kept"]) == (len(rows), len(rows) - len(lost))
    truth = {row["id"]: row["error_steps_valid"] for row in rows}
    for sample in samples:
        assert [i + 1 for i, label in enumerate(sample.labels) if label == 0] == truth[sample.id]


@needs_data
def test_prm_bench_oracle_and_constant():
    samples, _ = load_prm_bench(DATA / "prmbench" / "prmbench.jsonl")
    categories, labels = [s.category for s in samples], [s.labels for s in samples]
    oracle = prm_bench_report(categories, labels, [[float(label) for label in row] for row in labels], **AT)
    assert oracle["prm_score"] == oracle["mean_of_categories"] == oracle["control_accuracy"] == 1.0
    assert {found["prm_score"] for found in oracle["categories"].values()} == {1.0}
    assert len(oracle["categories"]) == 9
    constant = prm_bench_report(categories, labels, [[1.0] * len(row) for row in labels], **AT)
    rows = [row for row in raw(DATA / "prmbench" / "prmbench.jsonl") if row["category"] != "correct"]
    rows = [row for row in rows if row["error_steps_valid"] or not row["error_steps"]]
    for name in (None, *oracle["categories"]):
        of = [row for row in rows if name in (None, row["category"])]
        num_steps, num_wrong = sum(len(r["steps"]) for r in of), sum(len(r["error_steps_valid"]) for r in of)
        f1 = 2 * (num_steps - num_wrong) / (2 * num_steps - num_wrong)
        found = constant["categories"][name] if name else constant
        assert found["prm_score"] == pytest.approx(f1 if name == "multi_solutions" else f1 / 2)


@needs_data
def test_process_bench_oracle_and_constants():
    path = DATA / "processbench" / "processbench.jsonl"
    samples, counts = load_process_bench(path)
    rows = raw(path)
    assert counts == {"num_rows": len(rows), "num_kept": len(rows), "problems": {}}
    assert [s.first_error for s in samples] == [row["label"] for row in rows]
    subsets, truth = [s.category for s in samples], [s.first_error for s in samples]
    scores = [[float(index != s.first_error) for index in range(len(s.steps))] for s in samples]
    oracle = process_bench_report(subsets, truth, scores, **AT)
    assert oracle["average_f1"] == 1.0
    assert set(oracle["subsets"]) == {"gsm8k", "math", "olympiadbench", "omnimath"}
    # Told one step late: no error is found, right solutions still are.
    late = [[1.0, *row][: len(row)] for row in scores]
    for constant, error, correct in ((1.0, None, 1.0), (0.0, 0, 0.0)):
        report = process_bench_report(subsets, truth, [[constant] * len(s.steps) for s in samples], **AT)
        assert report["average_f1"] == 0.0
        for name, found in report["subsets"].items():
            errors = [row["label"] for row in rows if row["subset"] == name and row["label"] >= 0]
            assert found["error_accuracy"] == pytest.approx(errors.count(error) / len(errors))
            assert found["correct_accuracy"] == correct
    report = process_bench_report(subsets, truth, late, **AT)
    assert {found["error_accuracy"] for found in report["subsets"].values()} == {0.0}
    assert {found["correct_accuracy"] for found in report["subsets"].values()} == {1.0}


def test_columns_of_other_names_are_named_and_a_missing_one_is_told_as_everywhere(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"q": "1 + 1?", "solution": ["2"], "label": -1}])
    with pytest.raises(ValueError, match="rows.jsonl has no column problem; found q, solution, label. .* --columns"):
        load_step_benchmark("processbench", path)
    samples, _ = load_step_benchmark("processbench", path, columns={"problem": "q", "steps": "solution"})
    assert (samples[0].question, samples[0].steps) == ("1 + 1?", ("2",))
    for benchmark, name in (("prmbench", "question"), ("visualprocessbench", "question")):
        with pytest.raises(ValueError, match=f"has no column {name}; found q"):
            load_step_benchmark(benchmark, path)
