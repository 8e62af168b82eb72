"""Pairs that were written without a look at the rules: nothing wrong in the first set is called right again."""

import pytest
from support.layout import ROOT, import_recipe

from mmprm_hf.files import read_json


@pytest.mark.results
def test_the_committed_counts_are_found_again_and_nothing_wrong_is_called_right(tmp_path, monkeypatch):
    recipe = import_recipe("answers", "written")
    monkeypatch.setattr("sys.argv", ["written.py", "--output", str(tmp_path / "written.json")])
    recipe.main()
    found = read_json(tmp_path / "written.json")
    assert found == read_json(ROOT / "recipes/answers/results/written.json")
    assert sum(group["false_correct"] for group in found["groups"] if group["set"] == 1) == 0
