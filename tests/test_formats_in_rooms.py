"""Every step format in every room: engines, labelling, strategies, rewards, evaluation, files, with nothing named.

The policy knows a few solutions by heart and completes a prefix only if it is shown its own tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from support.backbones_text import build_llama
from support.mixture_policy import mixture_policy, served_mixture
from support.stub_server import StubServer
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.labelling import LabelRun, flat_mc, label_problems, omegaprm
from mmprm_hf.labelling.flat_mc import FlatMCConfig
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.rewards import AnswerReward, ProcessReward
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.stages import (
    BenchmarkData,
    PolicyForm,
    Servers,
    evaluate_benchmark,
    evaluate_candidates,
    read_solution,
    rerank_problems,
    score_solutions,
)
from mmprm_hf.steps import LINES, NUMBERED, PARAGRAPHS, STEP_END, TAGGED, NumberedFormat

HEADINGS = NumberedFormat("## Step {n}: ")
FORMATS = (TAGGED, PARAGRAPHS, LINES, NUMBERED, HEADINGS)
SAMPLING = SamplingConfig(max_new_tokens=120)
PROBLEMS = [Problem(f"p{n}", f"How much is {n} + 3?", answer=str(n + 3)) for n in range(1, 5)]


def solutions_of(problem):
    """Steps of right and wrong solutions: the first step decides, and a formula has a blank line in it."""
    total = int(problem.answer)
    return {
        ("Add the two numbers.", f"$$x\n\n= {total}$$", "That is all."): total,
        ("Add the two numbers.", f"This gives {total}."): total,
        ("Take one more.", f"$$x\n\n= {total + 1}$$"): total + 1,
    }


def texts_in(step_format, thought=""):
    return {
        problem.question: [thought + step_format.render(s, str(a)) for s, a in solutions_of(problem).items()]
        for problem in PROBLEMS
    }


def engine_in(step_format, thought="", **options):
    policy, tokenizer = mixture_policy(texts_in(step_format, thought), options.pop("cut", "gpt2"))
    return TransformersEngine(policy, tokenizer, sampling=SAMPLING, **options)


def engine_on(server):
    return EndpointEngine(ChatClient(server.url, "stub", backoff_seconds=0), sampling=SAMPLING)


@pytest.fixture(scope="module")
def scorer():
    policy, tokenizer = build_llama(with_marker=True)
    processor = MMPRMProcessor(tokenizer)
    return PRMScorer(MMPRMModel.from_policy(policy, processor), processor)


@pytest.fixture(scope="module")
def prm(scorer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prm")
    scorer.model.save_pretrained(folder)
    scorer.processor.save_pretrained(folder)
    return str(folder)


def check_rollouts(engine, step_format):
    """Whole solutions, continuations of every prefix, and steps one by one are the policy's own."""
    for problem in PROBLEMS[:1]:
        known = solutions_of(problem)
        requests = [RolloutRequest(problem, num_samples=6)]
        prefixes = list(dict.fromkeys(steps[:n] for steps in known for n in range(1, len(steps) + 1)))
        requests += [RolloutRequest(problem, prefix, 4) for prefix in prefixes]
        requests += [RolloutRequest(problem, prefix, 4, one_step=True) for prefix in [(), *prefixes]]
        for request, rollouts in zip(requests, asyncio.run(engine.generate(requests)), strict=True):
            for rollout in rollouts:
                steps = (*request.prefix, *rollout.steps)
                if rollout.complete:
                    assert known[steps] == int(rollout.answer)
                else:
                    assert request.one_step and rollout.finish_reason == STEP_END and len(rollout.steps) == 1
                    assert any(steps == other[: len(steps)] for other in known), steps
    assert engine.step_format == step_format


def test_engines_find_each_format_and_continue_it():
    for step_format in FORMATS:
        check_rollouts(engine_in(step_format), step_format)
    for cut in ("llama3", "gemma"):
        check_rollouts(engine_in(PARAGRAPHS, cut=cut), PARAGRAPHS)


