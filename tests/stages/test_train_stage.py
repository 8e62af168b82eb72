"""The training stage: checkpoint folders, dry runs, and best-of-N on what `mmprm rerank` wrote."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil

import datasets
import pytest
import transformers
import yaml
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.errors import StorageFailedError
from mmprm_hf.files import lock_folder, read_json, read_jsonl, write_json, write_jsonl
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.rows import FigureRules
from mmprm_hf.training import PRMTrainer

pytestmark = pytest.mark.trainings

QUICK = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 2, "save_strategy": "no"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of rows without figures: two solutions of each of six problems."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "prompt": f"What is {index} + x?",
            "completions": [f"Begin {index}", end],
            "labels": [0.9, float(end == "right")],
            "problem_id": f"p{index}",
        }
        for index in range(6)
        for end in ("right", "wrong.")
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return folder


def run(*words):
    """`mmprm` with these words; returns what it printed."""
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_training_selects_among_the_candidates_that_rerank_wrote(tmp_path):
    """At learning rate 0 the shipped PRM selects what it selected for `mmprm rerank`."""
    sizes = ("--num-problems", 4, "--num-candidates", 3, "--max-new-tokens", 100)
    run("rerank", "--data", "nano", "--output", tmp_path / "reranked", *sizes)
    candidates = tmp_path / "reranked" / "candidates.jsonl"
    rows = read_jsonl(candidates)
    verdicts = [[candidate["verdict"] for candidate in row["candidates"]] for row in rows]
    is_right = [[verdict == "correct" for verdict in row] for row in verdicts]
    assert all(row["chosen"] is not None for row in rows) and any(map(any, is_right)) and not all(map(all, is_right))
    labelled = [{"prompt": row["question"], "completions": row["candidates"][0]["steps"]} for row in rows]
    labelled = [{**row, "labels": [1.0] * len(row["completions"])} for row in labelled]
    for split in ("train", "validation"):
        datasets.Dataset.from_list(labelled).to_parquet(tmp_path / "data" / f"{split}.parquet")
    (tmp_path / "prm.yaml").write_text(yaml.safe_dump({**QUICK, "max_steps": 1, "learning_rate": 0.0}))
    flags = ("--model", PRM_PATH, "--data", tmp_path / "data", "--config", tmp_path / "prm.yaml")
    printed = run("train", *flags, "--candidates", candidates, "--output", tmp_path / "prm", "--json")
    metrics = json.loads(printed)
    counts = {"num_train_rows": 4, "num_eval_rows": 4, "output": str(tmp_path / "prm")}
    assert metrics == read_json(tmp_path / "prm" / "train_metrics.json") | counts
    assert metrics["eval_best_of_n"] == sum(row[r["chosen"]] for row, r in zip(is_right, rows, strict=True)) / 4
    assert metrics["eval_mean_pass_at_1"] == pytest.approx(sum(map(sum, is_right)) / 12)
    assert metrics["eval_oracle"] == sum(map(any, is_right)) / 4
    assert read_json(tmp_path / "prm" / "train_config.json")["candidates"] == "candidates.jsonl"


def test_candidates_are_scored_at_evaluations(tmp_path, tiny_prm_dir, data):
    candidates = tmp_path / "candidates.jsonl"
    judged = [{"steps": ["a", "b"], "answer": "1", "verdict": "correct"}, {"steps": ["c"], "verdict": "incorrect"}]
    candidates.write_text(json.dumps({"problem_id": "p", "question": "What?", "candidates": judged}) + "\n")
    options = {"config": QUICK, "candidates": candidates}
    report = stages.train(tiny_prm_dir, data, tmp_path / "a", eval_share=0.3, dry_run=True, **options)
    assert "The hours do not include scoring the candidates at each evaluation." in report["notes"]
    with pytest.raises(ValueError, match="Found no eval rows in .*candidates are scored at evaluations"):
        stages.train(tiny_prm_dir, data, tmp_path / "b", eval_share=0.0, **options)


def test_a_dry_run_writes_only_its_report(tmp_path, tiny_prm_dir, data):
    output = tmp_path / "out"
    report = stages.train(tiny_prm_dir, data, output, config=QUICK, eval_share=0.3, dry_run=True)
    assert [path.relative_to(output).as_posix() for path in output.rglob("*")] == ["dry_run.json"]
    assert read_json(output / "dry_run.json") == report
    assert report["counted"]["num_steps"] == 2


def test_the_verb_prints_a_dry_run_as_text_or_json(tmp_path, tiny_prm_dir, data):
    (tmp_path / "prm.yaml").write_text(yaml.safe_dump(QUICK))
    flags = ("--model", tiny_prm_dir, "--data", data, "--config", tmp_path / "prm.yaml", "--output", tmp_path / "out")
    assert "  num steps                 2\n" in run("train", *flags, "--dry-run")
    assert json.loads(run("train", *flags, "--dry-run", "--json"))["counted"]["num_steps"] == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dry_run.json"]


SAVING = {**QUICK, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1, "max_steps": 3, "learning_rate": 1e-3}


def stop_at(step, monkeypatch):
    """Let the next trainings die once the weights of this step are written, before anything else is."""
    whole = PRMTrainer._save_optimizer_and_scheduler

    def save(self, folder):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        whole(self, folder)

    monkeypatch.setattr(PRMTrainer, "_save_optimizer_and_scheduler", save)


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory, tiny_prm_dir, data):
    """The folder of a training of three steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "prm"
    stages.train(tiny_prm_dir, data, folder, config=SAVING)
    return folder


