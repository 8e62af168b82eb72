"""The recipes that train: options and launch files can be read, and every script runs on tiny models."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys

import datasets
import pytest
import torch
import yaml
from support.backbone_parts import chatml_template, chatml_tokenizer, text_settings, vision_settings
from support.layout import ROOT
from support.tiny_models import make_figure, make_tokenizer
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config
from transformers import Qwen2ForTokenClassification as TextClassifier

from mmprm_hf import MMPRMModel, MMPRMProcessor, PRMConfig, PRMTrainer
from mmprm_hf.restructuring.corpus import corpus_features
from mmprm_hf.stages import read_config
from mmprm_hf.training import LoraOptions

RECIPE, TEXT_RECIPE = ROOT / "recipes" / "mm_prm_8b", ROOT / "recipes" / "text_prm"
SMALL = {
    "max_steps": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "use_cpu": True,
    "disable_tqdm": True,
}
QUESTION, STEPS = "What is x?", ["x = 2 + 3", "x = 5"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script of a recipe in this process; returns what it printed."""

    def run_script(name, *arguments, recipe=RECIPE):
        monkeypatch.syspath_prepend(str(recipe))
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(recipe / name), run_name="__main__")
        return capsys.readouterr().out

    yield run_script
    for name in ("start", "train"):  # no other test may get modules of such common names
        sys.modules.pop(name, None)


@pytest.fixture
def start(tmp_path, tiny_policy_dir, run):
    """The tiny policy's PRM before training."""
    run("start.py", "--policy", tiny_policy_dir, "--output", tmp_path / "start")
    return tmp_path / "start"


@pytest.fixture
def rows(tmp_path):
    """Two problems with figures, three paths each, which share their first step."""
    features = {
        "problem_id": datasets.Value("string"),
        "prompt": datasets.Value("string"),
        "images": datasets.List(datasets.Image()),
        "completions": datasets.List(datasets.Value("string")),
        "labels": datasets.List(datasets.Value("float32")),
    }
    rows = [
        (f"p{problem}", QUESTION, [make_figure(problem)], [STEPS[0], last], [0.75, label])
        for problem in range(2)
        for last, label in (("x = 5", 1.0), ("x = 6", 0.0), ("x = 7", 0.25))
    ]
    named = [dict(zip(features, row, strict=True)) for row in rows]
    (tmp_path / "rows").mkdir()
    dataset = datasets.Dataset.from_list(named, features=datasets.Features(features))
    dataset.to_parquet(tmp_path / "rows" / "train.parquet")
    return tmp_path / "rows"


def small(name, folder, **more):
    """The recipe's YAML under a small run's options, as a file."""
    target = folder / name
    target.write_text(yaml.safe_dump({**yaml.safe_load((RECIPE / name).read_text()), **SMALL, **more}))
    return target


def scores_of(model, processor):
    """Step scores of the one solution."""
    with torch.no_grad():
        return model.eval()(**processor(images=make_figure(0), text=QUESTION, steps=STEPS)).step_scores()[0]


# Files


@pytest.mark.parametrize("name", ["prm.yaml", "prm_packed.yaml", "prm_lora.yaml"])
def test_options_are_known_and_hold_the_papers_numbers(name, tmp_path, run):
    options, adapter = read_config(RECIPE / name, PRMConfig, LoraOptions)
    config = PRMConfig(output_dir=str(tmp_path), **{**options, "use_cpu": True})
    peft_config = LoraOptions(**adapter).peft_config()
    assert (peft_config is not None) == (name == "prm_lora.yaml")
    assert config.label_mapping == "soft" and config.freeze_vision and config.num_train_epochs == 1
    assert config.lr_scheduler_type == "cosine" and config.warmup_steps == 0.03 and config.max_length == 8192
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * 8
    assert batch == (64 if config.packing else 512)
    assert config.learning_rate == (4e-6 if peft_config is None else 1e-4)


def test_options_of_the_policy_are_known(tmp_path):
    trl = pytest.importorskip("trl", reason="the policy's fine-tuning is TRL's")
    (options,) = read_config(RECIPE / "policy_sft.yaml", trl.SFTConfig)
    config = trl.SFTConfig(output_dir=str(tmp_path), **{**options, "use_cpu": True})
    assert config.learning_rate == 4e-5 and config.max_length is None


@pytest.mark.parametrize("name, kind", [("zero1", "DEEPSPEED"), ("zero3", "DEEPSPEED"), ("fsdp2", "FSDP")])
def test_launch_files_are_accelerates(name, kind):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPE / f"accelerate_{name}.yaml"))
    assert config.distributed_type.value == kind
    assert (config.num_processes, config.mixed_precision) == (8, "bf16")
    if kind == "FSDP":
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    else:
        assert config.deepspeed_config["zero_stage"] == int(name[-1])


# The 8B recipe


