"""`mmprm evaluate candidates | steps | nano`: tables of candidates on disk, and of step-level benchmarks."""

from __future__ import annotations

import json
import zipfile

import pytest
from typer.testing import CliRunner

from mmprm_hf.cli.program import app
from mmprm_hf.files import read_jsonl, write_json, write_jsonl
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rows import read_results
from mmprm_hf.stages import evaluate_candidates, evaluate_step_benchmark
from mmprm_hf.stages.demo_stage import run_demo
from mmprm_hf.stages.evaluate_stage import short_reason


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


def test_every_section_chooses_by_the_aggregation_that_is_asked_for(tmp_path):
    """By min and by last the wrong solution is best, by mean the right one."""
    base = {"complete": True, "text": "", "score": None, "num_tokens": 1}
    candidates = [
        {**base, "steps": ["a", "b"], "answer": "1", "step_scores": [0.95, 0.3], "verdict": "correct"},
        {**base, "steps": ["c", "d"], "answer": "2", "step_scores": [0.5, 0.5], "verdict": "incorrect"},
    ]
    rows = [
        {"problem_id": f"p{i}", "question": "?", "subject": f"s{i % 2}", "answer": "1", "candidates": candidates}
        for i in range(4)
    ]
    path = tmp_path / "candidates.jsonl"
    write_jsonl(path, rows)
    for aggregation, value in ((None, 0.0), ("last", 0.0), ("mean", 1.0)):
        chosen = [] if aggregation is None else ["--aggregation", aggregation]  # without a flag: min
        done = run("candidates", path, "--curves", "--diagnose", "-o", tmp_path / "r.json", *chosen)
        assert done.exit_code == 0, done.output
        results = read_results(tmp_path / "r.json")
        assert results["settings"]["aggregation"] == results["best_of_n"]["aggregation"] == (aggregation or "min")
        assert results["best_of_n"]["metrics"]["best_of_n"]["value"] == value
        assert results["curves"]["curves"]["best_of_n"][-1]["value"] == value
        subjects = results["subjects"]["subjects"]
        assert [subjects[name]["metrics"]["best_of_n"] for name in ("s0", "s1")] == [value, value]
        assert results["diagnosis"]["headroom"]["best_of_n_on_mixed"] == value


def test_what_cannot_be_judged_is_counted(demo, tmp_path):
    rows = read_jsonl(demo[0] / "candidates.jsonl")
    write_jsonl(tmp_path / "c.jsonl", [*rows, {**rows[0], "answer": None}, {**rows[1], "candidates": []}])
    found = evaluate_candidates(tmp_path / "c.jsonl")
    assert found["rows"] == {"num_rows": 8, "num_used": 6, "problems": {"no gold answer": 1, "no candidates": 1}}
    write_jsonl(tmp_path / "none.jsonl", [{**rows[0], "answer": None}])
    with pytest.raises(
        ValueError, match=r"no problem with candidates and a gold answer in .*: \{'no gold answer': 1\}"
    ):
        evaluate_candidates(tmp_path / "none.jsonl")


