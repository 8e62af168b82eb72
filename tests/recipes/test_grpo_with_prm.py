"""recipes/grpo_with_prm: the README has the tables of the results; the scripts run, and resume an unfinished run."""

import json
import runpy
import sys

import pytest
import yaml
from support.layout import ROOT

from mmprm_hf import nano

RECIPE = ROOT / "recipes" / "grpo_with_prm"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script of the recipe in this process; returns what it printed."""

    def run_script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(RECIPE / name), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def test_the_readme_has_the_tables_of_the_results(run):
    readme = (RECIPE / "README.md").read_text(encoding="utf-8")
    for table in run("report.py").strip().split("\n\n"):
        assert table in readme
    assert run("hacks.py", "--table").strip() in readme


def test_the_runs_have_one_budget_and_three_seeds():
    results = json.loads((RECIPE / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {"before", *(f"{arm}/{seed}" for arm in ("answer", "prm_and_answer") for seed in range(3))}
    assert {(row["num_problems"], row["num_samples"]) for row in results.values()} == {(500, 8)}
    trained = {name: row["training"] for name, row in results.items() if name != "before"}
    assert all(f"{row['arm']}/{row['seed']}" == name for name, row in trained.items())
    assert len({json.dumps(row["options"]) for row in trained.values()}) == 1
    assert len({row["log"][-1]["step"] for row in trained.values()}) == 1


@pytest.mark.trainings
def test_a_run_is_trained_resumed_and_evaluated(run, tmp_path, monkeypatch):
    options = yaml.safe_load((RECIPE / "nano.yaml").read_text(encoding="utf-8"))
    options |= {"per_device_train_batch_size": 4, "num_generations": 2, "logging_steps": 1, "save_steps": 1}
    config = tmp_path / "small.yaml"
    for steps in (1, 2):  # the second run finds the first one's checkpoint
        config.write_text(yaml.safe_dump(options | {"max_steps": steps, "num_problems": 4}), encoding="utf-8")
        run("train.py", "--arm", "prm_and_answer", "--seed", 1, "--output", tmp_path / "run", "--config", config)
    log = json.loads((tmp_path / "run" / "log.json").read_text(encoding="utf-8"))
    assert (log["arm"], log["seed"]) == ("prm_and_answer", 1)
    assert [row["step"] for row in log["log"]] == [1, 2], "the second run resumed the first one"
    for row in log["log"]:
        expected = 0.5 * row["rewards/process_reward/mean"] + row["rewards/answer_reward/mean"]
        assert row["reward"] == pytest.approx(expected, abs=1e-5)
    few = nano.nano_problems("test", 3)
    monkeypatch.setattr(nano, "nano_problems", lambda *_: few)
    results = tmp_path / "results.json"
    run("evaluate.py", "--policy", tmp_path / "run", "--name", "prm_and_answer/1", "--results", results)
    (row,) = json.loads(results.read_text(encoding="utf-8")).values()
    assert row["num_problems"] == 3 and len(row["num_right"]) == 3 and row["training"] == log
    assert row["pass_at_1"] == pytest.approx(sum(int(digit) for digit in row["num_right"]) / (3 * 8))
