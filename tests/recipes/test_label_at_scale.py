"""The datatrove recipe: local, Ray and Slurm's own script; a kill and a restart; faults; always the driver's trees.

Needs datatrove and Ray, which `make test-scale` installs (`MMPRM_SCALE` names their folder); skips without them.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import datasets
import pytest
from PIL import Image
from support.layout import ROOT
from support.walk_server import num_prompt_tokens, pixels_of, walk

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Rollout
from mmprm_hf.engines import EndpointEngine, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.engines.images import image_parts
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.labelling import LabelRun, NothingLabelledError, label_problems, omegaprm
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.nano.world import load_nano
from mmprm_hf.rows import ProblemSource
from mmprm_hf.stages import open_problems

RECIPE = ROOT / "recipes" / "label_at_scale"
SCALE = os.environ.get("MMPRM_SCALE")
pytestmark = pytest.mark.skipif(
    SCALE is None, reason="needs datatrove and ray: MMPRM_SCALE names no folder (make test-scale)"
)
OPTIONS = {"num_rollouts": 4, "max_rollouts": 24, "num_searches": 3}
NUM_SUMS, NUM_NANO = 12, 8


def environment(**more):
    path = os.pathsep.join([str(ROOT), SCALE, os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, **more}


class Server:
    """The walk server as a process."""

    def __init__(self, folder, *arguments):
        self.log, port_file = folder / "requests.log", folder / "port"
        script = [sys.executable, str(ROOT / "tests/support/walk_server.py"), "--log", str(self.log)]
        self.process = subprocess.Popen([*script, "--port-file", str(port_file), *arguments])
        deadline = time.monotonic() + 20
        while not port_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"

    @property
    def requests(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """Text problems in MM-K12's schema, and the folder that the driver writes of them in this process."""
    folder = tmp_path_factory.mktemp("sums")
    rows = [
        {"id": f"sum-{i}", "question": f"What is {i} + {7 * i}?", "answer": str(8 * i), "answer_type": "number"}
        for i in range(NUM_SUMS)
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    (folder / "label.yaml").write_text(json.dumps({**OPTIONS, "max_new_tokens": 64, "max_rows_per_problem": 2}))
    label_here(ProblemSource(folder, NUM_SUMS), folder / "expected")
    return folder


def label_here(problems, output, answers=None):
    """What the driver writes when the policy is called directly."""

    class DirectChat:
        identity = {"model": "walk", "samples_per_request": 1, "extra_body": {}}

        async def complete(self, messages, *, seeds, **settings):
            texts = [walk(messages, seed, answers) for seed in seeds]
            choices = tuple(ChatChoice(text, "stop", len(text) // 4) for text in texts)
            return ChatReply(choices, num_prompt_tokens(messages, settings["continue_final_message"]))

    engine = EndpointEngine(DirectChat(), sampling=SamplingConfig(max_new_tokens=64), step_format="tagged")
    config = OmegaPRMConfig(**OPTIONS)
    run = LabelRun(engine, RuleVerifier(), omegaprm.search, config, output, seed=3, progress=False)
    return label_problems(problems, run)


def command(url, sums, output, executor, *extra, tasks=2):
    arguments = ["--executor", executor, "--tasks", str(tasks), "--model", "walk", "--seed", "3"]
    arguments += ["--endpoint", url, "--data", str(sums), "--num-problems", str(NUM_SUMS)]
    arguments += ["--output", str(output), "--config", str(sums / "label.yaml"), *extra]
    return [sys.executable, str(RECIPE / "label.py"), *arguments]


def run(arguments, **more):
    """Run to the end; the output is shown if it failed."""
    done = subprocess.run(arguments, env=environment(**more), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def merged(output, *extra):
    run([sys.executable, str(RECIPE / "merge.py"), str(output), *extra])
    return output / "labels"


def same_trees(labels, sums):
    return (labels / "trees.jsonl").read_bytes() == (sums / "expected" / "trees.jsonl").read_bytes()


def test_local_workers_write_the_bytes_of_the_driver(server, sums, tmp_path):
    output = tmp_path / "run"
    run(command(server.url, sums, output, "local"))
    labels = merged(output, "--config", str(sums / "label.yaml"))
    assert same_trees(labels, sums)
    for name in ("run.json", "failures.jsonl"):
        assert (labels / name).read_bytes() == (sums / "expected" / name).read_bytes()
    rows = datasets.load_dataset(str(labels), split="train", cache_dir=str(tmp_path / "cache"))
    assert max(Counter(rows["problem_id"]).values()) == 2
    # Each sample was requested once, as the ledger reports.
    summary, expected = (read_json(f / "summary.json") for f in (labels, sums / "expected"))
    digests = [request["digest"] for request in server.requests]
    assert len(digests) == len(set(digests)) == summary["num_rollouts"] == expected["num_rollouts"]
    same = ("num_problems", "num_trees", "num_mixed", "num_requests", "tokens_in", "tokens_out", "verifier_calls")
    assert {name: summary[name] for name in same} == {name: expected[name] for name in same}
    assert sorted(session["rank"] for session in summary["sessions"]) == [0, 1]
    # The merged folder is a run folder: the driver finds nothing left to do in it.
    assert label_here(ProblemSource(sums, NUM_SUMS), labels).num_resumed == NUM_SUMS
    assert same_trees(labels, sums)
    other = subprocess.run(
        command(server.url, sums, output, "local", "--prefill", "user", tasks=3),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert other.returncode
    assert "num_tasks: 2 there, 3 now; prefill: 'continue' there, 'user' now" in other.stderr


def test_ray_workers_write_the_same(server, sums, tmp_path):
    run(command(server.url, sums, tmp_path / "run", "ray", "--workers", "2"))
    assert same_trees(merged(tmp_path / "run"), sums)


def test_killed_amid_faults_and_started_again_nothing_is_asked_twice(sums, tmp_path):
    server = Server(tmp_path, "--faults", "0.2")
    output = tmp_path / "run"
    arguments = command(server.url, sums, output, "local", "--max-concurrency", "2")
    try:
        first = subprocess.Popen(arguments, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 90
        while len(server.requests) < 60 and time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        num_before = len(server.requests)
        total = read_json(sums / "expected" / "summary.json")["num_rollouts"]
        assert 60 <= num_before < total, "it was killed midway"
        run(arguments)
        assert same_trees(merged(output), sums)
        # A request is k samples: at each of 2 ranks, those of 6 problems in flight were not journaled yet.
        assert len(server.requests) - total <= 2 * 6 * OPTIONS["num_rollouts"]
        assert len({request["digest"] for request in server.requests}) == total
    finally:
        server.stop()


def fake_slurm(folder):
    """`sbatch` that runs an array's tasks one by one, and the two other commands that datatrove calls."""
    folder.mkdir()
    scripts = {
        "sbatch": 'for script; do true; done\ncp "$script" "$FAKE/script.$$"\n'
        'last=$(sed -n "s/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p" "$script")\n'
        "case $(cat $script) in *merge_stats*) echo Submitted 2; exit;; esac\n"
        'for rank in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$rank SLURM_NODELIST=here bash "$script" '
        '>> "$FAKE/log" 2>&1; done\necho Submitted batch job 1\n',
        "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -n ] && shift; shift; done\nexec "$@"\n',
        "scontrol": "echo here\n",
    }
    for name, text in scripts.items():
        (folder / name).write_text("#!/bin/bash\n" + text)
        (folder / name).chmod(0o755)
    return folder


def test_slurms_script_runs_the_tasks_and_figures_reach_the_server(sums, tmp_path):
    """Slurm is not installed; bash runs its batch script once per task, with figures as data."""
    (tmp_path / "data").mkdir()
    load_nano("train", NUM_NANO).to_parquet(tmp_path / "data" / "train.parquet")
    problems = ProblemSource(tmp_path / "data", NUM_NANO)
    answers = {pixels_of(image_parts(problem))[0]: problem.answer for problem in problems}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    server = Server(tmp_path, "--answers", str(tmp_path / "answers.json"))
    fake = fake_slurm(tmp_path / "fake")
    arguments = command(server.url, sums, tmp_path / "run", "slurm", "--workers", "1")
    arguments[arguments.index("--data") + 1] = str(tmp_path / "data")
    arguments[arguments.index("--num-problems") + 1] = str(NUM_NANO)
    missing = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert "Slurm needs --option partition=... and --option time=..." in missing.stderr
    arguments += ["--option", "partition=gpu", "--option", "time=10:00:00", "--option", "gpus_per_task=1"]
    path = f"{fake}:{SCALE}/bin:{os.environ['PATH']}"
    try:
        run(arguments, PATH=path, FAKE=str(fake))
    finally:
        server.stop()
    text = (tmp_path / "run" / "logs" / "launch_script.slurm").read_text()
    for line in ("--partition=gpu", "--time=10:00:00", "--gpus=1", "--array=0-1%1", "--requeue"):
        assert f"#SBATCH {line}\n" in text
    labels = merged(tmp_path / "run")
    label_here(problems, tmp_path / "expected", answers)
    assert (labels / "trees.jsonl").read_bytes() == (tmp_path / "expected" / "trees.jsonl").read_bytes()
    assert {tuple(request["figures"]) for request in server.requests} == {(pixels,) for pixels in answers}


def test_a_started_server_and_results_copied_to_a_remote_folder(sums, tmp_path, monkeypatch):
    """The way of vLLM and SGLang with a script in their place; a rank whose disk was lost resumes from the copy."""
    monkeypatch.syspath_prepend(SCALE)
    monkeypatch.syspath_prepend(str(RECIPE))
    from datatrove.io import get_datafolder
    from trove_steps import LabelProblems, ProblemReader, Run, Server

    sampling = {"max_new_tokens": 64}
    settings = Run(str(sums), 4, 1, "walk", search_options=OPTIONS, sampling_options=sampling, seed=3)
    script = {"server_script": str(ROOT / "tests/support/walk_server.py"), "log": str(tmp_path / "log")}

    def label(work):
        server = Server(kind="custom", options=script)
        step = LabelProblems(settings, server, "memory://at_scale", work=str(tmp_path / work))
        step.run(ProblemReader(settings).run(None, 0, 1), 0, 1)
        return get_datafolder("memory://at_scale/ranks/00000").open("trees.jsonl", "rb").read()

    expected = (sums / "expected" / "trees.jsonl").read_bytes().splitlines(keepends=True)[:4]
    assert label("first disk") == b"".join(expected)
    num_requests = len((tmp_path / "log").read_text().splitlines())
    assert label("second disk") == b"".join(expected)
    assert len((tmp_path / "log").read_text().splitlines()) == num_requests + 1, "the one that asks if it is up"
    with pytest.raises(ValueError, match="not a folder of this machine. Name one as `work` too"):
        LabelProblems(settings, Server(), "memory://at_scale")
    with pytest.raises(ValueError, match="The executor has 2 tasks and the run 1"):
        list(ProblemReader(settings).run(None, 0, 2))


def test_ranks_share_out_the_nano_problems_when_no_data_is_named(recipe):
    settings = recipe.steps.Run(None, 5, 2, "walk")
    ids = [[document.id for document in recipe.steps.ProblemReader(settings).run(None, rank, 2)] for rank in (0, 1)]
    assert ids == [open_problems(None, 5).ids[rank::2] for rank in (0, 1)]


def test_the_jobs_executor_is_built_and_needs_a_remote_folder(tmp_path, monkeypatch):
    """Hugging Face Jobs cannot run here: only the object is made."""
    monkeypatch.syspath_prepend(SCALE)
    monkeypatch.syspath_prepend(str(RECIPE))
    from label import build_executor
    from trove_steps import LabelProblems, ProblemReader, Run, Server

    settings = Run(None, 4, 8, "policy")
    pipeline = [ProblemReader(settings), LabelProblems(settings, Server(), "memory://run", work=str(tmp_path))]
    executor = build_executor("jobs", pipeline, "memory://run", 8, 4, {"flavor": "a100-large"})
    assert (executor.world_size, executor.flavor, executor.job_name) == (8, "a100-large", "label_at_scale")
    with pytest.raises(ValueError, match="requires a remote logging_dir"):
        build_executor("jobs", pipeline, str(tmp_path), 8, 4, {})


@pytest.fixture
def recipe(monkeypatch):
    """The recipe's modules in this process."""
    monkeypatch.syspath_prepend(SCALE)
    monkeypatch.syspath_prepend(str(RECIPE))
    import label
    import merge
    import trove_steps

    return SimpleNamespace(label=label, merge=merge, steps=trove_steps)


@pytest.fixture
def logged(recipe):
    messages = []
    handler = recipe.steps.logger.add(lambda message: messages.append(str(message)), format="{level} {message}")
    yield messages
    recipe.steps.logger.remove(handler)


def folder_of(path):
    from datatrove.io import get_datafolder

    return get_datafolder(str(path))


def copying_step(recipe, tmp_path, monkeypatch, copy, seconds, error=None):
    """A labelling step that searches for some seconds, with another function instead of `copy_files`."""
    step = recipe.steps.LabelProblems(
        recipe.steps.Run(None, 1, 1, "walk"),
        recipe.steps.Server(),
        "memory://copies",
        work=str(tmp_path),
        copy_seconds=0.05,
    )

    async def label(*arguments):
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return "summary"

    monkeypatch.setattr(step, "_label", label)
    monkeypatch.setattr(recipe.steps, "copy_files", copy)
    return lambda: asyncio.run(step._label_and_copy(None, tmp_path, None, 0))


def test_the_last_copy_waits_for_the_one_in_progress(recipe, tmp_path, monkeypatch):
    events = []

    def copy(source, target):
        events.append("start")
        time.sleep(0.3)
        events.append("end")

    assert copying_step(recipe, tmp_path, monkeypatch, copy, seconds=0.15)() == "summary"
    time.sleep(0.4)  # a thread that was left behind would have shown by now
    assert events == ["start", "end", "start", "end"]


def test_a_failed_copy_is_tried_again_and_a_failed_last_one_is_an_error(recipe, tmp_path, monkeypatch, logged):
    num_copies = 0

    def fails_at_first(source, target):
        nonlocal num_copies
        num_copies += 1
        if num_copies == 1:
            raise OSError("no route to the bucket")

    copying_step(recipe, tmp_path, monkeypatch, fails_at_first, seconds=0.4)()
    assert num_copies >= 3
    (warning,) = [line for line in logged if line.startswith("WARNING")]
    assert "rank 0 could not be copied to memory://copies (OSError: no route to the bucket)" in warning

    def fails(source, target):
        raise OSError("the bucket is full")

    with pytest.raises(OSError, match="the bucket is full"):
        copying_step(recipe, tmp_path, monkeypatch, fails, seconds=0)()


def test_a_rank_that_stopped_is_copied_too_and_says_why_it_stopped(recipe, tmp_path, monkeypatch, logged):
    copies = []

    def fails(source, target):
        copies.append(source)
        raise OSError("the bucket is full")

    run_rank = copying_step(recipe, tmp_path, monkeypatch, fails, seconds=0, error=ValueError("another run"))
    with pytest.raises(ValueError, match="another run"):
        run_rank()
    assert len(copies) == 1
    assert any(line.startswith("ERROR") and "the bucket is full" in line for line in logged)


class Hooked:
    """A datatrove folder that calls a function when a file is opened, and can break off a write."""

    def __init__(self, path, before_open=None, break_at=None):
        self.folder, self.before_open, self.break_at = folder_of(path), before_open, break_at

    def __getattr__(self, name):
        return getattr(self.folder, name)

    def open(self, name, mode):
        if self.before_open is not None:
            self.before_open(name)
        file = self.folder.open(name, mode)
        if self.break_at is not None and name.startswith(self.break_at):
            file.write(b"half of a li")  # as if killed: nothing after this
            file.close()
            raise InterruptedError(name)
        return file


def results(folder, num_trees, mark=""):
    """Result files of a rank with so many trees."""
    folder.mkdir(exist_ok=True)
    for name in ("trees.jsonl", "ledger.jsonl"):
        (folder / name).write_text("".join(f'{{"key": {i}}}\n' for i in range(num_trees)))
    for name in ("run.json", "failures.jsonl", "summary.json"):
        (folder / name).write_text(f'{{"{mark}": 0}}\n')


def keys_in(path):
    return {json.loads(line)["key"] for line in path.read_text().splitlines()} if path.exists() else set()


def test_a_rank_can_resume_from_an_interrupted_copy(recipe, tmp_path):
    for broken in ("ledger.jsonl", "trees.jsonl", "failures.jsonl", "summary.json", "run.json"):
        target = tmp_path / f"at {broken}"
        results(tmp_path / "source", 2, "old")
        recipe.steps.copy_files(folder_of(tmp_path / "source"), folder_of(target))
        former = (target / broken).read_bytes()
        results(tmp_path / "source", 5, "new")
        with pytest.raises(InterruptedError):
            recipe.steps.copy_files(folder_of(tmp_path / "source"), Hooked(target, break_at=broken))
        assert (target / broken).read_bytes() == former, "not half of the new file"
        assert keys_in(target / "trees.jsonl") <= keys_in(target / "ledger.jsonl"), "no tree without its costs"
    # A rank's disk is filled again if run.json is missing: one that was only half filled must be.
    with pytest.raises(InterruptedError):
        recipe.steps.copy_files(folder_of(tmp_path / "source"), Hooked(tmp_path / "disk", break_at="summary.json"))
    assert not (tmp_path / "disk" / "run.json").exists()


def test_a_copy_of_a_growing_rank_has_the_costs_of_all_its_trees(recipe, tmp_path):
    results(tmp_path / "source", 2)
    num_trees = 2

    def grow(name):
        nonlocal num_trees
        for grown in ("ledger.jsonl", "trees.jsonl"):
            with (tmp_path / "source" / grown).open("a") as file:
                file.write(f'{{"key": {num_trees}}}\n')
        num_trees += 1

    folders = (Hooked(tmp_path / name, before_open=grow) for name in ("source", "target"))
    recipe.steps.copy_files(*folders)
    copied = keys_in(tmp_path / "target" / "trees.jsonl")
    assert {0, 1} <= copied <= keys_in(tmp_path / "target" / "ledger.jsonl")


def sum_rows(numbers):
    return [
        {"id": f"sum-{index}", "question": f"What is {i} + {7 * i}?", "answer": str(8 * i), "answer_type": "number"}
        for index, i in enumerate(numbers)
    ]


def at_scale(recipe, folder, rows, tasks):
    """A dataset's run folder whose ranks the driver has written, without a server."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(folder / "data" / "train.parquet")
    recipe.label.claim(str(folder), recipe.steps.Run(str(folder / "data"), len(rows), tasks, "walk", seed=3))
    problems = list(ProblemSource(folder / "data", len(rows)))
    for rank in range(tasks):
        label_here(problems[rank::tasks], folder / "ranks" / f"{rank:05d}")
    return folder


def test_equal_problems_on_several_ranks_give_one_tree_and_all_their_costs(recipe, tmp_path):
    numbers = [1, 2, 2, 3, 4, 2, 5, 6]  # of the equal ones, the first is on the second of two ranks
    folders = [at_scale(recipe, tmp_path / str(tasks), sum_rows(numbers), tasks) for tasks in (1, 2, 3)]
    for folder in folders:
        counts = recipe.merge.merge(folder)
        assert (counts["num_trees"], counts["num_duplicates"], counts["num_without_result"]) == (6, 2, 0)
        ledger = read_jsonl(folder / "labels" / "ledger.jsonl")
        assert [row["problem_id"] for row in ledger] == [f"sum-{i}" for i in (0, 1, 3, 4, 6, 7)]
        paid = [read_json(rank / "summary.json") for rank in (folder / "ranks").iterdir()]
        for name in ("num_rollouts", "num_requests", "tokens_out", "verifier_calls"):
            assert sum(row[name] for row in ledger) == sum(summary[name] for summary in paid), name
    trees = [(folder / "labels" / "trees.jsonl").read_bytes() for folder in folders]
    assert trees[0] == trees[1] == trees[2]


def test_a_failure_that_equals_a_labelled_problem_is_a_duplicate(recipe, tmp_path):
    folder = at_scale(recipe, tmp_path, sum_rows([1, 2, 2, 3, 4, 5]), 2)
    rank = folder / "ranks" / "00000"
    trees = read_jsonl(rank / "trees.jsonl")
    (key,) = [tree["problem_key"] for tree in trees if tree["problem_id"] == "sum-2"]
    lines = (rank / "trees.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["problem_id"] != "sum-2"]
    (rank / "trees.jsonl").write_text("".join(kept))
    failure = {"problem_id": "sum-2", "problem_key": key, "error": "ValueError", "reason": "it failed here"}
    (rank / "failures.jsonl").write_text(json.dumps(failure) + "\n")
    counts = recipe.merge.merge(folder)
    names = ("num_trees", "num_failed", "num_duplicates", "num_without_result")
    assert [counts[name] for name in names] == [5, 0, 1, 0]


def test_trees_of_other_problems_are_left_out_and_counted(recipe, tmp_path, capsys, monkeypatch):
    rows = sum_rows([1, 2, 3, 4])
    folder = at_scale(recipe, tmp_path, rows, 2)
    rows[1]["question"], rows[2]["id"] = "What is 20 + 30?", "another id"
    datasets.Dataset.from_list(rows).to_parquet(folder / "data" / "train.parquet")
    monkeypatch.setattr(sys, "argv", ["merge.py", str(folder)])
    with pytest.raises(SystemExit, match="2 problems have neither tree nor failure"):
        recipe.merge.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["num_trees_left_out"] == 2
    assert "2 trees are left out: their problems are not in the dataset any more" in printed.err
    trees = read_jsonl(folder / "labels" / "trees.jsonl")
    assert [tree["problem_id"] for tree in trees] == ["sum-0", "sum-3"]


class StubEngine:
    """Every other sample answers 8; or all requests fail."""

    identity = {"engine": "stub"}

    def __init__(self, error=None):
        self.error = error

    async def generate(self, requests):
        if self.error is not None:
            raise self.error
        return [
            tuple(
                Rollout(("a step", f"{seed}"), answer=str(8 * ((request.seed + seed) % 2)), text="text")
                for seed in range(request.num_samples)
            )
            for request in requests
        ]


def with_figures(rows, figures):
    features = {name: datasets.Value("string") for name in rows[0]}
    features["images"] = datasets.List(datasets.Image())
    rows = [{**row, "images": [{"bytes": figure, "path": None}]} for row, figure in zip(rows, figures, strict=True)]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def label_in_process(recipe, monkeypatch, folder, tasks, rank, engine):
    """One rank, as datatrove would run it."""
    num_problems = len(datasets.load_dataset(str(folder / "data"), split="train"))
    settings = recipe.steps.Run(str(folder / "data"), num_problems, tasks, "walk", search_options=OPTIONS)
    monkeypatch.setattr(recipe.steps.Run, "engine", lambda *arguments: engine)
    recipe.label.claim(str(folder), settings)
    step = recipe.steps.LabelProblems(settings, recipe.steps.Server(("http://nowhere",)), str(folder))
    step.run(recipe.steps.ProblemReader(settings).run(None, rank, tasks), rank, tasks)
    return folder / "ranks" / f"{rank:05d}"


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_broken_figure_fails_its_problem_and_a_rank_of_such_problems_is_finished(
    recipe, tmp_path, monkeypatch, logged
):
    """Rank 0 has a whole figure and a broken one, rank 1 broken ones only."""
    (tmp_path / "data").mkdir()
    figures = [png(), b"no figure", png()[:45], b""]
    with_figures(sum_rows([1, 2, 1, 4]), figures).to_parquet(tmp_path / "data" / "train.parquet")
    for rank, num_failed in ((0, 1), (1, 2)):
        folder = label_in_process(recipe, monkeypatch, tmp_path, 2, rank, StubEngine())
        rows = read_jsonl(folder / "failures.jsonl")
        assert [row["error"] for row in rows] == ["ProblemInputError"] * num_failed
        assert all("cannot be read" in row["reason"] for row in rows)
    assert any(line.startswith("WARNING Rank 1 is finished without a tree") for line in logged)
    counts = recipe.merge.merge(tmp_path)
    names = ("num_trees", "num_failed", "num_without_result")
    assert [counts[name] for name in names] == [1, 3, 0]
    # Without its only tree, merging explains that there is nothing to merge.
    (tmp_path / "ranks" / "00000" / "trees.jsonl").write_text("")
    with pytest.raises(SystemExit, match=r"3 problems failed \(3 x ProblemInputError\), 1 have no result yet"):
        recipe.merge.merge(tmp_path)


def test_a_rank_fails_where_the_engine_does_or_where_many_problems_do(recipe, tmp_path, monkeypatch):
    for name, rows in (("engine", sum_rows([1, 2])), ("many", sum_rows(range(1, 21)))):
        (tmp_path / name / "data").mkdir(parents=True)
        figures = [png() if name == "engine" else b"no figure"] * len(rows)
        with_figures(rows, figures).to_parquet(tmp_path / name / "data" / "train.parquet")
    for _ in range(2):  # a second start, with the failures of the first one on disk, decides the same
        with pytest.raises(NothingLabelledError, match="2 x RequestFailedError"):
            label_in_process(recipe, monkeypatch, tmp_path / "engine", 1, 0, StubEngine(RuntimeError("out of order")))
        with pytest.raises(NothingLabelledError, match="20 x ProblemInputError"):
            label_in_process(recipe, monkeypatch, tmp_path / "many", 1, 0, StubEngine())


def test_a_rank_resumes_from_the_copy_if_its_own_disk_is_behind(recipe, tmp_path, monkeypatch):
    """It ran elsewhere since: the older folder must not overwrite the newer results."""
    step = recipe.steps.LabelProblems(
        recipe.steps.Run(None, 1, 1, "walk"),
        recipe.steps.Server(("http://nowhere",)),
        str(tmp_path / "out"),
        work=str(tmp_path / "work"),
    )
    folders = [tmp_path / root / "ranks" / "00000" for root in ("work", "out")]
    for folder, trees in zip(folders, ("old\n", "old\nnew\n"), strict=True):
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        (folder / "trees.jsonl").write_text(trees)

    async def stops(*_):
        raise ValueError("the engine is down")

    monkeypatch.setattr(step, "_label", stops)
    with pytest.raises(ValueError, match="engine is down"):
        step.run([], rank=0)
    assert [(folder / "trees.jsonl").read_text() for folder in folders] == ["old\nnew\n"] * 2
    (folders[0] / "trees.jsonl").write_text("old\nnew\nnewest\n")  # ahead: the copy follows
    with pytest.raises(ValueError, match="engine is down"):
        step.run([], rank=0)
    assert (folders[1] / "trees.jsonl").read_text() == "old\nnew\nnewest\n"
