"""The five configurations are those of the five benchmarks, and the program takes them."""

from __future__ import annotations

import yaml
from support.layout import ROOT
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli.program import app
from mmprm_hf.evaluation import READERS

RECIPE = ROOT / "recipes" / "evaluation"
NAMES = sorted(path.stem for path in RECIPE.glob("*.yaml"))


def test_one_for_each_benchmark():
    assert sorted(set(READERS) - {"own"}) == NAMES
    assert all(name in (RECIPE / "README.md").read_text() for name in NAMES)


def test_the_program_takes_each(tmp_path, monkeypatch):
    calls = []

    def evaluate_benchmark(*arguments, **options):
        calls.append((arguments, options))
        raise ValueError("stop here")

    monkeypatch.setattr(stages, "evaluate_benchmark", evaluate_benchmark)
    for name in NAMES:
        arguments = ["--config", RECIPE / f"{name}.yaml", "--prm", "you/prm", "-o", tmp_path / "results.json"]
        result = CliRunner().invoke(app, ["evaluate", "answers", *map(str, arguments)])
        assert "stop here" in result.stderr, result.output
        (data, output), options = calls.pop()
        recipe = yaml.safe_load((RECIPE / f"{name}.yaml").read_text())
        assert data == stages.BenchmarkData(name, recipe["data"], recipe["split"], recipe.get("subset"))
        assert (output, options["prm"]) == (tmp_path / "results.json", "you/prm")
        assert options["options"] == {"num_candidates": 16, "seed": 0, "max_new_tokens": 2048}
