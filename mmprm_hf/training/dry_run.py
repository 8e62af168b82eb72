"""What a training would do, without doing it: rows, tokens, steps, memory and hours.

A report has three parts, by how far they can be trusted: `counted` (exact), `measured` (a few real batches, forward
and backward, on this machine) and `estimated` (from both). The trainer trains afterwards as if nothing had been.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import set_seed

from .prm_trainer import PRMTrainer
from .restoring import kept_gradients_and_buffers, kept_modes, kept_random_state

# Bytes of optimizer states per trainable parameter: two numbers of 4, 1 or half a byte. torch's own AdamW is not among
# them: its two states have the parameter's dtype.
_STATE_BYTES = {
    "paged_adamw_32bit": 8.0, "adamw_bnb_8bit": 2.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0,
    "adamw_torch_8bit": 2.0, "adamw_torch_4bit": 1.0,
}  # fmt: skip
_OWN_DTYPE = ("adamw_torch", "adamw_torch_fused")


def report_dry_run(trainer: PRMTrainer, num_batches: int = 3) -> dict[str, Any]:
    """What `trainer.train()` would do and cost; weights, gradients, modes and random numbers stay as they are.

    Batches are drawn at random (by the training's seed) from all batches of an epoch: those at the head of a sampler
    by length would be the longest. The first one warms up and is not counted.

    Args:
        trainer: Has not trained yet. One whole model per process: neither FSDP nor DeepSpeed.
        num_batches: Batches to measure, at least 1.

    Returns:
        ``counted``: `num_rows`, `dropped_rows`, `num_tokens` (of an epoch, `raw` and `trained`), `packing_factor`,
        `num_packed_rows` (None: not packed), `longest_row` (tokens), `batch`, `num_steps`, `num_epochs`,
        `num_parameters`. ``measured``: `device`, `num_batches`, `num_tokens`, `seconds` (of forward and backward),
        `load_seconds` (of reading and collating), `tokens_per_second`, `eval_seconds_per_row` (by split; one batch),
        `activation_bytes` (peak over these batches and one of the longest rows; None off CUDA). ``estimated``:
        `memory_bytes` by part (None: not known), `train_hours`, `hours_per_evaluation`, `num_evaluations`,
        `total_hours`. And `notes`, what is not in the numbers.

    Raises:
        ValueError: without train rows, for fewer than one batch, or for a model that is spread over processes.
    """
    if num_batches < 1:
        raise ValueError(f"Found num_batches={num_batches}; a dry run measures at least 1 batch.")
    if trainer.train_dataset is None:
        raise ValueError("Found no train rows; give the trainer a train_dataset.")
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("A dry run measures one whole model; start it in one process, without FSDP or DeepSpeed.")
    with _untouched(trainer):
        set_seed(trainer.args.seed)
        loader = trainer.get_train_dataloader()
        counted = _counted(trainer, loader)
        measured = {"device": _device_name(trainer.args.device), **_measured_training(trainer, loader, num_batches)}
        measured["eval_seconds_per_row"] = _measured_evaluation(trainer)
    return {
        "counted": counted,
        "measured": measured,
        "estimated": _estimated(trainer, counted, measured),
        "notes": _notes(trainer, measured),
    }


@contextlib.contextmanager
def _untouched(trainer: PRMTrainer) -> Iterator[None]:
    """The trainer's model, as a training would set it up, and afterwards as it was."""
    args, model = trainer.args, trainer.model
    options = dict(args.activation_checkpointing_kwargs or {})
    special = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
    switch = args.activation_checkpointing and not model.is_activation_checkpointing
    with kept_random_state(args.device), kept_modes(model), kept_gradients_and_buffers(model):
        if switch:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=options or None, **special)
        try:
            yield
        finally:
            if switch:
                model.activation_checkpointing_disable()
            trainer.accelerator._dataloaders.clear()  # as `train` does at its beginning


# Counts


