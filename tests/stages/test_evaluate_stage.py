"""`mmprm evaluate --candidates`: the table of candidates on disk is that of the run that wrote them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmprm_hf.cli.program import app
from mmprm_hf.demo import run_demo
from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.nano.world import make_problem
from mmprm_hf.stages import evaluate_candidates, evaluate_step_benchmark, format_evaluation


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo(folder, num_problems=6, num_candidates=4, progress=False)


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_table_is_that_of_the_run(demo, tmp_path):
    folder, results = demo
    found = evaluate_candidates(folder / "candidates.jsonl", tmp_path / "r.json", with_diagnosis=True)
    assert found["best_of_n"] == results["best_of_n"]
    assert found["rows"] == {"num_rows": 6, "num_used": 6, "problems": {}}
    assert json.loads((tmp_path / "r.json").read_text()) == found
    assert found["cost"]["answers"]["majority_vote"]["tokens"] == results["cost"]["answers"]["majority_vote"]["tokens"]
    other = evaluate_candidates(folder / "candidates.jsonl", aggregation="last")["best_of_n"]
    assert other["aggregation"] == "last" and other["metrics"]["oracle"] == results["best_of_n"]["metrics"]["oracle"]


def test_what_cannot_be_judged_is_counted(demo, tmp_path):
    rows = read_jsonl(demo[0] / "candidates.jsonl")
    write_jsonl(tmp_path / "c.jsonl", [*rows, {**rows[0], "answer": None}, {**rows[1], "candidates": []}])
    found = evaluate_candidates(tmp_path / "c.jsonl")
    assert found["rows"] == {"num_rows": 8, "num_used": 6, "problems": {"no gold answer": 1, "no candidates": 1}}
    assert "left out: 2 of 8 problems" in format_evaluation(found)
    write_jsonl(tmp_path / "none.jsonl", [{**rows[0], "answer": None}])
    with pytest.raises(ValueError, match=r"no problem with candidates and a gold answer in .* \(1 without\)"):
        evaluate_candidates(tmp_path / "none.jsonl")


def test_by_the_program(demo, tmp_path):
    folder, _ = demo
    result = run("--candidates", folder / "candidates.jsonl", "--diagnose", "-o", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "PRM best-of-4" in result.stdout and "AUROC within problems" in result.stdout
    with_curves = run("--candidates", folder / "candidates.jsonl", "--curves", "-o", tmp_path / "r.json")
    assert "N = 2" in with_curves.stdout and "p (paired sign flips)" in with_curves.stdout
    found = json.loads((tmp_path / "r.json").read_text())
    for name in ("best_of_n", "majority_vote", "oracle"):
        assert found["curves"]["curves"][name][-1]["value"] == pytest.approx(
            found["best_of_n"]["metrics"][name]["value"]
        ), name
    machine = run("--candidates", folder / "candidates.jsonl", "--json", "-o", tmp_path / "r.json")
    assert "diagnosis" not in json.loads(machine.stdout)
    refused = run("--aggregation", "last", "-o", tmp_path / "r.json")
    assert refused.exit_code == 2 and "--aggregation belongs to --candidates" in " ".join(refused.stderr.split())
    nano = run(
        "--num-problems",
        4,
        "--num-train-problems",
        4,
        "--num-candidates",
        4,
        "--diagnose",
        "--curves",
        "-o",
        tmp_path / "n.json",
    )
    assert nano.exit_code == 0 and "AUROC within problems" in nano.stdout and "step scores against" in nano.stdout


# --- Step-level benchmarks ----------------------------------------------------------------------------------------


@pytest.fixture
def process_bench(tmp_path):
    """Nano problems in ProcessBench's form: one right solution and one whose second step is wrong, each."""
    rows = []
    for seed in range(6):
        problem = make_problem("rectangle", seed)
        steps = list(problem.solve())
        wrong = [*steps[:1], steps[1] + "0", *steps[2:]]
        for name, shown, label in (("right", steps, -1), ("wrong", wrong, 1)):
            common = {"id": f"nano-{seed}-{name}", "subset": "nano", "problem": problem.question, "steps": shown}
            rows.append({**common, "label": label, "final_answer_correct": label == -1})
    write_jsonl(tmp_path / "rows.jsonl", rows[:8])
    write_jsonl(tmp_path / "train.jsonl", rows[8:])
    return tmp_path


def test_a_step_benchmark_by_the_program(process_bench):
    data, output = process_bench / "rows.jsonl", process_bench / "r.json"
    result = run("--steps", "processbench", "--data", data, "--threshold", 0.5, "-o", output, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    steps = found["steps"]
    assert found == json.loads(output.read_text()) and steps["num_samples"] == 8 == found["rows"]["num_used"]
    assert steps["subsets"]["nano"]["num_error"] == 4 == steps["subsets"]["nano"]["num_correct"]
    assert (found["benchmark"], steps["tuned_on"], found["prm"]) == ("processbench", "none", "nano PRM (shipped)")
    assert found["settings"] == {"data": "rows.jsonl"}, "no path of this machine"
    chosen = run("--steps", "processbench", "--data", data, "--train-data", process_bench / "train.jsonl", "-o", output)
    assert "tuned on train.jsonl" in chosen.stdout and "  nano " in chosen.stdout, chosen.output


def test_any_scorer_of_solutions_is_a_prm(process_bench):
    class Sceptic:
        def score_solutions(self, problems, solutions):
            return [[(0.0,) * len(steps) for steps in found] for found in solutions]

    found = evaluate_step_benchmark(
        "processbench", str(process_bench / "rows.jsonl"), prm=Sceptic(), threshold=0.5, progress=False
    )
    nano = found["steps"]["subsets"]["nano"]
    assert found["prm"] == "Sceptic" and nano["correct_accuracy"] == 0.0 == nano["error_accuracy"]


def test_wrong_flags_of_a_step_benchmark(process_bench):
    data, output = process_bench / "rows.jsonl", process_bench / "r.json"
    for flags, words in (
        (["--steps", "processbench"], "and --data, its rows, belong together"),
        (["--data", data], "and --data, its rows, belong together"),
        (["--threshold", 0.5], "--threshold and --train-data belong to --steps"),
        (["--steps", "prmbench", "--benchmark", "mm_k12", "--data", data], "give --benchmark or --steps"),
        (["--steps", "prmbench", "--data", data, "--candidates", data], "takes no --candidates"),
        (["--temperature", 0.5], "belong to --benchmark"),
    ):
        result = run(*flags, "-o", output)
        assert result.exit_code == 2 and words in " ".join(result.stderr.split()), flags
    neither = run("--steps", "processbench", "--data", data, "-o", output)
    assert neither.exit_code == 1 and "Give one of them: a threshold that was fixed" in neither.stderr
    write_jsonl(process_bench / "bad.jsonl", [{"id": "a", "problem": "", "steps": [], "label": 0}])
    bad = run("--steps", "processbench", "--data", process_bench / "bad.jsonl", "--threshold", 0.5, "-o", output)
    assert bad.exit_code == 1 and "Found no usable sample" in bad.stderr and not output.exists()
