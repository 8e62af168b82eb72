"""From `mmprm train` to the Hub without help: what a training leaves can be pushed as it is."""

from __future__ import annotations

import json
import shutil

import datasets
import pytest
from support.training_runs import make_args, make_trainer
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.files import read_json
from mmprm_hf.publish.folder_checks import read_front_matter
from mmprm_hf.publish.hub import push

QUICK = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 1, "save_steps": 1}
ROWS = [{"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.0], "problem_id": f"p{i}"} for i in range(4)]


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_prm_dir):
    """A folder that a training wrote, all of whose paths were absolute."""
    folder = tmp_path_factory.mktemp("trained")
    datasets.Dataset.from_list(ROWS).to_parquet(folder / "rows.parquet")
    stages.train(tiny_prm_dir, str(folder / "rows.parquet"), str(folder / "prm"), config=QUICK)
    return folder / "prm"


def test_a_training_can_be_pushed_as_it_is(trained, tiny_prm_dir):
    result = run("push", trained, "me/my-prm", "--kind", "model", "--dry-run")
    assert result.exit_code == 0 and "left out: trainer/checkpoint-1" in result.stdout, result.output
    for path in (path for path in trained.rglob("*.json") if "checkpoint-1" not in path.parts):
        assert str(trained.parent) not in path.read_text() and tiny_prm_dir not in path.read_text(), path.name
    assert read_json(trained / "train_config.json")["data"] == "rows.parquet"


def test_a_finished_training_with_paths_of_an_earlier_version_is_still_the_same(trained, tmp_path, tiny_prm_dir):
    shutil.copytree(trained, tmp_path / "prm")
    settings = read_json(tmp_path / "prm" / "train_config.json")
    (tmp_path / "prm" / "train_config.json").write_text(json.dumps({**settings, "model": tiny_prm_dir}))
    assert stages.train(tiny_prm_dir, trained.parent / "rows.parquet", tmp_path / "prm", config=QUICK) == {}


def test_the_repository_stands_in_the_code_of_its_card(trained, tmp_path, hub):
    shutil.copytree(trained, tmp_path / "prm")
    card = tmp_path / "prm" / "README.md"
    assert 'from_pretrained("...")' in card.read_text()
    push(tmp_path / "prm", "me/my-prm", kind="model", token="hf_test")
    assert 'from_pretrained("me/my-prm")' in card.read_text()


def test_a_card_names_base_data_and_task_where_they_are_known(tmp_path, tiny_prm_dir):
    class HubRows(list):
        hub_id = "me/labels"

    trainer = make_trainer(tiny_prm_dir, make_args(tmp_path, hub_model_id="me/my-prm"), HubRows(ROWS))
    trainer.base_model_name = "someone/policy"
    trainer.create_model_card()
    facts = read_front_matter(tmp_path / "README.md")
    assert (facts["base_model"], facts["datasets"]) == ("someone/policy", "me/labels")
    assert (facts["pipeline_tag"], facts["library_name"]) == ("image-text-to-text", "transformers")
    assert {"mmprm", "process-reward-model"} <= set(facts["tags"])
    assert 'PRMScorer.from_pretrained("me/my-prm")' in (tmp_path / "README.md").read_text()


def test_three_lines_of_yaml_by_hand_are_a_card(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "prm")
    for text in ("---\nlicense: mit\n---\n", "\ufeff---\r\nlicense: mit\r\n---\r\n# Mine\r\n"):
        (tmp_path / "prm" / "README.md").write_bytes(text.encode())
        assert run("push", tmp_path / "prm", "me/my-prm", "--kind", "model", "--dry-run").exit_code == 0, text


def test_facts_to_fill_in_are_printed_or_written(tmp_path):
    for kind in ("prm", "policy", "dataset"):
        facts = json.loads(run("card", "--template", kind).stdout)
        assert facts["kind"] == kind and {"license", "citation", "tags"} <= set(facts)
        path = tmp_path / f"{kind}.json"
        result = run("card", "--template", kind, "-o", path)
        assert f"wrote {path}; fill it in, then: mmprm card {path}" in result.stdout
        filled = json.dumps({**facts, "name": "Mine", "summary": None, "license": "mit"})
        path.write_text(filled)
        assert run("card", path).exit_code == 0 and (tmp_path / "README.md").read_text().startswith("---\nlicense: mit")
        assert "exists. Name another file" in " ".join(run("card", "--template", kind, "-o", path).stderr.split())
    assert "give a facts file, or --template" in " ".join(run("card").stderr.split())


def test_a_template_that_is_not_filled_in_is_neither_a_card_nor_pushed(trained, tmp_path):
    path = tmp_path / "facts.json"
    assert run("card", "--template", "prm", "-o", path).exit_code == 0
    refused = run("card", path)
    lines = path.read_text().splitlines()
    where = {name: 1 + lines.index(f'  "{name}": "{name.upper()}",') for name in ("name", "summary", "license")}
    words = ", ".join(f"line {number}: {name}" for name, number in where.items())
    assert refused.exit_code == 1 and f"still has placeholders ({words})" in " ".join(refused.stderr.split())
    assert not (tmp_path / "README.md").exists()
    shutil.copytree(trained, tmp_path / "prm")
    (tmp_path / "prm" / "README.md").write_text("---\nlicense: LICENSE\n---\n\n# NAME\n\nSUMMARY\n")
    refused = run("push", tmp_path / "prm", "me/my-prm", "--kind", "model", "--dry-run")
    assert refused.exit_code == 1, refused.output
    assert "README.md, line 2, 5, 7: card: placeholders are still to be filled in" in " ".join(refused.stderr.split())


def test_what_the_cards_of_local_models_and_data_say_is_in_the_card_of_a_training(tmp_path, tiny_prm_dir):
    shutil.copytree(tiny_prm_dir, tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\nbase_model: someone/policy\n---\n# Base\n")
    (tmp_path / "labels" / "paths").mkdir(parents=True)
    (tmp_path / "labels" / "README.md").write_text("---\nsource_datasets: [original, someone/problems]\n---\n# Data\n")
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "labels" / "paths" / "train.parquet")
    (tmp_path / "quick.yaml").write_text(json.dumps(QUICK))
    words = ("--data", tmp_path / "labels" / "paths", "--output", tmp_path / "prm", "--config", tmp_path / "quick.yaml")
    result = run("train", "--model", tmp_path / "base", *words)
    assert result.exit_code == 0 and "The card names no" not in result.stderr, result.output
    facts = read_front_matter(tmp_path / "prm" / "README.md")
    assert (facts["license"], facts["base_model"], facts["datasets"]) == ("mit", "someone/policy", ["someone/problems"])
    assert "name no" not in (tmp_path / "prm" / "README.md").read_text()


def test_what_a_card_lacks_is_said_once_and_given_by_the_command_of_the_note(tmp_path, tiny_prm_dir):
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "quick.yaml").write_text(json.dumps(QUICK))
    words = ("--data", tmp_path / "rows.parquet", "--output", tmp_path / "prm", "--config", tmp_path / "quick.yaml")
    train = ("train", "--model", tiny_prm_dir, *words)
    note = " ".join(run(*train).stderr.split())
    assert note.count("note: The card names no license, base_model, datasets: repeat the command with --license") == 1
    card = (tmp_path / "prm" / "README.md").read_text()
    assert "The metadata above name no license, base_model, datasets: it was not known to the training.\n\n- " in card
    push_it = ("push", tmp_path / "prm", "me/my-prm", "--kind", "model", "--dry-run")
    assert "README.md names no license, base_model, datasets; add what is known" in run(*push_it).stdout
    assert json.loads(run(*push_it, "--json").stdout)["lacking_in_card"] == ["license", "base_model", "datasets"]
    assert run(*train, "--license", "apache-2.0", "--base-model", "someone/prm").exit_code == 0
    card = (tmp_path / "prm" / "README.md").read_text()
    assert "The metadata above name no datasets: it was not known to the training.\n\n- " in card
    facts = read_front_matter(tmp_path / "prm" / "README.md")
    assert (facts["license"], facts["base_model"]) == ("apache-2.0", "someone/prm")
    assert run(*train, "--datasets", "me/labels").exit_code == 0
    assert "name no" not in (tmp_path / "prm" / "README.md").read_text()
    assert "names no" not in run(*push_it).stdout
    refused = run(*train, "--base-model", "out/start/prm")
    assert "base_model is 'out/start/prm'. Give an id of the Hub" in " ".join(refused.stderr.split())
