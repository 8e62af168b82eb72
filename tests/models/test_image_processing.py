"""Tiling and pixel values against published MM-PRM, and the tiled base processor."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.original_internvl import GOLDEN, INTERNVL_TOKENS
from support.tiny_models import make_figure, make_tokenizer
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

from mmprm_hf.models import MMPRMTiledProcessor, tiling_image_processor

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden files are not at {GOLDEN}")


@pytest.fixture(scope="module")
def processor():
    tokenizer = make_tokenizer(with_marker=True)
    tokenizer.add_special_tokens({"extra_special_tokens": INTERNVL_TOKENS}, replace_extra_special_tokens=False)
    tokenizer.chat_template = None
    return MMPRMTiledProcessor(tiling_image_processor(28), tokenizer, image_seq_length=4)


@needs_golden
def test_grids_equal_the_published_ones():
    """All 252 rows, ties of the aspect ratio (decided by the area) included."""
    golden = json.loads((GOLDEN / "tiles.json").read_text())
    assert len(golden["rows"]) == 252
    size = golden["image_size"]
    for row in golden["rows"]:
        images = tiling_image_processor(size, golden["min_num"], row["max_num"])
        number = images.get_number_of_image_patches(row["height"], row["width"])
        assert number == row["tiles_with_thumbnail"], row
        grid = get_optimal_tiled_canvas((row["height"], row["width"]), (size, size), golden["min_num"], row["max_num"])
        assert list(grid) == row["grid_cols_rows"], row


@needs_golden
def test_tiles_are_cut_from_the_published_grid():
    """The grid itself, (columns, rows) and row by row: a horizontal ramp rises inside a row of tiles only."""
    golden = json.loads((GOLDEN / "tiles.json").read_text())
    for row in golden["rows"][::28]:
        ramp = Image.linear_gradient("L").rotate(90).resize((row["width"], row["height"])).convert("RGB")
        processor = tiling_image_processor(golden["image_size"], 1, row["max_num"])
        columns, rows = row["grid_cols_rows"]
        tiles = processor(images=ramp, return_tensors="pt")["pixel_values"][: columns * rows]
        means = tiles.mean((1, 2, 3)).view(rows, columns)
        assert (means.diff(dim=1) > 0.1).all(), row
        assert (means.diff(dim=0).abs() < 0.05).all(), row


@needs_golden
@pytest.mark.parametrize(
    ("name", "key", "num_tiles"),
    [("sq60", "sq60", 1), ("wide120x60", "wide120x60", 3), ("tall50x110", "tall50x110_nothumb", 2)],
)
def test_pixel_values_equal_the_published_ones(name, key, num_tiles):
    expected = load_file(GOLDEN / "internvl_internlm2" / "golden_inputs.safetensors")[f"pixel_values/{key}"]
    image = Image.open(GOLDEN / "images" / f"{name}.png")
    ours = tiling_image_processor(56)(images=image, return_tensors="pt")["pixel_values"][:num_tiles]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)  # float32 of (grey level / 255 - mean) / std


def test_tiles_row_by_row_then_the_thumbnail():
    image = Image.new("RGB", (56, 28))
    image.paste((255, 0, 0), (28, 0, 56, 28))
    tiles = tiling_image_processor(28)(images=image, return_tensors="pt")["pixel_values"]
    assert tiles.shape == (3, 3, 28, 28)
    red = tiles[:, 0].mean((1, 2))
    assert red[0] < red[2] < red[1]
    single = tiling_image_processor(28, dynamic=False)(images=image, return_tensors="pt")["pixel_values"]
    assert torch.equal(single, tiles[2:])


def test_placeholders_become_tokens_per_tile(processor):
    wide, square = make_figure(0).resize((60, 28)), make_figure(1)
    batch = processor(
        images=[[wide, square], [], [square]],
        text=["a<IMG_CONTEXT>b<IMG_CONTEXT>", "c", "<IMG_CONTEXT>"],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    tokens = [
        "".join(processor.tokenizer.convert_ids_to_tokens(row[mask.bool()].tolist()))
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    square_tokens, wide_tokens = ("<img>" + "<IMG_CONTEXT>" * (4 * num_tiles) + "</img>" for num_tiles in (1, 3))
    assert tokens == [f"a{wide_tokens}b{square_tokens}", "c", square_tokens]
    assert batch["pixel_values"].shape == (5, 3, 28, 28)
    assert torch.equal(batch["pixel_values"][3], batch["pixel_values"][4])
    assert "pixel_values" not in processor(text=["c"], return_tensors="pt")


def test_wrong_numbers_of_images_are_refused(processor):
    with pytest.raises(ValueError, match=r"Found 1 times '<IMG_CONTEXT>' but 2 images in row 1"):
        processor(images=[[], [make_figure(0)] * 2], text=["a", "<IMG_CONTEXT>"])
    with pytest.raises(ValueError, match=r"Found 1 times '<IMG_CONTEXT>' but 0 images in row 0"):
        processor(text="<IMG_CONTEXT>")
    with pytest.raises(ValueError, match="Found 2 texts and 1 lists of images"):
        processor(images=[[]], text=["a", "b"])


def test_reloading_keeps_the_pil_resize_and_all_settings(processor, tmp_path, monkeypatch):
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr("transformers.AutoImageProcessor.from_pretrained", None)  # it would prefer torchvision
    again = MMPRMTiledProcessor.from_pretrained(tmp_path)
    assert type(again.image_processor) is GotOcr2ImageProcessorPil
    assert again.to_dict() == processor.to_dict()
    arguments = {"images": [[make_figure(0).resize((70, 30))]], "text": ["<IMG_CONTEXT>x"], "return_tensors": "pt"}
    first, second = processor(**arguments), again(**arguments)
    assert all(torch.equal(first[name], second[name]) for name in first)
