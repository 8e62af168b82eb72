"""One reader of figures: every form that transformers' `load_image` takes, every mode, and what is refused."""

import base64
import io
import random
import urllib.parse

import numpy as np
import pytest
import torch
from PIL import Image

from mmprm_hf.models import figure_size, load_image
from mmprm_hf.nano.world import make_problem

FIGURE = make_problem("bar_chart", 1).figure().convert("RGB")
GREY = FIGURE.convert("L")


def encoded(image, image_format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


CONTENT = encoded(FIGURE)
TEXT = base64.b64encode(CONTENT).decode()


def test_a_figure_in_every_form_has_the_same_pixels(tmp_path):
    path = tmp_path / "a figure.png"
    path.write_bytes(CONTENT)
    array = np.asarray(FIGURE)
    broken_lines = "\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76))
    forms = {
        "PIL": FIGURE,
        "path": str(path),
        "Path": path,
        "file://": path.as_uri(),
        "data URI": f"data:image/png;base64,{TEXT}",
        "data URI, percent-encoded Base64": f"data:image/png;base64,{urllib.parse.quote(TEXT, safe='')}",
        "data URI, percent-encoded bytes": f"data:image/png,{urllib.parse.quote_from_bytes(CONTENT)}",
        "Base64": TEXT,
        "Base64 with line breaks": broken_lines,
        "Base64 of the URL-safe alphabet": base64.urlsafe_b64encode(CONTENT).decode().rstrip("="),
        "Base64, percent-encoded": urllib.parse.quote(TEXT, safe=""),
        "bytes": CONTENT,
        "bytearray": bytearray(CONTENT),
        "memoryview": memoryview(CONTENT),
        "open file": io.BytesIO(CONTENT),
        "array": array,
        "array, channels first": np.moveaxis(array, 2, 0),
        "array of shares": array / 255,
        "batch of one": array[None],
        "tensor": torch.from_numpy(array.copy()),
        "tensor of shares, channels first": torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
        "{bytes}": {"bytes": CONTENT, "path": None},
        "{bytes} as Base64": {"bytes": TEXT, "path": None},
        "{path}": {"bytes": None, "path": str(path)},
        "{url}": {"url": f"data:image/png;base64,{TEXT}"},
        "{image_url}": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
    }
    for name, form in forms.items():
        for _ in range(2):  # an open file is read from its start each time
            assert load_image(form).tobytes() == FIGURE.tobytes(), name
        assert figure_size(form) == FIGURE.size, name
    with path.open("rb") as file:
        assert load_image(file).tobytes() == FIGURE.tobytes()


def test_every_mode_keeps_its_shades(tmp_path):
    """Pillow's own conversion of deep grey cuts off, which leaves a white or a black page."""
    shades = np.asarray(GREY)
    deep = {
        "uint16": shades.astype(np.uint16) * 257,
        "int32": shades.astype(np.int32) * 257,
        "int32 of 8 bits": shades.astype(np.int32),
        "float of shares": (shades / 255).astype(np.float32),
        "float of 8 bits": shades.astype(np.float32),
        "float of 16 bits": shades.astype(np.float32) * 257,
        "bool": shades > 127,
    }
    for name, array in deep.items():
        expected = (shades > 127) * 255 if name == "bool" else shades
        images = [array, *([] if name == "bool" else [Image.fromarray(array)])]
        for image in images:
            shown = np.asarray(load_image(image).convert("L")).astype(int)
            assert np.abs(shown - expected).max() <= 1, name  # 16 bits are rounded to 8
    Image.fromarray(deep["uint16"]).save(tmp_path / "deep.pgm")
    assert np.abs(np.asarray(load_image(tmp_path / "deep.pgm").convert("L")).astype(int) - shades).max() <= 1
    for mode in ("1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"):
        image = Image.new(mode, (4, 4)) if mode in ("LAB", "La") else (GREY if mode in ("LA", "PA") else FIGURE)
        if image.mode == "RGB":
            image = (
                image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode if mode != "LAB" else "L")
            )
        assert load_image(image).mode == "RGB", mode


