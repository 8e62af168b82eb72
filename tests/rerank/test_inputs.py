"""What ``pipeline("generate-and-rerank")`` takes: every form of a problem, in any collection, and what it refuses."""

import base64
import io
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import datasets
import pytest
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils.chat_template_utils import Chat

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.inputs import read_problem

SHORT = {"num_candidates": 2, "max_new_tokens": 6, "return_candidates": True}
CLOCK, BARS = make_problem("clock", 2), make_problem("bar_chart", 1)
FIGURE, QUESTION = CLOCK.figure(), CLOCK.question


@pytest.fixture(scope="module")
def nano():
    return pipeline("generate-and-rerank", model=str(POLICY_PATH), prm=str(PRM_PATH))


@pytest.fixture(scope="module")
def reference(nano):
    """Candidates of the clock; their draws depend on a hash of what is shown, so equal texts mean equal problems."""
    return texts(nano(images=FIGURE, text=QUESTION, **SHORT))


HERE = ["127.0.0.1"]  # an address of this machine is fetched only where it is named


@pytest.fixture(scope="module")
def address():
    """A server on loopback: a figure, a page, and an error whose body is a figure."""
    bodies = {"/figure.png": (200, png(FIGURE)), "/page": (200, b"<html>no figure</html>"), "/404": (404, png(FIGURE))}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/figure.png")
                self.end_headers()
                return
            status, body = bodies[self.path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def texts(output):
    return [candidate["text"] for candidate in output["candidates"]]


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def chat(*parts, system=None):
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}
    return [turn] if system is None else [{"role": "system", "content": system}, turn]


ENCODED = base64.b64encode(png(FIGURE)).decode()
PARTS = {
    "image": {"type": "image", "image": FIGURE},
    "base64": {"type": "image", "base64": ENCODED},
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
    "data uri": {"type": "image", "url": f"data:image/png;base64,{ENCODED}"},
}
FIGURES = {
    "pil": FIGURE,
    "list": [FIGURE],
    "tuple": (FIGURE,),
    "data uri": f"data:image/png;base64,{ENCODED}",
    "Base64": ENCODED,
    "bytes of datasets": {"bytes": png(FIGURE), "path": None},
}
ONE = {
    "row": ({"images": FIGURE, "text": QUESTION},),
    "row in MM-K12's names": ({"image": FIGURE, "question": QUESTION},),
    "row with an empty text column": ({"images": [FIGURE], "text": None, "question": QUESTION},),
    **{f"chat, {name}": (chat(part),) for name, part in PARTS.items()},
    "chat as text": (None, chat(PARTS["image"])),
    "transformers' Chat": (Chat(chat(PARTS["image"])),),
}
ROWS = [{"images": [FIGURE], "text": QUESTION, "chat": chat(PARTS["image"])}] * 2
DATASET = datasets.Dataset.from_dict({"images": [[FIGURE]] * 2, "text": [QUESTION] * 2})


