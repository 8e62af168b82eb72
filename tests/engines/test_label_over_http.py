"""The labelling driver on a server: 30 % of its answers are faults and no label changes; judges; the model's name."""

from __future__ import annotations

import hashlib
import json
import random
import re

import pytest
from support.pure_runs import read_trees
from support.stub_server import FAULTS, StubServer

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Verdict
from mmprm_hf.engines import ChatClient, EndpointEngine
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.labelling import (
    ChatStepJudge,
    ConsensusSearch,
    EngineFailedError,
    FaultTolerance,
    LabelRun,
    flat_mc,
    label_problems,
    omegaprm,
)
from mmprm_hf.labelling.flat_mc import FlatMCConfig
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig

PROBLEMS = [Problem(f"p{i}", f"What is {i} + 3?", answer=str(i + 3)) for i in range(12)]
OMEGA = OmegaPRMConfig(num_rollouts=4, max_rollouts=24)


def policy(messages, seed):
    """Four steps, each wrong for good at 1 in 5; the sum, or one more."""
    question = messages[0]["content"]
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    steps = re.findall("<step>(.*?)</step>", prefix)
    rng = random.Random(hashlib.sha256(json.dumps([question, steps, seed]).encode()).hexdigest())
    written = ""
    while len(steps) < 4:
        is_bad = any(step.startswith("bad") for step in steps) or rng.random() < 0.2
        steps.append(f"{'bad' if is_bad else 'good'} {len(steps)}")
        written += f"<step>{steps[-1]}</step>"
    total = sum(map(int, re.findall(r"\d+", question)))
    return f"{written}<answer>{total + any(step.startswith('bad') for step in steps)}</answer>"


def critic(messages, seed):
    """Names the first bad step."""
    steps = re.findall(r"^\[(\d+)\] (good|bad)", messages[0]["content"], re.MULTILINE)
    return "\\boxed{" + next((number for number, word in steps if word == "bad"), "-1") + "}"


def engine_on(server, **options):
    return EndpointEngine(
        ChatClient(server.url, options.pop("model", "stub"), backoff_seconds=0, **options), step_format="tagged"
    )


def label(folder, engine, search=omegaprm.search, config=OMEGA, **options):
    return label_problems(PROBLEMS, LabelRun(engine, RuleVerifier(), search, config, folder, progress=False, **options))


def test_thirty_percent_faults_change_no_label(tmp_path):
    """Every kind of fault, retried by the client: the bytes are those of a run without faults."""
    flat = {"search": flat_mc.search, "config": FlatMCConfig(num_responses=3, num_rollouts=4)}
    for name, options in {"omegaprm": {}, "flat_mc": flat}.items():
        rng = random.Random(0)
        with StubServer(policy) as well:
            label(tmp_path / name, engine_on(well), **options)
        with StubServer(
            policy, faults=lambda *_, rng=rng: rng.choice(FAULTS) if rng.random() < 0.3 else None
        ) as faulty:
            engine = engine_on(faulty, max_attempts=12)
            summary = label(tmp_path / f"{name} faulty", engine, **options)
            num_sent = len(faulty.bodies)
        trees = [(tmp_path / folder / "trees.jsonl").read_bytes() for folder in (name, f"{name} faulty")]
        assert trees[0] == trees[1]
        assert (summary.num_trees, summary.num_failed) == (12, 0)
        assert 0.2 < 1 - summary.num_rollouts / num_sent < 0.4
        assert summary.sessions[0]["num_retries"] == engine.usage["retries"] > 30


def test_a_server_that_is_gone_stops_the_run_which_is_resumed_later(tmp_path):
    dying = StubServer(policy, faults=lambda number, _: "500" if number > 60 else None)
    tolerance = FaultTolerance(request_attempts=2, pause_seconds=0)
    with dying, pytest.raises(EngineFailedError, match="HTTP 500"):
        label(tmp_path / "run", engine_on(dying, max_attempts=2), tolerance=tolerance)
    with StubServer(policy) as server:
        summary = label(tmp_path / "run", engine_on(server))
        num_asked_again = len(server.bodies)
        label(tmp_path / "whole", engine_on(server))
    assert (tmp_path / "run" / "trees.jsonl").read_bytes() == (tmp_path / "whole" / "trees.jsonl").read_bytes()
    assert summary.num_requests_replayed > 0
    assert num_asked_again < summary.num_rollouts


def label_with_bad_requests(folder, num_bad):
    """Label where the requests of `num_bad` problems always get HTTP 500; only their labels must be missing."""
    bad = PROBLEMS[1 : 1 + num_bad]
    questions = [problem.question for problem in bad]
    tolerance = FaultTolerance(request_attempts=2, pause_seconds=0, max_engine_failures=3)

    def faults(number, body):
        return "500" if body["messages"][0]["content"] in questions else None

    with StubServer(policy, faults=faults) as server:
        summary = label(folder, engine_on(server, max_attempts=2), tolerance=tolerance)
    assert (summary.num_trees, summary.num_failed) == (12 - num_bad, num_bad)
    rows = read_jsonl(folder / "failures.jsonl")
    assert [row["problem_id"] for row in rows] == [problem.id for problem in bad]
    assert all(row["error"] == "RequestFailedError" and "HTTP 500" in row["reason"] for row in rows)


def test_requests_that_always_fail_cost_their_problem_and_stop_no_run(tmp_path):
    for _ in range(2):
        label_with_bad_requests(tmp_path, 1)
    with StubServer(policy) as server:
        assert label(tmp_path, engine_on(server)).num_trees == 12


def test_problems_whose_requests_failed_before_stop_no_later_run(tmp_path):
    """As many as stop a run at its end, where nothing else is left to ask and no answer arrives in between."""
    with pytest.raises(EngineFailedError, match="HTTP 500"):
        label_with_bad_requests(tmp_path, 4)
    for _ in range(2):
        label_with_bad_requests(tmp_path, 4)
    with StubServer(policy) as server:
        assert label(tmp_path, engine_on(server)).num_trees == 12


def test_a_run_names_the_model_behind_the_server(tmp_path):
    with StubServer(policy, models=("my-policy",)) as server:
        label(tmp_path, engine_on(server, model=None))
        run = read_json(tmp_path / "run.json")
        assert run["engine"]["chat"]["model"] == "my-policy"
        assert server.url not in json.dumps(run)
        with pytest.raises(ValueError, match="made with other settings"):
            label(tmp_path, engine_on(server, model="another"))


def test_a_step_judge_behind_a_server(tmp_path):
    with StubServer(policy) as server, StubServer(critic, models=("critic",)) as judge:
        search = ConsensusSearch(flat_mc.search, ChatStepJudge(ChatClient(judge.url, None)))
        label(tmp_path, engine_on(server), search, FlatMCConfig(num_responses=2, num_rollouts=4))
    run = read_json(tmp_path / "run.json")
    assert run["search"]["judge"]["model"]["model"] == "critic"
    for tree in read_trees(tmp_path):
        for index in range(1, len(tree.nodes)):
            is_bad = any(step.startswith("bad") for step in tree.prefix(index))
            assert tree.nodes[index].judge_verdict is (Verdict.INCORRECT if is_bad else Verdict.CORRECT)
