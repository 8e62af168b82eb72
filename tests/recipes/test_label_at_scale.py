"""The datatrove recipe: local, Ray and Slurm's own script; a kill and a restart; faults; the driver's trees every time.

Needs datatrove and Ray, which `make test-scale` brings (`MMPRM_SCALE` names their folder); skips without.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import datasets
import pytest
from walk_server import num_prompt_tokens, pixels_of, walk

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.engines import EndpointEngine, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.engines.images import image_parts
from mmprm_hf.labelling import omegaprm
from mmprm_hf.labelling.driver import label_problems
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.nano.world import load_nano
from mmprm_hf.stages import load_problems

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "label_at_scale"
SCALE = os.environ.get("MMPRM_SCALE")
pytestmark = pytest.mark.skipif(
    SCALE is None, reason="datatrove and ray are not here: MMPRM_SCALE names no folder (make test-scale)"
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
        script = [sys.executable, str(Path(__file__).parent / "walk_server.py"), "--log", str(self.log)]
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
    label_here(load_problems(folder, NUM_SUMS), folder / "expected")
    return folder


def label_here(problems, output, answers=None):
    """What the driver writes when the policy is called directly."""

    class DirectChat:
        identity = {"model": "walk", "samples_per_request": 1, "extra_body": {}}

        async def complete(self, messages, *, seeds, **settings):
            texts = [walk(messages, seed, answers) for seed in seeds]
            choices = tuple(ChatChoice(text, "stop", len(text) // 4) for text in texts)
            return ChatReply(choices, num_prompt_tokens(messages, settings["continue_final_message"]))

    engine = EndpointEngine(DirectChat(), sampling=SamplingConfig(max_new_tokens=64))
    config = OmegaPRMConfig(**OPTIONS)
    return label_problems(problems, engine, RuleVerifier(), omegaprm.search, config, output, seed=3, progress=False)


def command(url, sums, output, executor, *extra, tasks=2):
    arguments = ["--executor", executor, "--tasks", str(tasks), "--model", "walk", "--seed", "3"]
    arguments += ["--endpoint", url, "--data", str(sums), "--num-problems", str(NUM_SUMS)]
    arguments += ["--output", str(output), "--config", str(sums / "label.yaml"), *extra]
    return [sys.executable, str(RECIPE / "label.py"), *arguments]


def run(arguments, **more):
    """Run to the end; what it said is shown if it failed."""
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
    # Each sample was asked for once, and the ledger says so.
    summary, expected = (json.loads((f / "summary.json").read_text()) for f in (labels, sums / "expected"))
    digests = [request["digest"] for request in server.requests]
    assert len(digests) == len(set(digests)) == summary["num_rollouts"] == expected["num_rollouts"]
    same = ("num_problems", "num_trees", "num_mixed", "num_requests", "tokens_in", "tokens_out", "verifier_calls")
    assert {name: summary[name] for name in same} == {name: expected[name] for name in same}
    assert sorted(session["rank"] for session in summary["sessions"]) == [0, 1]
    # The merged folder is a run folder: the driver finds nothing left to do in it.
    assert label_here(load_problems(sums, NUM_SUMS), labels).num_resumed == NUM_SUMS
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
        total = json.loads((sums / "expected" / "summary.json").read_text())["num_rollouts"]
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


def test_slurm_script_runs_the_tasks_and_figures_reach_the_server(sums, tmp_path):
    """Slurm is not here; its batch script is, and bash runs it once per task, with figures as data."""
    (tmp_path / "data").mkdir()
    load_nano("train", NUM_NANO).to_parquet(tmp_path / "data" / "train.parquet")
    problems = load_problems(tmp_path / "data", NUM_NANO)
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
    """The route of vLLM and SGLang with a script in their place; a rank whose disk was lost goes on from the copy."""
    monkeypatch.syspath_prepend(SCALE)
    monkeypatch.syspath_prepend(str(RECIPE))
    from datatrove.io import get_datafolder
    from trove_steps import LabelProblems, ProblemReader, Run, Server

    sampling = {"max_new_tokens": 64}
    settings = Run(str(sums), 4, 1, "walk", search_options=OPTIONS, sampling_options=sampling, seed=3)
    script = {"server_script": str(Path(__file__).parent / "walk_server.py"), "log": str(tmp_path / "log")}

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
    with pytest.raises(ValueError, match="no folder of this machine. Name one as `work` too"):
        LabelProblems(settings, Server(), "memory://at_scale")
    with pytest.raises(ValueError, match="The executor has 2 tasks and the run 1"):
        list(ProblemReader(settings).run(None, 0, 2))


def test_jobs_executor_is_built_and_wants_a_remote_folder(tmp_path, monkeypatch):
    """Hugging Face Jobs cannot be run here: the object is made."""
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
