"""Driver: resume gives the same bytes, no mixing of runs, failures recorded, shared engine calls, undecided share."""

from __future__ import annotations

import json
import random

import pytest

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Rollout, Verdict
from mmprm_hf.engines import ProblemInputError, ScriptedEngine
from mmprm_hf.labelling import omegaprm
from mmprm_hf.labelling.driver import EngineFailedError, TooManyUndecidedError, label_problems, read_trees
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig

PROBLEMS = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(12)]
CONFIG = OmegaPRMConfig(num_rollouts=4, max_rollouts=40)


def policy(problem, prefix, call_index, sample_index):
    rng = random.Random(f"{problem.id} {prefix} {call_index} {sample_index}")
    steps = list(prefix)
    while len(steps) < 5:
        steps.append(f"{'bad' if rng.random() < 0.2 else 'good'} {len(steps)}")
    is_right = not any(step.startswith("bad") for step in steps)
    return Rollout(tuple(steps[len(prefix) :]), "7" if is_right else "8", num_tokens=10)


def label(folder, engine=None, problems=PROBLEMS, **changes):
    arguments = {"verifier": RuleVerifier(), "config": CONFIG, "max_in_flight": 5, "progress": False} | changes
    engine = engine or ScriptedEngine(policy)
    return label_problems(
        problems, engine, arguments.pop("verifier"), omegaprm.search, arguments.pop("config"), folder, **arguments
    )


class FailingEngine(ScriptedEngine):
    """Breaks down for good at its eighth call."""

    num_generate_calls = 0

    async def generate(self, requests):
        self.num_generate_calls += 1
        if self.num_generate_calls > 7:
            raise ConnectionError("the server is gone")
        return await super().generate(requests)


def test_interrupted_and_resumed_gives_the_same_bytes(tmp_path):
    summary = label(tmp_path / "whole")
    expected = (tmp_path / "whole" / "trees.jsonl").read_bytes()
    folder = tmp_path / "broken"
    with pytest.raises(EngineFailedError, match="ConnectionError: the server is gone"):
        label(folder, FailingEngine(policy))
    partial = (folder / "trees.jsonl").read_bytes()
    assert 0 < partial.count(b"\n") < len(PROBLEMS)
    (folder / "trees.jsonl").write_bytes(partial + b'{"problem_id": "p11", "nodes": [{"id": "torn')
    resumed = label(folder)
    assert (folder / "trees.jsonl").read_bytes() == expected
    assert resumed.num_resumed == partial.count(b"\n")
    assert (resumed.num_trees, resumed.num_rollouts, resumed.num_tokens) == (
        12,
        summary.num_rollouts,
        summary.num_tokens,
    )
    assert [tree.problem_id for tree in read_trees(folder)] == [problem.id for problem in PROBLEMS]


def test_trees_do_not_depend_on_concurrency(tmp_path):
    for name, max_in_flight in [("one", 1), ("many", 12)]:
        label(tmp_path / name, max_in_flight=max_in_flight)
    assert (tmp_path / "one" / "trees.jsonl").read_bytes() == (tmp_path / "many" / "trees.jsonl").read_bytes()


def test_searches_share_engine_calls(tmp_path):
    sizes = []

    class Recording(ScriptedEngine):
        async def generate(self, requests):
            sizes.append(len({request.problem.id for request in requests}))
            return await super().generate(requests)

    label(tmp_path, Recording(policy), max_in_flight=6)
    assert sizes[0] == 6
    assert max(sizes) == 6
    assert sum(sizes) / len(sizes) > 3


def test_ledger_adds_up(tmp_path):
    summary = label(tmp_path)
    trees = read_trees(tmp_path)
    assert summary.num_rollouts == sum(len(tree.rollouts) for tree in trees)
    assert summary.num_tokens == 10 * summary.num_rollouts
    assert summary.num_mixed == sum(0 < tree.nodes[0].mc_estimate < 1 for tree in trees) > 0
    assert 12 <= summary.num_verifier_calls <= 24
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["num_rollouts"] == summary.num_rollouts


def test_runs_are_not_mixed(tmp_path):
    label(tmp_path, problems=PROBLEMS[:2])
    with pytest.raises(ValueError, match="trees of another run.*num_rollouts.*another output_dir"):
        label(tmp_path, config=OmegaPRMConfig(num_rollouts=8))
    with pytest.raises(ValueError, match=r"engine: \{'engine': 'scripted'\} there"):
        label(tmp_path, ScriptedEngine(policy, identity={"engine": "other"}))
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        label(tmp_path, seed=1)
    assert label(tmp_path, problems=PROBLEMS[:3]).num_resumed == 2


def test_failed_problems_are_recorded_and_retried(tmp_path):
    class Picky(ScriptedEngine):
        async def generate(self, requests):
            for request in requests:
                if request.problem.id == "p3":
                    raise ProblemInputError("p3", "its figure is missing")
            return await super().generate(requests)

    summary = label(tmp_path, Picky(policy))
    assert (summary.num_trees, summary.num_failed) == (11, 1)
    (failure,) = map(json.loads, (tmp_path / "failures.jsonl").read_text().splitlines())
    assert failure == {
        "problem_id": "p3",
        "error": "ProblemInputError",
        "reason": "Problem 'p3': its figure is missing",
    }
    summary = label(tmp_path)
    assert (summary.num_trees, summary.num_failed, summary.num_resumed) == (12, 0, 11)
    assert (tmp_path / "failures.jsonl").read_text() == ""
    label(tmp_path / "whole")
    assert (tmp_path / "trees.jsonl").read_bytes() == (tmp_path / "whole" / "trees.jsonl").read_bytes()


def test_too_many_undecided_aborts(tmp_path):
    class Tired:
        async def judge(self, problem, answer):
            return Verdict.UNDECIDED if problem.id < "p5" else await RuleVerifier().judge(problem, answer)

    with pytest.raises(TooManyUndecidedError, match=r"complete rollouts have no verdict, above max_undecided=0\.01"):
        label(tmp_path / "strict", verifier=Tired(), max_undecided=0.01)
    summary = label(tmp_path / "lax", verifier=Tired(), max_undecided=0.9)
    assert summary.num_failed == 7  # p0 to p4, and p10, p11 in string order
    reasons = (tmp_path / "lax" / "failures.jsonl").read_text()
    assert reasons.count("NothingJudgedError") == 7


def test_short_answers_of_an_engine_stop_the_run(tmp_path):
    class Short(ScriptedEngine):
        async def generate(self, requests):
            return (await super().generate(requests))[:-1]

    with pytest.raises(EngineFailedError, match="an engine answers every request"):
        label(tmp_path, Short(policy))


def test_broken_line_in_the_middle_is_named(tmp_path):
    label(tmp_path, problems=PROBLEMS[:3])
    lines = (tmp_path / "trees.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trees.jsonl").write_text(lines[0] + "{broken\n" + lines[2])
    with pytest.raises(ValueError, match="Line 2 of trees.jsonl is not a search tree"):
        label(tmp_path)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="'p0' appears twice"):
        label(tmp_path, problems=[PROBLEMS[0], PROBLEMS[0]])
    with pytest.raises(ValueError, match="max_in_flight=0"):
        label(tmp_path, max_in_flight=0)
    with pytest.raises(ValueError, match=r"max_undecided=1\.5"):
        label(tmp_path, max_undecided=1.5)
    assert label(tmp_path, problems=[]).num_problems == 0
