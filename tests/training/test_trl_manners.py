"""A script for TRL's removed trainer runs: a token classifier and its tokenizer, bool labels, TRL's options."""

from __future__ import annotations

import datasets
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, LlamaForTokenClassification

from mmprm_hf.models import MMPRMModel, MMPRMProcessor

ROWS = [
    {"prompt": f"q{i}", "completions": ["good", "bad"] if i % 2 else ["good", "good"], "labels": [True, i % 2 == 0]}
    for i in range(16)
]


def test_the_documented_script_runs_with_its_import_changed(tmp_path, tiny_text_policy_dir):
    path = tmp_path / "classifier"
    torch.manual_seed(3)
    LlamaForTokenClassification.from_pretrained(tiny_text_policy_dir, num_labels=2).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_text_policy_dir).save_pretrained(path)

    # from trl import PRMConfig, PRMTrainer
    from mmprm_hf import PRMConfig, PRMTrainer

    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(path)
    train_dataset = datasets.Dataset.from_list(ROWS)
    training_args = PRMConfig(
        output_dir=str(tmp_path),
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        max_steps=12,
        learning_rate=2e-2,
        per_device_train_batch_size=16,
        logging_steps=10,
        step_separator="\n",
        max_prompt_length=64,
        max_completion_length=None,
        train_on_last_step_only=False,
        disable_dropout=True,
        dataset_num_proc=1,
    )
    trainer = PRMTrainer(
        model=model, args=training_args, processing_class=tokenizer, train_dataset=train_dataset, eval_dataset=ROWS
    )
    trainer.train()
    assert trainer.evaluate()["eval_step_accuracy"] == 1.0
    trainer.save_model(str(tmp_path / "prm"))
    processor = MMPRMProcessor.from_pretrained(tmp_path / "prm")
    assert processor.step_separator == "\n"
    saved = MMPRMModel.from_pretrained(tmp_path / "prm").eval()
    with torch.no_grad():
        good, bad = saved(**processor(text="q1", steps=["good", "bad"])).step_scores()[0]
    assert good > 0.5 > bad


def test_last_step_only_is_an_outcome_reward_model(tmp_path, tiny_text_policy_dir):
    from mmprm_hf import PRMConfig, PRMTrainer

    args = PRMConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, train_on_last_step_only=True)
    assert args.train_on == "last"
    trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=ROWS)
    labels = trainer.data_collator(ROWS[:2])["labels"]
    assert labels[labels != -100].tolist() == [1.0, 0.0]
