"""Progress bars: the one way to show them, and the two variables that silence every one."""

import re

import pytest
from support.layout import ROOT

from mmprm_hf.progress import SILENCING_VARIABLES, progress_bar


def test_a_bar_counts_and_iterates(capsys):
    assert list(progress_bar("abc", desc="letters", unit="letter")) == ["a", "b", "c"]
    with progress_bar(total=4, desc="halves", initial=2) as bar:
        bar.update()
    error = capsys.readouterr().err
    assert "letters: 100%" in error and "3/3" in error and "halves:  75%" in error and "3/4" in error
    list(progress_bar("abc", desc="hidden", is_shown=False))
    list(progress_bar("abc", desc="not a terminal", is_shown=None))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", SILENCING_VARIABLES)
def test_a_variable_silences_bars_that_are_asked_for(name, capsys, monkeypatch):
    for value, is_silent in (("1", True), ("true", True), ("0", False), ("False", False), ("", False)):
        monkeypatch.setenv(name, value)
        assert list(progress_bar("ab", desc="rows")) == ["a", "b"]
        assert (capsys.readouterr().err == "") == is_silent, value


def test_no_module_shows_a_bar_in_another_way():
    for path in (ROOT / "mmprm_hf").rglob("*.py"):
        if path != ROOT / "mmprm_hf" / "progress.py":
            assert not re.search(r"^\s*(from|import) tqdm", path.read_text(encoding="utf-8"), re.MULTILINE), path
