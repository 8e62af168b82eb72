"""The Markdown table for cards: the figures of the documents, escaped, and nothing in bold that is a value."""

import json
import re

import pytest
from support.result_documents import best_of_n_document, curves_document, steps_document

from mmprm_hf.publish.results_table import results_table, write_results_table


def cells_of(line):
    """Cells of a table's line, as a Markdown reader splits it."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_row_per_document_with_intervals_and_settings():
    first = best_of_n_document(settings={"split": "test", "seed": 3})
    table = results_table([first, steps_document(settings={"split": "test"})])
    lines = table.splitlines()
    header, row = cells_of(lines[2]), cells_of(lines[4])
    assert dict(zip(header, row, strict=True)) == {
        "Benchmark": "tiny",
        "N": "3",
        "Problems": "2",
        "Mean pass@1": "50.0 % (40.0 to 62.5)",
        "Majority vote@N": "50.0 % (40.0 to 62.5)",
        "PRM-weighted vote@N": "50.0 % (40.0 to 62.5)",
        "PRM best-of-N": "60.0 % (40.0 to 62.5)",
        "Oracle pass@N": "50.0 % (40.0 to 62.5)",
        "Best-of-N minus pass@1": "+10.0 points",
        "Best-of-N minus majority vote": "+10.0 points",
    }
    assert "- Settings of tiny: policy tiny-policy, split test, seed 3." in lines
    assert "- Settings of processbench: PRM a PRM, split test." in lines


def test_the_paired_interval_against_the_vote_where_curves_have_it():
    def point(n, p_value):
        return {"n": n, "difference": 0.1, "ci_low": -0.02, "ci_high": 0.31, "p_value": p_value, "num_problems": 2}

    for p_value, words in ((0.0004, "p &lt; 0.001"), (0.25, "p = 0.250")):
        curves = curves_document()["curves"] | {
            "against_majority_vote": {"best_of_n": [point(1, 0.9), point(3, p_value)]}
        }
        document = best_of_n_document(curves=curves)
        row = cells_of(results_table([document]).splitlines()[2])
        assert row[-1] == f"+10.0 points (-2.0 to +31.0, {words})"
    document["curves"]["against_majority_vote"]["best_of_n"][1] |= {"num_problems": 1, "difference": 0.3}
    assert (
        cells_of(results_table([document]).splitlines()[2])[-1] == "+30.0 points (-2.0 to +31.0, p = 0.250; 1 problems)"
    )


def test_metrics_of_other_problems_say_so():
    document = best_of_n_document()
    document["best_of_n"]["num_decided"] = dict.fromkeys(document["best_of_n"]["metrics"], 2) | {"majority_vote": 1}
    row = cells_of(results_table([document]).splitlines()[2])
    assert row[4] == "50.0 % (40.0 to 62.5; 1 problems)" and row[-1] == "not of the same problems"


@pytest.mark.parametrize(
    ("benchmark", "name", "key"),
    [
        ("processbench", "average F1", "average_f1"),
        ("visualprocessbench", "macro-F1", "macro_f1"),
        ("prmbench", "PRMScore", "prm_score"),
    ],
)
def test_step_benchmarks_have_their_main_figure(benchmark, name, key):
    document = steps_document(benchmark)
    row = cells_of(results_table([document]).splitlines()[2])
    assert row == [benchmark, name, f"{document['steps'][key]:.3f}", "0.450", "its train split", "8", "1"]


def test_one_line_of_settings_where_all_are_equal():
    table = results_table([best_of_n_document(), best_of_n_document() | {"benchmark": "other"}])
    assert table.count("Settings") == 1 and table.endswith("\nSettings: policy tiny-policy.\n")


def test_names_cannot_break_the_table():
    name = r"a|b\|c <script> *d* [e](f) `g`" + "\nnext"
    table = results_table([best_of_n_document(policy=name), best_of_n_document(policy="plain")])
    lines = table.splitlines()
    assert len(cells_of(lines[0])) == len(cells_of(lines[2])) == 10
    escaped = r"a\|b\\\|c &lt;script> \*d\* \[e\](f) \`g\` next"
    assert cells_of(lines[2])[0] == f"tiny · policy {escaped}"
    assert f"- Settings of tiny · policy {escaped}: policy {escaped}." in lines


def test_what_is_unknown_is_not_measured():
    document = best_of_n_document()
    document["best_of_n"]["metrics"]["best_of_n"] = {"value": None, "ci_low": None, "ci_high": None}
    del document["best_of_n"]["metrics"]["oracle"]
    assert cells_of(results_table([document]).splitlines()[2])[-3:] == ["not measured"] * 3
    document["policy"] = None
    assert results_table([document]).endswith("\nSettings: none given.\n")


def test_no_value_is_bold_and_no_document_is_dropped():
    table = results_table([best_of_n_document(), steps_document(), curves_document()])
    assert [line for line in table.splitlines() if "**" in line] == ["**Best of N**", "**Step-level benchmarks**"]
    assert "No best-of-N and no step-level figures: tiny · policy not named." in table
    with pytest.raises(ValueError, match="Found 0 results documents"):
        results_table([])


def test_the_table_is_written_as_it_is_returned(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(best_of_n_document()), encoding="utf-8")
    table = write_results_table([tmp_path / "results.json"], tmp_path / "new" / "table.md")
    assert (tmp_path / "new" / "table.md").read_text(encoding="utf-8") == table == results_table([best_of_n_document()])
