"""Adapters: what they read from rows, and what they say about what is missing."""

from __future__ import annotations

import base64
import io

import pytest
from support.raw_problems import drawing

from mmprm_hf.curation.adapters import ADAPTERS, choose_adapter
from mmprm_hf.curation.config import SourceConfig
from mmprm_hf.curation.records import RowError
from mmprm_hf.nano.world import load_nano
from mmprm_hf.rows import stored_figure

FILE = io.BytesIO()
drawing(0, (40, 30)).save(FILE, "PNG")
PNG = FILE.getvalue()
FIGURE = {"bytes": PNG, "path": None}
ROW = {"id": 7, "index": 3, "question": "Find the angle.", "answer": "$$75$$", "image": FIGURE}


def read(adapter="mm_k12", needs_answer=True, **changes):
    return ADAPTERS[adapter]({**ROW, **changes}, 9, needs_answer)


def test_published_mm_k12():
    raw = read()
    assert (raw.id, raw.question, raw.answer, raw.images) == ("7", "Find the angle.", "$$75$$", (FIGURE,))
    assert (raw.subject, raw.grade, raw.license, raw.split_group) == (None, None, None, None)
    assert read(id=None).id == "3" and read(id=None, index=None).id == "9"
    assert read(answer=5).answer == "5" and read(answer=0.5).answer == "0.5"
    assert read(split_group="g").split_group == "g" and read(split_group="").split_group is None
    assert read(subject="algebra", grade=7, license="mit").grade == 7 and read(grade="seven").grade is None


def test_figures_in_every_form():
    text = base64.b64encode(PNG).decode()
    for image in (PNG, text, f"data:image/png;base64,{text}"):
        assert [stored_figure(figure) for figure in read(image=image).images] == [FIGURE]
    assert read(image=None, images=[FIGURE, FIGURE]).images == (FIGURE, FIGURE)
    assert read(image=None, figure="a.png").images == ("a.png",)
    for empty in (None, "", {"bytes": None, "path": None}, []):
        assert read(image=None, images=empty).images == ()


def test_options_in_every_form():
    for options, expected in (
        ({"B": "2", "A": "1"}, ("1", "2")),
        ({"a": "1", "B": "2", "C": "3"}, ("1", "2", "3")),
        (["1", None, "3", None], ("1", "", "3")),  # letters keep their texts
        ('["1", "2"]', ("1", "2")),
        ("A. 1 B. 2 C. 3", ("1", "2", "3")),
        ("", ()),
    ):
        assert read(options=options).options == expected, options
    assert read(choices=["1", "2"]).options == ("1", "2")
    with pytest.raises(RowError, match="the options are a int"):
        read(options=5)
    with pytest.raises(RowError, match="the options are a text without letters: one or two"):
        read("mathvision", options="one or two")


def test_a_row_that_gives_no_problem_has_a_reason():
    for change, reason in (
        ({"question": ""}, "unreadable_row"),
        ({"question": None}, "unreadable_row"),
        ({"question": ["a", "b"]}, "unreadable_row"),
        ({"answer": ""}, "no_answer"),
        ({"answer": None}, "no_answer"),
        ({"answer": {"value": 5}}, "unreadable_row"),
        ({"answer": float("nan")}, "no_answer"),
        ({"images": [None, FIGURE]}, "figure_unreadable"),
    ):
        for name in ADAPTERS:
            with pytest.raises(RowError, match=reason):
                read(name, **change)


def test_gaokao():
    row = {"question": "4. (5 分) 如图, 求 ( )A. 1B. 2C. 3D. 4", "answer": "C", "images": ["a.png"], "paper": "x"}
    raw = read("gaokao_mm", **row, options_inline=True)
    assert raw.question.startswith("如图") and raw.options == () and raw.grade == 12
    drawn = {**row, "question": "3. (5 分) 图象大致为", "images": ["a.png", "b.png"]}
    assert read("gaokao_mm", **drawn, options_inline=False).options == ("A", "B", "C", "D")
    assert read("gaokao_mm", **drawn, options_inline=None).options == ("A", "B", "C", "D")


def test_our_own_schema():
    row = load_nano("test", 1)[0]
    raw = ADAPTERS["schema"](row, 0, True)
    assert raw.id == row["id"] and raw.images == tuple(row["images"]) and raw.split_group == row["split_group"]
    assert (raw.subject, raw.grade, raw.license) == (row["subject"], 6, row["license"])


def test_benchmarks_may_hide_their_answers():
    for name in ADAPTERS:
        assert read(name, needs_answer=False, answer="", images=[]).answer == "", name
    assert choose_adapter(SourceConfig("hub:a/b"), ("question",), needs_answer=False) == "mm_k12"
    with pytest.raises(ValueError, match="a/b has no column question; found wording"):
        choose_adapter(SourceConfig("hub:a/b"), ("wording",), needs_answer=False)


def test_adapters_are_chosen_by_columns():
    for columns, adapter in (
        ("id images question options answer answer_type", "schema"),
        ("id question options image answer level subject", "mathvision"),
        ("id question answer images paper", "gaokao_mm"),
        ("id index question answer image", "mm_k12"),
    ):
        assert choose_adapter(SourceConfig("hub:a/b"), columns.split()) == adapter


def test_missing_columns_and_unknown_adapters_are_named():
    with pytest.raises(ValueError, match="a/b has no column answer; found id, text, image. .* --columns answer=NAME"):
        choose_adapter(SourceConfig("hub:a/b"), ("id", "text", "image"))
    with pytest.raises(ValueError, match="a/b has no column question; found none"):
        choose_adapter(SourceConfig("hub:a/b"), ())
    with pytest.raises(ValueError, match="Unknown adapter 'mathvista' of the source b. Did you mean 'mathvision'"):
        choose_adapter(SourceConfig("hub:a/b", adapter="mathvista"), ("question", "answer", "image"))
