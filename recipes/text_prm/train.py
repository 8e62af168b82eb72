"""A text PRM on rows with `prompt`, `completions` and `labels`: TRL's former example script, with our trainer.

It differs from TRL's script only in the import of PRMConfig and PRMTrainer, and in what README.md says about rows.

python recipes/text_prm/train.py \
    --model_name_or_path Qwen/Qwen2-0.5B-Instruct \
    --dataset_name trl-lib/math_shepherd \
    --output_dir out/qwen2-0.5b-prm \
    --per_device_train_batch_size 8 \
    --num_train_epochs 1 \
    --learning_rate 1.0e-5 \
    --on_bad_row drop \
    --eval_strategy steps --eval_steps 50

LoRA: --learning_rate 1.0e-4 --use_peft --lora_r 32 --lora_alpha 16
"""

from __future__ import annotations

from datasets import load_dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer
from trl import ModelConfig, ScriptArguments, TrlParser, get_peft_config

from mmprm_hf import PRMConfig, PRMTrainer


def main() -> None:
    parser = TrlParser((ScriptArguments, PRMConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_and_config()
    options = {"revision": model_args.model_revision}
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, **options)
    model = AutoModelForTokenClassification.from_pretrained(model_args.model_name_or_path, num_labels=2, **options)
    dataset = load_dataset(script_args.dataset_name, name=script_args.dataset_config)
    dataset = dataset.filter(lambda row: len(row["completions"]) > 0)
    trainer = PRMTrainer(
        model=model,
        args=training_args,
        train_dataset=dataset[script_args.dataset_train_split],
        eval_dataset=dataset[script_args.dataset_test_split] if training_args.eval_strategy != "no" else None,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)
    if training_args.eval_strategy != "no":
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    if training_args.push_to_hub:
        trainer.push_to_hub(dataset_name=script_args.dataset_name)


if __name__ == "__main__":
    main()
