"""What a training would do and cost, without doing it: rows, tokens, steps, memory and hours.

A report has three parts, by how far they can be trusted: `counted` (exact), `measured` (a few real batches, forward and
backward, on this machine) and `estimated` (from both). A training after a dry run is the same to the bit as without it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from transformers import TrainingArguments, set_seed

from .best_of_n import BestOfNCallback
from .dry_run_measuring import measure_evaluation, measure_training
from .prm_trainer import PRMTrainer
from .restoring import kept_gradients_and_buffers, kept_modes, kept_random_state

# Bytes of optimizer states per trainable parameter: two numbers of 4, 1 or half a byte. torch's own AdamW is not among
# them: its two states have the dtype of the parameter.
_STATE_BYTES = {
    "paged_adamw_32bit": 8.0, "adamw_bnb_8bit": 2.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0,
    "adamw_torch_8bit": 2.0, "adamw_torch_4bit": 1.0,
}  # fmt: skip
_STATES_IN_OWN_DTYPE = ("adamw_torch", "adamw_torch_fused")


def report_dry_run(trainer: PRMTrainer, num_batches: int = 3) -> dict[str, Any]:
    """Return what `trainer.train()` would do and cost; weights, gradients, modes and random numbers stay as they are.

    Batches are drawn at random (by the seed of the training) from all batches of an epoch: the first ones of a sampler
    by length would be the longest. One more batch warms up and is not counted.

    Args:
        trainer: Has not trained yet. One whole model per process: neither FSDP nor DeepSpeed.
        num_batches: Number of batches to measure, at least 1.

    Returns:
        ``counted``: rows, tokens (of an epoch), steps, epochs and parameters; `num_packed_rows` is None for rows that
        are not packed. ``measured``: `seconds` (forward and backward), `load_seconds` (reading and collating),
        `eval_seconds_per_row` (by split; one batch), `activation_bytes` (peak over these batches and one of the longest
        rows; None except on CUDA). ``estimated``: `memory_bytes` by part (None: unknown) and hours. ``notes``: what the
        numbers leave out.

    Raises:
        ValueError: without train rows, for less than one batch, or for a model that is spread over processes.
    """
    if num_batches < 1:
        raise ValueError(f"Found num_batches={num_batches}. A dry run measures at least 1 batch.")
    if trainer.train_dataset is None:
        raise ValueError("Found no train rows. Give the trainer a train_dataset.")
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("A dry run measures one whole model. Start it in one process, without FSDP or DeepSpeed.")
    with _as_in_training(trainer):
        set_seed(trainer.args.seed)
        loader = trainer.get_train_dataloader()
        counted = _counts(trainer, loader)
        measured = measure_training(trainer, loader, num_batches)
        measured["eval_seconds_per_row"] = measure_evaluation(trainer)
    return {
        "counted": counted,
        "measured": measured,
        "estimated": _estimates(trainer, counted, measured),
        "notes": _notes(trainer, measured),
    }


@contextlib.contextmanager
def _as_in_training(trainer: PRMTrainer) -> Iterator[None]:
    """The trainer's model is set up as in training; afterwards it is as it was."""
    args, model = trainer.args, trainer.model
    options = dict(args.activation_checkpointing_kwargs or {})
    own_options = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
    checkpoint = args.activation_checkpointing and not model.is_activation_checkpointing
    with kept_random_state(args.device), kept_modes(model), kept_gradients_and_buffers(model):
        if checkpoint:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=options or None, **own_options)
        try:
            yield
        finally:
            if checkpoint:
                model.activation_checkpointing_disable()
            trainer.accelerator._dataloaders.clear()  # as `train` does when it starts


def _counts(trainer: PRMTrainer, loader: Any) -> dict[str, Any]:
    """What is known without running the model."""
    args, data = trainer.args, trainer.data
    _, num_steps_per_epoch, *_, num_steps = trainer.set_initial_training_values(args, loader)
    parameters = list(trainer.model.parameters())
    return {
        "num_rows": dict(data.num_rows),
        "dropped_rows": {split: dict(reasons) for split, reasons in data.dropped_rows.items()},
        "num_tokens": dict(data.num_tokens),
        "packing_factor": data.num_tokens["raw"] / max(data.num_tokens["trained"], 1),
        "num_packed_rows": len(data.train) if data.is_packed else None,
        "longest_row": max(data.lengths),
        "batch": {
            "size": args.train_batch_size,
            "num_accumulated": args.gradient_accumulation_steps,
            "num_processes": args.world_size,
        },
        "num_steps": num_steps,
        "num_epochs": num_steps / num_steps_per_epoch,
        "num_parameters": {
            "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "all": sum(parameter.numel() for parameter in parameters),
        },
    }


