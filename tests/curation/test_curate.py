"""The whole run: rows add up, duplicates and benchmarks go, splits are clean, the folder loads, nothing is lost."""

from __future__ import annotations

import asyncio
import collections
import io
import json
import random
import subprocess
import sys

import datasets
import pytest
from PIL import Image, ImageDraw

from mmprm_hf.curation import CurationConfig, curate
from mmprm_hf.curation.criteria import CRITERIA
from mmprm_hf.curation.text_only import solved_without_figure
from mmprm_hf.data import Problem
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.nano.world import load_nano
from mmprm_hf.rows.problem_rows import problem_features

WORDS = (
    "kite", "string", "apple", "garden", "train", "museum", "clock", "marble", "ladder", "bridge", "tower", "river",
    "lamp", "window", "bottle", "basket", "hammer", "violin", "carpet", "lemon", "island", "button", "saddle", "tent",
)  # fmt: skip


def draw(path, seed):
    draw_random = random.Random(seed)
    image = Image.new("RGB", (120, 90), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        pen.polygon([(draw_random.randrange(120), draw_random.randrange(90)) for _ in range(3)], fill="black")
    image.save(path)


def row(folder, number, **changes):
    """A problem of its own words and figure."""
    draw(folder / f"{number}.png", number)
    words = " and the ".join(random.Random(number).sample(WORDS, 5))
    question = f"The figure shows the {words}. How many of kind {chr(97 + number % 26)} are there?<image1>"
    return {"id": str(number), "question": question, "answer": str(number + 10), "image": f"{number}.png", **changes}


@pytest.fixture
def source(tmp_path):
    """Twelve rows: good ones, and one for each of some reasons."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [row(folder, number) for number in range(8)]
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n")
    rows += [
        row(folder, 8, image="cut.png"),
        row(folder, 9, answer="C"),
        {**row(folder, 10), "question": rows[3]["question"].upper(), "answer": rows[3]["answer"], "image": "3.png"},
        {**row(folder, 11), "question": rows[4]["question"], "answer": "99"},
    ]
    write_jsonl(folder / "problems.jsonl", rows)
    return folder / "problems.jsonl"


def config(source, **options):
    return CurationConfig(sources=({"path": str(source), "license": "mit"},), **options)


def test_every_row_is_kept_or_has_a_reason(source, tmp_path):
    found = curate(config(source, num_test=3), tmp_path / "out")
    reasons = {reject["id"]: reject["reason"] for reject in found.rejects}
    assert reasons == {"raw-8": "figure_unreadable", "raw-9": "choice_without_options", "raw-10": "duplicate"}
    assert next(reject for reject in found.rejects if reject["reason"] == "duplicate")["of"] == "raw-3"
    assert read_jsonl(tmp_path / "out" / "rejects.jsonl") == found.rejects
    report = json.loads((tmp_path / "out" / "curation.json").read_text())
    assert report == found.report
    (counts,) = report["sources"]
    assert counts["num_read"] == 12 == counts["num_kept"] + sum(counts["num_dropped"].values())
    assert counts["unknown_columns"] == ["subject", "grade"] and counts["repairs"]["placeholder_removed"] == 9
    assert report["splits"] == {"train": 6, "test": 3}
    assert report["pairs"] == {"exact": 1, "near": 0, "conflict": 0, "variant": 1}  # 3 and 10; 4 and 11
    assert set(reasons.values()) <= set(CRITERIA)
    assert str(tmp_path) not in (tmp_path / "out" / "curation.json").read_text()


def test_the_folder_loads_in_a_fresh_process(source, tmp_path):
    curate(config(source, num_test=3), tmp_path / "out")
    code = (
        "import sys, datasets; d = datasets.load_dataset(sys.argv[1]); r = d['test'][0];"
        "print({s: len(d[s]) for s in d}, r['images'][0].size, r['source'], r['license'], 'mmprm_hf' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={"HF_HOME": str(tmp_path)},
    )
    assert run.stdout.strip() == "{'train': 6, 'test': 3} (120, 90) raw mit False", run.stderr


def test_rows_have_the_schema_and_the_bytes_of_their_files(source, tmp_path):
    found = curate(config(source), tmp_path / "out")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows.features == problem_features()
    assert [one["id"] for one in rows] == found.splits["train"]
    undecoded = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    assert undecoded[0]["images"] == [{"bytes": (source.parent / "0.png").read_bytes(), "path": "0.png"}]
    first = rows[0]
    assert first["question"].endswith("are there?") and first["answer"] == "10" and first["answer_type"] == "number"


def test_the_same_again_whatever_was_there(source, tmp_path):
    def content():
        return {path.name: path.read_bytes() for path in sorted((tmp_path / "out").iterdir())}

    curate(config(source, num_test=3), tmp_path / "out")
    first = content()
    curate(config(source), tmp_path / "out")
    assert not (tmp_path / "out" / "test.parquet").exists()
    curate(config(source, num_test=3), tmp_path / "out")
    assert content() == first


def test_variants_stay_on_one_side(source, tmp_path):
    for seed in range(12):
        found = curate(config(source, num_test=3, seed=seed), tmp_path / "out")
        assert len({split for split, ids in found.splits.items() if {"raw-4", "raw-11"} & set(ids)}) == 1
        rows = datasets.Dataset.from_parquet(
            [str(path) for path in (tmp_path / "out").glob("*.parquet")], cache_dir=str(tmp_path / f"cache{seed}")
        )
        group = dict(zip(rows["id"], rows["split_group"], strict=True))
        assert group["raw-4"] == group["raw-11"] and len(set(group.values())) == len(group) - 1


def test_benchmarks_are_kept_out(source, tmp_path):
    folder = tmp_path / "bench"
    folder.mkdir()
    row(folder, 2), row(folder, 4)
    shown = [
        {**row(folder, 2), "question": row(folder, 2)["question"].replace("How", "Tell how")},
        row(folder, 4, answer="0"),
    ]
    write_jsonl(folder / "problems.jsonl", [*shown, {"id": "broken", "question": "", "answer": "1", "image": None}])
    found = curate(config(source, benchmarks=(str(folder / "problems.jsonl"),)), tmp_path / "out")
    dropped = {one["id"]: one["of"] for one in found.rejects if one["reason"] == "in_benchmark"}
    assert dropped == {"raw-2": "bench-2", "raw-4": "bench-4", "raw-11": "bench-4"}  # variants, too
    (report,) = found.report["benchmarks"]
    assert report["num_read"] == 3 and report["num_unreadable"] == 1
    assert not any(name.startswith("bench") for ids in found.splits.values() for name in ids)


def test_what_is_sent_to_the_test_split_stays_out_of_train(source, tmp_path):
    folder = tmp_path / "held"
    folder.mkdir()
    write_jsonl(folder / "problems.jsonl", [row(folder, 5), row(folder, 30)])
    sources = ({"path": str(source)}, {"path": str(folder / "problems.jsonl"), "into": "test"})
    found = curate(CurationConfig(sources=sources), tmp_path / "out")
    assert found.splits["test"] == ["held-5", "held-30"]
    assert [(one["id"], one["of"]) for one in found.rejects if one["reason"] == "in_test"] == [("raw-5", "held-5")]


def test_limits(source, tmp_path):
    found = curate(config(source, num_train=4, num_test=2), tmp_path / "out")
    assert {split: len(ids) for split, ids in found.splits.items()} == {"train": 4, "test": 2}
    over = [one for one in found.rejects if one["reason"] == "over_the_limit"]
    assert len(over) == 3 and over[0]["detail"] == "4 in train"
    more = curate(config(source, num_train=6, num_test=2), tmp_path / "more")
    assert set(found.splits["train"]) <= set(more.splits["train"]) and found.splits["test"] == more.splits["test"]


def test_nothing_left_is_an_error_and_writes_nothing(source, tmp_path):
    with pytest.raises(ValueError, match=r"Of 12 rows none is kept \(figure_too_small: 11, figure_unreadable: 1\)"):
        curate(config(source, min_figure_side=500), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_nano_dataset_goes_through_whole(tmp_path):
    for split, count in (("train", 300), ("test", 100)):
        load_nano(split, count).to_parquet(tmp_path / "nano" / f"{split}.parquet")
    sources = [
        {"path": str(tmp_path / "nano"), "split": split, "into": split, "name": f"nano-{split}"}
        for split in ("train", "test")
    ]
    found = curate(CurationConfig(sources=tuple(sources)), tmp_path / "out")
    assert found.rejects == [] and found.report["splits"] == {"train": 300, "test": 100}
    rows = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    source = load_nano("train", 300)
    for name in ("id", "question", "answer", "grade", "license", "split_group"):
        assert rows[name] == source[name], name
    assert rows[5]["images"][0].tobytes() == source[5]["images"][0].tobytes()


def test_equal_ids_are_told_apart(tmp_path):
    rows = [row(tmp_path, number, id=name) for number, name in enumerate(["7-2", "7", "7"])]
    write_jsonl(tmp_path / "problems.jsonl", rows)
    found = curate(CurationConfig(sources=({"path": str(tmp_path / "problems.jsonl"), "name": "s"},)), tmp_path / "out")
    assert found.splits["train"] == ["s-7-2", "s-7", "s-s-7-2"]


def test_sources_with_the_same_ids_and_rows(tmp_path):
    """Three datasets of our schema: ids 0, 1, 2 in each, the third one a copy of the second."""
    sources = []
    for number, start in enumerate((0, 3, 3)):
        folder = tmp_path / f"s{number}"
        folder.mkdir()
        rows = [{**row(folder, start + i), "id": str(i), "answer_type": "number"} for i in range(3)]
        write_jsonl(folder / "problems.jsonl", [{**one, "images": [one.pop("image")]} for one in rows])
        sources.append({"path": str(folder / "problems.jsonl"), "adapter": "schema"})
    found = curate(CurationConfig(sources=tuple(sources)), tmp_path / "out")
    assert [(one["num_read"], one["num_kept"], one["num_dropped"]) for one in found.report["sources"]] == [
        (3, 3, {}),
        (3, 3, {}),
        (3, 0, {"duplicate": 3}),
    ]
    kept = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert kept["id"][:] == found.splits["train"] and len(set(kept["id"])) == 6


def test_two_answers_to_one_problem_are_both_dropped(tmp_path):
    rows = [row(tmp_path, number) for number in range(3)]
    write_jsonl(tmp_path / "problems.jsonl", [*rows, {**rows[1], "id": "other", "answer": "99"}])
    found = curate(CurationConfig(sources=({"path": str(tmp_path / "problems.jsonl"), "name": "s"},)), tmp_path / "out")
    reasons = {reject["id"]: (reject["reason"], reject["of"]) for reject in found.rejects}
    assert reasons == {"s-1": ("conflicting_answers", "s-other"), "s-other": ("conflicting_answers", "s-1")}


def test_odd_rows_are_odd_by_themselves(tmp_path):
    rows = [row(tmp_path, number) for number in range(7)]
    rows[0]["options"] = 5
    rows[1]["image"] = {"bytes": "no bytes", "path": None}
    rows[2]["question"] = ["a", "list"]
    rows[3]["grade"] = "Grade 7"
    rows[4]["image"] = [None, "4.png"]
    rows[5]["image"] = "absent.png"
    write_jsonl(tmp_path / "problems.jsonl", rows)
    found = curate(CurationConfig(sources=({"path": str(tmp_path / "problems.jsonl"), "name": "s"},)), tmp_path / "out")
    reasons = [reject["reason"] for reject in found.rejects]
    assert reasons == [
        "unreadable_row",
        "figure_unreadable",
        "unreadable_row",
        "figure_unreadable",
        "figure_unreadable",
    ]
    assert [reject["id"] for reject in found.rejects] == ["s-0", "s-1", "s-2", "s-4", "s-5"]
    assert found.splits["train"] == ["s-3", "s-6"]
    assert str(tmp_path) not in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_split_groups_of_the_sources(tmp_path):
    """Rows of one group stay together; groups of two sources that happen to have one name do not."""
    sources = []
    for number, into in enumerate(("train", "test")):
        folder = tmp_path / f"s{number}"
        folder.mkdir()
        rows = [row(folder, 10 * number + i, split_group="g" if i < 2 else "") for i in range(4)]
        write_jsonl(folder / "problems.jsonl", rows)
        sources.append({"path": str(folder / "problems.jsonl"), "into": into})
    found = curate(CurationConfig(sources=tuple(sources)), tmp_path / "out")
    assert found.report["splits"] == {"train": 4, "test": 4}
    sizes = collections.Counter()
    for split in ("train", "test"):
        rows = datasets.Dataset.from_parquet(str(tmp_path / "out" / f"{split}.parquet"), cache_dir=str(tmp_path / "c"))
        sizes.update(rows["split_group"])
    assert sorted(sizes.values()) == [1, 1, 1, 1, 2, 2]


def test_variants_of_a_dropped_problem_stay_together(tmp_path):
    """A; B, a copy of A; C, a variant of B that is less like A: C and A are on one side."""
    rows = [row(tmp_path, number) for number in range(6)]
    words = rows[1]["question"]
    write_jsonl(
        tmp_path / "problems.jsonl", [*rows, {**row(tmp_path, 6), "question": words}, {**rows[1], "id": "copy"}]
    )
    for seed in range(6):
        source = {"path": str(tmp_path / "problems.jsonl"), "name": "s"}
        found = curate(CurationConfig(sources=(source,), num_test=2, seed=seed), tmp_path / f"out{seed}")
        sides = {name: split for split, names in found.splits.items() for name in names}
        assert sides["s-1"] == sides["s-6"] and "s-copy" not in sides


def test_benchmarks_without_answers_or_figures(source, tmp_path):
    folder = tmp_path / "bench"
    folder.mkdir()
    shown = [{"id": "a", "question": row(folder, 2)["question"]}, {"id": "b", "question": "", "answer": ""}]
    write_jsonl(folder / "problems.jsonl", shown)
    found = curate(config(source, benchmarks=(str(folder / "problems.jsonl"),)), tmp_path / "out")
    assert [reject["id"] for reject in found.rejects if reject["reason"] == "in_benchmark"] == ["raw-2"]
    (report,) = found.report["benchmarks"]
    assert report["num_read"] == 2 and report["num_unreadable"] == 1


def test_figures_in_other_columns(tmp_path):
    rows = [{**row(tmp_path, number), "pic": f"{number}.png"} for number in range(2)]
    for one in rows:
        del one["image"]
    write_jsonl(tmp_path / "problems.jsonl", rows)
    source = {"path": str(tmp_path / "problems.jsonl"), "name": "s", "columns": {"image": "pic"}}
    assert curate(CurationConfig(sources=(source,)), tmp_path / "out").rejects == []
    with pytest.raises(
        ValueError, match="The source s has no column photo, which `columns` names. It has id, question"
    ):
        curate(CurationConfig(sources=({**source, "columns": {"image": "photo"}},)), tmp_path / "out")


def test_wrong_configurations():
    with pytest.raises(ValueError, match="Found no source. Name at least one"):
        CurationConfig()
    with pytest.raises(
        ValueError, match="Found licence in a source. A source is a path, or a mapping of path, adapter"
    ):
        CurationConfig(sources=({"path": "a", "licence": "mit"},))
    with pytest.raises(ValueError, match="Found no path in a source"):
        CurationConfig(sources=({"name": "a"},))
    with pytest.raises(
        ValueError, match="Found into='validation' for the source a; it must be one of auto, train, test"
    ):
        CurationConfig(sources=({"path": "a", "into": "validation"},))
    with pytest.raises(ValueError, match="Found sources of the same name: a, a. Give each a name of its own"):
        CurationConfig(sources=("x/a", "y/a"))
    assert CurationConfig(sources="a").sources[0].path == "a" and CurationConfig(sources={"path": "a"}).sources
    assert CurationConfig(sources=("a",), benchmarks=None, languages="en").languages == ("en",)
    for options, words in {
        ("languages", ("english",)): "it must be some of en, zh",
        ("min_figure_side", -1): "it must be at least 0",
    }.items():
        with pytest.raises(ValueError, match=words):
            CurationConfig(sources=("a",), **dict([options]))
    for options in ({"path": 5}, {"num_rows": "2"}, {"num_rows": -1}, {"columns": "question"}, {"split": ""}):
        with pytest.raises(ValueError, match="it must be a"):
            CurationConfig(sources=({"path": "a", **options},))
    with pytest.raises(ValueError, match=r"Found near_similarity=2 in CurationConfig; it must be in \(0, 1\]"):
        CurationConfig(sources=("a",), near_similarity=2)


# --- A model without the figure -----------------------------------------------------------------------------------


class Chat:
    """Answers by the question's last word; counts what it was asked."""

    identity = {"model": "stub"}

    def __init__(self, answers):
        self.answers, self.num_asked = answers, 0

    async def complete(self, messages, *, seeds=(0,), temperature=0.0, max_new_tokens=512, **_):
        self.num_asked += 1
        question = messages[0]["content"]
        assert "not shown" in question and (temperature == 0.0) == (len(seeds) == 1 and tuple(seeds) == (0,))
        answer = next((answer for words, answer in self.answers.items() if words in question), "I cannot say")
        return ChatReply(tuple(ChatChoice(f"So.\nAnswer: {answer}", "stop") for _ in seeds))


def test_what_a_model_solves_without_the_figure(tmp_path):
    problems = [
        Problem("a", "Solved one", answer="5"),
        Problem("b", "Failed one", answer="6"),
        Problem("c", "Which one is lettered?", answer="B", answer_type="choice", options=("1", "2")),
    ]
    chat = Chat({"Solved": "5", "Failed": "7", "lettered": "(B)"})
    found = asyncio.run(solved_without_figure(problems, chat, tmp_path / "t.jsonl", num_samples=4))
    assert found == {"a": (4, 4), "b": (0, 4), "c": (4, 4)} and chat.num_asked == 6
    again = asyncio.run(solved_without_figure(problems, chat, tmp_path / "t.jsonl", num_samples=4))
    assert again == found and chat.num_asked == 6  # nothing is asked twice
    asyncio.run(solved_without_figure(problems, chat, tmp_path / "t.jsonl", num_samples=2))
    assert chat.num_asked == 12


def test_the_model_decides_where_the_text_leaves_it_open(tmp_path):
    rows = [row(tmp_path, number) for number in range(3)]
    rows[1]["question"] = (
        "Eve swaps each of 2 bananas for 4 apples and each apple for 3 plums. How many plums has she got?"
    )
    rows[2]["question"] = "In $\\triangle ABC$ the side $AB$ has length $7$. Find the length of the median from $C$."
    write_jsonl(tmp_path / "problems.jsonl", rows)
    options = CurationConfig(sources=({"path": str(tmp_path / "problems.jsonl"), "name": "s"},))
    alone = curate(options, tmp_path / "alone")
    assert collections.Counter(one["reason"] for one in alone.rejects) == {"figure_not_needed": 2}

    def ask(problems):
        assert all(problem.images == () for problem in problems)
        return {"s-0": (1, 4), "s-1": (4, 4), "s-2": (0, 4)}

    asked = curate(options, tmp_path / "asked", text_only=ask)
    assert [(one["id"], one["reason"]) for one in asked.rejects] == [("s-1", "solved_without_figure")]
    silent = curate(options, tmp_path / "silent", text_only=lambda problems: {})
    assert [one["reason"] for one in silent.rejects] == ["figure_not_needed"] * 2


def test_figures_of_any_kind(tmp_path):
    """A dataset folder with bytes, several figures a row, another mode, and a grey picture of 8,526 pixels."""
    rows = []
    for number, (mode, size) in enumerate([("RGBA", (60, 50)), ("P", (60, 50)), ("L", (500, 8526)), ("RGB", (40, 30))]):
        file = io.BytesIO()
        Image.effect_noise(size, 80 + number).convert(mode).save(file, "PNG")
        images = [{"bytes": file.getvalue(), "path": f"/home/somebody/{number}.png"}] * (1 + number % 2)
        base = row(tmp_path, number)
        rows.append({"id": base["id"], "question": base["question"], "answer": base["answer"], "images": images})
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "question", "answer")}
        | {"images": datasets.List(datasets.Image())}
    )
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "many" / "train.parquet")
    found = curate(CurationConfig(sources=(str(tmp_path / "many"),)), tmp_path / "out")
    assert found.rejects == [] and found.report["composition"]["images per problem"] == {"1": 2, "2": 2}
    assert b"/home/somebody" not in (tmp_path / "out" / "train.parquet").read_bytes()
