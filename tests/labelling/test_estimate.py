"""Prediction of a run from a sample of it: intervals that cover, and nothing labelled twice."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from support.pure_runs import PureEngine, label, read_trees
from support.trees_by_hand import train_rows
from typer.testing import CliRunner

from mmprm_hf.cli import app
from mmprm_hf.data import Problem, Rollout, content_hash
from mmprm_hf.files import read_json
from mmprm_hf.labelling import Prices, choose_sample, estimate_folder, format_estimate
from mmprm_hf.labelling.estimate import predict
from mmprm_hf.labelling.ledger import COSTS
from mmprm_hf.stages import LabelOptions, label_stage, open_problems

SESSION = {"seconds": 100.0, "num_requests": 10, "num_rollouts": 400, "tokens_out": 50_000}
COLUMNS = [
    *("num_rollouts", "tokens_in", "tokens_out", "verifier_calls", "judge_calls"),
    *("step_judge_calls", "step_judge_tokens_in", "step_judge_tokens_out", "num_label_rows"),
]


def row(num_rollouts, tokens_in=0, tokens_out=0, is_mixed=True):
    zeros = dict.fromkeys(COSTS, 0)
    counts = {"num_rollouts": num_rollouts, "tokens_in": tokens_in, "tokens_out": tokens_out}
    return {**zeros, **counts, "num_label_rows": 2 * is_mixed, "is_mixed": is_mixed, "has_tree": True}


def test_problems_of_equal_cost_give_plain_arithmetic():
    sampled = [row(100, tokens_in=2_000, tokens_out=5_000)] * 4
    prediction = predict(sampled, [SESSION], 1000, Prices(tokens_in=2.0, tokens_out=10.0, gpu_hour=3.0))
    totals = {name: figure["value"] for name, figure in prediction["totals"].items()}
    assert totals["num_rollouts"] == 100_000
    assert totals["num_label_rows"] == 2000
    assert totals["hours"] == pytest.approx(5e6 / 500 / 3600)
    assert totals["token_cost"] == pytest.approx(2e6 * 2 / 1e6 + 5e6 * 10 / 1e6)
    assert totals["gpu_cost"] == pytest.approx(3 * totals["hours"])
    assert all(figure["low"] == pytest.approx(figure["high"]) for figure in prediction["totals"].values())
    assert prediction["rollouts_per_second"] == 4 and prediction["tokens_per_second"] == 500
    share = prediction["mixed_share"]
    assert share["high"] == 1 and share["low"] == pytest.approx(0.51, abs=0.01)  # Wilson: 4 / (4 + 1.96 ** 2)


def test_what_is_not_measured_is_not_guessed():
    prediction = predict([row(100), row(50)], [{**SESSION, "tokens_out": 0}], 10, Prices(tokens_out=10.0))
    totals = prediction["totals"]
    assert totals["tokens_in"] is totals["tokens_out"] is totals["token_cost"] is totals["gpu_cost"] is None
    assert prediction["tokens_per_second"] is None
    assert totals["hours"]["value"] == pytest.approx(750 / 4 / 3600)
    text = format_estimate(prediction)
    assert "tokens in               not measured" in text and "cost" not in text
    assert "rollouts                         750   " in text
    all_known = predict([row(100), row(50)], [SESSION], 2)
    assert all_known["totals"]["num_rollouts"] == {"value": 150, "low": 150, "high": 150}


def test_the_true_total_lies_inside_the_intervals():
    """Skewed costs, 40 sampled of 200: nine columns of ten runs give 90 intervals that promise 95 %.

    At least 74 must cover. A procedure that covers 92 % (bootstrap means of 40 skewed values fall a little short) fails
    this with probability 0.07 %.
    """
    rng, num_covered = random.Random(5), 0
    for _ in range(10):
        costs = [{name: 100 * rng.lognormvariate(0, 0.6) for name in COLUMNS} for _ in range(200)]
        sampled = [{**cost, "is_mixed": True, "has_tree": True} for cost in costs[:40]]
        totals = predict(sampled, [SESSION], 200)["totals"]
        for name in COLUMNS:
            truth = sum(cost[name] for cost in costs)
            num_covered += totals[name]["low"] <= truth <= totals[name]["high"]
    assert len(COLUMNS) == 9 and num_covered >= 74


def test_the_sample_is_chosen_by_hash():
    problems = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(50)]
    chosen = choose_sample(problems, 10, seed=0)
    assert chosen == [problem for problem in problems if problem in chosen]
    assert {p.id for p in choose_sample(problems[::-1], 10, seed=0)} == {p.id for p in chosen}
    assert {p.id for p in choose_sample(problems, 20, seed=0)} > {p.id for p in chosen}
    assert choose_sample(problems, 10, seed=1) != chosen
    assert choose_sample(problems, 60, seed=0) == problems
    with pytest.raises(ValueError, match="sample of 1 out of 50 problems.*at least 2"):
        choose_sample(problems, 1, seed=0)
    with pytest.raises(ValueError, match="Found gpu_hour=-1 in Prices; it must be at least 0"):
        Prices(gpu_hour=-1)


def test_a_folder_predicts_itself(tmp_path):
    problems = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(60)]
    sample = choose_sample(problems, 30, seed=0)
    label(tmp_path, problems=sample)
    before = estimate_folder(sample, tmp_path, 60, Prices())
    summary = label(tmp_path, problems=problems)
    assert (before["num_sampled"], before["num_sampled_trees"]) == (30, 30)
    for name in ("num_rollouts", "tokens_in", "tokens_out", "verifier_calls"):
        figure = before["totals"][name]
        assert figure["low"] < getattr(summary, name) < figure["high"]
        assert figure["high"] < 1.2 * figure["value"]
    after = estimate_folder(problems, tmp_path, 60, Prices())
    assert after["totals"]["num_rollouts"]["value"] == summary.num_rollouts
    rows = train_rows(problems, read_trees(tmp_path))
    assert after["totals"]["num_label_rows"] == {name: len(rows) for name in ("value", "low", "high")}
    assert before["totals"]["num_label_rows"]["low"] < len(rows) < before["totals"]["num_label_rows"]["high"]
    twins = [sample[0], Problem("twin", sample[0].question, answer="7")]
    doubled = estimate_folder(twins, tmp_path, 2, Prices())["totals"]["num_rollouts"]["value"]
    assert doubled == read_trees(tmp_path)[problems.index(sample[0])].num_rollouts


class NanoEngine(PureEngine):
    """Right or wrong by the request's hash."""

    counts = Counter()

    async def generate(self, requests):
        self.counts["requests"] += len(requests)

        def rollout(request, index):
            is_right = int(content_hash(request.prefix, request.seed, index), 16) % 2
            return Rollout((f"{index}.", "done."), request.problem.answer if is_right else "-1", num_tokens=5)

        return [tuple(rollout(request, i) for i in range(request.num_samples)) for request in requests]


