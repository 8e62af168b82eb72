"""The label dataset on disk: three configs, two splits, one README; written again, nothing stale is left."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import weakref
from collections.abc import Sequence

import datasets
import pytest
import yaml
from PIL import Image
from support.trees_by_hand import NODES, PROBLEM, rows_by_split, train_rows

from mmprm_hf.data import Node, Rollout, SearchTree
from mmprm_hf.files import read_json
from mmprm_hf.labelling import LabelRowsConfig, tree_from_row, write_label_dataset
from mmprm_hf.models import load_image
from mmprm_hf.rows import ProblemSource, problem_features, problem_key
from mmprm_hf.steps import CUT


def many(count=20):
    """Problems with the tree by hand, and one that is always solved."""
    problems = [dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?") for i in range(count)]
    trees = [SearchTree(p.id, NODES, rollouts=((0, Rollout(("i", "j"), "3")),)) for p in problems[1:]]
    solved = SearchTree("p0", (Node("r", None, (), 4, 4), Node("x", 0, ("a",), 1, 1)))
    return problems, [solved, *trees]


def load(folder, name=None):
    return datasets.load_dataset(str(folder), name, cache_dir=str(folder / "cache"))


def test_all_configs_and_splits_load(tmp_path):
    problems, trees = many()
    statistics = write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.3))
    paths, stored, labelled = load(tmp_path), load(tmp_path, "trees"), load(tmp_path, "problems")
    assert {split: len(rows) for split, rows in paths.items()} == statistics["num_rows_by_split"]
    assert set(paths) == set(stored) == {"train", "validation"}
    assert sum(map(len, paths.values())) == 57 == statistics["num_rows"]
    for split in paths:  # a problem is on one side in all configs
        assert set(paths[split]["problem_id"]) == set(stored[split]["problem_id"]) - {"p0"}
        assert labelled[split]["id"][:] == stored[split]["problem_id"][:]
        assert labelled[split].features == problem_features()
    assert not set(stored["train"]["problem_id"]) & set(stored["validation"]["problem_id"])
    read_back = {row["problem_id"]: tree_from_row(row) for rows in stored.values() for row in rows}
    assert read_back == {tree.problem_id: tree for tree in trees}
    assert paths["train"][0]["images"][0].size == (4, 4)
    alone = datasets.load_dataset(str(tmp_path / "paths"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in alone.items()} == statistics["num_rows_by_split"]


WITHOUT_US = """
import json, sys, datasets
folder, ids = sys.argv[1], {}
for config, key in (("paths", "problem_id"), ("trees", "problem_id"), ("problems", "id")):
    for split in ("train", "validation"):
        rows = datasets.load_dataset(folder, config, split=split)
        streamed = datasets.load_dataset(folder, config, split=split, streaming=True)
        for row, stored in zip(streamed, rows, strict=True):
            images, stored_images = row.pop("images", ()), stored.pop("images", ())
            assert row == stored and [i.size for i in images] == [i.size for i in stored_images]
        ids[f"{config}/{split}"] = sorted(set(rows[key]))
