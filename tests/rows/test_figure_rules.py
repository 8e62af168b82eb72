"""Which figures a data file may name: those in its folder, and what a user allows besides."""

import os
import socket

import pytest
from PIL import Image

from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.files import write_jsonl
from mmprm_hf.models import fetching_mm_prm, load_image
from mmprm_hf.rows import FigureFinder, FigureRules, ProblemSource, RawRows


@pytest.fixture
def folder(tmp_path):
    """A data folder with a figure in it, one beside it, and links to both."""
    (tmp_path / "data" / "figures").mkdir(parents=True)
    Image.new("RGB", (4, 3), "red").save(tmp_path / "data" / "figures" / "a.png")
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "secret.png")
    os.symlink(tmp_path / "secret.png", tmp_path / "data" / "link.png")
    os.symlink(tmp_path / "data" / "figures" / "a.png", tmp_path / "data" / "inside.png")
    return tmp_path / "data"


def test_figures_in_the_folder_are_found_and_others_are_refused(folder, monkeypatch):
    finder = FigureFinder(folder, FigureRules())
    inside = str(folder / "figures" / "a.png")
    for figure in ("figures/a.png", inside, {"bytes": None, "path": "figures/a.png"}, ["figures/a.png"]):
        assert inside in str(finder.find(figure))
    assert finder.find("inside.png") == str(folder / "inside.png")
    assert finder.find((folder / "figures" / "a.png").as_uri()) == inside
    monkeypatch.chdir(folder.parent)
    secret = folder.parent / "secret.png"
    for figure in (
        "../secret.png",
        "figures/../../secret.png",
        str(secret),
        secret.as_uri(),
        "link.png",
        "../none.png",  # whether it exists is not said
        "/etc/passwd",
        "../data/../secret.png",
        f"file://{folder}/%2e%2e/secret.png",
        f"FILE://localhost{secret}",
        f"{'./' * 200}../secret.png",
        {"bytes": None, "path": str(secret)},
        {"url": str(secret)},
        {"bytes": None, "path": None, "url": secret.as_uri()},
        ["figures/a.png", "../secret.png"],
    ):
        with pytest.raises(ValueError, match="which lies outside the folder of its file, .*allow its folder"):
            finder.find(figure)
    long = f"{'./' * 200}secret.png"  # names a file only from where the command runs
    with pytest.raises(ValueError, match="does not exist"):
        load_image(finder.find(long))
    for figure in (None, 5, b"bytes", {"bytes": b"bytes", "path": "/etc/passwd"}, "data:image/png;base64,AA", " "):
        assert finder.find(figure) == figure


def test_a_user_can_allow_further_folders(folder):
    finder = FigureFinder(folder, FigureRules(roots=(str(folder.parent),)))
    assert finder.find("../secret.png").endswith("secret.png")
    with pytest.raises(ValueError, match="lies outside"):
        finder.find("/etc/passwd")


