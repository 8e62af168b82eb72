"""Templates: escaped where they are pages, strict about names, and part of the installed package."""

import tomllib

import jinja2
import pytest
from support.layout import ROOT

from mmprm_hf.publish.rendering import render_macro, render_sentence


def test_pages_escape_and_sentences_do_not():
    assert "&lt;b&gt; {{ x }}" in render_macro("solution.html", "message", "<b> {{ x }}", True)
    assert render_sentence("{{ share | share }} of {{ name }}", {"share": 0.5, "name": "<b>"}) == "50.0 % of <b>"


def test_a_name_that_is_missing_is_an_error_and_never_blank():
    with pytest.raises(jinja2.UndefinedError, match="'accuracy' is undefined"):
        render_sentence("{{ accuracy | share }}", {})


def test_every_template_is_installed():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["mmprm_hf"]
    package = ROOT / "mmprm_hf"
    installed = {path for pattern in data for path in package.glob(pattern)}
    assert set(package.glob("*/templates/**/*")) <= installed
