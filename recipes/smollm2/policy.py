"""Stage 2: supervised fine-tuning of a chat model on plain worded solutions, with TRL's `SFTTrainer`.

The model's own chat template, the loss on the solution alone. A run that was cut off resumes.

python recipes/smollm2/policy.py --model MODEL --data out/smollm2/problems/train.jsonl --output out/smollm2/policy
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Return a row in TRL's form of prompt and completion."""
    return {
        "prompt": [{"role": "user", "content": row["question"]}],
        "completion": [{"role": "assistant", "content": row["solution"]}],
    }


def train_last_layers(model: Any, num_layers: int) -> None:
    """Freeze all but the last layers: a backward pass through half of them costs half."""
    model.requires_grad_(False)
    for layer in model.model.layers[-num_layers:]:
        layer.requires_grad_(True)
    model.model.norm.requires_grad_(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="path or hub id of the chat model")
    parser.add_argument("--data", type=Path, required=True, help=".jsonl with question and solution")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--num-layers", type=int, default=15, help="train the last so many layers of the decoder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = load_dataset("json", data_files=str(args.data), split="train")
    rows = rows.shuffle(seed=args.seed).map(conversation, remove_columns=rows.column_names)
    states = args.output / "trainer"
    config = SFTConfig(
        output_dir=str(states),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant_with_warmup",  # the length of the run does not change its beginning
        warmup_steps=10,
        max_length=None,
        gradient_checkpointing=False,
        bf16=True,
        use_cpu=True,
        logging_steps=5,
        save_steps=20,
        save_total_limit=1,
        report_to="none",
        seed=args.seed,
    )
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype="float32")
    train_last_layers(model, args.num_layers)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train(resume_from_checkpoint=any(states.glob("checkpoint-*")))
    trainer.model.to(dtype=torch.bfloat16).save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