def _counted(trainer: PRMTrainer, loader: Any) -> dict[str, Any]:
    """What is known without running the model."""
    args, num_tokens = trainer.args, dict(trainer.num_tokens)
    _, num_steps_per_epoch, *_, num_steps = trainer.set_initial_training_values(args, loader)
    parameters = list(trainer.model.parameters())
    return {
        "num_rows": dict(trainer.num_rows),
        "dropped_rows": {split: dict(reasons) for split, reasons in trainer.dropped_rows.items()},
        "num_tokens": num_tokens,
        "packing_factor": num_tokens["raw"] / max(num_tokens["trained"], 1),
        "num_packed_rows": len(trainer.train_dataset) if trainer.is_packed else None,
        "longest_row": max(trainer.train_lengths),
        "batch": {
            "size": args.train_batch_size,
            "num_accumulated": args.gradient_accumulation_steps,
            "num_processes": args.world_size,
        },
        "num_steps": num_steps,
        "num_epochs": num_steps / num_steps_per_epoch,
        "num_parameters": {
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "all": sum(p.numel() for p in parameters),
        },
    }


# Measurements


def _measured_training(trainer: PRMTrainer, loader: Any, num_batches: int) -> dict[str, Any]:
    """Seconds and tokens of random batches, forward and backward, and the peak of memory beside the gradients."""
    device = trainer.args.device
    warm_up, *chosen = _random_batches(loader, 1 + num_batches, trainer.args.seed)
    _train_on(trainer, _load(loader, warm_up))
    _synchronise(device)
    if device.type == "cuda":  # gradients exist by now, so that the peak is above weights and gradients
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    num_tokens, seconds, load_seconds = 0, 0.0, 0.0
    for indices in chosen:
        start = time.perf_counter()
        batch = _load(loader, indices)
        loaded = time.perf_counter()
        num_tokens += _num_tokens(batch)
        _train_on(trainer, batch)
        _synchronise(device)
        load_seconds += loaded - start
        seconds += time.perf_counter() - loaded
    activation_bytes = None
    if device.type == "cuda":
        lengths = trainer.train_lengths
        longest = sorted(range(len(lengths)), key=lengths.__getitem__)[-trainer.args.train_batch_size :]
        _train_on(trainer, _load(loader, longest))
        activation_bytes = torch.cuda.max_memory_allocated(device) - before
    return {
        "num_batches": len(chosen),
        "num_tokens": num_tokens,
        "seconds": seconds,
        "load_seconds": load_seconds,
        "tokens_per_second": num_tokens / seconds,
        "activation_bytes": activation_bytes,
    }


def _measured_evaluation(trainer: PRMTrainer) -> dict[str, float]:
    """Seconds per row of each eval split, from one random batch."""
    found = {}
    for name in _eval_splits(trainer):
        loader = trainer.get_eval_dataloader(name if isinstance(trainer.eval_dataset, dict) else None)
        (indices,) = _random_batches(loader, 1, trainer.args.seed)
        trainer.model.eval()
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            batch = _load(loader, indices)
            with trainer.accelerator.autocast():
                trainer.prediction_step(trainer.model, batch, prediction_loss_only=False)
            _synchronise(trainer.args.device)
        found[name] = (time.perf_counter() - start) / len(indices)
    return found


def _eval_splits(trainer: PRMTrainer) -> list[str]:
    if trainer.eval_dataset is None:
        return []
    return list(trainer.eval_dataset) if isinstance(trainer.eval_dataset, dict) else ["eval"]


def _random_batches(loader: Any, num_batches: int, seed: int) -> list[Sequence[int]]:
    """Row indices of batches; as many as asked for, repeated only where an epoch has fewer."""
    batches = list(loader.batch_sampler)
    rng = random.Random(seed)
    rng.shuffle(batches)
    return [batches[index % len(batches)] for index in range(num_batches)]


def _load(loader: Any, indices: Sequence[int]) -> dict[str, Any]:
    """One batch, read and collated as the loader does it."""
    dataset = loader.dataset
    rows = dataset.__getitems__(indices) if hasattr(dataset, "__getitems__") else [dataset[i] for i in indices]
    return loader.collate_fn(rows)


