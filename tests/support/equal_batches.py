"""Trains a PRM for a few steps in two processes (gloo), once for each output: python equal_batches.py JOBS

JOBS is a JSON list of the arguments of `train`. The processes are forked, so that libraries are imported once.
"""

import json
import sys

import torch
from accelerate import debug_launcher

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training import PRMConfig, PRMTrainer


def train(prm, rows_path, output, size, accumulation, options):
    """Save the losses of four steps, and the weights after them.

    Args:
        prm: Folder of the PRM.
        rows_path: JSON-lines file of rows.
        output: File to write.
        size: Batch size of each process.
        accumulation: Batches of an optimizer step.
        options: More options of `PRMConfig`.
    """
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
        torch.save({"weights": weights, "losses": losses, "num_processes": args.world_size}, output)


def train_all(jobs):
    """Run every job in turn, in this process."""
    torch.set_num_threads(1)
    for job in jobs:
        train(*job)
    torch.distributed.barrier()  # no process ends while another one needs it


if __name__ == "__main__":
    debug_launcher(train_all, args=(json.loads(sys.argv[1]),), num_processes=2)
