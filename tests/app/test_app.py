"""The app: its callbacks without Gradio; with it (pip install "gradio>=6.31") also the page, over HTTP."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys

import pytest
from transformers import pipeline

from mmprm_hf.app import page as app
from mmprm_hf.data import Candidate
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import nano_problems
from mmprm_hf.publish.solution_html import render_reranked, render_scored
from mmprm_hf.selection import AGGREGATIONS, aggregate


@pytest.fixture(scope="module")
def callbacks():
    rerank = pipeline("generate-and-rerank", model=str(POLICY_PATH), prm=str(PRM_PATH))
    return app.Callbacks(rerank, is_shipped_policy=True, is_shipped_prm=True)


@pytest.fixture(scope="module")
def nano():
    return nano_problems("test", 1)[0]


def test_scores_are_the_scorers(callbacks, nano):
    steps = nano.solve()
    solution = "\n\n  ".join(steps) + "\n"
    (expected,) = callbacks.rerank.scorer.score(nano.to_problem(), [Candidate(steps=steps)])
    for aggregation in AGGREGATIONS:
        page, result = callbacks.score([(nano.figure(), None)], nano.question, solution, aggregation)
        assert result["steps"] == list(steps) and result["step_scores"] == list(expected.step_scores)
        assert result["score"] == aggregate(expected.step_scores, aggregation) and result["note"] is None
        for step, score in zip(steps, expected.step_scores, strict=True):
            assert f">{score:.3f}</b>" in page and f">{step}</span>" in page
        assert f"<b>{result['score']:.3f}</b>" in page and f"{aggregation} of {len(steps)} step scores" in page


def test_wrong_step_of_an_example_scores_lower(callbacks):
    figures, question, solution, following = callbacks.example(0)
    _, result = callbacks.score(figures, question, solution, "min")
    truths = nano_problems("test", 1)[0].check_prefixes(tuple(solution.split("\n")))
    assert following == 1 and not all(truths)
    assert all((score > 0.5) == truth for score, truth in zip(result["step_scores"], truths, strict=True))
    assert callbacks.example(24)[1] == question, "examples come round again"


def test_solve_is_the_pipeline(callbacks, nano):
    options = {"num_candidates": 8, "strategy": "weighted_vote", "aggregation": "mean"}
    page, result = callbacks.solve([nano.figure()], nano.question, *options.values(), 3)
    expected = callbacks.rerank(images=nano.figure(), text=nano.question, seed=3, return_candidates=True, **options)
    for key in ("answer", "chosen", "candidates", "steps", "score"):
        assert result[key] == expected[key]
    assert json.loads(json.dumps(result)) == result
    assert page.count("★ winner") == 1 and f"answer <b>{expected['answer']}</b>" in page
    counts = [int(count) for count in re.findall(r"written (\d+) times", page)] + [1] * page.count("written once")
    assert sum(counts) == 8
    assert "weighted_vote over 8 candidates" in page and "score: mean of step scores; generate" in page


BAD_SCORES = [
    (["no.png"], "Q?", "A=1", "min", "Image 'no.png' does not exist"),
    (None, "", "A=1", "min", "empty question"),
    (
        None,
        "Q?",
        " \n",
        "min",
        "Found a solution without steps. Write one step per line, or blank lines between steps.",
    ),
    (None, "Q?", None, "min", "Found a solution without steps"),
    (None, "Q?", "<step>A=1", "min", "Found 1 opening and 0 closing tags of steps"),
    (None, "Q?", "A=1", "mim", "Unknown aggregation 'mim'. Did you mean 'min'?"),
    (None, "Q?", "a" * 20_001, "min", "Found a text of 20,001 characters. This page takes at most 20,000."),
]


def test_a_solution_may_be_written_in_any_format(callbacks, nano):
    for text in (
        "A=1\nB=2",
        "A=1\r\n\r\nB=2",
        "Step 1: A=1\nStep 2: B=2\nAnswer: 2",
        "<step>A=1</step><step>B=2</step>",
    ):
        assert callbacks.score(None, nano.question, text, "min")[1]["steps"] == ["A=1", "B=2"], text


def test_bad_solutions_become_messages(callbacks):
    for *inputs, words in BAD_SCORES:
        page, result = callbacks.score(*inputs)
        assert words in result["error"] and list(result) == ["error"], words
        assert 'role="alert"' in page and "Traceback" not in page and "<step>" not in page, words


BAD_PROBLEMS = [
    (["no.png"], "Q?", 4, "best_of_n", "min", "Image 'no.png' does not exist"),
    (None, None, 4, "best_of_n", "min", "empty question"),
    (None, "Q?", 0, "best_of_n", "min", "Found num_candidates=0"),
    (None, "Q?", None, "best_of_n", "min", "Found an empty field where a number belongs"),
    (None, "Q?", 10**9, "best_of_n", "min", "Found 1000000000 candidates. This page writes at most 64."),
    (None, "Q?", 4, "worst_of_n", "min", "Unknown strategy 'worst_of_n'"),
    (None, "Q?", 4, "best_of_n", "mim", "Unknown aggregation 'mim'"),
]


def test_bad_problems_become_messages(callbacks):
    for *inputs, words in BAD_PROBLEMS:
        page, result = callbacks.solve(*inputs, 0)
        assert words in result["error"] and 'role="alert"' in page, words


def test_unreadable_figure_becomes_a_message(callbacks, nano, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    for page, result in (
        callbacks.score([str(tmp_path / "cut.png")], nano.question, "A=1", "min"),
        callbacks.solve([str(tmp_path / "cut.png")], nano.question, 2, "best_of_n", "min", 0),
    ):
        assert "cannot be read" in result["error"] and 'role="alert"' in page


def test_nano_models_warn_of_other_worlds(callbacks, nano, figures):
    page, result = callbacks.score([figures[0]], nano.question, "A=1", "min")
    assert "know only the nano world" in result["note"] and 'role="note"' in page
    assert "scores mean nothing" in callbacks.score(None, nano.question, "A=1", "min")[1]["note"]
    assert "answers and scores mean" in callbacks.solve(None, "Q?", 1, "best_of_n", "min", 0)[1]["note"]
    others = app.Callbacks(callbacks.rerank)
    assert others.score(None, nano.question, "A=1", "min")[1]["note"] is None


def test_text_is_escaped():
    nasty = "<script>alert(1)</script> & \"'"
    row = {"steps": [nasty], "answer": nasty, "complete": True, "step_scores": [0.5], "score": 0.5, "text": nasty}
    cut = {"steps": [], "answer": None, "complete": False, "step_scores": None, "score": None, "text": nasty * 100}
    cut["fault"] = nasty
    result = {"candidates": [row, row, cut], "chosen": 0, "answer": nasty, "strategy": nasty, "aggregation": nasty}
    page = render_reranked({**result, "note": nasty})
    assert "<script>" not in page and page.count("&lt;script&gt;") > 5
    scored = render_scored({**row, "aggregation": nasty})
    assert "<script>" not in scored and scored.count("&lt;script&gt;alert(1)") == 2
    assert page.index("written 2 times") < page.index("no score") and len(page) < 6000
    unsolved = render_reranked({**result, "chosen": None, "candidates": [cut, {**cut, "fault": "no final answer"}]})
    assert "No candidate is complete: 1 &lt;script&gt;" in unsolved and "1 no final answer." in unsolved
    assert "<script>" not in unsolved


def test_missing_gradio_is_reported_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r'needs Gradio, which is not installed: pip install "gradio>=6.31"'):
        app.build_app()
    with pytest.raises(ImportError, match="needs Gradio"):
        app.launch()


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason='needs Gradio: pip install "gradio>=6.31"')
def test_page_answers_over_http(monkeypatch, nano, tmp_path):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    from gradio_client import Client, handle_file

    figure = tmp_path / "figure.png"
    nano.figure().save(figure)
    steps = nano.solve()
    page = app.build_app()
    try:
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False)
        client = Client(address, verbose=False)
        gallery = [{"image": handle_file(str(figure)), "caption": None}]
        shown, result = client.predict(gallery, nano.question, "\n".join(steps), "min", api_name="/score")
        assert result["steps"] == list(steps) and result["score"] > 0.9 and result["note"] is None
        assert f"{result['score']:.3f}" in shown
        shown, result = client.predict(gallery, nano.question, 4, "best_of_n", "min", 0, api_name="/solve")
        assert len(result["candidates"]) == 4 and math.isfinite(result["score"]) and "★ winner" in shown
        _, result = client.predict([], "", "A=1", "min", api_name="/score")
        assert "empty question" in result["error"]
        names = set(client.view_api(return_format="dict")["named_endpoints"])
        assert names == {"/score", "/solve"}
    finally:
        page.close()