def test_what_is_not_a_figure_is_one_sentence(tmp_path):
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    (tmp_path / "cut.jpg").write_bytes(encoded(noise, "JPEG")[:-200])
    (tmp_path / "text.png").write_text("no figure")
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    huge = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    cases = [
        (str(tmp_path / "cut.jpg"), "cut.jpg' cannot be read .*truncated"),
        (encoded(noise, "JPEG")[:-200], "'given as bytes' cannot be read .*truncated"),
        (str(tmp_path / "text.png"), "its format is unknown"),
        (str(tmp_path / "program.png"), "its format is unknown"),  # Ghostscript is not started
        (huge, "cannot be read"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "none.png"), "does not exist"),
        ("a\0b.png", "has a null character in its name"),
        ("", "does not exist"),
        ("data:image/png;base64,!!!", "holds no image"),
        ("data:image/png;base64," + "A" * 400, "holds no image"),
        ("file://elsewhere/figure.png", "names a file of another machine"),
        ("http://example.org/a.png", "addresses are not fetched unless that is asked for"),
        ({"bytes": "no Base64!"}, "a text that is not Base64"),
        ({"bytes": [1, 2]}, "image bytes of type list"),
        ({"bytes": None, "path": None}, "without bytes and path"),
        (b"", "cannot be read"),
        (io.StringIO("text"), "opened as text"),
        (io.BytesIO(b""), "an empty file"),
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.zeros((8, 8, 2)), "grey with transparency as a PIL image"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.full((2, 2), np.nan), "pixel values from nan"),
        (np.full((2, 2), -1.0), "pixel values from -1 .*Undo a normalisation"),
        (Image.fromarray(np.full((2, 2), 1e9, np.float32)), "pixel values from 1e.*Undo a normalisation"),
        (5, "an image of type int"),
        (None, "an image of type NoneType"),
        ([FIGURE], "an image of type list"),
    ]
    for figure, message in cases:
        for read in (load_image, figure_size):
            with pytest.raises(ValueError, match=message) as caught:
                read(figure)
            assert len(str(caught.value)) < 700, message


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of Pillow, about tags that are wrong
def test_a_file_with_wrong_bytes_is_a_sentence_or_a_figure():
    """What passes the check is what can be loaded."""
    rng, noise, num_refused = random.Random(0), Image.effect_noise((40, 40), 60).convert("RGB"), 0
    for image_format in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        content = encoded(noise, image_format)
        for _ in range(100):
            broken = bytearray(content)
            for _ in range(rng.choice([1, 3, 20])):
                broken[rng.randrange(min(len(broken), 200) if rng.random() < 0.6 else len(broken))] = rng.randrange(256)
            broken = bytes(broken[: rng.randrange(len(broken))] if rng.random() < 0.3 else broken)
            try:
                size = figure_size(broken)
            except ValueError:
                num_refused += 1
                with pytest.raises(ValueError, match="cannot be read"):
                    load_image(broken)
            else:
                assert load_image(broken).size == size
    assert 300 < num_refused < 700


def test_a_figure_is_decoded_once_for_each_content(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(encoded(Image.new("RGB", (31, 17), "red")))
    opened = []
    real_open = Image.open
    monkeypatch.setattr(
        Image, "open", lambda *arguments, **options: opened.append(1) or real_open(*arguments, **options)
    )
    for _ in range(3):
        assert {figure_size(path) for path in paths} == {(31, 17)}
        assert figure_size(paths[0].read_bytes()) == (31, 17)
    assert len(opened) == 3  # two files, and one content
    paths[0].write_bytes(b"broken since")
    with pytest.raises(ValueError, match="its format is unknown"):
        figure_size(paths[0])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_figures_with_too_many_pixels_are_to_be_made_smaller(monkeypatch):
    for limit in (90, 40):  # Pillow itself refuses those over twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="pixels.*limit|more than MAX_IMAGE_PIXELS=90 of Pillow") as caught:
            load_image(encoded(Image.new("RGB", (10, 10))))
        assert str(caught.value).endswith("Make it smaller.")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(encoded(Image.new("RGB", (10, 10)))).size == (10, 10)


def test_the_processor_takes_the_calls_that_every_processor_takes(prm_processor):
    plain = prm_processor(images=FIGURE, text="q", steps=["a"])
    stock = prm_processor(images=FIGURE, text="q", steps=["a"], return_tensors="pt", padding=True)
    assert all(torch.equal(plain[name], stock[name]) for name in plain)
    shared = prm_processor(images=FIGURE, text=["q", "q"], steps=[["a"], ["b"]])
    apart = prm_processor(images=[FIGURE, [FIGURE]], text=["q", "q"], steps=[["a"], ["b"]])
    assert all(torch.equal(shared[name], apart[name]) for name in shared)
    arrays = prm_processor(images=np.asarray(FIGURE), text="q", steps=["a"])
    assert all(torch.equal(plain[name], arrays[name]) for name in plain)
    with pytest.raises(ValueError, match="Found padding=False, return_tensors='np'"):
        prm_processor(images=FIGURE, text="q", padding=False, return_tensors="np")
