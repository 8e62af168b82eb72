"""Whatever a user's file contains, a command ends in time with an exit code and a sentence: no traceback, no signal.

The short form (`make test-processes`) runs one input of each kind over the quick verbs; `make test-hostile` runs all
inputs over all verbs.
"""

import json
from pathlib import Path

import pytest
from support import hostile_inputs
from support.hostile_inputs import GOOD, run_forked
from support.restructuring import policy
from support.stub_server import StubServer

from mmprm_hf.files import read_jsonl
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.world import make_problem

SIZES = ("--num-candidates", 1, "--max-new-tokens", 8)
EVERYTHING, SHORT = pytest.mark.hostile, pytest.mark.processes


@pytest.fixture(scope="module", autouse=True)
def _imported():
    """What every command imports, once: the processes are forked."""
    import mmprm_hf.rerank
    import mmprm_hf.stages
    import mmprm_hf.training  # noqa: F401

    for room in (mmprm_hf.stages, mmprm_hf.training, mmprm_hf.rerank):
        for name in room.__all__:
            getattr(room, name)


def faults(commands):
    """What is wrong with the endings of commands, by name."""
    endings = {name: run_forked(*words) for name, words in commands.items()}
    return {name: fault for name, ending in endings.items() if (fault := ending.fault())}


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@SHORT
def test_one_bad_row_costs_only_itself(tmp_path):
    """All bad rows in one file, and a good one at each end."""
    folder = tmp_path / "data"
    hostile_inputs.write_figures(folder)
    rows = [{**GOOD, "id": "first"}, *hostile_inputs.bad_rows().values(), {**GOOD, "id": "last"}]
    path = write_rows(folder / "rows.jsonl", rows)
    ending = run_forked("rerank", "--data", path, "--output", tmp_path / "out", *SIZES)
    assert (ending.code, ending.fault()) == (0, None), ending.output
    solved = {row["problem_id"]: row for row in read_jsonl(tmp_path / "out" / "candidates.jsonl")}
    assert len(solved) == len(rows) and solved["first"]["candidates"] and solved["last"]["candidates"]
    for name in ("answer is NaN", "options are NaN", "images are NaN", "solution is a number"):
        assert solved[name]["candidates"], name
    assert solved["answer is NaN"]["answer"] is None
    for name, words in {
        "question is NaN": "empty question",
        "question is a list": "Write a text or a number",
        "question is a half character": "half a character",
        "question is endless": "more than 100000",
        "options are objects": "Write a text or a number",
        "images are a number": "an image of type int",
        "an image is cut": "truncated",
        "an image is a program": "its format is unknown",
        "an image is outside": "lies outside the folder of its file",
        "an image is a path outside": "lies outside the folder of its file",
        "an image is an address": "addresses are not fetched",
        "an image is bytes that are a text": "a text that is not Base64",
    }.items():
        assert words in solved[name]["error"], solved[name]["error"]
    assert "secret" not in {path.stem for path in (tmp_path / "out").rglob("*.png")}


@SHORT
def test_broken_files_of_rows_are_sentences(tmp_path):
    files = hostile_inputs.row_files(tmp_path / "data")
    command = ("rerank", *SIZES, "--output", tmp_path / "out", "--data")
    kept = ("null.json", "deep.jsonl", "cut.jsonl.gz", "bomb.jsonl.gz", "binary.jsonl", "garbage.parquet", "torn.jsonl")
    assert faults({name: (*command, files[name]) for name in kept}) == {}


@SHORT
def test_folders_that_would_end_the_process_are_sentences(tmp_path):
    folders = hostile_inputs.row_folders(tmp_path)
    command = ("restructure", "--engine", "http://127.0.0.1:9", "--output", tmp_path / "out", "--data")
    assert faults({name: (*command, path) for name, path in folders.items()}) == {}


@SHORT
def test_configurations_are_sentences(tmp_path):
    paths = hostile_inputs.configurations(tmp_path)
    endings = {name: run_forked("rerank", "--question", "q", "--config", path) for name, path in paths.items()}
    assert {name: fault for name, ending in endings.items() if (fault := ending.fault())} == {}
    assert {name for name, ending in endings.items() if ending.code == 0} <= {"null"}


@SHORT
def test_solutions_are_sentences(tmp_path):
    paths = hostile_inputs.solutions(tmp_path)
    assert faults({name: ("score", "--question", "q", "--solution", path) for name, path in paths.items()}) == {}


