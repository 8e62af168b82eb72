"""Plots: drawn from the committed results, the same bytes every time, and a clear word where matplotlib is missing."""

import importlib
import json
from pathlib import Path

import pytest

from mmprm_hf.publish.plots import write_strategy_plot
from mmprm_hf.rerank.candidates import STRATEGIES

RESULTS = Path(__file__).parents[2] / "recipes" / "nano" / "results" / "strategies.json"


def test_the_plot_names_every_strategy_and_repeats_to_the_byte(tmp_path):
    pytest.importorskip("matplotlib")
    found = json.loads(RESULTS.read_text())
    assert {(row["strategy"], row["n"]) for row in found["rows"]} == {
        (strategy, n) for strategy in (*STRATEGIES, "oracle") for n in (2, 4, 8, 16)
    }
    first = write_strategy_plot(RESULTS, tmp_path / "a" / "first.svg").read_bytes()
    assert first == write_strategy_plot(RESULTS, tmp_path / "second.svg").read_bytes()
    for strategy in STRATEGIES:
        assert f"<!-- {strategy} -->".encode() in first


def test_another_table_gives_another_plot(tmp_path):
    pytest.importorskip("matplotlib")
    found = json.loads(RESULTS.read_text())
    found["rows"][0]["ci_low"] -= 0.1
    (tmp_path / "changed.json").write_text(json.dumps(found))
    changed = write_strategy_plot(tmp_path / "changed.json", tmp_path / "changed.svg").read_bytes()
    assert changed != write_strategy_plot(RESULTS, tmp_path / "plain.svg").read_bytes()


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r'pip install "mmprm_hf\[plots\]"'):
        write_strategy_plot(RESULTS, tmp_path / "plot.svg")
