"""The demo's files and table, the shipped checkpoints, and the CLI as a new user meets it."""

import json

import pytest
from typer.testing import CliRunner

from mmprm_hf.cli import app
from mmprm_hf.engines import SamplingConfig
from mmprm_hf.files import read_jsonl
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import nano_problems
from mmprm_hf.rerank import generate_candidates
from mmprm_hf.stages import demo_stage as demo
from mmprm_hf.stages import format_rerank
from mmprm_hf.steps import CUT, NO_ANSWER

METRICS = ["greedy", "random_distinct", "mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle"]


@pytest.fixture(scope="module")
def models():
    return demo.load_models()


@pytest.fixture(scope="module")
def run(models, tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    return output, demo.run_demo(output, num_problems=6, num_candidates=4, models=models, progress=False)


def test_results_json_is_the_promised_twin_of_the_table(run):
    output, results = run
    written = json.loads((output / "results.json").read_text())
    assert written == results
    table = written["best_of_n"]
    assert (table["num_problems"], table["num_candidates"]) == (6, 4)
    assert list(table["metrics"]) == METRICS
    for metric in table["metrics"].values():
        assert 0 <= metric["ci_low"] <= metric["value"] <= metric["ci_high"] <= 1
    assert written["cost"]["seconds"]["generate"] > 0 and written["cost"]["seconds"]["score"] > 0


def test_every_candidate_is_in_the_file_with_scores_and_verdict(run):
    output, _ = run
    rows = [json.loads(line) for line in (output / "candidates.jsonl").read_text().splitlines()]
    assert [row["problem_id"] for row in rows] == [problem.id for problem in nano_problems("test", 6)]
    for row in rows:
        assert len(row["candidates"]) == 4 and (output / row["figures"][0]).exists()
        for candidate in row["candidates"]:
            assert candidate["verdict"] in ("correct", "incorrect")
            if candidate["complete"]:
                assert len(candidate["step_scores"]) == len(candidate["steps"])


def test_candidates_follow_from_seed_and_temperature_and_the_best_scored_one_is_chosen(run, models):
    rows = read_jsonl(run[0] / "candidates.jsonl")
    targets = [problem.to_problem() for problem in nano_problems("test", 6)]
    for temperature, num_candidates, texts in (
        (1.0, 4, [[candidate["text"] for candidate in row["candidates"]] for row in rows]),
        (0.0, 1, [[row["greedy"]["text"]] for row in rows]),
    ):
        engine = models.engine(SamplingConfig(temperature=temperature, max_new_tokens=128))
        drawn = generate_candidates(engine, targets, num_candidates, seed=0)
        assert [[candidate.text for candidate in candidates] for candidates in drawn] == texts
    for row in rows:
        scores = [-1.0 if candidate["score"] is None else candidate["score"] for candidate in row["candidates"]]
        assert row["chosen"] is None or scores[row["chosen"]] == max(scores)


def test_the_page_stands_alone(run):
    page = (run[0] / "index.html").read_text()
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_shipped_checkpoints_are_small_safetensors():
    for path in (POLICY_PATH, PRM_PATH):
        assert (path / "model.safetensors").stat().st_size <= 10_000_000
        assert not list(path.glob("*.bin")) and not list(path.glob("*.pt"))
        assert (path / "made_by.json").exists()


def test_shipped_prm_verifies(models):
    """20 problems, 6 candidates: AUROC of steps here 0.97, of prefixes 1.00; the policy as a PRM has 0.88 and 0.91."""
    results = demo.evaluate_nano(num_problems=20, num_train_problems=8, num_candidates=6, models=models, progress=False)
    assert results["exact_truth"]["step_level"]["auroc"] > 0.94
    assert results["exact_truth"]["prefix_level"]["auroc"] > 0.96
    metrics = results["best_of_n"]["metrics"]
    assert metrics["best_of_n"]["value"] > metrics["majority_vote"]["value"]


def test_a_policy_is_no_prm():
    with pytest.raises(ValueError, match="is not a PRM"):
        demo.load_models(prm=POLICY_PATH)


def test_candidates_without_a_score_are_printed_last():
    """Under sum_logprob scores are negative and 0.0 is the best one."""
    scores = [None, -5.0, 0.0]
    candidates = [
        {"steps": [f"s{i}"], "step_scores": None, "answer": str(i), "complete": True, "score": score}
        for i, score in enumerate(scores)
    ]
    lines = format_rerank({"candidates": candidates, "chosen": 2, "answer": "2", "seconds": {}}).splitlines()
    assert [line[-1] for line in lines if "answer" in line] == ["2", "1", "0"]


def test_incomplete_candidates_are_printed_with_their_faults():
    incomplete = {"steps": [], "step_scores": None, "answer": None, "complete": False, "score": None}
    candidates = [{**incomplete, "text": str(i), "fault": fault} for i, fault in enumerate([CUT, NO_ANSWER, CUT])]
    lines = format_rerank({"candidates": candidates, "chosen": None, "answer": None, "seconds": {}}).splitlines()
    assert lines[0] == "   no score  x1  answer none (cut at the token limit)"
    assert lines[-1] == "winner: none: no candidate is complete (2 cut at the token limit, 1 no final answer)"


def test_card_is_written_beside_its_facts(tmp_path):
    (tmp_path / "facts.json").write_text('{"kind": "dataset", "name": "x"}')
    result = CliRunner().invoke(app, ["card", str(tmp_path / "facts.json")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "README.md").exists()


def test_too_many_problems_are_refused(tmp_path, models):
    with pytest.raises(ValueError, match="num_problems=501"):
        demo.run_demo(tmp_path, num_problems=501, models=models)
    with pytest.raises(ValueError, match="num_problems=0"):
        demo.evaluate_nano(num_problems=0, models=models)


def test_rerank_prints_the_winner_and_warns_of_foreign_figures(tmp_path, figures):
    path = tmp_path / "figure.png"
    figures[0].resize((300, 200)).save(path)
    options = ["--image", str(path), "--question", "Which kite has the longest string?", "--num-candidates", "3"]
    result = CliRunner().invoke(app, ["rerank", *options])
    assert result.exit_code == 0, result.output
    assert "winner:" in result.output and "answers and scores mean nothing" in result.output


def test_rerank_as_json_knows_nano_figures(tmp_path):
    problem = nano_problems("test", 1)[0]
    path = tmp_path / "figure.png"
    problem.figure().save(path)
    options = ["--image", str(path), "--question", problem.question, "--num-candidates", "3", "--json"]
    result = CliRunner().invoke(app, ["rerank", *options])
    output = json.loads(result.stdout)
    assert output["note"] is None and len(output["candidates"]) == 3