@SHORT
def test_candidates_are_sentences_and_a_page_shows_nothing_from_outside(tmp_path):
    paths = hostile_inputs.candidate_files(tmp_path / "files")
    hostile_inputs.write_figures(tmp_path / "files" / "figures")
    commands = {
        name: ("evaluate", "candidates", path.parent, "--curves", "--output", path.parent / "results.json")
        for name, path in paths.items()
    }
    assert faults(commands) == {}
    results = paths["a figure is outside"].parent / "results.json"
    ending = run_forked("report", results, "--output", tmp_path / "page.html")
    assert ending.code == 0, ending.output
    page = (tmp_path / "page.html").read_text()
    assert "data:image/png" not in page and str(tmp_path) not in page and "/etc/passwd" not in page


@EVERYTHING
def test_all_files_over_all_verbs(tmp_path):
    files = hostile_inputs.row_files(tmp_path / "data")
    files |= hostile_inputs.row_folders(tmp_path / "folders")
    files |= {
        name: write_rows(tmp_path / "data" / f"bad-{number}.jsonl", [row])
        for number, (name, row) in enumerate(hostile_inputs.bad_rows().items())
    }
    config = tmp_path / "label.yaml"
    config.write_text("num_rollouts: 2\nmax_rollouts: 2\nmax_new_tokens: 8\n")
    train = tmp_path / "train.yaml"
    train.write_text("use_cpu: true\nreport_to: none\nmax_steps: 1\nsave_strategy: 'no'\n")
    wrong = {}
    with StubServer(policy) as server:
        for number, (name, path) in enumerate(files.items()):
            out = tmp_path / "out" / str(number)
            answers = ("evaluate", "answers", "--benchmark", "mm_k12", "--data", path, "-o", out / "answers.json")
            steps = ("evaluate", "steps", "--threshold", 0.5, "--data", path, "-o", out / "steps.json", "--benchmark")
            commands = {
                "rerank": ("rerank", "--data", path, "--output", out / "rerank", *SIZES),
                "label": ("label", "--data", path, "--output", out / "label", "--config", config),
                "curate": ("curate", "--source", path, "--output", out / "curate"),
                "restructure": ("restructure", "--data", path, "--engine", server.url, "--output", out / "corpus"),
                "answers": (*answers, *SIZES),
                "visualprocessbench": (*steps, "visualprocessbench"),
                "prmbench": (*steps, "prmbench"),
                "train": ("train", "--model", PRM_PATH, "--data", path, "--output", out / "train", "--config", train),
            }
            wrong |= {(verb, name): fault for verb, fault in faults(commands).items()}
    assert wrong == {}