def test_a_step_does_not_end_inside_a_thought():
    thought = "<think>4 or 5?\n\nStep 1: 4.\nStep 2: 5.</step></think>\n\n"
    for step_format in FORMATS:
        engine = engine_in(step_format, thought)
        (steps,) = asyncio.run(engine.generate([RolloutRequest(PROBLEMS[0], num_samples=4, one_step=True)]))
        assert {rollout.steps[0] for rollout in steps} <= {"Add the two numbers.", "Take one more."}
        assert all(rollout.finish_reason == STEP_END for rollout in steps) and engine.step_format == step_format
        for tells_stops in (True, False):
            with StubServer(served_mixture(texts_in(step_format, thought)), tells_stops=tells_stops) as server:
                request = RolloutRequest(PROBLEMS[0], num_samples=4, one_step=True)
                (steps,) = asyncio.run(engine_on(server).generate([request]))
            assert {rollout.steps[0] for rollout in steps} <= {"Add the two numbers.", "Take one more."}


def test_served_engines_find_each_format_and_continue_it_whether_or_not_the_server_says_what_stopped_it():
    for step_format, tells_stops in ((PARAGRAPHS, False), (LINES, False), *((f, True) for f in FORMATS)):
        with StubServer(served_mixture(texts_in(step_format)), tells_stops=tells_stops) as server:
            check_rollouts(engine_on(server), step_format)


def label(folder, engine, search, config):
    return label_problems(PROBLEMS, LabelRun(engine, RuleVerifier(), search, config, folder, progress=False))


def test_estimates_follow_the_policy_in_its_own_format(tmp_path):
    searches = {
        "flat": (flat_mc.search, FlatMCConfig(num_responses=6, num_rollouts=4)),
        "omega": (omegaprm.search, OmegaPRMConfig(num_rollouts=4, max_rollouts=24)),
    }
    for step_format, (name, how) in itertools.product(FORMATS[:4], searches.items()):
        folder = tmp_path / f"{step_format.name} {name}"
        label(folder, engine_in(step_format), *how)
        trees = read_jsonl(folder / "trees.jsonl")
        first = [node for tree in trees for node in tree["nodes"] if node["steps"]]
        right = [node for node in first if node["steps"][0] == "Add the two numbers."]
        wrong = [node for node in first if node["steps"][0] == "Take one more."]
        assert right and wrong and len(trees) == len(PROBLEMS)
        assert all(node["num_correct"] == node["num_decided"] > 0 for node in right)
        assert all(node["num_correct"] == 0 < node["num_decided"] for node in wrong)
        assert read_json(folder / "run.json")["engine"]["step_format"] == step_format.identity


def test_a_resumed_labelling_run_keeps_the_format_and_the_bytes(tmp_path):
    how = (flat_mc.search, FlatMCConfig(num_responses=4, num_rollouts=4))
    for number, step_format in enumerate((PARAGRAPHS, HEADINGS)):
        whole, cut = tmp_path / f"whole {number}", tmp_path / f"cut {number}"
        label(whole, engine_in(step_format), *how)
        label_problems(PROBLEMS[:2], LabelRun(engine_in(step_format), RuleVerifier(), *how, cut, progress=False))
        engine = engine_in(step_format)
        label(cut, engine, *how)
        assert (cut / "trees.jsonl").read_bytes() == (whole / "trees.jsonl").read_bytes()
        assert engine.step_format == step_format


def test_every_strategy_answers_in_every_format(scorer):
    for step_format in FORMATS:
        policy, tokenizer = mixture_policy(texts_in(step_format))
        for strategy in ("best_of_n", "majority_vote", "weighted_vote", "beam_search", "dvts"):
            rerank = pipeline("generate-and-rerank", model=policy, prm=scorer, processor=tokenizer, max_new_tokens=120)
            questions = [{"text": problem.question} for problem in PROBLEMS[:1]]
            outputs = rerank(questions, num_candidates=4, strategy=strategy, return_candidates=True)
            for problem, output in zip(PROBLEMS, outputs, strict=False):
                known = solutions_of(problem)
                assert output["answer"] is not None and output["chosen"] is not None
                for candidate in output["candidates"]:
                    assert candidate["complete"], candidate
                    assert known[tuple(candidate["steps"])] == int(candidate["answer"])
                    assert candidate["text"] in texts_in(step_format)[problem.question]
            assert rerank.step_format == step_format


