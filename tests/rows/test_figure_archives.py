"""Figures in zip archives beside the rows: found by their names, read one by one, never unpacked to disk."""

import io
import multiprocessing
import os
import zipfile

import pytest
from PIL import Image

from mmprm_hf.models import load_image
from mmprm_hf.rows import FigureFinder, FigureRules, RawRows, figure_archives


def png(color):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(data, "PNG")
    return data.getvalue()


def archive(path, color="red", prefix="images/"):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(f"{prefix}red.png", png(color))
        opened.writestr(f"{prefix}sub/blue.png", png("blue"))
        opened.writestr("../secret.png", png("green"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bench").mkdir()
    archive(tmp_path / "bench" / "images.zip")
    (tmp_path / "secret.png").write_bytes(png("black"))  # beside the folder, where no row may reach
    return tmp_path / "bench"


def color(folder, name, **rules):
    return load_image(FigureFinder(folder, FigureRules(**rules)).find(name)).getpixel((0, 0))


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_a_figure_of_an_archive_beside_the_rows_is_shown_and_nothing_is_written(folder):
    before = sorted(folder.rglob("*"))
    for name in (
        "images/red.png",
        {"bytes": None, "path": "images/red.png"},
        f"zip://images/red.png::{folder}/images.zip",
    ):
        assert color(folder, name) == RED
    assert color(folder, "images/sub/blue.png") == BLUE
    assert color(folder.parent, "images/red.png", roots=(str(folder),)) == RED  # archives of a folder that is allowed
    assert sorted(folder.rglob("*")) == before
    (folder / "images").mkdir()
    (folder / "images" / "red.png").write_bytes(png("white"))
    assert color(folder, "images/red.png") == (255, 255, 255)  # a file comes first


def test_an_archive_may_lack_folders_that_rows_name_but_has_no_others(folder):
    for prefix, is_found in (("", True), ("bench/images/", False), ("images/images/", False)):
        archive(folder / "images.zip", prefix=prefix)
        if is_found:
            assert color(folder, "images/red.png") == RED
        else:
            with pytest.raises(ValueError, match="does not exist"):
                color(folder, "images/red.png")


def test_no_figure_from_outside_is_shown(folder):
    secret = folder.parent / "secret.png"
    for name in ("../secret.png", str(secret), f"file://{secret}", {"bytes": None, "path": str(secret)}):
        with pytest.raises(ValueError, match="lies outside the folder"):
            color(folder, name)
    archive(folder.parent / "other.zip")
    os.symlink(folder.parent / "other.zip", folder / "link.zip")
    with pytest.raises(ValueError, match="lies outside the folder"):
        color(folder, f"zip://images/red.png::{folder.parent}/other.zip")
    (folder / "images.zip").unlink()
    with pytest.raises(ValueError, match="does not exist"):
        color(folder, "images/red.png")


def test_an_archive_that_changes_is_read_again(folder):
    assert color(folder, "images/red.png") == RED
    archive(folder / "images.zip", "yellow")
    assert color(folder, "images/red.png") == (255, 255, 0)


def test_a_broken_archive_costs_only_the_rows_whose_figures_are_nowhere(folder):
    (folder / "code.zip").write_bytes(b"PK junk")
    assert color(folder, "images/red.png") == RED
    with pytest.raises(ValueError, match="The row names the figure 'gone.png', and .*code.zip cannot be read .*Fetch"):
        color(folder, "gone.png")
    content = (folder / "images.zip").read_bytes()
    (folder / "images.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="images.zip cannot be read"):
        color(folder, "images/red.png")


def test_figures_that_are_encrypted_damaged_or_too_large_are_a_sentence(folder, monkeypatch):
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bomb.png", b"\0" * 400_000)
    monkeypatch.setattr(figure_archives, "MAX_MEMBER", 300_000)
    with pytest.raises(ValueError, match="'bomb.png' of .*bomb.zip, which has 400000 bytes; the most are 300000"):
        color(folder, "bomb.png")
    content = bytearray((folder / "images.zip").read_bytes())
    damaged = bytes(content).replace(png("red"), png("red")[::-1])
    (folder / "images.zip").write_bytes(damaged)
    with pytest.raises(ValueError, match="'images/red.png' of .*images.zip, which cannot be read .*CRC"):
        color(folder, "images/red.png")
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption
        content[content.index(mark) + offset] |= 1
    (folder / "images.zip").write_bytes(content)
    with pytest.raises(ValueError, match="images.zip, which is encrypted. Unpack the archive by hand"):
        color(folder, "images/red.png")
    with pytest.raises(ValueError, match="'gone.png' of .*images.zip, which is not in there"):
        color(folder, f"zip://gone.png::{folder}/images.zip")


def test_a_folder_of_images_that_is_zipped_as_datasets_reads_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as opened:
        opened.writestr("1.png", png("red"))
        opened.writestr("metadata.jsonl", '{"file_name": "1.png", "question": "?"}\n')
    (row,) = RawRows(tmp_path)
    assert row["question"] == "?" and load_image(row["image"]).getpixel((0, 0)) == RED


def test_workers_that_read_one_archive_do_not_disturb_each_other(folder):
    contents = {f"{number}.png": os.urandom(300_000) for number in range(4)}  # more than is read at a time
    with zipfile.ZipFile(folder / "images.zip", "w") as opened:
        for name, content in contents.items():
            opened.writestr(name, content)
    finder = FigureFinder(folder, FigureRules())
    finder.find("0.png")  # opened before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        figures = pool.map(finder.find, [*contents] * 25, chunksize=5)
    assert [figure["bytes"] for figure in figures] == [*contents.values()] * 25
