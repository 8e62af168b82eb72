"""The model card that a training writes beside every checkpoint: facts of the run, nothing guessed.

Its words lie in ``templates/model_card.md``, which huggingface_hub fills with Jinja.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers import Trainer

from .card_metadata import metadata_of_start, missing_metadata, missing_sentence
from .prm_config import PRMConfig
from .starting import inner_prm

REPOSITORY = "..."  # in the card's code, where the repository is not known; `push` puts its name there
TAGS = ("mmprm", "process-reward-model")
# Where a run is made, what it prints and where it writes are not facts about the model.
_NOT_HYPERPARAMETERS = {
    "output_dir", "logging_dir", "run_name", "report_to", "disable_tqdm", "hub_model_id", "hub_token", "push_to_hub",
    "hub_strategy", "hub_private_repo", "hub_always_push", "save_strategy", "save_steps", "save_total_limit",
    "eval_strategy", "eval_steps", "logging_steps", "logging_strategy", "logging_first_step", "do_train", "do_eval",
    "do_predict", "use_cpu", "local_rank", "deepspeed_plugin", "distributed_state", "project", "trackio_space_id",
    "remove_unused_columns", "dataloader_num_workers", "dataloader_pin_memory", "log_level", "accelerator_config",
    "load_best_model_at_end", "resume_from_checkpoint",
}  # fmt: skip
_NOT_METRICS = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_num_steps")
_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"


def write_card(
    trainer: Trainer,
    folder: str | Path,
    model_name: str | None = None,
    *,
    dataset: str | None = None,
    language: str | None = None,
    license: str | None = None,  # noqa: A002 (Trainer's name)
    tags: str | Sequence[str] | None = None,
    finetuned_from: str | None = None,
    **_: Any,
) -> None:
    """Write README.md into a folder.

    Args:
        trainer: The `PRMTrainer`.
        folder: Where the model is saved.
        model_name: Title; None takes the name of the folder.
        dataset, language, license, tags, finetuned_from: Facts that the run cannot know, for the metadata. Where they
            are missing, those of `trainer.card_metadata` count, then those of the base model's own card. Other
            arguments of `Trainer.create_model_card` are ignored.
    """
    base = finetuned_from or trainer.base_model_name
    name = trainer.data.dataset_name
    of_data = {"datasets": name} if name and "/" in name else {}  # an id of the Hub
    given = {"datasets": dataset, "license": license}
    origin = metadata_of_start(base) | of_data | trainer.card_metadata | {k: v for k, v in given.items() if v}
    more_tags = [tags] if isinstance(tags, str) else list(tags or ())
    metadata = ModelCardData(
        **origin,
        library_name="transformers",
        tags=list(dict.fromkeys([*TAGS, *more_tags])),
        language=language,
        pipeline_tag=_pipeline_tag(trainer),
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(_TEMPLATE),
        title=model_name or Path(folder).resolve().name,
        base=Path(base).name if base and (Path(base).exists() or Path(base).is_absolute()) else base,
        dataset=dataset or name,
        missing=missing_sentence(missing_metadata(origin)),
        repository=trainer.args.hub_model_id or REPOSITORY,
        **_facts(trainer),
    )
    card.save(Path(folder) / "README.md")


def _pipeline_tag(trainer: Trainer) -> str:
    """The Hub's task of a PRM: that of the model which it was made of, but it writes no text."""
    has_figures = getattr(inner_prm(trainer.model).config.vlm_config, "vision_config", None) is not None
    return "image-text-to-text" if has_figures else "text-classification"


def _facts(trainer: Trainer) -> dict[str, Any]:
    """What the template shows of a run."""
    losses = [log for log in trainer.state.log_history if "loss" in log]
    evaluations = _evaluations(trainer.state.log_history)
    names = [key for key in (evaluations or [{}])[-1] if key.startswith("eval_") and key not in _NOT_METRICS]
    return {
        "args": trainer.args,
        "data": trainer.data,
        "state": trainer.state,
        "processor": trainer.processing_class,
        "seconds": trainer.train_seconds,
        "dropped": [
            f"{count} {split} rows ({reason})"
            for split, reasons in trainer.data.dropped_rows.items()
            for reason, count in reasons.items()
        ],
        "hyper_parameters": _changed_arguments(trainer.args),
        "losses": losses[:: max(1, len(losses) // 8)],
        "evaluations": _thinned(evaluations),
        "metrics": [name.removeprefix("eval_") for name in names],
        "versions": [f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch", "datasets")],
    }


def _changed_arguments(args: PRMConfig) -> dict[str, str]:
    """Options that differ from the defaults of `PRMConfig` and affect the model, as JSON."""
    changed = {}
    for field in dataclasses.fields(args):
        has_factory = field.default_factory is not dataclasses.MISSING
        default = field.default_factory() if has_factory else field.default
        value = getattr(args, field.name)
        # `TrainingArguments` turns some absent values into empty ones.
        if field.name not in _NOT_HYPERPARAMETERS and value != default and (value or default):
            changed[field.name] = getattr(value, "value", value)
    if changed.get("data_seed") == args.seed:
        del changed["data_seed"]
    return {name: json.dumps(value, default=str) for name, value in changed.items()}


def _thinned(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """About ten of the evaluations, among them the last."""
    chosen = list(evaluations[:: max(1, len(evaluations) // 10)])
    if chosen and chosen[-1] is not evaluations[-1]:
        chosen.append(evaluations[-1])
    return chosen


def _evaluations(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations; what a callback logs after one is part of it."""
    evaluations: list[dict[str, Any]] = []
    for log in history:
        names = {key for key in log if key.startswith("eval_")}
        last = evaluations[-1] if evaluations else {"step": -1}
        if names and last["step"] == log.get("step") and not names & set(last):
            evaluations[-1] = {**last, **log}
        elif names:
            evaluations.append(log)
    return evaluations
