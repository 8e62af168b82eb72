"""Input that a user may well give: what it means, or what is said of it."""

from __future__ import annotations

import datasets
import pytest
import torch
from PIL import Image
from test_runs import make_args
from test_tree_packing import problem_rows
from transformers import AutoTokenizer, LlamaForTokenClassification

from mmprm_hf import stages
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer
from mmprm_hf.training.rows import check_rows
from mmprm_hf.training.targets import BadRowError
from mmprm_hf.training.tree_groups import problem_of_row

ROWS = [{"prompt": f"q{i}", "completions": ["good", "bad"], "labels": [True, False]} for i in range(8)]


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


def classifier(tiny_text_policy_dir, bias=0.0):
    torch.manual_seed(3)
    model = LlamaForTokenClassification.from_pretrained(tiny_text_policy_dir, num_labels=2)
    torch.nn.init.constant_(model.score.bias, bias)
    return model, AutoTokenizer.from_pretrained(tiny_text_policy_dir)


def test_an_object_in_bfloat16_is_trained_in_float32(tmp_path, tiny_text_policy_dir):
    model, tokenizer = classifier(tiny_text_policy_dir)
    args = make_args(tmp_path, max_steps=1, save_strategy="no", bf16=True, learning_rate=1e-6)
    trainer = PRMTrainer(model.to(torch.bfloat16), args, train_dataset=ROWS, processing_class=tokenizer)
    assert trainer.model.dtype == torch.float32
    kept = make_args(tmp_path, model_dtype="auto")
    model, tokenizer = classifier(tiny_text_policy_dir)
    trainer = PRMTrainer(model.to(torch.bfloat16), kept, train_dataset=ROWS, processing_class=tokenizer)
    assert trainer.model.dtype == torch.bfloat16


def test_a_classifier_is_not_changed_and_a_bias_without_meaning_left_out(tmp_path, tiny_text_policy_dir):
    model, tokenizer = classifier(tiny_text_policy_dir)
    before = model.score.weight.detach().clone()
    for _ in range(2):
        trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
        assert torch.equal(trainer.model.score.weight, before.flip(0)) and trainer.model.score.bias is None
    assert torch.equal(model.score.weight, before)
    model, tokenizer = classifier(tiny_text_policy_dir, bias=0.3)
    trainer = PRMTrainer(model, make_args(tmp_path), train_dataset=ROWS, processing_class=tokenizer)
    assert trainer.model.score.bias.tolist() == pytest.approx([0.3, 0.3])


def test_trls_adapter_config_is_taken_and_not_changed(tmp_path, tiny_text_policy_dir, tiny_policy_dir, figures):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM")
    model, tokenizer = classifier(tiny_text_policy_dir)
    args = make_args(tmp_path, max_steps=1, save_strategy="no")
    trainer = PRMTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer, peft_config=config)
    trainer.train()
    assert any("q_proj.lora_A" in name for name, _ in trainer.model.named_parameters())
    assert config.task_type == "CAUSAL_LM" and config.target_modules is None and config.modules_to_save is None
    rows = problem_rows("p", figures[0], 0)
    wide = PRMTrainer(
        tiny_policy_dir, args, train_dataset=rows, peft_config=peft.LoraConfig(r=2, target_modules="all-linear")
    )
    trained = [name for name, p in wide.model.named_parameters() if p.requires_grad]
    assert trained and not any("vision" in name for name in trained), "the tower stays frozen under any adapter"
    wide.save_model(str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="is an adapter. Give its base"):
        PRMTrainer(str(tmp_path / "adapter"), args, train_dataset=rows)


def test_figures_are_never_left_out_in_silence(processor, figures):
    part, text = {"type": "image", "image": figures[0]}, {"type": "text", "text": "q"}
    row = {"prompt": [{"role": "user", "content": [part, text]}], "completions": ["a"], "labels": [1.0]}
    with pytest.raises(BadRowError, match="Found 1 image parts in the prompt but 0 images"):
        check_rows([row], processor)
    assert check_rows([{**row, "images": [figures[0]]}], processor).kept == [0]
    beside = {"prompt": "q", "completions": ["a"], "labels": [1.0], "images": [], "image": figures[0]}
    assert "pixel_values" in PRMCollator(processor)([beside])


def test_figures_of_other_colours_or_kinds_of_path_are_told_apart(figures, tmp_path):
    def palette(colour):
        image = Image.new("P", (4, 4), 0)
        image.putpalette([*colour, *[0] * 765])
        return image

    base = {"prompt": "q", "problem_id": "p"}
    red, blue = ({**base, "images": [palette(colour)]} for colour in ((255, 0, 0), (0, 0, 255)))
    assert problem_of_row(red) != problem_of_row(blue)
    figures[0].save(tmp_path / "a.png")
    by_path, by_text = {**base, "images": [tmp_path / "a.png"]}, {**base, "images": [str(tmp_path / "a.png")]}
    assert problem_of_row(by_path) == problem_of_row(by_text)
    assert problem_of_row({**base, "problem_id": 0}) is not None


