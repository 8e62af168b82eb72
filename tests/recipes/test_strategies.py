"""The plot of strategies: drawn from the committed table, the same bytes every time."""

import importlib.util
import json

import pytest
from support.layout import ROOT

from mmprm_hf.rerank.candidates import STRATEGIES

NANO = ROOT / "recipes" / "nano"
RESULTS = NANO / "results" / "strategies.json"


@pytest.fixture(scope="module")
def strategies():
    spec = importlib.util.spec_from_file_location("nano_strategies", NANO / "strategies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plot_names_every_strategy_and_repeats_to_the_byte(tmp_path, strategies):
    pytest.importorskip("matplotlib")
    table = json.loads(RESULTS.read_text())
    assert {(row["strategy"], row["n"]) for row in table["rows"]} == {
        (strategy, n) for strategy in (*STRATEGIES, "oracle") for n in (2, 4, 8, 16)
    }
    first = strategies.write_strategy_plot(RESULTS, tmp_path / "a" / "first.svg").read_bytes()
    assert first == strategies.write_strategy_plot(RESULTS, tmp_path / "second.svg").read_bytes()
    for strategy in STRATEGIES:
        assert f"<!-- {strategy} -->".encode() in first


def test_another_table_gives_another_plot(tmp_path, strategies):
    pytest.importorskip("matplotlib")
    table = json.loads(RESULTS.read_text())
    table["rows"][0]["ci_low"] -= 0.1
    (tmp_path / "changed.json").write_text(json.dumps(table))
    changed = strategies.write_strategy_plot(tmp_path / "changed.json", tmp_path / "changed.svg").read_bytes()
    assert changed != strategies.write_strategy_plot(RESULTS, tmp_path / "plain.svg").read_bytes()
