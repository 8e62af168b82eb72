"""The restructuring stage, folder to folder: the corpus, both ways of asking, files and their figures, errors."""

import json

import datasets
import pytest
from support.restructuring import QUESTION, png, policy, solution
from support.stub_server import StubServer
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.files import read_jsonl, write_json, write_jsonl
from mmprm_hf.steps import STEP_FORMATS, TAGGED, read_step_format

NOTES = ["", "[added]", "[blind]", "[eye]", "[split]", "[once]"]


@pytest.fixture
def source(tmp_path):
    """Six rows as a dataset folder; all but the first have a figure."""
    rows = {
        "id": [f"r{i}" for i in range(6)],
        "question": [QUESTION] * 6,
        "solution": [solution(note, i) for i, note in enumerate(NOTES)],
        "answer": ["7"] * 6,
        "images": [[{"bytes": png((40 * i, 0, 0)), "path": None}] if i else [] for i in range(6)],
    }
    features = {name: datasets.Value("string") for name in ("id", "question", "solution", "answer")}
    features = datasets.Features({**features, "images": datasets.List(datasets.Image())})
    folder = tmp_path / "data"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_the_corpus_loads_and_its_figures_keep_their_bytes(source, tmp_path):
    output = tmp_path / "out"
    with StubServer(policy) as server:
        report = stages.restructure(source, output, servers=stages.Servers(server.url), progress=False)
        assert all(isinstance(body["messages"][0]["content"], str) for body in server.bodies if "messages" in body)
    rows = datasets.load_dataset(str(output), split="train")
    assert rows["id"] == ["r0", "r3", "r4", "r5"]
    assert rows[1]["images"][0].size == (16, 12) and rows[0]["images"] == []
    raw = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    assert raw[1]["images"][0]["bytes"] == png((120, 0, 0))
    first = rows[0]
    assert first["prompt"] == [{"role": "user", "content": QUESTION}]
    assert TAGGED.parse(first["completion"][0]["content"]).steps == tuple(first["steps"])
    assert first["num_steps"] == 2 and first["answer"] == "7"
    rejected = read_jsonl(output / "rejected.jsonl")
    assert [(line["id"], line["reason"]) for line in rejected] == [("r1", "numbers_added"), ("r2", "numbers_added")]
    stored = json.loads((output / "restructure.json").read_text())
    assert stored == report
    assert (stored["num_rows"], stored["num_accepted"], stored["num_helped_by_retry"]) == (6, 4, 1)
    assert stored["rejected_by_reason"] == {"numbers_added": 2} and stored["model"]["model"] == "stub"
    assert stored["asked_now"]["num_replies"] == 9 and stored["asked_now"]["tokens_in"] == stored["tokens_in"] > 0


def test_compare_asks_both_ways_and_a_second_run_asks_nothing(source, tmp_path):
    arguments = ["restructure", "--data", source, "--output", tmp_path / "out", "--show-figure", "compare"]
    (tmp_path / "options.yaml").write_text("max_attempts: 1\n")
    with StubServer(policy) as server:
        arguments += ["--engine", server.url, "--config", tmp_path / "options.yaml"]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        num_asked = len(server.bodies)
        again = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert len([body for body in server.bodies[num_asked:] if "messages" in body]) == 0
    figures = json.loads(again.stdout)
    assert figures["compare"]["num_rows_with_figure"] == 5
    assert (figures["compare"]["num_rescued_by_figure"], figures["compare"]["num_rejected_by_figure"]) == (1, 1)
    assert figures["compare"]["num_accepted_both"] == 1 and figures["compare"]["step_count_differs"]["value"] == 1
    assert figures["num_accepted"] == 3 and figures["shown"]["num_accepted"] == 3
    assert figures["asked_now"]["num_replies"] == 0 and figures["tokens_out"] > 0
    for words in ("3    50.0%  restructured", "numbers_added", "rejections rescued", "40.0%  other outcome"):
        assert words in result.stdout, result.stdout


def test_json_lines_without_figures_and_nothing_taken(tmp_path):
    data, output = tmp_path / "data.jsonl", tmp_path / "out"
    write_jsonl(data, [{"question": QUESTION, "solution": solution(), "answer": 7}])
    with StubServer(policy) as server:
        servers = stages.Servers(server.url)
        stages.restructure(data, output, servers=servers, model="stub", progress=False)
        rows = datasets.load_dataset(str(output), split="train")
        assert rows["id"] == ["0"] and "images" not in rows.column_names
        options = tmp_path / "options.yaml"
        options.write_text("min_steps: 9")
        report = stages.restructure(data, output, servers=servers, model="stub", config=options, progress=False)
    assert report["rejected_by_reason"] == {"few_steps": 1} and not (output / "train.parquet").exists()


