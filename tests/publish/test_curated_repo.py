"""From a dataset on a Hub (on loopback) to a curated folder, to the Hub again, to `load_dataset`; and by the CLI."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image, ImageDraw
from support.stub_server import StubServer
from typer.testing import CliRunner

from mmprm_hf.cli.program import app
from mmprm_hf.files import read_jsonl, write_jsonl
from mmprm_hf.publish.cards import write_card
from mmprm_hf.publish.hub import push


def figure(number: int) -> bytes:
    image = Image.new("RGB", (90, 70), "white")
    ImageDraw.Draw(image).polygon([(5, 60), (20 + 7 * number, 5), (85, 50 + number)], fill="black")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def published_rows(count: int) -> list[dict]:
    """Rows as published MM-K12 is described: id, index, question, answer in dollars, image."""
    questions = [
        "As shown in the figure, what is the size of angle ABC in degrees?",
        "The bar chart gives the visitors of a museum. On how many days did more than fifty come?",
        "如图, 在三角形中, 点 D 是边的中点, 求阴影部分的面积.",
        "A ladder leans against the wall in the picture. How high does it reach?",
        "Which number belongs into the grey cell of the table?",
        "Count the cubes of the tower that cannot be seen from the front.",
        "The kite below has a perimeter of forty metres. How long is its shorter side?",
        "Read the thermometer in the drawing: by how much must it rise to reach zero?",
    ]
    return [
        {
            "id": f"k12-{number}",
            "index": number,
            "question": questions[number],
            "answer": f"$${number + 20}$$",
            "image": {"bytes": figure(number), "path": None},
        }
        for number in range(count)
    ]


@pytest.mark.processes
def test_mm_k12_is_republished_in_our_schema(hub, hub_environment, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# MM-K12\n")
    text, number = datasets.Value("string"), datasets.Value("int64")
    features = {"id": text, "index": number, "question": text, "answer": text, "image": datasets.Image()}
    rows = datasets.Dataset.from_list(published_rows(8), features=datasets.Features(features))
    rows.to_parquet(folder / "train.parquet")
    push(folder, "Cierra0506/MM-K12", kind="dataset")

    options = ["--adapter", "mm_k12", "--num-test", "2", "--output", str(tmp_path / "mm-k12"), "--json"]
    command = [sys.executable, "-m", "mmprm_hf", "curate", "--source", "hub:Cierra0506/MM-K12", *options]
    run = subprocess.run(command, env=hub_environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["splits"] == {"train": 6, "test": 2}
    (source,) = report["sources"]
    assert source["path"] == "hub:Cierra0506/MM-K12" and source["adapter"] == "mm_k12"
    assert source["unknown_columns"] == ["subject", "grade", "license"]
    assert source["repairs"] == {"answer_unwrapped": 8}

    assert push(tmp_path / "mm-k12", "me/mm-k12", kind="dataset")["num_files"] == 7
    program = """
import datasets
rows = datasets.load_dataset("me/mm-k12")
assert {split: len(rows[split]) for split in rows} == {"train": 6, "test": 2}, rows
row = rows["test"][0]
assert row["images"][0].size == (90, 70) and row["answer"].isdigit() and row["id"].startswith("MM-K12-k12-"), row
streamed = next(iter(datasets.load_dataset("me/mm-k12", split="train", streaming=True)))
assert streamed["images"][0].size == (90, 70)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=hub_environment, cwd=tmp_path)


@pytest.fixture
def raw(tmp_path):
    """A JSON-lines file as people have them: Base64 figures, columns of other names."""
    rows = [
        {"q": row["question"], "gold": row["answer"], "image": base64.b64encode(row["image"]["bytes"]).decode()}
        for row in published_rows(5)
    ]
    rows += [
        {**rows[0], "q": "Eve has 2 bananas and swaps each for 4 apples. How many apples?"},
        {**rows[1], "gold": None},
    ]
    write_jsonl(tmp_path / "raw" / "rows.jsonl", rows)
    return tmp_path / "raw" / "rows.jsonl"


def run(*arguments):
    return CliRunner().invoke(app, ["curate", *map(str, arguments)])


