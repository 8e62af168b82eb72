"""`stages.rerank_problems`: a row and an outcome for every problem, and a run that goes on where it was stopped."""

import json
from pathlib import Path

import datasets
import pytest

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.nano.world import problems
from mmprm_hf.problem_source import ProblemSource
from mmprm_hf.stages import format_rerank, format_summary, rerank_one, rerank_problems, rerank_stage
from mmprm_hf.stages.rerank_stage import OUTCOMES, judged_row, shown_question

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OPTIONS = {"num_candidates": 3, "strategy": "best_of_n", "aggregation": "min"}
MODELS = {"policy": None, "prm": None, "progress": False}


@pytest.fixture
def source(tmp_path):
    """A file of five problems: two good ones, a missing figure, an empty question, one without a gold answer."""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = []
    for index, nano in enumerate(problems("test", 5)):
        nano.figure().save(folder / f"{index}.png")
        row = {"id": f"p{index}", "question": nano.question, "images": [f"{index}.png"], "answer": nano.answer}
        rows.append(row)
    rows[1]["images"] = ["missing.png"]
    rows[2]["question"] = " "
    rows[4].pop("answer")
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(folder):
    return [json.loads(line) for line in (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines()]


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_every_problem_has_a_row_and_an_outcome(source, tmp_path):
    summary = rerank_problems(str(source), tmp_path / "out", options=OPTIONS, **MODELS)
    rows = rows_of(tmp_path / "out")
    assert [row["problem_id"] for row in rows] == ["p0", "p1", "p2", "p3", "p4"]
    assert [row["outcome"] for row in rows] == ["answered", "not_shown", "not_shown", "answered", "answered"]
    assert summary["outcomes"] == {"answered": 3, "no_complete_candidate": 0, "not_shown": 2}
    assert set(summary["outcomes"]) == set(OUTCOMES) and summary["num_problems"] == 5
    assert "missing.png" in rows[1]["error"] and "empty question" in rows[2]["error"]
    assert sum(summary["errors"].values()) == 2
    assert sum(summary["verdicts"].values()) == 2, "the problem without gold is counted neither way"
    assert rows[4]["candidates"][rows[4]["chosen"]]["verdict"] == "undecided"
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    text = format_summary(summary)
    assert text.startswith("5 problems\n") and "1 x Image" in text and "not_shown" in text


def test_a_run_that_was_stopped_goes_on_to_the_same_rows(source, tmp_path, monkeypatch):
    rerank_problems(str(source), tmp_path / "whole", options=OPTIONS, batch_size=2, **MODELS)
    append, calls = rerank_stage.append_line, []

    def stop_at_the_second(path, *rows):
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        append(path, *rows)

    monkeypatch.setattr(rerank_stage, "append_line", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        rerank_problems(str(source), tmp_path / "cut", options=OPTIONS, batch_size=2, **MODELS)
    monkeypatch.undo()
    with (tmp_path / "cut" / "candidates.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"problem_id": "p2", "outco')  # the machine went down amid a line
    rerank_problems(str(source), tmp_path / "cut", options=OPTIONS, batch_size=2, **MODELS)
    assert without_seconds(rows_of(tmp_path / "cut")) == without_seconds(rows_of(tmp_path / "whole"))
    before = (tmp_path / "cut" / "candidates.jsonl").read_bytes()
    rerank_problems(str(source), tmp_path / "cut", options=OPTIONS, **MODELS)
    assert (tmp_path / "cut" / "candidates.jsonl").read_bytes() == before


def test_a_folder_keeps_its_settings(source, tmp_path):
    rerank_problems(str(source), tmp_path / "out", options=OPTIONS, num_problems=1, **MODELS)
    with pytest.raises(ValueError, match=r"was begun with other settings \(num_candidates\)"):
        rerank_problems(str(source), tmp_path / "out", options={**OPTIONS, "num_candidates": 4}, **MODELS)
    assert len(rows_of(tmp_path / "out")) == 1
    summary = rerank_problems(str(source), tmp_path / "out", options=OPTIONS, num_problems=4, **MODELS)
    assert summary["num_problems"] == 4, "more problems of the same source may follow"


def test_a_dataset_folder_is_read_with_its_split(tmp_path):
    table = datasets.Dataset.from_list(
        [
            {"id": n.seed, "question": n.question, "images": [n.figure()], "answer": n.answer}
            for n in problems("test", 2)
        ]
    )
    (tmp_path / "data").mkdir()
    table.to_parquet(tmp_path / "data" / "train.parquet")
    summary = rerank_problems(str(tmp_path / "data"), tmp_path / "out", split="train", options=OPTIONS, **MODELS)
    assert summary["outcomes"]["answered"] == 2
    assert summary["best_of_n"]["num_problems"] == 2
    guided = {**OPTIONS, "strategy": "dvts", "num_candidates": 4}
    summary = rerank_problems(str(tmp_path / "data"), tmp_path / "dvts", split="train", options=guided, **MODELS)
    assert summary["outcomes"]["answered"] == 2 and summary["num_tokens"] > 0


def test_options_that_the_question_does_not_show_stand_below_it():
    def shown(question, *options):
        return shown_question(Problem("p", question, options=options))

    assert shown("Q?", "3", "4") == "Q?\n(A) 3\n(B) 4"
    assert shown("Q?") == "Q?" == shown("Q?", "A", "B", "C")
    assert shown("Q? (A) 3 (B) 4", "3", "4") == "Q? (A) 3 (B) 4"


def test_choices_are_judged_by_their_options(tmp_path):
    path = tmp_path / "p.jsonl"
    row = {"id": 7, "question": "Q?", "options": ["30", "40"], "image": "https://h/a.png", "answer": "B"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({"question": "R?", "answer": 5}) + "\n")
    first, second = ProblemSource(path)
    assert (first.id, first.images, first.options) == ("7", ("https://h/a.png",), ("30", "40"))
    assert (second.id, second.images, second.answer) == ("1", (), "5")
    assert judged_row(Candidate(("40",), "40", True), first)["verdict"] == "correct"
    assert judged_row(Candidate(("30",), "30", True), first)["verdict"] == "incorrect"


def test_verdicts_of_candidates():
    def verdict(answer, complete, gold):
        problem = Problem("p", "Q?", answer=gold)
        return judged_row(Candidate((answer,), answer, complete), problem)["verdict"]

    assert verdict("1/2", True, "0.5") == "correct"
    assert verdict("3", True, "0.5") == verdict("1/2", False, "0.5") == "incorrect"
    assert verdict("1/2", True, None) == "undecided"


def test_rows_with_one_id_are_all_solved_and_other_data_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": "same", "question": f"{i}+1?"}) + "\n" for i in range(3)))
    options = {"num_candidates": 1, "max_new_tokens": 4}
    rerank_problems(str(path), tmp_path / "out", options=options, num_problems=2, **MODELS)
    summary = rerank_problems(str(path), tmp_path / "out", options=options, **MODELS)
    assert summary["num_problems"] == 3
    path.write_text(json.dumps({"id": "other", "question": "1?"}) + "\n")
    with pytest.raises(ValueError, match="holds other problems than the first 3 of the data"):
        rerank_problems(str(path), tmp_path / "out", options=options, **MODELS)


def test_a_figure_of_a_dataset_that_cannot_be_read_is_its_own_problems_matter(tmp_path):
    rows = [{"question": "Q?", "images": [{"bytes": b"no image", "path": None}]}]
    rows += [{"question": "S?", "images": []}]
    features = datasets.Features({"question": datasets.Value("string"), "images": datasets.List(datasets.Image())})
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "data" / "test.parquet")
    options = {"num_candidates": 1, "max_new_tokens": 4}
    summary = rerank_problems(str(tmp_path / "data"), tmp_path / "out", options=options, **MODELS)
    assert summary["outcomes"] == {"answered": 0, "no_complete_candidate": 1, "not_shown": 1}


def test_the_note_is_for_figures_that_the_nano_policy_does_not_know(tmp_path):
    nano = problems("test", 1)[0]
    nano.figure().save(tmp_path / "nano.png")
    nano.figure().resize((90, 90)).save(tmp_path / "other.png")
    options = {"num_candidates": 2, "max_new_tokens": 8}
    models = {"policy": None, "prm": None, "options": options}
    assert rerank_one([str(tmp_path / "nano.png")], nano.question, **models)["note"] is None
    found = rerank_one([str(tmp_path / "other.png")], nano.question, **models)
    assert "means nothing" in found["note"] and "note: the shipped nano policy" in format_rerank(found)


@pytest.mark.parametrize("name", ["mathvision", "gaokao_mm_math"])
def test_real_problems_are_neither_refused_nor_lost(name, tmp_path):
    """Some of each, among them the tallest figure, several placeholders, broken texts, several figures, Chinese."""
    path = DATA / name / "problems.jsonl"
    if not path.is_file():
        pytest.skip(f"real problems are not there: {path.relative_to(DATA.parents[1])} beside the repository")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    odd = {"2503", "2653", "2654", "2673", "2682", "2828", "2830", "434", "773", "1050"}
    chosen = [row for row in rows if str(row["id"]) in odd] + rows[:3]
    chosen += sorted(rows, key=lambda row: -len(row["images"]))[:2]
    for row in chosen:
        row["images"] = [str(path.parent / image) for image in row["images"]]
    source = tmp_path / "some.jsonl"
    source.write_text("".join(json.dumps({**row, "id": i}) + "\n" for i, row in enumerate(chosen)), encoding="utf-8")
    options = {"num_candidates": 2, "max_new_tokens": 12}
    summary = rerank_problems(str(source), tmp_path / "out", options=options, **MODELS)
    assert summary["num_problems"] == len(chosen) == sum(summary["outcomes"].values())
    assert summary["outcomes"]["not_shown"] == 0 and summary["errors"] == {}