def test_the_command_estimates_then_labels_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(label_stage, "open_engine", lambda *arguments: NanoEngine())
    NanoEngine.counts.clear()
    arguments = ["label", "--policy", "x", "--output", str(tmp_path), "--num-problems", "6"]
    prices = ["--price-out", "1e6", "--gpu-hour-price", "2"]
    result = CliRunner().invoke(app, [*arguments, "--estimate", "3", *prices], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "6 problems, predicted from 3 (3 with a tree)" in result.output
    assert "cost by tokens" in result.output and "cost by GPU hours" in result.output
    num_before = NanoEngine.counts["requests"]
    result = CliRunner().invoke(app, [*arguments, "--estimate", "3", "--json"], catch_exceptions=False)
    assert NanoEngine.counts["requests"] == num_before
    prediction = json.loads(result.stdout[result.stdout.index("{") :])
    assert prediction == read_json(tmp_path / "estimate.json")
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    report = json.loads(result.stdout[result.stdout.index("{") :])
    assert report["ledger"]["num_requests"] == NanoEngine.counts["requests"] > num_before
    assert (report["ledger"]["num_trees"], report["ledger"]["num_resumed"]) == (6, 3)
    assert report["labels"]["num_rows"] > 0
    assert [tree.problem_id for tree in read_trees(tmp_path)] == open_problems(None, 6).ids


def test_the_command_explains_in_a_line_why_it_stopped(tmp_path, monkeypatch):
    class Silent(NanoEngine):
        async def generate(self, requests):
            return [(Rollout((), None, False, "length", text="er"),) * r.num_samples for r in requests]

    monkeypatch.setattr(label_stage, "open_engine", lambda *arguments: Silent())
    arguments = ["label", "--policy", "x", "--output", str(tmp_path), "--num-problems", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "mmprm: None of 3 problems gave a tree" in result.output and "'er'" in result.output
    assert "Traceback" not in result.output
    with pytest.raises(ValueError, match="neither a policy nor the URL"):
        monkeypatch.undo()
        label_stage.label(LabelOptions(None, tmp_path, num_problems=1))


def test_a_figure_that_cannot_be_read_costs_and_gives_nothing(tmp_path):
    problems = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(4)]
    broken = Problem("broken", "question", images=({"bytes": b"no figure", "path": None},), answer="7")
    label(tmp_path, problems=[*problems, broken])
    prediction = estimate_folder([*problems, broken], tmp_path, 10, Prices())
    assert (prediction["num_sampled"], prediction["num_sampled_trees"]) == (5, 4)