def test_by_the_program(demo, tmp_path):
    folder, _ = demo
    result = run("candidates", folder / "candidates.jsonl", "--diagnose", "-o", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "PRM best-of-4" in result.stdout and "Headroom" in result.stdout
    with_curves = run("candidates", folder / "candidates.jsonl", "--curves", "-o", tmp_path / "r.json")
    assert "N = 2" in with_curves.stdout and "p value of a paired sign-flip test" in with_curves.stdout
    found = json.loads((tmp_path / "r.json").read_text())
    for name in ("best_of_n", "majority_vote", "oracle"):
        assert found["curves"]["curves"][name][-1]["value"] == pytest.approx(
            found["best_of_n"]["metrics"][name]["value"]
        ), name
    machine = run("candidates", folder / "candidates.jsonl", "--json", "-o", tmp_path / "r.json")
    assert "diagnosis" not in json.loads(machine.stdout)


def test_the_nano_world_by_the_program(tmp_path):
    sizes = ["--num-problems", 4, "--num-train-problems", 4, "--num-candidates", 4]
    nano = run("nano", *sizes, "--diagnose", "--curves", "-o", tmp_path / "n.json")
    assert nano.exit_code == 0, nano.output
    assert "Headroom" in nano.stdout and "Each step by itself" in nano.stdout
    assert {"curves", "diagnosis", "exact_truth"} < set(read_results(tmp_path / "n.json"))


def test_reasons_hold_no_paths_and_no_texts():
    for error, reason in (
        ("Image '/home/you/a b.png' does not exist. Give a path.", "Image … does not exist"),
        ('Found the control token "<x>" in question: "secret"', "Found the control token … in question: …"),
        ("Image /data/x/1.png cannot be read\nTraceback", "Image … cannot be read"),
        ("question is empty", "question is empty"),
    ):
        assert short_reason(error) == reason


def test_reasons_are_counted_together_and_paths_of_this_machine_left_out(demo, tmp_path):
    rows = read_jsonl(demo[0] / "candidates.jsonl")
    bad = [{**rows[0], "candidates": [], "error": f"Image '/x/y/{n}.png' does not exist."} for n in range(20)]
    write_jsonl(tmp_path / "candidates.jsonl", [*rows, *bad])
    config = {"data": "/home/you/data", "policy": "/home/you/policy", "prm": "you/prm", "prm_content": "abc", "seed": 1}
    write_json(tmp_path / "config.json", config)
    found = evaluate_candidates(tmp_path / "candidates.jsonl")
    assert found["rows"]["problems"]["Image … does not exist"] == 20
    assert (found["policy"], found["prm"]) == ("policy", "you/prm")
    assert found["settings"] == {"data": "data", "seed": 1, "candidates": "candidates.jsonl", "aggregation": "min"}


def test_candidates_without_any_scores_have_no_figures_of_a_prm(demo, tmp_path):
    rows = read_jsonl(demo[0] / "candidates.jsonl")
    for row in rows:
        for candidate in row["candidates"]:
            candidate["step_scores"] = None
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    found = evaluate_candidates(tmp_path / "candidates.jsonl", with_diagnosis=True, with_curves=True)
    for name in ("best_of_n", "weighted_vote"):
        assert found["best_of_n"]["metrics"][name]["value"] is None
        assert found["curves"]["curves"][name][-1]["value"] is None
    assert found["best_of_n"]["metrics"]["majority_vote"] == demo[1]["best_of_n"]["metrics"]["majority_vote"]
    assert found["diagnosis"]["headroom"]["best_of_n_on_mixed"] is None
    assert found["diagnosis"]["headroom"]["majority_vote_on_mixed"] is not None
    assert found["best_of_n"]["num_unscored"] > 0


def test_candidates_that_are_not_judged_are_named(demo, tmp_path):
    rows = read_jsonl(demo[0] / "candidates.jsonl")
    for changed, words in (({"verdict": None}, "has no verdict"), ({"verdict": "right"}, "has verdict='right'")):
        broken = {**rows[1], "candidates": [{**rows[1]["candidates"][0], **changed}, *rows[1]["candidates"][1:]]}
        write_jsonl(tmp_path / "candidates.jsonl", [rows[0], broken])
        with pytest.raises(ValueError, match=f"Candidate 0 of problem '{rows[1]['problem_id']}'.*{words}"):
            evaluate_candidates(tmp_path / "candidates.jsonl")


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
    arguments = ["steps", "--benchmark", "processbench", "--data", data, "-o", output]
    result = run(*arguments, "--threshold", 0.5, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    steps = found["steps"]
    assert found == json.loads(output.read_text()) and steps["num_samples"] == 8 == found["rows"]["num_used"]
    assert steps["subsets"]["nano"]["num_error"] == 4 == steps["subsets"]["nano"]["num_correct"]
    assert (found["benchmark"], steps["tuned_on"], found["prm"]) == (
        "processbench",
        "not reported",
        "nano PRM (shipped)",
    )
    assert found["settings"] == {"data": "rows.jsonl"}, "no path of this machine"
    named = run(*arguments, "--threshold", 0.5, "--tuned-on", "GSM8K's train split", "--num-samples", 3)
    assert "tuned on GSM8K's train split" in named.stdout
    assert "Rows: 3 of 8 used, 5 more usable ones were not asked for" in named.stdout
    rows = read_jsonl(process_bench / "train.jsonl")
    write_jsonl(process_bench / "train.jsonl", [*rows, {"id": "bad", "problem": "?", "steps": [], "label": 0}])
    chosen = run(*arguments, "--train-data", process_bench / "train.jsonl")
    assert "tuned on train.jsonl" in chosen.stdout and "nano " in chosen.stdout, chosen.output
    assert "Train rows: 4 of 5 used\n  1 x no_steps" in chosen.stdout
    assert json.loads(output.read_text())["settings"]["train rows"]["problems"] == {"no_steps": 1}


def test_the_threshold_is_chosen_on_the_train_data_alone(tmp_path):
    class ShiftedScorer:
        """Right above wrong everywhere; all scores of the evaluated samples lie below those of the train samples."""

        def score_solutions(self, problems, solutions):
            return [
                [tuple({"right": 0.9, "wrong": 0.6}[step] - 0.5 * (problem.question == "evaluated") for step in steps)]
                for problem, (steps,) in zip(problems, solutions, strict=True)
            ]

    for question in ("evaluated", "train"):
        common = {"subset": "s", "problem": question, "final_answer_correct": True}
        rows = [
            {**common, "id": "right", "steps": ["right", "right"], "label": -1},
            {**common, "id": "wrong", "steps": ["right", "wrong"], "label": 1},
        ]
        write_jsonl(tmp_path / f"{question}.jsonl", rows)
    files = [str(tmp_path / name) for name in ("evaluated.jsonl", "train.jsonl")]
    steps = evaluate_step_benchmark("processbench", files[0], prm=ShiftedScorer(), train_data=files[1])["steps"]
    assert 0.6 < steps["threshold"] <= 0.9
    assert steps["subsets"]["s"]["correct_accuracy"] == 0.0  # no evaluated step reaches the threshold


def test_visual_process_bench_by_the_program(tmp_path):
    """Rows as published, figures in an archive beside them; one row without its figure."""
    rows = []
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for seed in range(4):
            problem = make_problem("rectangle", seed)
            problem.figure().save(tmp_path / "figure.png")
            archive.write(tmp_path / "figure.png", f"images/{seed}.png")
            steps = list(problem.solve())
            wrong = [steps[0] + "0", *steps[1:]]
            for shown, first in ((steps, 1), (wrong, -1)):
                response = {"steps": shown, "process_correctness": [first, *[1] * (len(shown) - 2), 0]}
                shared = {"question": problem.question, "answer": problem.answer, "data_source": f"S{seed % 2}"}
                rows.append({"image": [f"images/{seed}.png"], "response": response, **shared})
    write_jsonl(tmp_path / "test.jsonl", [*rows, {**rows[0], "image": ["images/gone.png"]}])
    output = tmp_path / "r.json"
    arguments = ["--benchmark", "visualprocessbench", "--data", tmp_path, "--threshold", 0.5, "-o", output]
    result = run("steps", *arguments)
    assert result.exit_code == 0, result.output
    assert "Rows: 8 of 9 used\n  1 x missing_image" in result.stdout
    steps = json.loads(output.read_text())["steps"]
    assert steps["num_neutral"] == 8 and steps["num_wrong"] == 4 and set(steps["sources"]) == {"S0", "S1"}
    assert steps["macro_f1"] > 0.55, "calling every step right gives 0.45"


def test_any_scorer_of_solutions_is_a_prm(process_bench):
    class Sceptic:
        def score_solutions(self, problems, solutions):
            return [[(0.0,) * len(steps) for steps in found] for found in solutions]

    found = evaluate_step_benchmark(
        "processbench", str(process_bench / "rows.jsonl"), prm=Sceptic(), threshold=0.5, progress=False
    )
    nano = found["steps"]["subsets"]["nano"]
    assert found["prm"] == "Sceptic" and nano["correct_accuracy"] == 0.0 == nano["error_accuracy"]


def test_a_step_benchmark_needs_one_threshold_and_usable_rows(process_bench):
    data, output = process_bench / "rows.jsonl", process_bench / "r.json"
    write_jsonl(process_bench / "bad.jsonl", [{"id": "a", "problem": "", "steps": [], "label": 0}])
    for flags, words in (
        ([], "Give one of the two: --threshold (one that was fixed elsewhere) or --train-data"),
        (["--threshold", 7], "Step scores lie in [0, 1]"),
        (["--train-data", data], "is what is evaluated. Choose the threshold on rows of other problems"),
        (["--threshold", 0.5, "--data", process_bench / "bad.jsonl"], "Found no usable sample"),
    ):
        result = run("steps", "--benchmark", "processbench", "--data", data, "-o", output, *flags)
        assert result.exit_code == 1 and words in " ".join(result.stderr.split()), flags
    assert not output.exists()