def test_a_run_that_died_while_it_saved_resumes_from_the_newest_whole_checkpoint(
    tmp_path, tiny_prm_dir, data, whole_training, monkeypatch, caplog
):
    for step in (1, 3):  # with no checkpoint before it, and with two
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_at(step, patch)
            stages.train(tiny_prm_dir, data, tmp_path / str(step), config=SAVING)
        states = tmp_path / str(step) / "trainer"
        assert (states / f"checkpoint-{step}" / "model.safetensors").exists(), "cut off while it was saved"
        assert not (tmp_path / str(step) / "train_metrics.json").exists()
        caplog.clear()
        with caplog.at_level(logging.INFO, "mmprm_hf.notes"):
            stages.train(tiny_prm_dir, data, tmp_path / str(step), config=SAVING)
        assert ("checkpoint-2; its first 2 steps are not trained again" in caplog.text) == (step == 3)
        assert f"checkpoint-{step} is passed over: the run was stopped while it was saved" in caplog.text
        assert weights_of(tmp_path / str(step)) == weights_of(whole_training)
        state = read_json(states / "checkpoint-3" / "trainer_state.json")
        assert [log["step"] for log in state["log_history"] if "loss" in log] == [1, 2, 3]


def times_gone(metrics):
    return {name: value for name, value in metrics.items() if "runtime" not in name and "per_second" not in name}


def test_a_training_that_died_after_its_last_checkpoint_ends_as_if_it_had_not(tmp_path, tiny_prm_dir, data):
    """In the middle of an epoch, at a constant rate, its folder moved since; the best checkpoint is not the last."""
    usual = {**SAVING, "max_steps": 2, "per_device_train_batch_size": 1, "lr_scheduler_type": "constant"}
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 0.05}
    best |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}  # the first one
    for name, config in (("last", usual), ("best", {**usual, **best})):
        folder, moved = tmp_path / name, tmp_path / f"{name} moved"
        metrics = stages.train(tiny_prm_dir, data, folder, config=config, eval_share=0.3)
        weights = weights_of(folder)
        assert metrics["eval_num_steps"] and (weights == weights_of(folder / "trainer" / "checkpoint-2")) == (
            name == "last"
        )
        (folder / "train_metrics.json").unlink()
        (folder / "model.safetensors").unlink()
        folder.rename(moved)
        again = stages.train(tiny_prm_dir, data, moved, config=config, eval_share=0.3)
        assert weights_of(moved) == weights and times_gone(again) == times_gone(metrics)
        steps = [int(path.name.split("-")[1]) for path in (moved / "trainer").glob("checkpoint-*")]
        assert sorted(steps) == [1, 2], "nothing was trained"


def test_a_training_that_saves_no_optimizer_says_so_and_begins_again(tmp_path, tiny_prm_dir, data, monkeypatch, caplog):
    config = {**SAVING, "max_steps": 2, "save_only_model": True}
    metrics = stages.train(tiny_prm_dir, data, tmp_path, config=config)
    assert "saves no optimizer: if this training is stopped, it begins again" in caplog.text
    weights = weights_of(tmp_path)
    (tmp_path / "train_metrics.json").unlink()
    assert stages.train(tiny_prm_dir, data, tmp_path, config=config) == metrics and weights_of(tmp_path) == weights


