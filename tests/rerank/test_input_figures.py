"""Figures of every size and kind go through the pipeline, and are shown as they are to be seen."""

import pytest
from PIL import Image
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.models.images_mm_prm import load_image
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.inputs import read_problem

SIZES = [(8000, 60), (60, 8000), (1, 1), (1, 500), (2000, 2000)]
MODES = ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
FIGURE = make_problem("bar_chart", 1).figure().convert("RGB")
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def nano():
    return pipeline("generate-and-rerank", model=str(POLICY_PATH), prm=str(PRM_PATH))


def in_mode(mode):
    """The figure in a mode that Pillow may not convert to in one go."""
    if mode == "I;16":
        image = Image.new("I;16", FIGURE.size)
        image.putdata([value * 257 for value in FIGURE.convert("L").tobytes()])
        return image
    return FIGURE.convert("L").convert(mode) if mode in ("LA", "PA", "I", "F") else FIGURE.convert(mode)


def test_every_figure_gets_an_output(nano):
    figures = [Image.new("RGB", size, RED) for size in SIZES] + [in_mode(mode) for mode in MODES]
    rows = [{"images": figure, "text": "What is A?"} for figure in figures]
    outputs = nano(rows, num_candidates=2, max_new_tokens=8, return_candidates=True)
    assert [len(output["candidates"]) for output in outputs] == [2] * len(figures)
    assert all(candidate["num_tokens"] > 0 for output in outputs for candidate in output["candidates"])


def test_16_bit_grey_keeps_its_shades(tmp_path):
    """Pillow's own conversion cuts off at 255 of 65,535, which leaves a white page."""
    in_mode("I;16").save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as opened:
        assert opened.mode == "I;16"
    shown = load_image(tmp_path / "deep.png").convert("L")
    assert shown.tobytes() == FIGURE.convert("L").tobytes() and len(set(shown.tobytes())) > 2


def test_a_photograph_on_its_side_is_shown_upright(tmp_path):
    upright = Image.new("RGB", (20, 10), RED)
    upright.paste(BLUE, (0, 0, 5, 5))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    shown = load_image(tmp_path / "side.png")
    assert shown.size == (20, 10) and shown.tobytes() == upright.tobytes()
    sideways, straight = (read_problem({"images": image, "text": "q"})[0] for image in (tmp_path / "side.png", upright))
    assert sideways.id == straight.id


def test_the_first_frame_of_an_animation_is_shown(nano, tmp_path):
    frames = [Image.new("RGB", (40, 40), color) for color in (RED, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as opened:
        assert opened.n_frames == 2
    call = {"num_candidates": 2, "max_new_tokens": 8, "return_candidates": True}
    moving = nano(images=tmp_path / "moving.gif", text="What is A?", **call)
    still = nano(images=frames[0], text="What is A?", **call)
    assert [c["text"] for c in moving["candidates"]] == [c["text"] for c in still["candidates"]]


def test_transparent_parts_are_white(tmp_path):
    """Black lines on nothing: as plain RGB they would be black on black."""
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (0, 0, 4, 8))
    drawing.putpixel((7, 7), (0, 0, 0, 51))
    for mode in ("RGBA", "LA", "P"):
        drawing.convert(mode).save(tmp_path / f"{mode}.png")
        shown = load_image(tmp_path / f"{mode}.png")
        assert shown.mode == "RGB"
        assert shown.getpixel((0, 0)) == (0, 0, 0) and shown.getpixel((5, 0)) == (255, 255, 255)
        if mode != "P":
            assert shown.getpixel((7, 7)) == (204, 204, 204), "a fifth black"
