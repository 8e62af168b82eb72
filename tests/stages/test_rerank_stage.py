"""`rerank_problems` and `rerank_one`: a row with an outcome for every problem, whatever it is, and folders resumed."""

import base64
import json
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest
from PIL import Image

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.files import lock_folder, read_json, read_jsonl, write_json, write_jsonl
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rows import FigureRules
from mmprm_hf.rows.problem_rows import problem_from_row
from mmprm_hf.stages import (
    Servers,
    build_nano_data,
    candidate_rows,
    format_summary,
    rerank_one,
    rerank_problems,
    rerank_stage,
)
from mmprm_hf.stages.candidate_rows import judged_row, open_pipeline, shown_question

SHORT = {"num_candidates": 2, "max_new_tokens": 12}
CLOCK, BARS = make_problem("clock", 2), make_problem("bar_chart", 1)


@pytest.fixture(scope="module")
def nano():
    return open_pipeline(None, None)


@pytest.fixture(autouse=True)
def loaded_once(nano, monkeypatch):
    monkeypatch.setattr(rerank_stage, "open_pipeline", lambda *_: nano)


@pytest.fixture
def source(tmp_path):
    """Nine problems, of which four cannot be shown."""
    CLOCK.figure().save(tmp_path / "clock.png")
    BARS.figure().save(tmp_path / "bars.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "bars.png").read_bytes()[:60])
    rows = [
        {"id": "a", "question": CLOCK.question, "images": ["clock.png"], "answer": CLOCK.answer},
        {"id": "b", "question": BARS.question, "images": ["broken.png"], "answer": BARS.answer},
        {"id": "c", "question": BARS.question, "images": ["bars.png"], "answer": 75},
        {"id": "d", "question": "", "images": ["clock.png"], "answer": "1"},
        {"id": "a", "question": BARS.question, "images": ["bars.png"], "answer": BARS.answer},
        {"id": None, "text": "Is <prm> good?", "answer": "no"},
        {"text": "What is A?", "image": "clock.png"},
        {"id": 7, "question": "Which?", "images": ["clock.png", "bars.png"], "options": ["x", "y"], "answer": "B"},
        {"id": "h", "question": "What is A?", "images": ["absent.png"], "answer": "2"},
    ]
    write_jsonl(tmp_path / "problems.jsonl", rows)
    return tmp_path / "problems.jsonl"


def run(source, output, **options):
    call = {"policy": None, "prm": None, "progress": False, "batch_size": 2, "options": SHORT}
    return rerank_problems(None if source is None else str(source), output, **{**call, **options})


def without_seconds(output):
    """Bytes of the rows but for the wall times, which no two runs share."""
    rows = read_jsonl(output / "candidates.jsonl")
    return json.dumps([{name: value for name, value in row.items() if name != "seconds"} for row in rows])


def test_every_problem_has_a_row_with_its_outcome(source, tmp_path):
    summary = run(source, tmp_path / "out", options={**SHORT, "max_new_tokens": 40})
    rows = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert [row["problem_id"] for row in rows] == ["a", "b", "c", "d", "a", "5", "6", "7", "h"]
    names = ["a", "b", "c", "d", "second a", "5", "6", "7", "h"]
    shown = {name: row for name, row in zip(names, rows, strict=True) if row["outcome"] != "not_shown"}
    assert list(shown) == ["a", "c", "second a", "6", "7"]
    errors = {name: row["error"] for name, row in zip(names, rows, strict=True) if row["outcome"] == "not_shown"}
    assert "broken.png" in errors["b"] and "absent.png" in errors["h"]
    assert "empty question" in errors["d"] and "control token '<prm>'" in errors["5"]
    assert shown["7"]["question"] == "Which?\n(A) x\n(B) y" and len(shown["7"]["figures"]) == 2
    assert shown["c"]["answer"] == "75" and shown["6"]["answer"] is None
    for row in shown.values():
        assert len(row["candidates"]) == 2 and row["num_tokens"] > 0
        assert (row["chosen"] is None) == (row["outcome"] == "no_complete_candidate")
        assert {c["verdict"] for c in row["candidates"]} <= {"correct", "incorrect", "undecided"}
    assert (shown["a"]["outcome"], shown["second a"]["outcome"]) == ("no_complete_candidate", "answered")
    assert shown["second a"]["candidates"][0]["text"] == shown["c"]["candidates"][0]["text"], "the same problem"
    outcomes = summary["outcomes"]
    assert sum(outcomes.values()) == summary["num_problems"] == 9 and outcomes["not_shown"] == 4
    assert len(summary["errors"]) == 4 and summary["num_tokens"] == sum(row["num_tokens"] for row in shown.values())
    assert sum(summary["verdicts"].values()) == sum(
        row["chosen"] is not None and row["answer"] is not None for row in shown.values()
    )
    assert summary["best_of_n"]["num_problems"] == 4 and summary["best_of_n"]["num_candidates"] == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_a_problem_that_could_not_be_read_is_solved_once_it_can(source, tmp_path, monkeypatch):
    """Also in the midst of a file, and the other rows keep their bytes."""
    run(source, tmp_path / "out")
    before = (tmp_path / "out" / "candidates.jsonl").read_bytes().splitlines()
    shutil.copy(tmp_path / "bars.png", tmp_path / "broken.png")
    rows = read_jsonl(source)
    rows[3]["question"] = "What is A?"
    write_jsonl(source, rows)
    solved, real = [], candidate_rows.PipelineSource.rows
    monkeypatch.setattr(
        candidate_rows.PipelineSource, "rows", lambda self, batch: solved.extend(batch) or real(self, batch)
    )
    summary = run(source, tmp_path / "out")
    assert [problem.id for problem in solved] == ["b", "d"] and summary["outcomes"]["not_shown"] == 2
    after = (tmp_path / "out" / "candidates.jsonl").read_bytes().splitlines()
    assert [index for index in range(9) if after[index] != before[index]] == [1, 3]
    run(source, tmp_path / "whole")
    assert without_seconds(tmp_path / "out") == without_seconds(tmp_path / "whole")


def test_a_run_that_could_show_no_problem_fails(source, tmp_path):
    write_jsonl(source, [row for row in read_jsonl(source) if row.get("id") in ("b", "h")])
    with pytest.raises(ValueError, match="None of the 2 problems of .* could be shown .* because of: .*broken.png"):
        run(source, tmp_path / "out")
    assert read_json(tmp_path / "out" / "summary.json")["outcomes"]["not_shown"] == 2


def test_the_server_of_a_figure_fails_and_the_same_command_resumes(source, tmp_path):
    """No row is at fault: the run stops, and nothing is written that the next one would refuse."""
    content, status = (tmp_path / "bars.png").read_bytes(), [503]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0] if "1" in self.path else 200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_port}/{number}.png" for number in range(3)]
        write_jsonl(source, [{"id": url[-5], "question": "What is A?", "images": [url]} for url in urls])
        options = {"rules": FigureRules(allow_urls=("127.0.0.1",)), "batch_size": 1}
        with pytest.raises(EngineUnavailableError, match="1.png': its server answers HTTP 503.* resumes it"):
            run(source, tmp_path / "out", **options)
        assert len(read_jsonl(tmp_path / "out" / "candidates.jsonl")) == 1
        status[0] = 200
        assert run(source, tmp_path / "out", **options)["outcomes"]["not_shown"] == 0
        server.shutdown()


