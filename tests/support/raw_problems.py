"""Raw problems for the tests of curation: one that passes every criterion, rows that resemble no other, and runs."""

from __future__ import annotations

import dataclasses
import random

import pyarrow.parquet
from PIL import Image, ImageDraw

from mmprm_hf.curation import CurationConfig, curate
from mmprm_hf.curation.criteria import first_failure
from mmprm_hf.curation.figures import Figure
from mmprm_hf.curation.records import RawProblem
from mmprm_hf.files import read_json, read_jsonl, write_jsonl
from mmprm_hf.rows import FigureRules

CONFIG = CurationConfig(sources=("hub:a/b",))
GOOD = RawProblem("1", "What is the area of the shaded triangle?", "12", ("a.png",))
FIGURE = Figure((300, 200), "p", 0)
WORDS = (
    "kite", "string", "apple", "garden", "train", "museum", "clock", "marble", "ladder", "bridge", "tower", "river",
    "lamp", "window", "bottle", "basket", "hammer", "violin", "carpet", "lemon", "island", "button", "saddle", "tent",
)  # fmt: skip


def failed_criterion(figures=(FIGURE,), config=CONFIG, needs_figure=True, **changes):
    """Name of the criterion that the good problem with these changes fails, or None."""
    failure = first_failure(dataclasses.replace(GOOD, **changes), figures, config, needs_figure=needs_figure)
    return None if failure is None else failure[0]


def drawing(seed, size=(120, 90), num_polygons=5, colours=("black",), outline=None):
    """A figure that depends on the seed."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for _ in range(num_polygons):
        corners = [(rng.randrange(size[0]), rng.randrange(size[1])) for _ in range(3)]
        pen.polygon(corners, fill=rng.choice(colours), outline=outline)
    return image


def raw_row(folder, number, **changes):
    """A row whose words and figure are its own; the figure is written to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing(number).save(folder / f"{number}.png")
    words = " and the ".join(random.Random(number).sample(WORDS, 5))
    question = f"The figure shows the {words}. How many of kind {chr(97 + number % 26)} are there?<image1>"
    return {"id": str(number), "question": question, "answer": str(number + 10), "image": f"{number}.png", **changes}


def write_source(folder, rows, **options):
    """A source of these rows, as a configuration gives it; it is called by the folder's name."""
    write_jsonl(folder / "problems.jsonl", rows)
    return {"path": str(folder / "problems.jsonl"), "name": folder.name, **options}


@dataclasses.dataclass(frozen=True)
class Curated:
    """Files that a run has written."""

    report: dict
    rejects: list
    rows: dict  # split -> rows, figures undecoded

    def ids(self, split="train"):
        return [row["id"] for row in self.rows[split]]

    def reasons(self):
        """Id of every dropped row -> the reason."""
        return {reject["id"]: reject["reason"] for reject in self.rejects}


def run_curation(folder, *sources, text_only=None, roots=(), **options) -> Curated:
    """Curate the sources into a folder, and read what was written; figures may lie in `roots` as well."""
    rules = FigureRules(tuple(map(str, roots)))
    report = curate(CurationConfig(sources=sources, **options), folder, text_only=text_only, rules=rules)
    assert report == read_json(folder / "curation.json")
    rows = {split: [] for split in ("train", "test")}
    for split in rows:
        if (folder / f"{split}.parquet").exists():
            rows[split] = pyarrow.parquet.read_table(folder / f"{split}.parquet").to_pylist()
    return Curated(report, read_jsonl(folder / "rejects.jsonl"), rows)