def _estimates(trainer: PRMTrainer, counted: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Memory by parts, and hours."""
    args = trainer.args
    # Workers read ahead; without them the model waits.
    waiting_seconds = measured["load_seconds"]
    if args.dataloader_num_workers:
        waiting_seconds = max(0.0, waiting_seconds / args.dataloader_num_workers - measured["seconds"])
    seconds_per_token = (measured["seconds"] + waiting_seconds) / measured["num_tokens"]
    num_tokens = counted["num_tokens"]["trained"] * counted["num_epochs"]
    train_hours = num_tokens * seconds_per_token / args.world_size / 3600
    eval_hours, num_evals = None, 0
    if measured["eval_seconds_per_row"]:
        seconds_per_row = measured["eval_seconds_per_row"]
        seconds = sum(counted["num_rows"][split] * seconds_per_row[split] for split in seconds_per_row)
        eval_hours = seconds / args.world_size / 3600
        num_evals = num_evaluations(args, counted["num_steps"], counted["num_epochs"])
    return {
        "memory_bytes": {**memory_of_parameters(trainer), "activations": measured["activation_bytes"]},
        "train_hours": train_hours,
        "hours_per_evaluation": eval_hours,
        "num_evaluations": num_evals,
        "total_hours": train_hours + num_evals * (eval_hours or 0.0),
    }


def memory_of_parameters(trainer: PRMTrainer) -> dict[str, int | None]:
    """Return bytes per process of `weights`, `gradients`, `optimizer_states` (None: unknown) and `master_weights`.

    Master weights are 0: mixed precision in transformers keeps the weights in their own dtype and casts as it computes.
    """
    model, optim = trainer.model, getattr(trainer.args.optim, "value", trainer.args.optim)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = sum(parameter.nbytes for parameter in trainable)
    states: int | None = None
    if trainer.optimizer is None and optim in _STATES_IN_OWN_DTYPE:
        states = 2 * gradients
    elif trainer.optimizer is None and optim in _STATE_BYTES:
        states = int(_STATE_BYTES[optim] * sum(parameter.numel() for parameter in trainable))
    return {
        "weights": sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        "gradients": gradients,
        "optimizer_states": states,
        "master_weights": 0,
    }


def num_evaluations(args: TrainingArguments, num_steps: int, num_epochs: float) -> int:
    """Return how many times a training of so many steps and epochs evaluates."""
    strategy = getattr(args.eval_strategy, "value", args.eval_strategy)
    num_evals = int(args.eval_on_start)
    if strategy == "steps":
        interval = math.ceil(num_steps * args.eval_steps) if args.eval_steps < 1 else int(args.eval_steps)
        steps = {*range(interval, num_steps + 1, interval), num_steps}  # the last step is always evaluated
        num_evals += sum(step >= args.eval_delay for step in steps)
    elif strategy == "epoch":
        num_evals += sum(epoch >= args.eval_delay for epoch in range(1, math.ceil(num_epochs) + 1))
    return num_evals


def _notes(trainer: PRMTrainer, measured: dict[str, Any]) -> list[str]:
    """What the numbers leave out."""
    notes = [
        f"Hours come from {measured['num_batches']} random batches on this machine; optimizer steps, clipping, saving "
        "and logging are not included."
    ]
    if measured["activation_bytes"] is None:
        notes.append("Activations are measured on CUDA only, so the sum of memory is a lower bound.")
    if trainer.args.world_size > 1:
        notes.append("Measured without the exchange of gradients between processes, and without its buffers.")
    if trainer.args.torch_compile:
        notes.append("Measured without torch.compile.")
    if any(isinstance(callback, BestOfNCallback) for callback in trainer.callback_handler.callbacks):
        notes.append("The hours do not include scoring the candidates at each evaluation.")
    return notes
