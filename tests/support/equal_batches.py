"""Trains a PRM for a few steps, saves its weights: python equal_batches.py PRM ROWS OUTPUT BATCH ACCUMULATION OPTIONS

ROWS is a JSON-lines file, OPTIONS more options of `PRMConfig` as JSON. Under `accelerate launch` with several processes
BATCH is that of each.
"""

import json
import sys

import torch

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer


def train(prm, rows_path, output, size, accumulation, **options):
    """Losses of four steps, and the weights after them."""
    with open(rows_path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    args = PRMConfig(
        output_dir=str(output) + ".states",
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        max_steps=4,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        train_sampling_strategy="sequential",
        **options,
    )
    model, processor = MMPRMModel.from_pretrained(prm), MMPRMProcessor.from_pretrained(prm)
    trainer = PRMTrainer(model, args, train_dataset=rows, processing_class=processor)
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    weights = {name: p.detach() for name, p in trainer.accelerator.unwrap_model(trainer.model).named_parameters()}
    if trainer.is_world_process_zero():
        torch.save({"weights": weights, "losses": losses}, output)
    if trainer.args.world_size > 1:  # a process that just exits may be torn down amid its threads' work
        trainer.accelerator.wait_for_everyone()
        trainer.accelerator.end_training()


if __name__ == "__main__":
    prm, rows_path, output, size, accumulation, options = sys.argv[1:]
    train(prm, rows_path, output, int(size), int(accumulation), **json.loads(options))
