"""What scripts for TRL's removed trainer hand over: a token classifier and its tokenizer, bool labels, its options."""

from __future__ import annotations

import datasets
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, LlamaForTokenClassification

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer
from mmprm_hf.training.rows import check_rows
from mmprm_hf.training.targets import BadRowError

ROWS = [
    {"prompt": f"q{i}", "completions": ["good", "bad"] if i % 2 else ["good", "good"], "labels": [True, i % 2 == 0]}
    for i in range(16)
]


@pytest.fixture(scope="module")
def classifier_dir(tmp_path_factory, tiny_text_policy_dir):
    """A token classifier over the tiny text policy's backbone, as TRL's documentation made one."""
    path = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(3)
    LlamaForTokenClassification.from_pretrained(tiny_text_policy_dir, num_labels=2).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_text_policy_dir).save_pretrained(path)
    return str(path)


def quiet(tmp_path, **options):
    return {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "disable_tqdm": True, **options}


def test_the_documented_script_runs_with_its_import_changed(tmp_path, classifier_dir):
    # from trl import PRMConfig, PRMTrainer
    from mmprm_hf import PRMConfig, PRMTrainer

    model = AutoModelForTokenClassification.from_pretrained(classifier_dir, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(classifier_dir)
    train_dataset = datasets.Dataset.from_list(ROWS)
    training_args = PRMConfig(
        **quiet(tmp_path),
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


def test_a_classifiers_head_keeps_its_meaning(tmp_path, classifier_dir):
    """Its labels are 0 wrong, 1 right: P(right) at a marker is its softmax there."""
    model = AutoModelForTokenClassification.from_pretrained(classifier_dir, num_labels=2).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_dir)
    trainer = PRMTrainer(model, PRMConfig(**quiet(tmp_path)), train_dataset=ROWS, processing_class=tokenizer)
    batch = trainer.data_collator(ROWS[:1])
    with torch.no_grad():
        (scores,) = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).step_scores()
        reference = AutoModelForTokenClassification.from_pretrained(classifier_dir, num_labels=2).eval()
        reference.resize_token_embeddings(len(trainer.processing_class.tokenizer))
        reference.base_model.load_state_dict(trainer.model.vlm.state_dict())
        logits = reference(batch["input_ids"], batch["attention_mask"]).logits[0]
    is_marker = batch["input_ids"][0] == trainer.processing_class.marker_token_id
    torch.testing.assert_close(scores, logits.softmax(-1)[is_marker][:, 1], atol=1e-6, rtol=1e-5)
    three = AutoModelForTokenClassification.from_pretrained(classifier_dir, num_labels=3, ignore_mismatched_sizes=True)
    with pytest.raises(ValueError, match="LlamaForTokenClassification with 3 labels; a PRM takes one with two"):
        PRMTrainer(three, PRMConfig(**quiet(tmp_path)), processing_class=tokenizer)


def test_a_policy_object_with_its_tokenizer_becomes_a_prm(tmp_path, tiny_text_policy_dir):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_text_policy_dir)
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_policy_dir)
    args = PRMConfig(**quiet(tmp_path))
    by_object = PRMTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer)
    by_path = PRMTrainer(tiny_text_policy_dir, args, train_dataset=ROWS)
    batch = by_path.data_collator(ROWS[:4])
    with torch.no_grad():
        first, second = (
            t.model.eval()(batch["input_ids"], batch["attention_mask"]).logits for t in (by_object, by_path)
        )
    torch.testing.assert_close(first, second)


def test_last_step_only_is_an_outcome_reward_model(tmp_path, tiny_text_policy_dir):
    args = PRMConfig(**quiet(tmp_path), train_on_last_step_only=True)
    assert args.train_on == "last"
    trainer = PRMTrainer(tiny_text_policy_dir, args, train_dataset=ROWS)
    labels = trainer.data_collator(ROWS[:2])["labels"]
    assert labels[labels != -100].tolist() == [1.0, 0.0]


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


def test_conversational_rows_are_the_plain_ones(processor, figures):
    plain = {"prompt": "What is x?", "completions": ["a", "b"], "labels": [True, False], "images": [figures[0]]}
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is x?"}]}
    turns = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    spoken = {**plain, "prompt": [user], "completions": turns}
    nested = {**plain, "prompt": [{"role": "user", "content": "What is x?"}], "completions": [[turn] for turn in turns]}
    expected = PRMCollator(processor)([plain])
    for row in (spoken, nested):
        assert check_rows([row], processor).kept == [0]
        batch = PRMCollator(processor)([row])
        assert all(torch.equal(batch[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
            r"turns \['system', 'user'",
        ),
        ({"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}, "Found the content .* in the prompt"),
        ({"completions": [{"role": "user", "content": "a"}]}, "role 'user' at step_index 0"),
        ({"completions": [{"role": "assistant", "content": None}]}, "Found the content 'None' in the step 0"),
    ],
)
def test_other_conversations_are_bad_rows(processor, change, message):
    row = {"prompt": "q", "completions": ["a"], "labels": [True], **change}
    with pytest.raises(BadRowError, match=message):
        check_rows([row], processor)
    assert check_rows([row, {**row, "prompt": "q", "completions": ["a"]}], processor, on_bad_row="drop").dropped == {
        "conversation": 1
    }
