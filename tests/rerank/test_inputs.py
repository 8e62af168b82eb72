"""What users hand to the pipeline: figures from anywhere, chats, rows, batches, generators, datasets, and bad ones."""

import base64
import contextlib
import functools
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest
from PIL import Image
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import problems

NANO = problems("test", 3)
TEXTS, FIGURES = [one.question for one in NANO], [one.figure() for one in NANO]
SHORT = {"num_candidates": 2, "return_candidates": True, "max_new_tokens": 24}


@pytest.fixture(scope="module")
def nano():
    return functools.partial(pipeline("generate-and-rerank", model=str(POLICY_PATH), prm=str(PRM_PATH)), **SHORT)


@pytest.fixture(scope="module")
def expected(nano):
    """What each of the three problems gets by itself."""
    return [texts(nano(images=figure, text=text)) for figure, text in zip(FIGURES, TEXTS, strict=True)]


def texts(output):
    """The candidates' texts of one output, or of several."""
    return [row["text"] for row in output["candidates"]] if isinstance(output, dict) else [texts(one) for one in output]


def png(figure) -> bytes:
    file = io.BytesIO()
    figure.save(file, "PNG")
    return file.getvalue()


def data_uri(figure) -> str:
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode()


@contextlib.contextmanager
def image_server(files):
    """A web server on loopback with these files; everything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802 (the name that http.server calls)
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def chat(text, *figures, system=None):
    content = [{"type": "image", "image": figure} for figure in figures] + [{"type": "text", "text": text}]
    turns = [] if system is None else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": content}]


def test_one_figure_in_every_spelling_gives_the_same_candidates(nano, expected, tmp_path):
    figure, text = FIGURES[0], TEXTS[0]
    path = tmp_path / "figure.png"
    figure.save(path)
    spellings = [figure, [figure], str(path), [str(path)], path, data_uri(figure)]
    for images in spellings:
        assert texts(nano(images=images, text=text)) == expected[0]
    encoded = base64.b64encode(png(figure)).decode()
    parts = [
        {"type": "image", "image": figure},
        {"type": "image", "url": str(path)},
        {"type": "image", "path": str(path)},
        {"type": "image", "base64": encoded},
        {"type": "image_url", "image_url": {"url": data_uri(figure)}},
    ]
    for part in parts:
        assert texts(nano([{"role": "user", "content": [part, {"type": "text", "text": text}]}])) == expected[0]
    assert texts(nano(text=chat(text, figure))) == expected[0]
    assert texts(nano({"images": figure, "text": text})) == texts(nano({"image": figure, "question": text}))


def test_figures_come_from_the_web_and_what_is_none_is_refused(nano, expected):
    with image_server({"/a.png": png(FIGURES[0]), "/b.html": b"<html>", "/cut.png": png(FIGURES[0])[:60]}) as url:
        assert texts(nano(images=f"{url}/a.png", text=TEXTS[0])) == expected[0]
        for name in ("none.png", "b.html", "cut.png"):
            with pytest.raises(ValueError, match=rf"Image '{url}/{name}' cannot be read"):
                nano(images=f"{url}/{name}", text=TEXTS[0])
    with pytest.raises(ValueError, match="Image 'data:image/png;base64,AAAA' cannot be read"):
        nano(images="data:image/png;base64,AAAA", text=TEXTS[0])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_lists_generators_and_datasets_give_what_each_problem_gives_alone(nano, expected, batch_size):
    rows = [{"images": figure, "text": text} for figure, text in zip(FIGURES, TEXTS, strict=True)]
    table = datasets.Dataset.from_list([{"images": [row["images"]], "question": row["text"]} for row in rows])
    assert texts(nano(images=FIGURES, text=TEXTS, batch_size=batch_size)) == expected
    assert texts(nano(rows, batch_size=batch_size)) == expected
    assert texts(nano([chat(text, figure) for figure, text in zip(FIGURES, TEXTS, strict=True)])) == expected
    assert texts(list(nano((row for row in rows), batch_size=batch_size))) == expected
    assert texts(list(nano(table, batch_size=batch_size))) == expected
    assert texts(list(nano(table.to_iterable_dataset(), batch_size=batch_size))) == expected


def test_a_generator_is_read_a_batch_at_a_time(nano):
    num_read = 0

    def rows():
        nonlocal num_read
        for figure, text in zip(FIGURES, TEXTS, strict=True):
            num_read += 1
            yield {"images": figure, "text": text}

    outputs = nano(rows(), batch_size=1)
    assert num_read == 0
    next(outputs)
    assert num_read == 1


def test_more_figures_and_none_are_shown(nano, expected):
    assert texts(nano(images=[FIGURES[0], FIGURES[1]], text=TEXTS[0])) != expected[0]
    assert texts(nano(text=TEXTS[0])) != expected[0]


def test_problems_with_other_system_prompts_share_a_batch(tiny_policy_dir, tiny_prm_dir):
    tiny = functools.partial(pipeline("generate-and-rerank", model=tiny_policy_dir, prm=tiny_prm_dir), **SHORT)
    chats = [chat("What is A?", FIGURES[0], system=system) for system in ("Be brief.", None, "Be kind.")]
    together = texts(tiny(chats))
    assert together == [texts(tiny(one)) for one in chats]
    assert len({str(one) for one in together}) == 3


@pytest.mark.parametrize("strategy", ["best_of_n", "beam_search"])
def test_a_problem_that_cannot_be_shown_gets_an_error_of_its_own(nano, strategy):
    rows = [
        {"images": FIGURES[0], "text": TEXTS[0]},
        {"images": "no.png", "text": TEXTS[1]},
        {"images": FIGURES[1], "text": " "},
        {"images": FIGURES[1], "text": "Is it <prm>?"},
        {"images": FIGURES[1], "text": TEXTS[1]},
    ]
    first, missing, empty, marker, last = nano(rows, on_error="return", strategy=strategy)
    assert "Image 'no.png' does not exist" in missing["error"] and set(missing) == {"error"}
    assert "empty question" in empty["error"] and "control token '<prm>'" in marker["error"]
    good = nano([rows[0], rows[-1]], strategy=strategy)
    assert texts([first, last]) == texts(good)
    with pytest.raises(ValueError, match="no.png"):
        nano(rows, strategy=strategy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "Found batch_size=0"),
        ({"on_error": "skip"}, "Found on_error='skip'; it is 'raise' or 'return'"),
        ({"temperature": -1.0}, "Found temperature=-1.0"),
        ({"strategy": "beam_serach"}, "Did you mean 'beam_search'"),
        ({"beam_width": 5, "strategy": "dvts"}, "Found beam_width=5 with num_candidates=2"),
        ({"num_beams": 5}, "Unknown option 'num_beams'"),
    ],
)
def test_bad_options_fail_before_a_generator_is_read(nano, options, message):
    rows = iter([{"images": FIGURES[0], "text": TEXTS[0]}])
    with pytest.raises(ValueError, match=message):
        nano(rows, **options)
    assert next(rows)


def odd_figures():
    """Figures of every size and mode that files have."""
    figure = FIGURES[0]
    sideways = Image.Exif()
    sideways[0x0112] = 6
    frames = [figure.convert("P"), FIGURES[1].convert("P")]
    yield "tall", Image.new("RGB", (60, 8000)), "PNG", {}
    yield "wide", Image.new("RGB", (8000, 60)), "JPEG", {}
    yield "one pixel", Image.new("RGB", (1, 1)), "PNG", {}
    yield "RGBA", figure.convert("RGBA"), "PNG", {}
    yield "palette", figure.convert("P"), "PNG", {}
    yield "gray and alpha", figure.convert("LA"), "PNG", {}
    yield "black and white", figure.convert("1"), "PNG", {}
    yield "16 bits", figure.convert("L").convert("I;16"), "PNG", {}
    yield "CMYK", figure.convert("CMYK"), "JPEG", {}
    yield "sideways", figure, "JPEG", {"exif": sideways}
    yield "animated", frames[0], "GIF", {"save_all": True, "append_images": frames[1:]}
    yield "webp", figure, "WEBP", {}


def test_figures_of_every_size_and_mode_are_shown(nano, tmp_path):
    names = []
    for name, figure, kind, options in odd_figures():
        figure.save(tmp_path / f"{name}.{kind.lower()}", kind, **options)
        names.append(tmp_path / f"{name}.{kind.lower()}")
    outputs = nano(images=[str(path) for path in names], text=["What is A?"] * len(names))
    assert len(outputs) == len(names) and all(len(output["candidates"]) == 2 for output in outputs)