def test_the_start_keeps_tiles_and_the_published_prompt(tmp_path, run):
    tokenizer = chatml_tokenizer(chatml_template("<IMG_CONTEXT>\n"), False, ("<img>", "</img>", "<IMG_CONTEXT>"))
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**vision_settings(8)),
        text_config=Qwen2Config(**text_settings(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    InternVLForConditionalGeneration(config).save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    run("start.py", "--policy", tmp_path / "policy", "--output", tmp_path / "start", "--prompt-format", "train")
    processor = MMPRMProcessor.from_pretrained(tmp_path / "start")
    assert processor.base_processor.image_processor.max_patches == 6
    assert processor.prompt_format == "train" and processor.step_separator == "\n\n"
    figure = make_figure(0).resize((96, 64))  # 3 x 2 tiles
    inputs = processor(images=figure, text=QUESTION, steps=STEPS)
    assert inputs["pixel_values"].shape[0] == 7
    assert MMPRMModel.from_pretrained(tmp_path / "start")(**inputs).step_scores()[0].shape == (2,)


def test_tiles_of_a_policy_that_has_none_are_refused(tmp_path, tiny_policy_dir, run):
    with pytest.raises(ValueError, match="does not cut figures into tiles. Leave --max-tiles out"):
        run("start.py", "--policy", tiny_policy_dir, "--output", tmp_path, "--max-tiles", 6)


def test_a_batch_is_counted_in_paths_and_in_packed_rows(tmp_path, start, rows, run):
    config = RECIPE / "prm.yaml"
    counts = json.loads(run("count.py", "--model", start, "--data", rows, "--config", config, "--num-processes", 8))
    assert (counts["paths"], counts["packed_rows"], counts["paths_a_packed_row"]) == (6, 2, 3.0)
    assert counts["gradient_accumulation_steps"] == {"packing: false": 32, "packed": 11}  # 512 / (2 x 8), / 3
    assert counts["packed_tokens"] < counts["tokens"]


@pytest.mark.parametrize("name", ["prm_packed.yaml", "prm_lora.yaml"])
def test_the_prm_trains_and_loads(name, tmp_path, start, rows, run):
    output, config = tmp_path / "prm", small(name, tmp_path)
    run("train.py", "--model", start, "--data", rows, "--output", output, "--config", config)
    assert (output / "adapter_config.json").exists() == (name == "prm_lora.yaml")
    resolved = json.loads((output / "train_config.json").read_text())
    assert (resolved["model"], resolved["packing"]) == (start.name, name == "prm_packed.yaml")
    processor = MMPRMProcessor.from_pretrained(output)
    assert processor.step_separator == "\n\n"
    before, after = (scores_of(MMPRMModel.from_pretrained(folder), processor) for folder in (start, output))
    assert (before - after).abs().max() > 1e-4


@pytest.mark.processes
def test_the_prm_trains_under_accelerate_launch(tmp_path, start, rows):
    launcher = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    options = ["--model", start, "--data", rows, "--output", tmp_path / "prm", "--config", small("prm.yaml", tmp_path)]
    own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(RECIPE / "train.py"), *map(str, options)]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert MMPRMModel.from_pretrained(tmp_path / "prm").config.marker_token == "<prm>"


def test_what_is_trained_beside_an_adapter_is_float32_under_autocast(tmp_path, start, rows, run):
    adapter = LoraOptions(lora_r=2, lora_modules_to_save=["multi_modal_projector"]).peft_config()
    model, processor = MMPRMModel.from_pretrained(start, dtype=torch.bfloat16), MMPRMProcessor.from_pretrained(start)
    args = PRMConfig(str(tmp_path), use_cpu=True, bf16=True)
    split = datasets.load_dataset(str(rows), split="train")
    trainer = PRMTrainer(model, args, train_dataset=split, processing_class=processor, peft_config=adapter)
    trained = {name: p.dtype for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}
    for part in ("lora_A", "score", "multi_modal_projector", "trainable_tokens"):
        assert any(part in name for name in trained)
    assert not any("vision" in name for name in trained)


def test_the_policy_is_tuned_with_its_vision_tower_frozen(tmp_path, tiny_policy_dir, run):
    pytest.importorskip("trl", reason="the policy's fine-tuning is TRL's")
    solution = "<step>x = 5</step><answer>5</answer>"
    row = {
        "id": "0",
        "prompt": [{"role": "user", "content": QUESTION}],
        "completion": [{"role": "assistant", "content": solution}],
        "images": [make_figure(0)],
        "steps": ["x = 5"],
        "answer": "5",
        "num_steps": 1,
    }
    datasets.Dataset.from_list([row] * 2, features=corpus_features(True)).to_parquet(tmp_path / "train.parquet")
    output, config = tmp_path / "policy", small("policy_sft.yaml", tmp_path, max_steps=1, bf16=False)
    run("policy_sft.py", "--model", tiny_policy_dir, "--data", tmp_path, "--output", output, "--config", config)
    from transformers import LlavaForConditionalGeneration

    before, after = (
        dict(LlavaForConditionalGeneration.from_pretrained(path).named_parameters())
        for path in (tiny_policy_dir, output)
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("language_model" in name for name in moved)
    assert not any("vision" in name for name in moved)
    assert MMPRMProcessor.from_policy(output).marker_token == "<prm>"


# The text recipe


def test_the_text_prm_trains_on_trl_rows_and_loads(tmp_path, run):
    pytest.importorskip("trl", reason="the script's command line is TRL's")
    tokenizer = make_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_labels": 2,
    }
    TextClassifier(Qwen2Config(**settings)).save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    row = {"prompt": QUESTION, "completions": [*STEPS, "x = 6"], "labels": [True, True, False]}
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text(f"{json.dumps(row)}\n" * 4)
    output = tmp_path / "prm"
    options = {
        "model_name_or_path": tmp_path / "policy",
        "dataset_name": tmp_path / "data",
        "output_dir": output,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "eval_strategy": "steps",
        "save_strategy": "no",
        "use_cpu": True,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    run("train.py", *flags, recipe=TEXT_RECIPE)
    processor = MMPRMProcessor.from_pretrained(output)
    inputs = processor(text=QUESTION, steps=STEPS)
    assert MMPRMModel.from_pretrained(output)(**inputs).step_scores()[0].shape == (2,)
    assert json.loads((output / "eval_results.json").read_text())["eval_loss"] > 0
