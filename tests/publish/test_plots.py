"""Plots of results: the same bytes every time, and a clear word where matplotlib is missing."""

import importlib

import pytest
from support.result_documents import curves_document, steps_document, truth_document

from mmprm_hf.publish.plots import write_calibration_plot, write_curves_plot, write_profile_plot

DRAWINGS = {
    "curves": (write_curves_plot, curves_document, {}),
    "calibration": (write_calibration_plot, curves_document, {}),
    "calibration of steps": (write_calibration_plot, steps_document, {"of": "steps"}),
    "calibration against truth": (write_calibration_plot, truth_document, {"of": "exact_truth"}),
    "profile": (write_profile_plot, curves_document, {}),
    "profile of steps": (write_profile_plot, steps_document, {"of": "steps"}),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_plots_of_results_repeat_to_the_byte(tmp_path, name):
    pytest.importorskip("matplotlib")
    draw, document, options = DRAWINGS[name]
    first = draw(document(), tmp_path / "a" / "first.svg", **options).read_bytes()
    assert first == draw(document(), tmp_path / "second.svg", **options).read_bytes()
    assert first.startswith(b"<?xml") and b"<dc:date>" not in first


def test_curves_have_names_and_every_size(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = write_curves_plot(curves_document(), tmp_path / "plot.svg").read_text()
    for words in ("PRM best-of-N", "PRM-weighted vote@N", "majority vote@N", "mean pass@1", "oracle pass@N"):
        assert f"<!-- {words} -->" in drawn
    assert all(f"<!-- {size} -->" in drawn for size in (1, 2, 4))


def test_points_that_were_not_measured_are_left_out(tmp_path):
    pytest.importorskip("matplotlib")
    document = curves_document()
    for point in document["curves"]["curves"]["oracle"]:
        point.update(value=None, ci_low=None, ci_high=None)
    drawn = write_curves_plot(document, tmp_path / "plot.svg").read_text()
    assert "<!-- oracle pass@N -->" not in drawn and "<!-- PRM best-of-N -->" in drawn
    for row in document["diagnosis"]["by_step"]:
        row["wrong"] = None
    assert b"nan" not in write_profile_plot(document, tmp_path / "profile.svg").read_bytes().lower()


def test_calibration_says_its_error_and_what_it_counts(tmp_path):
    pytest.importorskip("matplotlib")
    document = curves_document()
    ece, num = document["diagnosis"]["calibration"]["ece"], 24
    drawn = write_calibration_plot(document, tmp_path / "plot.svg").read_text()
    assert f"<!-- expected calibration error {ece:.3f}, {num} solutions -->" in drawn


def test_positions_count_from_one(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = write_profile_plot(steps_document(), tmp_path / "plot.svg", of="steps").read_text()
    assert "<!-- 1 -->" in drawn and "<!-- 2 -->" in drawn


def test_what_is_not_in_the_results_cannot_be_drawn(tmp_path):
    document = steps_document()
    with pytest.raises(ValueError, match="Found no points of best-of-N curves"):
        write_curves_plot(document, tmp_path / "plot.svg")
    with pytest.raises(ValueError, match="Found no calibration in diagnosis"):
        write_calibration_plot(document, tmp_path / "plot.svg")
    with pytest.raises(ValueError, match="Found no profile of scores in diagnosis"):
        write_profile_plot(document, tmp_path / "plot.svg")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"pip install matplotlib"):
        write_curves_plot(curves_document(), tmp_path / "plot.svg")