def test_the_corpus_is_written_in_any_step_format(source, tmp_path):
    """Replies are those of the first run: what the model is asked does not depend on the format."""
    texts = {}
    with StubServer(policy) as server:
        for name in STEP_FORMATS:
            arguments = ["restructure", "--data", source, "--output", tmp_path / "out", "--engine", server.url]
            result = CliRunner().invoke(app, [*map(str, arguments), "--step-format", name, "--json"])
            assert result.exit_code == 0, result.output
            assert json.loads(result.stdout)["config"]["step_format"] == name
            rows = datasets.load_dataset("parquet", data_files=str(tmp_path / "out/train.parquet"), split="train")
            texts[name] = rows[0]["completion"][0]["content"]
            parsed = read_step_format(name).parse(texts[name])
            assert (list(parsed.steps), parsed.answer) == (rows[0]["steps"], rows[0]["answer"]), name
        num_asked = len([body for body in server.bodies if "messages" in body])
    assert num_asked == 9 and len(set(texts.values())) == 4
    assert texts["tagged"].startswith("<step>") and texts["numbered"].startswith("Step 1: ")


def test_steps_that_the_format_cannot_hold_are_counted(tmp_path):
    def two_lines(*_):
        return "<step>3+4=7,\nas said</step><step>7-2=5</step><answer>5</answer>"

    write_jsonl(tmp_path / "data.jsonl", [{"question": "3+4-2?", "solution": "3+4=7, as said; 7-2=5", "answer": "5"}])
    with StubServer(two_lines) as server:
        for name, counts in (("paragraphs", {}), ("lines", {"not_writable": 1})):
            output, config = tmp_path / name, {"step_format": name}
            report = stages.restructure(
                tmp_path / "data.jsonl", output, servers=stages.Servers(server.url), config=config, progress=False
            )
            assert report["rejected_by_reason"] == counts
    (row,) = read_jsonl(tmp_path / "lines" / "rejected.jsonl")
    assert "cannot be written as lines" in row["detail"]
    with pytest.raises(ValueError, match="Unknown step format 'tabs'"):
        stages.restructure(
            tmp_path / "data.jsonl", tmp_path / "x", servers=stages.Servers(server.url), config={"step_format": "tabs"}
        )


def test_figures_lie_beside_the_file_that_names_them(tmp_path):
    rows = [{"id": "a", "question": QUESTION, "solution": solution(), "answer": "7", "images": ["figure.png"]}]
    (tmp_path / "figure.png").write_bytes(png("red"))
    write_jsonl(tmp_path / "lines.jsonl", rows)
    write_json(tmp_path / "list.json", rows)
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "table.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "figure.png").write_bytes(png("red"))
    write_jsonl(tmp_path / "folder" / "train.jsonl", rows)
    with StubServer(policy) as server:
        for name in ("lines.jsonl", "list.json", "table.parquet", "folder"):
            data, output = tmp_path / name, tmp_path / f"out_{name}"
            stages.restructure(data, output, servers=stages.Servers(server.url), show_figure="yes", progress=False)
            assert server.bodies[-1]["messages"][0]["content"][0]["type"] == "image_url"
            (row,) = datasets.load_dataset(str(output), split="train")
            assert row["images"][0].getpixel((0, 0)) == (255, 0, 0), name


def test_bad_input_is_named(source, tmp_path):
    servers = stages.Servers("http://127.0.0.1:9")
    with pytest.raises(OSError, match="There is no file or folder .*none' here"):
        stages.restructure(tmp_path / "none", tmp_path / "out", servers=servers)
    with pytest.raises(ValueError, match="Restructuring needs a model"):
        stages.restructure(source, tmp_path / "out", servers=stages.Servers())
    with pytest.raises(ValueError, match="Unknown show_figure 'maybe'.*Choose one of no, yes, compare"):
        stages.restructure(source, tmp_path / "out", servers=servers, show_figure="maybe")
    write_jsonl(tmp_path / "other.jsonl", [{"question": "q", "text": "s"}])
    with pytest.raises(ValueError, match="has no column solution; found question, text. Name the one"):
        stages.restructure(tmp_path / "other.jsonl", tmp_path / "out", servers=servers)


def test_a_server_that_is_gone_ends_the_command_with_one_line(source, tmp_path):
    with StubServer(policy, faults=lambda *_: "401") as server:
        arguments = ["restructure", "--data", source, "--output", tmp_path / "out", "--engine", server.url]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and "HTTP 401" in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "out" / "rejected.jsonl").exists()


def test_trl_trains_on_the_corpus(source, tmp_path):
    """One step of the shipped nano policy, on rows with a figure and without."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    from mmprm_hf.nano import POLICY_PATH

    with StubServer(policy) as server:
        stages.restructure(source, tmp_path / "out", servers=stages.Servers(server.url), progress=False)
    config = SFTConfig(
        output_dir=str(tmp_path / "sft"), per_device_train_batch_size=4, max_steps=1, max_length=None, use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForImageTextToText.from_pretrained(POLICY_PATH),
        args=config,
        train_dataset=datasets.load_dataset(str(tmp_path / "out"), split="train"),
        processing_class=AutoProcessor.from_pretrained(POLICY_PATH),
    )
    assert 0 < trainer.train().training_loss < 100
