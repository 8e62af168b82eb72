"""What ships under the name "nano" is found by every verb, in any folder, wherever the package lies."""

import pytest
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app
from mmprm_hf.nano import POLICY_PATH, PRM_PATH, checkpoint_or_nano, config_or_nano
from mmprm_hf.stages import read_yaml


@pytest.fixture
def call(tmp_path, monkeypatch):
    """What a verb calls its stage with, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(stage, *words):
        calls = []

        def note(*arguments, **options):
            calls.append((arguments, options))
            raise ValueError("enough")

        monkeypatch.setattr(stages, stage, note)
        result = CliRunner().invoke(app, [*words])
        assert "enough" in result.stderr, result.output
        return calls[0]

    return run


def test_train_starts_from_the_nano_policy_with_its_configuration(call):
    (model, *_), options = call("train", "train", "--model", "nano", "--data", "x", "--output", "y", "--config", "nano")
    assert model == str(POLICY_PATH) and options["config"]["learning_rate"] == 1e-4


def test_label_takes_the_nano_policy_or_a_name_at_a_server(call):
    ((options,), _) = call("label", "label", "--policy", "nano", "--step-judge", "nano", "--config", "nano")
    assert (options.policy, options.servers.step_judge) == (str(POLICY_PATH), str(PRM_PATH))
    assert options.config == {"num_rollouts": 8, "max_rollouts": 40, "num_searches": 4}
    ((options,), _) = call("label", "label", "--policy", "nano", "--engine", "http://127.0.0.1:1")
    assert options.policy == "nano"


def test_a_nano_policy_is_none_and_so_brings_its_prm(call):
    _, options = call("rerank_problems", "rerank", "--data", "x", "--output", "y", "--policy", "nano", "--prm", "nano")
    assert (options["policy"], options["prm"]) == (None, str(PRM_PATH))
    _, options = call("rerank_problems", "rerank", "--data", "x", "--output", "y", "--policy", "you/policy")
    assert (options["policy"], options["prm"]) == ("you/policy", None)
    _, options = call("load_models", "demo", "--policy", "nano")
    assert options == {"policy": str(POLICY_PATH)}
    which = ("--benchmark", "mathvision", "--data", "x", "--policy", "nano")
    assert call("evaluate_benchmark", "evaluate", "answers", *which)[1]["policy"] is None


def test_the_shipped_files_exist_and_other_names_stay_as_they_are(tmp_path):
    assert (POLICY_PATH / "config.json").is_file() and (PRM_PATH / "config.json").is_file()
    assert read_yaml(config_or_nano("nano", "train"))["label_mapping"] == "hard"
    assert checkpoint_or_nano("./nano", "policy") == "./nano" and checkpoint_or_nano(None, "PRM") is None
    assert config_or_nano(tmp_path / "my.yaml", "train") == tmp_path / "my.yaml"
    with pytest.raises(ValueError, match="There is no configuration nano of score, only of label and train"):
        config_or_nano("nano", "score")
