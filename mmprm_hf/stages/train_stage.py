"""The training stage: from a folder of label rows to a checkpoint folder, or to a report of what that would take."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.trainer_utils import IntervalStrategy

from ..files import check_outside, lock_folder, write_json
from ..rows import FigureRules
from ..training import (
    BestOfNCallback,
    CardOptions,
    LoraOptions,
    PRMConfig,
    PRMTrainer,
    add_to_card,
    lacking_in_card,
    metadata_of_data,
    newest_whole_checkpoint,
    read_candidate_sets,
    report_dry_run,
)
from .options import read_config
from .train_settings import finished_metrics, finite, training_settings, write_end, write_start
from .training_rows import train_and_eval_rows

logger = logging.getLogger(__name__)
notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


def train(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    config: str | Path | Mapping[str, Any] | None,
    eval_share: float = 0.02,
    seed: int = 0,
    candidates: str | Path | None = None,
    dry_run: bool = False,
    peft_config: Any = None,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train a PRM from a policy (or PRM) on stepwise-supervision rows, and save it.

    An unfinished run is resumed from its newest whole checkpoint; a finished one is not trained again.
    Several processes may call it together (`accelerate launch`); the first one writes the files.

    Args:
        model: Path or hub id of a policy or a PRM.
        data: Folder of label rows, such as ``labels/paths``; a file of them; or a hub id.
        output: Checkpoint folder; the states of the trainer are in ``output/trainer``.
        config: Options of `PRMConfig`, `LoraOptions` and `CardOptions`: a YAML file, or a mapping of them.
        eval_share: Share of problems, chosen by hash, whose rows are kept for evaluation. Data with a validation split
            are evaluated on that split.
        seed: Seed of the training.
        candidates: Candidates file (see `rows.read_candidate_rows`) from which the model selects at every evaluation;
            the metric is ``eval_best_of_n``. None: no such metric.
        dry_run: Train nothing. Count, measure a few batches, and write only ``output/dry_run.json``.
        peft_config: As in `PRMTrainer`; what is saved is then the adapter. None: what ``lora_r`` in `config` asks for.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Returns:
        Evaluation metrics; with `dry_run` its report (`training.report_dry_run`).

    Raises:
        ValueError: for bad rows or options, candidates without eval rows, a damaged checkpoint, or a folder that holds
            another training, finished or not, or in which another process trains.
    """
    model, output = str(model), Path(output)
    options, lora, card_options = read_config(config, PRMConfig, LoraOptions, CardOptions)
    peft_config, card = peft_config or LoraOptions(**lora).peft_config(), CardOptions(**card_options)
    check_outside(output, data)
    shared = {"eval_share": eval_share, "candidates": candidates, "peft_config": peft_config, "rules": rules}
    shared |= {"columns": columns or {}, "card": card}
    if dry_run:
        with tempfile.TemporaryDirectory() as states:
            args = PRMConfig(output_dir=states, seed=seed, **{**options, "push_to_hub": False})
            return _dry_run(_trainer(model, data, args, **shared), output)
    args = PRMConfig(output_dir=str(output / "trainer"), seed=seed, **options)
    settings = training_settings(model, data, eval_share, candidates, args, peft_config, shared["columns"])
    with _only_run(args):
        metrics = finished_metrics(output, settings)
        if metrics is not None:
            _end_again(output, card, args)
            return metrics
        return _train(_trainer(model, data, args, **shared), output, settings)


