"""Killed at any moment and started again: the same bytes, and nothing journaled is generated twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from support.layout import ROOT
from support.pure_runs import FLAT, PROBLEMS, SEARCHES, PureEngine, label

from mmprm_hf.data import content_hash
from mmprm_hf.rows.problem_keys import problem_key

PROGRAM = ROOT / "tests/support/pure_runs.py"
ID_OF_KEY = {problem_key(problem): problem.id for problem in PROBLEMS}


def run_process(folder, log, fuse, search):
    arguments = [sys.executable, str(PROGRAM), str(folder), str(log), str(fuse), search]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment)


def generated(log):
    return log.read_text().split() if log.exists() else []


def whole_rows(path):
    """Rows of a file that a kill may have torn at its end."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def paid_for(folder):
    """Requests that must not be generated again: journaled ones, as the engine names them in its log."""
    names = set()
    for path in (folder / "journal").glob("*.jsonl"):
        for row in whole_rows(path):
            if "request" in row:
                prefix, num_samples, seed, _ = row["request"]
                names.add(f"{ID_OF_KEY[path.stem]}/{content_hash(prefix, num_samples, seed)}")
    return names


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Per search: bytes of the uninterrupted run, its generations, the number of moments at which it can be killed."""
    runs = {}
    for name, options in SEARCHES.items():
        folder = tmp_path_factory.mktemp(name)
        label(folder / "here", PureEngine(folder / "log"), **options)
        process = run_process(folder / "there", folder / "log there", 0, name)
        assert process.returncode == 0, process.stderr
        expected = (folder / "here" / "trees.jsonl").read_bytes()
        assert (folder / "there" / "trees.jsonl").read_bytes() == expected
        assert len(set(generated(folder / "log"))) == len(generated(folder / "log"))
        runs[name] = expected, set(generated(folder / "log")), int(process.stdout)
    return runs


@pytest.mark.parametrize("point", range(20))
def test_killed_and_resumed_gives_the_same_bytes(point, whole, tmp_path):
    name = list(SEARCHES)[point % 2]
    expected, requests, num_moments = whole[name]
    folder, log = tmp_path / "run", tmp_path / "log"
    kill = run_process(folder, log, random.Random(point).randint(1, num_moments), name)
    assert kill.returncode == -signal.SIGKILL, kill.stderr
    before, journaled = generated(log), paid_for(folder)
    done = {row["problem_id"] for row in whole_rows(folder / "trees.jsonl")}
    label(folder, PureEngine(log), **SEARCHES[name])
    assert (folder / "trees.jsonl").read_bytes() == expected
    assert not list((folder / "journal").glob("*.jsonl"))
    asked_again = generated(log)[len(before) :]
    assert {*before, *asked_again} == requests
    assert not journaled & set(asked_again)
    assert not done & {request.split("/")[0] for request in asked_again}
    assert len(set(asked_again)) == len(asked_again)
    # In flight at the kill: a request of each of five problems; flat Monte Carlo sends a problem's prefixes together.
    num_lost = len(set(before) & set(asked_again))
    assert num_lost <= 5 * (1 if name == "omegaprm" else FLAT.num_responses * 4)


def test_killed_again_and_again(whole, tmp_path):
    """Every third moment of what is left, until a run gets through."""
    expected, requests, num_moments = whole["omegaprm"]
    folder, log, num_kills = tmp_path / "run", tmp_path / "log", 0
    while run_process(folder, log, num_moments // 5, "omegaprm").returncode:
        num_kills += 1
        assert num_kills < 20
    assert num_kills >= 4
    assert (folder / "trees.jsonl").read_bytes() == expected
    assert set(generated(log)) == requests
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["num_requests"] == len(requests)
