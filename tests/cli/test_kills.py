"""Commands that are killed at any moment and repeated end as if nothing had happened; SIGTERM ends them in one line.

`make test-hostile` kills every verb twenty times (SHORT=1, which CI runs: once) and prints the figures of
docs/reliability.md, with MMPRM_RELIABILITY=FILE also as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from support.killed_runs import commands
from support.restructuring import QUESTION, policy, solution
from support.stub_server import StubServer

from mmprm_hf.files import lock_folder, read_json, read_jsonl, write_json, write_jsonl
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem

pytestmark = pytest.mark.hostile

NUM_KILLS = int(os.environ.get("MMPRM_KILLS", "1"))
LABELLING = {"num_rollouts": 2, "max_rollouts": 12, "keep": "all"}
TRAINING = {
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "max_steps": 6,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",  # a step too many would change the weights
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 2,
    "per_device_train_batch_size": 2,
}
BROKEN = (b"null\n", None, b"{", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\n")  # None: a folder of that name
ACCEPTED = [("train_metrics.json", b"{}\n")]  # metrics of a training without eval rows
SHORT = ("--num-candidates", 2, "--max-new-tokens", 60)


@pytest.fixture(scope="module")
def run():
    with commands() as run_command:
        yield run_command


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "label.yaml").write_text(yaml.safe_dump(LABELLING))
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAINING))
    rows = [
        {"prompt": f"What is {i}?", "completions": ["a", f"b{i}"], "labels": [1.0, float(i % 2)], "problem_id": f"p{i}"}
        for i in range(12)
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "rows" / "train.parquet")
    datasets.Dataset.from_list(rows[:4]).to_parquet(folder / "rows" / "validation.parquet")
    problems = []
    for index in range(8):
        problem = make_problem("clock", index)
        problem.figure().save(folder / f"{index}.png")
        shared = {"image": f"{index}.png", "answer": problem.answer, "options": []}
        problems.append({"id": str(index), "question": problem.question, **shared})
    write_jsonl(folder / "mathvision.jsonl", problems)
    free_form = [{"id": f"r{i}", "question": QUESTION, "solution": solution("", i), "answer": "7"} for i in range(12)]
    write_jsonl(folder / "free_form.jsonl", free_form)
    return folder


def without_costs(value):
    """A document without wall times and without what a start of the run counts."""
    if isinstance(value, dict):
        hidden = ("seconds", "cost", "asked_now")
        return {name: without_costs(entry) for name, entry in value.items() if name not in hidden}
    return [without_costs(entry) for entry in value] if isinstance(value, list) else value


def rows_of(path):
    return [without_costs(row) for row in read_jsonl(path)]


def labels_of(folder):
    trees = (folder / "trees.jsonl").read_bytes()
    assert not list((folder / "journal").glob("*.jsonl")), "all trees are on disk"
    assert len(read_jsonl(folder / "ledger.jsonl")) == len(trees.splitlines())
    return trees, {path.name: path.read_bytes() for path in (folder / "paths").glob("*.parquet")}


def training_of(folder):
    metrics = read_json(folder / "train_metrics.json")
    assert "eval_loss" in metrics
    counted = {name: value for name, value in metrics.items() if not name.endswith(("_runtime", "_per_second"))}
    return (folder / "model.safetensors").read_bytes(), counted


def corpus_of(folder):
    tables = {path.name: path.read_bytes() for path in folder.rglob("*.parquet")}
    return tables, rows_of(folder / "rejected.jsonl"), without_costs(read_json(folder / "restructure.json"))


def evaluation_of(folder):
    return rows_of(folder / "candidates.jsonl"), without_costs(read_json(folder / "results.json"))


def solved(folder):
    return rows_of(folder / "candidates.jsonl"), without_costs(read_json(folder / "summary.json"))


def verbs(inputs, server):
    """By verb: its arguments but for the output, the output in a folder, and what it has to be equal in at the end."""
    nano = ("--policy", POLICY_PATH)
    return {
        "label": (["label", *nano, "--num-problems", 4, "--config", inputs / "label.yaml"], "", labels_of),
        "rerank": (["rerank", "--data", "nano", "--num-problems", 12, *SHORT], "", solved),
        "evaluate": (
            ["evaluate", "answers", "--benchmark", "mathvision", "--data", inputs / "mathvision.jsonl", *SHORT]
            + ["--batch-size", 2],
            "results.json",
            evaluation_of,
        ),
        "train": (
            ["train", "--model", PRM_PATH, "--data", inputs / "rows", "--config", inputs / "train.yaml"],
            "",
            training_of,
        ),
        "restructure": (
            ["restructure", "--data", inputs / "free_form.jsonl", "--engine", server.url],
            "",
            corpus_of,
        ),
    }


def test_a_killed_command_repeated_ends_as_if_nothing_had_happened(run, inputs, tmp_path):
    """Up to four times in a row."""
    rows = []
    with StubServer(policy, seconds=0.05) as server:
        for name, (arguments, output, result_of) in verbs(inputs, server).items():
            figures = {"verb": name, "kills": 0, "starts": 0, "seconds": 0.0}

            def once(folder, seconds=0.0, arguments=arguments, output=output, figures=figures):
                code, duration = run([*arguments, "--output", folder / output], tmp_path / "printed", seconds, 9)
                figures["kills"] += code == -signal.SIGKILL
                figures["starts"] += 1
                figures["seconds"] += duration
                return code, duration

            code, whole_seconds = once(tmp_path / name / "whole")
            assert code == 0, (name, (tmp_path / "printed").read_text())
            expected = result_of(tmp_path / name / "whole")
            rng, attempt, duration = random.Random(name), 0, whole_seconds
            while figures["kills"] < NUM_KILLS:
                folder = tmp_path / name / str(attempt)
                attempt += 1
                for _ in range(1 + (attempt - 1) % 4):
                    code, seconds = once(folder, rng.uniform(0.05, 1.0) * duration)
                    if code == 0:  # it was faster than the first, which read the models from disk
                        duration = min(duration, seconds)
                code, _ = once(folder)
                assert code == 0, (name, attempt, (tmp_path / "printed").read_text())
                assert result_of(folder) == expected, (name, attempt)
            rows.append({**figures, "seconds": round(figures["seconds"]), "run_seconds": round(whole_seconds, 1)})
            print(json.dumps(rows[-1]))
    if "MMPRM_RELIABILITY" in os.environ:
        write_json(Path(os.environ["MMPRM_RELIABILITY"]), {"kills": rows})


def test_sigterm_ends_a_command_in_one_line_and_it_can_be_repeated(run, inputs, tmp_path):
    with StubServer(policy, seconds=0.05) as server:
        for name, (arguments, output, result_of) in verbs(inputs, server).items():
            if name not in ("label", "train") and NUM_KILLS == 1:
                continue
            printed, folder = tmp_path / "printed", tmp_path / name
            run([*arguments, "--output", tmp_path / f"{name} whole" / output], printed)
            _, duration = run([*arguments, "--output", tmp_path / f"{name} warm" / output], printed)
            code, _ = run([*arguments, "--output", folder / output], printed, duration / 2, signal.SIGTERM)
            lines = [line for line in printed.read_text().replace("\r", "\n").splitlines() if line.startswith("mmprm")]
            assert code == 143 and "Traceback" not in printed.read_text(), (name, printed.read_text())
            assert lines == ["mmprm: terminated. What was written stays; the same command resumes where it can."]
            assert run([*arguments, "--output", folder / output], printed)[0] == 0
            assert result_of(folder) == result_of(tmp_path / f"{name} whole"), name


def test_the_second_of_two_processes_on_a_folder_is_refused(run, inputs, tmp_path):
    with StubServer(policy) as server:
        for name, (arguments, output, _) in verbs(inputs, server).items():
            folder = tmp_path / name
            with lock_folder(folder / "trainer" if name == "train" else folder):
                code, _ = run([*arguments, "--output", folder / output], tmp_path / "printed")
            (line,) = [text for text in (tmp_path / "printed").read_text().splitlines() if text.startswith("mmprm:")]
            assert code == 1 and "is in use by another run. One process writes to a folder at a time" in line, name


def test_a_broken_file_of_a_run_is_named_with_the_remedy(run, inputs, tmp_path):
    names = {
        "label": ("run.json", "summary.json", "trees.jsonl", "ledger.jsonl", "failures.jsonl"),
        "rerank": ("config.json", "candidates.jsonl"),
        "train": ("train_config.json", "train_metrics.json"),
    }
    with StubServer(policy) as server:
        commands = verbs(inputs, server)
    for verb, files in names.items():
        whole = tmp_path / verb
        arguments = [*commands[verb][0], "--output", whole]
        assert run(arguments, tmp_path / "printed")[0] == 0
        for name in files:
            content = (whole / name).read_bytes()
            for broken in BROKEN if NUM_KILLS > 1 else BROKEN[:2]:
                (whole / name).unlink()
                if broken is None:
                    (whole / name).mkdir()
                else:
                    (whole / name).write_bytes(broken)
                code, _ = run(arguments, tmp_path / "printed")
                text = (tmp_path / "printed").read_text()
                assert "Traceback" not in text and "Errno" not in text, (name, broken, text[-2000:])
                if code:
                    lines = [line for line in text.splitlines() if line.startswith("mmprm:")]
                    assert len(lines) == 1, (name, broken, code, text[-2000:])
                    line = lines[0]
                    assert code == 1 and (name in line or str(whole) in line), (name, broken, line)
                    assert any(word in line.lower() for word in ("restore", "remove", "delete", "choose")), line
                elif name.endswith(".jsonl"):
                    assert broken == b"{", (name, broken, "a torn line")
                else:
                    assert (name, broken) in ACCEPTED, (name, broken)
                if broken is None:
                    (whole / name).rmdir()
                (whole / name).write_bytes(content)


def test_the_program_itself_ends_on_sigterm_with_143():
    """As a scheduler starts it: in the background, where Ctrl-C does not reach it."""
    program = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from mmprm_hf.cli import program\n"
        "from mmprm_hf import stages\n"
        "def wait(*arguments, **options):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(30)\n"
        "    finally:\n"
        "        print('put in order')\n"
        "stages.build_nano_data = wait\n"
        "program.main()\n"
    )
    arguments = [sys.executable, "-c", program, "data"]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    line = "mmprm: terminated. What was written stays; the same command resumes where it can.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "put in order\n", line)
