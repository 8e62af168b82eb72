"""The model card that a training writes beside every checkpoint: facts of the run, nothing guessed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers import Trainer

from .prm_config import PRMConfig
from .training_data import TrainingData

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
_CITATION = """@article{du2025mmprm,
  title = {MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision},
  author = {Du, Lingxiao and Meng, Fanqing and Liu, Zongkai and Zhou, Zhixiang and Luo, Ping and Zhang, Qiaosheng and
            Shao, Wenqi},
  journal = {arXiv preprint arXiv:2505.13427},
  year = {2025}
}"""


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
        dataset, language, license, tags, finetuned_from: Facts that the run cannot know, for the metadata. Other
            arguments of `Trainer.create_model_card` are ignored.
    """
    base = finetuned_from or trainer.base_model_name
    more_tags = [tags] if isinstance(tags, str) else list(tags or ())
    metadata = ModelCardData(
        library_name="transformers",
        tags=list(dict.fromkeys([*TAGS, *more_tags])),
        base_model=base if base and not Path(base).is_absolute() and not Path(base).exists() else None,
        datasets=dataset,
        language=language,
        license=license,
    )
    title = model_name or Path(folder).resolve().name
    text = "\n".join(["", f"# {title}", "", *_body(trainer, base, dataset or trainer.data.dataset_name)])
    ModelCard(f"---\n{metadata.to_yaml()}\n---\n{text}").save(Path(folder) / "README.md")


def _body(trainer: Trainer, base: str | None, dataset: str | None) -> list[str]:
    args, data, processor = trainer.args, trainer.data, trainer.processing_class
    base_name = Path(base).name if base and Path(base).exists() else base
    return [
        "Process reward model: scores each step of a solution. Trained with `PRMTrainer` of mmprm_hf.",
        "",
        "```python",
        "from mmprm_hf.scoring import PRMScorer",
        "",
        'scorer = PRMScorer.from_pretrained("...")',
        "```",
        "",
        "## Training",
        "",
        f"- Base model: {base_name or 'not recorded'}",
        f"- Training data: {dataset or 'not recorded'}, {_rows(data)}",
        f"- Rows: {_packing(data)}",
        f"- Labels: {_labels(args)}",
        f"- Batch: {_batch(trainer)}",
        f"- Step marker `{processor.marker_token}`, score = P({processor.positive_token})",
        f"- Cost: {_cost(trainer)}",
        "",
        "Hyper-parameters that differ from the defaults:",
        "",
        *(f"- `{name}`: {json.dumps(value, default=str)}" for name, value in _changed_arguments(args).items()),
        "",
        "## Evaluation",
        "",
        *_curves(trainer.state.log_history),
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch", "datasets")),
        "",
        "## Citation",
        "",
        "```bibtex",
        _CITATION,
        "```",
        "",
    ]


def _changed_arguments(args: PRMConfig) -> dict[str, Any]:
    """Options that differ from the defaults of `PRMConfig` and affect the model."""
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
    return changed


def _rows(data: TrainingData) -> str:
    dropped = ", ".join(
        f"{count} {split} rows ({reason})"
        for split, reasons in data.dropped_rows.items()
        for reason, count in reasons.items()
    )
    return f"{data.num_rows.get('train', 0):,} rows; dropped: {dropped or 'none'}"


def _packing(data: TrainingData) -> str:
    raw, trained = data.num_tokens["raw"], data.num_tokens["trained"]
    if not data.is_packed:
        return f"one by one, {raw:,} tokens an epoch"
    return f"packed by problem, {trained:,} tokens an epoch instead of {raw:,} ({raw / trained:.1f} times fewer)"


def _labels(args: PRMConfig) -> str:
    mapping = {
        "soft": "soft (k / n)",
        "hard": f"hard (1 if k / n > {args.hard_threshold:g})",
        "banded": f"banded (0 up to {args.band_low:g}, 1 from {args.band_high:g}, ignored between)",
        "counts": "counts (binomial likelihood of k of n)",
    }[args.label_mapping]
    steps = {"all": "all labelled steps", "first_error": "steps up to the first error", "last": "the last step"}
    parts = [mapping, steps[args.train_on], "cross-entropy loss"]
    if args.positive_weight != 1:
        parts.append(f"right steps weighed {args.positive_weight:g}")
    if args.pairwise_weight:
        parts.append(f"ranking term {args.pairwise_weight:g}")
    return ", ".join(parts)


def _batch(trainer: Trainer) -> str:
    args, state = trainer.args, trainer.state
    unit = "packed rows" if trainer.data.is_packed else "rows"
    return (
        f"{args.per_device_train_batch_size} {unit} x {args.gradient_accumulation_steps} accumulated x "
        f"{args.world_size} processes; optimizer steps {state.global_step:,}, epochs {state.epoch or 0:.2f}"
    )


def _cost(trainer: Trainer) -> str:
    if trainer.train_seconds is None:
        return "not measured"
    devices = f"{trainer.args.world_size} x {trainer.args.device.type}"
    return f"{trainer.train_seconds / 3600:.2f} hours on {devices} (since the run was last started)"


def _curves(history: Sequence[dict[str, Any]]) -> list[str]:
    """The training loss at a few steps, and a table with a row for each evaluation."""
    losses = [log for log in history if "loss" in log]
    points = ", ".join(f"{log['step']}: {log['loss']:.4f}" for log in losses[:: max(1, len(losses) // 8)])
    lines = [f"Training loss by step: {points}.", ""] if losses else []
    evaluations = _evaluations(history)
    if not evaluations:
        return [*lines, "Evaluation: not measured."]
    names = [key for key in evaluations[-1] if key.startswith("eval_") and key not in _NOT_METRICS]
    chosen = evaluations[:: max(1, len(evaluations) // 10)]
    if chosen[-1] is not evaluations[-1]:
        chosen.append(evaluations[-1])
    lines += [
        "| step | " + " | ".join(name.removeprefix("eval_") for name in names) + " |",
        "|" + " --- |" * (len(names) + 1),
    ]
    for log in chosen:
        cells = [f"{log[name]:.4f}" if name in log else "" for name in names]
        lines.append(f"| {log.get('step', '')} | " + " | ".join(cells) + " |")
    return lines


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