@EVERYTHING
def test_a_labelling_run_leaves_out_rows_that_are_not_problems_and_counts_them(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    problems = [make_problem("clock", seed) for seed in (1, 2)]
    for problem in problems:
        problem.figure().save(folder / f"{problem.seed}.png")
    good = [{"id": p.id, "question": p.question, "answer": p.answer, "images": [f"{p.seed}.png"]} for p in problems]
    bad = [row for name, row in hostile_inputs.bad_rows().items() if name.startswith("question is")]
    path = write_rows(folder / "rows.jsonl", [good[0], *bad, good[1]])
    config = tmp_path / "label.yaml"
    config.write_text("num_rollouts: 8\nmax_rollouts: 32\nmax_new_tokens: 200\nvalidation_share: 0.0\n")
    ending = run_forked("label", "--data", path, "--output", tmp_path / "out", "--config", config)
    assert ending.fault() is None, ending.output
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["num_problems"] == 2
    assert ending.code or f"num_unreadable_rows: {len(bad)}" in ending.output


@EVERYTHING
def test_label_rows_over_training(tmp_path):
    good = {"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0], "problem_id": "p"}
    changes = [
        {"labels": 1},
        {"labels": ["1", "0"]},
        {"labels": None},
        {"labels": float("nan")},
        {"labels": [1.0]},
        {"completions": 5},
        {"completions": "ab"},
        {"completions": [None, "b"]},
        {"completions": [["a"], 5]},
        {"prompt": 5},
        {"prompt": None},
        {"prompt": [{"role": "user", "content": 5}]},
        {"images": ["cut.jpg"]},
        {"images": ["../secret.png"]},
        {"images": [{"bytes": "x"}]},
        {"label_counts": [[1, 2], 5]},
        {"label_weights": [-1, 1]},
        {"problem_id": ["p"]},
    ]
    hostile_inputs.write_figures(tmp_path / "data")
    path = write_rows(tmp_path / "data" / "rows.jsonl", [good, *({**good, **change} for change in changes), good])
    config = tmp_path / "train.yaml"
    quick = "use_cpu: true\nreport_to: none\nmax_steps: 1\nsave_strategy: 'no'\ndisable_tqdm: true\n"
    config.write_text(f"{quick}on_bad_row: drop\n")
    command = ("train", "--model", PRM_PATH, "--data", path, "--config", config, "--output")
    ending = run_forked(*command, tmp_path / "dropped")
    assert (ending.code, ending.fault()) == (0, None), ending.output
    config.write_text(quick)
    ending = run_forked(*command, tmp_path / "raised")
    assert ending.code == 1 and ending.fault() is None and "Row " in ending.output


@EVERYTHING
def test_broken_checkpoints_are_named(tmp_path):
    paths = hostile_inputs.checkpoints(tmp_path / "prms", Path(PRM_PATH))
    (tmp_path / "solution.txt").write_text("A=5")
    wrong = {}
    for name, path in paths.items():
        out = tmp_path / "out"
        commands = {
            "score": ("score", "--question", "q", "--solution", tmp_path / "solution.txt", "--prm", path),
            "rerank": ("rerank", "--question", "q", "--policy", path, "--prm", PRM_PATH),
            "convert": ("convert", path, "--output", out / "converted"),
            "train": ("train", "--model", path, "--data", tmp_path, "--output", out / "trained"),
            "push": ("push", path, "owner/name", "--kind", "model", "--dry-run"),
        }
        wrong |= {(verb, name): fault for verb, fault in faults(commands).items()}
    assert wrong == {}


@EVERYTHING
def test_options_of_labelling_are_sentences(tmp_path):
    paths = hostile_inputs.label_configurations(tmp_path)
    command = ("label", "--num-problems", 1, "--output", tmp_path / "out", "--config")
    endings = {option: run_forked(*command, path) for option, path in paths.items()}
    assert {option: ending.fault() or ending.code for option, ending in endings.items()} == dict.fromkeys(paths, 1)


@EVERYTHING
def test_candidates_over_the_verbs_that_read_them(tmp_path):
    files = hostile_inputs.candidate_files(tmp_path / "files")
    hostile_inputs.write_figures(tmp_path / "data")
    data = write_rows(tmp_path / "data" / "rows.jsonl", [{**GOOD, "id": "p", "question": "q"}])
    label = {"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0]}
    labels = write_rows(tmp_path / "labels" / "rows.jsonl", [{**label, "problem_id": f"p{n}"} for n in range(40)])
    config = tmp_path / "train.yaml"
    config.write_text("use_cpu: true\nreport_to: none\nmax_steps: 1\nsave_strategy: 'no'\ndisable_tqdm: true\n")
    wrong = {}
    for number, (name, path) in enumerate(files.items()):
        out = tmp_path / "out" / str(number)
        benchmark = ("evaluate", "answers", "--benchmark", "mm_k12", "--data", data, "-o", out / "results.json")
        training = ("train", "--model", PRM_PATH, "--data", labels, "--output", out / "prm", "--config", config)
        commands = {"answers": (*benchmark, "--candidates", path), "train": (*training, "--candidates", path)}
        wrong |= {(verb, name): fault for verb, fault in faults(commands).items()}
    assert wrong == {}


@EVERYTHING
def test_flags_that_ask_for_too_much_are_sentences(tmp_path):
    one, out = ("rerank", "--question", "q"), ("--output", tmp_path / "out")
    commands = {
        "demo": ("demo", "--num-problems", 2, "--num-candidates", 10**9, *out),
        "nano": ("evaluate", "nano", "--num-problems", 2, "--num-candidates", 10**9, *out),
        "label": ("label", "--num-problems", 10**9, *out),
        "in flight": ("label", "--num-problems", 2, "--max-in-flight", 10**9, *out),
        "data": ("data", "--num-train", 10**9, *out),
        "batch": ("rerank", "--data", "nano", "--num-problems", 1, "--batch-size", 10**12, *out),
        "tokens": (*one, "--max-new-tokens", 10**12),
        "temperature": (*one, "--temperature", "nan"),
        "question": ("rerank", "--question", "q" * 200_000),
        "private": (*one, "--image", "http://169.254.169.254/x.png"),
        "address": (*one, "--image", "http://["),
        "threshold": ("evaluate", "steps", "--benchmark", "prmbench", "--data", "x", "--threshold", "nan"),
    }
    endings = {name: run_forked(*words) for name, words in commands.items()}
    assert {name: ending.fault() or ending.code for name, ending in endings.items()} == dict.fromkeys(commands, 1)


@EVERYTHING
def test_documents_of_results_are_sentences(tmp_path):
    texts = {
        "null": "null",
        "list": "[]",
        "deep": hostile_inputs.DEEP,
        "version": '{"schema_version": 99}',
        "versions": '{"schema_version": [2]}',
        "empty": "",
        "torn": '{"a": ',
        "half": '{"schema_version": 2, "benchmark": "\\ud800"}',
    }
    commands = {}
    for name, text in texts.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        commands[f"report {name}"] = ("report", path, "--output", tmp_path / "page.html")
        commands[f"table {name}"] = ("report", path, "--markdown")
        commands[f"card {name}"] = ("card", path, "--output", tmp_path / "README.md")
    assert faults(commands) == {}