@contextlib.contextmanager
def _only_run(args: PRMConfig) -> Iterator[None]:
    """Hold the folder of the trainer's states, and let all processes of the run end together."""
    with lock_folder(Path(args.output_dir)) if args.process_index == 0 else contextlib.nullcontext():
        yield
    if torch.distributed.is_initialized():  # a process that just exits may be torn down while its threads work
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _train(trainer: PRMTrainer, output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train from the newest whole checkpoint, or from the start; save the model and what it was trained with."""
    if trainer.is_world_process_zero():
        write_start(output, settings)
    args = trainer.args
    if transformers.logging.get_verbosity() >= transformers.logging.ERROR:
        trainer.remove_callback(transformers.PrinterCallback)  # prints every log where there is no bar
    if args.save_only_model:
        logger.warning("save_only_model=True saves no optimizer: if this training is stopped, it begins again.")
    checkpoint = None if args.save_only_model else newest_whole_checkpoint(Path(args.output_dir))
    if checkpoint is not None:
        step = checkpoint.name.removeprefix("checkpoint-")
        notes.info(
            "Resuming the training in %s from %s; its first %s steps are not trained again.", output, checkpoint, step
        )
    trainer.train(resume_from_checkpoint=checkpoint)
    metrics = finite(trainer.evaluate()) if trainer.eval_dataset is not None else {}
    trainer.save_model(str(output))
    if trainer.is_world_process_zero():
        write_end(output, settings, _facts(trainer), metrics)
        _note_missing(output)
    return metrics


def _end_again(output: Path, card: CardOptions, args: PRMConfig) -> None:
    """Say that a training is finished, and add to its card what is given for it."""
    logger.warning("The training in %s is already finished; nothing was trained again.", output)
    if args.process_index == 0:
        add_to_card(output, card)


def _note_missing(output: Path) -> None:
    """Say what the card's metadata lack, and how to give it."""
    if missing := lacking_in_card(output):
        values = {"license": "apache-2.0", "base_model": "owner/name", "datasets": "owner/name"}
        flags = " ".join(f"--{name.replace('_', '-')} {values[name]}" for name in missing)
        names = ", ".join(missing)
        notes.info("The card names no %s: repeat the command with %s, and nothing is trained again.", names, flags)


def _dry_run(trainer: PRMTrainer, output: Path) -> dict[str, Any]:
    report = report_dry_run(trainer)
    if trainer.is_world_process_zero():
        write_json(output / "dry_run.json", report)
    return report


def _facts(trainer: PRMTrainer) -> dict[str, Any]:
    """What the training did, besides the settings that a resumed run must have."""
    data = trainer.data
    num_rows = {
        f"num_{split}_rows": data.num_rows.get(split, 0) + sum(data.dropped_rows.get(split, {}).values())
        for split in ("train", "eval")
    }
    return {**num_rows, **json.loads(trainer.args.to_json_string()), "dropped_rows": data.dropped_rows}


def _trainer(
    model: str,
    data: str | Path,
    args: PRMConfig,
    *,
    eval_share: float,
    candidates: Path | None,
    peft_config: Any,
    rules: FigureRules,
    columns: Mapping[str, str],
    card: CardOptions,
) -> PRMTrainer:
    callbacks = [] if candidates is None else [BestOfNCallback(read_candidate_sets(candidates, rules))]
    train_rows, eval_rows = train_and_eval_rows(data, eval_share, rules, columns)
    if callbacks and not len(eval_rows):
        raise ValueError(
            f"Found no eval rows in {data}, but candidates are scored at evaluations. Raise eval_share, or give the "
            "data a validation split."
        )
    if not len(eval_rows) and args.eval_strategy != "no":
        if args.load_best_model_at_end:
            raise ValueError(f"Found no eval rows in {data}, by which the best model is chosen. Raise eval_share.")
        notes.info("Nothing is evaluated, because no rows are held out. A larger eval_share holds out some.")
        args.eval_strategy = IntervalStrategy.NO  # with it the stock trainer refuses to begin
    trainer = PRMTrainer(
        model,
        args,
        train_dataset=train_rows,
        eval_dataset=eval_rows if len(eval_rows) else None,
        callbacks=callbacks,
        peft_config=peft_config,
    )
    trainer.card_metadata = metadata_of_data(data) | card.metadata()
    return trainer
