"""VisualProcessBench as the Hub has it: rows in a file, figures in an archive beside it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile

import datasets
import pytest
from mmprm_hf.evaluation.zipped_figures import rows_with_figures
from PIL import Image
from support.hub_stub import serve_hub

from mmprm_hf.evaluation import zipped_figures
from mmprm_hf.evaluation.step_samples import load_visual_process_bench
from mmprm_hf.files import json_line, write_jsonl
from mmprm_hf.models.images_mm_prm import load_image


def png(color):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(data, "PNG")
    return data.getvalue()


def row(*names):
    response = {"steps": ["a", "b"], "process_correctness": [1, -1]}
    return {"image": list(names), "question": "How long?", "response": response, "data_source": "MMMU"}


ROWS = [row("images/red.png", "images/sub/blue.png"), row("images/gone.png"), row("../secret/of/yours.png")]


def archive(color="red", prefix="images/"):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as opened:
        opened.writestr(f"{prefix}red.png", png(color))
        opened.writestr(f"{prefix}sub/blue.png", png("blue"))
        opened.writestr("../secret.png", png("green"))
    return data.getvalue()


@pytest.fixture(autouse=True)
def assets(tmp_path, monkeypatch):
    """Archives are unpacked here."""
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bench").mkdir()
    write_jsonl(tmp_path / "bench" / "test.jsonl", ROWS)
    (tmp_path / "bench" / "images.zip").write_bytes(archive())
    return tmp_path / "bench"


def colors(sample):
    return [load_image(image).getpixel((0, 0)) for image in sample.images]


@pytest.mark.parametrize("data", ["folder", "file"])
def test_figures_of_an_archive_beside_the_rows(folder, tmp_path, data):
    (tmp_path / "secret" / "of").mkdir(parents=True)
    (tmp_path / "secret" / "of" / "yours.png").write_bytes(png("black"))
    (tmp_path / "secret.png").write_bytes(png("black"))  # beside the folder, where no row may reach
    samples, counts = load_visual_process_bench(folder if data == "folder" else folder / "test.jsonl")
    assert counts == {"num_rows": 3, "num_kept": 1, "problems": {"missing_image": 2}}
    assert colors(samples[0]) == [(255, 0, 0), (0, 0, 255)]
    assert (tmp_path / "secret.png").read_bytes() == png("black"), "nor any member of the archive"


@pytest.mark.parametrize("prefix", ["", "bench/images/", "images/images/"])
def test_an_archive_with_other_folders_than_the_rows_name(folder, prefix):
    (folder / "images.zip").write_bytes(archive(prefix=prefix))
    samples, _ = load_visual_process_bench(folder)
    assert len(samples) == (1 if prefix == "" else 0)


def test_unpacked_once_and_another_archive_anew(folder, assets, monkeypatch):
    load_visual_process_bench(folder)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", lambda *_: pytest.fail("unpacked twice"))
        load_visual_process_bench(folder)
    (folder / "images.zip").write_bytes(archive("yellow"))
    samples, _ = load_visual_process_bench(folder)
    assert colors(samples[0])[0] == (255, 255, 0)


def test_an_unfinished_archive_leaves_nothing_behind(folder, assets):
    whole = (folder / "images.zip").read_bytes()
    (folder / "images.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"images.zip cannot be unpacked .* Fetch it again"):
        load_visual_process_bench(folder)
    assert [path for path in assets.rglob("*") if path.is_file()] == []
    (folder / "images.zip").write_bytes(whole)
    assert load_visual_process_bench(folder)[1]["num_kept"] == 1


def test_archives_that_would_fill_the_disk_are_refused(folder, assets, monkeypatch):
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("images/red.png", b"\0" * 40_000_000)
    with pytest.raises(ValueError, match="bomb.zip has 1 files that unpack from .* to 40000000 bytes; the most are"):
        load_visual_process_bench(folder)
    (folder / "bomb.zip").unlink()
    monkeypatch.setattr(zipped_figures, "MAX_FILES", 2)
    with pytest.raises(ValueError, match="images.zip has 3 files"):
        load_visual_process_bench(folder)
    monkeypatch.undo()
    content = bytearray((folder / "images.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption
        content[content.index(mark) + offset] |= 1
    (folder / "images.zip").write_bytes(content)
    with pytest.raises(ValueError, match="images.zip is encrypted. Unpack it by hand"):
        load_visual_process_bench(folder)
    assert [path for path in assets.rglob("*") if path.is_file()] == []


def test_no_figure_from_outside_is_shown(folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(png("green"))
    secret = str(tmp_path / "secret.png")
    names = ("../secret.png", secret, f"file://{secret}", {"bytes": None, "path": secret})
    write_jsonl(folder / "test.jsonl", [row(name) for name in names])
    samples, counts = load_visual_process_bench(folder)
    assert {color for sample in samples for color in colors(sample)} <= {(0, 128, 0)}  # the archive's own secret.png
    assert counts["num_kept"] == len(samples)
    assert all(str(tmp_path / "assets") in image or "bench" in image for s in samples for image in map(str, s.images))


def test_figures_beside_the_rows_come_first(folder):
    (folder / "images").mkdir()
    (folder / "images" / "red.png").write_bytes(png("white"))
    samples, _ = load_visual_process_bench(folder)
    assert colors(samples[0])[0] == (255, 255, 255)


CODE = """
import json
from mmprm_hf.evaluation.step_samples import load_visual_process_bench
from mmprm_hf.models.images_mm_prm import load_image
samples, counts = load_visual_process_bench("you/bench")
print(json.dumps([counts, [load_image(image).getpixel((0, 0)) for image in samples[0].images]]))
"""


def test_from_the_hub(tmp_path):
    """In a process of its own, which asks a Hub on loopback from the start."""
    files = {"test.jsonl": b"".join(map(json_line, ROWS)), "images.zip": archive()}
    with serve_hub() as hub:
        shared = {"private": False, "sdk": None, "url": f"{hub.url}/datasets/you/bench"}
        commit = hub.commit({**files, "README.md": b"# A bench", "weights.bin": b"0" * 1000})
        hub.repositories["dataset", "you/bench"] = {**shared, "branches": {"main": commit}}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", CODE]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        counts, pixels = json.loads(done.stdout)
        assert not [request for request in hub.requests if "weights.bin" in request], "only rows and archives"
    assert counts == {"num_rows": 3, "num_kept": 1, "problems": {"missing_image": 2}}
    assert pixels == [[255, 0, 0], [0, 0, 255]]


def test_another_dataset_is_read_as_one(tmp_path):
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_list([{"image": ["a.png"], "question": "?"}]).to_parquet(tmp_path / "data" / "test.parquet")
    assert rows_with_figures(tmp_path / "data")[0] == {"image": [str(tmp_path / "data" / "a.png")], "question": "?"}
