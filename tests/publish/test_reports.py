"""The report: self-contained, escaped, honest about what is missing and about how problems were picked."""

from __future__ import annotations

import base64
import copy
import json
import math

import pytest
from PIL import Image
from support.result_documents import Outline, best_of_n_document

from mmprm_hf.publish.rendering import score_color
from mmprm_hf.publish.report_rows import GROUPS, classify, group_candidates, pick_problems
from mmprm_hf.publish.reports import write_report
from mmprm_hf.publish.words import METRICS

RESULTS = best_of_n_document()


def candidate(answer, verdict, scores=(0.9, 0.8), complete=True):
    """A candidate with one step per score; its steps follow from its answer."""
    steps = [f"{answer} step {index}" for index in range(len(scores))]
    score = min(scores) if scores and complete else None
    return {
        "steps": steps,
        "answer": answer,
        "complete": complete,
        "step_scores": list(scores),
        "score": score,
        "verdict": verdict,
        "text": f"raw {answer}",
    }


def row(problem_id, chosen, *candidates, figures=()):
    """A candidates row."""
    return {
        "problem_id": problem_id,
        "question": "How long?",
        "answer": "7",
        "figures": list(figures),
        "chosen": chosen,
        "candidates": list(candidates),
    }


RIGHT, WRONG = candidate("7", "correct"), candidate("5", "incorrect", (0.7, 0.2))
ROWS = {
    "rescued": row("a", 0, RIGHT, WRONG, WRONG),
    "lost": row("b", 0, WRONG, RIGHT, RIGHT),
    "missed": row("c", 0, WRONG, RIGHT, WRONG),
    "solved": row("d", 1, WRONG, RIGHT, RIGHT),
    "unsolved": row("e", 0, WRONG, WRONG, WRONG),
    "undecided": row("f", 0, candidate("7", "undecided"), RIGHT, RIGHT),
}


