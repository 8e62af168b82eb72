"""Faults of the engine: requests fail, yet no label is wrong and no problem is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random

import pytest
from support.pure_runs import FLAT, PROBLEMS, SEARCHES, PureEngine, label, read_trees

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError, StorageFailedError
from mmprm_hf.files import read_jsonl
from mmprm_hf.labelling import EngineFailedError, FaultTolerance, RequestFailedError, flat_mc
from mmprm_hf.labelling.engine_gate import EngineGate


class FaultyEngine(PureEngine):
    """Fails a share of its requests at random, before or after the work, with one of several errors."""

    def __init__(self, seed, share=0.3, errors=(EngineUnavailableError, ConnectionError, TimeoutError), log=None):
        super().__init__(log)
        self.rng, self.share, self.errors, self.num_failed, self.num_asked = random.Random(seed), share, errors, 0, 0

    async def generate(self, requests):
        self.num_asked += 1
        fails, is_late = self.rng.random() < self.share, self.rng.random() < 0.5
        answers = await super().generate(requests) if is_late or not fails else []
        if fails:
            self.num_failed += 1
            raise self.rng.choice(self.errors)("503")
        return answers


def test_no_label_is_wrong_and_no_problem_lost(tmp_path):
    """30 % of all requests fail; a request is given up after five attempts, its problem tried again at the end."""
    problems = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(40)]
    for name, options in SEARCHES.items():
        label(tmp_path / name, problems=problems, **options)
        for seed in range(2):
            engine, folder = FaultyEngine(seed), tmp_path / f"{name} {seed}"
            summary = label(folder, engine, problems=problems, **options)
            assert 0.2 < engine.num_failed / engine.num_asked < 0.4
            assert (summary.num_trees, summary.num_failed) == (40, 0)
            assert (folder / "trees.jsonl").read_bytes() == (tmp_path / name / "trees.jsonl").read_bytes()
            assert summary.num_requests == engine.num_asked - engine.num_failed  # no answer is paid for twice
            assert summary.sessions[0]["num_retries"] > 50


def test_problems_given_up_are_tried_again_in_the_same_run(tmp_path):
    """Every request fails once and has no second attempt: the run repeats as long as there are new answers."""

    class Forgetful(PureEngine):
        seen = set()

        async def generate(self, requests):
            key = (requests[0].problem.id, requests[0].prefix, requests[0].seed)
            if key not in self.seen:
                self.seen.add(key)
                raise EngineUnavailableError("not yet")
            return await super().generate(requests)

    summary = label(tmp_path, Forgetful(), tolerance=FaultTolerance(request_attempts=1, max_engine_failures=9))
    assert (summary.num_trees, summary.num_failed) == (8, 0)
    assert summary.num_requests == len(Forgetful.seen)
    label(tmp_path / "well")
    assert (tmp_path / "trees.jsonl").read_bytes() == (tmp_path / "well" / "trees.jsonl").read_bytes()


def test_an_error_of_one_problem_does_not_stop_the_others(tmp_path):
    class Odd(PureEngine):
        async def generate(self, requests):
            if requests[0].problem.id == "p4":
                raise KeyError("a bug that one problem brings out")
            return await super().generate(requests)

    summary = label(tmp_path, Odd())
    assert (summary.num_trees, summary.num_failed) == (7, 1)
    failure = read_jsonl(tmp_path / "failures.jsonl")[-1]
    assert failure["error"] == "RequestFailedError"
    assert "attempt 1: KeyError: 'a bug that one problem brings out'" in failure["reason"]


def test_short_answers_are_an_error_of_the_engine(tmp_path):
    class Short(PureEngine):
        async def generate(self, requests):
            return [rollouts[:-1] for rollouts in await super().generate(requests)]

    with pytest.raises(EngineFailedError, match=r"4 rollouts of one request and got \[3\]; an engine answers every"):
        label(tmp_path, Short())


def open_gate(engine, **options):
    return EngineGate(engine, FaultTolerance(**{"pause_seconds": 0, **options}), lambda rollouts: None)


def test_an_answer_in_between_keeps_the_run_going():
    class Bad(PureEngine):
        async def generate(self, requests):
            if requests[0].problem.id == "p0":
                return await super().generate(requests)
            raise EngineUnavailableError("no")

    async def ask(gate, name):
        try:
            await gate.ask(RolloutRequest(Problem(name, "q"), (), 1, 0))
        except (RequestFailedError, EngineFailedError) as error:
            return type(error)

    async def play(names):
        gate = open_gate(Bad(), request_attempts=2, max_engine_failures=3)
        return [await ask(gate, name) for name in names]

    assert asyncio.run(play(["p1", "p2", "p0", "p1", "p2"])).count(RequestFailedError) == 4
    assert asyncio.run(play(["p1", "p1", "p1", "p2", "p3"]))[3:] == [RequestFailedError, EngineFailedError]


def test_pauses_double_and_problems_at_fault_are_not_asked_again(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    class Down:
        identity = {}
        error, num_asked = EngineUnavailableError("down"), 0

        async def generate(self, requests):
            self.num_asked += 1
            raise self.error

    down = Down()
    request = RolloutRequest(PROBLEMS[0], (), 1, 0)
    with pytest.raises(RequestFailedError, match="attempt 8: EngineUnavailableError: down"):
        asyncio.run(open_gate(down, request_attempts=8, pause_seconds=2.0).ask(request))
    assert pauses == [2, 4, 8, 16, 32, 60, 60] and down.num_asked == 8
    down.error = ProblemInputError("p0", "a hole")
    with pytest.raises(ProblemInputError, match="a hole"):
        asyncio.run(open_gate(down).ask(request))
    assert down.num_asked == 9


def test_siblings_of_a_failed_request_are_not_paid_twice(tmp_path):
    """Flat Monte Carlo sends all prefixes of a problem together; one fails, the answers to the others stay."""

    class OneBad(PureEngine):
        is_bad = True

        async def generate(self, requests):
            if self.is_bad and len(requests[0].prefix) == 2:
                raise KeyError("bad prefix")
            return await super().generate(requests)

    engine = OneBad(tmp_path / "log")
    options = {"search": flat_mc.search, "config": FLAT, "problems": PROBLEMS[:1]}
    with pytest.raises(RuntimeError, match="1 x RequestFailedError"):
        label(tmp_path / "run", engine, **options)
    engine.is_bad = False
    summary = label(tmp_path / "run", engine, **options)
    asked = (tmp_path / "log").read_text().split()
    assert len(set(asked)) == len(asked) == summary.num_requests > 4


def test_halves_of_surrogate_pairs_are_replaced(tmp_path):
    class Half(PureEngine):
        """A server that cuts its JSON inside a character beyond the basic plane."""

        async def generate(self, requests):
            (rollouts,) = await super().generate(requests)
            half = {"steps": ("1 \ud83d", "\ud83d\ude00 ü"), "answer": "\ude00", "text": "\ud83d"}
            return [tuple(dataclasses.replace(r, **half, complete=i > 0) for i, r in enumerate(rollouts))]

    assert label(tmp_path, Half(), problems=PROBLEMS[:3]).num_trees == 3
    _, rollout = read_trees(tmp_path)[0].rollouts[0]
    assert (rollout.steps, rollout.answer, rollout.text) == (("1 \ufffd", "\U0001f600 ü"), "\ufffd", "\ufffd")


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch):
    write, num_left = os.write, [40]

    def full(descriptor, data):
        num_left[0] -= 1
        if num_left[0] < 0:
            write(descriptor, data[:7])
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as patch, pytest.raises(StorageFailedError, match="No space left on device.*Make room"):
        patch.setattr(os, "write", full)
        label(tmp_path / "full")
    label(tmp_path / "full")
    label(tmp_path / "well")
    assert (tmp_path / "full" / "trees.jsonl").read_bytes() == (tmp_path / "well" / "trees.jsonl").read_bytes()


def test_a_tolerance_out_of_range_is_refused():
    for options in ({"request_attempts": 0}, {"pause_seconds": -1}, {"max_engine_failures": 0}):
        (name,) = options
        with pytest.raises(ValueError, match=f"Found {name}=.*in FaultTolerance; it must be .*at least"):
            FaultTolerance(**options)
