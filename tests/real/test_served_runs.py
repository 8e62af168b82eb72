"""Whole runs of the command line on SmolLM2, here and behind vLLM, which dies once. Run with `make test-real`."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from support.layout import ROOT
from support.real_server import mmprm, row_keys, start_mmprm, word_problems

from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.steps import read_step_format

pytestmark = pytest.mark.real

DATA = str(ROOT / "tests" / "real" / "problems.jsonl")
NUM_LABELLED = 6
LABELLING = {"num_responses": 4, "num_rollouts": 2, "max_rollouts": 20, "max_new_tokens": 96, "temperature": 0.7}


def check_answers(output, num_problems, printed):
    """18 of 20 problems have a complete candidate, which reads back in the format that the run found."""
    config = read_json(output / "config.json")
    step_format = read_step_format(config["sampling"]["step_format"])
    rows = read_jsonl(output / "candidates.jsonl")
    assert [row["problem_id"] for row in rows] == [problem.id for problem in word_problems()[:num_problems]]
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes["answered"] >= 0.9 * num_problems, (outcomes, printed[-2000:])
    for row in rows:
        for candidate in row["candidates"]:
            if candidate["complete"]:
                assert candidate["answer"] and len(candidate["step_scores"]) == len(candidate["steps"]) > 0
                assert step_format.render_prefix(candidate["steps"])


@pytest.mark.parametrize("is_served", [False, True], ids=["here", "served"])
def test_nearly_all_word_problems_are_answered_without_a_word_on_formats(
    smollm2, smollm2_prm, tmp_path, is_served, request
):
    policy = str(smollm2)
    flags = ["--prm", str(smollm2_prm), "--num-candidates", "8", "--max-new-tokens", "256", "--batch-size", "20"]
    if is_served:
        server = request.getfixturevalue("text_server")
        policy, flags = server.name, [*flags, "--engine", server.url]
    code, printed = mmprm("rerank", "--data", DATA, "--policy", policy, "-o", str(tmp_path / "out"), *flags)
    assert code == 0, printed
    assert "Step format: " in printed
    check_answers(tmp_path / "out", 20, printed)


def test_a_guided_search_behind_the_server_finds_complete_candidates(text_server, smollm2_prm, tmp_path):
    flags = ["--policy", text_server.name, "--engine", text_server.url, "--prm", str(smollm2_prm)]
    flags += ["--strategy", "beam_search", "--num-candidates", "4", "--max-new-tokens", "192", "--max-steps", "12"]
    output = tmp_path / "out"
    code, printed = mmprm("rerank", "--data", DATA, "--num-problems", "5", "-o", str(output), *flags)
    assert code == 0, printed
    check_answers(output, 5, printed)


def sums(path):
    """Problems that SmolLM2 solves sometimes, so that there are labels."""
    questions = [f"Tom has {n + 2} apples and gets {n + 3} more. How many apples does he have now?" for n in range(6)]
    rows = [{"id": f"sum-{n}", "question": text, "answer": str(2 * n + 5)} for n, text in enumerate(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def labels(server, data, config, output):
    """The arguments of a labelling run."""
    flags = ["--policy", server.name, "--engine", server.url, "--search", "flat_mc", "--config", str(config)]
    flags += ["--num-problems", str(NUM_LABELLED), "--max-in-flight", "2", "--max-undecided", "1"]
    return ["label", "--data", str(data), "-o", str(output), *flags]


def test_a_server_that_is_killed_in_mid_run_costs_nothing(text_server, tmp_path):
    """What was labelled before stays byte for byte; the rest is as if nothing had happened."""
    config, data = tmp_path / "label.json", tmp_path / "sums.jsonl"
    config.write_text(json.dumps(LABELLING))
    sums(data)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    run = start_mmprm(*labels(text_server, data, config, broken))
    while len(row_keys(broken / "trees.jsonl", "problem_id")) < 2 and run.poll() is None:
        time.sleep(0.1)
    text_server.kill()
    before = (broken / "trees.jsonl").read_bytes()
    assert 2 <= before.count(b"\n") < NUM_LABELLED
    text_server.start()
    # The run waits for the server for some two minutes; where the start takes longer, it ends and is started again.
    printed, _ = run.communicate()
    code = run.returncode
    if code != 0:
        assert "Traceback" not in printed and "start again" in printed, printed
        code, printed = mmprm(*labels(text_server, data, config, broken))
    assert code == 0, printed
    code, printed = mmprm(*labels(text_server, data, config, whole))
    assert code == 0, printed
    assert (broken / "trees.jsonl").read_bytes().startswith(before)
    trees = [{row["problem_id"]: row for row in read_jsonl(folder / "trees.jsonl")} for folder in (broken, whole)]
    ids = row_keys(broken / "trees.jsonl", "problem_id")
    assert len(ids) == len(set(ids)) and trees[0].keys() == trees[1].keys()
    assert read_json(broken / "run.json")["engine"] == read_json(whole / "run.json")["engine"]
    assert trees[0] == trees[1]
    summaries = [read_json(folder / "summary.json") for folder in (broken, whole)]
    for key in ("num_trees", "num_failed", "num_rollouts", "num_incomplete"):
        assert summaries[0][key] == summaries[1][key], key
