"""A step judge in a run: journaled, counted, limited."""

from __future__ import annotations

import json

import pytest
from support.pure_runs import FLAT, PROBLEMS, PureEngine, label, read_trees

from mmprm_hf.data import Problem, Verdict
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.labelling import ChatStepJudge, ConsensusSearch, EngineFailedError, TooManyUndecidedError, flat_mc


class Critic:
    """Names the first bad step; is gone after `lifetime` answers; mumbles on every `mumbles`-th solution."""

    identity = {"model": "critic"}

    def __init__(self, lifetime=10**9, mumbles=0):
        self.lifetime, self.mumbles = lifetime, mumbles
        self.asked = []

    async def complete(self, messages, **settings):
        if len(self.asked) >= self.lifetime:
            raise EngineUnavailableError("the critic is gone")
        text = messages[0]["content"]
        self.asked.append(text)
        steps = [line for line in text.splitlines() if line.startswith("[")]
        first = next((i for i, step in enumerate(steps) if "bad" in step), -1)
        text = "hm" if self.mumbles and len(self.asked) % self.mumbles == 0 else f"\\boxed{{{first}}}"
        return ChatReply((ChatChoice(text, "stop", 7),), 30)


def run(folder, critic, problems=PROBLEMS, **options):
    search = ConsensusSearch(flat_mc.search, ChatStepJudge(critic))
    return label(folder, PureEngine(), problems, search=search, config=FLAT, **options)


def test_what_a_judge_has_decided_is_not_asked_again_and_all_of_it_is_in_the_ledger(tmp_path):
    whole = Critic()
    expected = run(tmp_path / "whole", whole)
    first, second = Critic(lifetime=9), Critic()
    with pytest.raises(EngineFailedError, match="3 problems failed with no tree in between, last with the critic"):
        run(tmp_path / "cut", first)
    resumed = run(tmp_path / "cut", second)
    assert (tmp_path / "cut" / "trees.jsonl").read_bytes() == (tmp_path / "whole" / "trees.jsonl").read_bytes()
    assert len(first.asked) == 9 and 0 < len(second.asked) < len(whole.asked)
    assert sorted(first.asked + second.asked) == sorted(whole.asked)
    assert resumed.num_failed == 0 and len(read_trees(tmp_path / "cut")) == len(PROBLEMS)
    num_solutions = len(whole.asked)
    for summary in (expected, resumed):
        assert summary.num_solutions_judged == summary.step_judge_calls == num_solutions > 9
        assert summary.step_judge_tokens_in == 30 * num_solutions
        assert summary.step_judge_tokens_out == 7 * num_solutions
        assert summary.num_solutions_undecided == 0
    rows = read_jsonl(tmp_path / "whole" / "ledger.jsonl")
    assert all(row["step_judge_calls"] == row["num_solutions_judged"] > 0 for row in rows)
    wrong = [n for t in read_trees(tmp_path / "cut") for n in t.nodes if n.judge_verdict is Verdict.INCORRECT]
    assert wrong and all(node.num_correct == 0 for node in wrong)


def test_a_judge_without_a_verdict_too_often_stops_the_run(tmp_path):
    with pytest.raises(
        TooManyUndecidedError, match=r"step judge gave no verdict on \d+ of \d+ solutions, above max_und"
    ):
        run(tmp_path, Critic(mumbles=2))
    again = Critic()
    summary = run(tmp_path, again, max_undecided=0.6)  # the trees are there: nothing is asked again
    assert again.asked == [] and 0 < summary.num_solutions_undecided < summary.num_solutions_judged


def test_a_judge_that_fails_now_and_then_stops_no_run(tmp_path):
    """Four problems fail, as many as would stop the run if no tree came in between."""

    class Moody(Critic):
        async def complete(self, messages, **settings):
            if any(f"question {i}" in messages[0]["content"] for i in (1, 3, 5, 7)):
                raise EngineUnavailableError("not in the mood")
            return await super().complete(messages, **settings)

    summary = run(tmp_path, Moody(), max_in_flight=1)
    assert (summary.num_trees, summary.num_failed) == (4, 4)


def test_what_a_judge_leaves_undecided_is_asked_again_with_its_problem(tmp_path):
    """The reason why a reply is undecided may have gone."""
    problems = PROBLEMS[:1]
    journal = tmp_path / "journal"
    mumbling = Critic(lifetime=1, mumbles=1)
    with pytest.raises(Exception, match="critic is gone"):
        run(tmp_path, mumbling, problems, max_undecided=1.0)
    assert json.loads(next(journal.glob("*.jsonl")).read_text().splitlines()[-1])["verdicts"][0] == "undecided"
    after = Critic()
    summary = run(tmp_path, after, problems)
    assert mumbling.asked[0] in after.asked
    assert summary.step_judge_calls == len(after.asked) + 1
    assert summary.num_solutions_judged == len(after.asked) and summary.num_solutions_undecided == 0


def test_a_run_is_resumed_whatever_the_order_of_undecided_solutions(tmp_path):
    """A ledger that begins with undecided solutions is within the limit as a whole."""
    problems = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(150)]
    run(tmp_path, Critic(mumbles=9), problems)
    rows = sorted(read_jsonl(tmp_path / "ledger.jsonl"), key=lambda row: -row["num_solutions_undecided"])
    write_jsonl(tmp_path / "ledger.jsonl", rows)
    again = Critic()
    summary = run(tmp_path, again, problems)
    assert len(again.asked) < 10, "only those of problems without any verdict of the judge"
    assert summary.num_trees == 150 and summary.num_solutions_undecided > 10


def test_a_problem_without_any_verdict_of_the_judge_is_judged_again(tmp_path):
    with pytest.raises(Exception, match="gave no verdict on 2 of 2 solutions"):
        run(tmp_path, Critic(mumbles=1), PROBLEMS[:2])
    assert not read_trees(tmp_path)
    healed = Critic()
    summary = run(tmp_path, healed, PROBLEMS[:2])
    assert summary.num_trees == 2 and summary.num_solutions_undecided == 0 and healed.asked
