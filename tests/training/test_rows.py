"""Rows: which are bad and why, conversations, figures, lengths."""

from __future__ import annotations

import io

import datasets
import pytest
from PIL import Image

from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.rows import RowLimits, check_rows, row_prompt, row_steps
from mmprm_hf.training.targets import BadRowError

ROW = {"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0]}


def test_bad_rows_are_named_or_dropped_and_counted(prm_processor, figures):
    good = {**ROW, "images": [figures[0]]}
    limits = RowLimits(90)
    for change, reason, message in (
        ({"labels": [1.0]}, "label_count", "Found 2 steps in completions but 1 labels"),
        ({"labels": [1.0, float("nan")]}, "label_range", "Found label nan at step_index 1"),
        ({"labels": [1.0, 1.5]}, "label_range", "Found label 1.5 at step_index 1"),
        ({"label_counts": [[3, 2], [0, 1]]}, "label_range", r"Found label count \[3, 2\] at step_index 0"),
        ({"completions": ["a", " "]}, "text", "Found an empty step .* step_index 1"),
        (
            {"completions": ["a", "b <prm>"]},
            "text",
            "Found the control token '<prm>' inside the step with step_index 1",
        ),
        ({"prompt": "<image> <image>"}, "image", r"Found 2 placeholders \('<image>'\) in the question but 1 figure"),
        ({"prompt": "   "}, "text", "Found an empty question"),
        ({"prompt": None}, "no_column", r"Found no \['prompt'\]"),
        ({"completions": ["a", "b" * 80]}, "over_long", r"Found \d+ tokens, more than max_length 90"),
        ({"images": ["/no/such/figure.png"]}, "image", "Image '/no/such/figure.png' does not exist"),
        ({"completions": [], "labels": []}, "no_steps", "Found no steps"),
        ({"labels": None}, "no_labels", "Found neither `labels` nor `label_counts`"),
    ):
        bad = {**good, **change}
        with pytest.raises(BadRowError, match=f"Row 1: {message}"):
            check_rows([good, bad], prm_processor, limits=limits)
        checked = check_rows([good, bad, good], prm_processor, limits=limits, on_bad_row="drop")
        assert checked.rows == [good, good] and len(checked.lengths) == 2
        assert checked.dropped == {reason: 1}


def test_rows_of_a_wrong_type_are_named_or_dropped(prm_processor, figures):
    """A text as a list of steps would be trained on letter by letter."""
    good = {**ROW, "images": [figures[0]]}
    for change, reason, message in (
        ({"labels": 1}, "wrong_type", "Found labels=1, a int. labels is a list, one entry per step"),
        ({"labels": "10"}, "wrong_type", "Found labels='10', a str"),
        ({"labels": float("nan")}, "no_labels", "Found neither `labels` nor"),
        ({"label_counts": 3}, "wrong_type", "Found label_counts=3"),
        ({"label_weights": 0.5}, "wrong_type", "Found label_weights=0.5"),
        ({"completions": 5}, "wrong_type", "Found completions=5"),
        ({"completions": "AB"}, "wrong_type", "Found completions='AB', a str. completions is a list"),
        ({"completions": [None, "b"]}, "wrong_type", "Found None as the step 0. Give a text"),
        ({"completions": ["a", 5]}, "wrong_type", "Found 5 as the step 1"),
        ({"completions": None}, "no_column", r"Found no \['completions'\]"),
        ({"completions": ["a", "half \ud800"]}, "text", "Found half a character"),
        ({"labels": [10**400, 0]}, "label_range", "Found label 1000"),
        ({"problem_id": ["p"]}, "wrong_type", r"Found problem_id=\['p'\]. It must be a text or a whole number"),
        ({"prompt": 5}, "wrong_type", "Found 5 as the prompt"),
        ({"prompt": float("nan")}, "no_column", r"Found no \['prompt'\]"),
        ({"prompt": []}, "wrong_type", r"Found \[\] as the prompt"),
        ({"images": [figures[0], None]}, "image", "The row has 1 empty figures among 2"),
        ({"images": 5}, "image", "Found an image of type int"),
        ({"images": [{"bytes": "no Base64!"}]}, "image", "Found the image bytes .*, a text that is not Base64"),
        ({"completions": ["a" * 600_000] * 2}, "over_long", "Found 1200001 characters, more than 1000000"),
    ):
        bad = {**good, **change}
        with pytest.raises(BadRowError, match=f"Row 1: {message}"):
            check_rows([good, bad], prm_processor)
        assert check_rows([good, bad], prm_processor, on_bad_row="drop").dropped == {reason: 1}
    for row in (None, 5, "row", ["prompt"]):
        with pytest.raises(BadRowError, match=f"Row 1: Found a {type(row).__name__}, .*A row has named columns"):
            check_rows([good, row], prm_processor)


def test_a_figure_whose_pixels_are_cut_is_a_bad_row(prm_processor):
    """Its size can be read, and a training would end at it without naming the row."""
    buffer = io.BytesIO()
    Image.effect_noise((100, 100), 90).convert("RGB").save(buffer, "JPEG")
    whole, cut = buffer.getvalue(), buffer.getvalue()[:-200]
    rows = [{**ROW, "images": [{"bytes": content, "path": None}]} for content in (whole, whole, cut)]
    images = datasets.List(datasets.Image())
    for data in (rows, datasets.Dataset.from_list(rows).cast_column("images", images)):
        with pytest.raises(BadRowError, match="Row 2: Image 'given as bytes' cannot be read .*truncated"):
            check_rows(data, prm_processor)
        checked = check_rows(data, prm_processor, on_bad_row="drop")
        assert checked.dropped == {"image": 1}
        assert len(PRMCollator(prm_processor)([checked.rows[index] for index in range(2)])["input_ids"]) == 2


def test_what_is_not_a_dataset_or_has_no_usable_row_is_refused(prm_processor):
    for wrong, kind in ((datasets.DatasetDict({}), "DatasetDict"), (iter([ROW]), "list_iterator"), ("rows", "str")):
        with pytest.raises(ValueError, match=f"Found a {kind} as train rows. Give a datasets.Dataset or a list"):
            check_rows(wrong, prm_processor)
    with pytest.raises(ValueError, match=r"None of 1 far rows can be trained on: {'no_steps': 1}"):
        check_rows([{**ROW, "completions": [], "labels": []}], prm_processor, on_bad_row="drop", name="far")


def test_counted_tokens_are_the_encoded_ones(prm_processor, figures):
    rows = [
        {**ROW, "completions": ["step" * index, "b"], "images": figures[: index % 3], "prompt": f"What is {index}?"}
        for index in range(1, 6)
    ]
    lengths = [int(PRMCollator(prm_processor)([row])["attention_mask"].sum()) for row in rows]
    assert check_rows(rows, prm_processor, limits=RowLimits(max(lengths))).lengths == lengths
    with pytest.raises(BadRowError, match=f"Found {max(lengths)} tokens, more than max_length"):
        check_rows(rows, prm_processor, limits=RowLimits(max(lengths) - 1))
    for limits, name in ((RowLimits(prompt=5), "max_prompt_length"), (RowLimits(steps=3), "max_completion_length")):
        with pytest.raises(BadRowError, match=f"more than {name}"):
            check_rows(rows, prm_processor, limits=limits)


def test_conversational_rows_are_the_plain_ones(prm_processor, figures):
    plain = {**ROW, "prompt": "What is x?", "images": [figures[0]]}
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is x?"}]}
    turns = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    nested = {**plain, "prompt": [{"role": "user", "content": "What is x?"}], "completions": [[turn] for turn in turns]}
    for row in ({**plain, "prompt": [user], "completions": turns}, nested):
        assert (row_prompt(row), row_steps(row)) == ("What is x?", ["a", "b"])
        assert check_rows([row], prm_processor).lengths == check_rows([plain], prm_processor).lengths


def test_other_conversations_are_bad_rows(prm_processor):
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "q"}
    for change, message in (
        ({"prompt": [system, user]}, r"turns \['system', 'user'\] in the prompt. Give a text, or one turn of the user"),
        ({"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}, "Found the content .* in the prompt"),
        ({"completions": [user, "b"]}, r"turns \['user'\] in the step 0"),
        ({"completions": ["a", {"role": "assistant", "content": None}]}, "Found the content 'None' in the step 1"),
    ):
        with pytest.raises(BadRowError, match=message):
            check_rows([{**ROW, **change}], prm_processor)
        assert check_rows([ROW, {**ROW, **change}], prm_processor, on_bad_row="drop").dropped == {"conversation": 1}


def test_figures_are_never_silently_left_out(prm_processor, figures):
    part, text = {"type": "image", "image": figures[0]}, {"type": "text", "text": "q"}
    row = {**ROW, "prompt": [{"role": "user", "content": [part, text]}]}
    with pytest.raises(BadRowError, match="Found 1 image parts in the prompt but 0 images"):
        check_rows([row], prm_processor)
    assert len(check_rows([{**row, "images": [figures[0]]}], prm_processor).rows) == 1
    assert "pixel_values" in PRMCollator(prm_processor)([{**ROW, "images": [], "image": figures[0]}])
