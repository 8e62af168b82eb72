"""Killed at any moment and started again: the same bytes, and nothing journaled is generated twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest
from support.layout import ROOT
from support.pure_runs import FLAT, PROBLEMS, SEARCHES, PureEngine, label

from mmprm_hf.data import content_hash
from mmprm_hf.files import read_json
from mmprm_hf.rows import problem_key

PROGRAM = ROOT / "tests/support/pure_runs.py"
ID_OF_KEY = {problem_key(problem): problem.id for problem in PROBLEMS}


@pytest.fixture(scope="module")
def label_in_process():
    """A function that labels in a process of its own, which may kill itself; see `pure_runs.py`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, str(PROGRAM)], **pipes) as program:

        def label_once(folder, log, fuse, search):
            program.stdin.write(json.dumps([str(folder), str(log), fuse, search]) + "\n")
            program.stdin.flush()
            return json.loads(program.stdout.readline())

        yield label_once
        program.stdin.close()


def generated(log):
    return log.read_text().split() if log.exists() else []


def whole_rows(path):
    """Rows of a file whose last line a kill may have torn."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def paid_for(folder):
    """Journaled requests, which must not be generated again, as the engine's log names them."""
    names = set()
    for path in (folder / "journal").glob("*.jsonl"):
        for row in whole_rows(path):
            if "request" in row:
                prefix, num_samples, seed, _ = row["request"]
                names.add(f"{ID_OF_KEY[path.stem]}/{content_hash(prefix, num_samples, seed)}")
    return names


@pytest.fixture(scope="module")
def whole(tmp_path_factory, label_in_process):
    """Per search: bytes of the uninterrupted run, its generations, the number of moments at which it can be killed."""
    runs = {}
    for name, options in SEARCHES.items():
        folder = tmp_path_factory.mktemp(name)
        label(folder / "here", PureEngine(folder / "log"), **options)
        num_moments = label_in_process(folder / "there", folder / "log there", 0, name)
        expected = (folder / "here" / "trees.jsonl").read_bytes()
        assert (folder / "there" / "trees.jsonl").read_bytes() == expected
        assert len(set(generated(folder / "log"))) == len(generated(folder / "log"))
        runs[name] = expected, set(generated(folder / "log")), num_moments
    return runs


def test_a_run_killed_at_any_moment_and_resumed_gives_the_same_bytes(whole, label_in_process, tmp_path):
    for point in range(20):
        name = list(SEARCHES)[point % 2]
        expected, requests, num_moments = whole[name]
        folder, log = tmp_path / f"run {point}", tmp_path / f"log {point}"
        assert label_in_process(folder, log, random.Random(point).randint(1, num_moments), name) is None, "killed"
        before, journaled = generated(log), paid_for(folder)
        finished = {row["problem_id"] for row in whole_rows(folder / "trees.jsonl")}
        label(folder, PureEngine(log), **SEARCHES[name])
        assert (folder / "trees.jsonl").read_bytes() == expected
        assert not list((folder / "journal").glob("*.jsonl"))
        asked_again = generated(log)[len(before) :]
        assert {*before, *asked_again} == requests
        assert not journaled & set(asked_again)
        assert not finished & {request.split("/")[0] for request in asked_again}
        assert len(set(asked_again)) == len(asked_again)
        # In flight at a kill: a request of each of five problems; flat Monte Carlo sends all prefixes of a problem.
        num_lost = len(set(before) & set(asked_again))
        assert num_lost <= 5 * (1 if name == "omegaprm" else FLAT.num_responses * 4)


def test_a_run_killed_again_and_again_still_ends(whole, label_in_process, tmp_path):
    """Killed every fifth of the whole number of moments, until a run gets through."""
    expected, requests, num_moments = whole["omegaprm"]
    folder, log, num_kills = tmp_path / "run", tmp_path / "log", 0
    while label_in_process(folder, log, num_moments // 5, "omegaprm") is None:
        num_kills += 1
        assert num_kills < 20
    assert num_kills >= 4
    assert (folder / "trees.jsonl").read_bytes() == expected
    assert set(generated(log)) == requests
    assert read_json(folder / "summary.json")["num_requests"] == len(requests)
