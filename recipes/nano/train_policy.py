"""Stage 2 of the nano story: supervised fine-tuning of the base on tagged solutions with TRL's `SFTTrainer`.

python recipes/nano/train_policy.py --base out/nano/base --output out/nano/policy
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from corpus import corpus_rows
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num-problems", type=int, default=10_000)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    processor = AutoProcessor.from_pretrained(args.base)
    model = AutoModelForImageTextToText.from_pretrained(args.base, dtype="float32")
    config = SFTConfig(
        output_dir=str(args.output / "trainer"),
        per_device_train_batch_size=32,
        num_train_epochs=args.epochs,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        weight_decay=0.01,
        max_length=None,
        gradient_checkpointing=False,
        bf16=True,
        use_cpu=True,
        logging_steps=10,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        seed=args.seed,
    )
    rows = Dataset.from_list(list(corpus_rows(args.num_problems, args.seed)))
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=processor)
    trainer.train(resume_from_checkpoint=any((args.output / "trainer").glob("checkpoint-*")))
    trainer.model.save_pretrained(args.output)
    processor.save_pretrained(args.output)


if __name__ == "__main__":
    main()
