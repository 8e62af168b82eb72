"""Adapters: what they read of rows, what they say of what is missing."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from mmprm_hf.curation.adapters import ADAPTERS, adapter_of, missing_facts, renamed
from mmprm_hf.curation.config import SourceConfig
from mmprm_hf.curation.records import RowError
from mmprm_hf.nano.world import load_nano


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(file, "PNG")
    return file.getvalue()


FIGURE = {"bytes": png(), "path": None}


def test_published_mm_k12_in_all_its_forms():
    read = ADAPTERS["mm_k12"]
    row = {"id": 7, "index": 3, "question": "Find the angle.", "answer": "$$75$$", "image": FIGURE}
    found = read(row, 0)
    assert (found.id, found.question, found.answer, found.images) == ("7", "Find the angle.", "$$75$$", (FIGURE,))
    assert (found.subject, found.grade, found.license) == (None, None, None)
    assert read({**row, "id": None}, 9).id == "3" and read({"question": "q", "answer": 5, "image": FIGURE}, 9).id == "9"
    text = base64.b64encode(png()).decode()
    for image in (png(), text, f"data:image/png;base64,{text}"):
        assert read({**row, "image": image}, 0).images == (FIGURE,)
    assert read({**row, "image": None, "images": [FIGURE, FIGURE]}, 0).images == (FIGURE, FIGURE)
    assert read({**row, "image": None, "images": []}, 0).images == ()
    assert read({**row, "image": {"bytes": None, "path": None}}, 0).images == ()
    assert read({**row, "answer": 0.5, "choices": {"B": "2", "A": "1"}}, 0).options == ("1", "2")
    assert read({**row, "options": {"a": "1", "B": "2", "C": "3"}}, 0).options == ("1", "2", "3")
    assert read({**row, "options": ["1", None, "3", None]}, 0).options == ("1", "", "3")  # letters keep their texts
    assert read({**row, "options": '["1", "2"]'}, 0).options == ("1", "2")
    assert read({**row, "options": "A. 1 B. 2 C. 3"}, 0).options == ("1", "2", "3")
    assert read({**row, "split_group": "g"}, 0).split_group == "g" and read(row, 0).split_group is None
    assert read({**row, "split_group": ""}, 0).split_group is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": ""}, "unreadable_row"),
        ({"question": None}, "unreadable_row"),
        ({"question": ["a", "b"]}, "unreadable_row"),
        ({"answer": ""}, "no_answer"),
        ({"answer": None}, "no_answer"),
        ({"answer": {"value": 5}}, "unreadable_row"),
        ({"answer": float("nan")}, "no_answer"),
        ({"images": [None, FIGURE]}, "figure_unreadable"),
    ],
)
@pytest.mark.parametrize("name", ADAPTERS)
def test_rows_that_give_no_problem_have_a_reason(name, change, reason):
    row = {"id": "1", "question": "Find x.", "answer": "5", "images": [FIGURE], **change}
    with pytest.raises(RowError) as caught:
        ADAPTERS[name](row, 0)
    assert caught.value.reason == reason


def test_gaokao():
    row = {"id": "g", "question": "4. (5 分) 如图, 求 ( )A. 1B. 2C. 3D. 4", "answer": "C", "images": ["a.png"]}
    found = ADAPTERS["gaokao_mm"]({**row, "options_inline": True, "paper": "x"}, 0)
    assert found.question.startswith("如图") and found.options == () and found.grade == 12
    drawn = {**row, "question": "3. (5 分) 图象大致为", "options_inline": False, "images": ["a.png", "b.png"]}
    assert ADAPTERS["gaokao_mm"](drawn, 0).options == ("A", "B", "C", "D")
    assert ADAPTERS["gaokao_mm"]({**drawn, "options_inline": None}, 0).options == ("A", "B", "C", "D")


def test_our_own_schema():
    row = load_nano("test", 1)[0]
    found = ADAPTERS["schema"](row, 0)
    assert found.id == row["id"] and found.images == tuple(row["images"]) and found.split_group == row["split_group"]
    assert (found.subject, found.grade, found.license) == (row["subject"], 6, row["license"])


def test_adapters_go_by_columns():
    def auto(*columns):
        return adapter_of(SourceConfig("hub:a/b"), columns)

    assert auto("id", "images", "question", "options", "answer", "answer_type") == "schema"
    assert auto("id", "question", "options", "image", "answer", "level", "subject") == "mathvision"
    assert auto("id", "question", "answer", "images", "paper") == "gaokao_mm"
    assert auto("id", "index", "question", "answer", "image") == "mm_k12"


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="b has the columns id, text, image: none of them is an answer. Name them"):
        adapter_of(SourceConfig("hub:a/b"), ("id", "text", "image"))
    with pytest.raises(ValueError, match=r"columns \(none\): none of them is a question or an answer or figures"):
        adapter_of(SourceConfig("hub:a/b"), ())
    with pytest.raises(ValueError, match="Unknown adapter 'mathvista' of b; choose one of auto, schema, mathvision"):
        adapter_of(SourceConfig("hub:a/b", adapter="mathvista"), ("question", "answer", "image"))
    assert missing_facts("mm_k12", ("id", "question", "answer", "image")) == ("subject", "grade", "license")
    assert missing_facts("gaokao_mm", ("question",)) == ("license",)


def test_columns_of_other_names():
    assert renamed({"q": "Find x."}, {"question": "q"})["question"] == "Find x."
    assert renamed({"q": "Find x."}, {}) == {"q": "Find x."}


def test_rows_of_benchmarks_may_hide_their_answers():
    for name, read in ADAPTERS.items():
        assert read({"id": "1", "question": "Find x.", "answer": "", "images": []}, 0, False).answer == "", name
    assert adapter_of(SourceConfig("hub:a/b"), ("question",), needs_answer=False) == "mm_k12"
    with pytest.raises(ValueError, match="none of them is a question"):
        adapter_of(SourceConfig("hub:a/b"), ("text_of_it",), needs_answer=False)


def test_odd_options_are_named():
    with pytest.raises(RowError, match="the options are a int"):
        ADAPTERS["mm_k12"]({"question": "q", "answer": "A", "image": FIGURE, "options": 5}, 0)
    with pytest.raises(RowError, match="the options are a text without letters: one or two"):
        ADAPTERS["mathvision"]({"question": "q", "answer": "A", "image": FIGURE, "options": "one or two"}, 0)


def test_titles():
    assert SourceConfig("raw/plain.jsonl").title == "plain" and SourceConfig("raw/rows.jsonl").title == "raw"
    assert SourceConfig("/home/alice/problems.jsonl").title == "problems"
    assert SourceConfig("hub:Cierra0506/MM-K12@main").title == "MM-K12"
    assert SourceConfig("data/mathvision/problems.jsonl").title == "mathvision"
    assert SourceConfig("data/nano").title == "nano" and SourceConfig("data/nano", name="n").title == "n"