def test_a_name_is_looked_for_in_the_folders_that_a_user_allows(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Image.new("RGB", (4, 3)).save(elsewhere / "b.png")
    finder = FigureFinder(folder, FigureRules(roots=(str(elsewhere),)))
    assert finder.find("b.png") == str(elsewhere / "b.png")
    assert finder.find("figures/a.png") == str(folder / "figures" / "a.png")
    with pytest.raises(ValueError, match="does not exist"):
        load_image(finder.find("none.png"))


def test_of_a_linked_folder_the_message_names_what_to_allow(folder, tmp_path_factory):
    pool = tmp_path_factory.mktemp("pool")
    Image.new("RGB", (4, 3)).save(pool / "b.png")
    os.symlink(pool, folder / "images")
    with pytest.raises(ValueError, match=f"a link to '{pool}/b.png', which .*--figures-root {pool}.\\."):
        FigureFinder(folder, FigureRules()).find("images/b.png")
    finder = FigureFinder(folder, FigureRules(roots=(str(pool),)))
    assert finder.find("images/b.png") == str(folder / "images" / "b.png")


def test_the_cache_of_the_hub_links_to_its_blobs(tmp_path):
    """`snapshot_download` gives a folder of links, which are not figures from elsewhere."""
    repository = tmp_path / "datasets--a--b"
    snapshot, blobs = repository / "snapshots" / "1f", repository / "blobs"
    (snapshot / "data" / "images").mkdir(parents=True)
    blobs.mkdir()
    Image.new("RGB", (4, 3)).save(blobs / "0a.png")
    for link in ("a.png", "data/b.png", "data/images/c.png"):
        os.symlink(blobs / "0a.png", snapshot / link)
    for name, folder in (("a.png", snapshot), ("b.png", snapshot / "data"), ("images/c.png", snapshot / "data")):
        assert FigureFinder(folder, FigureRules()).find(name) == str(folder / name)
    assert load_image(FigureFinder(snapshot / "data", FigureRules()).find("../a.png")).size == (4, 3)
    (tmp_path / "data").mkdir()
    finder = FigureFinder(tmp_path / "data", FigureRules(roots=(str(snapshot / "data"),)))
    assert finder.find("b.png") == str(snapshot / "data" / "b.png")
    (tmp_path / "datasets--a--private" / "blobs").mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(tmp_path / "datasets--a--private" / "blobs" / "0b.png")
    with pytest.raises(ValueError, match="lies outside"):
        FigureFinder(snapshot, FigureRules()).find("../../../datasets--a--private/blobs/0b.png")


def test_figures_beside_the_files_of_a_datasets_folder(folder):
    """`--data folder`, with the rows in folder/figures: each name must mean one file."""
    write_jsonl(folder / "figures" / "train.jsonl", [{"image": "a.png"}])
    (row,) = RawRows(folder)
    assert row["image"] == str(folder / "figures" / "a.png")
    (folder / "more").mkdir()
    Image.new("RGB", (4, 3)).save(folder / "more" / "a.png")
    write_jsonl(folder / "more" / "test.jsonl", [{"image": "a.png"}])
    with pytest.raises(ValueError, match="'a.png', of which there are several: .*Give the file of rows"):
        RawRows(folder)[0]


def test_a_dataset_of_the_hub_names_files_of_the_hubs_caches_alone(tmp_path, monkeypatch):
    """Not of the folder above them, which has the token."""
    home = tmp_path / "home"
    for name in ("hub/datasets--a--b/blobs/0a", "datasets/downloads/0b", "token"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(home / name, "PNG")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", home / "datasets")
    finder = FigureFinder(None, FigureRules())
    for name in ("hub/datasets--a--b/blobs/0a", "datasets/downloads/0b"):
        assert finder.find({"bytes": None, "path": str(home / name)})["path"] == str(home / name)
    with pytest.raises(ValueError, match="lies outside the dataset"):
        finder.find(str(home / "token"))


def test_a_dataset_of_the_hub_names_no_file_of_this_machine(tmp_path):
    finder = FigureFinder(None, FigureRules())
    for figure in ("/etc/passwd", {"bytes": None, "path": "/etc/passwd"}, "../secret.png"):
        with pytest.raises(ValueError, match="lies outside the dataset"):
            finder.find(figure)


def test_addresses_are_fetched_only_where_allowed_and_once(folder, monkeypatch):
    content, asked = (folder / "figures" / "a.png").read_bytes(), []

    def get(parts, address, *_):
        asked.append((parts.geturl(), address))
        return 200, None, content

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(2, 1, 6, "", ("93.184.216.34", port))])
    monkeypatch.setattr(fetching_mm_prm, "_get", get)
    url = "https://figures.example/a.png"
    assert FigureFinder(folder, FigureRules()).find(url) == url and not asked
    finder = FigureFinder(folder, FigureRules(allow_urls=True))
    for _ in range(3):
        assert finder.find([url]) == [{"bytes": content, "path": None}]
    assert asked == [(url, "93.184.216.34")]
    with pytest.raises(ValueError, match="cannot be fetched: .*is not one of other.example"):
        FigureFinder(folder, FigureRules(allow_urls=("other.example",))).find(url)
    with pytest.raises(ValueError, match="cannot be fetched: .*private address 127.0.0.1"):
        monkeypatch.undo()
        finder.find("http://127.0.0.1/a.png")


def test_a_server_that_fails_stops_the_run_and_costs_no_row(folder, monkeypatch):
    """What it cannot give today is no fault of the data; the same command fetches it later."""
    write_jsonl(folder / "rows.jsonl", [{"id": 0, "question": "?", "image": "http://127.0.0.1:9/a.png"}])
    rules = FigureRules(allow_urls=("127.0.0.1",))
    problems = ProblemSource(folder / "rows.jsonl", rules=rules)
    with pytest.raises(EngineUnavailableError, match="cannot be reached .* no row is at fault; the same command"):
        problems.readable()
    with monkeypatch.context() as patch:
        patch.setattr(fetching_mm_prm, "_get", lambda *_: (200, None, (folder / "figures" / "a.png").read_bytes()))
        assert load_image(problems[0].images[0]).size == (4, 3)
    assert load_image(problems[0].images[0]).size == (4, 3)  # fetched once


def test_names_that_are_none_and_forms_of_chats(folder):
    finder = FigureFinder(folder, FigureRules())
    with pytest.raises(ValueError, match="Row 3 names the figure .* a null character"):
        finder.find("a\0b.png", "Row 3")
    inside = {"bytes": None, "path": str(folder / "figures" / "a.png")}
    for figure in ({"type": "image_url", "image_url": {"url": "figures/a.png"}}, {"image_url": "figures/a.png"}):
        assert finder.find(figure) == inside
    with pytest.raises(ValueError, match="lies outside"):
        finder.find({"image_url": {"url": "../secret.png"}})


def test_a_row_with_a_figure_from_elsewhere_costs_only_itself(folder):
    rows = [
        {"id": index, "question": "?", "images": [figure]} for index, figure in enumerate(("figures/a.png", "../x"))
    ]
    write_jsonl(folder / "rows.jsonl", rows)
    raw = RawRows(folder / "rows.jsonl")
    assert raw[0]["images"] == [str(folder / "figures" / "a.png")]
    with pytest.raises(ValueError, match="names the figure '../x', which lies outside"):
        raw[1]
    readable, faults = ProblemSource(folder / "rows.jsonl").readable()
    assert [problem.id for problem in readable] == readable.ids == ["0"] and list(faults) == ["1"]