def test_a_disk_that_is_full_is_named_and_the_training_resumes(
    tmp_path, tiny_prm_dir, data, whole_training, monkeypatch
):
    """A limit on the size of files stands for the disk: it is full before the weights, and before the optimizer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("_save", "_save_optimizer_and_scheduler"):
        save = getattr(PRMTrainer, name)

        def save_on_full_disk(self, *arguments, save=save, **options):
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
            try:
                save(self, *arguments, **options)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        with monkeypatch.context() as patch:
            patch.setattr(PRMTrainer, name, save_on_full_disk)
            with pytest.raises(StorageFailedError, match="checkpoint-1 could not be written whole: the disk is full"):
                stages.train(tiny_prm_dir, data, tmp_path, config=SAVING)
    stages.train(tiny_prm_dir, data, tmp_path, config=SAVING)
    assert weights_of(tmp_path) == weights_of(whole_training)


def test_files_of_a_training_that_are_damaged_or_gone_are_named(tmp_path, tiny_prm_dir, data, whole_training):
    shutil.copytree(whole_training, tmp_path / "prm")

    def refused(words):
        with pytest.raises(ValueError, match=words):
            stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING)

    write_json(tmp_path / "prm" / "train_metrics.json", [1])
    refused(r"train_metrics.json is '\[1\]', not the metrics of a training. Restore it; or delete it, and start again")
    for content in (None, [], "text"):
        write_json(tmp_path / "prm" / "train_config.json", content)
        refused("train_config.json contains .*, and not the settings of a run. Restore it, or choose another output")
    write_json(tmp_path / "prm" / "train_config.json", {})
    refused("made with other settings .*data: None there.*see train_config.json")
    (tmp_path / "prm" / "train_config.json").unlink()
    refused("holds a training without train_config.json, .*Restore the file, or choose another output folder")
    os.replace(tmp_path / "prm" / "trainer", tmp_path / "kept")
    refused("holds a training without train_config.json")
    (tmp_path / "prm" / "train_metrics.json").unlink()
    shutil.copytree(tmp_path / "kept", tmp_path / "prm" / "trainer", dirs_exist_ok=True)
    refused("holds a training without train_config.json")


def test_copies_of_model_and_data_are_the_same_training_and_changed_ones_another(
    tmp_path, tiny_prm_dir, data, whole_training
):
    shutil.copytree(tiny_prm_dir, tmp_path / "model")
    shutil.copytree(data, tmp_path / "data")
    stages.train(str(tmp_path / "model"), tmp_path / "data", whole_training, config=SAVING)
    with pytest.raises(ValueError, match=r"settings \(model: .*; model_content: "):
        (tmp_path / "model" / "config.json").write_text((tmp_path / "model" / "config.json").read_text() + " ")
        stages.train(str(tmp_path / "model"), data, whole_training, config=SAVING)


def test_candidates_adapter_and_number_of_processes_are_those_of_the_start(tmp_path, tiny_prm_dir, data):
    peft = pytest.importorskip("peft")
    candidates, moved = tmp_path / "candidates.jsonl", tmp_path / "moved.jsonl"
    judged = [{"steps": ["a", "b"], "answer": "1", "verdict": "correct"}, {"steps": ["c"], "verdict": "incorrect"}]
    write_jsonl(candidates, [{"problem_id": "p", "question": "What?", "candidates": judged}])
    adapter = peft.LoraConfig(target_modules=["q_proj"], r=2)
    usual = {"config": {**QUICK, "max_steps": 1}, "eval_share": 0.3, "candidates": candidates, "peft_config": adapter}
    stages.train(tiny_prm_dir, data, tmp_path / "prm", **usual)

    def refused(name, **changed):
        with pytest.raises(ValueError, match=rf"made with other settings \({name}: "):
            stages.train(tiny_prm_dir, data, tmp_path / "prm", **{**usual, **changed})

    usual["candidates"] = candidates.rename(moved)
    stages.train(tiny_prm_dir, data, tmp_path / "prm", **usual)
    refused("adapter.r", peft_config=peft.LoraConfig(target_modules=["q_proj"], r=4))
    refused("adapter", peft_config=None)
    write_jsonl(candidates, [{"problem_id": "p", "question": "Which?", "candidates": judged}])
    refused("candidates_content", candidates=candidates)
    config = read_json(tmp_path / "prm" / "train_config.json")
    write_json(tmp_path / "prm" / "train_config.json", {**config, "num_processes": 2})
    refused("num_processes")


def test_an_output_folder_inside_the_data_is_refused(tmp_path, tiny_prm_dir, data):
    with pytest.raises(ValueError, match="lies in the folder of the data"):
        stages.train(tiny_prm_dir, data, data / "prm", config=SAVING)
    assert not (data / "prm").exists()


def test_a_checkpoint_that_lost_a_file_is_refused(tmp_path, tiny_prm_dir, data, whole_training):
    shutil.copytree(whole_training, tmp_path / "prm")
    (tmp_path / "prm" / "train_metrics.json").unlink()  # as if it had been stopped before its end
    newest = tmp_path / "prm" / "trainer" / "checkpoint-3"
    kept = tmp_path / "kept"

    def refused(fault):
        with pytest.raises(ValueError, match=f"checkpoint-3 {fault}.*delete this folder to resume from"):
            stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING)

    os.replace(newest / "optimizer.pt", kept)
    refused("has no optimizer.pt, without which the training would go another way")
    os.replace(kept, newest / "optimizer.pt")
    weights = weights_of(newest)
    (newest / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    refused("holds a model.safetensors that was cut off or changed after it was saved")
    shutil.rmtree(newest)
    stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING)
    assert weights_of(tmp_path / "prm") == weights_of(whole_training)


def test_a_finished_run_is_not_trained_again(tmp_path, tiny_prm_dir, data, whole_training, caplog):
    before = {path: path.stat().st_mtime_ns for path in whole_training.rglob("*") if path.is_file()}
    metrics = stages.train(tiny_prm_dir, data, whole_training, config={**SAVING, "logging_steps": 2, "save_steps": 2})
    assert metrics == read_json(whole_training / "train_metrics.json")
    assert "is already finished; nothing was trained again" in caplog.text
    after = {path: path.stat().st_mtime_ns for path in whole_training.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if path.name != ".lock"} == {
        path: time for path, time in before.items() if path.name != ".lock"
    }


def test_a_folder_of_another_training_is_refused_finished_or_not(
    tmp_path, tiny_prm_dir, tiny_text_policy_dir, data, whole_training, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(2, patch)
        stages.train(tiny_prm_dir, data, tmp_path / "begun", config=SAVING)
    rows = datasets.load_dataset(str(data), split="train").to_list()
    for folder in (whole_training, tmp_path / "begun"):

        def refused(names, model=tiny_prm_dir, rows=data, folder=folder, config=SAVING, **options):
            pattern = r"made with other settings \(.*" + ".*".join(f"{name}: " for name in names)
            with pytest.raises(ValueError, match=pattern):
                stages.train(model, rows, folder, config=config, **options)

        refused(["eval_share"], eval_share=0.5)
        refused(["seed"], seed=1)
        refused(["max_steps"], config={**SAVING, "max_steps": 4})
        refused(["label_mapping", "learning_rate"], config={**SAVING, "learning_rate": 1.0, "label_mapping": "hard"})
        refused(["model", "model_content"], model=tiny_text_policy_dir)
    changed = [*rows[:-1], {**rows[-1], "labels": [0.1, 0.2]}]
    path = data / "train.parquet"
    content = path.read_bytes()
    try:  # the same name, other labels
        datasets.Dataset.from_list(changed).to_parquet(path)
        refused(["data_content"])
    finally:
        path.write_bytes(content)


def test_a_folder_of_something_else_is_refused_and_keeps_its_files(tmp_path, tiny_prm_dir, data):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "trainer").mkdir()
    with pytest.raises(
        ValueError, match="holds README.md and is not the folder of a training: .* Choose another output folder"
    ):
        stages.train(tiny_prm_dir, data, tmp_path, config=SAVING)
    assert (tmp_path / "README.md").read_text() == "mine" and not (tmp_path / "train_config.json").exists()


def test_a_finished_folder_of_an_earlier_version_is_compared_by_what_it_knows(
    tmp_path, tiny_prm_dir, data, whole_training
):
    shutil.copytree(whole_training, tmp_path / "prm")
    config = read_json(tmp_path / "prm" / "train_config.json")
    old = {name: value for name, value in config.items() if not name.endswith("_content") and name != "num_processes"}
    write_json(tmp_path / "prm" / "train_config.json", old)
    assert stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING) == {}
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING, seed=1)


def test_a_training_that_diverged_ends_with_metrics_that_are_absent(tmp_path, tiny_prm_dir, data, monkeypatch):
    monkeypatch.setattr(PRMTrainer, "evaluate", lambda self: {"eval_loss": float("nan"), "eval_num_steps": 3})
    metrics = stages.train(tiny_prm_dir, data, tmp_path / "prm", config=QUICK, eval_share=0.3)
    assert metrics == read_json(tmp_path / "prm" / "train_metrics.json") == {"eval_loss": None, "eval_num_steps": 3}


def test_two_processes_do_not_train_into_one_folder(tmp_path, tiny_prm_dir, data):
    with lock_folder(tmp_path / "prm" / "trainer"), pytest.raises(ValueError, match="in use by another run"):
        stages.train(tiny_prm_dir, data, tmp_path / "prm", config=SAVING)


def test_label_rows_of_a_file_name_figures_beside_it(tmp_path, tiny_prm_dir, figures):
    folder = tmp_path / "data"
    folder.mkdir()
    figures[0].convert("RGB").save(folder / "a.png")
    figures[0].convert("RGB").save(tmp_path / "secret.png")
    row = {"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0], "images": ["a.png"]}
    rows = [{**row, "problem_id": f"p{index}"} for index in range(4)]
    config = {**QUICK, "max_steps": 1}
    write_jsonl(folder / "rows.jsonl", rows)
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "data" / "saved")
    (folder / "saved" / "a.png").write_bytes((folder / "a.png").read_bytes())
    for number, data in enumerate((folder / "rows.jsonl", folder / "saved")):
        output = tmp_path / f"out{number}"
        stages.train(str(tiny_prm_dir), data, output, config=config, eval_share=0.0)
        assert read_json(output / "train_config.json")["num_train_rows"] == 4
    write_jsonl(folder / "rows.jsonl", [*rows, {**row, "problem_id": "p", "images": ["../secret.png"]}])
    with pytest.raises(ValueError, match="Row 4: The row names the figure '../secret.png', which lies outside"):
        stages.train(str(tiny_prm_dir), folder / "rows.jsonl", tmp_path / "raised", config=config)
    stages.train(
        str(tiny_prm_dir), folder / "rows.jsonl", tmp_path / "dropped", config={**config, "on_bad_row": "drop"}
    )
    dropped = read_json(tmp_path / "dropped" / "train_config.json")
    assert (dropped["num_train_rows"], dropped["dropped_rows"]["train"]) == (5, {"image": 1})
    judged = {"problem_id": "p", "question": "?", "figures": [str(tmp_path / "secret.png")]}
    judged["candidates"] = [{"steps": ["a"], "verdict": "correct"}]
    (tmp_path / "cands").mkdir()
    write_jsonl(tmp_path / "cands" / "c.jsonl", [judged])
    options = {"rules": FigureRules(roots=(str(tmp_path),)), "candidates": tmp_path / "cands" / "c.jsonl"}
    data = folder / "rows.jsonl"
    metrics = stages.train(str(tiny_prm_dir), data, tmp_path / "allowed", config=config, eval_share=0.5, **options)
    assert metrics["eval_oracle"] == 1.0
    with pytest.raises(ValueError, match="has no column completions; found .* `mmprm label` writes label rows"):
        write_jsonl(folder / "rows.jsonl", [{"prompt": "q"}])
        stages.train(str(tiny_prm_dir), folder / "rows.jsonl", tmp_path / "none", config=config)


def test_rows_that_name_no_problem_are_split_by_their_prompt(tmp_path, tiny_text_policy_dir):
    rows = [{"prompt": f"q{i}", "completions": ["good", "bad"], "labels": [True, False]} for i in range(8)]
    datasets.Dataset.from_list(rows * 4).to_parquet(tmp_path / "data" / "train.parquet")
    metrics = stages.train(
        tiny_text_policy_dir, tmp_path / "data", tmp_path / "out", config={**QUICK, "max_steps": 1}, eval_share=0.5
    )
    assert metrics["eval_num_steps"] > 0
    counts = read_json(tmp_path / "out" / "train_config.json")
    assert counts["num_train_rows"] % 4 == counts["num_eval_rows"] % 4 == 0


def test_a_quiet_training_prints_no_logs(data, tmp_path, capsys):
    options = {**QUICK, "max_steps": 1, "logging_steps": 1}
    level = transformers.logging.get_verbosity()
    try:
        for name, verbosity, is_printed in (("loud", level, True), ("quiet", transformers.logging.ERROR, False)):
            transformers.logging.set_verbosity(verbosity)
            stages.train(str(PRM_PATH), data, tmp_path / name, config=options, eval_share=0.0)
            assert ("'loss'" in capsys.readouterr().out) == is_printed
    finally:
        transformers.logging.set_verbosity(level)