@pytest.fixture
def render(tmp_path):
    """Writes files and returns the page's text."""

    def write(rows, results=RESULTS, **options):
        (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
        lines = "".join(json.dumps(entry) + "\n" for entry in rows)
        (tmp_path / "candidates.jsonl").write_text(lines, encoding="utf-8")
        page = write_report(tmp_path / "results.json", tmp_path / "out" / "index.html", **options)
        return page.read_text(encoding="utf-8")

    return write


def test_page_shows_metrics_seconds_and_candidates(render):
    text = Outline(render(ROWS.values())).text
    assert "60.0 % of 2 problems; a single sample is right on 50.0 % ( +10.0 points )" in text
    assert "PRM best-of-3 the candidate with the highest score 60.0 % 95 % interval 40.0 to 62.5" in text
    assert "Oracle pass@3" in text
    assert "Seconds generating 12.3 s Seconds scoring 5.7 s" in text
    assert "7 step 0 0.90" in text
    assert "★ PRM's choice answer 7 ✓ correct" in text
    assert "answer 5 ✗ incorrect" in text
    assert "? undecided" in text


def test_page_is_one_file_without_scripts_or_outside_resources(render, tmp_path):
    Image.new("RGB", (144, 100), "red").save(tmp_path / "figure.png")
    page = render([row("a", 0, RIGHT, figures=["figure.png"])])
    outline = Outline(page)
    assert not {"script", "link", "iframe", "object", "a", "form"} & set(outline.tags)
    sources = [value for key, value in outline.attributes if key in ("src", "href")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert ("width", "288") in outline.attributes  # twice 144, a whole factor
    assert ("height", "200") in outline.attributes
    assert "image-rendering: pixelated" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page


def test_large_figures_are_not_enlarged_but_made_smaller(render, tmp_path):
    Image.new("RGB", (640, 480), "red").save(tmp_path / "photo.jpg")
    Image.effect_noise((3000, 1500), 80).save(tmp_path / "scan.png")
    Image.new("RGB", (300, 300), "red").save(tmp_path / "plain.bmp")
    page = render([row("a", 0, RIGHT, figures=["photo.jpg", "scan.png", "plain.bmp"])])
    for size in ('width="640" height="480"', 'width="640" height="320"', 'width="300" height="300"'):
        assert f'{size} class="photo"' in page
    assert page.count("data:image/jpeg;base64,") == 3, "a browser may not know other formats"
    embedded = base64.b64encode((tmp_path / "photo.jpg").read_bytes()).decode()
    assert embedded in page and len(page) < 400_000 < (tmp_path / "scan.png").stat().st_size


def test_everything_from_data_is_escaped(render):
    attack = "<script>alert('1')</script>\"><img src=x onerror=y> {{ 7 * 7 }} {% if %} {# c #} &amp;"
    bad = dict.fromkeys(("problem_id", "question", "answer"), attack)
    shown = {**candidate("7", "correct"), "steps": [attack, attack], "answer": attack}
    raw = {**candidate("7", "incorrect", (), complete=False), "answer": None, "text": attack}
    results = {**RESULTS, "policy": attack, "prm": attack, "settings": {attack: {attack: [attack]}}}
    results["best_of_n"] = {**RESULTS["best_of_n"], "aggregation": attack}
    results["rows"] = {"num_rows": 1, "num_used": 0, "problems": {attack: 1}}
    outline = Outline(render([{**row("a", 0, shown, raw), **bad}], results))
    assert not {"script", "img"} & set(outline.tags)
    assert not [key for key, _ in outline.attributes if key.startswith("on")]
    # id, question, gold, choice, majority, 2 steps, candidate's answer, raw text, policy, PRM, 2 x aggregation,
    # a setting's name, key and value, reason of a row with a fault
    assert outline.text.count(attack) == 17


def test_missing_figures_read_not_measured_and_missing_facts_are_left_out(render):
    bare = {"problem_id": "a", "question": "How?", "candidates": [{"steps": ["one"]}, {}]}
    section = {**RESULTS["best_of_n"], "metrics": {}, "num_decided": {}}
    bare_results = {**RESULTS, "benchmark": None, "policy": None, "prm": None, "cost": None, "best_of_n": section}
    text = Outline(render([bare], bare_results)).text
    assert "the PRM's choice is right on not measured of 2 problems" in text
    assert text.count("not measured 95 % interval not measured") == len(METRICS) - 1  # greedy was not drawn
    about = text[text.index("About this run") :]
    for fact in ("Benchmark", "Policy", "PRM not", "Seconds generating", "Seconds scoring", "Seed"):
        assert fact not in about
    assert "gold answer not measured" in text
    assert "one not measured" in text
    assert "no score" in text
    assert "Not judged · 1 of 1 problems" in text


def test_null_metric_is_not_measured_and_zero_is(render):
    results = copy.deepcopy(RESULTS)
    results["best_of_n"]["metrics"]["greedy"] = {"value": None, "ci_low": None, "ci_high": None}
    results["best_of_n"]["metrics"]["oracle"] = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    results["cost"]["seconds"]["score"] = 0
    text = Outline(render([ROWS["solved"]], results)).text
    assert "temperature 0" not in text, "nobody drew greedy responses"
    assert "any candidate is right 0.0 % 95 % interval 0.0 to 0.0" in text
    assert "Seconds scoring 0.0 s" in text


def test_identical_candidates_are_merged_and_ranked(render):
    middle = candidate("6", "incorrect", (0.5, 0.5))
    page = render([row("a", 3, WRONG, middle, WRONG, RIGHT, WRONG, RIGHT)])
    text = Outline(page).text
    assert text.index("0.80 × 2") < text.index("0.50 6 step") < text.index("0.20 × 3")
    assert page.count('<li class="candidate') == 3
    assert page.count('<li class="candidate chosen') == 1
    assert "correct 2 of 6 candidates" in text


def test_incomplete_candidates_are_shown_as_such_and_last(render):
    cut = candidate("7", "correct", (0.99,), complete=False)
    unparsable = {**candidate(None, "incorrect", (), complete=False), "text": "x" * 500, "fault": "no <step>"}
    infinite = {**cut, "score": -math.inf}
    text = Outline(render([row("a", 3, cut, infinite, unparsable, WRONG)])).text
    assert text.index("5 step 0") < text.index("no score × 2")
    assert "… incomplete, never chosen before a complete one" in text
    assert "… incomplete (no <step>), never chosen before a complete one" in text
    assert "x" * 400 + "…" in text
    assert "x" * 401 not in text
    assert "✓ correct answer" not in text  # a cut solution is never right, whatever its verdict field says
    assert "correct 0 of 4 candidates" in text


def test_many_candidates_go_behind_a_fold_that_says_what_it_hides(render):
    wrong = [candidate(str(n), "incorrect", (0.9 - n / 100,)) for n in range(10, 18)]
    page = render([row("a", 0, *wrong, candidate("7", "correct", (0.1,)))])
    assert "<summary>3 more distinct candidates, 1 of them correct</summary>" in page
    assert page.index("10 step 0") < page.index("<summary>") < page.index("17 step 0")


def test_equal_candidates_are_grouped_and_the_chosen_one_stands_for_its_group():
    candidates = [WRONG, RIGHT, WRONG, {**RIGHT, "score": None}, RIGHT, {**RIGHT, "text": "other"}]
    assert group_candidates(candidates) == [[1, 3, 4, 5], [0, 2]]
    assert group_candidates(candidates, chosen=4) == [[4, 1, 3, 5], [0, 2]]
    cut = [{**RIGHT, "complete": False, "text": text} for text in ("a", "b", "a")]
    assert group_candidates(cut) == [[0, 2], [1]], "what was written differs, and is shown"


def test_classify():
    assert {group: classify(ROWS[group]) for group in GROUPS} == {group: group for group in GROUPS}


def test_classify_without_a_choice():
    cut = candidate("7", "correct", (), complete=False)
    assert classify(row("a", None, RIGHT, WRONG)) == "undecided"
    assert classify(row("a", None, cut, cut)) == "unsolved"


def test_groups_take_turns_and_order_within_a_group_is_not_that_of_the_file():
    rows = [{**ROWS["solved"], "problem_id": f"solved {n}"} for n in range(50)]
    rows += [{**ROWS["lost"], "problem_id": f"lost {n}"} for n in range(2)]
    rows += [{**ROWS["rescued"], "problem_id": f"rescued {n}"} for n in range(5)]
    picked = pick_problems(rows, 9)
    assert [group for group, _ in picked] == ["rescued"] * 4 + ["lost"] * 2 + ["solved"] * 3
    names = {rows[index]["problem_id"] for _, index in picked}
    backwards = rows[::-1]
    assert names == {backwards[index]["problem_id"] for _, index in pick_problems(backwards, 9)}
    assert not names >= {"solved 0", "solved 1", "solved 2"}
    assert len(pick_problems(rows, 1000)) == 57


def test_page_says_how_problems_were_picked(render):
    rows = [{**ROWS["solved"], "problem_id": str(n)} for n in range(5)] + [ROWS["lost"]]
    text = Outline(render(rows, num_problems=3)).text
    assert "3 of 6 problems are shown" in text
    assert "not a representative sample" in text
    assert "PRM's choice wrong, majority right · 1 of 6 problems, 1 shown" in text
    assert "PRM's choice and majority right · 5 of 6 problems, 2 shown" in text
    assert render(rows, num_problems=3) == render(rows, num_problems=3)


def relative_luminance(color):
    """WCAG 2.2 relative luminance of '#rrggbb'."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_chip_text_is_readable_at_every_score(render):
    ink = relative_luminance("#101418")
    assert "color: #101418" in render(ROWS.values())
    for step in range(101):
        contrast = (relative_luminance(score_color(step / 100)) + 0.05) / (ink + 0.05)
        assert contrast >= 4.5, step  # WCAG 2.2, section 1.4.3


def test_scale_does_not_rest_on_telling_red_from_green():
    # Dichromats keep lightness and the yellow-blue axis, about (R + G) / 2 - B in sRGB.
    def yellow_blue(score):
        red, green, blue = (int(score_color(score)[i : i + 2], 16) for i in (1, 3, 5))
        return (red + green) / 2 - blue

    assert yellow_blue(0.0) - yellow_blue(1.0) > 100
    assert relative_luminance(score_color(0.5)) > 2 * relative_luminance(score_color(0.0))
    assert relative_luminance(score_color(0.5)) > 2 * relative_luminance(score_color(1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": [], "chosen": None}, "Problem 'd' of .* has no candidates"),
        ({"question": ""}, "Problem 'd' of .* has no question"),
        ({"chosen": 3}, "Found chosen=3 of 3 candidates of problem 'd'"),
        ({"chosen": -1}, "Found chosen=-1 of 3 candidates of problem 'd'"),
        ({"candidates": [{**RIGHT, "step_scores": [0.5]}], "chosen": 0}, "problem 'd'.* has 2 steps but step_scores="),
        (
            {"candidates": [{**RIGHT, "step_scores": [0.5, 1.5]}], "chosen": 0},
            "Candidate 0 of problem 'd'.* has the step score 1.5",
        ),
        ({"candidates": [{**RIGHT, "verdict": "yes"}], "chosen": 0}, "Candidate 0 of problem 'd'.* has verdict='yes'"),
    ],
)
def test_malformed_rows_are_refused(render, change, message):
    with pytest.raises(ValueError, match=message):
        render([{**ROWS["solved"], **change}])


def test_malformed_files_are_refused(render, tmp_path):
    with pytest.raises(ValueError, match="Found 0 rows"):
        render([])
    with pytest.raises(ValueError, match="num_problems is 0"):
        render([ROWS["solved"]], num_problems=0)
    with pytest.raises(ValueError, match="Found a list in .*results.json. Results are one JSON object"):
        render([ROWS["solved"]], [])
    (tmp_path / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    (tmp_path / "candidates.jsonl").write_text('{"problem_id": ', encoding="utf-8")
    with pytest.raises(ValueError, match="Line 1 of .*candidates.jsonl is not JSON"):
        write_report(tmp_path / "results.json", tmp_path / "index.html")
    with pytest.raises(ValueError, match="Found 0 results files"):
        write_report([], tmp_path / "index.html")


def test_problems_that_were_not_shown_are_counted_by_reason(render):
    """Their rows have an error and no candidates: no failure, and no row of them among the problems."""
    lost = {"problem_id": "x", "question": None, "answer": None, "outcome": "not_shown", "candidates": []}
    rows = [ROWS["solved"], {**lost, "error": "too <b>large</b>"}, {**lost, "error": "too <b>large</b>"}, lost]
    outline = Outline(render(rows))
    assert "3 of 4 problems could not be shown to the models, have no candidates and are left out here:" in outline.text
    assert "2 × too <b>large</b> 1 × no reason given" in outline.text
    assert "1 of 1 problems are shown" in outline.text
    assert "0 of 0 problems are shown" in Outline(render([lost])).text


def test_without_a_gold_answer_nothing_is_judged(render):
    """Whatever verdict the row claims."""
    text = Outline(render([{**ROWS["rescued"], "answer": None}, ROWS["solved"]])).text
    assert "Not judged · 1 of 2 problems, 1 shown" in text and "gold answer not measured" in text
    assert "PRM's choice 7 ? undecided majority 5 ? undecided correct 0 of 3 candidates" in text
    assert classify({**ROWS["unsolved"], "answer": None}) == "undecided"


def test_without_candidates_the_page_says_where_problems_come_from(render, tmp_path):
    render([ROWS["solved"]])
    (tmp_path / "candidates.jsonl").unlink()
    text = Outline(write_report(tmp_path / "results.json", tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "No problems are shown: they come from candidates.jsonl beside the results" in text
    assert "PRM best-of-3" in text and "60.0 %" in text


def test_candidates_of_another_run_are_noticed(render):
    results = {**RESULTS, "rows": {"num_rows": 7, "num_used": 7, "problems": {}}}
    assert "candidates.jsonl has 1 rows, but the results count 7" in Outline(render([ROWS["solved"]], results)).text
    results["rows"]["num_rows"] = 1
    assert "but the results count" not in render([ROWS["solved"]], results)


def test_figures_are_looked_for_beside_the_file_and_nowhere_else(render, tmp_path, monkeypatch):
    """A page is published, and a file of candidates may name any file of this machine."""
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        Image.new("RGB", (9, 9), "red" if folder == tmp_path else "blue").save(folder / "a.png")
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "elsewhere" / "b.png")
    monkeypatch.chdir(tmp_path / "elsewhere")
    secret = tmp_path.parent / "secret.png"
    Image.new("RGB", (9, 9), "green").save(secret)
    page = render([row("a", 0, RIGHT, figures=["a.png", "b.png", str(secret), "../secret.png"])])
    assert base64.b64encode((tmp_path / "a.png").read_bytes()).decode() in page
    for path in (tmp_path / "elsewhere" / "b.png", secret):
        assert base64.b64encode(path.read_bytes()).decode() not in page
    assert page.count("figure not found") == 3 and str(tmp_path.parent) not in page


def test_figures_that_are_gone_are_named_and_bad_ones_refused(render, tmp_path):
    page = render([row("a", 0, RIGHT, figures=["folder/<gone>.png"])])
    assert "figure not found: &lt;gone&gt;.png" in page and "folder" not in page.split("figure not found")[1][:40]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match="bad.png' cannot be read"):
        render([row("a", 0, RIGHT, figures=["bad.png"])])