def test_an_interrupted_run_goes_on_to_the_same_rows(source, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = run(source, whole)
    appended = candidate_rows.append_line
    calls = []

    def append(path, *rows):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(rows))
        return appended(path, *rows)

    monkeypatch.setattr(candidate_rows, "append_line", append)
    with pytest.raises(KeyboardInterrupt):
        run(source, cut)
    monkeypatch.setattr(candidate_rows, "append_line", appended)
    assert len(read_jsonl(cut / "candidates.jsonl")) == 4 and not (cut / "summary.json").exists()
    with (cut / "candidates.jsonl").open("a") as file:
        file.write('{"problem_id": "a", "question": "torn')
    resumed = run(source, cut, batch_size=3)
    assert without_seconds(cut) == without_seconds(whole)
    assert {**resumed, "seconds": 0} == {**expected, "seconds": 0}
    size = (cut / "candidates.jsonl").stat().st_size
    assert run(source, cut) == resumed, "a finished folder is summed up again and solves nothing"
    assert (cut / "candidates.jsonl").stat().st_size == size


def test_a_folder_is_extended_by_more_problems(source, tmp_path):
    assert run(source, tmp_path / "out", num_problems=2)["num_problems"] == 2
    first = (tmp_path / "out" / "candidates.jsonl").read_bytes()
    assert run(source, tmp_path / "out", num_problems=4)["num_problems"] == 4
    assert (tmp_path / "out" / "candidates.jsonl").read_bytes().startswith(first)