def test_by_configuration(raw, tmp_path):
    config = {
        "sources": [{"path": str(raw), "name": "shop", "license": "cc-by-4.0", "columns": {"question": "q"}}],
        "num_test": 1,
        "title": "Shapes",
        "motivation": "To see the card.",
    }
    (tmp_path / "curate.yaml").write_text(yaml.safe_dump(config))
    result = run("--config", tmp_path / "curate.yaml", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    for line in (["shop"], ["read", "7"], ["no_answer", "1"], ["figure_not_needed", "1"], ["kept", "5"]):
        assert line in lines, result.stdout
    assert "splits: train 4, test 1" in result.stdout and "shop has no subject, grade" in result.stdout

    text = (tmp_path / "out" / "README.md").read_text()
    card = DatasetCard(text)
    assert card.data.license == "cc-by-4.0" and card.data.pretty_name == "Shapes"
    assert "To see the card." in text and "| figure_not_needed |" in text and "| kept |" in text
    assert str(tmp_path) not in text
    criteria = json.loads((tmp_path / "out" / "facts.json").read_text())["criteria"]
    assert "over_the_limit" in criteria and "language" not in criteria  # only those in force
    again = write_card(tmp_path / "out" / "facts.json", tmp_path / "again.md")
    assert again.read_text() == text
    resolved = yaml.safe_load((tmp_path / "out" / "curate.yaml").read_text())
    assert resolved["num_test"] == 1 and resolved["sources"][0]["license"] == "cc-by-4.0"
    report = push(tmp_path / "out", "me/shapes", kind="dataset", dry_run=True)
    assert report["num_files"] == 7


def test_by_flags(raw, tmp_path):
    write_jsonl(raw.parent / "plain.jsonl", [{**row, "question": row["q"]} for row in read_jsonl(raw)])
    result = run("--source", raw.parent / "plain.jsonl", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["splits"] == {"train": 5, "test": 0}
    nothing = run(
        "--source", raw.parent / "plain.jsonl", "--benchmark", tmp_path / "out", "--output", tmp_path / "none"
    )
    assert nothing.exit_code == 1 and "none is kept (in_benchmark: 5" in nothing.stderr


def test_a_wrong_configuration_is_one_sentence_and_writes_nothing(raw, tmp_path):
    config = tmp_path / "curate.yaml"
    for text, code, message in (
        ("sources: [{path: absent.jsonl}]", 1, "absent.jsonl"),
        ("source: a\nnum_tests: 3", 2, "Unknown option 'num_tests' in curate.yaml. Did you mean 'num_test'"),
        ("sources: [{path: a, licence: mit}]", 1, "Unknown source option 'licence'. Did you mean 'license'"),
        (
            "sources: [{path: RAW, adapter: schem}]",
            1,
            "Unknown adapter 'schem' of the source raw. Did you mean 'schema'",
        ),
        ("sources: []", 1, "Found no source. Name at least one: a path or hub id under `sources`, or --source."),
        ("sources: [RAW]", 1, "has no column question; found q, gold, image. Name the one that is"),
        ("sources: [{path: RAW, columns: {question: q}}]\nmin_figure_side: big", 1, "It must be a number, such as 28"),
    ):
        config.write_text(text.replace("RAW", str(raw)))
        result = run("--config", config, "--output", tmp_path / "out")
        stderr = " ".join(result.stderr.split()).replace(f"{tmp_path}/", "")
        assert result.exit_code == code and message in stderr, result.output
        assert not (tmp_path / "out").exists()


def test_a_folder_made_again_is_not_read_from_a_cache(raw, tmp_path):
    write_jsonl(raw.parent / "plain.jsonl", [{**row, "question": row["q"]} for row in read_jsonl(raw)])
    for num_test in (1, 2):
        arguments = ["--source", raw.parent / "plain.jsonl", "--output", tmp_path / "out", "--num-test", num_test]
        assert run(*arguments).exit_code == 0
        rows = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
        assert len(rows["test"]) == num_test


def test_a_served_model_is_asked_without_the_figures(raw, tmp_path):
    """What it solves goes; what it fails stays, whatever its words; a server that fails leaves no half-made folder."""
    write_jsonl(raw.parent / "plain.jsonl", [{**row, "question": row["q"]} for row in read_jsonl(raw)])

    def policy(messages, seed):
        question = messages[-1]["content"]
        assert isinstance(question, str) and "not shown" in question
        return "Answer: 20" if "angle ABC" in question else "Answer: unknown"

    arguments = ["--source", raw.parent / "plain.jsonl", "--output", tmp_path / "out", "--json"]
    with StubServer(policy) as server:
        result = run(*arguments, "--engine", server.url)
        assert result.exit_code == 0, result.output
        num_asked = len(server.bodies)
        again = run(*arguments, "--engine", server.url)
        assert len(server.bodies) == num_asked and json.loads(again.stdout) == json.loads(result.stdout)
    (source,) = json.loads(result.stdout)["sources"]
    assert source["num_dropped"] == {"no_answer": 1, "solved_without_figure": 1} and source["num_kept"] == 5
    kept = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))["question"]
    assert any("bananas" in question for question in kept)
    with StubServer(policy, faults=["401"] * 50) as server:
        refused = run(*arguments[:2], "--output", tmp_path / "none", "--engine", server.url)
    assert refused.exit_code == 1 and not (tmp_path / "none" / "train.parquet").exists()
