"""Sections of a report beyond the problems: costs, step benchmarks, curves, reasons, truth, plots, several runs."""

import base64
import copy
import importlib
import json

import pytest
from support.result_documents import Outline, best_of_n_document, curves_document, steps_document, truth_document

from mmprm_hf.publish.reports import write_report

ATTACK = "<script>alert('1')</script>\"><b onclick=x> {{ 7 * 7 }}"


@pytest.fixture
def write(write_with_plots, monkeypatch):
    """Writes documents and the page on them without plots, which take long; returns the page's path."""
    no_matplotlib(monkeypatch)
    return write_with_plots


@pytest.fixture
def write_with_plots(tmp_path):
    """Writes documents and the page on them; returns the page's path."""

    def make(*documents, name="page.html"):
        paths = []
        for index, document in enumerate(documents):
            paths.append(tmp_path / str(index) / "results.json")
            paths[-1].parent.mkdir(exist_ok=True)
            paths[-1].write_text(json.dumps(document), encoding="utf-8")
        return write_report(paths[0] if len(paths) == 1 else paths, tmp_path / "out" / name)

    return make


def outline_of(path):
    return Outline(path.read_text(encoding="utf-8"))


def no_matplotlib(monkeypatch):
    found = importlib.import_module

    def absent(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return found(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)


def test_the_table_says_what_an_answer_costs(write):
    text = outline_of(write(best_of_n_document())).text
    assert "Tokens per answer Seconds per answer" in text
    assert "95 % interval 40.0 to 62.5 1,234 0.0457 PRM-weighted vote@3" in text
    assert "temperature 0 50.0 % 95 % interval 40.0 to 62.5 41.2 not measured" in text
    assert "a perfect selector: any candidate is right 50.0 % 95 % interval 40.0 to 62.5 – –" in text


def test_without_costs_there_are_no_columns_of_them(write):
    outline = outline_of(write(best_of_n_document(cost=None)))
    assert "per answer" not in outline.text and ("class", "cost") not in outline.attributes
    assert "Seconds generating" not in outline.text


def test_rows_with_a_fault_and_settings_are_shown(write):
    rows = {"num_rows": 9, "num_used": 6, "problems": {"no gold answer": 2, "figure is broken": 1}}
    text = outline_of(write(best_of_n_document(rows=rows, settings={"seed": 0, "max_tokens": 77}))).text
    assert "Rows of the data 6 of 9 used" in text
    assert "Rows with a fault, by what it is: 2 × no gold answer 1 × figure is broken" in text
    assert "Seed 0" in text and "Max tokens 77" in text


@pytest.mark.parametrize(
    ("benchmark", "title", "rows"),
    [
        ("processbench", "average F1", ["Mean of subsets", "gsm8k", "math"]),
        ("visualprocessbench", "macro-F1", ["All", "Mean of sources", "MMMU", "MathVision"]),
        ("prmbench", "PRMScore", ["All", "Mean of categories", "circular"]),
    ],
)
def test_a_page_on_a_step_benchmark(write, benchmark, title, rows):
    document = steps_document(benchmark)
    text = outline_of(write(document)).text
    assert f"Step scores on {benchmark} The {title} of the PRM's step scores is" in text
    assert "over 8 solutions, 1 of them not scored" in text
    assert "8 solutions, of which 1 could not be shown to the PRM and have no scores." in text
    assert "below 0.450; the threshold was tuned on its train split." in text
    assert "Rows with a fault, by what it is: 2 × a label too many" in text
    table = text[text.index("threshold was tuned") : text.index("About this run")]
    assert [table.index(f" {row} ") for row in rows] == sorted(table.index(f" {row} ") for row in rows)
    assert ("Of the steps of right controls" in text) == (benchmark == "prmbench")
    assert "Problems, candidate by candidate" not in text and "Policy" not in text


def test_figures_of_a_step_benchmark_are_those_of_the_document(write):
    document = steps_document("visualprocessbench")
    text = outline_of(write(document)).text
    for name, figures in {"All": document["steps"], **document["steps"]["sources"]}.items():
        shown = " ".join(f"{figures[key]:.3f}" for key in ("macro_f1", "f1_right", "f1_wrong"))
        counts = " ".join(str(figures[f"num_{key}"]) for key in ("right", "wrong", "neutral", "unscored"))
        assert f"{name} {shown} {counts}" in text


def test_a_threshold_fixed_beforehand_is_called_so(write):
    document = steps_document()
    document["steps"]["tuned_on"] = "none"
    assert "the threshold was fixed beforehand." in outline_of(write(document)).text


def test_every_smaller_n_against_majority_vote(write):
    document = curves_document()
    point = document["curves"]["against_majority_vote"]["best_of_n"][1]
    point.update(difference=-0.125, ci_low=-0.25, ci_high=0.0625, p_value=0.0301)
    document["curves"]["against_majority_vote"]["best_of_n"][2]["p_value"] = 0.0001
    document["curves"]["sizes"][2]["is_exact"] = False
    text = outline_of(write(document)).text
    assert "PRM best-of-N minus majority vote PRM-weighted vote@N minus majority vote" in text
    assert "2 -12.5 points -25.0 to +6.2, p = 0.030" in text
    assert "p < 0.001" in text
    assert "At N = 4 votes are means over drawn subsets" in text


def test_the_diagnosis_is_explained_in_sentences(write):
    document = curves_document()
    document["diagnosis"]["ranking"] = {"within": 0.4321, "pooled": None, "num_problems_within": 3}
    text = outline_of(write(document)).text
    found = document["diagnosis"]
    assert (
        f"the choice matters on {100 * found['headroom']['mixed']:.1f} % ({found['headroom']['num_mixed']} problems)"
        in text
    )
    assert "0.432 within problems, not measured pooled over all" in text
    assert f"with the score {found['length']['score']:.3f}" in text
    assert f"Expected calibration error of the score: {found['calibration']['ece']:.3f}." in text
    for heading in ("Headroom", "Ranking", "Saturation", "Length", "Diversity", "Calibration"):
        assert f" {heading} " in text


def test_a_diagnosis_without_scores_still_makes_a_page(write):
    document = curves_document()
    document["diagnosis"].update(calibration=None, by_step=[], by_num_steps=[])
    text = outline_of(write(document)).text
    assert "Expected calibration error" not in text and "AUROC of a candidate's score" in text
    assert "Scores by position and length" not in text and "Of all with a score near 0.8" not in text


def test_false_positives_are_counted(write):
    document = truth_document()
    text = outline_of(write(document)).text
    assert "2 of 3 distinct solutions with a right answer have a wrong step (66.7 %)" in text
    assert "Of the 4 right answers that the PRM chose 25.0 % have one" in text
    assert "drawn at random on the same problems 37.5 %" in text
    assert "flags 50.0 % (lowest step score below 0.500), of the sound ones 0.0 %" in text
    assert "cannot read a step: 5." in text
    level = document["exact_truth"]["step_level"]
    shown = [f"{level[key]:.3f}" for key in ("auroc", "macro_f1", "accuracy", "threshold")]
    assert f"Each step by itself {' '.join(shown)} 6 3" in text


def test_plots_are_embedded_described_and_written_beside_the_page(write_with_plots):
    pytest.importorskip("matplotlib")
    path = write_with_plots(curves_document())
    names = ["page_calibration.svg", "page_curves.svg", "page_profile.svg"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["page.html", *names]
    outline = outline_of(path)
    images = [value for key, value in outline.attributes if key == "src"]
    embedded = {base64.b64decode(image.removeprefix("data:image/svg+xml;base64,")) for image in images}
    assert embedded == {(path.parent / name).read_bytes() for name in names}
    described = [value for key, value in outline.attributes if key == "alt"]
    assert len(described) == 3 and all(len(words) > 60 for words in described)
    assert any("PRM best-of-N" in words for words in described)


def test_without_matplotlib_the_page_says_how_to_get_plots(write):
    path = write(curves_document())
    outline = outline_of(path)
    assert outline.text.count("plots need pip install matplotlib") == 3
    assert "img" not in outline.tags and [file.name for file in path.parent.iterdir()] == ["page.html"]
    assert "PRM best-of-N minus majority vote" in outline.text


def test_the_same_results_give_the_same_bytes(write):
    documents = best_of_n_document(), curves_document(), truth_document(), steps_document()
    first = write(*documents).read_bytes()
    assert write(*copy.deepcopy(documents)).read_bytes() == first
    assert write(*documents[::-1]).read_bytes() != first


def test_several_results_stand_side_by_side(write):
    path = write(
        best_of_n_document(policy="small", settings={"seed": 1}),
        best_of_n_document(policy="large", settings={"seed": 2}),
        steps_document(),
        curves_document(),
    )
    text = outline_of(path).text
    start = text[: text.index("Whiskers:")]
    figures = "3 2 50.0 % 40.0 to 62.5 50.0 % 40.0 to 62.5 50.0 % 40.0 to 62.5 60.0 % 40.0 to 62.5 50.0 % 40.0 to 62.5"
    assert f"tiny · policy small {figures} +10.0 points" in start
    assert f"tiny · policy large {figures} +10.0 points" in start
    assert "processbench average F1 " in start and "0.450 its train split 8 1" in start
    assert "Settings of tiny · policy small: policy small, seed 1." in start
    assert "No best-of-N and no step-level figures: tiny · policy not named." in start
    assert text.count("About this run") == 4 and "candidate by candidate" not in text


def test_plots_of_several_results_do_not_overwrite_each_other(write_with_plots):
    pytest.importorskip("matplotlib")
    path = write_with_plots(curves_document(), curves_document(), name="both.html")
    names = [f"both_{n}_{kind}.svg" for n in (1, 2) for kind in ("calibration", "curves", "profile")]
    assert sorted(file.name for file in path.parent.glob("*.svg")) == names


@pytest.mark.parametrize("num_documents", [1, 2])
def test_hostile_texts_stay_texts(write, num_documents):
    document = steps_document(
        benchmark="processbench",
        policy=ATTACK,
        prm=ATTACK,
        settings={ATTACK: [ATTACK]},
        rows={"num_rows": 1, "num_used": 0, "problems": {ATTACK: 1}},
    )
    document["benchmark"] = document["steps"]["tuned_on"] = ATTACK
    document["steps"]["subsets"] = {ATTACK: document["steps"]["subsets"]["math"]}
    other = curves_document()
    other["diagnosis"]["aggregation"] = ATTACK
    curves = other["curves"]["against_majority_vote"]
    curves[ATTACK] = curves["best_of_n"]
    document |= {"curves": other["curves"], "diagnosis": other["diagnosis"]}
    outline = outline_of(write(*[document] * num_documents))
    assert not {"script", "b"} & set(outline.tags)
    assert not [key for key, _ in outline.attributes if key.startswith("on")]
    assert outline.text.count(ATTACK) >= 11 * num_documents