def test_a_server_is_searched_step_by_step_in_every_format(scorer):
    for step_format, strategy in itertools.product(FORMATS, ("best_of_n", "beam_search")):
        with StubServer(served_mixture(texts_in(step_format))) as server:
            rerank = pipeline("generate-and-rerank", model=server.url, prm=scorer, max_new_tokens=120)
            output = rerank(text=PROBLEMS[0].question, num_candidates=4, strategy=strategy, return_candidates=True)
        known = solutions_of(PROBLEMS[0])
        assert output["candidates"] and rerank.step_format == step_format
        assert all(known[tuple(row["steps"])] == int(row["answer"]) for row in output["candidates"])


def test_rewards_read_every_format_with_thoughts_in_front(scorer):
    problem = PROBLEMS[0]
    for step_format, thought in itertools.product(FORMATS, ("", "<think>4 or 5?\n\nStep 1: 4.</think>\n\n")):
        texts = texts_in(step_format, thought)[problem.question]
        columns = {"answer": [problem.answer] * len(texts)}
        prompts = [problem.question] * len(texts)
        assert AnswerReward()(prompts, texts, **columns) == [1.0, 1.0, 0.0]
        plain = ProcessReward(scorer)(prompts, [TAGGED.render(s, str(a)) for s, a in solutions_of(problem).items()])
        assert ProcessReward(scorer)(prompts, texts) == pytest.approx(plain)


def test_one_solution_is_scored_in_every_format(prm):
    problem = PROBLEMS[0]
    for step_format in FORMATS:
        solutions = [read_solution(text) for text in texts_in(step_format)[problem.question]]
        report = score_solutions([], problem.question, solutions, prm=prm, aggregation="min")
        assert [tuple(row["steps"]) for row in report["solutions"]] == list(solutions_of(problem))


def test_runs_on_disk_name_their_format_and_are_evaluated(prm, tmp_path):
    data = tmp_path / "problems.jsonl"
    rows = [{"id": p.id, "question": p.question, "answer": p.answer} for p in PROBLEMS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number, step_format in enumerate(FORMATS[:4]):
        with StubServer(served_mixture(texts_in(step_format))) as server:
            run = {"policy": None, "prm": prm, "servers": Servers(server.url), "progress": False}
            options = {"num_candidates": 4, "max_new_tokens": 120}
            folder = tmp_path / f"rerank {number}"
            summary = rerank_problems(str(data), folder, num_problems=2, options=options, **run)
            assert summary["outcomes"]["answered"] == 2 and not summary["faults"]
            assert read_json(folder / "config.json")["sampling"]["step_format"] == step_format.to_dict()
            before = (folder / "candidates.jsonl").read_text().splitlines()
            rerank_problems(str(data), folder, options=options, **run)
            assert (folder / "candidates.jsonl").read_text().splitlines()[:2] == before
            output = tmp_path / f"evaluate {number}" / "results.json"
            results = evaluate_benchmark(BenchmarkData("own", str(data)), output, options=options, **run)
            assert results["rows"]["num_used"] == len(PROBLEMS)
            config = read_json(output.parent / "config.json")
            assert config["sampling"]["step_format"] == step_format.to_dict()
        for path in (folder, output.parent):
            assert evaluate_candidates(path)["rows"]["num_used"] == len(PROBLEMS)
            for row, problem in zip(read_jsonl(path / "candidates.jsonl"), PROBLEMS, strict=True):
                known = solutions_of(problem)
                for candidate in row["candidates"]:
                    is_right = known[tuple(candidate["steps"])] == int(problem.answer)
                    assert candidate["verdict"] == ("correct" if is_right else "incorrect")


def test_a_named_format_is_kept_and_what_it_cannot_read_is_counted(prm, tmp_path):
    data = tmp_path / "problems.jsonl"
    data.write_text(json.dumps({"id": "a", "question": PROBLEMS[0].question, "answer": "4"}) + "\n")
    with StubServer(served_mixture(texts_in(PARAGRAPHS))) as server:
        run = {"policy": None, "prm": prm, "servers": Servers(server.url), "progress": False}
        run["options"] = {"num_candidates": 4, "max_new_tokens": 120}
        summary = rerank_problems(str(data), tmp_path / "out", form=PolicyForm("tagged"), **run)
    assert summary["outcomes"]["no_complete_candidate"] == 1
    assert sum(summary["faults"].values()) == 4
