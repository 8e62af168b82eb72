"""The ledger: what was paid for, per problem, per session and in total, over kills and restarts."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from support.pure_runs import PROBLEMS, PureEngine, label, read_trees

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Verdict
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.labelling import EngineFailedError
from mmprm_hf.labelling.ledger import COSTS, Session
from mmprm_hf.labelling.progress import Progress


def read_ledger(folder):
    return read_jsonl(folder / "ledger.jsonl")


class Judge(RuleVerifier):
    """Rules that pretend to ask a judge with 5 tokens in and 1 out; an even question is a cache hit."""

    def __init__(self):
        self.usage = defaultdict(Counter)

    async def judge(self, problem, answer):
        usage = self.usage[problem.id]
        if sum(usage.values()) % 2:
            usage["judge_cache_hits"] += 1
        else:
            usage.update(judge_calls=1, judge_tokens_in=5, judge_tokens_out=1)
        return await super().judge(problem, answer)


def test_costs_add_up_over_problems(tmp_path):
    summary = label(tmp_path, verifier=Judge())
    trees = {tree.problem_id: tree for tree in read_trees(tmp_path)}
    rows = read_ledger(tmp_path)
    assert [row["problem_id"] for row in rows] == [problem.id for problem in PROBLEMS]
    for row in rows:
        tree = trees[row["problem_id"]]
        assert row["problem_key"] == tree.problem_key
        assert row["outcome"] == "tree"
        assert row["num_rollouts"] == tree.num_rollouts == 4 * row["num_requests"]
        assert (row["tokens_in"], row["tokens_out"]) == (20 * row["num_requests"], 10 * row["num_rollouts"])
        assert (row["num_incomplete"], row["num_undecided"]) == (tree.num_incomplete, tree.num_undecided)
        assert sum(row["faults"].values()) == tree.num_incomplete
        answers = {rollout.answer for _, rollout in tree.rollouts if rollout.complete}
        assert row["verifier_calls"] == len(answers) == row["judge_calls"] + row["judge_cache_hits"]
        assert row["judge_tokens_in"] == 5 * row["judge_calls"]
        assert row["seconds"] > 0
    written = read_json(tmp_path / "summary.json")
    for name in COSTS:
        assert written[name] == getattr(summary, name) == sum(row[name] for row in rows)
    assert summary.num_mixed == sum(0 < tree.nodes[0].mc_estimate < 1 for tree in trees.values()) > 0
    assert sum(written["faults"].values()) == summary.num_incomplete > 0
    (session,) = written["sessions"]
    assert session["num_trees"] == 8
    assert session["num_rollouts"] == summary.num_rollouts
    assert session["tokens_in"] == summary.tokens_in
    assert summary.seconds == session["seconds"] > 0


def test_sessions_add_up_and_replayed_answers_cost_nothing(tmp_path):
    class Dying(PureEngine):
        num_left = 17

        async def generate(self, requests):
            self.num_left -= 1
            if self.num_left < 0:
                raise KeyError("gone")
            return await super().generate(requests)

    with pytest.raises(EngineFailedError, match="gone"):
        label(tmp_path, Dying())
    between = read_json(tmp_path / "summary.json")
    assert 14 <= between["sessions"][0]["num_requests"] <= 17  # what was in flight at the end may be lost
    summary = label(tmp_path)
    label(tmp_path / "whole")
    whole = read_json(tmp_path / "whole" / "summary.json")
    assert summary.num_requests == whole["num_requests"] == sum(row["num_requests"] for row in summary.sessions)
    assert summary.tokens_out == whole["tokens_out"] == sum(row["tokens_out"] for row in summary.sessions)
    assert summary.verifier_calls == whole["verifier_calls"]
    assert summary.num_requests_replayed > 0 == whole["num_requests_replayed"]
    assert len(summary.sessions) == 2
    assert summary.seconds == pytest.approx(sum(row["seconds"] for row in summary.sessions))
    third = label(tmp_path)
    assert third.sessions[2]["num_requests"] == 0 and third.num_requests == summary.num_requests


def test_failed_problems_are_paid_for_too(tmp_path):
    class Blind(RuleVerifier):
        async def judge(self, problem, answer):
            return Verdict.UNDECIDED if problem.id == "p1" else await super().judge(problem, answer)

    summary = label(tmp_path, verifier=Blind(), max_undecided=0.5)
    row = next(row for row in read_ledger(tmp_path) if row["problem_id"] == "p1")
    assert (row["outcome"], row["num_rollouts"]) == ("NothingJudgedError", 4)
    assert row["num_undecided"] == summary.num_undecided == 4 - row["num_incomplete"]
    assert summary.num_rollouts == 4 + sum(tree.num_rollouts for tree in read_trees(tmp_path))


def test_engine_retries_of_the_client_are_counted(tmp_path):
    class Client(PureEngine):
        usage = Counter(retries=100)  # from before this run

        async def generate(self, requests):
            self.usage["retries"] += 1
            return await super().generate(requests)

    summary = label(tmp_path, Client())
    assert summary.sessions[0]["num_retries"] == summary.num_requests


def test_the_bar_shows_rates_of_new_work_alone(capsys, monkeypatch):
    clock = [100.0]
    for name in ("time.monotonic", "tqdm.std.time"):
        monkeypatch.setattr(name, lambda: clock[0])
    session = Session()
    bar = Progress(session, 10, is_shown=True)
    for _ in range(6):
        bar.skip()
    clock[0] += 10
    session.num_rollouts, session.tokens_out = 100, 5000
    bar.advance()
    bar.advance()
    bar.close()
    line = capsys.readouterr().err.split("\r")[-1]
    assert "8/10" in line and "10 rollouts/s, 500 tokens/s" in line
    assert "00:10<00:10" in line  # two problems in ten seconds, two to go: what was skipped is not counted
    Progress(session, 10, is_shown=False).advance()
    assert not capsys.readouterr().err