def test_the_evaluation_loss_does_not_hang_on_the_batch_size(tmp_path, tiny_prm_dir, processor):
    rows = [
        {"prompt": "q", "completions": list("abcd"), "labels": [1.0, 0.9, 0.2, 0.0]},
        {"prompt": "q", "completions": ["e"], "labels": [0.5]},
        {"prompt": "q", "completions": ["f"], "labels": [-100.0]},
    ]
    model, found = MMPRMModel.from_pretrained(tiny_prm_dir), []
    for size in (1, 2, 3):
        args = make_args(tmp_path, per_device_eval_batch_size=size)
        trainer = PRMTrainer(model, args, train_dataset=rows[:1], eval_dataset=rows, processing_class=processor)
        found.append(trainer.evaluate()["eval_loss"])
    assert found == pytest.approx([found[2]] * 3, rel=1e-6)


def test_predict_gives_the_labels_as_they_are(tmp_path, tiny_prm_dir, processor):
    rows = [{"prompt": "q", "completions": ["a", "b"], "label_counts": [[1, 4], [2, 4]]}]
    args = make_args(tmp_path, label_mapping="hard", train_on="last")
    trainer = PRMTrainer(MMPRMModel.from_pretrained(tiny_prm_dir), args, train_dataset=rows, processing_class=processor)
    assert trainer.predict(rows).label_ids.tolist() == [[0.25, 0.5]]


def test_a_run_by_length_is_resumed_in_the_middle_of_an_epoch(tmp_path, tiny_prm_dir, processor, figures):
    rows = [row for i in range(12) for row in problem_rows(f"p{i}", figures[i % 4], i, num_paths=2)]
    options = {"num_train_epochs": 2, "train_sampling_strategy": "group_by_length", "save_strategy": "steps"}

    def make(folder):
        model = MMPRMModel.from_pretrained(tiny_prm_dir)
        args = make_args(folder, save_steps=9, **options)
        return PRMTrainer(model, args, train_dataset=rows, processing_class=processor)

    whole, resumed = make(tmp_path / "whole"), make(tmp_path / "resumed")
    whole.train()
    torch.manual_seed(5)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-9"))  # of 12, 6 an epoch
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    sampler = whole._get_train_sampler()
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_a_prompt_that_is_all_joined_to_the_first_step_is_packed(tmp_path, tiny_text_policy_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_policy_dir)
    template = "Q: {question} A: "
    base = MMPRMProcessor.from_policy(tokenizer, prompt_template=template)
    joined = MMPRMProcessor(base.base_processor, prompt_template=template, join_before_tokenizing=True)
    rows = [{"prompt": "q", "completions": ["a", last], "labels": [1.0, 0.5], "problem_id": "p"} for last in "bc"]
    losses = {}
    for packing in (True, False):
        args = make_args(tmp_path, packing=packing, max_steps=1, save_strategy="no")
        trainer = PRMTrainer(
            MMPRMModel.from_policy(tiny_text_policy_dir, joined), args, train_dataset=rows, processing_class=joined
        )
        trainer.train()
        losses[packing] = trainer.state.log_history[0]["loss"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)


def test_data_in_other_forms(tmp_path, tiny_prm_dir, processor, figures):
    rows = problem_rows("p", figures[0], 0, num_paths=2)
    args, model = make_args(tmp_path, max_steps=1, save_strategy="no"), MMPRMModel.from_pretrained(tiny_prm_dir)
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completions": datasets.List(datasets.Value("string")),
            "label_counts": datasets.List(datasets.List(datasets.Value("int32"))),
            "images": datasets.List(datasets.Image()),
        }
    )
    kept = [{name: row[name] for name in features} for row in rows]
    as_torch = datasets.Dataset.from_list(kept, features=features).with_format("torch")
    PRMTrainer(model, args, train_dataset=as_torch, processing_class=processor).train()
    for wrong in (datasets.DatasetDict({"train": as_torch}), iter(kept)):
        with pytest.raises(ValueError, match="give a datasets.Dataset or a list of rows"):
            PRMTrainer(model, args, train_dataset=wrong, processing_class=processor)


def test_options_that_mean_nothing_here_are_refused(tmp_path):
    for options in ({"label_smoothing_factor": 0.1}, {"train_sampling_strategy": "batch_rebalance"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            PRMConfig(output_dir=str(tmp_path), report_to="none", **options)


def test_pairs_that_a_budget_parts_are_told_of(tmp_path, tiny_text_policy_dir, caplog):
    rows = [{"prompt": "q", "completions": [c * 30], "labels": [0.5], "problem_id": "p"} for c in "abcd"]
    args = make_args(tmp_path, pairwise_weight=1.0, max_packed_length=100)
    trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=rows)
    assert len(trainer.train_dataset) > 1 and "1 problems need more than max_packed_length=100" in caplog.text


def test_the_stage_takes_rows_that_name_no_problem(tmp_path, tiny_text_policy_dir):
    folder = tmp_path / "data"
    folder.mkdir()
    datasets.Dataset.from_list(ROWS * 4).to_parquet(folder / "train.parquet")
    options = {"max_steps": 1, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    metrics = stages.train(tiny_text_policy_dir, folder, tmp_path / "out", config=options, eval_share=0.5)
    assert metrics["eval_num_steps"] > 0