assert "mmprm_hf" not in sys.modules
print(json.dumps(ids))
"""


@pytest.mark.processes
def test_a_process_without_us_loads_and_streams_all_configs_and_splits(tmp_path):
    problems, trees = many()
    write_label_dataset(problems, trees, tmp_path / "labels", LabelRowsConfig(validation_share=0.3))
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", WITHOUT_US, str(tmp_path / "labels")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ids = json.loads(done.stdout)
    for split in ("train", "validation"):
        assert ids[f"problems/{split}"] == ids[f"trees/{split}"] != []
        assert ids[f"paths/{split}"] == [name for name in ids[f"trees/{split}"] if name != "p0"]
    assert sorted(ids["problems/train"] + ids["problems/validation"]) == sorted(p.id for p in problems)


def test_problems_are_read_back_as_those_that_were_labelled(tmp_path):
    """Labelled again, a run would know them: their content has the same key."""
    problems, trees = many(3)
    meta = {"subject": "s", "grade": 6, "source": "a", "license": "mit", "split_group": "g"}
    problems = [dataclasses.replace(problem, meta=meta, options=("1", "2")) for problem in problems]
    write_label_dataset(problems, trees, tmp_path)
    read = list(ProblemSource(tmp_path / "problems"))
    assert [(p.id, problem_key(p), p.meta) for p in read] == [(p.id, problem_key(p), meta) for p in problems]


def test_no_source_license_or_grade_of_the_data_ends_a_run(tmp_path):
    problems, trees = many(4)
    metas = [{"source": ["a", "b"], "license": 4, "grade": 6.0}, {"grade": 0}, {"grade": "K"}, {"grade": 1e12}]
    problems = [dataclasses.replace(problem, meta=meta) for problem, meta in zip(problems, metas, strict=True)]
    statistics = write_label_dataset(problems, trees, tmp_path)
    assert statistics["sources"] == [
        {"name": "['a', 'b']", "license": "4", "num_problems": 1},
        {"name": None, "license": None, "num_problems": 3},
    ]
    rows = load(tmp_path, "problems")["train"]
    assert rows["grade"][:] == [6, 0, None, None]
    assert rows[0]["source"] == "['a', 'b']" and rows[0]["license"] == "4"


def test_configuration_and_statistics_lie_beside_the_rows(tmp_path):
    problems, trees = many()
    config = LabelRowsConfig(max_rows_per_problem=2, bis_share=0.5, fill="own")
    statistics = write_label_dataset(problems, trees, tmp_path, config)
    assert LabelRowsConfig(**read_json(tmp_path / "rows.json")) == config
    assert read_json(tmp_path / "statistics.json") == statistics
    assert statistics["num_dropped_rows"] == {"max_rows_per_prefix": 0, "max_rows_per_problem": 19, "bis_share": 19}
    assert statistics["judge"]["num_compared"] == 0
    assert statistics["weighted_copies_per_prefix"] == pytest.approx(1.0)


def test_written_again_nothing_stale_is_left_and_a_card_is_kept(tmp_path):
    problems, trees = many()
    write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.3))
    readme = tmp_path / "README.md"
    written = readme.read_text()
    readme.write_text(written.replace("---\n", "---\nlicense: apache-2.0\n", 1) + "\nA line of mine.\n")
    write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(tree_rollouts=False))
    assert set(load(tmp_path)) == set(load(tmp_path, "trees")) == {"train"}
    assert "rollouts" not in load(tmp_path, "trees")["train"].column_names
    _, metadata, text = readme.read_text().split("---\n", 2)
    metadata = yaml.safe_load(metadata)
    assert all(config.pop("description").startswith("sha256:") for config in metadata["configs"])
    assert metadata == {
        "license": "apache-2.0",
        "configs": [
            {
                "config_name": "paths",
                "data_files": [{"split": "train", "path": "paths/train.parquet"}],
                "default": True,
            },
            {"config_name": "trees", "data_files": [{"split": "train", "path": "trees/train.parquet"}]},
            {"config_name": "problems", "data_files": [{"split": "train", "path": "problems/train.parquet"}]},
        ],
    }
    assert text.strip().startswith("# Step labels") and text.strip().endswith("A line of mine.")
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*") if "cache" not in p.parts}
    parquet = {f"{name}/train.parquet" for name in ("paths", "trees", "problems")}
    assert files == {"README.md", "rows.json", "statistics.json", *parquet}


def test_written_again_with_other_rows_the_cache_gives_the_new_ones(tmp_path):
    """datasets 5.2 keys its cache by the README's metadata and the folder's name, not by the files."""
    problems, trees = many()
    cache = str(tmp_path / "cache")
    ids = []
    for parent, count in (("a", 3), ("a", 5), ("b", 4)):
        folder = tmp_path / parent / "labels"
        write_label_dataset(problems, trees[:count], folder)
        loaded = datasets.load_dataset(str(folder), "trees", split="train", cache_dir=cache)
        ids.append(loaded["problem_id"][:])
    assert ids == [[tree.problem_id for tree in trees[:count]] for count in (3, 5, 4)]


def test_a_folder_with_nothing_to_train_on_is_an_error(tmp_path):
    problems, trees = many(2)
    with pytest.raises(ValueError, match="give no label row: every problem was solved always or never"):
        write_label_dataset(problems, trees[:1], tmp_path)
    cut = dataclasses.replace(trees[0], rollouts=((0, Rollout((), None, False, "length", fault=CUT)),))
    with pytest.raises(ValueError, match="Of their rollouts 1 are incomplete: 1 cut at the token limit."):
        write_label_dataset(problems, [cut], tmp_path)
    write_label_dataset(problems, trees, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError, match="give no label row"):
        write_label_dataset(problems, trees[:1], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    with pytest.raises(ValueError, match="All 3 label rows of .* are held out by validation_share=0.999"):
        write_label_dataset(problems, trees, tmp_path, LabelRowsConfig(validation_share=0.999))


def test_figures_by_path_are_embedded(tmp_path):
    PROBLEM.images[0].save(tmp_path / "figure.png")
    problem = dataclasses.replace(PROBLEM, images=(str(tmp_path / "figure.png"),))
    write_label_dataset([problem], [SearchTree("p", NODES)], tmp_path / "out")
    (tmp_path / "figure.png").unlink()
    assert load(tmp_path / "out")["train"][0]["images"][0].size == (4, 4)


def test_a_tree_of_an_earlier_version_of_its_problem_gives_no_rows(tmp_path, caplog):
    problems, trees = many(4)
    keyed = [dataclasses.replace(t, problem_key=problem_key(p)) for p, t in zip(problems, trees, strict=True)]
    corrected = [dataclasses.replace(problems[2], answer="another"), *problems[:2], problems[3]]
    statistics = write_label_dataset(corrected, keyed, tmp_path)
    assert statistics["num_trees_left_out"] == 1 and "1 trees in" in caplog.text
    assert set(load(tmp_path)["train"]["problem_id"]) == {"p1", "p3"}
    assert set(load(tmp_path, "trees")["train"]["problem_id"]) == {"p0", "p1", "p3"}
    assert load(tmp_path, "problems")["train"]["id"][:] == ["p0", "p1", "p3"]
    with pytest.raises(ValueError, match="made from another problem 'p2' than the one given: question, figures, gold"):
        train_rows(corrected, keyed)
    strangers = write_label_dataset(problems[:2], keyed, tmp_path)
    assert strangers["num_trees_left_out"] == 2 and strangers["num_problems"] == 1


def test_trees_of_one_problem_follow_one_another(tmp_path):
    problems, trees = many(3)
    again = dataclasses.replace(trees[1], nodes=(*NODES[:-1], Node("n5", 0, ("i", "j"), 0, 2)))
    with pytest.raises(ValueError, match="trees of problem 'p1' do not follow one another"):
        write_label_dataset(problems, [*trees, again], tmp_path)
    assert write_label_dataset(problems, [trees[0], trees[1], again, trees[2]], tmp_path)["num_rows"] == 6


class Lazy(Sequence):
    """A sequence that makes its entries when they are read, and counts how many are alive."""

    def __init__(self, make):
        self.make, self.references, self.most_alive = make, [], 0

    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        entry = self.make(index)
        self.references = [r for r in self.references if r() is not None] + [weakref.ref(entry)]
        self.most_alive = max(self.most_alive, len(self.references))
        return entry


def test_one_problem_is_in_memory_at_a_time(tmp_path):
    for name, options in (("all", {}), ("best", {"bis_share": 0.5, "validation_share": 0.2})):
        problems = Lazy(lambda i: dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?"))
        trees = Lazy(lambda i: SearchTree(f"p{i}", NODES))
        statistics = write_label_dataset(problems, trees, tmp_path / name, LabelRowsConfig(**options))
        assert statistics["num_problems"] == 60 and problems.most_alive < 6
        assert trees.most_alive < 6
        rows, _ = rows_by_split(list(problems), list(trees), **options)
        assert {split: len(kept) for split, kept in rows.items() if kept} == statistics["num_rows_by_split"]
        stored = [row for split in load(tmp_path / name).values() for row in split.remove_columns("images")]
        expected = rows["train"] + rows["validation"]
        assert [row["path_id"] for row in stored] == [row["path_id"] for row in expected]
        # float32 in the file: 24 bits, a relative error of 6e-8
        weights = [pytest.approx(row["label_weights"], rel=1e-6) for row in expected]
        assert [row["label_weights"] for row in stored] == weights


def test_figures_are_not_compressed_again(tmp_path):
    noise = Image.effect_noise((40, 40), 80).convert("RGB")
    noise.save(tmp_path / "figure.jpg", quality=60)
    content = (tmp_path / "figure.jpg").read_bytes()
    decoded = Image.open(io.BytesIO(content))
    figures = {
        "path": str(tmp_path / "figure.jpg"),
        "undecoded": {"bytes": content, "path": "figure.jpg"},
        "pillow": decoded,
    }
    problems = [dataclasses.replace(PROBLEM, id=name, images=(figure,)) for name, figure in figures.items()]
    write_label_dataset(problems, [SearchTree(name, NODES) for name in figures], tmp_path / "out")
    rows, labelled = (
        load(tmp_path / "out", name)["train"].cast_column("images", datasets.List(datasets.Image(decode=False)))
        for name in ("paths", "problems")
    )
    stored = {row["problem_id"]: row["images"][0]["bytes"] for row in rows}
    assert stored["path"] == stored["undecoded"] == content
    assert {row["id"]: row["images"][0]["bytes"] for row in labelled} == stored
    pixels = {name: Image.open(io.BytesIO(figure)).convert("RGB").tobytes() for name, figure in stored.items()}
    assert len(set(pixels.values())) == 1 and stored["pillow"][:4] == b"\x89PNG"


def test_a_photograph_is_published_as_it_was_seen(tmp_path):
    """Its pixels may lie on their side; a PNG has no tag that would turn them. Broken tags are left alone."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    turned, seen = Image.open(tmp_path / "turned.jpg"), load_image(tmp_path / "turned.jpg")
    assert seen.size == (20, 40)
    write_label_dataset([dataclasses.replace(PROBLEM, images=(turned,))], [SearchTree("p", NODES)], tmp_path / "out")
    (stored,) = load(tmp_path / "out")["train"][0]["images"]
    assert stored.tobytes() == seen.tobytes()
    content = bytearray((tmp_path / "turned.jpg").read_bytes())
    start = content.index(b"\x01\x12\x00\x03")  # the tag and its type
    content[start + 3] = 11  # a number of another kind
    broken = load_image({"bytes": bytes(content), "path": None})
    assert broken.size in ((40, 20), (20, 40))


def test_an_iterator_of_trees_can_be_ranked_by_bis_too():
    problems, trees = many(6)
    rows, num_dropped = rows_by_split(problems, iter(trees), bis_share=0.5)
    assert (rows, num_dropped) == rows_by_split(problems, trees, bis_share=0.5) and rows["train"]
    with pytest.raises(ValueError, match="Problem id 'p1' appears twice"):
        rows_by_split([*problems, problems[1]], trees)
