"""The stages from folder to folder, small: data, labels by the shipped policy, a PRM trained on them."""

import dataclasses
import shutil

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image

from mmprm_hf import PRMConfig, stages
from mmprm_hf.data import SearchTree
from mmprm_hf.engines import SamplingConfig
from mmprm_hf.engines.images import load_problem_image
from mmprm_hf.errors import ProblemInputError
from mmprm_hf.files import read_json, read_jsonl, write_json, write_jsonl
from mmprm_hf.labelling import LabelRowsConfig, Prices, estimate_folder, tree_from_row
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.models import MMPRMModel
from mmprm_hf.nano import POLICY_PATH, nano_problems
from mmprm_hf.publish.hub import push
from mmprm_hf.rows import ProblemSource
from mmprm_hf.stages import LabelOptions, open_problems, read_config


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Labels of 12 train problems, 4 rollouts an estimate."""
    folder = tmp_path_factory.mktemp("labels")
    config = folder / "label.yaml"
    options = {"num_rollouts": 4, "max_rollouts": 16, "num_searches": 2, "max_rows_per_problem": 6}
    config.write_text(yaml.safe_dump(options))
    output = folder / "out"
    report = stages.label(LabelOptions(POLICY_PATH, output, num_problems=12, config=config))
    return output, report


def test_data_loads_as_a_dataset(tmp_path):
    assert stages.build_nano_data(tmp_path, 6, 3) == {"train": 6, "test": 3}
    loaded = datasets.load_dataset(str(tmp_path))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 6, "test": 3}
    assert loaded["test"][0]["images"][0].size == (144, 144)
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.configs[0]["description"].startswith("sha256:") and "| `train` | 6 |" in card.text
    assert push(tmp_path, "me/nano", kind="dataset", dry_run=True)["num_files"] == 4
    stages.build_nano_data(tmp_path, 5, 4)  # again: nothing stale is loaded
    again = datasets.load_dataset(str(tmp_path))
    assert {split: len(rows) for split, rows in again.items()} == {"train": 5, "test": 4}
    first = ProblemSource(tmp_path, 2)
    assert [problem.id for problem in first] == loaded["train"]["id"][:2]
    assert first[0].answer_type == "number" and len(first[0].images) == 1


def test_labels_hold_trees_rows_and_ledger(labels):
    output, report = labels
    trees = [SearchTree.from_dict(row) for row in read_jsonl(output / "trees.jsonl")]
    assert len(trees) == report["ledger"]["num_trees"] == report["ledger"]["num_problems"] == 12
    assert all(tree.num_rollouts <= 16 for tree in trees)
    rows = datasets.load_dataset(str(output / "paths"), split="train")
    assert len(rows) == report["labels"]["num_rows"] > 0
    for row in rows:
        assert len(row["completions"]) == len(row["labels"]) == len(row["label_counts"])
        assert all(label == -100 or 0 <= label <= 1 for label in row["labels"])
    assert read_json(output / "summary.json")["num_rollouts"] == sum(t.num_rollouts for t in trees)
    stored = datasets.load_dataset(str(output), "trees", split="train")
    assert [tree_from_row(row) for row in stored] == trees
    assert read_json(output / "rows.json")["max_rows_per_problem"] == 6
    assert report["labels"]["max_rows_per_problem"] <= 6


def test_a_folder_labelled_again_with_fewer_problems_reports_those(labels, tmp_path):
    """Trees of the other problems stay in the folder; counts, costs, rows and card are of the problems asked for."""
    source, _ = labels
    folder = tmp_path / "labels"
    shutil.copytree(source, folder)
    options = LabelOptions(POLICY_PATH, folder, num_problems=9, config=source.parent / "label.yaml")
    report = stages.label(options)
    ledger = report["ledger"]
    assert (ledger["num_problems"], ledger["num_trees"]) == (9, 9) and 0 < ledger["num_mixed"] <= 9
    trees = {row["problem_id"]: SearchTree.from_dict(row).num_rollouts for row in read_jsonl(source / "trees.jsonl")}
    asked = nano_problems("train", 9)
    assert ledger["num_rollouts"] == sum(trees[problem.id] for problem in asked)
    rows = datasets.load_dataset(str(folder / "paths"), split="train")
    assert {row["problem_id"] for row in rows} <= {problem.id for problem in asked}
    (drops,) = read_json(folder / "facts.json")["drops"]
    assert (drops["num_read"], drops["num_kept"]) == (9, ledger["num_mixed"])
    again = stages.label(dataclasses.replace(options, num_problems=12))["ledger"]
    assert (again["num_trees"], again["num_rollouts"]) == (12, sum(trees.values()))


def test_validation_rows_are_evaluated_on_and_never_trained_on(labels, tmp_path):
    source, _ = labels
    output = tmp_path / "labels"
    output.mkdir()
    (output / "trees.jsonl").write_bytes((source / "trees.jsonl").read_bytes())
    problems = open_problems(None, 12)
    statistics = stages.write_label_rows(problems, output, LabelRowsConfig(validation_share=0.4, seed=1))
    config = tmp_path / "prm.yaml"
    options = {"max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "report_to": "none"}
    config.write_text(yaml.safe_dump({**options, "save_strategy": "no", "disable_tqdm": True}))
    for name, folder in (("rows", output / "paths"), ("dataset", output)):  # whose default config the rows are
        metrics = stages.train(str(POLICY_PATH), folder, tmp_path / name, config=config, eval_share=0.0)
        resolved = read_json(tmp_path / name / "train_config.json")
        num_rows = {"train": resolved["num_train_rows"], "validation": resolved["num_eval_rows"]}
        assert num_rows == statistics["num_rows_by_split"] and metrics["eval_num_steps"] > 0
    with pytest.raises(ValueError, match=r"made with other settings \(data: "):
        stages.train(str(POLICY_PATH), output, tmp_path / "rows", config=config, eval_share=0.0)


def test_a_prm_trains_on_them_and_moves(labels, tmp_path):
    output, _ = labels
    config = tmp_path / "prm.yaml"
    options = {"max_steps": 2, "per_device_train_batch_size": 4, "use_cpu": True, "report_to": "none"}
    config.write_text(yaml.safe_dump({**options, "learning_rate": 1e-3, "save_strategy": "no", "disable_tqdm": True}))
    stages.train(str(POLICY_PATH), output / "paths", tmp_path / "prm", config=config, eval_share=0.3)
    before = MMPRMModel.from_policy(POLICY_PATH)
    after = MMPRMModel.from_pretrained(tmp_path / "prm")
    assert (after.score.weight - before.score.weight).abs().max() > 0


def test_unknown_options_and_searches_are_refused_with_close_matches(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("num_rolouts: 3\n")
    with pytest.raises(ValueError, match="Unknown option 'num_rolouts' in .*bad.yaml. Did you mean 'num_rollouts'"):
        stages.read_config(path, OmegaPRMConfig)
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="contains a list"):
        stages.read_config(path, OmegaPRMConfig)
    path.write_text("fill: everything\n")
    with pytest.raises(ValueError, match="Unknown fill 'everything'. Choose one of monotone, own"):
        stages.label(LabelOptions(POLICY_PATH, tmp_path, config=path))
    with pytest.raises(ValueError, match="Unknown search 'flatmc'. Did you mean 'flat_mc'"):
        stages.label(LabelOptions(POLICY_PATH, tmp_path, search="flatmc"))


def test_trees_without_rows_are_an_error_not_an_empty_dataset(tmp_path):
    (tmp_path / "trees.jsonl").write_text("")
    with pytest.raises(ValueError, match="give no label row"):
        stages.write_label_rows([], tmp_path)


def test_result_files_refuse_nan_and_name_broken_lines(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ValueError, match="Line 2"):
        read_jsonl(tmp_path / "b.jsonl")


def test_json_lines_hold_any_text(tmp_path):
    rows = [{"text": "a\u2028b\u2029c\x85d\r\ne"}, {"text": "f"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_options_that_yaml_has_as_lists_and_choices_that_need_a_judge(tmp_path):
    path = tmp_path / "label.yaml"
    path.write_text("stop_strings: ['</answer>']\nconsensus: drop\n")
    assert SamplingConfig(**stages.read_config(path, SamplingConfig, LabelRowsConfig)[0]).stop_strings == ("</answer>",)
    with pytest.raises(ValueError, match='consensus="drop" without a step judge.*--step-judge'):
        stages.label(LabelOptions(POLICY_PATH, tmp_path, num_problems=1, config=path))
    assert not (tmp_path / "run.json").exists()


def test_an_estimate_counts_the_rows_that_the_options_keep(labels, tmp_path):
    source, report = labels
    problems = list(open_problems(None, 12))
    sampled = estimate_folder(problems, source, 12, Prices(), LabelRowsConfig(max_rows_per_problem=1))
    num_with_rows = report["labels"]["num_problems"]
    assert sampled["totals"]["num_label_rows"]["value"] == num_with_rows > 0
    assert estimate_folder(problems, source, 12, Prices())["totals"]["num_label_rows"]["value"] > num_with_rows


def test_figures_of_a_dataset_keep_their_bytes(tmp_path):
    figure = tmp_path / "figure.jpg"
    Image.effect_noise((40, 40), 80).convert("RGB").save(figure)
    whole = {"bytes": figure.read_bytes(), "path": "figure.jpg"}
    broken = {"bytes": b"no figure", "path": "x.png"}
    rows = {"id": ["a", "b"], "question": ["q", "r"], "answer": ["1", "2"], "images": [[whole], [broken]]}
    features = datasets.Features(
        {**{name: datasets.Value("string") for name in ("id", "question", "answer")}}
        | {"images": datasets.List(datasets.Image())}
    )
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "data" / "train.parquet")
    first, second = ProblemSource(tmp_path / "data", 9)
    assert first.images[0]["bytes"] == figure.read_bytes()
    with pytest.raises(ProblemInputError, match="'b': its figure cannot be used: Image 'given as bytes' cannot be"):
        load_problem_image(second.id, second.images[0])


def test_numbers_of_a_yaml_file_are_numbers(tmp_path):
    """PyYAML reads 1e-4 as a text."""
    path = tmp_path / "options.yaml"
    path.write_text("learning_rate: 1e-4\nweight_decay: -2.5E+3\noutput_dir: 1e\nmax_steps: 12\n")
    (options,) = read_config(path, PRMConfig)
    assert options == {"learning_rate": 1e-4, "weight_decay": -2500.0, "output_dir": "1e", "max_steps": 12}
    path.write_text("max_steps: many\n")
    with pytest.raises(
        ValueError, match="Found max_steps='many' in the configuration. It must be a number, such as -1"
    ):
        read_config(path, PRMConfig)
    path.write_text("bf16: 'yes'\n")
    with pytest.raises(ValueError, match="Found bf16='yes' in the configuration. It must be yes or no"):
        read_config(path, PRMConfig)
    for text in ("max_steps: true\n", "max_steps: [1]\n", "bf16: 1\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"in the configuration. It must be (a number|yes or no)"):
            read_config(path, PRMConfig)