def test_other_settings_are_refused_and_a_failed_start_is_none(source, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(ValueError, match="Did you mean 'beam_search'"):
        run(source, output, options={**SHORT, "strategy": "beem_search"})
    run(source, output, num_problems=1)
    for changed in ({"options": {**SHORT, "seed": 1}}, {"prm": str(PRM_PATH)}):
        with pytest.raises(ValueError, match=f"made with other settings \\({'seed' if 'options' in changed else ''}"):
            run(source, output, **changed)
    assert len(read_jsonl(output / "candidates.jsonl")) == 1
    assert json.loads((output / "config.json").read_text())["num_candidates"] == 2


def test_a_copied_prm_and_moved_data_are_the_same_run_and_a_changed_prm_another(source, tmp_path):
    output, moved = tmp_path / "out", tmp_path / "moved"
    shutil.copytree(PRM_PATH, tmp_path / "prm")
    run(source, output, num_problems=1, prm=str(tmp_path / "prm"))
    rows = (output / "candidates.jsonl").read_bytes()
    (tmp_path / "prm").rename(tmp_path / "copy")
    moved.mkdir()
    for name in ("problems.jsonl", "clock.png", "broken.png"):
        shutil.move(tmp_path / name, moved)
    run(moved / "problems.jsonl", output, num_problems=1, prm=str(tmp_path / "copy"), split="train")
    assert (output / "candidates.jsonl").read_bytes() == rows
    config = tmp_path / "copy" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ValueError, match=r"made with other settings \(prm_content: "):
        run(moved / "problems.jsonl", output, num_problems=1, prm=str(tmp_path / "copy"))
    for broken in (None, [1], {"sampling": 5}):
        write_json(output / "config.json", broken)
        with pytest.raises(ValueError, match=r"config.json is .*, not the settings of a run. Restore it, or delete it"):
            run(moved / "problems.jsonl", output, num_problems=1, prm=str(tmp_path / "copy"))


def test_a_dataset_folder_and_its_broken_figure(tmp_path):
    build_nano_data(tmp_path / "nano", 3, 2)
    summary = run(tmp_path / "nano", tmp_path / "out", split="train")
    rows = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert [row["problem_id"] for row in rows] == datasets.load_dataset(str(tmp_path / "nano"), split="train")["id"]
    assert summary["outcomes"]["not_shown"] == 0 and (tmp_path / "out" / rows[0]["figures"][0]).is_file()
    features = datasets.Features({"question": datasets.Value("string"), "image": datasets.Image()})
    figures = [{"bytes": b"no figure", "path": None}, None, CLOCK.figure()]
    broken = datasets.Dataset.from_dict({"question": [CLOCK.question] * 3, "image": figures}, features)
    (tmp_path / "broken").mkdir()
    broken.to_parquet(tmp_path / "broken" / "test.parquet")
    summary = run(tmp_path / "broken", tmp_path / "out2")
    assert summary["num_problems"] == 3 and summary["outcomes"]["not_shown"] == 1
    (reason,) = summary["errors"]
    assert "its format is unknown" in reason and " at 0x" not in reason, "equal failures count as one reason"


def test_nano_problems_are_the_default_and_an_empty_file_is_refused(tmp_path):
    assert run(None, tmp_path / "nano", num_problems=2)["outcomes"]["not_shown"] == 0
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ValueError, match="none.jsonl has no rows. Give data with rows."):
        run(tmp_path / "none.jsonl", tmp_path / "out")