def _num_tokens(batch: dict[str, Any]) -> int:
    """Tokens without padding, as `PRMTrainer.num_tokens` counts them."""
    if "packed" in batch:
        return sum(map(len, batch["packed"].trees))
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


def _train_on(trainer: PRMTrainer, batch: dict[str, Any]) -> None:
    """Forward and backward, as a training step does them; gradients add up."""
    trainer.model.train()
    with trainer.accelerator.autocast(), trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    trainer.accelerator.backward(loss)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


# Estimates


def _estimated(trainer: PRMTrainer, counted: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Memory by parts, and hours."""
    args = trainer.args
    memory = {**memory_of_parameters(trainer), "activations": measured["activation_bytes"]}
    num_workers = args.dataloader_num_workers
    # Workers read ahead; without them the model waits.
    waiting = measured["load_seconds"]
    if num_workers:
        waiting = max(0.0, waiting / num_workers - measured["seconds"])
    seconds_per_token = (measured["seconds"] + waiting) / measured["num_tokens"]
    num_trained = counted["num_tokens"]["trained"] * counted["num_epochs"]
    train_hours = num_trained * seconds_per_token / args.world_size / 3600
    eval_hours, num_evaluations = None, 0
    if measured["eval_seconds_per_row"]:
        seconds = sum(counted["num_rows"][name] * each for name, each in measured["eval_seconds_per_row"].items())
        eval_hours = seconds / args.world_size / 3600
        num_evaluations = _num_evaluations(args, counted["num_steps"], counted["num_epochs"])
    return {
        "memory_bytes": memory,
        "train_hours": train_hours,
        "hours_per_evaluation": eval_hours,
        "num_evaluations": num_evaluations,
        "total_hours": train_hours + num_evaluations * (eval_hours or 0.0),
    }


def memory_of_parameters(trainer: PRMTrainer) -> dict[str, int | None]:
    """Bytes per process of `weights`, `gradients`, `optimizer_states` (None: not known) and `master_weights`.

    Master weights are 0: mixed precision in transformers keeps the weights in their own dtype and casts on the way.
    """
    model, optim = trainer.model, getattr(trainer.args.optim, "value", trainer.args.optim)
    trainable = [p for p in model.parameters() if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trainable)
    states: int | None = None
    if trainer.optimizer is None and optim in _OWN_DTYPE:
        states = 2 * gradients
    elif trainer.optimizer is None and optim in _STATE_BYTES:
        states = int(_STATE_BYTES[optim] * sum(p.numel() for p in trainable))
    return {
        "weights": sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())),
        "gradients": gradients,
        "optimizer_states": states,
        "master_weights": 0,
    }


def _num_evaluations(args: Any, num_steps: int, num_epochs: float) -> int:
    """How often a training evaluates."""
    strategy = getattr(args.eval_strategy, "value", args.eval_strategy)
    num = int(args.eval_on_start)
    if strategy == "steps":
        every = math.ceil(num_steps * args.eval_steps) if args.eval_steps < 1 else int(args.eval_steps)
        steps = {*range(every, num_steps + 1, every), num_steps}  # the last step is always evaluated
        num += sum(step >= args.eval_delay for step in steps)
    elif strategy == "epoch":
        num += sum(epoch >= args.eval_delay for epoch in range(1, math.ceil(num_epochs) + 1))
    return num


def _notes(trainer: PRMTrainer, measured: dict[str, Any]) -> list[str]:
    """What the numbers leave out."""
    args = trainer.args
    notes = [
        f"Hours come from {measured['num_batches']} random batches on this machine; optimizer steps, clipping, saving "
        "and logging are not in them."
    ]
    if measured["activation_bytes"] is None:
        notes.append("Activations are measured on CUDA only, so the sum of memory is a lower bound.")
    if args.world_size > 1:
        notes.append("Measured without the exchange of gradients between processes, and without its buffers.")
    if args.torch_compile:
        notes.append("Measured without torch.compile.")
    if any(hasattr(callback, "candidate_sets") for callback in trainer.callback_handler.callbacks):
        notes.append("Scoring the candidate sets at each evaluation is not in the hours.")
    return notes


# For people


def format_dry_run(report: dict[str, Any]) -> str:
    """The report as lines of text in three parts: counted, measured, estimated."""
    return "\n".join(
        [
            "counted",
            *_lines(_counted_lines(report["counted"])),
            "measured",
            *_lines(_measured_lines(report["measured"])),
            "estimated",
            *_lines(_estimated_lines(report["estimated"])),
            *report["notes"],
        ]
    )


def _lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [f"  {name:<28}{value}" for name, value in pairs]


def _counted_lines(counted: dict[str, Any]) -> list[tuple[str, str]]:
    tokens, batch, parameters = counted["num_tokens"], counted["batch"], counted["num_parameters"]
    lines = []
    for split, num_rows in counted["num_rows"].items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in counted["dropped_rows"].get(split, {}).items())
        lines.append((f"{split} rows", f"{num_rows:,} (dropped: {dropped or 'none'})"))
    lines.append(("tokens an epoch, raw", f"{tokens['raw']:,}"))
    if counted["num_packed_rows"] is None:
        lines.append(("packed rows", "none, rows are trained on one by one"))
    else:
        factor = f"{counted['packing_factor']:.1f} times fewer"
        lines.append(("tokens an epoch, packed", f"{tokens['trained']:,} ({factor})"))
        lines.append(("packed rows", f"{counted['num_packed_rows']:,}"))
    share = 100 * parameters["trainable"] / max(parameters["all"], 1)
    return [
        *lines,
        ("longest row", f"{counted['longest_row']:,} tokens"),
        (
            "batch",
            f"{batch['size']} rows x {batch['num_accumulated']} accumulated x {batch['num_processes']} processes",
        ),
        ("optimizer steps", f"{counted['num_steps']:,}"),
        ("epochs", f"{counted['num_epochs']:.2f}"),
        ("trainable parameters", f"{parameters['trainable']:,} of {parameters['all']:,} ({share:.1f} %)"),
    ]


def _measured_lines(measured: dict[str, Any]) -> list[tuple[str, str]]:
    activations = measured["activation_bytes"]
    rates = [f"{name} {each:.3f} s" for name, each in measured["eval_seconds_per_row"].items()]
    return [
        ("device", measured["device"]),
        ("batches", f"{measured['num_batches']}, {measured['num_tokens']:,} tokens"),
        ("forward and backward", f"{measured['seconds']:.2f} s, {measured['tokens_per_second']:,.0f} tokens a second"),
        ("reading and collating", f"{measured['load_seconds']:.2f} s"),
        ("evaluation, a row", ", ".join(rates) or "no eval rows"),
        ("peak of activations", "not measured" if activations is None else _bytes(activations)),
    ]


def _estimated_lines(estimated: dict[str, Any]) -> list[tuple[str, str]]:
    memory = estimated["memory_bytes"]
    lines = [
        (f"memory, {name.replace('_', ' ')}", unknown if size is None else _bytes(size) if size else "none")
        for (name, size), unknown in zip(memory.items(), ["not known"] * 4 + ["not measured"], strict=True)
    ]
    at_least = "at least " if None in memory.values() else ""
    each, num = estimated["hours_per_evaluation"], estimated["num_evaluations"]
    evaluations = "no eval rows" if each is None else f"{num} x {_duration(each)}"
    return [
        *lines,
        ("memory, sum", at_least + _bytes(sum(size or 0 for size in memory.values()))),
        ("training", _duration(estimated["train_hours"])),
        ("evaluations", evaluations),
        ("in all", _duration(estimated["total_hours"])),
    ]


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 1 / 60 else f"{3600 * hours:.2g} seconds"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


__all__ = ["format_dry_run", "memory_of_parameters", "report_dry_run"]
