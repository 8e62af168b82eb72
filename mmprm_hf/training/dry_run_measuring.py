"""Measurements of a dry run: seconds, tokens and memory of random batches."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import torch

from .prm_trainer import PRMTrainer


def measure_training(trainer: PRMTrainer, loader: Any, num_batches: int) -> dict[str, Any]:
    """Return seconds and tokens of random batches, forward and backward, and the peak memory beside the gradients.

    One more batch warms up. Gradients add up in the model.
    """
    device = trainer.args.device
    warm_up, *batches = _random_batches(loader, 1 + num_batches, trainer.args.seed)
    _train_on(trainer, _load(loader, warm_up))
    is_cuda = device.type == "cuda"
    if is_cuda:  # gradients exist by now, so that the peak is above weights and gradients
        torch.cuda.reset_peak_memory_stats(device)
        bytes_before = torch.cuda.memory_allocated(device)
    num_tokens, seconds, load_seconds = 0, 0.0, 0.0
    for indices in batches:
        start = time.perf_counter()
        batch = _load(loader, indices)
        loaded = time.perf_counter()
        num_tokens += _num_tokens(batch)
        _train_on(trainer, batch)
        load_seconds += loaded - start
        seconds += time.perf_counter() - loaded
    activation_bytes = None
    if is_cuda:
        lengths = trainer.data.lengths
        longest = sorted(range(len(lengths)), key=lengths.__getitem__)[-trainer.args.train_batch_size :]
        _train_on(trainer, _load(loader, longest))
        activation_bytes = torch.cuda.max_memory_allocated(device) - bytes_before
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "num_batches": len(batches),
        "num_tokens": num_tokens,
        "seconds": seconds,
        "load_seconds": load_seconds,
        "tokens_per_second": num_tokens / seconds,
        "activation_bytes": activation_bytes,
    }


def measure_evaluation(trainer: PRMTrainer) -> dict[str, float]:
    """Return the seconds per row of each eval split, from one random batch."""
    splits = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"eval": trainer.eval_dataset}
    seconds_by_split = {}
    for name, rows in splits.items():
        if rows is None:
            continue
        loader = trainer.get_eval_dataloader(rows)
        (indices,) = _random_batches(loader, 1, trainer.args.seed)
        trainer.model.eval()
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            batch = _load(loader, indices)
            with trainer.accelerator.autocast():
                trainer.prediction_step(trainer.model, batch, prediction_loss_only=False)
            _synchronise(trainer.args.device)
        seconds_by_split[name] = (time.perf_counter() - start) / len(indices)
    return seconds_by_split


def _random_batches(loader: Any, num_batches: int, seed: int) -> list[Sequence[int]]:
    """Row indices of some batches; a batch is repeated only if an epoch has too few."""
    batches = list(loader.batch_sampler)
    random.Random(seed).shuffle(batches)
    return [batches[index % len(batches)] for index in range(num_batches)]


def _load(loader: Any, indices: Sequence[int]) -> dict[str, Any]:
    """One batch, read and collated as the loader does it."""
    dataset = loader.dataset
    rows = dataset.__getitems__(indices) if hasattr(dataset, "__getitems__") else [dataset[i] for i in indices]
    return loader.collate_fn(rows)


def _num_tokens(batch: dict[str, Any]) -> int:
    """Tokens without padding, as `TrainingData.num_tokens` counts them."""
    if "packed" in batch:
        return sum(map(len, batch["packed"].trees))
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


def _train_on(trainer: PRMTrainer, batch: dict[str, Any]) -> None:
    """Forward and backward as in a training step."""
    trainer.model.train()
    with trainer.accelerator.autocast(), trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    trainer.accelerator.backward(loss)
    _synchronise(trainer.args.device)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
