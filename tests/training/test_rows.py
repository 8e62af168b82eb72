"""Rows: which are bad and why, conversations, figures, lengths."""

from __future__ import annotations

import datasets
import pytest

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
        ({"prompt": "see <image>"}, "text", "Found the control token '<image>' inside the question"),
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
