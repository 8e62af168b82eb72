"""The datatrove recipe: local and Ray executors, a kill and a restart, and the same trees as the package's own search.

Needs datatrove and Ray, which `make test-scale` brings (`MMPRM_SCALE` names their folder); skips without.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
from walk_server import walk

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import content_hash
from mmprm_hf.engines import EndpointEngine, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.files import read_jsonl
from mmprm_hf.labelling import omegaprm
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.problem_keys import problem_key
from mmprm_hf.stages import load_problems

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "label_at_scale"
SCALE = os.environ.get("MMPRM_SCALE")
pytestmark = pytest.mark.skipif(
    SCALE is None, reason="datatrove and ray are not here: MMPRM_SCALE names no folder (make test-scale)"
)
OPTIONS = {"num_rollouts": 4, "max_rollouts": 24, "num_searches": 3}
NUM_PROBLEMS = 10


def environment():
    path = os.pathsep.join([str(ROOT), SCALE, str(RECIPE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class Server:
    """The walk server as a process."""

    def __init__(self, folder):
        self.log, port_file = folder / "requests.log", folder / "port"
        script = Path(__file__).parent / "walk_server.py"
        self.process = subprocess.Popen([sys.executable, str(script), str(port_file), str(self.log)])
        deadline = time.monotonic() + 20
        while not port_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"

    @property
    def requests(self):
        return self.log.read_text().splitlines()


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Text problems in MM-K12's schema."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"id": f"sum-{i}", "question": f"What is {i} + {7 * i}?", "answer": str(8 * i), "answer_type": "number"}
        for i in range(NUM_PROBLEMS)
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "label.yaml"
    path.write_text(json.dumps({**OPTIONS, "max_new_tokens": 64}))
    return path


@pytest.fixture(scope="module")
def expected(data):
    """The trees of the package's own search on the same policy, called directly."""

    class DirectChat:
        identity = {"model": "walk"}

        async def complete(self, messages, *, seeds, **settings):
            texts = [walk(messages, seed) for seed in seeds]
            return ChatReply(tuple(ChatChoice(text, "stop", len(text) // 4) for text in texts), 50)

    engine = EndpointEngine(DirectChat(), sampling=SamplingConfig(max_new_tokens=64))

    async def tree(problem):
        key = problem_key(problem)
        rng = random.Random(content_hash(3, key))
        found = await omegaprm.search(problem, engine, RuleVerifier(), OmegaPRMConfig(**OPTIONS), rng)
        return dataclasses.replace(found, problem_key=key).to_dict()

    trees = [asyncio.run(tree(problem)) for problem in load_problems(data, NUM_PROBLEMS)]
    assert any(0 < tree["nodes"][0]["num_correct"] < tree["nodes"][0]["num_decided"] for tree in trees)
    return json.loads(json.dumps(trees))


def command(server, data, config, output, executor, *extra):
    arguments = ["--executor", executor, "--tasks", "2", "--workers", "2", "--model", "walk", "--seed", "3"]
    arguments += ["--endpoint", server.url, "--data", str(data), "--num-problems", str(NUM_PROBLEMS)]
    arguments += ["--output", str(output), "--config", str(config), "--chunk", "2", *extra]
    return [sys.executable, str(RECIPE / "label.py"), *arguments]


def merged(output):
    subprocess.run([sys.executable, str(RECIPE / "merge.py"), str(output)], check=True, env=environment())
    return read_jsonl(output / "labels" / "trees.jsonl")


def test_local_workers_write_the_trees_of_the_search_itself(server, data, config, expected, tmp_path):
    output = tmp_path / "run"
    subprocess.run(command(server, data, config, output, "local"), check=True, env=environment())
    assert merged(output) == expected
    rows = datasets.load_dataset(str(output / "labels"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) > 0
    ledger = read_jsonl(output / "labels" / "ledger.jsonl")
    assert sum(row["num_rollouts"] for row in ledger) == sum(len(tree["rollouts"]) for tree in expected)
    assert len(server.requests) == len(set(server.requests)) == sum(row["num_requests"] for row in ledger)
    other = subprocess.run(
        command(server, data, config, output, "local", "--prefill", "user"), env=environment(), capture_output=True
    )
    assert other.returncode and b"shards of another run, with other prefill" in other.stderr


def test_ray_workers_write_the_same(server, data, config, expected, tmp_path):
    output = tmp_path / "run"
    subprocess.run(command(server, data, config, output, "ray"), check=True, env=environment(), timeout=240)
    assert merged(output) == expected


def test_killed_and_started_again_it_goes_on_from_the_cache(server, data, config, expected, tmp_path):
    output = tmp_path / "run"
    arguments = command(server, data, config, output, "local", "--max-concurrent", "4")
    first = subprocess.Popen(arguments, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(server.requests) < 100 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    num_before = len(server.requests)
    subprocess.run(arguments, check=True, env=environment())
    assert merged(output) == expected
    total = sum(len(tree["rollouts"]) for tree in expected)
    assert 0 < num_before < total, "it was killed midway"
    # Asked again: what was in flight (4 samples per rank) and what the cache's writer had not committed yet, which on
    # a busy machine is more than that. Without a cache it would be all of them.
    assert len(server.requests) - total <= 0.6 * num_before


def test_figures_reach_the_server(server, config, tmp_path):
    arguments = command(server, "unused", config, tmp_path / "run", "local")
    place = arguments.index("--data")
    del arguments[place : place + 2]
    arguments[arguments.index("--num-problems") + 1] = "2"
    subprocess.run(arguments, check=True, env=environment())
    assert server.requests and all('"has_figure": true' in line for line in server.requests)


def test_every_executor_takes_the_pipeline(tmp_path, monkeypatch):
    """Slurm and Hugging Face Jobs cannot be run here; the objects are made, and Slurm's batch file is read."""
    monkeypatch.syspath_prepend(SCALE)
    monkeypatch.syspath_prepend(str(RECIPE))
    from label import make_executor
    from trove_steps import Run, build_pipeline

    run = Run(None, 4, "policy")
    pipeline = build_pipeline(run, str(tmp_path / "shards"), str(tmp_path / "checkpoints"), server="vllm")
    slurm = make_executor(
        "slurm", pipeline, 8, 4, str(tmp_path / "logs"), {"time": "10:00:00", "partition": "gpu", "gpus_per_task": 1}
    )
    text = slurm.get_launch_file_contents({"time": "10:00:00", "partition": "gpu"}, "srun launch")
    assert "#SBATCH --partition=gpu" in text
    with pytest.raises(ValueError, match="remote logging_dir"):
        make_executor("jobs", pipeline, 8, 4, str(tmp_path / "logs"), {})