def test_rows_of_another_schema_are_named(tmp_path):
    rows = [{"question": "q"}, {"question": ["a", "b"]}, {"question": "q", "answer": True}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    summary = run(tmp_path / "a.jsonl", tmp_path / "out")
    assert summary["outcomes"]["not_shown"] == 2
    assert any("Problem '1' has the question ['a', 'b']" in reason for reason in summary["errors"])
    assert any("Problem '2' has the answer True" in reason for reason in summary["errors"])
    write_jsonl(tmp_path / "b.jsonl", [{"question": "q"}, [1]])
    with pytest.raises(ValueError, match="Row 1 of .* is a list"):
        run(tmp_path / "b.jsonl", tmp_path / "out2")


def test_options_are_written_below_the_question():
    for options, shown in (
        ((), "q"),
        (["A", "B", "C"], "q"),
        (["1", "2"], "q\n(A) 1\n(B) 2"),
        (["B", "A"], "q\n(A) B\n(B) A"),
        ({"A": "1", "B": "2", "C": None}, "q\n(A) 1\n(B) 2"),
        ({"A": "A", "B": "B"}, "q"),
        ("A. 1; B. 2", "q\nA. 1; B. 2"),
        ("", "q"),
    ):
        assert shown_question(problem_from_row({"id": "p", "question": "q", "options": options})) == shown, options


def test_options_that_the_question_shows_are_not_written_again():
    assert shown_question(Problem("p", "Is it (A) 3 or (B) 4?", options=("3", "4"))) == "Is it (A) 3 or (B) 4?"


def test_choices_are_judged_by_their_options():
    problem = problem_from_row({"id": "p", "question": "q", "options": {"A": "30", "B": "40"}, "answer": "B"})
    assert judged_row(Candidate(("40",), "40", True), problem)["verdict"] == "correct"
    assert judged_row(Candidate(("30",), "30", True), problem)["verdict"] == "incorrect"


def test_other_data_in_the_same_folder_is_refused(source, tmp_path):
    run(source, tmp_path / "out", num_problems=3)
    rows = read_jsonl(source)
    write_jsonl(source, rows[1:])
    with pytest.raises(ValueError, match=r"Row 1 of .* is problem 'a' with another text, .* of the data, 'b'"):
        run(source, tmp_path / "out")
    for changed in ({"question": "Another?"}, {"answer": "99999"}, {"images": ["bars.png"]}):
        write_jsonl(source, [{**rows[0], **changed}, *rows[1:]])
        with pytest.raises(ValueError, match="Row 1 of .* is problem 'a' with another text, figure or gold answer"):
            run(source, tmp_path / "out")
    write_jsonl(source, rows)
    run(source, tmp_path / "out")
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(ValueError, match="candidates of another kind of run: there is no config.json"):
        run(source, tmp_path / "out")


def test_a_row_changed_since_is_named(source, tmp_path):
    """A flipped verdict and a changed score; a file of an earlier version has no checksums and is resumed."""
    run(source, tmp_path / "out", num_problems=4)
    path = tmp_path / "out" / "candidates.jsonl"
    content = path.read_text()
    for pattern, new in ((r'"verdict": "\w+"', '"verdict": "undecided"'), (r'"num_tokens": \d+', '"num_tokens": 1')):
        path.write_text(re.sub(pattern, new, content))
        with pytest.raises(ValueError, match="Line 1 of .*candidates.jsonl was changed after it was written"):
            run(source, tmp_path / "out")
    path.write_text(content)
    rows = read_jsonl(path)
    write_jsonl(path, rows)
    run(source, tmp_path / "out")
    assert read_jsonl(path)[:4] == rows and len(read_jsonl(path)) == 9


def test_a_folder_of_an_earlier_version_is_resumed(source, tmp_path):
    """It has fingerprints of sizes and times instead of contents: models are then compared by name."""
    run(source, tmp_path / "out", num_problems=2, prm=str(PRM_PATH))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    old = {name.replace("_content", "_files"): value for name, value in config.items()}
    assert old["prm_files"] == config["prm_content"] is not None
    write_json(tmp_path / "out" / "config.json", old)
    assert run(source, tmp_path / "out", prm=str(PRM_PATH))["num_problems"] == 9


def test_two_processes_do_not_write_to_one_folder(source, tmp_path):
    """The second is refused before it loads or writes anything."""
    run(source, tmp_path / "out", num_problems=2)
    files = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    with lock_folder(tmp_path / "out"), pytest.raises(ValueError, match="in use by another run.*wait for it to end"):
        run(source, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == files


def test_fewer_problems_than_a_folder_has_are_counted_alone(source, tmp_path, capsys):
    everything = run(source, tmp_path / "out")
    summary = run(source, tmp_path / "out", num_problems=3, progress=True)
    assert everything["num_problems"] == 9 and summary["num_problems"] == sum(summary["outcomes"].values()) == 3
    assert "3/3" in capsys.readouterr().err
    assert len(read_jsonl(tmp_path / "out" / "candidates.jsonl")) == 9


def test_a_checkpoint_written_again_under_its_name_is_another(source, tmp_path):
    """Rows of the PRM before and after more training must not be mixed."""
    checkpoint = tmp_path / "prm"
    shutil.copytree(PRM_PATH, checkpoint)
    run(source, tmp_path / "out", num_problems=1, prm=str(checkpoint))
    run(source, tmp_path / "out", num_problems=2, prm=str(checkpoint))
    weights = checkpoint / "model.safetensors"
    os.utime(weights, ns=(0, 0))  # copied, not trained
    run(source, tmp_path / "out", num_problems=2, prm=str(checkpoint))
    times = weights.stat()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=r"made with other settings \(prm_content: "):
        run(source, tmp_path / "out", prm=str(checkpoint))


def test_a_policy_brings_its_own_prm_and_options(nano, tmp_path, monkeypatch):
    monkeypatch.undo()
    saved = open_pipeline(None, None)
    saved.options = {"num_candidates": 3}
    saved.save_pretrained(tmp_path / "saved")
    result = rerank_one([], CLOCK.question, policy=str(tmp_path / "saved"), prm=None, options={"max_new_tokens": 4})
    assert len(result["candidates"]) == 3
    with pytest.raises(ValueError, match="needs prm="):
        open_pipeline(str(POLICY_PATH), None)


def test_credentials_of_a_server_are_not_written_down(source, tmp_path):
    servers = Servers("http://user:secret@127.0.0.1:9/v1", api_key="secret")
    run(source, tmp_path / "out", num_problems=1, servers=servers, prm=str(PRM_PATH))
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) > 1 and all("secret" not in path.read_text() for path in files)