class Indexed:
    """A dataset that knows its length and its rows by index, as torch's do."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        return ROWS[min(index, 1)]  # raises at no index


MANY = {
    "rows": (ROWS,),
    "chats": ([row["chat"] for row in ROWS],),
    "chats as text": (None, [row["chat"] for row in ROWS]),
    "lists of figures and texts": ([FIGURE, FIGURE], [QUESTION, QUESTION]),
    "lists of lists of figures": ([[FIGURE], [FIGURE]], [QUESTION, QUESTION]),
    "one figure and a list of one text": (FIGURE, [QUESTION]),
    "generator": ((row for row in ROWS),),
    "Dataset": (DATASET,),
    "IterableDataset": (DATASET.to_iterable_dataset(),),
    "columns of a Dataset": (DATASET["images"], DATASET["text"]),
    "KeyDatasets": (KeyDataset(ROWS, "images"), KeyDataset(ROWS, "text")),
    "KeyDataset of chats": (KeyDataset(ROWS, "chat"),),
    "KeyDataset of chats as text": (None, KeyDataset(ROWS, "chat")),
    "torch dataset": (Indexed(),),
}


LAZY = ("generator", "Dataset", "IterableDataset", "KeyDataset of chats", "torch dataset")


def test_a_figure_in_any_form_is_the_same_problem():
    expected, _ = read_problem({"images": [FIGURE.convert("RGB")], "text": QUESTION})
    for form, figure in FIGURES.items():
        assert read_problem({"images": figure, "text": QUESTION})[0] == expected, form


def test_one_problem_in_any_form_gets_the_same_candidates(nano, reference):
    for form, arguments in ONE.items():
        assert texts(nano(*arguments, **SHORT)) == reference, form


def test_collections_in_any_form_get_the_same_candidates(nano, reference):
    for form, arguments in MANY.items():
        outputs = nano(*arguments, **SHORT)
        assert isinstance(outputs, list) == (form not in LAZY), form
        num_problems = 1 if form == "one figure and a list of one text" else 2
        assert [texts(output) for output in outputs] == [reference] * num_problems, form


def test_paths_and_addresses(nano, reference, address, tmp_path):
    path = tmp_path / "figure.png"
    FIGURE.save(path)
    sources = [str(path), path, f"{address}/figure.png", f"{address}/moved"]
    outputs = nano(images=sources, text=[QUESTION] * len(sources), allow_urls=HERE, **SHORT)
    assert [texts(output) for output in outputs] == [reference] * len(sources)
    part = {"type": "image", "path": str(path)}
    assert texts(nano(chat(part), **SHORT)) == reference


def test_addresses_that_give_no_figure_are_named(nano, address):
    with pytest.raises(ValueError, match="lies at the private address 127.0.0.1, which is not fetched"):
        nano(images=f"{address}/figure.png", text=QUESTION, **SHORT)
    with pytest.raises(ValueError, match="addresses are not fetched unless that is asked for"):
        nano(images=f"{address}/figure.png", text=QUESTION, allow_urls=False, **SHORT)
    with pytest.raises(ValueError, match="/404' cannot be fetched \\(HTTP 404\\)"):
        nano(images=f"{address}/404", text=QUESTION, allow_urls=HERE, **SHORT)
    with pytest.raises(ValueError, match="/page' holds no image: .*its format is unknown"):
        nano(images=f"{address}/page", text=QUESTION, allow_urls=HERE, **SHORT)
    with pytest.raises(ConnectionError, match="127.0.0.1:9/x.png' cannot be reached .*Try again later"):
        nano(images="http://127.0.0.1:9/x.png", text=QUESTION, allow_urls=HERE, **SHORT)
    with pytest.raises(ValueError, match="'http://' cannot be fetched"):
        nano(images="http://", text=QUESTION, **SHORT)
    with pytest.raises(ValueError, match="^Image 'data:image/png;base64,AAAA.{0,100}' holds no image") as caught:
        nano(images=f"data:image/png;base64,{'A' * 4000}", text=QUESTION, **SHORT)
    assert len(str(caught.value)) < 400
    with pytest.raises(ValueError, match="does not exist"):
        nano(images="figures/" * 10, text=QUESTION, **SHORT)


def test_no_figure_and_several_are_other_problems(nano, reference):
    figures = [None, [], [FIGURE, FIGURE], [FIGURE, BARS.figure(), FIGURE]]
    none, empty, two, three = nano(images=figures, text=[QUESTION] * 4, **SHORT)
    assert texts(none) == texts(empty) == texts(nano(text=QUESTION, **SHORT)) != reference
    assert texts(two) != reference and texts(two) != texts(three)


def test_a_system_prompt_is_shown_and_belongs_to_its_chat(nano, reference):
    spoken = chat(PARTS["image"], system="Say B=1 first.")
    as_parts = [{"role": "system", "content": [{"type": "text", "text": "Say B=1 first."}]}, spoken[1]]
    with_prompt, again, without = nano([spoken, as_parts, chat(PARTS["image"])], **SHORT)
    assert texts(with_prompt) == texts(again) and texts(without) == reference
    assert read_problem(spoken)[1] == "Say B=1 first."


BAD_ROWS = [
    ([*chat(), {"role": "assistant", "content": "A=1"}], "the turns user, assistant"),
    ([*chat(), {"role": "assistant", "content": "A=1"}, *chat()], "the turns user, assistant, user"),
    ([{"role": "system", "content": "Be brief."}], "the turns system"),
    ([{"role": "user", "content": None}], "Found the content None in a chat"),
    ([{"role": "user", "content": ["What is A?"]}], "It is a text, or a list of parts"),
    ([{"role": "user", "content": [{"type": "text"}]}], "a text part without a text"),
    ([*chat(), "What is A?"], "an entry that is not a message"),
    (chat(system=[PARTS["image"]]), "an image in the system turn"),
    ({"images": FIGURE, "text": ["What is A?", "What is B?"]}, "It must be one text; of several problems give rows"),
    ({"images": FIGURE, "text": None}, "Found the question None"),
    ({"images": FIGURE, "text": " \n"}, "empty question"),
    ({"images": FIGURE, "text": "Is <prm> good?"}, "control token '<prm>'"),
    ({"images": [FIGURE, None], "text": QUESTION}, "has 1 empty figures among 2"),
    ({"images": b"x", "text": QUESTION}, "given as bytes. cannot be read"),
    (None, "Found the input None"),
]


def test_a_bad_row_raises_or_has_its_error_while_the_others_are_solved(nano, reference):
    for row, message in BAD_ROWS:
        with pytest.raises(ValueError, match=message):
            nano([ROWS[0], row], **SHORT)
    first, *bad, last = nano([ROWS[0], *(row for row, _ in BAD_ROWS), ROWS[1]], on_error="return", **SHORT)
    assert texts(first) == texts(last) == reference
    for output, (_, message) in zip(bad, BAD_ROWS, strict=True):
        assert list(output) == ["error"] and re.search(message, output["error"]), message


def test_one_bad_problem_alone_has_its_error(nano):
    assert "empty question" in nano(images=FIGURE, text="", on_error="return", **SHORT)["error"]


def test_texts_of_the_wrong_type_are_refused(nano):
    for text in (5, {"role": "user", "content": QUESTION}):
        with pytest.raises(ValueError, match="where texts or rows were expected"):
            nano(images=FIGURE, text=text)


def test_bad_batch_sizes_and_options_are_refused_before_anything_is_read(nano):
    bad_options = [
        ({"num_candidate": 2}, "Unknown option 'num_candidate'.*Did you mean 'num_candidates'"),
        ({"temprature": 2}, "Did you mean 'temperature'"),
        ({"vote": True}, "Unknown option 'vote' of generate-and-rerank.*Choose one of strategy"),
        ({"generate_kwargs": {}}, "has no option 'generate_kwargs'. Give temperature, top_p, top_k and max_new_tokens"),
        ({"num_return_sequences": 4}, "has no option 'num_return_sequences'. Give num_candidates"),
        ({"do_sample": True}, r"has no option 'do_sample'. Give temperature \(0 is greedy\)"),
        ({"question": "What is A?"}, "has no option 'question'. Give text"),
        ({"strategy": "beem_search"}, "Unknown strategy 'beem_search'. Did you mean 'beam_search'"),
        ({"aggregation": "avg"}, "Unknown aggregation 'avg'"),
        ({"on_error": "ignore"}, "it is 'raise' or 'return'"),
        ({"temperature": -1}, "temperature"),
    ]
    bad_options += [
        ({"batch_size": size}, "Found batch_size=.*It must be a whole number, at least 1")
        for size in (0, -1, 2.0, True, "4", None)
    ]
    for options, message in bad_options:
        rows = iter(ROWS)
        with pytest.raises(ValueError, match=message):
            nano(rows, **options)
        assert len(list(rows)) == 2, options


def test_a_generator_is_read_a_batch_at_a_time(nano):
    read = []

    def rows():
        for index in range(5):
            read.append(index)
            yield {"images": FIGURE, "text": f"{QUESTION} {index}"}

    outputs = nano(rows(), batch_size=2, **SHORT)
    assert read == []
    seen = []
    for _ in outputs:
        seen.append(len(read))
    assert seen == [2, 2, 4, 4, 5]


def test_the_batch_size_changes_no_candidate(nano):
    rows = [{"images": problem.figure(), "text": problem.question} for problem in (CLOCK, BARS)]
    rows += [{"text": "What is A?"}, rows[0]]
    for strategy in ("best_of_n", "beam_search"):
        call = {**SHORT, "num_candidates": 4, "max_new_tokens": 12, "strategy": strategy, "max_steps": 2}
        one, three = (nano(rows, batch_size=size, **call) for size in (1, 3))
        assert [texts(output) for output in one] == [texts(output) for output in three]
        assert [output["chosen"] for output in one] == [output["chosen"] for output in three]
        assert texts(one[0]) == texts(one[-1]) and any(texts(output) != texts(one[0]) for output in one)
