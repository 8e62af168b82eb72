"""Results on the terminal: every metric in its line, sections in words, and what was not measured."""

import pytest
from support.result_documents import Outline, best_of_n_document, curves_document, steps_document, truth_document

from mmprm_hf.files import write_json
from mmprm_hf.publish import format_best_of_n, format_results, write_report
from mmprm_hf.publish.rendering import template_data
from mmprm_hf.publish.words import METRICS, metric_name


def line_of(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line


def test_the_table_has_every_metric_with_its_interval_and_cost():
    document = best_of_n_document()
    text = format_results(document)
    for key in METRICS:
        name = metric_name(key, 3)
        assert line_of(text, name[0].upper() + name[1:]).split("%")[1].split()[:3] == ["40.0", "to", "62.5"], key
    assert line_of(text, "PRM best-of-3").split()[-2:] == ["1234", "0.046"]
    assert line_of(text, "Greedy").split()[-2:] == ["41", "-"]
    assert "2 problems, 3 candidates each, step scores aggregated by min" in text
    assert "In all: generate 12.3 s, score 5.7 s" in " ".join(text.split())
    assert len({len(line) for line in text.splitlines() if " to 62.5" in line}) == 1, "columns are aligned"
    assert "seconds" not in format_best_of_n(document["best_of_n"])


def test_what_was_left_out_is_counted():
    document = best_of_n_document()
    report = document["best_of_n"]
    report |= {"num_undecided": 4, "num_incomplete": 5, "num_problems_undecided": 1, "num_unscored": 6}
    report["num_decided"]["oracle"] = 1
    report["metrics"]["greedy"] = {"value": None, "ci_low": None, "ci_high": None}
    document["rows"] = {"num_rows": 30, "num_used": 2, "problems": {f"reason {n}": 30 - n for n in range(11)}}
    text = " ".join(format_results(document).split())
    assert "Left out as undecided: 4 candidates, 1 problems; incomplete, counted as wrong: 5 candidates." in text
    report["faults"] = {"no final answer": 1, "cut at the token limit": 4}
    why = "counted as wrong: 5 candidates (4 cut at the token limit, 1 no final answer)."
    assert why in " ".join(format_results(document).split())
    assert "Complete but without step scores: 6 candidates." in text
    assert "Oracle pass@3 (1 of 2 problems, the others are undecided)" in text
    assert "Greedy" not in text, "nobody drew greedy responses"
    assert "Random among distinct: a selector that knows nothing, duplicates removed; it tends to fall as N" in text
    assert "Rows: 2 of 30 used 30 x reason 0 29 x reason 1" in text and text.endswith("63 x one of 3 other reasons")


def test_curves_and_diagnosis_in_words():
    document = curves_document()
    text = " ".join(format_results(document).split())
    headroom = document["diagnosis"]["headroom"]
    assert "N PRM best-of-N minus majority vote PRM-weighted vote@N minus majority vote" in text
    assert "N = 1 N = 2 N = 4" in text and ", p " in text
    assert f"the choice matters on {100 * headroom['mixed']:.1f} % ({headroom['num_mixed']} problems)" in text
    document["diagnosis"]["ranking"] = {"pooled": 0.5, "within": None, "num_problems_within": 0}
    document["diagnosis"]["length"] = {"score": None, "truth": None}
    text = " ".join(format_results(document).split())
    assert "right: not measured within problems, 0.500 pooled" in text
    assert "Rank correlation" not in text, "nobody could measure it"


@pytest.mark.parametrize(
    ("tuned_on", "words"),
    [
        ("GSM8K's train split", "tuned on GSM8K's train split."),
        ("none", "fixed beforehand."),
        ("not reported", "chosen elsewhere; where is not reported."),
    ],
)
def test_a_step_benchmark_names_its_threshold(tuned_on, words):
    document = steps_document()
    document["steps"]["tuned_on"] = tuned_on
    document["settings"]["train rows"] = {"num_rows": 5, "num_kept": 4, "problems": {"no_steps": 1}}
    document["rows"]["num_not_asked"] = 5
    text = " ".join(format_results(document).split())
    assert f"score is below 0.450; the threshold was {words}" in text
    assert "Rows: 8 of 10 used, 5 more usable ones were not asked for 2 x a label too many" in text
    assert "Train rows: 4 of 5 used 1 x no_steps" in text
    assert "Mean of subsets" in text and " gsm8k " in text


def test_exact_truth_in_words():
    text = " ".join(format_results(truth_document()).split())
    assert "Each step by itself" in text and "2 of 3 distinct solutions with a right answer have a wrong step" in text


def test_the_terminal_explains_a_diagnosis_in_the_words_of_the_page(tmp_path):
    document = {**curves_document(), **{key: best_of_n_document()[key] for key in ("best_of_n", "cost")}}
    write_json(tmp_path / "results.json", document)
    page = Outline(write_report(tmp_path / "results.json", tmp_path / "page.html").read_text(encoding="utf-8")).text
    terminal = " ".join(format_results(document).split())
    sentences = template_data("explanations.yaml")["diagnosis"]["entries"]
    for words in (*(entry["meaning"] for entry in sentences), METRICS["random_distinct"].explanation):
        assert words.strip() in page and words.strip() in terminal, words