def test_the_summary_for_the_terminal():
    summary = {
        "num_problems": 3,
        "outcomes": {"answered": 1, "no_complete_candidate": 0, "not_shown": 2},
        "errors": {f"reason {i} {'x' * 200}": 2 for i in range(7)},
        "faults": {"cut at the token limit": 14, "no final answer": 5},
        "verdicts": {"incorrect": 1, "correct": 4},
        "seconds": {"generate": 1.25, "score": 0.5},
        "num_tokens": 34,
    }
    lines = format_summary(summary).split("\n")
    assert lines[0] == "3 problems" and lines[1].split()[:2] == ["1", "answered:"]
    assert sum("reason" in line for line in lines) == 5 and max(map(len, lines)) < 180
    assert lines[-3:] == [
        "incomplete candidates: 14 cut at the token limit, 5 no final answer",
        "chosen answers against gold: 4 correct, 1 incorrect",
        "generate 1.2 s, score 0.5 s; 34 tokens",
    ]


def test_a_candidate_is_judged_by_its_answer():
    for answer, complete, gold, verdict in (
        ("75", True, "75", "correct"),
        ("\\frac{1}{2}", True, "0.5", "correct"),
        ("75", False, "75", "incorrect"),
        (None, True, "75", "incorrect"),
        ("74", True, "75", "incorrect"),
        ("75", True, None, "undecided"),
    ):
        candidate = Candidate(("A=1",), answer, complete)
        problem = Problem("p", "q", answer=gold)
        assert judged_row(candidate, problem) == {**candidate.to_dict(), "verdict": verdict}
        assert judged_row(candidate.to_dict(), problem)["verdict"] == verdict


def test_a_note_where_the_nano_policy_is_shown_foreign_figures(tmp_path):
    CLOCK.figure().save(tmp_path / "clock.png")
    Image.effect_noise((300, 100), 80).save(tmp_path / "wide.png")
    clock, wide = str(tmp_path / "clock.png"), str(tmp_path / "wide.png")
    # As a data URI it is too long for a file's name.
    data_uri = f"data:image/png;base64,{base64.b64encode((tmp_path / 'wide.png').read_bytes()).decode()}"
    for images, policy, is_noted in (
        ([clock], None, False),
        ([clock], str(POLICY_PATH), False),
        ([wide], None, True),
        ([clock, wide], None, True),
        ([wide], "another/policy", False),
        ([data_uri], None, True),
        ([], None, True),
    ):
        result = rerank_one(images, CLOCK.question, policy=policy, prm=None, options=SHORT)
        assert bool(result["note"]) == is_noted, images
        assert not is_noted or "For any other problem their answers and scores mean nothing" in result["note"]
        assert len(result["candidates"]) == 2
